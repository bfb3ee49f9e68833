"""SQLite's own way to files, with a say in each call that changes one: a VFS of which a few functions are ours.

All else is SQLite's VFS for Unix, whose functions are called as they are: locks, shared memory, and reading, unless a
read is to fail (``watch_reads``). A VFS is
chosen per process by being the default one (https://sqlite.org/vfs.html), so nothing in imgsearch knows of it. What is
written through shared memory (``-shm``, which means nothing after a crash) is not seen.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

OK, FULL, CANTOPEN = 0, 13, 14
IOERR_READ, IOERR_WRITE, IOERR_FSYNC, IOERR_TRUNCATE, IOERR_DELETE = (10 | number << 8 for number in (1, 3, 4, 6, 10))
OPEN_CREATE, LOG_OR_JOURNAL = 0x4, 0x800 | 0x4000 | 0x80000
"""Flags of an open: it may create the file; the file is one whose folder SQLite syncs with its first sync."""
SINGLE_THREAD, MEMORY_STATISTICS = 1, 9
"""Options of ``sqlite3_config``."""

Pointer = ctypes.c_void_p


class _Vfs(ctypes.Structure):
    _fields_ = (
        *(("version", ctypes.c_int), ("file_size", ctypes.c_int), ("longest", ctypes.c_int)),
        *(("next", Pointer), ("name", ctypes.c_char_p), ("data", Pointer)),
        *((name, Pointer) for name in ("open", "delete", "access", "full", "dl_open", "dl_error", "dl_sym")),
        *((name, Pointer) for name in ("dl_close", "randomness", "sleep", "time", "last_error")),
        *((name, Pointer) for name in ("time_64", "set_call", "get_call", "next_call")),
    )


class _Methods(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        *((name, Pointer) for name in ("close", "read", "write", "truncate", "sync", "size", "lock", "unlock")),
        *((name, Pointer) for name in ("reserved", "control", "sector", "traits", "shm_map", "shm_lock")),
        *((name, Pointer) for name in ("shm_barrier", "shm_unmap", "fetch", "unfetch")),
    )


_c, _i64 = ctypes.c_int, ctypes.c_int64
OPEN = ctypes.CFUNCTYPE(_c, Pointer, Pointer, Pointer, _c, Pointer)
DELETE = ctypes.CFUNCTYPE(_c, Pointer, ctypes.c_char_p, _c)
RANDOMNESS = ctypes.CFUNCTYPE(_c, Pointer, _c, Pointer)
SLEEP = ctypes.CFUNCTYPE(_c, Pointer, _c)
CLOSE = ctypes.CFUNCTYPE(_c, Pointer)
READ = WRITE = ctypes.CFUNCTYPE(_c, Pointer, Pointer, _c, _i64)
TRUNCATE = ctypes.CFUNCTYPE(_c, Pointer, _i64)
SYNC = ctypes.CFUNCTYPE(_c, Pointer, _c)


class Files(Protocol):
    """Who has a say. Each function returns an error code of SQLite, or 0 for: go on."""

    def opening(self, path: Path, flags: int) -> int:
        """A file is about to be opened."""

    def opened(self, path: Path, handle: int, flags: int) -> None:
        """It is open, under this number."""

    def writing(self, handle: int, offset: int, data: bytes) -> tuple[int, bytes]:
        """Bytes are about to be written; also returns how much of them is."""

    def reading(self, handle: int, offset: int, amount: int) -> int:
        """So many bytes of a file are about to be read, while reads are watched."""

    def truncating(self, handle: int, length: int) -> int:
        """A file is about to get this length."""

    def syncing(self, handle: int) -> int:
        """A file is about to be synced."""

    def closed(self, handle: int) -> None:
        """A number is free."""

    def deleting(self, path: Path, *, syncs_folder: bool) -> int:
        """A file is about to be deleted."""

    def random(self, count: int) -> bytes:
        """So many random bytes, for salts."""

    def sleeping(self, microseconds: int) -> None:
        """SQLite waits for a lock."""


def _library() -> ctypes.CDLL:
    """The very library that Python's module has loaded: another copy would have locks of its own."""
    return ctypes.CDLL(_sqlite3.__file__)


def run_alone() -> None:
    """Let SQLite do without mutexes and statistics of its memory, as one thread of this process uses it.

    Each costs more than what it guards here. No connection is open.
    """
    library = _library()
    library.sqlite3_shutdown()
    for option, *values in ((SINGLE_THREAD,), (MEMORY_STATISTICS, 0)):
        assert library.sqlite3_config(option, *values) == OK
    assert library.sqlite3_initialize() == OK


@lru_cache(maxsize=64)
def _path(name: bytes) -> Path:
    return Path(name.decode())


def unavailable() -> str | None:
    """Why SQLite's files cannot be watched here; None where they can."""
    if sys.platform != "linux":
        return f"SQLite's files are watched on Linux only, not on {sys.platform}"
    try:
        library = _library()
        library.sqlite3_vfs_find  # noqa: B018
        library.sqlite3_libversion.restype = ctypes.c_char_p
        version = library.sqlite3_libversion().decode()
    except (OSError, AttributeError) as error:
        return f"the functions of Python's SQLite cannot be called from outside: {error}"
    return None if version == sqlite3.sqlite_version else f"this is another SQLite than Python's: {version}"


@dataclass
class _Originals:
    """Functions of the VFS for Unix."""

    open: Callable[..., int]
    delete: Callable[..., int]
    methods: dict[int, tuple[_Methods, Any, Any, Any, Any]]
    """Our tables of methods, by the address of the table that each stands for; with that one's own functions."""
    reads: dict[int, tuple[int, Any]]
    """The function for reading, as its address and as a function, by the address of the table of methods."""


