"""Line coverage of the parsers: all inputs that the fuzzers have kept, and the seeds, once through the targets.

It is measured in a process without the fuzzer's instrumentation, and of the parsers only: whatever else they call does
not count. A module that several targets are for is covered by all of them together.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fuzz.seeds import SEEDS
from fuzz.targets import TARGETS

if TYPE_CHECKING:
    from coverage import Coverage

__all__ = ["REQUIRED", "main"]

REQUIRED = 0.9
"""Share of the lines of each parser."""
TYPES_ONLY = ("if TYPE_CHECKING:",)


def main(names: Iterable[str], corpus: Path) -> list[str]:
    """Print the coverage of the parsers of some targets.

    Args:
        names: of the targets.
        corpus: has a folder of inputs for each.

    Returns:
        The parsers that are covered too little.
    """
    import coverage

    names = list(names)
    modules = dict.fromkeys(module for name in names for module in TARGETS[name].parsers)
    files = {module: _file(module) for module in modules}
    measured = coverage.Coverage(data_file=None, include=list(files.values()), config_file=False)
    measured.exclude(*TYPES_ONLY)
    measured.start()
    try:
        for name in names:
            target = TARGETS[name].load(name)
            for data in _inputs(name, corpus):
                target(data)
    finally:
        measured.stop()
    return _told(measured, files)


def _inputs(name: str, corpus: Path) -> Iterable[bytes]:
    yield from SEEDS[name]()
    for path in sorted((corpus / name).glob("*")):
        yield path.read_bytes()


def _file(module: str) -> str:
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    return found.origin


def _told(measured: Coverage, files: dict[str, str]) -> list[str]:
    low = []
    sys.stdout.write(f"{'parser':45} {'lines':>6} {'covered':>8}  not covered\n")
    for module, file in files.items():
        _, lines, _, missing, ranges = measured.analysis2(file)
        share = 1 - len(missing) / len(lines)
        sys.stdout.write(f"{module.removeprefix('imgsearch.'):45} {len(lines):6} {share:8.1%}  {ranges}\n")
        if share < REQUIRED:
            low.append(module)
    return low
