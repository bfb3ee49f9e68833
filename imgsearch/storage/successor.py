"""The successor: an instance in a subfolder that replaces its parent once all features are recomputed.

It is filled, over as many runs as it takes, while the instance stays in use; one commit (``Engine.succeed_by``) then
makes it the instance. After that commit its folder is a leftover, which the next writer removes.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from imgsearch.errors import ImgsearchError
from imgsearch.storage.lock import HOLDER_NAME, LOCK_NAME
from imgsearch.storage.sqlite.database import storage_errors
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SUCCESSOR_NAME", "clear", "forget", "home", "is_leftover", "remove"]

SUCCESSOR_NAME: Final = "reindexed"
DATA_NAMES: Final = (DATABASE_NAME, "index-")
LOCK_NAMES: Final = (LOCK_NAME, HOLDER_NAME)
"""Prefixes of our files there; all other files belong to somebody else and stay."""


def home(folder: Path) -> Path:
    """The folder of an instance's successor, whether it exists or not."""
    return folder / SUCCESSOR_NAME


def is_leftover(folder: Path, store: Store) -> bool:
    """Whether a successor's folder is no longer needed: it has become the instance, or creating it was cut off.

    Args:
        folder: of the successor.
        store: of the instance.
    """
    try:
        if not (folder / DATABASE_NAME).exists():
            return folder.is_dir() and all(
                path.name.startswith((*DATA_NAMES, *LOCK_NAMES)) for path in folder.iterdir()
            )
        with closing(Store.open(folder / DATABASE_NAME, write=False, verify=False)) as successor:
            return successor.made_by() == store.made_by()
    except (ImgsearchError, sqlite3.Error, OSError):
        return False  # unknown


def clear(folder: Path) -> None:
    """Remove the data files of a successor, the database first; keep its lock.

    Raises:
        OSError
    """
    for path in sorted(folder.iterdir(), key=lambda path: (path.name != DATABASE_NAME, path.name)):
        if path.name.startswith(DATA_NAMES):
            path.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a successor and its folder; if other files are there, they and the folder stay.

    Raises:
        OSError
    """
    clear(folder)
    for name in LOCK_NAMES:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # it holds other files
        folder.rmdir()


def forget(successor: Store, predecessor: Store) -> None:
    """Delete items that the predecessor has deleted or replaced, and their pictures' locations.

    Raises:
        StorageFull, StorageUnwritable
    """
    with storage_errors(successor.path.parent):
        with successor.beside(predecessor), successor.writing():
            successor.keep_those_of_predecessor(same_content=True)
        successor.prune_roots()
