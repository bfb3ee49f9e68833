"""Connections to an instance's SQLite database, and the translation of SQLite's errors.

WAL mode with ``synchronous=FULL``: a commit is on disk when it returns, and readers keep the snapshot of their first
statement until their transaction ends.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import quote

from imgsearch.durable_fs import file_errors, has_room, storage_full
from imgsearch.errors import InstanceDamaged, InstanceLocked, StorageUnwritable, UsageError
from imgsearch.storage.sqlite.header import has_log
from imgsearch.storage.sqlite.wal import log_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "FrozenConnection",
    "Place",
    "check_release",
    "connect",
    "inconsistencies",
    "is_refusal",
    "place_of",
    "replace_content",
    "storage_errors",
    "sync_commits",
    "transaction",
    "use_wal",
]

Place: TypeAlias = tuple[int, int] | None
"""Device and inode of a file."""
BUSY_TIMEOUT_S: Final = 30.0
WRITER_CACHE_KIB: Final = 65_536
"""A transaction updates index pages in random order; with a million items, SQLite's default 2 MiB is too small."""
READER_CACHE_SHARE: Final = 256
"""A reader caches this part of the file: enough for the upper levels of the B-trees of millions of items."""
READER_CACHE_KIB: Final = 16_384
"""A reader caches at least this: a search visits up to 2,000 pages, many of them twice, as the pictures of a product
mostly lie side by side. At most, it caches as much as a writer."""
_DAMAGE_WITHOUT_CODE: Final = ("Could not decode to UTF-8", "unsupported file format")
"""Messages for stored text that is no longer UTF-8, and for a header with an unknown format."""


_REFUSALS: Final = ("SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_NOMEM", "SQLITE_BUSY", "SQLITE_PROTOCOL")
_BUSY: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
"""Another program holds a lock for long; imgsearch's own writers wait at the writer lock instead."""
_UNREADABLE: Final = ("SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS", "SQLITE_IOERR_DATA")
"""Data that the medium no longer returns counts as damaged."""


