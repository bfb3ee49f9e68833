"""The truth of an instance: items, their features and their attributes in SQLite."""

from __future__ import annotations

import functools
import json
import os
import sqlite3
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import numpy as np

from imgsearch.engine.database import connect, storage_errors, transaction
from imgsearch.engine.filters import Condition
from imgsearch.engine.schema import check_version, migrate
from imgsearch.records import (
    ATTRIBUTE_COLUMNS,
    Attributes,
    Extracted,
    Item,
    Key,
    Location,
    Region,
    RegionMode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy.typing as npt

__all__ = [
    "DATABASE_NAME",
    "EVERYTHING",
    "Generation",
    "Pictures",
    "Store",
    "StoredPicture",
    "Upsert",
    "category_condition",
    "picture_condition",
    "product_condition",
]

P = ParamSpec("P")
T = TypeVar("T")

DATABASE_NAME: Final = "instance.db"

FEATURE_TYPE: Final = np.dtype("<f2")
"""Stored features are little-endian float16, L2-normalised."""

MAX_PARAMETERS: Final = 500
"""Ids per statement, far below SQLite's limit on parameters."""

ITEM_COLUMNS: Final = (
    "items.id, product_id, pic_name, category_id, region_mode, category_given, x1, x2, y1, y2, content_hash, token, "
    f"relative_path, roots.path, {', '.join(ATTRIBUTE_COLUMNS)}"
)
ITEM_SOURCE: Final = "items LEFT JOIN roots ON roots.id = items.root_id"

EVERYTHING: Final = Condition("1")


def product_condition(product_id: str, pic_name: str | None = None) -> Condition:
    """All pictures of a product, or the one with that name."""
    condition = Condition("items.product_id = ?", (product_id,))
    return condition if pic_name is None else condition.joined(Condition("items.pic_name = ?", (pic_name,)))


def category_condition(category_ids: tuple[int, ...]) -> Condition:
    """Items of exactly these categories."""
    return Condition(f"items.category_id IN ({', '.join('?' * len(category_ids))})", category_ids)


def picture_condition(content_hash: bytes, region: Region | None = None) -> Condition:
    """Items made from the very same bytes; with a region, from that region of them only."""
    condition = Condition("items.content_hash = ?", (content_hash,))
    return condition if region is None else condition.joined(_region_condition(region))


def _region_condition(region: Region) -> Condition:
    return Condition("(items.x1, items.x2, items.y1, items.y2) = (?, ?, ?, ?)", astuple(region))


@dataclass(frozen=True, slots=True)
class Upsert:
    """One item to be written: new, or in place of the one with the same key."""

    key: Key
    extracted: Extracted
    region_mode: RegionMode
    category_given: bool
    attributes: Attributes
    location: Location | None


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """An item as a search returns it."""

    item: Item
    feature: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Some items as a search ranks them, column by column."""

    ids: npt.NDArray[np.int64]
    """Shape (n,)."""
    groups: list[tuple[str, int]]
    """ProductId and category of each."""
    features: npt.NDArray[np.float32]
    """Shape (n, dimension), L2-normalised; (0, 0) if there are none."""

    def take(self, positions: npt.NDArray[np.int64]) -> Pictures:
        """Those at the positions, in their order."""
        return Pictures(self.ids[positions], [self.groups[n] for n in positions.tolist()], self.features[positions])


@dataclass(frozen=True, slots=True)
class Generation:
    """A published index file, as the database describes it."""

    number: int
    structure: str
    """``flat``, or the FAISS factory string of an approximate index."""
    bytes: int
    checksum: str
    items: int
    max_id: int
    nprobe: int | None
    recall: float | None
    """recall@10 against exact search, measured when it was built; None for an exact one."""
    created: int
    """Seconds since the epoch."""

    @property
    def file_name(self) -> str:
        """Name of the index file inside the instance's folder."""
        return f"index-{self.number}.faiss"


def _translated(read: Callable[Concatenate[Store, P], T]) -> Callable[Concatenate[Store, P], T]:
    """For reading methods that are called outside of the engine's own blocks: damage has its name there too."""

    @functools.wraps(read)
    def translated(self: Store, /, *args: P.args, **options: P.kwargs) -> T:
        with storage_errors(self.path.parent):
            return read(self, *args, **options)

    return translated


class Store:
    """One connection to an instance's database.

    Writing methods run inside ``with store.writing():``, so that the caller decides what is one commit.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    def create(cls, path: Path, settings: dict[str, Any]) -> None:
        """Make a new database at ``path`` (no file may be there) with these settings."""
        with storage_errors(path.parent):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                migrate(connection)
                with transaction(connection, write=True):
                    connection.executemany(
                        "INSERT INTO settings VALUES (?, ?)",
                        [(name, json.dumps(value)) for name, value in settings.items()],
                    )
            finally:
                connection.close()

    @classmethod
    def open(cls, path: Path, *, write: bool) -> Store:
        """Open an existing database; a writer brings an older format up to date.

        Raises:
            InstanceDamaged, NewerFormat, StorageUnwritable
        """
        connection = connect(path, write=write)
        try:
            with storage_errors(path.parent):
                check_version(connection, str(path))
                if write:
                    migrate(connection)
        except BaseException:
            connection.close()
            raise
        return cls(connection, path)

    def close(self) -> None:
        """Close the connection; the store is of no use after that."""
        self._connection.close()

    def reading(self) -> AbstractContextManager[None]:
        """A block that sees one snapshot."""
        return transaction(self._connection)

    def writing(self) -> AbstractContextManager[None]:
        """A block that is committed as a whole, or not at all."""
        return transaction(self._connection, write=True)

    # Settings and facts

    @_translated
    def settings(self) -> dict[str, Any]:
        """Everything that was given to ``create``."""
        return {name: json.loads(value) for name, value in self._connection.execute("SELECT name, value FROM settings")}

    @_translated
    def counts(self) -> dict[int, int]:
        """Items per category, without the empty ones."""
        return dict(self._connection.execute("SELECT category_id, items FROM counts WHERE items > 0"))

    @_translated
    def count_products(self) -> int:
        """How many different ProductIds there are."""
        (count,) = self._connection.execute("SELECT count(DISTINCT product_id) FROM items").fetchone()
        return int(count)

    @_translated
    def count_newer(self, max_id: int) -> int:
        """How many items have an id above ``max_id``."""
        (count,) = self._connection.execute("SELECT count(*) FROM items WHERE id > ?", (max_id,)).fetchone()
        return int(count)

    # Items

    @_translated
    def item(self, key: Key) -> Item | None:
        """The item with this key."""
        row = self._connection.execute(
            f"SELECT {ITEM_COLUMNS} FROM {ITEM_SOURCE} WHERE product_id = ? AND pic_name = ?",
            (key.product_id, key.pic_name),
        ).fetchone()
        return _item(row) if row else None

    @_translated
    def feature(self, item_id: int) -> npt.NDArray[np.float32]:
        """The stored feature of one item, shape (dimension,)."""
        (blob,) = self._connection.execute("SELECT feature FROM features WHERE id = ?", (item_id,)).fetchone()
        return np.frombuffer(blob, FEATURE_TYPE).astype(np.float32)

    def pictures(self, ids: Iterable[int]) -> Iterator[StoredPicture]:
        """Those of the ids that are items, with their features; in no particular order."""
        for rows in self._by_id(
            f"SELECT {ITEM_COLUMNS}, feature FROM {ITEM_SOURCE} JOIN features ON features.id = items.id", ids
        ):
            for row in rows:
                yield StoredPicture(_item(row[:-1]), np.frombuffer(row[-1], FEATURE_TYPE).astype(np.float32))

    def candidates(self, ids: Iterable[int], marked: Condition) -> tuple[Pictures, npt.NDArray[np.bool_]]:
        """Those of the ids that are items, in no particular order, and which of them meet a condition."""
        rows = [
            row
            for cursor in self._by_id(
                f"SELECT items.id, product_id, category_id, feature, {marked.sql} "
                "FROM items JOIN features ON features.id = items.id",
                ids,
                marked.parameters,
            )
            for row in cursor
        ]
        return _pictures(rows), np.fromiter((row[4] for row in rows), dtype=np.bool_, count=len(rows))

    def product_pictures(
        self, product_ids: Iterable[str], limit: int, condition: Condition = EVERYTHING, *, chunk: int = 1024
    ) -> Iterator[Pictures]:
        """Pictures of some products: of each the first ``limit`` by PicName, and of these what meets the condition.

        By name, because that is how an index keeps them: not more than these are read, however many a product has.

        Yields:
            At most ``chunk`` of them, at least one.
        """
        wanted = list(product_ids)
        for start in range(0, len(wanted), MAX_PARAMETERS):
            some = wanted[start : start + MAX_PARAMETERS]
            # CROSS JOIN keeps SQLite to this order: from the product to its first pictures, from these to the features.
            cursor = self._connection.execute(
                f"WITH products (name) AS (VALUES {','.join(['(?)'] * len(some))}) "
                "SELECT items.id, product_id, category_id, feature FROM products CROSS JOIN items ON items.id IN "
                "(SELECT id FROM items WHERE product_id = products.name ORDER BY pic_name LIMIT ?) "
                f"CROSS JOIN features ON features.id = items.id WHERE {condition.sql}",
                (*some, limit, *condition.parameters),
            )
            while rows := cursor.fetchmany(chunk):
                yield _pictures(rows)

    def _by_id(self, select: str, ids: Iterable[int], parameters: tuple[Any, ...] = ()) -> Iterator[sqlite3.Cursor]:
        wanted = list(ids)
        for start in range(0, len(wanted), MAX_PARAMETERS):
            some = wanted[start : start + MAX_PARAMETERS]
            yield self._connection.execute(
                f"{select} WHERE items.id IN ({','.join('?' * len(some))})", (*parameters, *some)
            )

    @_translated
    def keys(self, condition: Condition) -> list[Key]:
        """The keys of all items that meet the condition, sorted."""
        rows = self._connection.execute(
            f"SELECT product_id, pic_name FROM items WHERE {condition.sql} ORDER BY product_id, pic_name",
            condition.parameters,
        )
        return [Key(*row) for row in rows]

    @_translated
    def count(self, condition: Condition = EVERYTHING) -> int:
        """How many items meet the condition."""
        if condition is EVERYTHING:
            return sum(self.counts().values())
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM items WHERE {condition.sql}", condition.parameters
        ).fetchone()
        return int(count)

    def matching_ids(self, condition: Condition, limit: int = -1) -> npt.NDArray[np.int64]:
        """Ids of the items that meet the condition, rising: all of them, or the first ``limit``."""
        rows = self._connection.execute(
            f"SELECT id FROM items WHERE {condition.sql} ORDER BY id LIMIT ?", (*condition.parameters, limit)
        )
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def features(
        self, condition: Condition = EVERYTHING, *, above: int = 0, chunk: int = 1024
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]]:
        """Ids and features of the items that meet the condition and have an id above ``above``, by rising id.

        Yields:
            Ids of shape (n,) and float16 features of shape (n, dimension), n at most ``chunk``.
        """
        if condition is EVERYTHING:
            sql, parameters = "SELECT id, feature FROM features WHERE id > ? ORDER BY id", (above,)
        else:
            sql = (
                "SELECT items.id, feature FROM items JOIN features ON features.id = items.id "
                f"WHERE items.id > ? AND ({condition.sql}) ORDER BY items.id"
            )
            parameters = (above, *condition.parameters)
        cursor = self._connection.execute(sql, parameters)
        while rows := cursor.fetchmany(chunk):
            ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
            blob = b"".join(row[1] for row in rows)
            yield ids, np.frombuffer(blob, FEATURE_TYPE).reshape(len(rows), -1)

    # Changes

    def upsert(self, change: Upsert) -> bool:
        """Write one item under a new id; return whether there was one with the same key."""
        extracted, key = change.extracted, change.key
        replaced = bool(self.delete(product_condition(key.product_id, key.pic_name)))
        root_id, relative = self._location(change.location)
        region = extracted.region
        names = (
            "product_id, pic_name, category_id, category_given, region_mode, x1, x2, y1, y2, subjects, content_hash, "
            f"token, root_id, relative_path, {', '.join(ATTRIBUTE_COLUMNS)}"
        )
        values = (
            key.product_id,
            key.pic_name,
            extracted.category_id,
            change.category_given,
            change.region_mode,
            region.x1,
            region.x2,
            region.y1,
            region.y2,
            json.dumps([str(subject) for subject in extracted.subjects]) if extracted.subjects else None,
            extracted.content_hash,
            extracted.token,
            root_id,
            relative,
            *change.attributes.columns().values(),
        )
        cursor = self._connection.execute(
            f"INSERT INTO items ({names}) VALUES ({', '.join('?' * len(values))})", values
        )
        self._connection.execute(
            "INSERT INTO features (id, feature) VALUES (?, ?)",
            (cursor.lastrowid, extracted.feature.astype(FEATURE_TYPE).tobytes()),
        )
        return replaced

    def update(
        self, item: Item, attributes: Attributes, category_id: int, category_given: bool, location: Location | None
    ) -> None:
        """Change what can be changed without the picture; without a location, the stored one stays."""
        names = ", ".join(f"{name} = ?" for name in ATTRIBUTE_COLUMNS)
        self._connection.execute(
            f"UPDATE items SET category_id = ?, category_given = ?, {names} WHERE id = ?",
            (category_id, category_given, *attributes.columns().values(), item.id),
        )
        if location is not None:
            root_id, relative = self._location(location)
            self._connection.execute(
                "UPDATE items SET root_id = ?, relative_path = ? WHERE id = ?", (root_id, relative, item.id)
            )

    def set_tokens(self, tokens: Sequence[tuple[int, bytes | None]]) -> None:
        """Remember the sources' tokens for items found unchanged: pairs of id and token."""
        self._connection.executemany("UPDATE items SET token = ? WHERE id = ?", [(token, i) for i, token in tokens])

    def delete(self, condition: Condition) -> list[Key]:
        """Delete all items that meet the condition; return their keys, sorted."""
        rows = self._connection.execute(
            f"DELETE FROM items WHERE {condition.sql} RETURNING product_id, pic_name", condition.parameters
        )
        return sorted(Key(*row) for row in rows)

    def _location(self, location: Location | None) -> tuple[int | None, str | None]:
        if location is None:
            return None, None
        row = self._connection.execute("SELECT id FROM roots WHERE path = ?", (location.root,)).fetchone()
        if row is None:
            row = (self._connection.execute("INSERT INTO roots (path) VALUES (?)", (location.root,)).lastrowid,)
        return row[0], location.relative

    # Index generations

    @_translated
    def generation(self) -> Generation | None:
        """The published generation."""
        row = self._connection.execute(
            "SELECT number, structure, bytes, checksum, items, max_id, nprobe, recall, created "
            "FROM generations ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return Generation(*row) if row else None

    def removed_ids(self) -> npt.NDArray[np.int64]:
        """Ids that the published generation holds and that are no longer items."""
        return np.fromiter((row[0] for row in self._connection.execute("SELECT id FROM removed")), dtype=np.int64)

    def publish(self, generation: Generation) -> None:
        """Make this generation, which holds every present item up to its ``max_id``, the one that readers use."""
        self._connection.execute("DELETE FROM generations")
        values = astuple(generation)
        self._connection.execute(f"INSERT INTO generations VALUES ({', '.join('?' * len(values))})", values)
        self._connection.execute("DELETE FROM removed")


def _pictures(rows: list[tuple[Any, ...]]) -> Pictures:
    """From rows that begin with id, ProductId, category and feature."""
    features = np.frombuffer(b"".join(row[3] for row in rows), FEATURE_TYPE).astype(np.float32)
    return Pictures(
        np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows)),
        [(row[1], row[2]) for row in rows],
        features.reshape(len(rows), -1 if rows else 0),
    )


def _item(row: tuple[Any, ...]) -> Item:
    (item_id, product_id, pic_name, category_id, mode, given, x1, x2, y1, y2, content, token, relative, root) = row[:14]
    return Item(
        id=item_id,
        key=Key(product_id, pic_name),
        category_id=category_id,
        region=Region(x1, x2, y1, y2),
        region_mode=RegionMode(mode),
        category_given=bool(given),
        content_hash=content,
        token=token,
        attributes=Attributes(*row[14:]),
        location=None if root is None else Location(root, relative).path(pic_name),
    )
