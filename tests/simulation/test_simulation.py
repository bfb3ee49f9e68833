"""An instance goes through thousands of operations with faults, and the simulation finds what is planted."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.simulation.planted import PLANTED, operations_until_found
from tests.simulation.run import Report, run
from tests.simulation.sqlite_files import unavailable

REASON = unavailable()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

SEEDS = (1, 2)
MOST = 12_000
"""Operations within which each planted bug must be found."""
QUICK = ("a reader mixes two snapshots", "commits are not synced", "the filter is dropped at the second page")


@pytest.fixture(scope="module")
def logged() -> tuple[Report, list[str]]:
    """A short run, with its log."""
    lines: list[str] = []
    return run(1, 1_500, lines.append), lines


def test_a_few_thousand_operations(logged: tuple[Report, list[str]]) -> None:
    """Every kind of operation and of fault is among them, and none leads to a wrong answer or a lost item."""
    reports = [logged[0], run(2, 1_500)]
    kinds = {name for report in reports for name in report.kinds}
    for name in ("apply", "delete", "update", "import", "export", "rebuild", "search by feature", "snapshot", "rot"):
        assert any(kind.startswith(name) for kind in kinds), name
    seen = [name for report in reports for name in report.seen]
    for name in ("power lost", "ENOSPC", "EIO"):
        assert any(one.startswith(name) for one in seen), name
    assert sum(report.operations for report in reports) >= 3_000


def test_the_same_seed_gives_the_same_log(logged: tuple[Report, list[str]]) -> None:
    """Byte for byte, in another process with other hashes."""
    code = (
        "import sys; from tests.simulation.run import run; run(1, 1_500, lambda line: sys.stdout.write(line + '\\n'))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    again = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
    log = "".join(f"{line}\n" for line in logged[1]).encode()
    assert hashlib.sha256(again.stdout).hexdigest() == hashlib.sha256(log).hexdigest()


@pytest.mark.parametrize("name", QUICK)
def test_some_planted_bugs_are_found(name: str) -> None:
    assert operations_until_found(name, 1, MOST) is not None


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(PLANTED.keys() - set(QUICK)))
def test_all_planted_bugs_are_found(name: str) -> None:
    """There are more than twenty, and whichever the seed, each is found soon."""
    assert len(PLANTED) >= 20
    for seed in SEEDS:
        assert operations_until_found(name, seed, MOST) is not None, seed


@pytest.mark.long
def test_a_hundred_thousand_operations() -> None:
    assert run(3, 100_000).operations >= 100_000
