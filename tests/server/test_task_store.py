"""Tasks are remembered, one of a kind at a time works on an instance, and what a dead server left has failed."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from imgsearch.errors import StorageFull, StorageUnwritable
from imgsearch.server.task_store import FILE_NAME, TaskKind, TaskStatus, TaskStore

IMPORT, EXPORT = TaskKind.IMPORT, TaskKind.EXPORT


def made(store: TaskStore, kind: TaskKind = IMPORT, instance: str = "shop", **facts: str) -> int:
    number = store.create(kind, instance, **facts)
    assert number is not None
    return number


def test_a_task_is_remembered_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    store = TaskStore(tmp_path / "state")
    number = made(store, bucket="b", path="/p", callback="http://c")
    (task,), total = store.find(IMPORT, "shop")
    assert (task.id, task.status, task.bucket, task.path, task.callback, total) == (
        *(number, TaskStatus.PROCESSING, "b", "/p", "http://c", 1),
    )
    assert (task.code, task.message, task.file) == ("", "", None)
    assert task.created == task.modified > 1_700_000_000_000
    store.finish(number, TaskStatus.FAIL, code="C", message="m", file="errors-1-0.jsonl")
    (task,), _ = store.find(IMPORT, "shop")
    assert (task.status, task.code, task.message, task.file) == (TaskStatus.FAIL, "C", "m", "errors-1-0.jsonl")
    assert task.modified >= task.created
    store.close()


def test_one_of_a_kind_at_a_time_works_on_an_instance(tmp_path: Path) -> None:
    store = TaskStore(tmp_path)
    first = made(store)
    assert store.create(IMPORT, "shop") is None
    made(store, EXPORT)
    made(store, IMPORT, "other")
    store.finish(first, TaskStatus.SUCCESS)
    assert made(store) > first
    store.close()


def test_pages_and_conditions(tmp_path: Path) -> None:
    """The newest first."""
    store = TaskStore(tmp_path)
    numbers = []
    for place in range(7):
        numbers.append(made(store, bucket=f"b{place % 2}", path="/p"))
        store.finish(numbers[-1], TaskStatus.SUCCESS)
    found, total = store.find(IMPORT, "shop", start=2, num=3)
    assert ([task.id for task in found], total) == (numbers[::-1][2:5], 7)
    found, total = store.find(IMPORT, "shop", bucket="b1", path="/p")
    assert ([task.id for task in found], total) == (numbers[5::-2], 3)
    assert store.find(IMPORT, "shop", task_id=numbers[3])[1] == 1
    assert store.find(IMPORT, "shop", bucket="' OR 1=1 --") == ([], 0)
    assert store.find(EXPORT, "shop") == store.find(IMPORT, "other") == ([], 0)
    store.close()


def test_what_a_dead_server_left_has_failed(tmp_path: Path) -> None:
    """And its instance is free for another task."""
    store = TaskStore(tmp_path)
    number = made(store)
    done = made(store, EXPORT)
    store.finish(done, TaskStatus.SUCCESS, message="success")
    store.close()
    again = TaskStore(tmp_path)
    (task,), _ = again.find(IMPORT, "shop")
    assert (task.id, task.status, task.code) == (number, TaskStatus.FAIL, "InternalError")
    assert "submit it again" in task.message
    assert again.find(EXPORT, "shop")[0][0].status is TaskStatus.SUCCESS
    made(again)
    again.close()


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second would take the tasks of the first for unfinished ones."""
    store = TaskStore(tmp_path)
    number = made(store)
    with pytest.raises(StorageUnwritable, match="--state"):
        TaskStore(tmp_path)
    assert store.find(IMPORT, "shop", task_id=number)[0][0].status is TaskStatus.PROCESSING
    store.close()


@pytest.mark.parametrize("content", [b"no database, but long enough to be told from one" * 20, b"SQLite format 3\0"])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(StorageUnwritable, match="cannot be used"):
        TaskStore(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnwritable):
        TaskStore(tmp_path / "file" / "state")


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    store = TaskStore(tmp_path / "state")
    made(store)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state", *(tmp_path / "state").iterdir())]
    assert not any(mode & 0o077 for mode in modes)
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.find(IMPORT, "shop")


def test_what_a_full_disk_does_not_take_is_kept_and_recorded_later(tmp_path: Path) -> None:
    """The task has ended for whoever asks, and another one may begin; a new one is refused as long as it is full."""
    store = TaskStore(tmp_path)
    number = made(store)
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    store.finish(number, TaskStatus.FAIL, code="C", message="m" * 100_000)
    (task,), total = store.find(IMPORT, "shop")
    assert (task.status, task.code, len(task.message), total) == (TaskStatus.FAIL, "C", 100_000, 1)
    with pytest.raises(StorageFull, match="free some space"):
        store.create(EXPORT, "other", path="/" * 100_000)
    store._database.execute("PRAGMA max_page_count = 1000000").fetchall()
    second = made(store)
    store.close()
    reopened = TaskStore(tmp_path)
    found, _ = reopened.find(IMPORT, "shop")
    assert [(task.id, task.code, len(task.message)) for task in found][1:] == [(number, "C", 100_000)]
    assert found[0].id == second
    reopened.close()


def test_a_file_that_cannot_be_read_is_told_as_such(tmp_path: Path) -> None:
    store = TaskStore(tmp_path)
    for _ in range(100):
        store.finish(made(store, path="/" * 2_000), TaskStatus.SUCCESS)
    store.close()
    store = TaskStore(tmp_path)
    with (tmp_path / FILE_NAME).open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(size // 4)
        file.write(bytes(size // 2))
    with pytest.raises(StorageUnwritable, match=f"{FILE_NAME} cannot be written or read"):
        store.find(IMPORT, "shop", num=100)
    store.close()
