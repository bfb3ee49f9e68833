"""The truth of an instance in PostgreSQL: writing items, features and attributes beside any number of others."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import InstanceLocked, InvalidValue
from imgsearch.storage.checksum import feature_checksum, row_checksum
from imgsearch.storage.conditions import Sql
from imgsearch.storage.postgres.conditions import compiled, product_of
from imgsearch.storage.postgres.halves import Half, half
from imgsearch.storage.postgres.locks import lock_more, lock_products
from imgsearch.storage.postgres.partitions import Partitions
from imgsearch.storage.postgres.reader import Reader
from imgsearch.storage.postgres.schema import SLOTS
from imgsearch.storage.records import ITEM_ROW, item_columns
from imgsearch.types import Upsert
from imgsearch.values import ATTRIBUTE_COLUMNS, Key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.storage.postgres.connection import Link
    from imgsearch.types import Item
    from imgsearch.values import Attributes, Location

__all__ = ["Store"]

NAMES: Final = ", ".join(ITEM_ROW)
MAX_KEY_BYTES: Final = 2_600
"""An entry of an index takes 2,704, as a page holds three."""
AT_ONCE: Final = 1024
"""Rows that are read, changed and written back at a time."""
BY_KEY: Final = "(items.product_id, items.pic_name) IN (SELECT * FROM unnest(%s::text[], %s::text[]))"


class Store(Reader):
    """One connection to an instance, for reading and writing.

    Call writing methods inside ``with store.writing(products):``. What they change is locked first: products that the
    block did not name are locked when a method comes to them.
    """

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.partitions = Partitions(link)
        self._locked: set[str] | None = None
        """Products that the open transaction has locked; None: all."""

    @contextmanager
    def writing(self, products: Collection[str] | None = None) -> Iterator[None]:
        """Commit a block atomically.

        Args:
            products: ProductIds that the block changes; None: any.
        """
        try:
            with self.link.transaction():
                self._locked = None if lock_products(self.link, products) else set(products or ())
                yield
                self._write_counts()
        except BaseException:
            self.partitions.forget()
            raise
        finally:
            self._changed.clear()
            self._locked = set()

    def _lock(self, products: Iterable[str]) -> None:
        if self._locked is None:
            return
        missing = set(products) - self._locked
        if missing:
            lock_more(self.link, missing)
            self._locked |= missing

    def _write_counts(self) -> None:
        """Add what has changed to this connection's rows of the counts, in one order for all writers."""
        slot = self.link.connection.info.backend_pid % SLOTS
        self.link.run_many(
            "INSERT INTO counts (category_id, slot, items) VALUES (%s, %s, %s) "
            "ON CONFLICT (category_id, slot) DO UPDATE SET items = counts.items + excluded.items",
            [(category, slot, change) for category, change in sorted(self._changed.items()) if change],
        )

    # Items

    def check_key(self, key: Key) -> None:
        """Raise if an item cannot have this key.

        Raises:
            InvalidValue: it is too long for the index of keys.
        """
        size = len(key.product_id.encode()) + len(key.pic_name.encode())
        if size > MAX_KEY_BYTES:
            raise InvalidValue(
                f"ProductId and PicName have {size} bytes together in UTF-8; an instance in PostgreSQL takes "
                f"{MAX_KEY_BYTES}: shorten one of them",
                code="InvalidPicName",
            )

    def upsert(self, change: Upsert) -> bool:
        """Write an item under a new id; return whether it replaced one with the same key."""
        return self._insert([change])[1] > 0

    def insert(self, changes: Sequence[Upsert]) -> Sequence[int]:
        """Write items under new ascending ids; one that another writer has stored meanwhile is replaced."""
        return self._insert(changes)[0]

    def _insert(self, changes: Sequence[Upsert]) -> tuple[list[int], int]:
        """Write items, of which no two have the same key; also returns how many were replaced."""
        if not changes:
            return [], 0
        keys = [change.key for change in changes]
        self._lock(key.product_id for key in keys)
        replaced = len(self._delete(Sql(BY_KEY, _columns_of(keys))))
        ids = [
            row[0] for row in self.link.rows("SELECT nextval('item_ids') FROM generate_series(1, %s)", (len(changes),))
        ]
        roots = self._root_ids({change.location.root for change in changes if change.location is not None})
        items, features = [], []
        for item_id, change in zip(ids, changes, strict=True):
            row = (item_id, *item_columns(change, None if change.location is None else roots[change.location.root]))
            items.append((*row, row_checksum(*row)))
            feature = half(change.extracted.feature)
            features.append((item_id, int(change.extracted.category_id), feature, feature_checksum(item_id, feature)))
        added = Counter(int(change.extracted.category_id) for change in changes)
        self.partitions.ensure(added)
        self.link.load("items", (*ITEM_ROW, "seal"), items)
        self.link.load("features", ("id", "category_id", "feature", "seal"), features)
        if self.is_external:
            self.link.load("pending", ("id", "category_id"), [row[:2] for row in features])
        self._changed.update(added)
        return ids, replaced

    def _root_ids(self, paths: set[str]) -> dict[str, int]:
        """Numbers of folders, which nobody removes until the transaction ends."""
        found: dict[str, int] = {}
        if not paths:
            return found
        known = "SELECT path, id FROM roots WHERE path = ANY (%s::text[]) ORDER BY path FOR KEY SHARE"
        found.update(self.link.rows(known, (sorted(paths),)))
        missing = sorted(paths - found.keys())
        if not missing:
            return found
        made = self.link.rows(
            "INSERT INTO roots (path) SELECT path FROM unnest(%s::text[]) AS path ORDER BY path "
            "ON CONFLICT (md5(path)) DO NOTHING RETURNING id, path",
            (missing,),
        )
        self.link.run_many("UPDATE roots SET seal = %s WHERE id = %s", [(row_checksum(*row), row[0]) for row in made])
        found.update(self.link.rows(known, (missing,)))
        return found

    def remove(self, keys: Iterable[Key]) -> None:
        """Delete items by their keys."""
        wanted = list(keys)
        if wanted:
            self._lock(key.product_id for key in wanted)
            self._delete(Sql(BY_KEY, _columns_of(wanted)))

    def delete(self, condition: Condition) -> list[Key]:
        """Delete all items that meet the condition; return their keys, sorted."""
        wanted = compiled(condition)
        product = product_of(condition)
        if product is not None:
            self._lock([product])
        elif self._locked is not None:
            rows = self.link.rows(f"SELECT DISTINCT product_id FROM items WHERE {wanted.text}", wanted.parameters)
            self._lock(name for (name,) in rows)
        return sorted(Key(row[1], row[2]) for row in self._delete(wanted))

    def _delete(self, wanted: Sql) -> list[tuple[Any, ...]]:
        """Delete what meets a condition, also from the quarantine; returns the rows of the items."""
        note = (
            ", noted AS (INSERT INTO removed (id) SELECT id FROM gone ON CONFLICT DO NOTHING)"
            ", unlisted AS (DELETE FROM pending USING gone WHERE pending.id = gone.id)"
            if self.is_external
            else ""
        )
        rows = self.link.rows(
            f"WITH gone AS (DELETE FROM items WHERE {wanted.text} RETURNING {NAMES}, seal), without AS (DELETE FROM "
            "features USING gone WHERE features.id = gone.id AND features.category_id = gone.category_id), "
            f"cleared AS (DELETE FROM quarantine AS items WHERE {wanted.text}){note} SELECT {NAMES}, seal FROM gone",
            (*wanted.parameters, *wanted.parameters),
        )
        self._verify_rows(rows)
        self._changed.subtract(row[3] for row in rows)
        return rows

    # Changes of what is stored

    def update(
        self, item: Item, attributes: Attributes, category_id: int, category_given: bool, location: Location | None
    ) -> int:
        """Change metadata, which needs no picture; without a location, the stored one stays.

        Returns:
            The item's id after the change: another one after a change of category, as that is another partition.

        Raises:
            InstanceLocked: another writer has replaced or deleted the item since it was read.
        """
        self._lock([item.key.product_id])
        if category_id != item.category_id:
            before = self.stored_records([item.key]).get(item.key)
            if before is None:
                raise self._outdated(item.key)
            moved = Upsert(
                item.key,
                replace(before.extracted, category_id=category_id),
                item.region_mode,
                category_given,
                attributes,
                location or before.location,
            )
            return self.insert([moved])[0]
        values = {"category_given": int(category_given), **attributes.columns()}
        if location is not None:
            roots = self._root_ids({location.root})
            values |= {"root_id": roots[location.root], "relative_path": location.relative}
        if not self._rewrite([item.id], lambda _id: values):
            raise self._outdated(item.key)
        return item.id

    def _outdated(self, key: Key) -> InstanceLocked:
        return InstanceLocked(
            f"another writer has just changed {key.pic_name!r} of product {key.product_id!r} in "
            f"{self.link.address.url}: run the command again"
        )

    def set_attributes(self, ids: Iterable[int], values: Mapping[str, Any]) -> None:
        """Set attributes of items; attributes that are not named keep their values."""
        assert values
        assert set(values).issubset(ATTRIBUTE_COLUMNS)
        self._rewrite(list(ids), lambda _id: values)

    def set_tokens(self, tokens: Sequence[tuple[int, bytes | None]]) -> None:
        """Store the sources' change tokens: pairs of item id and token."""
        by_id = dict(tokens)
        self._rewrite(list(by_id), lambda item_id: {"token": by_id[item_id]})

    def set_picture_hashes(self, hashes: Sequence[tuple[int, bytes]]) -> None:
        """Store perceptual hashes of items that had none: pairs of item id and hash."""
        by_id = dict(hashes)
        self._rewrite(list(by_id), lambda item_id: {"picture_hash": by_id[item_id]})

    def forget_places(self, ids: list[int]) -> None:
        """Have items no longer know their files."""
        self._rewrite(ids, lambda _id: {"root_id": None, "relative_path": None})

    def _rewrite(self, ids: list[int], changed: Callable[[int], Mapping[str, Any]]) -> int:
        """Change columns of items, with their checksums; returns how many of the items there are.

        Rows are verified first: a new checksum would make a corrupted row look right.
        """
        count = 0
        for start in range(0, len(ids), AT_ONCE):
            rows = self.link.rows(
                f"SELECT {NAMES}, seal FROM items WHERE id = ANY (%s::bigint[]) ORDER BY id FOR UPDATE",
                (ids[start : start + AT_ONCE],),
            )
            self._verify_rows(rows)
            count += len(rows)
            written = []
            for row in rows:
                new = tuple({**dict(zip(ITEM_ROW, row[:-1], strict=True)), **changed(row[0])}.values())
                written.append((*new[1:], row_checksum(*new), new[0]))
            names = ", ".join(f"{name} = %s" for name in (*ITEM_ROW[1:], "seal"))
            self.link.run_many(f"UPDATE items SET {names} WHERE id = %s", written)
        return count

    def rewrite_features(
        self, converted: Callable[[npt.NDArray[np.float16]], npt.NDArray[np.float16]], *, chunk: int
    ) -> None:
        """Convert all stored features, in chunks, by ascending id.

        Args:
            converted: maps features of shape (n, dimension), n at most ``chunk``, to their replacements.
            chunk: the maximum number of features per call.
        """
        last = 0
        while True:
            rows = self.link.rows(
                "SELECT id, feature, seal, category_id FROM features WHERE id > %s ORDER BY id LIMIT %s", (last, chunk)
            )
            if not rows:
                return
            ids, features = self.checked_features([row[:3] for row in rows])
            halves = [Half(row.tobytes()) for row in converted(features)]
            self.link.run_many(
                "UPDATE features SET feature = %s, seal = %s WHERE id = %s AND category_id = %s",
                [
                    (feature, feature_checksum(row[0], feature), row[0], row[3])
                    for feature, row in zip(halves, rows, strict=True)
                ],
            )
            last = int(ids[-1])

    def prune_roots(self) -> None:
        """Delete folders that no item refers to any more; nobody else may commit meanwhile."""
        self.link.run("DELETE FROM roots WHERE NOT EXISTS (SELECT 1 FROM items WHERE items.root_id = roots.id)")


def _columns_of(keys: Sequence[Key]) -> tuple[list[str], list[str]]:
    return [key.product_id for key in keys], [key.pic_name for key in keys]
