"""``python -m mutation [MODULE…] [--seed N] [--count N] [--seconds N]``: do tests tell changes of the engine's core?

A seeded sample of the mutants of each module is tried, each in a copy of the project, with the quick tests of that
module. A mutant that no test tells has survived: either it changes nothing that anybody could see, or a test is
missing. The run ends with the score and the survivors; it fails below the score that docs/testing.md promises.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from pathlib import Path

from mutation.copies import Copy
from mutation.modules import TESTS
from mutation.operators import Mutant, mutants_of

ROOT = Path(__file__).resolve().parent.parent
REQUIRED = 0.8
"""Share of the mutants that tests must tell."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", choices=[*TESTS, []], metavar="MODULE", help=", ".join(TESTS))
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--count", type=int, default=12, help="mutants of each module")
    parser.add_argument("--seconds", type=float, default=3600, help="begin no mutant after that")
    arguments = parser.parse_args()
    # So that the tests which run are ended, and the copy is removed, if this is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    until = time.monotonic() + arguments.seconds
    told = tried = 0
    with Copy.of(ROOT) as copy:
        for name in arguments.modules or TESTS:
            path = Path("imgsearch") / name
            sample = sampled(mutants_of((ROOT / path).read_text()), arguments.count, f"{arguments.seed} {name}")
            seconds = copy.checked_seconds(TESTS[name])
            for mutant in sample:
                if time.monotonic() > until:
                    break
                is_told = copy.is_told(path, mutant.source, TESTS[name], seconds)
                tried, told = tried + 1, told + is_told
                sys.stdout.write(f"{'told    ' if is_told else 'SURVIVED'} {name}:{mutant.line}  {mutant.change}\n")
                sys.stdout.flush()
    score = told / tried if tried else 0.0
    sys.stdout.write(f"{told} of {tried} mutants told, {score:.0%}\n")
    return 0 if score >= REQUIRED else 1


def sampled(mutants: list[Mutant], count: int, seed: str) -> list[Mutant]:
    """Some mutants, in the order of the lines; the same ones for the same seed."""
    chosen = random.Random(seed).sample(range(len(mutants)), min(count, len(mutants)))
    return [mutants[number] for number in sorted(chosen)]


if __name__ == "__main__":
    sys.exit(main())
