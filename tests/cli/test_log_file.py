"""``--log-file``: what unattended runs leave behind, of every command that one would run unattended."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Run

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} (INFO|WARNING|ERROR) \[\d+\] (.+)")


def messages(log: Path) -> list[tuple[str, str]]:
    found = [LINE.fullmatch(line) for line in log.read_text().splitlines()]
    assert all(found)
    return [(match[1], match[2]) for match in found if match]


@pytest.mark.extended
@pytest.mark.parametrize("command", ["add", "sync"])
def test_a_run_with_a_failure(run: Run, catalogue: Path, tmp_path: Path, command: str) -> None:
    """Start, each failure, what was done, exit code; runs are appended, whatever is quiet."""
    pictures, log = tmp_path / "pictures", tmp_path / "log"
    pictures.mkdir()
    (pictures / "broken.jpg").write_bytes(b"no picture")
    (pictures / "good.jpg").write_bytes((catalogue / "0001.jpg").read_bytes())
    assert run(command, pictures, "--quiet", "--log-file", log).returncode == 1
    levels = [level for level, _ in messages(log)]
    told = [message for _, message in messages(log)]
    assert levels == ["INFO", "WARNING", "INFO", "WARNING"]
    assert told[0].startswith(f"started: imgsearch {command}")
    assert "broken.jpg" in told[1]
    assert told[2].startswith("1 added, 1 failed in")
    assert told[3] == "ended with exit code 1"
    (pictures / "broken.jpg").unlink()
    assert run(command, pictures, "--quiet", "--log-file", log).returncode == 0
    assert messages(log)[-1] == ("INFO", "ended with exit code 0")


@pytest.mark.parametrize(
    "words",
    [["rebuild"], ["check"], ["delete", "0001"], ["update", "0002", "--int-attr", "1"], ["export", "OUT"]],
    ids=" ".join,
)
def test_other_commands(run: Run, catalogue: Path, tmp_path: Path, words: list[str]) -> None:
    run("add", catalogue / "0001.jpg", catalogue / "0002.jpg")
    log = tmp_path / "log"
    given = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    assert run(*given, "--log-file", log).returncode == 0
    assert messages(log)[-1] == ("INFO", "ended with exit code 0")
    assert run(*given, "-i", tmp_path / "none", "--log-file", log).returncode == 4
    assert messages(log)[-1][0] == "ERROR"
    assert "exit code 4" in messages(log)[-1][1]


def test_a_log_that_cannot_be_written(run: Run, catalogue: Path, tmp_path: Path) -> None:
    """Refused before anything is done."""
    result = run("add", catalogue, "--log-file", tmp_path / "none" / "log")
    assert (result.returncode, "--log-file" in result.stderr) == (2, True)
    assert run("info").returncode == 4


def test_without_a_log_nothing_more_is_told(run: Run, tmp_path: Path) -> None:
    """Python would print warnings of loggers to stderr."""
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    result = run("add", tmp_path / "broken.jpg", "--format", "json")
    assert "failed:" not in result.stderr
