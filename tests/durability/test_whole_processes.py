"""Whole processes with the real network, killed and hindered at some of the steps that the other tests go through."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result, Run, command, whole_lines
from tests.durability.commands import execute
from tests.durability.system_calls import Action, Call, Decision, watched
from tests.durability.trials import leftovers

pytestmark = pytest.mark.usefixtures("watching", "cache")


def watched_add(folder: Path, catalogue: Path, decide: Callable[[Call], Decision]) -> Result:
    """``imgsearch add`` as people start it."""
    output, errors = folder.parent / "stdout", folder.parent / "stderr"
    words = command("add", catalogue, "-i", folder, "--format", "jsonl")
    code = watched(execute, (words, output, errors), folder.parent, decide)
    return Result(code, output.read_text(), errors.read_text())


def assert_goes_on(run: Run, folder: Path, catalogue: Path, told: int) -> None:
    """The same command ends well, does nothing twice that was told, and leaves a sound instance."""
    again = run("add", catalogue)
    assert again.returncode == 0, again.stderr
    assert again.document["Added"] + again.document["Unchanged"] == 12
    assert again.document["Unchanged"] >= told
    assert run("check", "--read-data").returncode == 0
    assert leftovers(folder) == set()


@pytest.mark.parametrize(
    ("step", "told"),
    [
        pytest.param("rename instance/instance.db.tmp → instance/instance.db", 0, marks=pytest.mark.long),
        pytest.param("fdatasync instance/instance.db-wal", 0, marks=pytest.mark.long),
        pytest.param("rename instance/index-1.faiss.PID.tmp → instance/index-1.faiss", 12, marks=pytest.mark.long),
    ],
)
def test_killed(run: Run, folder: Path, catalogue: Path, step: str, told: int) -> None:
    """Before it makes, commits, and publishes."""
    killed = watched_add(folder, catalogue, lambda call: Action.KILL if call.step == step else Action.PASS)
    assert killed.returncode == -signal.SIGKILL
    assert len(whole_lines(killed.stdout.encode())) == told
    assert_goes_on(run, folder, catalogue, told)


@pytest.mark.extended
@pytest.mark.parametrize(
    ("step", "number", "code"),
    [
        ("pwrite instance/instance.db-wal", errno.ENOSPC, "InstanceOverQuota"),
        pytest.param("fdatasync instance/instance.db-wal", errno.EIO, "NoPermission", marks=pytest.mark.long),
        pytest.param("open instance/index-1.faiss.PID.tmp", errno.EMFILE, "NoPermission", marks=pytest.mark.long),
    ],
)
def test_hindered(run: Run, folder: Path, catalogue: Path, step: str, number: int, code: str) -> None:
    """Exit code 8, one line, and its document."""
    failed = watched_add(folder, catalogue, lambda call: number if call.step == step else Action.PASS)
    *told, last = failed.lines
    assert (failed.returncode, last["Code"], last["Success"]) == (8, code, False)
    *before, message = failed.stderr.splitlines()  # before it, that an instance was made, maybe a model converted
    assert message.startswith("imgsearch: "), failed.stderr
    assert not any(line.startswith(("imgsearch: ", "Traceback")) for line in before), failed.stderr
    assert_goes_on(run, folder, catalogue, len(told))
