"""Two connections that may write one database are never there together, in one process or in several.

SQLite up to 3.51.2 can lose a commit, or damage the database, where two connections move the log's content and begin it
anew at the same moment (https://sqlite.org/wal.html, "The WAL-Reset Bug"). So one writer at a time is a matter of
safety: each connection that may write is opened and closed while the writer lock of its folder is held.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from imgsearch.types import AddPicture, DeletePictures
from imgsearch.values import Key
from tests.durability.system_calls import forked
from tests.durability.trials import CASES, READING, Case, Place
from tests.durability.writing_connections import Watcher
from tests.storage.arithmetic import ArithmeticInstance, Sight


def run(command: Callable[[], None], report: Path) -> None:
    """A command, or the import of a library, that is watched; in a process of its own."""
    watcher = Watcher()
    watcher.install()
    try:
        command()
    finally:
        report.write_text(json.dumps([watcher.opened, watcher.faults, watcher.left()]))


def watched(case: Case, place: Place) -> tuple[list[str], list[str], list[str]]:
    """What a command opened for writing, what was wrong, and what it left open."""
    report = place.root / "report"
    process = forked(run, (case.work(place), report))
    process.join()
    assert process.exitcode == 0, place.errors.read_text()
    opened, faults, left = json.loads(report.read_text())
    return opened, faults, left


@pytest.mark.extended
@pytest.mark.usefixtures("watching")
@pytest.mark.parametrize("name", [*CASES, *READING])
def test_commands(name: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.home.mkdir()
    case = (CASES | READING)[name]
    case.begin(place)
    opened, faults, left = watched(case, place)
    assert faults == []
    assert left == []
    assert bool(opened) == (name in CASES), "what only reads opens nothing for writing"


def test_threads_that_write_one_instance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with an instance of its own, at once: one waits for the other."""
    ArithmeticInstance.create(folder)
    watcher = Watcher()
    monkeypatch.setattr(sqlite3, "connect", sqlite3.connect)
    watcher.install()
    failed: list[BaseException] = []

    def work(product: str) -> None:
        try:
            with ArithmeticInstance.open(folder) as instance:
                for number in range(4):
                    lines = [AddPicture("line", Key(product, f"{n}.jpg"), Sight(n)) for n in range(4)]
                    list(instance.apply([*lines, DeletePictures("line", product, "1.jpg")], lock_timeout=300))
                    instance.delete(product, f"{number}.jpg", lock_timeout=300)
                    instance.rebuild(lock_timeout=300)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(product,)) for product in "pqr"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert watcher.faults == []
    assert watcher.left() == []
    assert len(watcher.opened) == 3 * 4 * 3


def test_the_watcher_sees(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two connections at once, and one without the lock."""
    from imgsearch.storage.lock import writer_lock
    from imgsearch.storage.sqlite.database import connect
    from imgsearch.storage.sqlite.store import DATABASE_NAME

    ArithmeticInstance.create(folder)
    watcher = Watcher()
    monkeypatch.setattr(sqlite3, "connect", sqlite3.connect)
    watcher.install()
    with writer_lock(folder):
        first, second = (connect(folder / DATABASE_NAME, write=True) for _ in range(2))
        assert "2 writing connections at once" in watcher.faults.pop()
        first.close()
    assert watcher.faults == []
    second.close()
    assert "closed without the writer lock" in watcher.faults.pop()
    connect(folder / DATABASE_NAME, write=False).close()
    assert watcher.faults == []
