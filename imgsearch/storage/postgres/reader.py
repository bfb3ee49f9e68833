"""Reading items and features in PostgreSQL: by key, by id, by condition, or all in order.

What may be long is read in chunks that each go on behind the last one, so a connection may do other things in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.filters.tree import EVERYTHING
from imgsearch.listed_ids import ListedIds
from imgsearch.quantization import single
from imgsearch.storage.conditions import Sql
from imgsearch.storage.port import Pictures, StoredPicture
from imgsearch.storage.postgres.conditions import categories_of, compiled
from imgsearch.storage.postgres.halves import half
from imgsearch.storage.postgres.places import Places
from imgsearch.storage.postgres.rows import numbers
from imgsearch.storage.records import (
    CHECKED_FEATURE,
    CHECKED_ITEM,
    FEATURE_TYPE,
    ITEM_COLUMNS,
    ITEM_SOURCE,
    ITEM_WIDTH,
)
from imgsearch.values import Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.types import Fingerprints, Item, Upsert

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]
    Stored = npt.NDArray[np.float16]
    Row = tuple[Any, ...]

__all__ = ["Reader"]

CHUNK: Final = 1024
WITH_FEATURE: Final = "JOIN features ON features.id = items.id AND features.category_id = items.category_id"


class Reader(Places):
    """Queries on items and features."""

    compares_itself: Final = True
    """``nearest`` compares where the features lie, instead of bringing them here."""

    # Counting

    def count_products(self) -> int:
        """The number of distinct ProductIds."""
        return self._number("SELECT count(DISTINCT product_id) FROM items")

    def count(self, condition: Condition = EVERYTHING) -> int:
        """How many items meet the condition."""
        if condition == EVERYTHING:
            return sum(self.counts().values())
        wanted = compiled(condition)
        return self._number(f"SELECT count(*) FROM items WHERE {wanted.text}", wanted.parameters)

    def products_with_several(self) -> list[tuple[str, int]]:
        """ProductIds with more than one picture, and their number of pictures, sorted by ProductId."""
        rows = self.link.rows(
            "SELECT product_id, count(*) FROM items GROUP BY product_id HAVING count(*) > 1 ORDER BY product_id"
        )
        return [(name, count) for name, count in rows]

    # Items

    def item(self, key: Key) -> Item | None:
        """The item with this key."""
        row = self.link.row(
            f"SELECT {ITEM_COLUMNS} FROM {ITEM_SOURCE} WHERE product_id = %s AND pic_name = %s",
            (key.product_id, key.pic_name),
        )
        if row is None:
            return None
        item = self._item(row)
        if item.key != key:
            raise self.damage("the index of keys")
        return item

    def items(self, condition: Condition) -> Iterator[Item]:
        """The items that meet the condition, by rising id."""
        wanted = compiled(condition)
        yield from map(self._item, self._rising(f"SELECT {ITEM_COLUMNS} FROM {ITEM_SOURCE}", wanted))

    def items_by_key(self, condition: Condition, *, start: int = 0, limit: int | None = None) -> Iterator[Item]:
        """The items that meet the condition, by (ProductId, PicName); memory does not grow with their number."""
        wanted = compiled(condition)
        last = ("", "")
        left = limit
        while left is None or left > 0:
            size = CHUNK if left is None else min(CHUNK, left)
            rows = self.link.rows(
                f"SELECT {ITEM_COLUMNS} FROM {ITEM_SOURCE} WHERE ({wanted.text}) "
                "AND (items.product_id, items.pic_name) > (%s, %s) "
                "ORDER BY items.product_id, items.pic_name LIMIT %s OFFSET %s",
                (*wanted.parameters, *last, size, start),
            )
            yield from map(self._item, rows)
            if len(rows) < size:
                return
            last, start = rows[-1][1:3], 0
            left = None if left is None else left - len(rows)

    def has(self, item_id: int) -> bool:
        """Whether there is an item with that id."""
        return self.link.row("SELECT 1 FROM items WHERE id = %s", (item_id,)) is not None

    def keys(self, condition: Condition) -> list[Key]:
        """The keys of all items that meet the condition, sorted."""
        wanted = compiled(condition)
        rows = self.link.rows(f"SELECT {CHECKED_ITEM} FROM items WHERE {wanted.text}", wanted.parameters)
        self._verify_rows(rows)
        return sorted(Key(row[1], row[2]) for row in rows)

    def pictures(self, ids: Iterable[int]) -> Iterator[StoredPicture]:
        """Yield the items among these ids with their features, in no particular order."""
        for rows in self._by_id(f"SELECT {ITEM_COLUMNS}, {CHECKED_FEATURE} FROM {ITEM_SOURCE} {WITH_FEATURE}", ids):
            self._check_features([(row[0], row[-2], row[-1]) for row in rows])
            for row in rows:
                yield StoredPicture(self._item(row), np.frombuffer(row[-2], FEATURE_TYPE).astype(np.float32))

    def stored_records(self, keys: Sequence[Key]) -> dict[Key, Upsert]:
        """The stored items among these keys, as the upserts that would write them again."""
        rows = self.link.rows(
            f"SELECT {ITEM_COLUMNS}, {CHECKED_FEATURE} FROM unnest(%s::text[], %s::text[]) AS wanted (product, name) "
            "JOIN items ON product_id = wanted.product AND pic_name = wanted.name "
            f"LEFT JOIN roots ON roots.id = items.root_id {WITH_FEATURE}",
            ([key.product_id for key in keys], [key.pic_name for key in keys]),
        )
        return {change.key: change for change in map(self._as_upsert, rows)}

    def all_stored_records(self, *, chunk: int = CHUNK) -> Iterator[Upsert]:
        """Yield every item as the upsert that would write it again, in the order of addition.

        Raises:
            InstanceDamaged: an item is corrupted, or their number differs from the counts.
        """
        expected, given = self.count(), 0
        select = f"SELECT {ITEM_COLUMNS}, {CHECKED_FEATURE} FROM {ITEM_SOURCE} {WITH_FEATURE}"
        for row in self._rising(select, Sql("true"), chunk=chunk):
            given += 1
            yield self._as_upsert(row)
        if given != expected:
            raise self.damage("the number of items")

    def fingerprints(self, condition: Condition, *, chunk: int = 4096) -> Iterator[Fingerprints]:
        """Yield content hashes and perceptual hashes of the items that meet a condition, by ascending id."""
        wanted = compiled(condition)
        for rows in self._pieces(f"SELECT {CHECKED_ITEM} FROM items", wanted, chunk=chunk):
            yield self._fingerprints(rows)

    # Ids

    def asked(self, condition: Condition) -> int:  # noqa: ARG002 - as the port has it
        """Always once: nothing is remembered here."""
        return 1

    def matching_ids(self, condition: Condition) -> Ids:
        """Ids of the items that meet the condition, ascending."""
        wanted = compiled(condition)
        return np.sort(numbers(self.link.rows(f"SELECT id FROM items WHERE {wanted.text}", wanted.parameters)))

    def listed(self, condition: Condition) -> ListedIds:
        """The same, in little memory."""
        return ListedIds(self.matching_ids(condition))

    def matching(self, ids: Iterable[int], condition: Condition) -> Ids:
        """The given ids that are items and meet the condition, in no particular order."""
        found = self._by_id("SELECT items.id FROM items", ids, where=compiled(condition))
        return np.concatenate([np.zeros(0, np.int64), *map(numbers, found)])

    def ids_of_category(self, category: int) -> Ids:
        """Ids of a category, ascending."""
        return numbers(self.link.rows("SELECT id FROM items WHERE category_id = %s ORDER BY id", (category,)))

    def count_waiting(self, categories: tuple[int, ...] | None = None) -> int:
        """How many items of these categories (None: all) an index outside of the database may not show yet."""
        inside = "true" if categories is None else "category_id = ANY (%s::int[])"
        return self._number(
            f"SELECT count(*) FROM pending WHERE {inside}", () if categories is None else (list(categories),)
        )

    def waiting_ids(self) -> Ids:
        """Ids that an index outside of the database may not show yet, ascending."""
        return numbers(self.link.rows("SELECT id FROM pending ORDER BY id"))

    def identical_ids(self, same: Condition, condition: Condition, limit: int) -> Ids:
        """The first ``limit`` ids of items that meet a ``picture_condition`` and another one, ascending."""
        both = compiled(same.joined(condition))
        # The sum has the server look up the hash rather than walk along all ids.
        return numbers(
            self.link.rows(
                f"SELECT id FROM items WHERE {both.text} ORDER BY id + 0 LIMIT %s", (*both.parameters, limit)
            )
        )

    def first_of_products(self, product_ids: Iterable[str], limit: int) -> tuple[Ids, Ids]:
        """The first ``limit`` pictures of each product; see ``Truth.first_of_products``."""
        rows = self.link.rows(
            "SELECT first.id, wanted.place - 1 FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (name, place) "
            "CROSS JOIN LATERAL "
            "(SELECT id FROM items WHERE product_id = wanted.name ORDER BY pic_name LIMIT %s) AS first",
            (list(product_ids), limit),
        )
        return numbers(rows), numbers([row[1:] for row in rows])

    # Features

    def feature(self, item_id: int) -> Feature:
        """The stored feature of one item, shape (dimension,)."""
        feature: Feature = self.features_of([item_id])[1][0]
        return feature

    def features_of(self, ids: Iterable[int]) -> tuple[Ids, Feature]:
        """The features of items; each id is given once.

        Raises:
            InstanceDamaged: a feature is missing or corrupted.
        """
        wanted = list(ids)
        select = f"SELECT features.id, {CHECKED_FEATURE} FROM items {WITH_FEATURE}"
        rows = [row for piece in self._by_id(select, wanted) for row in piece]
        if len(rows) != len(wanted):
            raise self.damage("an item or its feature")
        found, features = self.checked_features(rows)
        return found, single(features)

    def checked_features(self, rows: list[Row]) -> tuple[Ids, Stored]:
        """Convert and verify rows of id and CHECKED_FEATURE."""
        self._check_features(rows)
        blob = b"".join(row[1] for row in rows)
        return numbers(rows), np.frombuffer(blob, FEATURE_TYPE).reshape(len(rows), -1 if rows else 0)

    def scan(
        self, condition: Condition, *, unindexed: bool = False, chunk: int = CHUNK
    ) -> Iterator[tuple[Ids, Stored]]:
        """Yield ids and features of the items that meet a condition, in chunks, by ascending id."""
        source = self._unindexed_source() if unindexed else ""
        if source is None:
            return
        select = f"SELECT items.id, {CHECKED_FEATURE} FROM items {WITH_FEATURE} {source}"
        for rows in self._pieces(select, compiled(condition), chunk=chunk):
            yield self.checked_features(rows)

    def _unindexed_source(self) -> str | None:
        """What joins items with those that are not in the index; None if all are in it."""
        if self.link.row("SELECT 1 FROM generations LIMIT 1") is None:
            return ""
        return "JOIN pending ON pending.id = items.id" if self.is_external else None

    def nearest(self, query: Feature, condition: Condition, size: int, *, unindexed: bool = False) -> Ids:
        """Ids of the ``size`` items nearest to a query among those that meet a condition, by comparing with all."""
        source = self._unindexed_source() if unindexed else ""
        if source is None:
            return np.zeros(0, np.int64)
        categories = categories_of(condition)
        if not source and (categories is not None or condition == EVERYTHING):
            given = "true" if categories is None else "category_id = ANY (%s::int[])"
            wanted = Sql(given, () if categories is None else (list(categories),))
            source = "features"
        else:
            wanted = compiled(condition)
            source = f"items {WITH_FEATURE} {source}"
        # An index of the feature is one of its cast to a length, so this order is never an index's.
        return numbers(
            self.link.rows(
                f"SELECT features.id FROM {source} WHERE {wanted.text} "
                "ORDER BY features.feature <#> %s, features.id LIMIT %s",
                (*wanted.parameters, half(query), size),
            )
        )

    def candidates(
        self, ids: Ids, features: Feature, marked: Condition, condition: Condition = EVERYTHING
    ) -> tuple[Pictures, npt.NDArray[np.bool_]]:
        """Return items whose features the caller has, in the given order, and which of them meet ``marked``.

        Raises:
            InstanceDamaged: an item is missing, corrupted or does not meet the condition.
        """
        mark, known = compiled(marked), compiled(condition)
        rows = {
            row[0]: row
            for piece in self._by_id(
                f"SELECT {CHECKED_ITEM}, {mark.text}, {known.text} FROM items",
                ids.tolist(),
                (*mark.parameters, *known.parameters),
            )
            for row in piece
        }
        self._verify_rows(rows.values(), ITEM_WIDTH)
        if len(rows) != len(ids) or not all(row[-1] for row in rows.values()):
            raise self.damage("an index of items")
        ordered = [rows[number] for number in ids.tolist()]
        groups = [(row[1], row[3]) for row in ordered]
        return Pictures(ids, groups, features), np.array([bool(row[-2]) for row in ordered], np.bool_)

    def siblings(self, ids: Iterable[int], condition: Condition = EVERYTHING) -> Iterator[Pictures]:
        """Yield the items among these ids that meet the condition, in non-empty chunks."""
        select = f"SELECT {CHECKED_ITEM}, {CHECKED_FEATURE} FROM items {WITH_FEATURE}"
        for rows in self._by_id(select, ids, where=compiled(condition)):
            if rows:
                yield self._pictures(rows)

    def verify(self, ids: Iterable[int]) -> None:
        """Hold items against their checksums.

        Raises:
            InstanceDamaged: one is missing or corrupted.
        """
        wanted = list(ids)
        rows = [row for piece in self._by_id(f"SELECT {CHECKED_ITEM} FROM items", wanted) for row in piece]
        if len(rows) != len(wanted):
            raise self.damage("an index of items")
        self._verify_rows(rows)

    # Statements

    def _by_id(
        self, select: str, ids: Iterable[int], parameters: tuple[Any, ...] = (), *, where: Sql | None = None
    ) -> Iterator[list[Row]]:
        """Rows of a statement for the ids, CHUNK at a time."""
        wanted = list(ids)
        also = where or Sql("true")
        for start in range(0, len(wanted), CHUNK):
            yield self.link.rows(
                f"{select} WHERE ({also.text}) AND items.id = ANY (%s::bigint[])",
                (*parameters, *also.parameters, wanted[start : start + CHUNK]),
            )

    def _pieces(self, select: str, where: Sql, *, chunk: int = CHUNK) -> Iterator[list[Row]]:
        """Rows of a statement by rising id, whose first column that is."""
        last = 0
        while True:
            rows = self.link.rows(
                f"{select} WHERE items.id > %s AND ({where.text}) ORDER BY items.id LIMIT %s",
                (last, *where.parameters, chunk),
            )
            if rows:
                yield rows
            if len(rows) < chunk:
                return
            last = rows[-1][0]

    def _rising(self, select: str, where: Sql, *, chunk: int = CHUNK) -> Iterator[Row]:
        for rows in self._pieces(select, where, chunk=chunk):
            yield from rows
