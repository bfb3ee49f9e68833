"""What parameters are learned from.

Contract: of a source that is left out no row is there to learn from; what must never be learned from stays known.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from training.pictures import EvaluationData

TABLES = {
    "manifest.csv": "file,source,source_sha1\ncategories/a.jpg,shop/a,01\ncategories/b.jpg,shop/b,02",
    "categories/labels.csv": "file,label,accept,source\na.jpg,0,,shop/a\nb.jpg,1,,shop/b",
    "more/more.csv": "file,source,class,source_sha1\nb.jpg,shop/b,hat,02\nc.jpg,shop/b,hat,04\nd.jpg,shop/a,hat,05",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in TABLES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_source_that_is_left_out(folder: Path) -> None:
    data = EvaluationData(folder, frozenset({"shop/b"}))
    assert [row["file"] for row in data.labels] == ["a.jpg"]
    assert [row["file"] for row in data.more] == ["d.jpg"]
    assert data.origins_of("categories", "labels.csv") == {"01", "02"}, "what is measured is known in any case"


def test_further_photos_are_in_no_other_part(folder: Path) -> None:
    assert [row["file"] for row in EvaluationData(folder).more] == ["c.jpg", "d.jpg"]


def test_an_unknown_source_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no such source: shop/c; there are shop/a, shop/b"):
        EvaluationData(folder, frozenset({"shop/c"}))


@pytest.mark.extended
def test_the_package_keeps_what_was_learned_from_all_sources(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSEARCH_EVALUATION_DATA", str(folder))
    command = [sys.executable, "-m", "training", "category", "--without", "shop/a"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--without wants --target" in done.stderr
