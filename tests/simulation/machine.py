"""The computer that an instance lies on: what its disk holds, which of its calls fail, when its power goes.

Each call that changes a file below a folder is a step. Before it happens, the plan of the present operation says what
becomes of it: it passes, fails, is done by half, is the last one before the power goes, or something else is done
first. All is in one thread of one process: after a loss of power, everything that comes is refused until the process
has let go of what it holds, and ``restart`` writes what the disk may hold (``tests.durability.power_loss``) to a new
folder. SQLite's calls come from ``sqlite_files``, Python's own from ``python_files``.
"""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.durability.power_loss import Disk, File, Loss
from tests.durability.system_calls import short_name
from tests.simulation import sqlite_files as sqlite

__all__ = ["Cut", "Event", "Machine", "PowerLoss"]


class PowerLoss(BaseException):
    """The power is gone: whatever is on the stack ends here."""


class Cut(Enum):
    """What becomes of a call, beside failing with an error number."""

    SHORT = "half of it is written, then the disk is full"
    POWER = "the power goes before it"


@dataclass
class Event:
    """What happens at a step of an operation."""

    at: int
    """How many steps pass before; of an error, steps that cannot fail so are passed over."""
    what: Cut | int | Callable[[], None]
    """An int is an error number; a function is called before the step, which then passes."""
    lasting: bool = False
    """An error comes again with every further call that it can come with."""


DISK_SECTOR = 4096
TAKES_SPACE = frozenset({"write", "create", "mkdir", "rename"})
CAN_FAIL = {
    errno.ENOSPC: TAKES_SPACE,
    errno.EIO: TAKES_SPACE | {"sync", "unlink", "truncate"},
    errno.EMFILE: frozenset({"create", "open"}),
}
"""Which steps can fail with which error."""
_open = open
"""Of Python itself, which is no step."""
OF_SQLITE = {
    "create": sqlite.CANTOPEN,
    "open": sqlite.CANTOPEN,
    "write": sqlite.IOERR_WRITE,
    "sync": sqlite.IOERR_FSYNC,
    "truncate": sqlite.IOERR_TRUNCATE,
    "unlink": sqlite.IOERR_DELETE,
}
"""How SQLite's VFS tells of a step that has failed."""


@dataclass
class _Open:
    """A file that SQLite has open."""

    path: Path
    file: File
    syncs_folder: bool
    """With its first sync SQLite syncs the folder, too, as the file may be new (``UNIXFILE_DIRSYNC``)."""


@dataclass
class _Plan:
    """What is to happen during one operation."""

    events: list[Event]
    failing_read: int | None = None
    """How many reads pass before the one that fails."""
    lasting: int | None = None
    steps: int = 0


