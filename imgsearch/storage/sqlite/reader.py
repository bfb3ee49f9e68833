"""Reading items and features: by key, by id, by condition, or all in order."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.filters.tree import EVERYTHING, category_condition, content_of, is_of_attributes, uses_attributes
from imgsearch.quantization import single
from imgsearch.storage.port import StoredPicture
from imgsearch.storage.records import (
    CHECKED_FEATURE,
    CHECKED_ITEM,
    ITEM_COLUMNS,
    ITEM_SOURCE,
)
from imgsearch.storage.sqlite.columns import Wanted
from imgsearch.storage.sqlite.conditions import compiled
from imgsearch.storage.sqlite.ranked import Ranked
from imgsearch.storage.sqlite.rows import MAX_PARAMETERS, numbers, translated
from imgsearch.storage.sqlite.schema import content_prefix
from imgsearch.values import Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.listed_ids import ListedIds
    from imgsearch.storage.conditions import Sql
    from imgsearch.types import Fingerprints, Item, Upsert

__all__ = ["Reader"]

CHUNK: Final = 1024
"""Features that are handed over at once."""


class Reader(Ranked):
    """Queries on items and features."""

    compares_itself: Final = False

    def nearest(
        self, query: npt.NDArray[np.float32], condition: Condition, size: int, *, unindexed: bool = False
    ) -> npt.NDArray[np.int64]:
        """Not asked for: features lie in this process's reach."""
        raise NotImplementedError

    @translated
    def counts(self) -> dict[int, int]:
        """The number of items per category, empty categories left out."""
        return dict(self._connection.execute("SELECT category_id, items FROM counts WHERE items > 0"))

    @translated
    def count_products(self) -> int:
        """The number of distinct ProductIds."""
        (count,) = self._connection.execute("SELECT count(DISTINCT product_id) FROM items").fetchone()
        return int(count)

    @translated
    def count(self, condition: Condition = EVERYTHING) -> int:
        """How many items meet the condition."""
        if condition == EVERYTHING:
            return sum(self.counts().values())
        return self._remembered.count(self._connection, condition, lambda: self._counted(condition))

    def asked(self, condition: Condition) -> int:
        """How often a condition was counted; see ``Truth.asked``."""
        return self._remembered.asked(condition)

    def _counted(self, condition: Condition) -> int:
        wanted = self._looked_up(condition)
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM items WHERE {wanted.text}", wanted.parameters
        ).fetchone()
        return int(count)

    @translated
    def item(self, key: Key) -> Item | None:
        """The item with this key."""
        row = self._connection.execute(
            f"SELECT {ITEM_COLUMNS} FROM {ITEM_SOURCE} WHERE product_id = ? AND pic_name = ?",
            (key.product_id, key.pic_name),
        ).fetchone()
        if row is None:
            return None
        item = self._item(row)
        if item.key != key:
            raise self.damage("the index of keys")
        return item

    def items(self, condition: Condition) -> Iterator[Item]:
        """The items that meet the condition, by rising id."""
        wanted = self._looked_up(condition)
        ids = self._rising(f"SELECT id FROM items WHERE {wanted.text}", wanted.parameters)
        for rows in self._by_id(f"SELECT {ITEM_COLUMNS} FROM {ITEM_SOURCE}", ids.tolist()):
            yield from map(self._item, sorted(rows, key=itemgetter(0)))

    def items_by_key(self, condition: Condition, *, start: int = 0, limit: int | None = None) -> Iterator[Item]:
        """The items that meet the condition, by (ProductId, PicName); memory does not grow with their number."""
        wanted = self._looked_up(condition)
        # Attributes have indexes, and what they find is sorted; all else is read in the order of the keys' index, where
        # SQLite would rather sort a whole category.
        index, unary = ("", "+") if uses_attributes(condition) else ("INDEXED BY items_key", "")
        rows = self._connection.execute(
            f"SELECT {ITEM_COLUMNS} FROM items {index} LEFT JOIN roots ON roots.id = items.root_id "
            f"WHERE {wanted.text} ORDER BY {unary}items.product_id, {unary}items.pic_name LIMIT ? OFFSET ?",
            (*wanted.parameters, -1 if limit is None else limit, start),
        )
        yield from map(self._item, rows)

    def has(self, item_id: int) -> bool:
        """Whether there is an item with that id."""
        return self._connection.execute("SELECT 1 FROM items WHERE id = ?", (item_id,)).fetchone() is not None

    @translated
    def feature(self, item_id: int) -> npt.NDArray[np.float32]:
        """The stored feature of one item, shape (dimension,)."""
        row = self._connection.execute(
            f"SELECT id, {CHECKED_FEATURE} FROM features WHERE id = ?", (item_id,)
        ).fetchone()
        if row is None:
            raise self.damage("the feature of an item")
        self._check_features([row])
        return single(self._unpacked(row[1], 1)[0])

    def pictures(self, ids: Iterable[int]) -> Iterator[StoredPicture]:
        """Yield the items among these ids with their features, in no particular order."""
        for cursor in self._by_id(
            f"SELECT {ITEM_COLUMNS}, {CHECKED_FEATURE} FROM {ITEM_SOURCE} JOIN features ON features.id = items.id",
            ids,
        ):
            rows = cursor.fetchall()
            self._check_features([(row[0], row[-2], row[-1]) for row in rows])
            features = single(self._unpacked(b"".join(row[-2] for row in rows), len(rows)))
            yield from map(StoredPicture, map(self._item, rows), features)

    @translated
    def keys(self, condition: Condition) -> list[Key]:
        """The keys of all items that meet the condition, sorted."""
        wanted = self._looked_up(condition)
        rows = self._connection.execute(
            f"SELECT {CHECKED_ITEM} FROM items WHERE {wanted.text}", wanted.parameters
        ).fetchall()
        self._verify_rows(rows)
        return sorted(Key(row[1], row[2]) for row in rows)

    def _looked_up(self, condition: Condition) -> Sql:
        """Compile a condition so that SQLite uses an index: those of attributes lead with the category."""
        if is_of_attributes(condition):
            condition = category_condition(tuple(self.counts())).joined(condition)
        return compiled(condition)

    def identical_ids(self, same: Condition, condition: Condition, limit: int) -> npt.NDArray[np.int64]:
        """The first ``limit`` ids of items made from a picture that meet the condition, ascending.

        Args:
            same: a ``picture_condition``.
            condition: also to be met.
            limit: the maximum number.

        Raises:
            InstanceDamaged: the index of contents and a row do not agree, and the row is corrupted.
        """
        content = content_of(same)
        others = self._ids(
            "SELECT id FROM items INDEXED BY items_content "
            f"WHERE {content_prefix('content_hash')} = {content_prefix('?')} AND content_hash IS NOT ?",
            (content, content),
        )
        self.verify(others.tolist())
        both = compiled(same.joined(condition))
        return self._rising(
            f"SELECT id FROM items INDEXED BY items_content WHERE {both.text} ORDER BY id LIMIT ?",
            (*both.parameters, limit),
        )

    def matching_ids(self, condition: Condition) -> npt.NDArray[np.int64]:
        """Ids of the items that meet the condition, ascending."""
        return self.listed(condition).ids()

    def listed(self, condition: Condition) -> ListedIds:
        """The same, in little memory."""
        # Sorted in NumPy: with ORDER BY, SQLite would scan all items.
        wanted = compiled(condition)
        return self._remembered.ids(
            self._connection,
            condition,
            lambda: self._rising(f"SELECT id FROM items WHERE {wanted.text}", wanted.parameters),
        )

    def categories(self, *, above: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Ids of the items with an id greater than ``above``, ascending, and their categories; shape (n,) each."""
        # The ids of a category are joined into one text: a row each takes several times as long.
        select = "SELECT category_id, group_concat(id) FROM items"
        if above:  # a scan of the id range; an index covers both columns of all items
            rows = self._connection.execute(f"{select} NOT INDEXED WHERE id > ? GROUP BY category_id", (above,))
        else:
            rows = self._connection.execute(f"{select} GROUP BY category_id")
        found = [(category, numbers(joined)) for category, joined in rows]
        ids = np.concatenate([np.zeros(0, np.int64), *(some for _, some in found)])
        sizes = np.array([[category, len(some)] for category, some in found], np.int64).reshape(-1, 2)
        categories = sizes[:, 0].repeat(sizes[:, 1])
        del found  # of millions of items, each of these takes more than all else that a rebuild keeps
        order = np.argsort(ids, kind="stable")  # they come in runs, one a category
        ids = ids[order]
        return ids, categories[order]

    def features(
        self, condition: Condition = EVERYTHING, *, above: int = 0, chunk: int = CHUNK
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]]:
        """Yield ids and features of items that meet the condition and have an id above ``above``, ascending.

        Yields:
            Ids of shape (n,) and features of shape (n, dimension), n at most ``chunk``.
        """
        if condition == EVERYTHING:
            sql, parameters = f"SELECT id, {CHECKED_FEATURE} FROM features WHERE id > ? ORDER BY id", (above,)
        else:
            # Look up all by the condition, then sort; or scan the newer ones in order.
            source, item_id = (
                ("features CROSS JOIN items ON items.id = features.id", "features.id")
                if above
                else ("items CROSS JOIN features ON features.id = items.id", "+items.id")
            )
            wanted = compiled(condition)
            sql = (
                f"SELECT items.id, {CHECKED_FEATURE} FROM {source} "
                f"WHERE {item_id} > ? AND ({wanted.text}) ORDER BY {item_id}"
            )
            parameters = (above, *wanted.parameters)
        cursor = self._connection.execute(sql, parameters)
        while rows := cursor.fetchmany(chunk):
            self._check_features(rows)
            ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
            yield ids, self._unpacked(b"".join(row[1] for row in rows), len(rows))

    def features_checked_against(
        self, ids: npt.NDArray[np.int64], *, above: int = 0, chunk: int = CHUNK
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]]:
        """Yield what ``features`` yields of all items above ``above``, whose ids are given, ascending.

        Raises:
            InstanceDamaged: there are features without items, or items without features.
        """
        position = 0
        for found, features in self.features(above=above, chunk=chunk):
            if not np.array_equal(found, ids[position : position + len(found)]):
                raise self.damage("an item or its feature")
            yield found, features
            position += len(found)
        if position != len(ids):
            raise self.damage("an item or its feature")

    @translated
    def products_with_several(self) -> list[tuple[str, int]]:
        """ProductIds with more than one picture, and their number of pictures, sorted by ProductId."""
        return self._connection.execute(
            "SELECT product_id, count(*) FROM items GROUP BY product_id HAVING count(*) > 1 ORDER BY product_id"
        ).fetchall()

    def contents_without_token(self) -> list[tuple[int, bytes]]:
        """Id and content hash of items without a source token."""
        return self._connection.execute("SELECT id, content_hash FROM items WHERE token IS NULL").fetchall()

    def all_stored_records(self, *, chunk: int = 1024) -> Iterator[Upsert]:
        """Yield every item as the upsert that would write it again, in the order of addition.

        Raises:
            InstanceDamaged: an item is corrupted, or their number differs from the counts.
        """
        expected, given = self.count(), 0
        cursor = self._connection.execute(
            f"SELECT {ITEM_COLUMNS}, {CHECKED_FEATURE} FROM {ITEM_SOURCE} JOIN features ON features.id = items.id "
            "ORDER BY items.id"
        )
        while rows := cursor.fetchmany(chunk):
            given += len(rows)
            yield from map(self._as_upsert, rows)
        if given != expected:
            raise self.damage("the number of items")

    def stored_records(self, keys: Sequence[Key]) -> dict[Key, Upsert]:
        """The stored items among these keys, as the upserts that would write them again."""
        found: dict[Key, Upsert] = {}
        for start in range(0, len(keys), MAX_PARAMETERS // 2):
            some = keys[start : start + MAX_PARAMETERS // 2]
            rows = self._connection.execute(
                f"WITH keys (product, name) AS (VALUES {','.join(['(?, ?)'] * len(some))}) "
                f"SELECT {ITEM_COLUMNS}, {CHECKED_FEATURE} FROM keys "
                "CROSS JOIN items ON product_id = keys.product AND pic_name = keys.name "
                "LEFT JOIN roots ON roots.id = items.root_id JOIN features ON features.id = items.id",
                [part for key in some for part in (key.product_id, key.pic_name)],
            )
            found.update((change.key, change) for change in map(self._as_upsert, rows))
        return found

    def fingerprints(self, condition: Condition, *, chunk: int = 4096) -> Iterator[Fingerprints]:
        """Yield content hashes and perceptual hashes of the items that meet a condition, by ascending id.

        Raises:
            InstanceDamaged: an item is corrupted.
        """
        wanted = self._looked_up(condition)
        source = "items NOT INDEXED" if condition == EVERYTHING else "items"
        cursor = self._connection.execute(
            f"SELECT {CHECKED_ITEM} FROM {source} WHERE {wanted.text} ORDER BY id", wanted.parameters
        )
        while rows := cursor.fetchmany(chunk):
            yield self._fingerprints(rows)

    def scan(
        self, condition: Condition, *, unindexed: bool = False
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]]:
        """Yield ids and features of the items that meet a condition, in chunks, by ascending id.

        Args:
            condition: to be met.
            unindexed: only items that are not in the published index.

        Yields:
            Ids of shape (n,) and features of shape (n, dimension).

        Raises:
            InstanceDamaged: a feature is missing or corrupted.
        """
        above = self._last_indexed() if unindexed else 0
        if above or condition == EVERYTHING:
            yield from self.features(condition, above=above)
            return
        ids = self.matching_ids(condition)
        for start in range(0, len(ids), CHUNK):
            wanted = ids[start : start + CHUNK].tolist()
            found, features = self._features(Wanted(wanted))  # in columns, which takes a fraction of the time of rows
            if len(found) != len(wanted):
                raise self.damage("an item or its feature")
            yield found, features
