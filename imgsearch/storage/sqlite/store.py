"""The truth of an instance in SQLite: opening it and writing items, features and attributes."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.errors import InstanceDamaged, OlderFormat
from imgsearch.filters.tree import product_condition
from imgsearch.quantization import HALF, Coding
from imgsearch.storage.checksum import FUNCTION, feature_checksum, register, row_checksum
from imgsearch.storage.conditions import Sql
from imgsearch.storage.records import CHECKED_ITEM, ITEM_ROW, ITEM_WIDTH, ROOT_ROW, item_columns
from imgsearch.storage.sqlite.conditions import compiled
from imgsearch.storage.sqlite.database import (
    FrozenConnection,
    Place,
    check_release,
    connect,
    inconsistencies,
    place_of,
    replace_content,
    storage_errors,
    sync_commits,
    transaction,
    use_wal,
)
from imgsearch.storage.sqlite.reader import Reader
from imgsearch.storage.sqlite.rows import MAX_PARAMETERS
from imgsearch.storage.sqlite.schema import (
    FORMAT_VERSION,
    PACKED_VERSION,
    PAGE_BYTES,
    check_schema,
    check_version,
    migrate,
)
from imgsearch.storage.sqlite.settings import SETTING_TABLES
from imgsearch.storage.sqlite.wal import is_corrupted, log_of
from imgsearch.types import Item, Upsert
from imgsearch.values import ATTRIBUTE_COLUMNS, Attributes, Key, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition

__all__ = ["DATABASE_NAME", "Store"]

DATABASE_NAME: Final = "instance.db"
OPEN_ATTEMPTS: Final = 10
"""Needed when the owner writes while a process without write permission opens the database."""
VERIFY_BELOW_BYTES: Final = 8 * 2**20
"""The structure of smaller databases is verified completely on every opening."""


class Store(Reader):
    """One connection to an instance's database.

    Call writing methods inside ``with store.writing():``; the caller decides what makes up a commit.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, place: Place, *, write: bool) -> None:
        super().__init__(connection, path, place)
        self._write = write

    @classmethod
    def create(cls, path: Path, settings: dict[str, Any], page_bytes: int = PAGE_BYTES) -> None:
        """Create a database at ``path``, where no file may exist, with these settings."""
        check_release()
        with storage_errors(path.parent):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                connection.execute(f"PRAGMA page_size = {page_bytes}")
                sync_commits(connection)
                use_wal(connection, path.parent)
                migrate(connection)
                if Coding.of(settings.get("model")).bits != HALF:
                    connection.execute(f"PRAGMA user_version = {PACKED_VERSION}")
                with transaction(connection, write=True):
                    rows = [(name, json.dumps(value)) for name, value in settings.items()]
                    for table in SETTING_TABLES:
                        connection.executemany(
                            f"INSERT INTO {table} VALUES (?, ?, ?)", [(*row, row_checksum(*row)) for row in rows]
                        )
                # Closing would checkpoint too, but hides failures; and the log is not renamed with the file.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.close()

    @classmethod
    def open(cls, path: Path, *, write: bool, verify: bool = True) -> Store:
        """Open an existing database; a writer brings an older format up to date.

        Args:
            path: of the database.
            write: for writing; the caller holds the writer lock.
            verify: check the log, the schema and the whole structure of a small database before using its content or
                checkpointing the log.

        Raises:
            InstanceDamaged, InstanceLocked, NewerFormat, OlderFormat, StorageUnwritable
        """
        for attempt in range(OPEN_ATTEMPTS):
            with storage_errors(path.parent):
                place = place_of(path)  # before it is opened: one that takes its place meanwhile differs
                if verify and is_corrupted(path):
                    raise InstanceDamaged(f"{log_of(path)} is corrupted: run 'imgsearch check --repair'")
            connection = connect(path, write=write)
            try:
                with storage_errors(path.parent):
                    _prepare(connection, path, write=write, verify=verify)
            except InstanceDamaged:
                connection.close()
                if not isinstance(connection, FrozenConnection) or not connection.is_outdated:
                    raise
                if attempt == OPEN_ATTEMPTS - 1:
                    connection.check()
            except BaseException:
                connection.close()
                raise
            else:
                break
        return cls(connection, path, place, write=write)

    def close(self) -> None:
        """Close the connection; the store cannot be used afterwards."""
        if self._write:
            self._empty_wal()
        self._connection.close()

    def _empty_wal(self) -> None:
        """Move the WAL's content into the database, unless readers still need it.

        SQLite does so when the last connection closes, but not if that one is read-only. Old page versions in the log
        still hold deleted data, and each commit depends on those before it: one flipped bit loses all later ones.
        """
        with suppress(sqlite3.Error):  # on failure the log keeps it, and the next writer tries again
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def writing(self) -> AbstractContextManager[None]:
        """Return a context manager that commits a block atomically."""
        return transaction(self._connection, write=True)

    @property
    def page_bytes(self) -> int:
        """The page size of the database; older releases used smaller pages."""
        (size,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int(size)

    def rewrite_features(
        self, converted: Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]], *, chunk: int
    ) -> None:
        """Convert all stored features, in chunks, by ascending id.

        Args:
            converted: maps features of shape (n, dimension), n at most ``chunk``, to their replacements.
            chunk: the maximum number of features per call.
        """
        last, coding = 0, self.coding
        while (piece := next(self.features(above=last, chunk=chunk), None)) is not None:
            ids, features = piece
            packed = coding.packed(converted(features))
            rows = zip((row.tobytes() for row in packed), ids.tolist(), strict=True)
            self._connection.executemany(
                "UPDATE features SET feature = ?, seal = ? WHERE id = ?",
                ((feature, feature_checksum(item_id, feature), item_id) for feature, item_id in rows),
            )
            last = int(ids[-1])

    def check_key(self, key: Key) -> None:
        """Every key can be stored."""

    def upsert(self, change: Upsert) -> bool:
        """Write an item under a new id; return whether it replaced one with the same key."""
        replaced = bool(self.delete(product_condition(change.key.product_id, change.key.pic_name)))
        self.insert([change])
        return replaced

    def remove(self, keys: Iterable[Key]) -> None:
        """Delete items by their keys."""
        for key in keys:
            self.delete(product_condition(key.product_id, key.pic_name))

    def insert(self, changes: Sequence[Upsert]) -> range:
        """Write items whose keys are not stored yet, under new ascending ids; return the ids."""
        if not changes:
            return range(0)
        (last,) = self._connection.execute(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'items'), 0)"
        ).fetchone()
        roots: dict[str, int] = {}
        items, features = [], []
        packed = self.coding.packed(np.array([change.extracted.feature for change in changes], np.float32))
        for item_id, (change, code) in enumerate(zip(changes, packed, strict=True), last + 1):
            row = (item_id, *self._columns(change, roots))
            items.append((*row, row_checksum(*row)))
            feature = code.tobytes()
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

    def _columns(self, change: Upsert, roots: dict[str, int]) -> Sequence[Any]:
        """ITEM_ROW without the id."""
        location = change.location
        if location is not None and location.root not in roots:
            roots[location.root] = self._root_id(location.root)
        return item_columns(change, None if location is None else roots[location.root])

    def _update_checksum(self, item_id: int) -> None:
        """Recompute the checksum of a stored item, after every change to it."""
        self._connection.execute(f"UPDATE items SET seal = {FUNCTION}({', '.join(ITEM_ROW)}) WHERE id = ?", (item_id,))

    def update(
        self, item: Item, attributes: Attributes, category_id: int, category_given: bool, location: Location | None
    ) -> int:
        """Change metadata, which needs no picture; without a location, the stored one stays.

        A change of category makes it a new item, as an index has separate lists for each category.

        Returns:
            The item's id after the change.
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
        self._update_checksum(item.id)
        return item.id

    def set_attributes(self, ids: Iterable[int], values: Mapping[str, Any]) -> None:
        """Set attributes of items; attributes that are not named keep their values."""
        assert values
        assert set(values).issubset(ATTRIBUTE_COLUMNS)
        names = ", ".join(f"{name} = ?" for name in values)
        wanted = list(ids)
        for start in range(0, len(wanted), MAX_PARAMETERS):
            some = wanted[start : start + MAX_PARAMETERS]
            # Verified first: a new checksum would make a corrupted row look right.
            self._verify_rows(
                self._connection.execute(f"SELECT {CHECKED_ITEM} FROM items WHERE id IN ({_marks(some)})", some)
            )
            self._connection.execute(
                f"UPDATE items SET {names} WHERE id IN ({_marks(some)})", (*values.values(), *some)
            )
            self._connection.execute(
                f"UPDATE items SET seal = {FUNCTION}({', '.join(ITEM_ROW)}) WHERE id IN ({_marks(some)})", some
            )

    def set_tokens(self, tokens: Sequence[tuple[int, bytes | None]]) -> None:
        """Store the sources' change tokens of unchanged items: pairs of item id and token."""
        self._connection.executemany("UPDATE items SET token = ? WHERE id = ?", [(token, i) for i, token in tokens])
        for item_id, _ in tokens:
            self._update_checksum(item_id)

    def set_picture_hashes(self, hashes: Sequence[tuple[int, bytes]]) -> None:
        """Store perceptual hashes of items that had none: pairs of item id and hash."""
        self._connection.executemany("UPDATE items SET picture_hash = ? WHERE id = ?", [(one, i) for i, one in hashes])
        for item_id, _ in hashes:
            self._update_checksum(item_id)

    def delete(self, condition: Condition) -> list[Key]:
        """Delete all items that meet the condition; return their keys, sorted."""
        return self._delete(self._looked_up(condition), compiled(condition))

    def _delete(self, wanted: Sql, quarantined: Sql) -> list[Key]:
        """Delete what meets a condition from the items and from the quarantine."""
        rows = self._connection.execute(
            f"DELETE FROM items WHERE {wanted.text} RETURNING {', '.join(ITEM_ROW)}, seal", wanted.parameters
        ).fetchall()
        self._verify_rows(rows)
        keys = sorted(Key(row[1], row[2]) for row in rows)
        # Items that a repair has quarantined under these names go too.
        self._connection.execute(f"DELETE FROM quarantine AS items WHERE {quarantined.text}", quarantined.parameters)
        return keys

    def prune_roots(self) -> None:
        """Delete folders that no item refers to any more, in a separate commit."""
        # The statement itself preserves the references; SQLite would scan all items for each folder.
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

    @contextmanager
    def beside(self, predecessor: Store) -> Iterator[None]:
        """Attach another instance's database as ``predecessor`` during a block; not inside a transaction."""
        self._connection.execute("ATTACH ? AS predecessor", (f"{predecessor.path.absolute().as_uri()}?mode=ro",))
        try:
            yield
        finally:
            self._connection.execute("DETACH predecessor")

    def keep_those_of_predecessor(self, *, same_content: bool) -> None:
        """Inside ``beside``: delete the items that the predecessor does not have.

        Args:
            same_content: also delete those that it has with another picture.
        """
        picture = " AND other.content_hash = items.content_hash" if same_content else ""
        unknown = Sql(
            "NOT EXISTS (SELECT 1 FROM predecessor.items AS other WHERE other.product_id = items.product_id "
            f"AND other.pic_name = items.pic_name{picture})"
        )
        self._delete(unknown, unknown)

    def take_quarantine_of_predecessor(self) -> None:
        """Inside ``beside``: replace the quarantine by the predecessor's."""
        self._connection.execute("DELETE FROM quarantine")
        self._connection.execute("INSERT INTO quarantine SELECT * FROM predecessor.quarantine")

    def replace(self, predecessor: Store) -> None:
        """Replace the content of another database of the same page size by a copy of this one, in one commit.

        Readers of the other database see either the old content or the copy.
        """
        replace_content(self._connection, predecessor.connection)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _prepare(connection: sqlite3.Connection, path: Path, *, write: bool, verify: bool) -> None:
    """Prepare a new connection for a store; arguments and errors are those of ``Store.open``."""
    register(connection)
    version = check_version(connection, str(path))
    if write:
        use_wal(connection, path.parent)
        migrate(connection)
    elif version < FORMAT_VERSION:
        raise OlderFormat(
            f"{path} has format {version}, older than this release's {FORMAT_VERSION}: "
            "run a command that may write there, such as 'imgsearch check --repair'"
        )
    if verify:
        check_schema(connection, str(path))
        small = path.stat().st_size < VERIFY_BELOW_BYTES
        if small and (found := inconsistencies(connection, "integrity_check", 1)):
            raise InstanceDamaged(f"{path} is damaged ({found[0]}): run 'imgsearch check --repair'")
