"""The truth of an instance: items, their features and their attributes in SQLite."""

from __future__ import annotations

import functools
import itertools
import json
import os
import sqlite3
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import numpy as np

from imgsearch.errors import InstanceDamaged, OlderFormat
from imgsearch.filters.tree import EVERYTHING, category_condition, is_of_attributes, product_condition
from imgsearch.projection import Projection
from imgsearch.storage.sqlite.checksum import FUNCTION, feature_checksum, is_valid, register, row_checksum
from imgsearch.storage.sqlite.conditions import Sql, compiled
from imgsearch.storage.sqlite.database import connect, storage_errors, transaction
from imgsearch.storage.sqlite.schema import (
    FORMAT_VERSION,
    GENERATION_ROW,
    ITEM_ROW,
    PAGE_BYTES,
    ROOT_ROW,
    check_schema,
    check_version,
    migrate,
)
from imgsearch.storage.sqlite.wal import is_altered, log_of
from imgsearch.types import (
    ATTRIBUTE_COLUMNS,
    Attributes,
    Extracted,
    Item,
    Key,
    Location,
    Region,
    RegionMode,
    Upsert,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition

__all__ = [
    "DATABASE_NAME",
    "FEATURE_TYPE",
    "PROJECTION",
    "SETTING_TABLES",
    "TUNED",
    "Generation",
    "Pictures",
    "Store",
    "StoredPicture",
]

P = ParamSpec("P")
T = TypeVar("T")

DATABASE_NAME: Final = "instance.db"

FEATURE_TYPE: Final = np.dtype("<f2")
"""Stored features are little-endian float16, L2-normalised."""

MAX_PARAMETERS: Final = 500
"""Ids per statement, far below SQLite's limit on parameters."""

SEALED_ITEM: Final = f"{', '.join(f'items.{name}' for name in ITEM_ROW)}, items.seal"
SEALED_FEATURE: Final = "feature, features.seal"
SETTING_TABLES: Final = ("settings", "settings_copy")
TUNED: Final = "tuned"
"""The setting that names the projection which is applied to all stored features; not there without one."""
PROJECTION: Final = "projection"
"""The setting that holds it. Apart, so that a search reads the name only."""
ITEM_COLUMNS: Final = f"{SEALED_ITEM}, roots.path, roots.seal"
ITEM_SOURCE: Final = "items LEFT JOIN roots ON roots.id = items.root_id"
ITEM_WIDTH: Final = len(ITEM_ROW) + 1
"""Columns of SEALED_ITEM."""

EVERY_ROW: Final = Sql("1")
VERIFY_BELOW_BYTES: Final = 8 * 2**20
"""Databases below this size have their whole structure verified whenever they are opened."""


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
    trained: int | None = None
    """Items when the lists were trained; None in a flat one."""
    lists: str | None = None
    """JSON: category to number of inverted lists, in the order in which they stand in the file; None in a flat one."""

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

    def __init__(self, connection: sqlite3.Connection, path: Path, *, write: bool) -> None:
        self._connection = connection
        self._write = write
        self.path = path
        self._tuning: Projection | None = None

    @classmethod
    def create(cls, path: Path, settings: dict[str, Any], page_bytes: int = PAGE_BYTES) -> None:
        """Make a new database at ``path`` (no file may be there) with these settings."""
        with storage_errors(path.parent):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                connection.execute(f"PRAGMA page_size = {page_bytes}")
                connection.execute("PRAGMA journal_mode = WAL")
                migrate(connection)
                with transaction(connection, write=True):
                    rows = [(name, json.dumps(value)) for name, value in settings.items()]
                    for table in SETTING_TABLES:
                        connection.executemany(
                            f"INSERT INTO {table} VALUES (?, ?, ?)", [(*row, row_checksum(*row)) for row in rows]
                        )
                # Closing would do so as well, but says nothing if it fails; and the log is not renamed with the file.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.close()

    @classmethod
    def open(cls, path: Path, *, write: bool, verify: bool = True) -> Store:
        """Open an existing database; a writer brings an older format up to date.

        Args:
            path: of the database.
            write: for writing; the caller holds the writer lock.
            verify: look at the log, the schema, and the whole structure of a small database, before anything is
                believed, or moved from the log to its place.

        Raises:
            InstanceDamaged, NewerFormat, OlderFormat, StorageUnwritable
        """
        with storage_errors(path.parent):
            if verify and is_altered(path):
                raise InstanceDamaged(f"{log_of(path)} is not what was written: run 'imgsearch check --repair'")
        connection = connect(path, write=write)
        try:
            with storage_errors(path.parent):
                register(connection)
                version = check_version(connection, str(path))
                if write:
                    migrate(connection)
                elif version < FORMAT_VERSION:
                    raise OlderFormat(
                        f"{path} has format {version}, older than this release's {FORMAT_VERSION}: "
                        "run a command that may write there, such as 'imgsearch check --repair'"
                    )
                if verify:
                    check_schema(connection, str(path))
                    if path.stat().st_size < VERIFY_BELOW_BYTES:
                        _check_structure(connection, path)
        except BaseException:
            connection.close()
            raise
        return cls(connection, path, write=write)

    def close(self) -> None:
        """Close the connection; the store is of no use after that."""
        if self._write:
            self._empty_wal()
        self._connection.close()

    def _empty_wal(self) -> None:
        """Move what lies in the WAL to its place, as far as no reader needs it where it is.

        SQLite does so when the last connection is closed, but not where that one may only read. Old versions of pages
        there still hold what was deleted since, and each commit hangs on those before it: one altered bit takes all
        behind it along.
        """
        with suppress(sqlite3.Error):  # where it cannot be done now, the log keeps it, and the next writer tries again
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def reading(self) -> AbstractContextManager[None]:
        """A block that sees one snapshot."""
        return transaction(self._connection)

    def writing(self) -> AbstractContextManager[None]:
        """A block that is committed as a whole, or not at all."""
        return transaction(self._connection, write=True)

    # Settings and facts

    @property
    def connection(self) -> sqlite3.Connection:
        """For what looks at the database as such: checks and repairs."""
        return self._connection

    @_translated
    def settings(self) -> dict[str, Any]:
        """Everything that was given to ``create`` and set since."""
        rows = self._connection.execute("SELECT name, value, seal FROM settings").fetchall()
        self._check_seals(rows)
        return {name: json.loads(value) for name, value, _ in rows}

    @_translated
    def made_by(self) -> dict[str, Any]:
        """The model that made the features, as it was given to ``create``: another one after a reindex."""
        row = self._connection.execute("SELECT name, value, seal FROM settings WHERE name = 'model'").fetchone()
        if row is None:
            raise self.damage("the setting 'model'")
        self._check_seals([row])
        model: dict[str, Any] = json.loads(row[1])
        return model

    @property
    def page_bytes(self) -> int:
        """Of the database; older releases made smaller pages."""
        (size,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int(size)

    def set_setting(self, name: str, value: Any) -> None:
        """Add a setting, or change it, in both places."""
        row = (name, json.dumps(value))
        for table in SETTING_TABLES:
            self._connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", (*row, row_checksum(*row)))

    @_translated
    def tuning(self) -> Projection | None:
        """The projection that all stored features have been through, as of this snapshot; None without one.

        Raises:
            InstanceDamaged: it is not what was written.
        """
        name = self._setting(TUNED)
        if name is None:
            return None
        if self._tuning is None or self._tuning.name != name:
            try:
                tuning = Projection.from_text(self._setting(PROJECTION))
            except ValueError:
                raise self.damage("the tuning") from None
            if tuning.name != name:
                raise self.damage("the tuning")
            self._tuning = tuning
        return self._tuning

    def set_tuning(self, tuning: Projection | None) -> None:
        """Say what all stored features have been through; it is the caller's to make that true in the same commit."""
        if tuning is not None:
            self.set_setting(TUNED, tuning.name)
            self.set_setting(PROJECTION, tuning.as_text())
            return
        for table in SETTING_TABLES:
            self._connection.execute(f"DELETE FROM {table} WHERE name IN (?, ?)", (TUNED, PROJECTION))

    def _setting(self, name: str) -> Any:
        row = self._connection.execute("SELECT name, value, seal FROM settings WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        self._check_seals([row])
        return json.loads(row[1])

    def _check_seals(self, rows: Iterable[tuple[Any, ...]], width: int | None = None) -> None:
        """Refuse rows that are not what was written.

        Args:
            rows: a row's columns, then its seal.
            width: how many columns that is with the seal; by default all.
        """
        if not all(is_valid(row[:width]) for row in rows):
            raise self.damage("a row")

    def _check_features(self, rows: Iterable[tuple[int, bytes, int]]) -> None:
        """Refuse features that are not what was written: rows of id, feature and seal."""
        for item_id, feature, seal in rows:
            if feature_checksum(item_id, feature) != seal:
                raise self.damage("a feature")

    def damage(self, what: str) -> InstanceDamaged:
        """What to tell people when something that was read is not what was written."""
        return InstanceDamaged(
            f"{what} in {self.path} is not what was written: run 'imgsearch check --read-data' to see what is broken, "
            "'imgsearch check --repair' to mend it"
        )

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
        if row is None:
            return None
        item = self._item(row)
        if item.key != key:
            raise self.damage("the index of keys")
        return item

    def has(self, item_id: int) -> bool:
        """Whether there is an item with that id."""
        return self._connection.execute("SELECT 1 FROM items WHERE id = ?", (item_id,)).fetchone() is not None

    @_translated
    def feature(self, item_id: int) -> npt.NDArray[np.float32]:
        """The stored feature of one item, shape (dimension,)."""
        row = self._connection.execute(f"SELECT id, {SEALED_FEATURE} FROM features WHERE id = ?", (item_id,)).fetchone()
        if row is None:
            raise self.damage("the feature of an item")
        self._check_features([row])
        return np.frombuffer(row[1], FEATURE_TYPE).astype(np.float32)

    def pictures(self, ids: Iterable[int]) -> Iterator[StoredPicture]:
        """Those of the ids that are items, with their features; in no particular order."""
        for rows in self._by_id(
            f"SELECT {ITEM_COLUMNS}, {SEALED_FEATURE} FROM {ITEM_SOURCE} JOIN features ON features.id = items.id",
            ids,
        ):
            for row in rows:
                self._check_features([(row[0], row[-2], row[-1])])
                yield StoredPicture(self._item(row), np.frombuffer(row[-2], FEATURE_TYPE).astype(np.float32))

    def features_of(self, ids: Iterable[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The features of some items.

        Args:
            ids: each once.

        Returns:
            Ids of shape (n,) in no particular order, and features of shape (n, dimension), L2-normalised; (0, 0) if
            there are none.

        Raises:
            InstanceDamaged: one has no feature, or not the one that was written.
        """
        wanted = list(ids)
        rows = [
            row
            for cursor in self._by_id(f"SELECT id, {SEALED_FEATURE} FROM features", wanted, of="features")
            for row in cursor
        ]
        if len(rows) != len(wanted):
            raise self.damage("an item or its feature")
        self._check_features(rows)
        features = np.frombuffer(b"".join(row[1] for row in rows), FEATURE_TYPE).astype(np.float32)
        found = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
        return found, features.reshape(len(rows), -1 if rows else 0)

    def matching(self, ids: Iterable[int], condition: Condition) -> npt.NDArray[np.int64]:
        """Those of the ids that are items and meet the condition, in no particular order."""
        found = self._by_id("SELECT items.id FROM items", ids, where=compiled(condition))
        return np.concatenate([np.zeros(0, np.int64), *map(_numbers, found)])

    def candidates(
        self,
        ids: npt.NDArray[np.int64],
        features: npt.NDArray[np.float32],
        marked: Condition,
        condition: Condition = EVERYTHING,
    ) -> tuple[Pictures, npt.NDArray[np.bool_]]:
        """Items whose features are known, as a search ranks them, and which of them are marked.

        Args:
            ids: each once; shape (n,).
            features: theirs; shape (n, dimension).
            marked: what an item meets to be marked.
            condition: what all of them are known to meet.

        Raises:
            InstanceDamaged: one is no item, does not meet the condition, or is not what was written.
        """
        mark, known = compiled(marked), compiled(condition)
        rows = {
            row[0]: row
            for cursor in self._by_id(
                f"SELECT {SEALED_ITEM}, {mark.text}, {known.text} FROM items",
                ids.tolist(),
                (*mark.parameters, *known.parameters),
            )
            for row in cursor
        }
        self._check_seals(rows.values(), ITEM_WIDTH)
        if len(rows) != len(ids) or not all(row[-1] for row in rows.values()):
            raise self.damage("an index of items")
        ordered = [rows[number] for number in ids.tolist()]
        groups = [(row[1], row[3]) for row in ordered]
        return Pictures(ids, groups, features), np.array([row[-2] for row in ordered], np.bool_)

    def first_of_products(self, product_ids: Iterable[str], limit: int) -> npt.NDArray[np.int64]:
        """Ids of the pictures of some products, of each the first ``limit`` by PicName; in no particular order.

        By name, because that is how an index keeps them: not more than these are read, however many a product has.
        """
        wanted = list(product_ids)
        found: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
        for start in range(0, len(wanted), MAX_PARAMETERS):
            some = wanted[start : start + MAX_PARAMETERS]
            rows = self._connection.execute(
                f"WITH products (name) AS (VALUES {','.join(['(?)'] * len(some))}) "
                "SELECT items.id FROM products CROSS JOIN items ON items.id IN "
                "(SELECT id FROM items WHERE product_id = products.name ORDER BY pic_name LIMIT ?)",
                (*some, limit),
            )
            found.append(_numbers(rows))
        return np.concatenate(found)

    def siblings(self, ids: Iterable[int], condition: Condition = EVERYTHING) -> Iterator[Pictures]:
        """Those of the ids that are items and meet the condition, some at a time, at least one.

        Raises:
            InstanceDamaged: one is not what was written.
        """
        for cursor in self._by_id(
            f"SELECT {SEALED_ITEM}, {SEALED_FEATURE} FROM items JOIN features ON features.id = items.id",
            ids,
            where=compiled(condition),
        ):
            rows = cursor.fetchall()
            if rows:
                yield self._pictures(rows)

    def _by_id(
        self,
        select: str,
        ids: Iterable[int],
        parameters: tuple[Any, ...] = (),
        *,
        where: Sql = EVERY_ROW,
        of: str = "items",
    ) -> Iterator[sqlite3.Cursor]:
        """Run a statement with these parameters for some ids at a time."""
        wanted = list(ids)
        for start in range(0, len(wanted), MAX_PARAMETERS):
            some = wanted[start : start + MAX_PARAMETERS]
            yield self._connection.execute(
                f"{select} WHERE ({where.text}) AND {of}.id IN ({','.join('?' * len(some))})",
                (*parameters, *where.parameters, *some),
            )

    @_translated
    def keys(self, condition: Condition) -> list[Key]:
        """The keys of all items that meet the condition, sorted."""
        wanted = self._looked_up(condition)
        rows = self._connection.execute(
            f"SELECT {SEALED_ITEM} FROM items WHERE {wanted.text}", wanted.parameters
        ).fetchall()
        self._check_seals(rows)
        return sorted(Key(row[1], row[2]) for row in rows)

    def _looked_up(self, condition: Condition) -> Sql:
        """The condition in the form in which its index is found: those of attributes are within categories."""
        if is_of_attributes(condition):
            condition = category_condition(tuple(self.counts())).joined(condition)
        return compiled(condition)

    @_translated
    def count(self, condition: Condition = EVERYTHING) -> int:
        """How many items meet the condition."""
        if condition == EVERYTHING:
            return sum(self.counts().values())
        wanted = self._looked_up(condition)
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM items WHERE {wanted.text}", wanted.parameters
        ).fetchone()
        return int(count)

    def identical_ids(self, same: Condition, condition: Condition, limit: int) -> npt.NDArray[np.int64]:
        """The first ``limit`` ids of items that were made from a picture and meet the condition, rising.

        Args:
            same: a ``picture_condition``.
            condition: what else they meet.
            limit: how many at most.
        """
        both = compiled(same.joined(condition))
        return self._rising(
            f"SELECT id FROM items INDEXED BY items_content WHERE {both.text} ORDER BY id LIMIT ?",
            (*both.parameters, limit),
        )

    def matching_ids(self, condition: Condition) -> npt.NDArray[np.int64]:
        """Ids of the items that meet the condition, rising."""
        # Sorted here: to have them in order, SQLite would go through all items.
        wanted = compiled(condition)
        return self._rising(f"SELECT id FROM items WHERE {wanted.text}", wanted.parameters)

    def _rising(self, select: str, parameters: tuple[Any, ...]) -> npt.NDArray[np.int64]:
        ids = np.sort(self._ids(select, parameters))
        if np.any(ids[1:] == ids[:-1]):
            raise self.damage("an index of items")
        return ids

    def _ids(self, select: str, parameters: tuple[Any, ...] = ()) -> npt.NDArray[np.int64]:
        """What a statement selects as ``id``; made one text by SQLite, as a row for each takes three times as long."""
        (text,) = self._connection.execute(f"SELECT group_concat(id) FROM ({select})", parameters).fetchone()
        return np.zeros(0, np.int64) if text is None else np.fromstring(text, np.int64, sep=",")

    def categories(self, *, above: int = 0) -> npt.NDArray[np.int64]:
        """Of the items with an id above ``above``, by rising id; shape (n,)."""
        select = "SELECT id, category_id FROM items"
        if above:  # their range of ids is gone through; an index has both columns of all
            rows = self._connection.execute(f"{select} NOT INDEXED WHERE id > ?", (above,))
        else:
            rows = self._connection.execute(select)
        pairs = _numbers(rows).reshape(-1, 2)
        categories: npt.NDArray[np.int64] = pairs[np.argsort(pairs[:, 0]), 1]
        return categories

    def features(
        self, condition: Condition = EVERYTHING, *, above: int = 0, chunk: int = 1024
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]]:
        """Ids and features of the items that meet the condition and have an id above ``above``, by rising id.

        Yields:
            Ids of shape (n,) and float16 features of shape (n, dimension), n at most ``chunk``.
        """
        if condition == EVERYTHING:
            sql, parameters = f"SELECT id, {SEALED_FEATURE} FROM features WHERE id > ? ORDER BY id", (above,)
        else:
            # All are looked up by the condition, then sorted; the newer ones are gone through in their order.
            source, item_id = (
                ("features CROSS JOIN items ON items.id = features.id", "features.id")
                if above
                else ("items CROSS JOIN features ON features.id = items.id", "+items.id")
            )
            wanted = compiled(condition)
            sql = (
                f"SELECT items.id, {SEALED_FEATURE} FROM {source} "
                f"WHERE {item_id} > ? AND ({wanted.text}) ORDER BY {item_id}"
            )
            parameters = (above, *wanted.parameters)
        cursor = self._connection.execute(sql, parameters)
        while rows := cursor.fetchmany(chunk):
            self._check_features(rows)
            ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
            blob = b"".join(row[1] for row in rows)
            yield ids, np.frombuffer(blob, FEATURE_TYPE).reshape(len(rows), -1)

    def rewrite_features(
        self, converted: Callable[[npt.NDArray[np.float16]], npt.NDArray[np.float16]], *, chunk: int
    ) -> None:
        """Put others in the place of all features, some at a time, by rising id.

        Args:
            converted: from features of shape (n, dimension), n at most ``chunk``, to those that are stored instead.
            chunk: how many at a time.
        """
        last = 0
        while (piece := next(self.features(above=last, chunk=chunk), None)) is not None:
            ids, features = piece
            rows = zip((row.tobytes() for row in converted(features)), ids.tolist(), strict=True)
            self._connection.executemany(
                "UPDATE features SET feature = ?, seal = ? WHERE id = ?",
                ((feature, feature_checksum(item_id, feature), item_id) for feature, item_id in rows),
            )
            last = int(ids[-1])

    @_translated
    def products_with_several(self) -> list[tuple[str, int]]:
        """ProductIds with more than one picture, and how many each has, in the order of the ProductIds."""
        return self._connection.execute(
            "SELECT product_id, count(*) FROM items GROUP BY product_id HAVING count(*) > 1 ORDER BY product_id"
        ).fetchall()

    def unpublish(self) -> None:
        """Have no generation: everything is scanned."""
        self._connection.execute("DELETE FROM generations")
        self._connection.execute("DELETE FROM removed")

    def _pictures(self, rows: list[tuple[Any, ...]]) -> Pictures:
        """From rows that begin with SEALED_ITEM and SEALED_FEATURE; all are verified."""
        self._check_seals(rows, ITEM_WIDTH)
        self._check_features([(row[0], row[ITEM_WIDTH], row[ITEM_WIDTH + 1]) for row in rows])
        features = np.frombuffer(b"".join(row[ITEM_WIDTH] for row in rows), FEATURE_TYPE).astype(np.float32)
        return Pictures(
            np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows)),
            [(row[1], row[3]) for row in rows],
            features.reshape(len(rows), -1 if rows else 0),
        )

    def _item(self, row: tuple[Any, ...]) -> Item:
        """From a row that begins with ITEM_COLUMNS; it is verified."""
        self._check_seals([row], ITEM_WIDTH)
        (item_id, product_id, pic_name, category_id, given, mode, x1, x2, y1, y2, _, content, token, root_id) = row[:14]
        root, root_seal = row[ITEM_WIDTH : ITEM_WIDTH + 2]
        if root_id is not None and not is_valid((root_id, root, root_seal)):
            raise self.damage("the place of a picture")
        return Item(
            id=item_id,
            key=Key(product_id, pic_name),
            category_id=category_id,
            region=Region(x1, x2, y1, y2),
            region_mode=RegionMode(mode),
            category_given=bool(given),
            content_hash=content,
            token=token,
            attributes=Attributes(*row[15 : len(ITEM_ROW)]),
            location=None if root is None else Location(root, row[14]).path(pic_name),
        )

    def all_stored_records(self, *, chunk: int = 1024) -> Iterator[Upsert]:
        """Every item with its feature as it would be written again, in the order they were added.

        Raises:
            InstanceDamaged: one is not what was written, or there are not as many as the counts say.
        """
        told, given = self.count(), 0
        cursor = self._connection.execute(
            f"SELECT {ITEM_COLUMNS}, {SEALED_FEATURE} FROM {ITEM_SOURCE} JOIN features ON features.id = items.id "
            "ORDER BY items.id"
        )
        while rows := cursor.fetchmany(chunk):
            given += len(rows)
            yield from map(self._as_written, rows)
        if given != told:
            raise self.damage("the number of items")

    def stored_records(self, keys: Sequence[Key]) -> dict[Key, Upsert]:
        """Those of the keys that are stored, as they would be written again."""
        found: dict[Key, Upsert] = {}
        for start in range(0, len(keys), MAX_PARAMETERS // 2):
            some = keys[start : start + MAX_PARAMETERS // 2]
            rows = self._connection.execute(
                f"WITH keys (product, name) AS (VALUES {','.join(['(?, ?)'] * len(some))}) "
                f"SELECT {ITEM_COLUMNS}, {SEALED_FEATURE} FROM keys "
                "CROSS JOIN items ON product_id = keys.product AND pic_name = keys.name "
                "LEFT JOIN roots ON roots.id = items.root_id JOIN features ON features.id = items.id",
                [part for key in some for part in (key.product_id, key.pic_name)],
            )
            found.update((change.key, change) for change in map(self._as_written, rows))
        return found

    def _as_written(self, row: tuple[Any, ...]) -> Upsert:
        """From a row of ITEM_COLUMNS and SEALED_FEATURE; it is verified."""
        self._check_features([(row[0], row[-2], row[-1])])
        item, subjects, relative, root = self._item(row), row[10], row[14], row[ITEM_WIDTH]
        extracted = Extracted(
            item.content_hash,
            item.token,
            item.region,
            tuple(map(Region.parse, json.loads(subjects))) if subjects else (),
            item.category_id,
            (),
            np.frombuffer(row[-2], FEATURE_TYPE).astype(np.float32),
        )
        location = None if root is None else Location(root, relative)
        return Upsert(item.key, extracted, item.region_mode, item.category_given, item.attributes, location)

    # Changes

    def upsert(self, change: Upsert) -> bool:
        """Write one item under a new id; return whether there was one with the same key."""
        replaced = bool(self.delete(product_condition(change.key.product_id, change.key.pic_name)))
        self.insert([change])
        return replaced

    def remove(self, keys: Iterable[Key]) -> None:
        """Delete items by their keys."""
        for key in keys:
            self.delete(product_condition(key.product_id, key.pic_name))

    def insert(self, changes: Sequence[Upsert]) -> range:
        """Write items, none of whose keys is stored, under new ids that rise in their order; return these."""
        (last,) = self._connection.execute(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'items'), 0)"
        ).fetchone()
        roots: dict[str, int] = {}
        items, features = [], []
        for item_id, change in enumerate(changes, last + 1):
            row = (item_id, *self._columns(change, roots))
            items.append((*row, row_checksum(*row)))
            feature = change.extracted.feature.astype(FEATURE_TYPE).tobytes()
            features.append((item_id, feature, feature_checksum(item_id, feature)))
        self._connection.executemany(
            f"INSERT INTO items ({', '.join(ITEM_ROW)}, seal) VALUES ({', '.join('?' * ITEM_WIDTH)})", items
        )
        self._connection.executemany("INSERT INTO features (id, feature, seal) VALUES (?, ?, ?)", features)
        self._connection.executemany(
            "INSERT INTO counts VALUES (?, ?) ON CONFLICT (category_id) DO UPDATE SET items = items + excluded.items",
            Counter(change.extracted.category_id for change in changes).items(),
        )
        if self._connection.execute("SELECT 1 FROM quarantine LIMIT 1").fetchone():
            self._connection.executemany(
                "DELETE FROM quarantine WHERE product_id = ? AND pic_name = ?", [row[1:3] for row in items]
            )
        return range(last + 1, last + 1 + len(items))

    def _columns(self, change: Upsert, roots: dict[str, int]) -> tuple[Any, ...]:
        """ITEM_ROW without the id, as SQLite gives it back: what is sealed is what will be read."""
        extracted, location = change.extracted, change.location
        if location is not None and location.root not in roots:
            roots[location.root] = self._root_id(location.root)
        return (
            change.key.product_id,
            change.key.pic_name,
            int(extracted.category_id),
            int(change.category_given),
            int(change.region_mode),
            *extracted.region.bounds,
            json.dumps([str(subject) for subject in extracted.subjects]) if extracted.subjects else None,
            extracted.content_hash,
            extracted.token,
            None if location is None else roots[location.root],
            None if location is None else location.relative,
            *change.attributes.columns().values(),
        )

    def _seal_item(self, item_id: int) -> None:
        """Checksum an item as it is stored; after every change of it."""
        self._connection.execute(f"UPDATE items SET seal = {FUNCTION}({', '.join(ITEM_ROW)}) WHERE id = ?", (item_id,))

    def update(
        self, item: Item, attributes: Attributes, category_id: int, category_given: bool, location: Location | None
    ) -> int:
        """Change what can be changed without the picture; without a location, the stored one stays.

        Of another category it becomes a new item, as an index keeps those of each category apart.

        Returns:
            The item's id from now on.
        """
        if category_id != item.category_id:
            before = self.stored_records([item.key])[item.key]
            moved = Upsert(
                item.key,
                replace(before.extracted, category_id=category_id),
                item.region_mode,
                category_given,
                attributes,
                location or before.location,
            )
            self.delete(product_condition(item.key.product_id, item.key.pic_name))
            return self.insert([moved])[0]
        names = ", ".join(f"{name} = ?" for name in ATTRIBUTE_COLUMNS)
        self._connection.execute(
            f"UPDATE items SET category_given = ?, {names} WHERE id = ?",
            (category_given, *attributes.columns().values(), item.id),
        )
        if location is not None:
            self._connection.execute(
                "UPDATE items SET root_id = ?, relative_path = ? WHERE id = ?",
                (self._root_id(location.root), location.relative, item.id),
            )
        self._seal_item(item.id)
        return item.id

    def contents_without_token(self) -> list[tuple[int, bytes]]:
        """Id and content hash of items whose sources gave no token."""
        return self._connection.execute("SELECT id, content_hash FROM items WHERE token IS NULL").fetchall()

    def set_tokens(self, tokens: Sequence[tuple[int, bytes | None]]) -> None:
        """Remember the sources' tokens for items found unchanged: pairs of id and token."""
        self._connection.executemany("UPDATE items SET token = ? WHERE id = ?", [(token, i) for i, token in tokens])
        for item_id, _ in tokens:
            self._seal_item(item_id)

    def delete(self, condition: Condition) -> list[Key]:
        """Delete all items that meet the condition; return their keys, sorted."""
        return self._delete(self._looked_up(condition), compiled(condition))

    def _delete(self, wanted: Sql, put_aside: Sql) -> list[Key]:
        """Delete what meets a condition among the items, and among what a repair has put aside."""
        rows = self._connection.execute(
            f"DELETE FROM items WHERE {wanted.text} RETURNING {', '.join(ITEM_ROW)}, seal", wanted.parameters
        ).fetchall()
        self._check_seals(rows)
        keys = sorted(Key(row[1], row[2]) for row in rows)
        # What a repair has put aside under these names goes too.
        self._connection.execute(f"DELETE FROM quarantine AS items WHERE {put_aside.text}", put_aside.parameters)
        return keys

    def prune_roots(self) -> None:
        """Delete the folders that no item's picture lay in any more; a commit of its own."""
        # The statement itself keeps the references whole; SQLite would look through all items for each folder.
        self._connection.execute("PRAGMA foreign_keys = OFF")
        try:
            with self.writing():
                self._connection.execute(
                    "DELETE FROM roots WHERE id NOT IN (SELECT root_id FROM items WHERE root_id IS NOT NULL)"
                )
        finally:
            self._connection.execute("PRAGMA foreign_keys = ON")

    def _root_id(self, path: str) -> int:
        row = self._connection.execute("SELECT id FROM roots WHERE path = ?", (path,)).fetchone()
        if row is None:
            row = (self._connection.execute("INSERT INTO roots (path) VALUES (?)", (path,)).lastrowid,)
            self._connection.execute(f"UPDATE roots SET seal = {FUNCTION}({', '.join(ROOT_ROW)}) WHERE id = ?", row)
        root_id: int = row[0]
        return root_id

    # Successors

    @contextmanager
    def beside(self, predecessor: Store) -> Iterator[None]:
        """A block in which statements may read the tables of another instance as ``predecessor.…``; not in a commit."""
        self._connection.execute("ATTACH ? AS predecessor", (f"{predecessor.path.absolute().as_uri()}?mode=ro",))
        try:
            yield
        finally:
            self._connection.execute("DETACH predecessor")

    def keep_those_of_predecessor(self, *, same_content: bool) -> None:
        """Inside ``beside``: delete the items that the predecessor does not have.

        Args:
            same_content: those that it has of another picture as well.
        """
        picture = " AND other.content_hash = items.content_hash" if same_content else ""
        unknown = Sql(
            "NOT EXISTS (SELECT 1 FROM predecessor.items AS other WHERE other.product_id = items.product_id "
            f"AND other.pic_name = items.pic_name{picture})"
        )
        self._delete(unknown, unknown)

    def take_quarantine_of_predecessor(self) -> None:
        """Inside ``beside``: have what a repair has put aside there, and nothing else of the kind."""
        self._connection.execute("DELETE FROM quarantine")
        self._connection.execute("INSERT INTO quarantine SELECT * FROM predecessor.quarantine")

    def replace(self, predecessor: Store) -> None:
        """Put a copy of this database in the place of another one of the same page size; a commit of its own.

        Readers of the other one see what it was, or the copy.
        """
        self._connection.backup(predecessor.connection)

    # Index generations

    @_translated
    def generation(self) -> Generation | None:
        """The published generation."""
        row = self._connection.execute(
            f"SELECT {', '.join(GENERATION_ROW)}, seal FROM generations ORDER BY number DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        self._check_seals([row])
        return Generation(*row[:-1])

    def removed_ids(self) -> npt.NDArray[np.int64]:
        """Ids that the published generation holds and that are no longer items."""
        return self._ids("SELECT id FROM removed")

    def count_removed(self) -> int:
        """How many items of the published generation are no longer items."""
        (count,) = self._connection.execute("SELECT count(*) FROM removed").fetchone()
        return int(count)

    def publish(self, generation: Generation) -> None:
        """Make this generation, which holds every present item up to its ``max_id``, the one that readers use."""
        self._connection.execute("DELETE FROM generations")
        values = astuple(generation)
        self._connection.execute(
            f"INSERT INTO generations ({', '.join(GENERATION_ROW)}) VALUES ({', '.join('?' * len(values))})", values
        )
        self._connection.execute(f"UPDATE generations SET seal = {FUNCTION}({', '.join(GENERATION_ROW)})")
        self._connection.execute("DELETE FROM removed")


def _numbers(rows: Iterable[tuple[int, ...]]) -> npt.NDArray[np.int64]:
    """The whole numbers of some rows one after another; shape (rows * columns,)."""
    return np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int64)


def _check_structure(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database in which a page, or an entry of an index, contradicts the others.

    Raises:
        InstanceDamaged
    """
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise InstanceDamaged(f"{path} is damaged ({verdict}): run 'imgsearch check --repair'")
