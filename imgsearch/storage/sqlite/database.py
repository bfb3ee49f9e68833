"""Connections to an instance's SQLite database, and what its failures mean.

WAL mode, ``synchronous=FULL``: a commit is on the disk when it returns, and readers see the state of their first
statement until they end their transaction.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from imgsearch.durable_fs import file_errors, storage_full
from imgsearch.errors import InstanceDamaged, StorageUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["connect", "is_refusal", "storage_errors", "transaction"]

BUSY_TIMEOUT_S: Final = 30.0
WRITER_CACHE_KIB: Final = 65_536
"""Pages of indexes that one transaction fills in no order: of a million items, SQLite's own 2 MiB hold too few."""
_DAMAGE_WITHOUT_CODE: Final = ("Could not decode to UTF-8", "unsupported file format")
"""What is said of text that was stored as UTF-8 and no longer is, and of a header that names an unknown format."""


_REFUSALS: Final = ("SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_NOMEM", "SQLITE_BUSY", "SQLITE_PROTOCOL")
_UNREADABLE: Final = ("SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS", "SQLITE_IOERR_DATA")
"""What the medium no longer gives is as good as altered."""


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open an existing database.

    Reading works on a read-only medium too: where the shared-memory file of the WAL cannot be made, the database is
    opened as immutable, unless a WAL with commits of its own lies there, which SQLite would then pass over.

    Raises:
        InstanceDamaged: the file is not a database.
        StorageUnwritable: it cannot be opened for writing.
    """
    mode = "rw" if write else "ro"
    options = [f"mode={mode}"]
    if not write and not os.access(path.parent, os.W_OK) and not _has_wal(path):
        options.append("immutable=1")
    with storage_errors(path.parent):
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?{'&'.join(options)}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA cell_size_check = ON")  # tells altered pages when they are read
            if write:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
                connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten; the default varies
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


def _has_wal(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False


@contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool = False) -> Iterator[None]:
    """One transaction around a block: committed at its end, rolled back when it raises.

    A reading one pins the snapshot that its first statement sees.
    """
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk makes SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def is_refusal(error: Exception) -> bool:
    """Whether SQLite was refused a file, space or memory just now; else what it read may be damaged."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith(_REFUSALS) and name not in _UNREADABLE


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Translate what SQLite and the operating system say about the storage into imgsearch's errors."""
    try:
        with file_errors(folder):
            yield
    except sqlite3.Error as error:
        raise _translate(error, folder) from error
    except UnicodeDecodeError as error:  # Python cannot even read SQLite's message, which quotes an altered schema
        raise _damaged(error, folder) from error


def _translate(error: sqlite3.Error, folder: Path) -> Exception:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return storage_full(folder)
    if name.startswith(("SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return StorageUnwritable(f"{folder} cannot be written or read ({error}): check the disk and permissions")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")) or any(
        text in str(error) for text in _DAMAGE_WITHOUT_CODE
    ):
        return _damaged(error, folder)
    return error


def _damaged(error: Exception, folder: Path) -> InstanceDamaged:
    return InstanceDamaged(
        f"the database in {folder} is damaged ({error}): run 'imgsearch check --repair', or restore it from a backup"
    )
