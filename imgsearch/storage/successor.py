"""What takes the place of an instance whose features are made anew: an instance in a folder inside of its own.

It is filled while the instance goes on as it is, over as many runs as it takes, and then becomes the instance in one
commit (``Engine.succeed_by``). From that commit on its folder is a leftover, which the next writer removes.
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
"""What our files there begin with; whatever else lies there is somebody's, and stays."""


def home(folder: Path) -> Path:
    """Where the successor of the instance in a folder lies, if there is one."""
    return folder / SUCCESSOR_NAME


def is_leftover(folder: Path, store: Store) -> bool:
    """Whether the successor's folder is of no use: it has become the instance, or was not even made.

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
        return False  # nobody can say


def clear(folder: Path) -> None:
    """Remove what a successor has written, the database first; its lock stays.

    Raises:
        OSError
    """
    for path in sorted(folder.iterdir(), key=lambda path: (path.name != DATABASE_NAME, path.name)):
        if path.name.startswith(DATA_NAMES):
            path.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a successor with its folder; what is not ours stays, and the folder with it.

    Raises:
        OSError
    """
    clear(folder)
    for name in LOCK_NAMES:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # somebody's files lie there
        folder.rmdir()


def forget(successor: Store, predecessor: Store) -> None:
    """Delete what the predecessor no longer has, or has of another picture now, with the places of these pictures.

    Raises:
        StorageFull, StorageUnwritable
    """
    with storage_errors(successor.path.parent):
        with successor.beside(predecessor), successor.writing():
            successor.keep_those_of_predecessor(same_content=True)
        successor.prune_roots()