class _Watched:
    """The VFS itself; kept for as long as SQLite knows it."""

    def __init__(self, library: ctypes.CDLL, files: Files) -> None:
        self._library, self._files = library, files
        library.sqlite3_vfs_find.restype = Pointer
        library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
        self.unix: int = library.sqlite3_vfs_find(b"unix")
        original = _Vfs.from_address(self.unix)
        self.vfs = _Vfs.from_buffer_copy(original)
        self.vfs.name, self.vfs.next = b"simulated", None
        self._of_unix = _Originals(OPEN(original.open), DELETE(original.delete), {}, {})
        self._own = (OPEN(self._open), DELETE(self._delete), RANDOMNESS(self._random), SLEEP(self._sleep))
        self._of_file = (WRITE(self._write), TRUNCATE(self._truncate), SYNC(self._sync), CLOSE(self._close))
        for name, function in zip(("open", "delete", "randomness", "sleep"), self._own, strict=True):
            setattr(self.vfs, name, ctypes.cast(function, Pointer).value)
        self._calls: dict[int, tuple[Any, Any, Any, Any]] = {}
        self._reads: dict[int, Any] = {}
        self._read_function = READ(self._read)
        self._watches_reads = False

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
        path = None if name is None else _path(ctypes.string_at(name))
        if path is None:
            return self._of_unix.open(vfs, name, file, flags, out)
        code = self._files.opening(path, flags)
        if code:
            Pointer.from_address(file).value = None  # nothing to close
            return code
        code = self._of_unix.open(vfs, name, file, flags, out)
        if code == OK:
            table = Pointer.from_address(file)
            assert table.value is not None
            ours, *functions = self._methods(table.value)
            self._calls[file] = (functions[0], functions[1], functions[2], functions[3])
            self._reads[file] = self._of_unix.reads[table.value][1]
            table.value = ctypes.addressof(ours)
            self._files.opened(path, file, flags)
        return code

    def _methods(self, address: int) -> tuple[_Methods, Any, Any, Any, Any]:
        known = self._of_unix.methods
        if address not in known:
            original = _Methods.from_address(address)
            ours = _Methods.from_buffer_copy(original)
            for name, function in zip(("write", "truncate", "sync", "close"), self._of_file, strict=True):
                setattr(ours, name, ctypes.cast(function, Pointer).value)
            functions = (WRITE(original.write), TRUNCATE(original.truncate), SYNC(original.sync), CLOSE(original.close))
            known[address] = (ours, *functions)
            self._of_unix.reads[address] = (original.read, READ(original.read))
            self.watch_reads(watched=self._watches_reads)
        return known[address]

    def watch_reads(self, *, watched: bool) -> None:
        """Let ``files`` decide on reads as well, or not any more; each read then takes several times as long."""
        self._watches_reads = watched
        ours = ctypes.cast(self._read_function, Pointer).value
        for address, (methods, *_) in self._of_unix.methods.items():
            methods.read = ours if watched else self._of_unix.reads[address][0]

    def _read(self, file: int, target: int, amount: int, offset: int) -> int:
        return self._files.reading(file, offset, amount) or int(self._reads[file](file, target, amount, offset))

    def _write(self, file: int, data: int, amount: int, offset: int) -> int:
        code, written = self._files.writing(file, offset, ctypes.string_at(data, amount))
        if written:
            done = self._calls[file][0](file, data, len(written), offset)
            return code or done
        return code

    def _truncate(self, file: int, length: int) -> int:
        return self._files.truncating(file, length) or self._calls[file][1](file, length)

    def _sync(self, file: int, flags: int) -> int:
        return self._files.syncing(file) or self._calls[file][2](file, flags)

    def _close(self, file: int) -> int:
        close = self._calls.pop(file)[3]
        del self._reads[file]
        self._files.closed(file)
        return int(close(file))

    def _delete(self, vfs: int, name: bytes, sync_folder: int) -> int:
        code = self._files.deleting(_path(name), syncs_folder=bool(sync_folder))
        return code or self._of_unix.delete(vfs, name, sync_folder)

    def _random(self, _vfs: int, count: int, target: int) -> int:
        ctypes.memmove(target, self._files.random(count), count)
        return count

    def _sleep(self, _vfs: int, microseconds: int) -> int:
        self._files.sleeping(microseconds)
        return microseconds


_LAST: Final[list[_Watched]] = []
"""SQLite keeps the address of the last one, which must not be freed while a connection is open."""


def watch_reads(*, watched: bool) -> None:
    """Ask ``Files.reading`` before each read, or stop asking; this includes files that are opened later."""
    if _LAST:
        _LAST[-1].watch_reads(watched=watched)


@contextmanager
def watched_files(files: Files) -> Iterator[None]:
    """Let ``files`` decide on SQLite's calls during a block; connections opened in it are closed in it."""
    library = _library()
    one = _Watched(library, files)
    _LAST.append(one)
    register = library.sqlite3_vfs_register
    register.argtypes = [Pointer, ctypes.c_int]
    register(ctypes.addressof(one.vfs), 1)
    library.sqlite3_randomness(0, None)  # SQLite's own generator begins anew, from our bytes
    try:
        yield
    finally:
        register(one.unix, 1)
        library.sqlite3_vfs_unregister(ctypes.c_void_p(ctypes.addressof(one.vfs)))
        library.sqlite3_randomness(0, None)
