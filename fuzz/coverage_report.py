"""``python -m fuzz.coverage_report CORPUS TARGET…``: line coverage of the parsers of some targets.

All inputs that the fuzzers have kept, and the seeds, go once through the targets, in a process without the fuzzer's
instrumentation, which must not have imported a parser before. Whatever else the parsers call does not count. A module
that several targets are for is covered by all of them together.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fuzz.targets import TARGETS

if TYPE_CHECKING:
    from coverage import Coverage

REQUIRED = 0.9
"""Share of the lines of each parser."""
TYPES_ONLY = ("if TYPE_CHECKING:",)


def main() -> int:
    """Print the coverage; 1 if that of any parser is too low."""
    import coverage

    corpus, names = Path(sys.argv[1]), sys.argv[2:]
    modules = dict.fromkeys(module for name in names for module in TARGETS[name].parsers)
    all_of_them = [name for name, target in TARGETS.items() if not modules.keys().isdisjoint(target.parsers)]
    files = {module: _file(module) for module in modules}
    measured = coverage.Coverage(data_file=None, include=list(files.values()), config_file=False)
    measured.exclude(*TYPES_ONLY)
    measured.start()
    try:
        for name in all_of_them:  # imports the parsers
            target = TARGETS[name].load(name)
            for data in _inputs(name, corpus):
                target(data)
    finally:
        measured.stop()
    low = _told(measured, files)
    if low:
        sys.stdout.write(f"less than {REQUIRED:.0%} of the lines: {', '.join(low)}\n")
    return 1 if low else 0


def _inputs(name: str, corpus: Path) -> Iterable[bytes]:
    from fuzz.seeds import SEEDS

    yield from SEEDS[name]()
    for path in sorted((corpus / name).glob("*")):
        yield path.read_bytes()


def _file(module: str) -> str:
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    return found.origin


def _told(measured: Coverage, files: dict[str, str]) -> list[str]:
    """Print a table; the parsers that are covered too little."""
    low = []
    sys.stdout.write(f"{'parser':45} {'lines':>6} {'covered':>8}  not covered\n")
    for module, file in files.items():
        _, lines, _, missing, ranges = measured.analysis2(file)
        share = 1 - len(missing) / len(lines)
        sys.stdout.write(f"{module.removeprefix('imgsearch.'):45} {len(lines):6} {share:8.1%}  {ranges}\n")
        if share < REQUIRED:
            low.append(module)
    return low


if __name__ == "__main__":
    sys.exit(main())
