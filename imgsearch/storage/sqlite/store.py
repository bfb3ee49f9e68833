"""The truth of an instance: items, their features and their attributes in SQLite; opening it, and writing to it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import InstanceDamaged, OlderFormat
from imgsearch.filters.tree import product_condition
from imgsearch.storage.sqlite.checksum import FUNCTION, feature_checksum, register, row_checksum
from imgsearch.storage.sqlite.conditions import Sql, compiled
from imgsearch.storage.sqlite.database import (
    FrozenConnection,
    check_release,
    connect,
    replace_content,
    storage_errors,
    sync_commits,
    transaction,
)
from imgsearch.storage.sqlite.reader import Reader
from imgsearch.storage.sqlite.rows import FEATURE_TYPE, ITEM_WIDTH
from imgsearch.storage.sqlite.schema import (
    FORMAT_VERSION,
    ITEM_ROW,
    PAGE_BYTES,
    ROOT_ROW,
    check_schema,
    check_version,
    migrate,
)
from imgsearch.storage.sqlite.settings import SETTING_TABLES
from imgsearch.storage.sqlite.wal import is_corrupted, log_of
from imgsearch.types import ATTRIBUTE_COLUMNS, Attributes, Item, Key, Location, Upsert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from imgsearch.filters.tree import Condition

__all__ = ["DATABASE_NAME", "Store"]

DATABASE_NAME: Final = "instance.db"
OPEN_ATTEMPTS: Final = 10
"""Where an owner writes while somebody opens the database who may not write there."""
VERIFY_BELOW_BYTES: Final = 8 * 2**20
"""Databases below this size have their whole structure verified whenever they are opened."""


class Store(Reader):
    """One connection to an instance's database.

    Writing methods run inside ``with store.writing():``, so that the caller decides what is one commit.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, write: bool) -> None:
        super().__init__(connection, path)
        self._write = write

    @classmethod
    def create(cls, path: Path, settings: dict[str, Any], page_bytes: int = PAGE_BYTES) -> None:
        """Make a new database at ``path`` (no file may be there) with these settings."""
        check_release()
        with storage_errors(path.parent):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                connection.execute(f"PRAGMA page_size = {page_bytes}")
                connection.execute("PRAGMA journal_mode = WAL")
                sync_commits(connection)
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
            InstanceDamaged, InstanceLocked, NewerFormat, OlderFormat, StorageUnwritable
        """
        for attempt in range(OPEN_ATTEMPTS):
            with storage_errors(path.parent):
                if verify and is_corrupted(path):
                    raise InstanceDamaged(f"{log_of(path)} is not what was written: run 'imgsearch check --repair'")
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

    def writing(self) -> AbstractContextManager[None]:
        """A block that is committed as a whole, or not at all."""
        return transaction(self._connection, write=True)

    @property
    def page_bytes(self) -> int:
        """Of the database; older releases made smaller pages."""
        (size,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int(size)

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

    def _update_checksum(self, item_id: int) -> None:
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
        self._update_checksum(item.id)
        return item.id

    def set_tokens(self, tokens: Sequence[tuple[int, bytes | None]]) -> None:
        """Remember the sources' tokens for items found unchanged: pairs of id and token."""
        self._connection.executemany("UPDATE items SET token = ? WHERE id = ?", [(token, i) for i, token in tokens])
        for item_id, _ in tokens:
            self._update_checksum(item_id)

    def delete(self, condition: Condition) -> list[Key]:
        """Delete all items that meet the condition; return their keys, sorted."""
        return self._delete(self._looked_up(condition), compiled(condition))

    def _delete(self, wanted: Sql, put_aside: Sql) -> list[Key]:
        """Delete what meets a condition among the items, and among what a repair has put aside."""
        rows = self._connection.execute(
            f"DELETE FROM items WHERE {wanted.text} RETURNING {', '.join(ITEM_ROW)}, seal", wanted.parameters
        ).fetchall()
        self._verify_rows(rows)
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
        replace_content(self._connection, predecessor.connection)


def _prepare(connection: sqlite3.Connection, path: Path, *, write: bool, verify: bool) -> None:
    """Bring a connection that was just made to where a store can use it; takes and raises what ``Store.open`` does."""
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


def _check_structure(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database in which a page, or an entry of an index, contradicts the others.

    Raises:
        InstanceDamaged
    """
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise InstanceDamaged(f"{path} is damaged ({verdict}): run 'imgsearch check --repair'")