_NO_ROOM: Final = ("SQLITE_CANTOPEN", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_SHMOPEN")
"""A full disk is among the reasons."""
_NOTHING_BESIDE: Final = (*_NO_ROOM, "SQLITE_READONLY")
"""A reader's files beside the database, its shared memory above all, cannot be made or written."""
SHARED_MEMORY_BYTES: Final = 32 * 1024
"""SQLite's smallest file of shared memory; a reader writes no other file."""


MINIMUM_RELEASE: Final = (3, 37, 0)
"""The first SQLite with STRICT tables, which the schema uses."""
JSON_SINCE: Final = (3, 38, 0)
"""Before it, a build may lack the JSON functions, by which many ids are given to one statement."""


def check_release() -> None:
    """Raise if this SQLite is too old to open an instance.

    Raises:
        UsageError
    """
    if sqlite3.sqlite_version_info < MINIMUM_RELEASE:
        raise UsageError(
            f"this Python has SQLite {sqlite3.sqlite_version}, and imgsearch needs "
            f"{'.'.join(map(str, MINIMUM_RELEASE[:2]))} or newer: use a Python that was built with a newer SQLite"
        )
    if sqlite3.sqlite_version_info < JSON_SINCE and not _has_json():
        raise UsageError(
            f"the SQLite {sqlite3.sqlite_version} of this Python was built without JSON functions, which imgsearch "
            f"needs: use a Python with SQLite {'.'.join(map(str, JSON_SINCE[:2]))} or newer"
        )


def _has_json() -> bool:
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("SELECT count(*) FROM json_each('[1]')")
        except sqlite3.OperationalError:
            return False
    return True


class FrozenConnection(sqlite3.Connection):
    """A connection to a database beside which this process cannot write, opened while it was idle.

    SQLite then takes no lock and ignores the log and changes, so reads are correct only while the files stay
    unchanged.
    """

    path: Path
    seen: tuple[int, ...]

    @property
    def is_outdated(self) -> bool:
        """Whether the database was written since it was opened."""
        return has_log(self.path) or _state(self.path) != self.seen

    def check(self) -> None:
        """Raise if the database was written since, as reads may then be wrong.

        Raises:
            InstanceLocked
        """
        if self.is_outdated:
            raise InstanceLocked(
                f"{self.path.parent} was written by another process during the read, and this one holds no lock, as it "
                "cannot write there (no permission, or a full disk): run the command again"
            )


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open an existing database.

    Reading needs neither write permission nor space. If the log's shared memory exists, as it does while the owner has
    the database open, new commits are visible. If there is no permission or no space to create it, the database is
    opened as immutable, unless there is a log with commits, which SQLite would then ignore.

    Raises:
        InstanceDamaged: the file is not a database.
        InstanceLocked: another program keeps it locked.
        StorageFull: it has commits that cannot be read on a full disk.
        StorageUnwritable: it cannot be opened for writing, or has commits that cannot be read without write permission.
        UsageError: this Python's SQLite is too old.
    """
    check_release()
    with storage_errors(path.parent):
        try:
            return _connected(path, "mode=rw" if write else "mode=ro", write=write)
        except sqlite3.OperationalError as error:
            if write or not error.sqlite_errorname.startswith(_NOTHING_BESIDE) or not os.access(path, os.R_OK):
                raise
            is_full = not has_room(path.parent, SHARED_MEMORY_BYTES)
            # Any other cause may pass. Opened as immutable, the database would stay without a lock.
            if not is_full and _may_write_beside(path):
                raise
        seen = _state(path)
        if has_log(path):
            if is_full:
                raise storage_full(path.parent)
            raise StorageUnwritable(
                f"{path.parent} has commits in its log that cannot be read without write permission: have its owner "
                "run 'imgsearch check' on it, or copy the folder"
            )
        connection = _connected(path, "mode=ro&immutable=1", write=False, factory=FrozenConnection)
        assert isinstance(connection, FrozenConnection)
        connection.path, connection.seen = path, seen
        return connection


def _connected(
    path: Path, options: str, *, write: bool, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?{options}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        factory=factory,
        check_same_thread=False,  # whoever lends it sees to it that one thread at a time uses it
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cell_size_check = ON")  # detects corrupted pages on reading
        if write:
            sync_commits(connection)
            connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
            connection.execute("PRAGMA secure_delete = ON")  # overwrite deleted content; the default varies
        else:
            share = path.stat().st_size // READER_CACHE_SHARE // 1024
            connection.execute(f"PRAGMA cache_size = -{min(max(share, READER_CACHE_KIB), WRITER_CACHE_KIB)}")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def sync_commits(connection: sqlite3.Connection) -> None:
    """Make every commit of a connection durable when it returns; not every build of SQLite does by default."""
    connection.execute("PRAGMA synchronous = FULL")
    # On macOS, fsync leaves data in the disk's cache. Elsewhere these have no effect.
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA checkpoint_fullfsync = ON")


def use_wal(connection: sqlite3.Connection, folder: Path) -> None:
    """Put a database into WAL mode, where readers and a writer do not wait for each other.

    SQLite keeps the mode in the file. So this changes a new database, and one that another tool has put into another
    mode.

    Raises:
        sqlite3.OperationalError: it could not be changed.
        StorageUnwritable: the file system does not permit it.
    """
    # SQLite commits the change with the step after the row, so that a failure shows only there.
    ((mode,),) = connection.execute("PRAGMA journal_mode = WAL").fetchall()
    if mode != "wal":
        raise StorageUnwritable(
            f"SQLite cannot keep its log in {folder}, as the file system does not share memory between programs: "
            "choose a folder on a local disk"
        )


def _may_write_beside(path: Path) -> bool:
    """Whether this process has the permission to write the files that SQLite keeps beside a database."""
    if not os.access(path.parent, os.W_OK):
        return False
    beside = (log_of(path), path.with_name(f"{path.name}-shm"))
    return all(os.access(one, os.W_OK) for one in beside if one.exists())


def place_of(path: Path) -> Place:
    """What tells a file from all others of this machine; None where there is none."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _state(path: Path) -> tuple[int, ...]:
    """File attributes that change when the database is written or replaced."""
    status = path.stat()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def inconsistencies(connection: sqlite3.Connection, check: str, at_most: int) -> list[str]:
    """What SQLite finds wrong in the structure of a database, in a line each.

    Args:
        connection: to the database.
        check: ``integrity_check`` or ``quick_check``.
        at_most: how many findings end the search.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    rows = connection.execute(f"PRAGMA {check}({at_most})").fetchall()
    lines = [line for (text,) in rows for line in text.splitlines() if not line.startswith("*** in database")]
    return [] if lines == ["ok"] else lines


@contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool = False) -> Iterator[None]:
    """Run a block in a transaction: committed at its end, rolled back on an exception.

    A read transaction keeps the snapshot of its first statement.

    Raises:
        InstanceLocked: reads may not be of one snapshot (``FrozenConnection``).
    """
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
    except BaseException as error:
        if connection.in_transaction:  # SQLite itself rolls back when the disk is full
            connection.execute("ROLLBACK")
        if isinstance(connection, FrozenConnection) and isinstance(error, sqlite3.Error | InstanceDamaged):
            connection.check()  # a concurrent write may be the cause
        raise
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if write:
            _take_back(connection, error)
        raise
    if isinstance(connection, FrozenConnection):
        connection.check()


def _take_back(connection: sqlite3.Connection, error: sqlite3.Error) -> None:
    """Overwrite a failed commit in the log, if the disk permits.

    If only the sync failed, the log contains the whole commit. Nobody sees it until everybody has closed the database:
    SQLite then reads the log to its end. So another commit, which changes nothing, takes its place.
    """
    if not _name(error).startswith("SQLITE_IOERR"):
        return
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version}")


def replace_content(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Replace the content of a database by that of another one with the same page size, in one commit.

    Raises:
        sqlite3.OperationalError: another program keeps the target locked; Python would retry forever.
    """
    deadline: list[float] = []

    def look(status: int, _remaining: int, _total: int) -> None:
        if status not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            deadline.clear()
        elif not deadline:
            deadline.append(time.monotonic() + BUSY_TIMEOUT_S)
        elif time.monotonic() > deadline[0]:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode, error.sqlite_errorname = status, "SQLITE_BUSY"
            raise error

    try:
        source.backup(target, progress=look)
    except sqlite3.Error as error:
        _take_back(target, error)
        raise


def _name(error: Exception) -> str:
    """The name of SQLite's error code; empty if there is none."""
    return getattr(error, "sqlite_errorname", None) or ""


def is_refusal(error: Exception) -> bool:
    """Whether the system refused SQLite a file, space or memory; otherwise the data may be damaged."""
    name = _name(error)
    return name.startswith(_REFUSALS) and name not in _UNREADABLE


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Translate errors of SQLite and the operating system into imgsearch's errors."""
    try:
        with file_errors(folder):
            yield
    except sqlite3.Error as error:
        raise _translate(error, folder) from error
    except UnicodeDecodeError as error:  # SQLite's message quotes a corrupted schema
        raise _damaged(error, folder) from error


def _translate(error: sqlite3.Error, folder: Path) -> Exception:
    name = _name(error)
    if name.startswith("SQLITE_FULL") or (name.startswith(_NO_ROOM) and not has_room(folder, SHARED_MEMORY_BYTES)):
        return storage_full(folder)
    if name.startswith(_BUSY):
        return InstanceLocked(
            f"the database in {folder} is locked by another program, such as an open 'sqlite3' or a backup "
            f"({error}): end it or wait for it, then run the command again"
        )
    if name == "SQLITE_IOERR_GETTEMPPATH":
        return StorageUnwritable(
            "there is no folder for SQLite's temporary files: set TMPDIR or SQLITE_TMPDIR to a writable one"
        )
    if name.startswith(("SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return StorageUnwritable(f"{folder} cannot be written or read ({error}): check the disk and the permissions")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")) or any(
        text in str(error) for text in _DAMAGE_WITHOUT_CODE
    ):
        return _damaged(error, folder)
    return error


def _damaged(error: Exception, folder: Path) -> InstanceDamaged:
    return InstanceDamaged(
        f"the database in {folder} is damaged ({error}): run 'imgsearch check --repair', or restore it from a backup"
    )
