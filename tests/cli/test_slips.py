"""Slips that cost somebody something: each is refused, or does what was meant."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from imgsearch import Instance
from imgsearch.errors import InvalidPaging, UsageError
from tests.conftest import Run

BAD_NAME = os.fsdecode(b"\xe9t\xe9")


@pytest.fixture
def pictures(catalogue: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in sorted(catalogue.iterdir())[:3]:
        shutil.copy(path, folder)
    return folder


def test_a_page_replaces_no_device_and_no_link(run: Run, pictures: Path, tmp_path: Path) -> None:
    """Something that is not a regular file is refused; a link stays, and what it leads to is written."""
    run("add", pictures)
    os.mkfifo(tmp_path / "pipe")
    words = ["search", pictures / "0001.jpg", "--html"]
    refused = run(*words, tmp_path / "pipe")
    assert (refused.returncode, "not a regular file" in refused.stderr) == (2, True)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "link.html").symlink_to("real.html")
    assert run(*words, tmp_path / "link.html").returncode == 0
    assert (tmp_path / "link.html").is_symlink()
    assert "<html" in (tmp_path / "real.html").read_text()


@pytest.mark.parametrize("arguments", [["-", "0001.jpg"], ["-", "0001.jpg", "--dry-run"]])
def test_a_picture_beside_a_list_deletes_no_product(run: Run, pictures: Path, arguments: list[str]) -> None:
    run("add", pictures)
    result = run("delete", *arguments, stdin=b"0001\n")
    assert (result.returncode, "PIC_NAME" in result.stderr) == (2, True)
    assert run("info").document["TotalCount"] == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_on_a_full_disk(run: Run, pictures: Path) -> None:
    """Refused before anything is done, in one document and one line."""
    run("add", pictures)
    result = run("update", "0001", "--int-attr", 1, "--log-file", "/dev/full")
    assert (result.returncode, result.document["Success"], len(result.stderr.splitlines())) == (8, False, 1)
    assert run("list", "--filter", "int_attr=1").document["TotalCount"] == 0


def test_names_that_are_not_utf_8(run: Run, pictures: Path, tmp_path: Path) -> None:
    """Exit code 3 and a document, never a trace."""
    run("add", pictures)
    shutil.copytree(pictures, tmp_path / BAD_NAME)
    for words in (["sync", tmp_path / BAD_NAME], ["sync", tmp_path / BAD_NAME, "--dry-run"]):
        result = run(*words)
        assert (result.returncode, result.document["Success"]) == (3, False)
    result = run("delete", "--file", tmp_path / BAD_NAME / "0001.jpg")
    assert (result.returncode, result.document["Success"]) == (3, False)


@pytest.mark.parametrize("command", ["add", "sync"])
def test_a_dry_run_tells_what_the_run_does(run: Run, pictures: Path, command: str) -> None:
    """A file of another time with the same bytes is unchanged; one that cannot be read fails."""
    run("sync", pictures)
    for path in pictures.iterdir():
        os.utime(path, (time.time() - 5, time.time() - 5))
    (pictures / "dangling.jpg").symlink_to("nowhere.jpg")
    dry = run(command, pictures, "--dry-run", "--format", "jsonl")
    *lines, summary = dry.lines
    assert (dry.returncode, summary["Unchanged"], summary["Replaced"], summary["Failed"]) == (1, 3, 0, 1)
    assert all(line.get("Region") is None for line in lines if line["Status"] == "added")
    done = run(command, pictures)
    assert (done.returncode, done.document["Unchanged"], done.document["Failed"]) == (1, 3, 1)


def test_new_pictures_of_a_dry_run_have_no_region_yet(run: Run, pictures: Path) -> None:
    lines = run("add", pictures, "--dry-run", "--format", "jsonl").lines
    assert [line["Region"] for line in lines[:-1]] == [None, None, None]


def test_options_that_would_be_ignored(run: Run, folder: Path, pictures: Path) -> None:
    run("add", pictures)
    result = run("duplicates", "--min-score", 0.5)
    assert (result.returncode, "--level similar" in result.stderr) == (2, True)
    (instance, *_) = run("-i", folder, "config").document["Settings"]
    assert (instance["Value"], instance["Origin"]) == (str(folder), "-i")


@pytest.mark.parametrize("words", [["info", "-i", ""], ["-i", "", "info"], ["init", "--instance="]])
def test_an_empty_name_is_no_instance(run: Run, words: list[str]) -> None:
    """An unset variable of a shell script must not mean the working directory."""
    result = run(*words)
    assert (result.returncode, "empty" in result.stderr) == (2, True)


def test_values_of_programs(folder: Path, pictures: Path) -> None:
    """A single path is no list of letters; an empty list deletes nothing; counts are whole numbers."""
    Instance.create(folder)
    with Instance.open(folder) as instance:
        assert instance.delete_files([]).keys == []
        with pytest.raises(UsageError, match="pass a list"):
            instance.delete_files("ab")
        with pytest.raises(UsageError, match="pass a list"):
            instance.sync(str(pictures))
        for bad in (1.5, "2"):
            with pytest.raises(InvalidPaging), instance.listing(num=bad):  # type: ignore[arg-type]
                pass
