"""Advised commands name the instance that is in use, as the user named it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.cli import advice
from tests.conftest import Run


@pytest.fixture(autouse=True)
def _forgets() -> object:
    advice.instance_is(None)  # tests in this process may have run a command
    yield None
    advice.instance_is(None)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("run 'imgsearch check --repair'", "run 'imgsearch check -i shop --repair'"),
        ("'imgsearch rebuild' or 'imgsearch check'", "'imgsearch rebuild -i shop' or 'imgsearch check -i shop'"),
        ("run 'imgsearch check --repair -i other'", "run 'imgsearch check --repair -i other'"),
        ("make a new instance with 'imgsearch init' and more", "make a new instance with 'imgsearch init' and more"),
        ("'imgsearch models' lists models", "'imgsearch models' lists models"),
        ("no command at all", "no command at all"),
    ],
)
def test_completed_advice(message: str, expected: str) -> None:
    assert advice.complete(message) == message
    advice.instance_is(Path("shop"))
    assert advice.complete(message) == expected


def test_names_are_quoted() -> None:
    """Ready for a shell."""
    advice.instance_is(Path("my shop"))
    assert advice.complete("run 'imgsearch rebuild'") == "run 'imgsearch rebuild -i \"my shop\"'"


def test_advice_of_commands(run: Run, tmp_path: Path) -> None:
    """In the line for people and in the document; not where no instance was named."""
    result = run("info", "-i", tmp_path / "none")
    assert f"'imgsearch init -i {tmp_path / 'none'}'" in result.stderr
    assert f"'imgsearch init -i {tmp_path / 'none'}'" in result.document["Message"]
    assert f"'imgsearch init -i {tmp_path / 'none'}'" in run("-i", tmp_path / "none", "info").stderr
    assert "'imgsearch init'" in run("info").stderr


def test_an_instance_is_no_picture(run: Run, folder: Path) -> None:
    """A forgotten ``-i``."""
    run("init")
    result = run("search", folder)
    assert (result.returncode, f"-i {folder}" in result.stderr) == (2, True)
