"""``python -m tests.simulation``: simulate an instance, or look for the planted bugs, and tell what happened."""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sqlite3
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.simulation.planted import PLANTED, operations_until_found
from tests.simulation.run import Report, run
from tests.simulation.sqlite_files import run_alone, unavailable

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = 20_000
"""Between two looks for what refers to itself, of which there is little."""


def main() -> int:
    """Simulate; 1 if something was found, or if a planted bug was not."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same one gives the same operations")
    parser.add_argument("--seeds", type=int, default=1, help="so many seeds, one after the other, from --seed on")
    parser.add_argument("--operations", type=int, default=10_000, help="of each seed")
    parser.add_argument("--log", type=Path, help="append a line of JSON for each seed to this file")
    parser.add_argument("--verbose", action="store_true", help="print each operation")
    parser.add_argument("--planted", action="store_true", help="look for each planted bug, for so many operations")
    arguments = parser.parse_args()
    reason = unavailable()
    if reason is not None:
        parser.error(reason)
    run_alone()
    gc.freeze()
    gc.set_threshold(OBJECTS)
    if arguments.planted:
        return _look_for_planted(arguments.seed, arguments.operations)
    said = _say if arguments.verbose else lambda _line: None
    commit, found = _commit(), 0
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        report, finding, seconds = _simulate(seed, arguments.operations, said)
        found += finding is not None
        if arguments.log is not None:
            with arguments.log.open("a", encoding="utf-8") as log:
                log.write(f"{json.dumps(_record(report, finding, seconds, commit))}\n")
    return 1 if found else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _simulate(seed: int, operations: int, log: Callable[[str], None]) -> tuple[Report, str | None, float]:
    """What a seed has done and found, and the seconds of the processor that it took."""
    begun, report, finding = time.process_time(), Report(seed), None
    try:
        run(seed, operations, log, report)
    except Exception as error:
        finding = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    seconds = time.process_time() - begun
    for counted in (report.kinds, report.seen):
        for name, count in sorted(counted.items()):
            _say(f"{count:8} {name}")
    if finding is not None:
        _say(f"FOUND after {report.operations} operations: {finding}")
    _say(
        f"seed {seed}: {report.operations} operations, {report.faults().total()} faults, {report.lives} lives, "
        f"{report.judged} answers judged, {report.undecided} undecided, "
        f"{seconds:.1f} s of one core: {report.operations / seconds * 3600:,.0f} an hour"
    )
    return report, finding, seconds


def _record(report: Report, finding: str | None, seconds: float, commit: str | None) -> dict[str, object]:
    """What a log says of a seed."""
    return {
        "commit": commit,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "seed": report.seed,
        "operations": report.operations,
        "instances": report.lives,
        "judged": report.judged,
        "undecided": report.undecided,
        "seconds": round(seconds, 3),
        "faults": dict(sorted(report.faults().items())),
        "finding": finding,
        "kinds": dict(sorted(report.kinds.items())),
        "places": _by_place(report.seen),
    }


def _by_place(seen: Counter[str]) -> dict[str, int]:
    """At which calls to which files the faults came, without the numbers in the files' names."""
    places: Counter[str] = Counter()
    for name, count in seen.items():
        places["".join("#" if letter.isdigit() else letter for letter in name)] += count
    return dict(sorted(places.items()))


def _commit() -> str | None:
    """What is simulated; None without git."""
    try:
        words = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--match=")
        told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def _look_for_planted(seed: int, most: int) -> int:
    missed = 0
    for name in PLANTED:
        found = operations_until_found(name, seed, most)
        missed += found is None
        _say(f"{'not found' if found is None else f'{found[0]:9}'} {name}: {'' if found is None else found[1][:90]}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
