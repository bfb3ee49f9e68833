"""The life of one instance: it is created, written, read, hit by faults, left by its power and repaired, by chance.

Everything is in one thread. What others do at the same time is done at a step of who is at work: a reader between two
calls of a writer to the file system, a writer between two statements of a reader, and readers that keep a snapshot go
on from operation to operation. So each interleaving has its place in the sequence of draws, and comes again.
"""

from __future__ import annotations

import errno
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from imgsearch.errors import ImgsearchError, InstanceDamaged, InstanceLocked, InvalidExport, StorageError
from imgsearch.filters.tree import EVERYTHING
from imgsearch.search.searcher import Searcher
from imgsearch.storage.lock import LOCK_NAME
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.vision.pipeline import content_hash
from tests.durability.power_loss import Loss
from tests.simulation.given import SIGHTS, GivenInstance, create, feature_of
from tests.simulation.history import Finding, History
from tests.simulation.machine import Clock, Cut, Event, Machine, PowerLoss
from tests.simulation.reading import Reading, check_export, export
from tests.simulation.rot import rot_and_repair
from tests.simulation.statements import Watched
from tests.simulation.writing import Export, Write, draw_rebuild, draw_write
from tests.storage.arithmetic import Sight
from tests.storage.known import State, Told

__all__ = ["Life"]

FAULT, POWER, BESIDE = 0.05, 0.04, 0.12
"""Shares of the operations with an error, with a loss of power, with something done beside."""
FAILING_READ = 0.03
"""Share of the operations in which the disk fails to read once."""
MOST_READS = {"write": 50, "read": 8, "open": 28, "check": 75, "export": 60}
"""How many reads an operation of each kind takes, roughly."""
ERRORS: tuple[int | Cut, ...] = (errno.ENOSPC, errno.ENOSPC, errno.EIO, errno.EIO, errno.EMFILE, Cut.SHORT)
MOST_STEPS = 70
"""Steps that most operations do not exceed."""
MOST_CREATING_STEPS = 60
MOST_EXPORTS = 2
LOG_NOT_SYNCED = f"{errno.errorcode[errno.EIO]}: sync instance/{DATABASE_NAME}-wal"
"""If the commit cannot be overwritten either, it is in doubt until a restart."""
KEYS = {content_hash(Sight(number).data): number for number in range(SIGHTS)}
Log = Callable[[str, str], None]


