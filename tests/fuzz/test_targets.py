"""The fuzzers' targets, with the inputs that they begin with; the fuzzer itself is not needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.seeds import SEEDS
from fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
MANY_AND_TESTED_ELSEWHERE = {"picture"}
"""Its seeds are the hostile files."""


def test_each_target_has_seeds_and_a_module() -> None:
    modules = {path.stem for path in (ROOT / "fuzz").glob("*.py") if "def target(" in path.read_text()}
    assert set(TARGETS) == set(SEEDS) == modules


@pytest.mark.parametrize("name", sorted(set(TARGETS) - MANY_AND_TESTED_ELSEWHERE))
def test_what_the_fuzzer_begins_with_is_parsed_or_refused(name: str) -> None:
    """Each seed is good, or bad in a way of its own."""
    target = TARGETS[name].load(name)
    seeds = list(SEEDS[name]())
    assert len(seeds) > 1
    for seed in seeds:
        target(seed)


def test_a_target_fails_when_a_parser_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lets no other exception pass for a refusal."""
    target = TARGETS["table"].load("table")

    def fails(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("imgsearch.evaluation.tables._check_header", fails)
    with pytest.raises(ZeroDivisionError):
        target(b"file,product\na.jpg,p\n")
