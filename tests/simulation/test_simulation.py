"""An instance goes through thousands of operations with faults, and the simulation finds what is planted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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
KINDS = (
    *("apply", "delete", "update", "import", "export", "rebuild", "search by feature", "snapshot", "rot"),
    "on damage: rebuild",
)
QUICK = ("a reader mixes two snapshots", "commits are not synced", "the filter is dropped at the second page")


@pytest.fixture(scope="module")
def logged() -> tuple[Report, list[str]]:
    """A short run, with its log."""
    lines: list[str] = []
    return run(1, 1_000, lines.append), lines


def test_two_thousand_operations(logged: tuple[Report, list[str]]) -> None:
    """Every kind of operation and of fault is among them, and none leads to a wrong answer or a lost item."""
    reports = [logged[0], run(3, 1_000)]
    kinds = {name for report in reports for name in report.kinds}
    for name in KINDS:
        assert any(kind.startswith(name) for kind in kinds), name
    seen = [name for report in reports for name in report.seen]
    for name in ("power lost", "ENOSPC", "EIO"):
        assert any(one.startswith(name) for one in seen), name
    assert sum(report.operations for report in reports) >= 2_000
    # A judge that abstains would find nothing.
    assert 100 * sum(report.undecided for report in reports) <= sum(report.judged for report in reports)


def test_the_same_seed_gives_the_same_log(logged: tuple[Report, list[str]]) -> None:
    """Byte for byte, in another process with other hashes: the log of a shorter run is how that of a longer begins."""
    code = "import sys; from tests.simulation.run import run; run(1, 400, lambda line: sys.stdout.write(line + '\\n'))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    again = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
    lines = again.stdout.decode().splitlines()
    assert len(lines) > 100
    assert lines == logged[1][: len(lines)]


def test_the_command_keeps_a_log(tmp_path: Path) -> None:
    """A line for each seed, whether something is found or not; what is found makes the command fail."""
    code = (
        "import sys; from tests.simulation.__main__ import main; from tests.simulation.planted import PLANTED\n"
        f"sys.argv += ['--seed', '4', '--seeds', '2', '--operations', '300', '--log', {str(tmp_path / 'log')!r}]\n"
        "assert main() == 0\n"
        f"with PLANTED[{QUICK[-1]!r}](): sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["seed"] for line in lines] == [4, 5, 4, 5]
    assert [line["finding"] is None for line in lines] == [True, True, False, False]
    for line in lines:
        assert line["finding"] is None or "Finding: an answer is that of none" in line["finding"]
        assert (line["operations"] >= 300) is (line["finding"] is None)
        assert line["seconds"] > 0
        assert line["judged"] > line["undecided"]
        assert sum(line["kinds"].values()) > 0
        assert sum(line["faults"].values()) == sum(
            count for place, count in line["places"].items() if ": " in place
        ) + line["kinds"].get("rot", 0) + line["kinds"].get("clock", 0)
    assert "power lost" in lines[0]["faults"]


def test_all_bugs_can_be_planted() -> None:
    """The functions that they patch still exist."""
    for plant in PLANTED.values():
        with plant():
            pass


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
