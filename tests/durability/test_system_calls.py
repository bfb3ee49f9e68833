"""The instrument itself: it sees every call below its folder, before it happens, and does with it what it is told."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import faiss
import numpy as np
import pytest

from tests.durability.system_calls import Action, Call, Decision, watched

pytestmark = pytest.mark.usefixtures("watching")


def write_and_rename(folder: Path) -> None:
    """Each call once, some by descriptor, some by a path of their own."""
    os.chdir(folder)
    Path("below").mkdir()
    descriptor = os.open("below/a.tmp", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"12345678")
    os.pwrite(descriptor, b"xy", 2)
    os.writev(descriptor, [b"ab", b"cdef"])
    os.ftruncate(descriptor, 10)
    os.fsync(descriptor)
    os.close(descriptor)
    Path("below/a.tmp").rename(folder / "below" / "a")
    os.link("below/a", "b")
    Path("b").unlink()
    os.open(folder, os.O_RDONLY)


def record(seen: list[tuple[str, bytes | None]]) -> Callable[[Call], Decision]:
    def decide(call: Call) -> Decision:
        seen.append((call.step, call.data() if call.writes else None))
        return Action.PASS

    return decide


def test_every_call_is_seen_with_its_path_and_its_bytes(tmp_path: Path) -> None:
    seen: list[tuple[str, bytes | None]] = []
    assert watched(write_and_rename, (tmp_path,), tmp_path, record(seen)) == 0
    assert seen == [
        ("mkdir below", None),
        ("open below/a.tmp", None),
        ("write below/a.tmp", b"12345678"),
        ("pwrite below/a.tmp", b"xy"),
        ("writev below/a.tmp", b"abcdef"),
        ("ftruncate below/a.tmp", None),
        ("fsync below/a.tmp", None),
        ("rename below/a.tmp → below/a", None),
        ("link below/a → b", None),
        ("unlink b", None),
        ("open the folder", None),
    ]
    assert (tmp_path / "below" / "a").read_bytes() == b"12xy5678ab"


def test_what_lies_elsewhere_is_not_seen(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    seen: list[tuple[str, bytes | None]] = []
    assert watched(write_and_rename, (tmp_path,), tmp_path / "other", record(seen)) == 0
    assert seen == []


def write_with_libraries(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "a.db")) as connection:
        connection.execute("CREATE TABLE t (a)")
    index = faiss.index_factory(4, "Flat")
    index.add(np.zeros((1, 4), np.float32))
    faiss.write_index(index, str(folder / "a.faiss"))


def test_calls_of_libraries_are_seen_too(tmp_path: Path) -> None:
    """SQLite and FAISS make theirs in C and C++."""
    seen: list[tuple[str, bytes | None]] = []
    assert watched(write_with_libraries, (tmp_path,), tmp_path, record(seen)) == 0
    steps = {step for step, _ in seen}
    assert {"open a.db", "pwrite a.db", "fdatasync a.db", "unlink a.db-journal", "write a.faiss"} <= steps


def killer_at(step: str) -> Callable[[Call], Decision]:
    return lambda call: Action.KILL if call.step == step else Action.PASS


def test_a_call_that_kills_does_not_happen(tmp_path: Path) -> None:
    """Before each of them the process dies, with all that came before done and nothing of what comes."""

    def contents() -> dict[str, bytes]:
        return {
            path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
        }

    for step, left in (
        ("write below/a.tmp", {"below/a.tmp": b""}),
        ("pwrite below/a.tmp", {"below/a.tmp": b"12345678"}),
        ("rename below/a.tmp → below/a", {"below/a.tmp": b"12xy5678ab"}),
        ("unlink b", {"below/a": b"12xy5678ab", "b": b"12xy5678ab"}),
    ):
        for path in sorted(tmp_path.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        assert watched(write_and_rename, (tmp_path,), tmp_path, killer_at(step)) == -signal.SIGKILL
        assert contents() == left


def report_errors(folder: Path) -> None:
    """What the callers get, told outside of what is watched."""
    told = []
    for number in range(3):
        try:
            with (folder / "file").open("ab", buffering=0) as file:
                told.append(file.write(b"12345678"))
                os.fsync(file.fileno())
        except OSError as error:
            told.append(-error.errno)
        told.append(number)
    (folder.parent / "told").write_text(repr(told))


def test_errors_and_short_writes_reach_the_caller(tmp_path: Path) -> None:
    """And what it was told is so: of the short write, half is in the file, and the next one follows it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    answers: dict[str, list[Decision]] = {
        "open": [errno.EMFILE, Action.PASS, Action.PASS],
        "write": [Action.SHORT, Action.PASS],
        "fsync": [errno.EIO, Action.PASS],
    }
    assert watched(report_errors, (folder,), folder, lambda call: answers[call.name].pop(0)) == 0
    assert answers == {"open": [], "write": [], "fsync": []}
    assert (tmp_path / "told").read_text() == repr([-errno.EMFILE, 0, 4, -errno.EIO, 1, 8, 2])
    assert (folder / "file").read_bytes() == b"123412345678"


def fail(folder: Path) -> None:
    raise SystemExit(7)


def test_the_exit_code_comes_back(tmp_path: Path) -> None:
    assert watched(fail, (tmp_path,), tmp_path, lambda call: Action.PASS) == 7
