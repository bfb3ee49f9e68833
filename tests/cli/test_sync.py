"""``imgsearch sync``, and what ``add`` tells of what it passes over (docs/cli.md).

Contract: the summary counts what is passed over by reason, the report names it; nothing found is no success; a refusal
changes nothing; a new instance is always told.
"""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run


@pytest.fixture
def pictures(catalogue: Path, tmp_path: Path) -> Path:
    """Four pictures, old enough to be told by their times: a dry run does not read them."""
    root = tmp_path / "pictures"
    root.mkdir()
    for path in sorted(catalogue.rglob("*.jpg"))[:4]:
        shutil.copy(path, root)
    time.sleep(2.1)
    return root


@pytest.mark.extended
@pytest.mark.networks
def test_a_folder_is_followed(run: Run, pictures: Path, tmp_path: Path) -> None:
    """Added, found unchanged, then one each is renamed, deleted and new."""
    first = run("sync", pictures, "--quiet")
    assert (first.returncode, first.stdout) == (0, "")
    assert "Created a product instance" in first.stderr
    names = sorted(path.name for path in pictures.iterdir())
    (pictures / names[0]).rename(pictures / "renamed.jpg")
    (pictures / names[1]).unlink()
    (pictures / "notes.txt").write_text("no picture")
    (pictures / "sketch.psd").write_bytes(b"8BPS")
    report = tmp_path / "report.jsonl"
    foretold = run("sync", pictures, "--dry-run", "--format", "json")
    result = run("sync", pictures, "--format", "jsonl", "--report", report)
    assert result.returncode == 0, result.stderr
    *lines, summary = result.lines
    expected = {"Success": True, "Added": 0, "Replaced": 0, "Unchanged": 2, "Deleted": 1, "Renamed": 1, "Failed": 0}
    assert {name: summary[name] for name in expected} == expected
    assert {name: foretold.document[name] for name in expected} == expected
    assert foretold.document["DryRun"] is True
    assert summary["Skipped"] == {"NotAPicture": 1, "UnsupportedFormat": 1}
    (renamed,) = (line for line in lines if line["Status"] == "renamed")
    stem = names[0].removesuffix(".jpg")
    assert renamed["From"] == {"ProductId": stem, "PicName": names[0]}
    assert renamed["PicName"] == "renamed.jpg"
    told = [json.loads(line) for line in report.read_text().splitlines()]
    assert {(line["Source"].rpartition("/")[2], line["Skipped"]) for line in told} == {
        ("notes.txt", "NotAPicture"),
        ("sketch.psd", "UnsupportedFormat"),
    }
    shutil.rmtree(pictures)
    pictures.mkdir()
    refused = run("sync", pictures, "--format", "json")
    assert (refused.returncode, refused.document["Success"]) == (3, False)
    assert "is its disk mounted?" in refused.stderr
    shutil.copy(__file__, pictures / "a.jpg")
    refused = run("sync", pictures, "--format", "json")
    assert (refused.returncode, refused.document["Code"]) == (3, "TooManyDeletions")
    assert "3 of the 3 items" in refused.stderr
    assert run("info", "--format", "json").document["TotalCount"] == 3


def test_what_cannot_be_synchronised_with_makes_no_instance(run: Run, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, code in (
        ((), 2),
        (("-",), 2),
        ((tmp_path / "missing",), 3),
        ((tmp_path / "empty",), 3),
        ((tmp_path / "empty", "--max-delete", "half"), 2),
        ((tmp_path / "empty", "--exclude", ""), 2),
    ):
        result = run("sync", *arguments)
        assert result.returncode == code, result.stderr
        assert not folder.exists()


def test_a_folder_without_a_picture_is_no_success(run: Run, tmp_path: Path) -> None:
    """Unless it is expected; what is there instead is told."""
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "a.psd").write_bytes(b"8BPS")
    result = run("add", empty, "--quiet")
    assert result.returncode == 3
    assert "Created a product instance" in result.stderr
    assert result.document["Skipped"] == {"UnsupportedFormat": 1}
    assert "1 UnsupportedFormat" in result.document["Failures"][0]["Message"]
    allowed = run("add", empty, "--allow-empty", "--format", "json")
    assert (allowed.returncode, allowed.document["Failed"]) == (0, 0)
    both = run("add", empty, tmp_path / "missing.jpg", "--format", "json")
    assert both.returncode == 1


@pytest.mark.extended
@pytest.mark.networks
def test_one_key_for_two_pictures_is_told(run: Run, pictures: Path, tmp_path: Path) -> None:
    for colour, path in zip(("red", "blue"), sorted(pictures.iterdir())[:2], strict=True):
        (tmp_path / colour).mkdir()
        shutil.copy(path, tmp_path / colour / "front.jpg")
    result = run("add", tmp_path / "red", tmp_path / "blue", "--format", "json")
    assert result.returncode == 1
    (failure,) = result.document["Failures"]
    assert failure["Code"] == "DuplicateKey"
    assert failure["Source"] == str(tmp_path / "blue" / "front.jpg")
    assert str(tmp_path / "red" / "front.jpg") in failure["Message"]


@pytest.mark.extended
@pytest.mark.networks
def test_what_update_has_set_stays(run: Run, pictures: Path) -> None:
    """A nightly run must not undo it: neither for unchanged pictures, nor for changed and renamed ones."""
    assert run("sync", pictures).returncode == 0
    names = sorted(path.name for path in pictures.iterdir())
    words = ["--filter", "int_attr=7", "--category", "Bag", "--str-attr", "sale"]
    for name in names:
        assert run("update", name.removesuffix(".jpg"), "--int-attr", 7).returncode == 0
    assert run("update", *words).document["Updated"] == 4
    assert run("sync", pictures).document["Unchanged"] == 4
    (pictures / names[0]).rename(pictures / "renamed.jpg")
    shutil.copy(pictures / names[2], pictures / names[1])
    foretold, result = run("sync", pictures, "--dry-run").document, run("sync", pictures).document
    for document in (foretold, result):
        assert (document["Renamed"], document["Replaced"], document["Unchanged"]) == (1, 1, 2), document
    items = run("list").document["Auctions"]
    assert {(item["CategoryId"], item["IntAttr"], item["StrAttr"]) for item in items} == {(3, 7, "sale")}
    assert run("sync", pictures, "--str-attr", "new").document["Replaced"] == 4
    items = run("list").document["Auctions"]
    assert {(item["CategoryId"], item["IntAttr"], item["StrAttr"]) for item in items} == {(3, None, "new")}
