"""Python's own way to files below a machine's folder: calls of ``os`` and ``open`` are steps of the machine."""

from __future__ import annotations

import builtins
import errno
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from tests.simulation.machine import Clock, Machine

__all__ = ["watched_python"]

StrPath = str | os.PathLike[str]


class _Python:
    """The calls, for whichever machine runs at the moment."""

    def __init__(self) -> None:
        self.machine: Machine
        self._descriptors: dict[int, Path] = {}
        self._os = {name: getattr(os, name) for name in ("open", "close", "fsync", "unlink", "rename", "replace")}
        self._os |= {name: getattr(os, name) for name in ("mkdir", "rmdir")}
        self._open = builtins.open

    def open_descriptor(self, path: StrPath, flags: int, mode: int = 0o777, **options: Any) -> int:
        """``os.open``."""
        if not self.machine.is_below(path):
            return int(self._os["open"](path, flags, mode, **options))
        place = Path(path)
        creates = bool(flags & os.O_CREAT) and not place.exists()
        self.machine.check("create" if creates else "open", place)
        descriptor: int = self._os["open"](path, flags, mode, **options)
        if creates:
            self.machine.disk.create(place)
        file = self.machine.disk.file(place)
        if flags & os.O_TRUNC and file is not None:
            file.pending.append(0)
        self._descriptors[descriptor] = place
        return descriptor

    def close(self, descriptor: int) -> None:
        """``os.close``."""
        self._descriptors.pop(descriptor, None)
        self._os["close"](descriptor)

    def sync(self, descriptor: int) -> None:
        """``os.fsync``; where the machine's disk is, nothing need be synced in truth."""
        path = self._descriptors.get(descriptor)
        if path is None:
            self._os["fsync"](descriptor)
        else:
            self.machine.check("sync", path)
            self.machine.disk.sync(path)

    def unlink(self, path: StrPath, **options: Any) -> None:
        """``os.unlink``."""
        self._remove("unlink", path, options)

    def rmdir(self, path: StrPath, **options: Any) -> None:
        """``os.rmdir``."""
        self._remove("rmdir", path, options)

    def _remove(self, name: str, path: StrPath, options: dict[str, Any]) -> None:
        is_below = self.machine.is_below(path)
        if is_below:
            self.machine.check("unlink", Path(path))
        self._os[name](path, **options)
        if is_below:
            self.machine.disk.remove(Path(path))

    def mkdir(self, path: StrPath, *arguments: Any, **options: Any) -> None:
        """``os.mkdir``."""
        is_below = self.machine.is_below(path)
        if is_below:
            self.machine.check("mkdir", Path(path))
        self._os["mkdir"](path, *arguments, **options)
        if is_below:
            self.machine.disk.make_folder(Path(path))

    def rename(self, before: StrPath, after: StrPath, **options: Any) -> None:
        """``os.rename`` and ``os.replace``."""
        is_below = self.machine.is_below(after)
        if is_below:
            self.machine.check("rename", Path(after))
        self._os["replace"](before, after, **options)
        if is_below:
            self.machine.disk.rename(Path(before), Path(after))

    def open(
        self, file: StrPath | int, mode: str = "r", buffering: int = -1, encoding: str | None = None, *rest: Any,
        **options: Any,
    ) -> IO[Any]:  # fmt: skip
        """``open``; what is opened for writing is watched. To open a file for reading counts as reading it."""
        if isinstance(file, int) or not self.machine.is_below(file):
            return self._open(file, mode, buffering, encoding, *rest, **options)
        if not set(mode) & set("wxa+"):
            if self.machine.fails_to_read(Path(file)):
                raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(file))
            if self.machine.has_unreadable(Path(file)):
                raw = _Spoilt(self, file)
                return raw if buffering == 0 else io.BufferedReader(raw, 1)
            return self._open(file, mode, buffering, encoding, *rest, **options)
        opener = options.get("opener") or self.open_descriptor
        raw = _Recorded(self, file, mode, opener)
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8")


class _Spoilt(io.FileIO):
    """A file with a sector that cannot be read."""

    def __init__(self, python: _Python, path: StrPath) -> None:
        super().__init__(os.fspath(path), "rb")
        self._machine, self._path = python.machine, Path(path)

    def readinto(self, buffer: Any) -> int:
        """Read, or fail."""
        self._check(len(buffer))
        return super().readinto(buffer)

    def read(self, amount: int = -1) -> bytes:
        """Read some, or fail."""
        self._check(amount if amount >= 0 else os.fstat(self.fileno()).st_size)
        return super().read(amount)

    def readall(self) -> bytes:
        """Read to the end, or fail."""
        self._check(os.fstat(self.fileno()).st_size)
        return super().readall()

    def _check(self, amount: int) -> None:
        if self._machine.is_unreadable(self._path, self.tell(), amount):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self._path))


class _Recorded(io.FileIO):
    """A file whose writes are steps."""

    def __init__(self, python: _Python, path: StrPath, mode: str, opener: Any) -> None:
        super().__init__(os.fspath(path), mode.replace("b", "").replace("t", ""), opener=opener)
        self._python = python
        self._path = Path(path)
        self._file = python.machine.disk.file(self._path)

    def write(self, data: Any) -> int:
        """Write all of it, half of it, or nothing."""
        given = bytes(data)
        is_cut = self._python.machine.check("write", self._path)
        offset = self.tell()
        written = super().write(given[: len(given) // 2] if is_cut and len(given) > 1 else given)
        self._python.machine.written(self._path, offset, written)
        if self._file is not None:
            self._file.pending.append((offset, given[:written]))
        return written

    def fileno(self) -> int:
        """None, so that nobody copies by calls that are not seen."""
        raise io.UnsupportedOperation("fileno")


def _for_this_thread(simulated: Callable[[], float], real: Callable[[], float]) -> Callable[[], float]:
    """Simulated time for the calling thread, real time for all others: servers of other tests may run in those.

    A server that went to sleep by the simulation's clock would not wake up for years.
    """
    simulating = threading.get_ident()
    return lambda: simulated() if threading.get_ident() == simulating else real()


@contextmanager
def watched_python(clock: Clock) -> Iterator[_Python]:
    """Calls are steps of the ``machine`` that the yielded object has been given; the caller's time is the clock's."""
    python = _Python()
    replaced: list[tuple[object, str, object]] = [
        (os, "open", python.open_descriptor),
        (os, "close", python.close),
        (os, "fsync", python.sync),
        (os, "unlink", python.unlink),
        (os, "rename", python.rename),
        (os, "replace", python.rename),
        (os, "mkdir", python.mkdir),
        (os, "rmdir", python.rmdir),
        (io, "open", python.open),
        (builtins, "open", python.open),
        (time, "time", _for_this_thread(clock.wall, time.time)),
        (time, "monotonic", _for_this_thread(clock.monotonic, time.monotonic)),
        (time, "perf_counter", _for_this_thread(clock.monotonic, time.perf_counter)),
    ]
    with ExitStack() as stack:
        for place, name, function in replaced:
            stack.enter_context(patch.object(place, name, function))
        yield python
