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
    NONE = "nothing, as where a process is killed but the system goes on"


@dataclass
class File:
    """A file's bytes on the disk, and the changes that are on their way there: an offset with bytes, or a length."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)

    def sync(self) -> None:
        _change(self.durable, self.pending)
        self.pending = []

    def fail_to_sync(self, chance: random.Random) -> None:
        """Whatever was on its way has come to the disk or never will: the system does not try again (Linux)."""
        self.durable = self.left(Loss.SOME, chance)
        self.pending = []

    def left(self, loss: Loss, chance: random.Random) -> bytearray:
        """What may be on the disk."""
        there = bytearray(self.durable)
        if loss is Loss.NONE:
            _change(there, self.pending)
        if loss is not Loss.SOME:
            return there
        kept: list[tuple[int, bytes] | int] = []
        for change in self.pending:
            if isinstance(change, int):
                kept += [change] if chance.random() < 0.5 else []
            else:
                kept += [sector for sector in _sectors(*change) if chance.random() < 0.5]
        _change(there, kept)
        return there


def _sectors(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    """A write, cut where the disk's sectors end."""
    borders = [offset, *range(offset - offset % SECTOR + SECTOR, offset + len(data), SECTOR), offset + len(data)]
    return [(at, data[at - offset : to - offset]) for at, to in pairwise(borders)]


def _change(data: bytearray, changes: list[tuple[int, bytes] | int]) -> None:
    for change in changes:
        if isinstance(change, int):
            del data[change:]
            data += bytes(change - len(data))
        else:
            offset, new = change
            if len(data) < offset:
                data += bytes(offset - len(data))
            data[offset : offset + len(new)] = new


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
            path: File(bytearray(path.read_bytes())) if path.is_file() else None for path in sorted(home.rglob("*"))
        }
        self._now: Names = dict(self._durable)
        self._pending: list[dict[Path, File | str | None]] = []
        """Changes of names that are on their way, each as a whole: a path, and what it names; "gone" if nothing."""

    def follow(self, call: Call) -> None:
        """Take note of a call that is about to happen, and will succeed."""
        path = call.path
        if call.opens:
            if call.creates:
                self.create(path)
            file = self.file(path)
            if call.flags & os.O_TRUNC and file is not None:
                file.pending.append(0)
        elif call.name in {"fsync", "fdatasync"}:
            self.sync(path)
        elif call.name == "mkdir":
            self.make_folder(path)
        elif call.name in {"unlink", "rmdir"}:
            self.remove(path)
        elif call.name == "rename":
            assert call.before is not None
            self.rename(call.before, path)
        elif path.name.endswith(" (deleted)"):
            pass  # a file without a name is lost in any case
        elif call.writes:
            self._known(path).pending.append((call.offset(), call.data()))
        elif call.name == "ftruncate":
            self._known(path).pending.append(call.length())
        else:
            raise NotImplementedError(call.step)

    def file(self, path: Path) -> File | None:
        """What a path names now; None: a folder, or nothing. Who has opened it may go on when its name is gone."""
        return self._now.get(path)

    def _known(self, path: Path) -> File:
        file = self.file(path)
        assert file is not None
        return file

    def create(self, path: Path) -> None:
        """A new, empty file."""
        self._rename({path: File()})

    def make_folder(self, path: Path) -> None:
        """A new folder, unless it is there."""
        if path not in self._now:
            self._rename({path: None})

    def remove(self, path: Path) -> None:
        """A file or an empty folder, if it is there."""
        if path in self._now:
            self._rename({path: "gone"})

    def rename(self, before: Path, path: Path) -> None:
        """A file gets another name, and takes the place of what had it."""
        self._rename({path: self._now[before], before: "gone"})

    def _rename(self, change: dict[Path, File | str | None]) -> None:
        self._pending.append(change)
        _apply(self._now, change)

    def sync(self, path: Path) -> None:
        """The content of a file, or the names in a folder, are on the disk from now on."""
        file = self._now.get(path)
        if file is not None:
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
        whole = len(self._pending)
        kept = {Loss.ALL: 0, Loss.SOME: chance.randint(0, whole)}.get(loss, whole)
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