class Machine:
    """One computer, from one start to the next.

    Args:
        home: the folder that its disk is; what is in it now is on the disk.
        chance: what decides.
    """

    def __init__(self, home: Path, chance: random.Random) -> None:
        self.home = home
        self.chance = chance
        self.disk = Disk(home)
        self.is_off = False
        self.stopped: BaseException | None = None
        """What an event raised inside of a call of SQLite's, where no exception can pass."""
        self.seen: Counter[str] = Counter()
        """How often what happened, and at which step."""
        self._plan = _Plan([])
        self._open: dict[int, _Open] = {}
        self._unreadable: dict[Path, range] = {}
        self._prefix = f"{home}/"

    # What happens

    @contextmanager
    def plan(self, events: list[Event], failing_read: int | None = None) -> Iterator[None]:
        """What is to happen during a block; what has not happened at its end does not.

        Args:
            events: what happens at which steps.
            failing_read: one read fails, after so many that pass. Reads are no steps.
        """
        before, self._plan = self._plan, _Plan(sorted(events, key=lambda event: event.at), failing_read)
        self._watch_reads()
        try:
            yield
        finally:
            self._plan = before
            self._watch_reads()

    def _watch_reads(self) -> None:
        sqlite.watch_reads(watched=self._plan.failing_read is not None or bool(self._unreadable))

    def fails_to_read(self, path: Path) -> bool:
        """Whether the read that is about to happen fails."""
        plan = self._plan
        if plan.failing_read is None:
            return False
        plan.failing_read -= 1
        if plan.failing_read != -1:
            return False
        self.seen[f"{errno.errorcode[errno.EIO]}: {self._told('read', path)}"] += 1
        return True

    def is_below(self, path: str | os.PathLike[str] | int) -> bool:
        """Whether a call is about what is watched."""
        return not isinstance(path, int) and f"{os.fspath(path)}/".startswith(self._prefix)

    def step(self, name: str, path: Path) -> Cut | int | None:
        """A call is about to happen: None: it passes; otherwise how it fails.

        Raises:
            PowerLoss: instead.
        """
        plan = self._plan
        plan.steps += 1
        if self.is_off:
            raise PowerLoss
        while plan.events and plan.events[0].at < plan.steps:
            event = plan.events[0]
            if isinstance(event.what, int) and name not in CAN_FAIL[event.what]:
                break
            if event.what is Cut.SHORT and name != "write":
                break
            del plan.events[0]
            if event.what is Cut.POWER:
                self.seen[f"power lost: {self._told(name, path)}"] += 1
                self.is_off = True
                raise PowerLoss
            if isinstance(event.what, Cut | int):
                told = event.what.name if isinstance(event.what, Cut) else errno.errorcode[event.what]
                self.seen[f"{told}: {self._told(name, path)}"] += 1
                if event.lasting and isinstance(event.what, int):
                    plan.lasting = event.what
                return event.what
            with self.plan([]):
                event.what()
        if plan.lasting is not None and name in CAN_FAIL[plan.lasting]:
            return plan.lasting
        return None

    def _told(self, name: str, path: Path) -> str:
        return f"{name} {short_name(path, self.home)}"

    def check(self, name: str, path: Path) -> bool:
        """A step of Python's; whether a write is to be done by half.

        Raises:
            OSError, PowerLoss
        """
        decision = self.step(name, path)
        if isinstance(decision, int):
            if name == "sync":
                self.fail_to_sync(path)
            raise OSError(decision, os.strerror(decision), str(path))
        return decision is Cut.SHORT

    def fail_to_sync(self, path: Path) -> None:
        """What was to be synced may be lost, though it is there as long as the power lasts."""
        file = self.disk.file(path)
        if file is not None:
            file.fail_to_sync(self.chance)

    def spoil(self, path: Path, offset: int) -> None:
        """The disk cannot read the sector at an offset any more, until it is written as a whole."""
        self._unreadable[path] = range(offset - offset % DISK_SECTOR, offset - offset % DISK_SECTOR + DISK_SECTOR)
        self._watch_reads()

    def heal(self) -> None:
        """All can be read again."""
        self._unreadable.clear()
        self._watch_reads()

    def has_unreadable(self, path: Path) -> bool:
        """Whether there is such a sector in a file."""
        return path in self._unreadable

    def is_unreadable(self, path: Path, offset: int, amount: int) -> bool:
        """Whether bytes of a file are in a sector that cannot be read."""
        sector = self._unreadable.get(path)
        return sector is not None and offset < sector.stop and sector.start < offset + amount

    def written(self, path: Path, offset: int, amount: int) -> None:
        """A file has been written: a sector that is written as a whole can be read again."""
        sector = self._unreadable.get(path)
        if sector is not None and offset <= sector.start and sector.stop <= offset + amount:
            self.heal()

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        """The disk itself changes what lies on it."""
        file = self.disk.file(path)
        assert file is not None
        with open(path, "rb") as there:
            whole = bytearray(there.read())
        whole[offset : offset + len(data)] = data
        with _open(path, "r+b") as there:
            there.write(whole)
        file.durable, file.pending = whole, []

    # What SQLite asks (``sqlite_files.Files``)

    def _code(self, name: str, path: Path) -> int:
        """A step of SQLite's, as one of its error codes."""
        try:
            decision = self.step(name, path)
        except BaseException as error:
            self.is_off = True
            if not isinstance(error, PowerLoss):
                self.stopped = error
            return OF_SQLITE[name]
        if decision is None:
            return sqlite.OK
        return sqlite.FULL if decision in (errno.ENOSPC, Cut.SHORT) else OF_SQLITE[name]

    def opening(self, path: Path, flags: int) -> int:
        """May the file be made, or be opened?"""
        if not self.is_below(path):
            return sqlite.OK
        creates = flags & sqlite.OPEN_CREATE and not path.exists()
        code = self._code("create" if creates else "open", path)
        if not code and creates:
            self.disk.create(path)
        return code

    def opened(self, path: Path, handle: int, flags: int) -> None:
        """Its writes are about the file that has that name now."""
        file = self.disk.file(path) if self.is_below(path) else None
        if file is not None:
            syncs_folder = bool(flags & sqlite.OPEN_CREATE and flags & sqlite.LOG_OR_JOURNAL)
            self._open[handle] = _Open(path, file, syncs_folder)

    def writing(self, handle: int, offset: int, data: bytes) -> tuple[int, bytes]:
        """May it be written?"""
        known = self._open.get(handle)
        if known is None:
            return sqlite.OK, data
        decision = self._code("write", known.path)
        written = data if not decision else data[: len(data) // 2] if decision == sqlite.FULL else b""
        if written:
            known.file.pending.append((offset, written))
            self.written(known.path, offset, len(written))
        return decision, written

    def reading(self, handle: int, offset: int, amount: int) -> int:
        """May it be read?"""
        known = self._open.get(handle)
        if known is None:
            return sqlite.OK
        fails = self.fails_to_read(known.path) or self.is_unreadable(known.path, offset, amount)
        return sqlite.IOERR_READ if fails else sqlite.OK

    def truncating(self, handle: int, length: int) -> int:
        """May it be cut?"""
        known = self._open.get(handle)
        code = sqlite.OK if known is None else self._code("truncate", known.path)
        if known is not None and not code:
            known.file.pending.append(length)
        return code

    def syncing(self, handle: int) -> int:
        """May it be synced?"""
        known = self._open.get(handle)
        if known is None:
            return sqlite.OK
        code = self._code("sync", known.path)
        if code:
            known.file.fail_to_sync(self.chance)
            return code
        known.file.sync()
        if known.syncs_folder:
            self.disk.sync(known.path.parent)
            known.syncs_folder = False
        return code

    def closed(self, handle: int) -> None:
        """It is not written any more."""
        self._open.pop(handle, None)

    def deleting(self, path: Path, *, syncs_folder: bool) -> int:
        """May it be deleted?"""
        if not self.is_below(path):
            return sqlite.OK
        code = self._code("unlink", path)
        if not code:
            self.disk.remove(path)
            if syncs_folder:
                self.disk.sync(path.parent)
        return code

    def random(self, count: int) -> bytes:
        """The same for the same seed."""
        return self.chance.randbytes(count)

    def sleeping(self, microseconds: int) -> None:
        """Nobody else runs meanwhile, so nobody waits."""
        self.seen["waits of SQLite"] += 1

    # Power

    def restart(self, target: Path, loss: Loss) -> Machine:
        """The computer after the power has come back; its disk is a new folder.

        Args:
            target: the new folder, not there yet.
            loss: of what was not synced.
        """
        self.disk.restore(target, loss, self.chance)
        after = Machine(target, self.chance)
        after.seen = self.seen
        after._unreadable = {target / path.relative_to(self.home): at for path, at in self._unreadable.items()}
        after._watch_reads()
        return after


@dataclass
class Clock:
    """Time as the program is told it: it goes on with each question, and jumps when it is set."""

    now: float = 1_700_000_000.0
    running: float = 1_000.0

    def wall(self) -> float:
        """Seconds since the epoch, as ``time.time`` tells them."""
        self.now += 1e-4
        return self.now

    def monotonic(self) -> float:
        """Seconds since some moment, as ``time.monotonic`` tells them."""
        self.running += 1e-4
        return self.running

    def jump(self, chance: random.Random) -> float:
        """The wall clock is set, to and fro; the other one stands still, or time passes."""
        seconds = chance.choice((-1, 1)) * chance.choice((0.5, 60.0, 86_400.0, 4e8))
        self.now = max(0.0, self.now + seconds)
        self.running += abs(seconds)
        return seconds
