"""A run: lives one after the other, all from one seed, and the log of them."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import faiss

from imgsearch.jobs import deleting, indexing
from imgsearch.search import candidates, layers, ranking
from imgsearch.storage import engine
from imgsearch.storage.faiss import index_builder, recall
from imgsearch.storage.sqlite import database, places, reader, rows, store
from imgsearch.transfer import importing
from tests.simulation.life import Life, Log
from tests.simulation.machine import Clock, Machine
from tests.simulation.python_files import watched_python
from tests.simulation.sqlite_files import Files, watched_files
from tests.simulation.statements import Watched

__all__ = ["Report", "run", "world"]

LIFE = 1500
"""Operations of one instance."""
SMALL = (
    (engine, "TAIL_FLOOR", 12),
    (indexing, "COMMIT_ITEMS", 4),
    (deleting, "COMMIT_SELECTIONS", 4),
    (importing, "COMMIT_ITEMS", 16),
    (candidates, "EXACT_SCAN_LIMIT", 6),
    (index_builder, "MIN_POINTS_PER_LIST", 5),
    (recall, "STEP", 200),
    (layers, "PRODUCTS", 4),
    (layers, "TRIED", 9),
    (ranking, "CANDIDATES", 20),
    (ranking, "DISTINCT_CANDIDATES", 16),
    (ranking, "FEW", 5),
    *((module, "MAX_PARAMETERS", 40) for module in (rows, reader, store)),
    (places, "KEYS_PER_STATEMENT", 20),
)
"""Limits that a few dozen items reach as a million does: several commits and statements, indexes of several lists,
filters in FAISS, more items than candidates. STEP makes shortlists longer than any instance here: a shorter one may
lack a near item, which the history checker would take for a fault."""


@dataclass
class Report:
    """What a run has done."""

    seed: int
    operations: int = 0
    lives: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    """What has happened to the machines, by kind and step."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Operations, by name."""
    judged: int = 0
    """Answers that were checked against the states that they may be of."""
    undecided: int = 0
    """Those of them that depend on rounding and were accepted without a comparison."""

    def faults(self) -> Counter[str]:
        """How many there were of each kind."""
        told: Counter[str] = Counter()
        for name, count in self.seen.items():
            kind, is_fault, _ = name.partition(": ")
            if is_fault:
                told[kind] += count
        return told + Counter({"a bit flipped": self.kinds["rot"], "the clock was set": self.kinds["clock"]})


class _Files:
    """SQLite's files of whichever machine runs, whose functions it has."""

    def boot(self, machine: Machine) -> None:
        """That one runs from now on."""
        names = [name for name in vars(Files) if not name.startswith("_")]
        vars(self).update({name: getattr(machine, name) for name in names})


@contextmanager
def world(clock: Clock) -> Iterator[Callable[[Machine], None]]:
    """Steps of this process are those of the machine that is booted, time is the clock's, and limits are small."""
    files = _Files()
    connected = database._connected

    def watched_connection(path: Path, options: str, **rest: object) -> object:
        rest.setdefault("factory", Watched)
        return connected(path, options, **rest)  # type: ignore[arg-type]

    with ExitStack() as stack:
        python = stack.enter_context(watched_python(clock))
        stack.enter_context(patch.object(database, "_connected", watched_connection))
        for module, name, value in SMALL:
            stack.enter_context(patch.object(module, name, value))

        def boot(machine: Machine) -> None:
            python.machine = machine
            files.boot(machine)

        boot(Machine(Path("/nowhere"), random.Random(0)))
        stack.enter_context(watched_files(files))  # type: ignore[arg-type]
        yield boot


def run(
    seed: int, operations: int, log: Callable[[str], None] = lambda _line: None, report: Report | None = None
) -> Report:
    """Do so many operations, by the chances of a seed.

    Args:
        seed: the same one gives the same log.
        operations: how many, at least.
        log: told each on a line.
        report: to be filled, for whoever wants it after a finding.

    Raises:
        Finding: something is not as it must be.
    """
    chance, clock, report = random.Random(seed), Clock(), report or Report(seed)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)

    def told(name: str, outcome: str) -> None:
        report.kinds[name] += 1
        log(f"{name} {outcome}".rstrip())

    try:
        with world(clock) as boot:
            while report.operations < operations:
                _live(min(LIFE, operations - report.operations), chance, clock, boot, told, report)
    finally:
        faiss.omp_set_num_threads(threads)
    return report


def _live(
    most: int, chance: random.Random, clock: Clock, boot: Callable[[Machine], None], log: Log,
    report: Report,
) -> None:  # fmt: skip
    home = Path(tempfile.mkdtemp(prefix="imgsearch-simulation-", dir=_fast()))
    report.lives += 1
    before = report.operations
    life = None
    try:
        life = Life(home, chance, clock, boot, log)
        while life.operations < most:
            life.step()
            report.operations = before + life.operations
    except BaseException:
        log("finding", "")
        raise
    finally:
        if life is not None:
            report.seen += life.machine.seen
            report.judged += life.history.judged
            report.undecided += life.history.undecided
            life.close()
        shutil.rmtree(home, ignore_errors=True)


def _fast() -> str | None:
    """Memory, where the system has a folder that is."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
