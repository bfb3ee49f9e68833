"""The cache of networks: folders that appear only when complete, their last use, and the removal of unused ones.

An entry is a folder below ``models``. Its note's time of change is the time of its last use, to within a day. Whoever
finds that older renews it under a lock, and whoever removes an entry looks at it under the same lock: so none
disappears between finding it and loading it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from imgsearch.durable_fs import TEMPORARY_SUFFIX, sync, sync_folder
from imgsearch.vision.compile_settings import COMPILED
from imgsearch.vision.models import GRAPH_VERSION
from imgsearch.vision.openvino_compat import openvino_version

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RECORD_NAME", "mark_used", "models_folder", "parity_folder", "prune", "versions", "whole_folder"]

RECORD_NAME: Final = "record.json"
"""The note of an entry."""
LOCK_NAME: Final = "use.lock"
LOCK_SECONDS: Final = 10
DAY: Final = 86_400
KEPT_DAYS: Final = 90
"""After the last use."""
OTHERS_KEPT_DAYS: Final = 7
"""Likewise, of what another version of imgsearch or OpenVINO has made: it may be in use beside this one."""


def models_folder(cache: Path) -> Path:
    """Where the entries are."""
    return cache / "models"


def parity_folder(cache: Path) -> Path:
    """Where notes are on how other devices compare with the CPU."""
    return cache / "agreement"


def versions() -> dict[str, Any]:
    """What an entry's note says of who has made it."""
    return {"graph": GRAPH_VERSION, "openvino": openvino_version()}


def mark_used(note: Path) -> bool:
    """Keep an entry from being removed for a while.

    Args:
        note: of the entry.

    Returns:
        Whether it had been marked within the last day; if not, it may have been removed in this moment: look again.
    """
    with suppress(OSError):  # where nothing can be written, nothing can be removed either
        if _age(note) < DAY:
            return True
        with _lock(note.parent.parent):
            os.utime(note)
    return False


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder for compiled code, renamed to ``target`` at the end of the block unless that exists by then.

    OpenVINO writes in place, and a process that has mapped a file ends with SIGBUS when another one truncates it. So no
    process may find an incomplete folder. Whoever can read the folder around it can read it.

    Args:
        target: in an entry of the cache. If it cannot be created, nothing is left behind.

    Raises:
        OSError: nothing can be written there.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f"{target.name}.", suffix=TEMPORARY_SUFFIX, dir=target.parent))
    try:
        yield temporary
        with suppress(OSError):
            _put_in_place(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, target: Path) -> None:
    files = list(temporary.iterdir())
    if not files:  # the disk is full
        return
    permissions = target.parent.stat().st_mode & 0o777
    temporary.chmod(permissions)
    for file in files:
        file.chmod(permissions & 0o444)
    for path in (*files, temporary):
        sync(path)
    temporary.rename(target)
    sync_folder(target.parent)


def prune(cache: Path) -> None:
    """Remove what has not been used for long; whatever hinders that is left for the next time.

    Args:
        cache: folder of all converted and compiled models.
    """
    models = models_folder(cache)
    if not models.is_dir():
        return
    with suppress(OSError):
        with _lock(models):
            trash = Path(tempfile.mkdtemp(prefix="removed.", suffix=TEMPORARY_SUFFIX, dir=models))
            for path in [*_outdated_entries(models), *_outdated_compiled(cache)]:
                with suppress(OSError):
                    path.rename(trash / f"{path.parent.name}.{path.name}")
        shutil.rmtree(trash, ignore_errors=True)
    for note in parity_folder(cache).glob("*.json"):
        with suppress(OSError):
            if _age(note) > KEPT_DAYS * DAY:
                note.unlink()


def _outdated_entries(models: Path) -> Iterator[Path]:
    for path in list(models.iterdir()):
        with suppress(OSError):
            if path.is_symlink():
                if not path.exists():  # its entry is gone
                    yield path
            elif path.is_dir() and _is_outdated(path):
                yield path


def _is_outdated(entry: Path) -> bool:
    if entry.suffix == TEMPORARY_SUFFIX:  # of a process that was killed: no conversion takes so long
        return _age(entry) > OTHERS_KEPT_DAYS * DAY
    note = entry / RECORD_NAME
    try:
        made_by = json.loads(note.read_text(encoding="utf-8"))["versions"]
        kept = KEPT_DAYS if made_by == versions() else OTHERS_KEPT_DAYS
        return _age(note) > kept * DAY
    except (OSError, ValueError, KeyError, TypeError):
        return _age(entry) > OTHERS_KEPT_DAYS * DAY


def _outdated_compiled(cache: Path) -> Iterator[Path]:
    """What OpenVINO has compiled long ago: it does so again within a second, where it is still wanted."""
    for path in models_folder(cache).glob(f"*/{COMPILED}*"):
        with suppress(OSError):
            if _age(path) > (OTHERS_KEPT_DAYS if path.suffix == TEMPORARY_SUFFIX else KEPT_DAYS) * DAY:
                yield path
    for path in cache.glob(f"{COMPILED}*"):  # where an earlier version kept it
        with suppress(OSError):
            if _age(path) > OTHERS_KEPT_DAYS * DAY:
                yield path


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _lock(models: Path) -> Any:
    from filelock import FileLock

    return FileLock(models / LOCK_NAME, timeout=LOCK_SECONDS)
