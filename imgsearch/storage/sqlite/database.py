"""Connections to an instance's SQLite database, and what its failures mean.

WAL mode, ``synchronous=FULL``: a commit is on the disk when it returns, and readers see the state of their first
statement until they end their transaction.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from imgsearch.durable_fs import file_errors, storage_full
from imgsearch.errors import InstanceDamaged, InstanceLocked, StorageUnwritable, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "FrozenConnection",
    "check_release",
    "connect",
    "is_refusal",
    "replace_content",
    "storage_errors",
    "sync_commits",
    "transaction",
]

BUSY_TIMEOUT_S: Final = 30.0
WRITER_CACHE_KIB: Final = 65_536
"""Pages of indexes that one transaction fills in no order: of a million items, SQLite's own 2 MiB hold too few."""
_DAMAGE_WITHOUT_CODE: Final = ("Could not decode to UTF-8", "unsupported file format")
"""What is said of text that was stored as UTF-8 and no longer is, and of a header that names an unknown format."""


_REFUSALS: Final = ("SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_NOMEM", "SQLITE_BUSY", "SQLITE_PROTOCOL")
_BUSY: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
"""Another connection has what is needed, and goes on having it: imgsearch's own writers wait at the writer lock."""
_UNREADABLE: Final = ("SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS", "SQLITE_IOERR_DATA")
"""What the medium no longer gives is as good as altered."""


MINIMUM_RELEASE: Final = (3, 37, 0)
"""Of SQLite: the first one with STRICT tables, which the schema consists of."""


def check_release() -> None:
    """Refuse a SQLite that cannot open an instance.

    Raises:
        UsageError
    """
    if sqlite3.sqlite_version_info < MINIMUM_RELEASE:
        raise UsageError(
            f"this Python has SQLite {sqlite3.sqlite_version}, and imgsearch needs "
            f"{'.'.join(map(str, MINIMUM_RELEASE[:2]))} or newer: use a Python that was built with a newer SQLite"
        )


class FrozenConnection(sqlite3.Connection):
    """To a database whose files stood still when it was opened, in a folder that this process may not write.

    SQLite then takes no lock and looks neither at the log nor for changes, so what it reads is right only as long as
    the files stay as they were.
    """

    path: Path
    seen: tuple[int, ...]

    @property
    def is_outdated(self) -> bool:
        """Whether somebody has written since."""
        return _has_wal(self.path) or _state(self.path) != self.seen

    def check(self) -> None:
        """Refuse what was read, if somebody has written since.

        Raises:
            InstanceLocked
        """
        if self.is_outdated:
            raise InstanceLocked(
                f"{self.path.parent} was written by its owner while it was read, and this process may not write there "
                "to follow: run the command again"
            )


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open an existing database.

    Reading works where nothing may be written too. Where the log's shared memory is there, as it is while the owner has
    the database open, commits are seen as they come. Where it cannot be made, the database is opened as it is, unless a
    log with commits of its own lies there, which SQLite would then pass over.

    Raises:
        InstanceDamaged: the file is not a database.
        InstanceLocked: a program keeps it locked.
        StorageUnwritable: it cannot be opened for writing; or there are commits that cannot be read without writing.
        UsageError: this Python's SQLite is too old.
    """
    check_release()
    with storage_errors(path.parent):
        try:
            return _connected(path, "mode=rw" if write else "mode=ro", write=write)
        except sqlite3.OperationalError as error:
            name = error.sqlite_errorname
            if write or not name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")) or not os.access(path, os.R_OK):
                raise
        seen = _state(path)
        if _has_wal(path):
            raise StorageUnwritable(
                f"{path.parent} has commits in its log that can be read only by who may write there: have its owner "
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
        f"file:{quote(str(path))}?{options}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        factory=factory,
        check_same_thread=False,  # whoever lends it sees to it that one thread at a time uses it
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cell_size_check = ON")  # tells altered pages when they are read
        if write:
            sync_commits(connection)
            connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
            connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten; the default varies
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def sync_commits(connection: sqlite3.Connection) -> None:
    """Have each commit of a connection on the disk when it returns; not each build of SQLite does so by default."""
    connection.execute("PRAGMA synchronous = FULL")
    # On macOS, fsync leaves data in the cache of the disk. Elsewhere these change nothing.
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA checkpoint_fullfsync = ON")


def _has_wal(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False


def _state(path: Path) -> tuple[int, ...]:
    """What changes when the database file is written or replaced."""
    status = path.stat()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool = False) -> Iterator[None]:
    """One transaction around a block: committed at its end, rolled back when it raises.

    A reading one pins the snapshot that its first statement sees.

    Raises:
        InstanceLocked: what was read may be of no snapshot (``FrozenConnection``).
    """
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
    except BaseException as error:
        if connection.in_transaction:  # a full disk makes SQLite roll back by itself
            connection.execute("ROLLBACK")
        if isinstance(connection, FrozenConnection) and isinstance(error, sqlite3.Error | InstanceDamaged):
            connection.check()  # it need not be damage
        raise
    connection.execute("COMMIT")
    if isinstance(connection, FrozenConnection):
        connection.check()


def replace_content(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Put a copy of one database in the place of another one of the same page size, as one commit.

    Raises:
        sqlite3.OperationalError: another program keeps the target locked; Python would try again for ever.
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

    source.backup(target, progress=look)


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
    if name.startswith(_BUSY):
        return InstanceLocked(
            f"the database in {folder} is kept locked by another program, such as an open 'sqlite3' or a backup that "
            f"locks it ({error}): end that, or wait for it, and run the command again"
        )
    if name == "SQLITE_IOERR_GETTEMPPATH":
        return StorageUnwritable(
            "there is no folder for SQLite's temporary files: give one that can be written in TMPDIR (SQLITE_TMPDIR)"
        )
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
