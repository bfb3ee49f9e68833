"""One writer, many readers: what commands do while another process writes, and after it was killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from imgsearch.cli.app import app
from imgsearch.storage.sqlite.schema import FORMAT_VERSION
from tests.cli.in_process import invoke as in_process
from tests.conftest import ROOT, Result
from tests.storage.builders import at_work, child, finished, started_together

SAMPLE = ROOT / "tests" / "formats" / str(FORMAT_VERSION) / "instance"
WRITE = """
import sys
from pathlib import Path
from imgsearch import own_process
from imgsearch.storage.engine import Engine
from imgsearch.storage.lock import writer_lock
from imgsearch.filters.tree import EVERYTHING
own_process.claim(sys.argv[1:])
folder = Path(sys.argv[1])
with writer_lock(folder):
    engine = Engine.open(folder, write=True)
    try:
        with engine.committing() as store:
            store.delete(EVERYTHING)
            print("deleted", flush=True)
            sys.stdin.readline()
            raise RuntimeError
    except RuntimeError:
        engine.close()
"""
"""A writer in the middle of a commit, with everything deleted, which it takes back when a line comes on its stdin."""

WRITING = [
    ["init"],
    ["add", "-"],  # an empty list
    ["update", "p1", "--int-attr", "7"],
    ["delete", "p1"],
    ["delete", "--filter", "int_attr=2"],
    ["rebuild"],
    ["index"],
    ["tune", "--reset"],
    ["check", "--repair"],
]
READING = [
    ["search", "--product-id", "p1", "--pic-name", "1.jpg", "--any-category"],
    ["info"],
    ["list"],
    ["show", "p1"],
    ["check", "--read-data"],
    ["delete", "p1", "--dry-run"],
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "instance"))


@pytest.fixture
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing the instance."""
    with at_work(WRITE, folder, "its", "command", told="deleted") as process:
        yield process


def invoke(folder: Path, *words: str) -> Result:
    return in_process(*words, "--instance", folder, "--format", "json")


@pytest.mark.parametrize("command", WRITING[1:], ids=" ".join)
def test_a_second_writer_is_told_of_the_first(folder: Path, writer: subprocess.Popen[str], command: list[str]) -> None:
    """Exit code 5, and pid, command and start of whoever writes."""
    result = invoke(folder, *command)
    assert (result.returncode, result.document["Code"]) == (5, "InstanceStatusError")
    note = json.loads((folder / "writer.json").read_text())
    assert note["pid"] == writer.pid
    for part in (f"process {writer.pid}", f"imgsearch {folder} its command", note["start"], "--lock-timeout"):
        assert part in result.stderr


def test_one_that_is_being_made_is_told_too(tmp_path: Path) -> None:
    """``init`` and ``add`` where another process is about to make an instance."""
    empty = tmp_path / "empty"
    empty.mkdir()
    code = "from imgsearch.storage.lock import writer_lock\nimport sys\nfrom pathlib import Path\n"
    code += "with writer_lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.readline()"
    maker = child(code, empty)
    assert maker.stdout is not None
    assert maker.stdout.readline() == "held\n"
    for command in WRITING[:2]:
        result = invoke(empty, *command)
        assert (result.returncode, result.document["Code"]) == (5, "InstanceStatusError")
        assert f"process {maker.pid}" in result.stderr
    maker.communicate("\n", timeout=30)
    assert invoke(empty, "init", "--lock-timeout", "30").returncode == 0


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_readers_never_wait(folder: Path, writer: subprocess.Popen[str], command: list[str]) -> None:
    """And see what is committed, in the midst of a commit: the same as without any writer."""
    during = invoke(folder, *command)
    writer.communicate("\n", timeout=30)
    after = invoke(folder, *command)
    assert during.returncode == after.returncode == 0
    assert steady(during) == steady(after)


def steady(result: Result) -> dict[str, object]:
    """A document without what differs between two answers."""
    document: dict[str, object] = result.document
    return {name: value for name, value in document.items() if name not in {"RequestId", "Head", "DiskBytes"}}


@pytest.mark.extended
def test_every_command_that_writes_can_wait(folder: Path, writer: subprocess.Popen[str]) -> None:
    """``--lock-timeout`` is an option of them all, of no other, and waits until the writer is done."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    waiting = {name for name, command in commands.items() if any(p.name == "lock_timeout" for p in command.params)}
    assert waiting == {words[0] for words in WRITING} | {"sync", "oss-import", "import", "serve", "mcp"}
    code = "import sys\nfrom imgsearch.__main__ import main\nprint('ready', flush=True)\nmain()"
    waiter = child(code, "delete", "p1", "--lock-timeout", "60", "--instance", folder, "--format", "json")
    assert waiter.stdout is not None
    assert waiter.stdout.readline() == "ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        waiter.wait(timeout=1.5)
    writer.communicate("\n", timeout=30)
    assert json.loads(finished(waiter))["Deleted"] > 0


def test_a_killed_writer_is_in_nobodys_way(folder: Path, writer: subprocess.Popen[str]) -> None:
    """No lock and nothing of its commit is left, and its note names nobody any more."""
    before = invoke(folder, "info")
    writer.kill()
    assert writer.wait(timeout=30) == -signal.SIGKILL
    assert (folder / "writer.json").exists()
    assert steady(invoke(folder, "info")) == steady(before)
    check = invoke(folder, "check")
    told = check.document
    assert (check.returncode, told["Problems"], [one["Code"] for one in told["Leftovers"]]) == (0, [], ["Leftover"])
    assert "writer.json" in check.stderr
    result = invoke(folder, "delete", "p1")
    assert result.returncode == 0, result.stderr
    assert result.document["Deleted"] > 0
    assert not (folder / "writer.json").exists()
    assert invoke(folder, "check", "--read-data").returncode == 0


MAKE = """
import sys
from pathlib import Path
from imgsearch.service.categories import Kind
from imgsearch.cli.opening import open_or_make
import imgsearch.storage.engine, imgsearch.storage.lock
print("ready", flush=True)
sys.stdin.readline()
open_or_make(Path(sys.argv[1]), Kind.PRODUCT, None, None, lock_timeout=60).close()
"""


@pytest.mark.extended
def test_those_who_make_one_at_once_share_it(tmp_path: Path) -> None:
    """Two imports into an instance that is not there yet: one makes it, and says so, the other takes it."""
    for attempt in range(2):
        processes = started_together(3, MAKE, tmp_path / str(attempt))
        told = [process.communicate(timeout=60)[1] for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0], told
        assert sum("Created a product instance" in text for text in told) == 1
