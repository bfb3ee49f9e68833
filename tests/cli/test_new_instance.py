"""What becomes of an instance that a command creates, and of ``--kind`` for one that exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch import Instance
from imgsearch.storage.lock import writer_lock
from tests.conftest import Run


def test_a_new_instance_is_always_told(run: Run, folder: Path, catalogue: Path) -> None:
    """With ``--quiet`` too: a slip in its name would go unnoticed."""
    result = run("add", catalogue / "0001.jpg", "--quiet")
    assert (result.returncode, str(folder) in result.stderr) == (0, True)
    assert run("add", catalogue / "0001.jpg", "--quiet").stderr == ""


@pytest.mark.parametrize("before", [False, True], ids=["no folder", "an empty folder"])
@pytest.mark.parametrize("command", ["add", "sync"])
def test_a_failed_first_run_leaves_no_empty_instance(
    run: Run, folder: Path, tmp_path: Path, command: str, before: bool
) -> None:
    """Only what was there stays."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"no picture")
    if before:
        folder.mkdir()
    result = run(command, tmp_path / "pictures")
    assert result.returncode != 0
    assert "Removed the new instance" in result.stderr
    assert (list(folder.iterdir()) if before else folder.exists()) == ([] if before else False)


def test_an_instance_that_was_there_stays(run: Run, folder: Path, tmp_path: Path) -> None:
    """Empty or not."""
    run("init")
    assert run("add", tmp_path / "none.jpg").returncode == 3
    assert run("info").document["TotalCount"] == 0


def test_what_was_added_stays(run: Run, catalogue: Path, tmp_path: Path) -> None:
    assert run("add", catalogue / "0001.jpg", tmp_path / "none.jpg").returncode == 1
    assert run("info").document["TotalCount"] == 1


def test_somebody_elses_instance_is_not_removed(folder: Path) -> None:
    """Another process may be about to add to it."""
    Instance.create(folder)
    with writer_lock(folder):
        assert not Instance.remove_if_empty(folder)
    assert Instance.exists(folder)
    assert Instance.remove_if_empty(folder)
    assert not Instance.exists(folder)
    assert not Instance.remove_if_empty(folder)
    assert list(folder.iterdir()) == []


@pytest.mark.extended
@pytest.mark.parametrize("command", ["add", "sync"])
def test_another_kind_is_refused(run: Run, catalogue: Path, command: str) -> None:
    """It would be ignored; the instance's own kind may be named."""
    assert run(command, catalogue, "--kind", "generic").returncode == 0
    assert run(command, catalogue, "--kind", "generic").returncode == 0
    result = run(command, catalogue, "--kind", "product")
    assert (result.returncode, "generic instance" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["add", "sync"])
def test_two_ways_to_name_the_product_are_refused(run: Run, catalogue: Path, command: str) -> None:
    result = run(command, catalogue, "--product-id", "p", "--product-from", "parent")
    assert (result.returncode, "--product-from parent" in result.stderr) == (2, True)
