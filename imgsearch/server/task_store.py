"""Tasks with state: imports and exports, in a SQLite file of the server."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from imgsearch.durable_fs import file_errors, make_private_folder, private_opener, storage_full
from imgsearch.errors import StorageUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Task", "TaskKind", "TaskStatus", "TaskStore"]

log = logging.getLogger(__name__)

FILE_NAME: Final = "tasks.db"
COLUMNS: Final = "id, kind, instance, bucket, path, callback, status, code, message, file, created, modified"
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    instance TEXT NOT NULL,
    bucket TEXT NOT NULL,
    path TEXT NOT NULL,
    callback TEXT NOT NULL,
    status TEXT NOT NULL,
    code TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    file TEXT,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS one_at_a_time ON tasks (kind, instance) WHERE status = 'PROCESSING';
"""
INTERRUPTED: Final = "the server ended before the task did; submit it again: it goes on from where it was"


class TaskKind(StrEnum):
    """What a task does."""

    IMPORT = "import"
    EXPORT = "export"


class TaskStatus(StrEnum):
    """As the service names them."""

    PROCESSING = "PROCESSING"
    SUCCESS = "SUCCESS"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Task:
    """One task; times are in milliseconds since the epoch."""

    id: int
    kind: TaskKind
    instance: str
    bucket: str
    path: str
    callback: str
    status: TaskStatus
    code: str
    message: str
    file: str | None
    """Name of its result: the failures of an import, the items of an export."""
    created: int
    modified: int


class TaskStore:
    """The tasks of a server; thread-safe. Tasks that a former server left unfinished have failed.

    Args:
        folder: of the file; made if missing.

    Raises:
        StorageFull, StorageUnwritable: also if another server uses the folder.
    """

    def __init__(self, folder: Path) -> None:
        with file_errors(folder):
            make_private_folder(folder)
            open(folder / FILE_NAME, "ab", opener=private_opener).close()
        self._folder = folder
        self._lock = Lock()
        self._ended: dict[int, dict[str, Any]] = {}
        """What tasks came to, as long as the disk does not take it."""
        self._database = sqlite3.connect(folder / FILE_NAME, check_same_thread=False, isolation_level=None, timeout=1)
        try:
            # Held until the end: a second server would take the tasks of this one for unfinished.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.executescript(SCHEMA)
            self._database.execute(
                "UPDATE tasks SET status = ?, code = 'InternalError', message = ?, modified = ? WHERE status = ?",
                (TaskStatus.FAIL, INTERRUPTED, _now(), TaskStatus.PROCESSING),
            )
        except sqlite3.Error as error:
            self._database.close()
            raise StorageUnwritable(
                f"{folder / FILE_NAME} cannot be used ({error}): another server may be using the folder; name one with "
                "--state"
            ) from None

    def create(
        self, kind: TaskKind, instance: str, *, bucket: str = "", path: str = "", callback: str = ""
    ) -> int | None:
        """Begin a task; its id, or None while another one of this kind works on the instance.

        Raises:
            StorageFull, StorageUnwritable
        """
        now = _now()
        try:
            with (
                self._using(),
                closing(
                    self._database.execute(
                        "INSERT INTO tasks (kind, instance, bucket, path, callback, status, created, modified) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (kind, instance, bucket, path, callback, TaskStatus.PROCESSING, now, now),
                    )
                ) as cursor,
            ):
                return cursor.lastrowid
        except sqlite3.IntegrityError:
            return None

    def finish(
        self, task_id: int, status: TaskStatus, *, code: str = "", message: str = "", file: str | None = None
    ) -> None:
        """Record what became of a task; if the disk does not take it, again before each later use."""
        with self._lock:
            self._ended[task_id] = {
                "status": status,
                "code": code,
                "message": message,
                "file": file,
                "modified": _now(),
            }
            self._record()

    def _record(self) -> None:
        for task_id, ending in list(self._ended.items()):
            try:
                self._database.execute(
                    "UPDATE tasks SET status = :status, code = :code, message = :message, file = :file, "
                    "modified = :modified WHERE id = :id",
                    ending | {"id": task_id},
                )
            except sqlite3.Error as error:
                log.warning("the end of task %d cannot be recorded yet: %s", task_id, error)
                return
            del self._ended[task_id]

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Use the file alone, after recording what could not be recorded before.

        Raises:
            StorageFull, StorageUnwritable
        """
        with self._lock:
            self._record()
            try:
                yield
            except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
                raise
            except sqlite3.Error as error:
                if error.sqlite_errorname == "SQLITE_FULL":
                    raise storage_full(self._folder) from None
                file = self._folder / FILE_NAME
                raise StorageUnwritable(
                    f"{file} cannot be written or read ({error}): check the disk and the permissions"
                ) from None

    def find(
        self,
        kind: TaskKind,
        instance: str,
        *,
        task_id: int | None = None,
        bucket: str | None = None,
        path: str | None = None,
        start: int = 0,
        num: int = 10,
    ) -> tuple[list[Task], int]:
        """A page of tasks, the newest first, and how many there are on all pages.

        Raises:
            StorageUnwritable
        """
        wanted = {"kind": kind, "instance": instance, "id": task_id, "bucket": bucket, "path": path}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(f"{name} = :{name}" for name in given)
        with self._using():
            rows = self._database.execute(
                f"SELECT {COLUMNS} FROM tasks WHERE {where} ORDER BY id DESC LIMIT :num OFFSET :start",
                given | {"num": num, "start": start},
            ).fetchall()
            (total,) = self._database.execute(f"SELECT count(*) FROM tasks WHERE {where}", given).fetchone()
            tasks = [
                Task(number, TaskKind(kind), of, bucket, path, callback, TaskStatus(status), *rest)
                for number, kind, of, bucket, path, callback, status, *rest in rows
            ]
            return [replace(task, **self._ended.get(task.id, {})) for task in tasks], total

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._record()
            self._database.close()


def _now() -> int:
    return int(time.time() * 1000)
