"""What a disk may hold of a folder when the power goes, told from the system calls up to then.

POSIX promises what was synced, and no more. A write is on the disk once its file was synced; a name (made, renamed or
removed) once its folder was. Until then it may be there or not: writes in whatever order the disk liked, and of each
any of its sectors; names in their order, as file systems with a journal keep them, and a rename as a whole.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from pathlib import Path

from tests.durability.system_calls import Call

SECTOR = 512


class Loss(Enum):
    """How much of what was not synced is lost."""

    ALL = "all that was not synced"
    DATA = "all data that was not synced, but no name"
    SOME = "some of what was not synced"


@dataclass
class File:
    """A file's bytes on the disk, and the changes that are on their way there: an offset with bytes, or a length."""

    durable: bytes = b""
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)

    def sync(self) -> None:
        self.durable = _changed(self.durable, self.pending)
        self.pending = []

    def left(self, loss: Loss, chance: random.Random) -> bytes:
        if loss is not Loss.SOME:
            return self.durable
        kept: list[tuple[int, bytes] | int] = []
        for change in self.pending:
            if isinstance(change, int):
                kept += [change] if chance.random() < 0.5 else []
            else:
                kept += [sector for sector in _sectors(*change) if chance.random() < 0.5]
        return _changed(self.durable, kept)


def _sectors(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    """A write, cut where the disk's sectors end."""
    borders = [offset, *range(offset - offset % SECTOR + SECTOR, offset + len(data), SECTOR), offset + len(data)]
    return [(at, data[at - offset : to - offset]) for at, to in pairwise(borders)]


def _changed(data: bytes, changes: list[tuple[int, bytes] | int]) -> bytes:
    result = bytearray(data)
    for change in changes:
        if isinstance(change, int):
            result = result[:change].ljust(change, b"\0")
        else:
            offset, new = change
            result = result.ljust(offset, b"\0")
            result[offset : offset + len(new)] = new
    return bytes(result)


Names = dict[Path, File | None]
"""A path, with the file that it names; None: a folder."""


class Disk:
    """A folder and all below it, followed from call to call.

    Args:
        home: the folder; what is in it now is on the disk.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._durable: Names = {
            path: File(path.read_bytes()) if path.is_file() else None for path in sorted(home.rglob("*"))
        }
        self._now: Names = dict(self._durable)
        self._pending: list[dict[Path, File | str | None]] = []
        """Changes of names that are on their way, each as a whole: a path, and what it names; "gone" if nothing."""

    def follow(self, call: Call) -> None:
        """Take note of a call that is about to happen, and will succeed."""
        path = call.path
        if call.opens:
            if call.creates:
                self._rename({path: File()})
            file = self._now.get(path)
            if call.flags & os.O_TRUNC and isinstance(file, File):
                file.pending.append(0)
        elif call.name in {"fsync", "fdatasync"}:
            self._sync(path)
        elif call.name == "mkdir":
            if path not in self._now:
                self._rename({path: None})
        elif call.name in {"unlink", "rmdir"}:
            if path in self._now:
                self._rename({path: "gone"})
        elif call.name == "rename":
            assert call.before is not None
            self._rename({path: self._now[call.before], call.before: "gone"})
        elif path.name.endswith(" (deleted)"):
            pass  # a file without a name is lost in any case
        elif call.writes:
            self._file(path).pending.append((call.offset(), call.data()))
        elif call.name == "ftruncate":
            self._file(path).pending.append(call.length())
        else:
            raise NotImplementedError(call.step)

    def _file(self, path: Path) -> File:
        file = self._now[path]
        assert file is not None
        return file

    def _rename(self, change: dict[Path, File | str | None]) -> None:
        self._pending.append(change)
        _apply(self._now, change)

    def _sync(self, path: Path) -> None:
        file = self._now.get(path)
        if isinstance(file, File):
            file.sync()
            return
        for change in [change for change in self._pending if any(name.parent == path for name in change)]:
            self._pending.remove(change)
            _apply(self._durable, change)

    def restore(self, target: Path, loss: Loss, chance: random.Random) -> None:
        """Write what may be there when the power comes back.

        Args:
            target: a folder that is not there yet.
            loss: how much is lost.
            chance: what decides about each change, where some are lost.
        """
        names = dict(self._durable)
        kept = {Loss.ALL: 0, Loss.DATA: len(self._pending), Loss.SOME: chance.randint(0, len(self._pending))}[loss]
        for change in self._pending[:kept]:
            _apply(names, change)
        target.mkdir()
        for path in sorted(names):
            file, there = names[path], target / path.relative_to(self._home)
            if not there.parent.is_dir():
                continue  # the name of its folder is lost
            if file is None:
                there.mkdir()
            else:
                there.write_bytes(file.left(loss, chance))


def _apply(names: Names, change: dict[Path, File | str | None]) -> None:
    for path, file in change.items():
        if isinstance(file, str):
            names.pop(path, None)
        else:
            names[path] = file
