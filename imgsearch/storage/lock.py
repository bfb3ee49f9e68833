"""The writer lock: released when its process dies, with a note that names the holder."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

from imgsearch import own_process
from imgsearch.durable_fs import private_opener
from imgsearch.errors import InstanceLocked
from imgsearch.storage.sqlite.database import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["HOLDER_NAME", "LOCK_NAME", "writer_at_work", "writer_lock"]

LOCK_NAME: Final = "writer.lock"
HOLDER_NAME: Final = "writer.json"
PROGRAM: Final = "a program that uses imgsearch"
"""How the note calls a process that is not the command line; its arguments may hold what is nobody's business."""


@contextmanager
def writer_lock(folder: Path, timeout: float = 0.0) -> Iterator[None]:
    """Hold the writer lock of an instance.

    Args:
        folder: the instance.
        timeout: seconds to wait for another writer; 0: do not wait.

    Raises:
        InstanceLocked: another process holds it; the message gives its pid, command and start time.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_NAME, mode=0o600, thread_local=False)  # a stream may end in another thread
    holder = folder / HOLDER_NAME
    with storage_errors(folder):
        try:
            lock.acquire(timeout=timeout, poll_interval=0.05)
        except Timeout:
            raise InstanceLocked(_explain(folder, holder)) from None
    try:
        with storage_errors(folder), open(holder, "w", encoding="utf-8", opener=private_opener) as note:
            json.dump(
                {
                    "pid": os.getpid(),
                    "command": (own_process.command_line() or PROGRAM)[:300],
                    "start": datetime.now().astimezone().isoformat(timespec="seconds"),
                },
                note,
            )
        yield
    finally:
        with suppress(OSError):  # the commits are safe; the next holder overwrites the note
            holder.unlink()
        lock.release()


def writer_at_work(folder: Path) -> bool:
    """Whether the process that the note names is alive.

    Does not touch the lock itself: even a brief attempt could turn a writer away.
    """
    try:
        os.kill(int(json.loads((folder / HOLDER_NAME).read_text(encoding="utf-8"))["pid"]), 0)
    except PermissionError:
        return True  # it runs as another user
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return True


def _explain(folder: Path, holder: Path) -> str:
    try:
        note = json.loads(holder.read_text(encoding="utf-8"))
        who = f"process {note['pid']} ({note['command']}), since {note['start']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # the lock was taken or released just now
        who = "another process"
    return f"{folder} is being written by {who}: wait for it to end, or pass --lock-timeout SECONDS"
