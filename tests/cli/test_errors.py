"""How errors of the system end a command: what they are about is named, and the exit code is the documented one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imgsearch.cli.app import COMMANDS
from tests.cli.in_process import invoke
from tests.conftest import command

if TYPE_CHECKING:
    from tests.conftest import Run

ARGUMENTS = {
    "add": ["pictures"],
    "search": ["a.jpg"],
    "delete": ["p"],
    "export": ["folder"],
    "import": ["folder"],
    "eval": ["folder"],
    "oss-import": ["oss://bucket/path"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_working_directory_that_was_deleted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command says so, and neither calls it a bug nor goes on to report what follows from it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = invoke(name, *ARGUMENTS.get(name, []), "--format", "json")
    assert result.returncode == 2, result.stdout + result.stderr
    assert "the working directory cannot be determined" in result.stderr
    assert "change to another one" in result.stderr
    assert '"Code": "BadRequest"' in result.stdout


def test_a_working_directory_that_was_deleted_for_real(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    process = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *command("info", "-i", tmp_path)],
        cwd=gone,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2, process.stderr
    assert "the working directory cannot be determined" in process.stderr.splitlines()[-1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("there", [True, False])
def test_standard_output_that_takes_nothing(run: Run, folder: Path, there: bool) -> None:
    """It is what is named, not the working directory; and an error that cannot be printed there is told on stderr."""
    if there:
        run("init")
    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            command("info", "-i", folder, "--format", "json"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert process.returncode == (8 if there else 4), process.stderr
    (line,) = process.stderr.splitlines()
    assert ("no space left in standard output" if there else "there is no instance") in line


@pytest.mark.parametrize("work", ["init", "info"])
def test_the_folder_that_is_named_is_the_one_that_refuses(run: Run, tmp_path: Path, work: str) -> None:
    """Below a file: not the working directory, which is as it should be."""
    (tmp_path / "file").touch()
    result = run(work, "-i", tmp_path / "file" / "instance", "--format", "json")
    assert result.returncode == (8 if work == "init" else 4)
    assert str(tmp_path / "file") in result.document["Message"]
    assert str(Path.cwd()) not in result.stderr
