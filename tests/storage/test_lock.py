"""One writer at a time: the lock dies with its process, and whoever has to wait is told who holds it."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from imgsearch.errors import InstanceLocked
from imgsearch.storage.lock import HOLDER_NAME, LOCK_NAME, writer_lock
from tests.storage.builders import at_work, child, finished

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from imgsearch import own_process
from imgsearch.storage.lock import writer_lock
if sys.argv[2:]:
    own_process.claim(sys.argv[1:])
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until a line comes on its stdin."""
    with at_work(HOLD, tmp_path, "rebuild", "it's me", told="held") as process:
        yield process


def refused(folder: Path, timeout: float = 0.0) -> InstanceLocked:
    with pytest.raises(InstanceLocked) as error, writer_lock(folder, timeout):
        pytest.fail("there were two writers")
    return error.value


def test_the_holder_is_named(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """Its pid, its command and when it started, on one line, with the way out."""
    error = refused(tmp_path)
    assert (error.code, error.exit_code) == ("InstanceStatusError", 5)
    note = json.loads((tmp_path / HOLDER_NAME).read_text())
    assert note["pid"] == holder.pid
    assert note["command"] == f"imgsearch {tmp_path} rebuild 'it'\"'\"'s me'"
    assert abs(datetime.now().astimezone() - datetime.fromisoformat(note["start"])).total_seconds() < 60
    for part in (str(tmp_path), f"process {holder.pid}", note["command"], note["start"], "--lock-timeout"):
        assert part in error.message
    assert len(error.message.splitlines()) == 1


def test_a_program_of_somebody_else_is_named_by_its_pid(tmp_path: Path) -> None:
    """Its arguments are not ours to write down."""
    with writer_lock(tmp_path):
        note = json.loads((tmp_path / HOLDER_NAME).read_text())
    assert (note["pid"], note["command"]) == (os.getpid(), "a program that uses imgsearch")


def test_no_timeout_does_not_wait(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    begun = time.monotonic()
    refused(tmp_path)
    assert time.monotonic() - begun < 1


def test_a_timeout_waits_for_that_long(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    begun = time.monotonic()
    refused(tmp_path, 0.4)
    assert 0.4 <= time.monotonic() - begun < 5


def test_a_timeout_waits_until_the_holder_is_done(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    waiter = child(HOLD.replace("]))", "]), 30)"), tmp_path)
    assert waiter.stdout is not None
    time.sleep(0.3)
    assert waiter.poll() is None
    finished_holder = holder.communicate("\n", timeout=30)
    assert holder.returncode == 0, finished_holder
    assert waiter.stdout.readline() == "held\n"
    assert json.loads((tmp_path / HOLDER_NAME).read_text())["pid"] == waiter.pid
    waiter.communicate("\n", timeout=30)


def test_a_killed_holder_leaves_no_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """Its note stays behind and misleads nobody: the next holder writes its own, and takes it away."""
    holder.kill()
    assert holder.wait(timeout=30) == -signal.SIGKILL
    assert json.loads((tmp_path / HOLDER_NAME).read_text())["pid"] == holder.pid
    with writer_lock(tmp_path):
        assert json.loads((tmp_path / HOLDER_NAME).read_text())["pid"] == os.getpid()
    assert not (tmp_path / HOLDER_NAME).exists()


def test_a_child_of_a_killed_holder_keeps_no_lock(tmp_path: Path) -> None:
    """A program that a writer has started, to convert a model, say, may outlive it."""
    code = HOLD.replace("import sys\n", "import subprocess, sys\n").replace(
        'print("held", flush=True)', 'print(subprocess.Popen([sys.executable, "-c", "input()"]).pid, flush=True)'
    )
    holder = child(code, tmp_path)
    assert holder.stdout is not None
    orphan = int(holder.stdout.readline())
    try:
        refused(tmp_path)
        holder.kill()
        assert holder.wait(timeout=30) == -signal.SIGKILL
        os.kill(orphan, 0)  # it lives
        with writer_lock(tmp_path):
            pass
    finally:
        os.kill(orphan, signal.SIGKILL)
        holder.communicate(timeout=30)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_releases_it(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), writer_lock(tmp_path):
        raise error
    assert not (tmp_path / HOLDER_NAME).exists()
    finished(child(HOLD.replace("sys.stdin.readline()", ""), tmp_path))


def test_a_note_that_cannot_be_removed_keeps_nobody_from_anything(tmp_path: Path) -> None:
    """What was done under the lock stays done, and the lock is given back: nobody is told of a failure."""
    with writer_lock(tmp_path):
        (tmp_path / HOLDER_NAME).unlink()
        (tmp_path / HOLDER_NAME).mkdir()
    (tmp_path / HOLDER_NAME).rmdir()
    finished(child(HOLD.replace("sys.stdin.readline()", ""), tmp_path))


def test_it_excludes_within_a_process_too(tmp_path: Path) -> None:
    """Two writers in one program are two writers; the refused one does not take the holder's note away."""
    with writer_lock(tmp_path):
        assert str(os.getpid()) in refused(tmp_path).message
        assert (tmp_path / HOLDER_NAME).exists()
        refused(tmp_path)
    with writer_lock(tmp_path):
        pass


def test_instances_do_not_exclude_each_other(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with writer_lock(other):
        refused(tmp_path)


@pytest.mark.parametrize("note", [None, b"", b"{", b"[]", b'{"pid": 1}', b"\xff", b"null"])
def test_a_note_that_cannot_be_read_hides_nothing(
    tmp_path: Path, holder: subprocess.Popen[str], note: bytes | None
) -> None:
    """Between taking the lock and writing the note, say."""
    if note is None:
        (tmp_path / HOLDER_NAME).unlink()
    else:
        (tmp_path / HOLDER_NAME).write_bytes(note)
    assert "is being written by another process" in refused(tmp_path).message


def test_its_files_are_for_their_owner_only(tmp_path: Path) -> None:
    with writer_lock(tmp_path):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {LOCK_NAME: 0o600, HOLDER_NAME: 0o600}


def test_many_processes_write_one_after_the_other(tmp_path: Path) -> None:
    """No update is lost: each reads a number, waits, and writes it back one higher."""
    (tmp_path / "number").write_text("0")
    code = """
import sys, time
from pathlib import Path
from imgsearch.storage.lock import writer_lock
folder = Path(sys.argv[1])
for _ in range(5):
    with writer_lock(folder, 60):
        number = int((folder / "number").read_text())
        time.sleep(0.005)
        (folder / "number").write_text(str(number + 1))
"""
    for process in [child(code, tmp_path) for _ in range(4)]:
        finished(process)
    assert (tmp_path / "number").read_text() == "20"
