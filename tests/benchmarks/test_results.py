"""Figures of benchmarks: what is recorded, and the page that is made of it.

Contract: RESULTS.md is what its records say, word for word, so no figure in it was written by hand.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import results, setting
from benchmarks.results import FOLDER, PAGE, Record, Recorder, page, records, shown

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_records_say() -> None:
    before = PAGE.read_text(encoding="utf-8")
    subprocess.run([sys.executable, "-m", "benchmarks", "--write"], cwd=ROOT, check=True)
    after = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(before, encoding="utf-8")
    assert after == before, "run 'python -m benchmarks --write'"


def test_each_record_is_on_the_page() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    headings = {line[3:].partition(":")[0].strip("`") for line in lines if line.startswith("## ")}
    assert headings == set(records(FOLDER))


def test_a_table_is_kept_as_it_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder("sizes")
    monkeypatch.setattr(setting, "recorder", recorder)
    setting.show("Some sizes", ("what", "ms", "items"), [("a|b", 1.23456, 1000000), ("none", 12345.6, "")])
    assert "1.235" in capsys.readouterr().out
    record = recorder.record()
    record.write(tmp_path)
    assert records(tmp_path) == {"sizes": record}
    module = ModuleType("benchmarks.sizes", "Sizes of things.\n\nTaken with ``wc``.")
    text = page([module, ModuleType("benchmarks.never_taken")], records(tmp_path))
    assert "## `sizes`: sizes of things\n\nTaken with `wc`.\n" in text
    assert "| what | ms | items |\n| --- | ---: | ---: |\n| a\\|b | 1.235 | 1,000,000 |\n| none | 12,346 |  |\n" in text
    assert record.processor in text
    assert record.commit in text
    assert "never_taken" not in text


def test_a_record_tells_what_its_figures_depend_on() -> None:
    record = Recorder("sizes").record()
    assert set(record.packages) == set(results.PACKAGES)
    assert record.processor.endswith(" cores")
    assert record.load >= 0
    assert isinstance(record, Record)


@pytest.mark.parametrize(
    ("cell", "text"),
    [(0.84149, "0.841"), (38.26, "38.3"), (2238.4, "2,238"), (-0.0312, "-0.031"), (529, "529"), ("", "")],
)
def test_numbers_have_some_three_digits(cell: object, text: str) -> None:
    assert shown(cell) == text
