"""``python -m tests.simulation``: simulate an instance, or look for the planted bugs, and tell what happened."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable

from tests.simulation.history import Finding
from tests.simulation.planted import PLANTED, operations_until_found
from tests.simulation.run import Report, run
from tests.simulation.sqlite_files import run_alone, unavailable


OBJECTS = 20_000
"""Between two looks for what refers to itself, of which there is little."""


def main() -> int:
    """Simulate; 1 if something was found, or if a planted bug was not."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same one gives the same log")
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--log", action="store_true", help="print each operation")
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
    return _simulate(arguments.seed, arguments.operations, _say if arguments.log else lambda _line: None)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _simulate(seed: int, operations: int, log: Callable[[str], None]) -> int:
    begun, report = time.process_time(), Report(seed)
    try:
        run(seed, operations, log, report)
    except Finding as finding:
        _say(f"FINDING after {report.operations} operations: {finding}")
        return 1
    finally:
        for counted in (report.kinds, report.seen):
            for name, count in sorted(counted.items()):
                _say(f"{count:8} {name}")
    seconds = time.process_time() - begun
    _say(
        f"seed {seed}: {report.operations} operations, {sum(report.seen.values())} faults, {report.lives} lives, "
        f"{seconds:.1f} s of one core: {report.operations / seconds * 3600:,.0f} an hour"
    )
    return 0


def _look_for_planted(seed: int, most: int) -> int:
    missed = 0
    for name in PLANTED:
        found = operations_until_found(name, seed, most)
        missed += found is None
        _say(f"{'not found' if found is None else f'{found[0]:9}'} {name}: {'' if found is None else found[1][:90]}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