class Life:
    """One instance, from its creation on.

    Args:
        home: a folder for its machine's disks.
        chance: what decides.
        clock: of the machine.
        boot: told the machine whenever another one runs.
        log: told each operation, and what came of it.
    """

    def __init__(
        self, home: Path, chance: random.Random, clock: Clock, boot: Callable[[Machine], None], log: Log
    ) -> None:
        self._home, self._chance, self._clock, self._boot, self._log = home, chance, clock, boot, log
        self.history = History()
        self.operations = 0
        self._starts = 0
        self._nested = False
        self._holds_lock = False
        """Whether the present writer has taken the lock."""
        self._is_new = False
        """Whether the index has just been built, so that readers have yet to open it."""
        self._sessions: list[Iterator[None]] = []
        self._exports: list[Export] = []
        self._resources = ExitStack()
        disk = home / "disk-0"
        disk.mkdir()
        self.machine = Machine(disk, chance)
        self._boot(self.machine)
        self._create()

    # The instance

    @property
    def folder(self) -> Path:
        """Where it lies at the moment."""
        return self.machine.home / "instance"

    def _create(self) -> None:
        """Creating it may be cut off or fail, and is then done anew."""
        while not GivenInstance.exists(self.folder):
            what = self._chance.choice((None, Cut.POWER, errno.ENOSPC, errno.EIO))
            events = [] if what is None else [Event(int(MOST_CREATING_STEPS * self._chance.random() ** 2), what)]
            seen = self.machine.seen.total()
            try:
                with self.machine.plan(events), self._stoppable():
                    create(self.folder)
            except PowerLoss:
                self._log("create", "power lost")
                self._restart()
            except StorageError as error:
                if self.machine.seen.total() == seen:
                    raise Finding(f"create failed without a fault: {error}") from error
                self._log("create", type(error).__name__)
                if GivenInstance.exists(self.folder):
                    self._restart()  # it was not acknowledged, and may be gone
        self._log("create", "")
        self.open()

    def open(self) -> None:
        """Open it, for whoever reads.

        Raises:
            ImgsearchError
        """
        instance = self._resources.enter_context(GivenInstance.open(self.folder))
        searcher = self._resources.enter_context(instance.searching())
        self.instance: GivenInstance = instance
        instance._opened.at_work = self._has_lock  # type: ignore[attr-defined]
        self.searcher: Searcher = searcher
        self.reading = Reading(instance, searcher, self.history, KEYS)

    def _has_lock(self) -> None:
        self._holds_lock = True

    def close(self) -> None:
        """Let go of everything."""
        sessions, self._sessions = self._sessions, []
        for one in sessions:
            with suppress(PowerLoss, ImgsearchError, sqlite3.Error):
                one.close()  # type: ignore[attr-defined]
        resources, self._resources = self._resources, ExitStack()
        with suppress(PowerLoss, ImgsearchError, sqlite3.Error):
            resources.close()

    def _restart(self, loss: Loss | None = None) -> Loss:
        self.close()
        loss = loss or self._chance.choice((Loss.ALL, Loss.DATA, Loss.SOME, Loss.SOME, Loss.NONE))
        self._starts += 1
        before, self.machine = self.machine, self.machine.restart(self._home / f"disk-{self._starts}", loss)
        self._boot(self.machine)
        shutil.rmtree(before.home)
        return loss

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """After a loss of power, whatever came of it, that is what is told; a finding inside of SQLite comes out."""
        try:
            yield
        except BaseException:
            if self.machine.stopped is not None:
                raise self.machine.stopped from None
            if self.machine.is_off:
                raise PowerLoss from None
            raise
        if self.machine.stopped is not None:
            raise self.machine.stopped
        if self.machine.is_off:
            raise PowerLoss

    # One operation after the other

    def step(self) -> None:
        """The next operation."""
        kind = self._chance.random()
        if self._sessions and self._chance.random() < 0.3:
            self._go_on_with_a_session()
        elif kind < 0.40:
            self._write(self._drawn())
        elif kind < 0.91:
            self._read()
        elif kind < 0.93:
            self._sessions.append(self.reading.session(self._chance))
        elif kind < 0.95:
            self._check()
        elif kind < 0.965:
            self._reopen()
        elif kind < 0.98:
            self._export()
        elif kind < 0.988:
            self._count("clock", f"{self._clock.jump(self._chance):+}")
        else:
            self._rot()

    def _count(self, name: str, told: str = "", count: int = 1) -> None:
        self.operations += count
        self._log(name, told)

    def _failing_read(self, kind: str) -> int | None:
        """Which read of an operation fails."""
        return self._chance.randrange(MOST_READS[kind]) if self._chance.random() < FAILING_READ else None

    @contextmanager
    def _reading(self, kind: str) -> Iterator[list[str]]:
        """A read may fail; what was then said, if anything was."""
        said: list[str] = []
        seen = self.machine.seen.total()
        try:
            with self.machine.plan([], self._failing_read(kind)):
                yield said
        except (StorageError, InstanceDamaged) as error:
            if self.machine.seen.total() == seen:
                raise
            said.append(type(error).__name__)

    # Writing

    def _events(self) -> list[Event]:
        """What is to happen during a write."""
        kind, at = self._chance.random(), self._chance.randrange(MOST_STEPS)
        if kind < POWER:
            return [Event(at, Cut.POWER)]
        if kind < POWER + FAULT:
            return [Event(at, self._chance.choice(ERRORS), lasting=self._chance.random() < 0.3)]
        if kind < POWER + FAULT + BESIDE:
            steps = sorted(self._chance.randrange(MOST_STEPS) for _ in range(self._chance.randint(1, 4)))
            events = [Event(step, self._beside) for step in steps]
            return [*events, Event(at, Cut.POWER)] if self._chance.random() < 0.2 else events
        return []

    def _beside(self) -> None:
        """Somebody else reads, or wants to write, while the writer is at work."""
        if self._nested:
            return
        with self._nesting():
            if self._chance.random() < 0.15 and self._holds_lock:
                self._compete()
                return
            name, read = self.reading.draw(self._chance)
            with suppress(InstanceLocked):  # while SQLite opens, recovers or removes its log, it lets nobody in
                read()
            self._count(f"beside: {name}")

    def _compete(self) -> None:
        try:
            with self.instance._opened.writing(0):
                raise Finding("two writers are at work at once")
        except InstanceLocked:
            self._count("beside: a second writer is turned away")

    @contextmanager
    def _nesting(self) -> Iterator[None]:
        self._nested = True
        try:
            yield
        finally:
            self._nested = False

    def _drawn(self, *, rebuilds: bool = False) -> Write:
        if rebuilds:
            return draw_rebuild(self._chance, self.history.present)
        return draw_write(self._chance, self.history.present, self._exports)

    def _write(self, write: Write) -> None:
        self._is_new = write.name.startswith("rebuild")
        self._holds_lock = False
        before = self.history.begin(write.states)
        told: list[Told] = []
        seen, unsynced = self.machine.seen.total(), self.machine.seen[LOG_NOT_SYNCED]
        outcome, events = "done", self._events()
        try:
            with self.machine.plan(events, self._failing_read("write")), self._stoppable():
                self.perform(write, told, before)
        except PowerLoss:
            loss = self._restart()
            outcome = f"power lost, {loss.name}"
            self._recover()
        except (StorageError, InstanceDamaged, InvalidExport) as error:
            if self.machine.seen.total() == seen:
                raise Finding(f"{write.name} failed without a fault: {error}") from error
            outcome = type(error).__name__
            if self.machine.seen[LOG_NOT_SYNCED] > unsynced and any(event.lasting for event in events):
                outcome += f", restarted, {self._restart().name}"
                self._recover()
            else:
                outcome += f", {self.history.settle(self.observed())} states lost"
        else:
            self.finish(write, told)
            if self.machine.seen.total() == seen and not self._nested:
                self._check_files()
        self._count(write.name, f"{len(told)}/{len(write.told)} {outcome}", write.counts)

    def perform(self, write: Write, told: list[Told], before: int) -> None:
        """Do a write as far as it comes.

        Args:
            write: what to do.
            told: gets what is acknowledged.
            before: what ``History.begin`` returned for it.
        """
        for one in write.perform(self.instance):
            if self.machine.is_off:
                return
            told.append(one)
            if told != write.told[: len(told)]:
                raise Finding(f"{write.name} told {one} instead of {write.told[len(told) - 1 : len(told)]}")
            self.history.acknowledge(before + write.known_after[len(told)])

    def finish(self, write: Write, told: list[Told]) -> None:
        """It has ended well."""
        if told != write.told:
            raise Finding(f"{write.name} told {told} instead of {write.told}")
        self.history.finish()

    def _check_files(self) -> None:
        """When a writer has ended well, nothing lies about: what was left by those before is cleared away."""
        with self.instance._opened.reading() as engine:
            generation = engine.store.generation()
        wanted = set() if generation is None else {generation.file_name}
        beside = {path.name for path in self.folder.iterdir() if not path.name.startswith(DATABASE_NAME)}
        if beside - {LOCK_NAME} != wanted:
            raise Finding(f"beside the database lie {sorted(beside)}")

    def _recover(self) -> None:
        """After a loss of power: nothing is damaged, and what is there is one of the states that may be."""
        if not GivenInstance.exists(self.folder):
            raise Finding("the instance is gone")
        self.check_whole()
        self.open()
        self.history.settle(self.observed())
        for one in self._exports:
            if not check_export(self.machine.home / one.name):
                raise Finding(f"{one.name} was finished, and is not there")

    def check_whole(self) -> None:
        """Nothing is damaged; a file that a killed writer has left is none.

        Raises:
            Finding
        """
        wrong = [one for one in GivenInstance.check(self.folder, read_data=True) if not one.damage.is_harmless]
        if wrong:
            raise Finding(f"a check found {wrong[0].damage.name}: {wrong[0].message}")

    def observed(self) -> State:
        """All that is stored, item by item."""
        with self.instance._opened.reading() as engine, engine.errors(), engine.store.reading():
            store: Any = engine.store
            items = dict(self.reading._as_known(item) for item in store.items(EVERYTHING))
            features = {known.id: store.feature(known.id).tobytes() for known in items.values()}
            row = store.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'items'").fetchone()
        for key, known in items.items():
            if features[known.id] != feature_of(known.number, known.region).tobytes():
                raise Finding(f"{key} has another feature")
        return State(items, row[0] if row else 0)

    # Reading

    def _read(self) -> None:
        name, read = self.reading.draw(self._chance)
        is_new, self._is_new = self._is_new, False
        beside = self._chance.random() < (5 * BESIDE if is_new else BESIDE)
        left = self._chance.randrange(12)

        machine = self.machine
        failed: list[BaseException] = []

        def before() -> None:
            nonlocal left
            left -= 1
            if left == -1 and not self._nested:
                try:
                    with self._nesting():
                        self._write(self._drawn(rebuilds=is_new and self._chance.random() < 0.5))
                except BaseException as error:
                    failed.append(error)
                    raise

        if beside:
            Watched.before = staticmethod(before)
        said: list[str] = []
        try:
            with self._stoppable(), nullcontext(said) if beside else self._reading("read") as said:
                read()
        except (Exception, PowerLoss):
            if failed:
                raise failed[0] from None
            if self.machine is machine:
                raise
            beside, left, name = False, 0, f"{name} given up"  # its computer is gone
        finally:
            Watched.before = staticmethod(lambda: None)
        self._count(name, *(["beside a writer"] if beside and left < 0 else said))

    def _go_on_with_a_session(self) -> None:
        one = self._chance.choice(self._sessions)
        if next(one, self) is self:
            self._sessions.remove(one)
        self._count("snapshot")

    def die_with_a_log(self) -> None:
        """Be killed after a commit that is in the log only, as a reader still needs what it replaces."""
        reader = self.reading.session(self._chance)
        next(reader)
        self._sessions.append(reader)
        self._write(self._drawn())
        if self._sessions:
            self._restart(Loss.NONE)
            self._recover()

    def _check(self) -> None:
        with self._reading("check") as said:
            GivenInstance.check(self.folder, read_data=True)  # which may take an unreadable page for damage
        self.check_whole()
        if not self.machine.is_off and self.history.settle(self.observed()):
            raise Finding("a state is lost")
        self._count("check", *said)

    def _reopen(self) -> None:
        self.close()
        with self._reading("open") as said:
            self.open()
        if said:
            self.close()
            self.open()
        self._count("close and open", *said)

    def _export(self) -> None:
        while len(self._exports) >= MOST_EXPORTS:
            self._exports.pop(0)
        name = f"export-{self.operations}"
        machine, finished, outcome = self.machine, None, "done"
        kind = self._chance.random()
        what = Cut.POWER if kind < 0.1 else self._chance.choice(ERRORS) if kind < 0.2 else None
        events = [] if what is None else [Event(self._chance.randrange(25), what)]
        seen = self.machine.seen.total()
        try:
            with machine.plan(events, self._failing_read("export")), self._stoppable():
                stream = export(self.reading, self._chance, machine.home / name)
                for finished in stream:
                    if finished is None and self._chance.random() < 0.3:
                        with machine.plan([]):
                            self._write(draw_write(self._chance, self.history.present, ()))
                        if self.machine is not machine:
                            outcome = "given up"
                            break
                with suppress(PowerLoss, ImgsearchError):  # its computer may be gone
                    stream.close()
        except PowerLoss:
            outcome = f"power lost, {self._restart().name}"
            self._recover()
        except (StorageError, InstanceDamaged) as error:
            if machine.seen.total() == seen:
                raise
            outcome = type(error).__name__
        if self.machine is machine and finished is not None:
            self._exports.append(finished)
        else:
            check_export(self.machine.home / name)
            if self.machine.seen.total() == seen:
                outcome = "of one of several states"
        self._count("export", outcome)

    def _rot(self) -> None:
        self._count("rot", rot_and_repair(self, self._chance))
