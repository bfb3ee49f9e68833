"""What can be wrong with an instance, what a repair did about it, and the files that killed writers leave behind."""

from __future__ import annotations

import sqlite3
from contextlib import closing, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from imgsearch.durable_fs import TEMPORARY_SUFFIX, sync_folder
from imgsearch.errors import ImgsearchError
from imgsearch.storage import successor
from imgsearch.storage.lock import HOLDER_NAME, writer_at_work
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["REPAIR_NAME", "Damage", "Loss", "Problem", "Repair", "leftovers", "remove_leftovers"]

REPAIR_NAME: Final = f"{DATABASE_NAME}.repair{TEMPORARY_SUFFIX}"
"""The new database that a repair builds before it replaces the damaged one."""
LEFTOVER_NAMES: Final = (
    "index-*.faiss*",
    f"{DATABASE_NAME}{TEMPORARY_SUFFIX}*",
    f"{REPAIR_NAME}*",
    f"{DATABASE_NAME}-wal.*{TEMPORARY_SUFFIX}",
)


class Damage(StrEnum):
    """Kinds of damage."""

    DATABASE = "DatabaseDamaged"
    """The database is inconsistent or unreadable to SQLite."""
    LOG = "LogDamaged"
    """The write-ahead log is corrupted."""
    SCHEMA = "SchemaAltered"
    SETTINGS = "SettingsDamaged"
    ITEM = "ItemDamaged"
    """An item's row does not match its checksum."""
    FEATURE = "FeatureDamaged"
    """A wrong checksum, dimension or length, or values that are not finite."""
    FEATURE_MISSING = "FeatureMissing"
    FEATURE_ORPHANED = "FeatureOrphaned"
    """A feature without an item."""
    LOCATION = "LocationDamaged"
    """A pictures' folder does not match its checksum; it is needed for previews only."""
    COUNTS = "CountsWrong"
    REMOVED = "RemovedWrong"
    """The list of removed items."""
    GENERATION = "GenerationDamaged"
    """The database's own record of the published index."""
    INDEX_MISSING = "IndexMissing"
    INDEX_LENGTH = "IndexLengthWrong"
    INDEX = "IndexDamaged"
    """The index file does not match its checksum."""
    SELF_SEARCH = "SelfSearchFailed"
    """The index does not find an item by its own feature."""
    INDEX_BEHIND = "IndexBehind"
    """Items have waited for long to be added to an index outside of the database, or to be deleted from it."""
    SHARD = "WrongShard"
    """An item whose product is of another shard than the instance's."""
    LEFTOVER = "Leftover"
    """A file left by a killed writer: harmless, and removed by the next one."""

    @property
    def is_harmless(self) -> bool:
        """Whether it is worth a word but no damage."""
        return self is Damage.LEFTOVER

    @property
    def affects_index(self) -> bool:
        """Whether a rebuild repairs it."""
        return self in (
            Damage.INDEX_MISSING,
            Damage.INDEX_LENGTH,
            Damage.INDEX,
            Damage.SELF_SEARCH,
            Damage.INDEX_BEHIND,
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of a check."""

    damage: Damage
    file: Path
    message: str
    """What is wrong and what to do, on one line."""
    product_id: str | None = None
    pic_name: str | None = None
    """Of the item, if known. Not a Key: damaged values may be invalid."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Lost data: an item that is no longer searchable, or a part of one."""

    product_id: str | None
    pic_name: str | None
    message: str
    """What was wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Repair:
    """The result of a repair."""

    repaired: list[Problem]
    """Problems that were repaired."""
    lost: list[Loss]
    problems: list[Problem]
    """Problems that remain."""


def leftovers(folder: Path, *, locked: bool = False, own: Store | None = None) -> list[Path]:
    """What killed writers left: files, and the folder of a successor that has become the instance.

    Empty while another writer is at work, as the files may be its own.

    Args:
        folder: with an instance in it.
        locked: the caller holds the writer lock.
        own: the connection of the writer at work, who holds the lock, too; it is in no transaction.
    """
    locked = locked or own is not None
    names = LEFTOVER_NAMES if locked else (*LEFTOVER_NAMES, HOLDER_NAME)
    found = sorted(path for path in folder.iterdir() if any(fnmatchcase(path.name, name) for name in names))
    if not locked and writer_at_work(folder):
        return []
    # In this order, so that what a writer published before it ended is seen as published.
    try:
        opened = (
            nullcontext(own)
            if own is not None
            else closing(Store.open(folder / DATABASE_NAME, write=False, verify=False))
        )
        with opened as store:
            published = {f"index-{row[0]}.faiss" for row in store.connection.execute("SELECT number FROM generations")}
            if successor.is_leftover(successor.home(folder), store):
                found.append(successor.home(folder))
    except (ImgsearchError, sqlite3.Error):
        return []  # unknown what is published
    return [path for path in found if path.name not in published and path.exists()]


def remove_leftovers(folder: Path, own: Store) -> None:
    """Remove what killed writers left and indexes that were replaced; sync the folder first if a write was interrupted.

    A writer that was killed, or failed, between a rename and its sync leaves a name that a power loss would take back,
    with everything written to the file since.

    Args:
        folder: with an instance in it.
        own: the connection of the writer at work, who holds the lock; it is in no transaction.

    Raises:
        OSError
    """
    left = leftovers(folder, own=own)
    if any(path.suffix == TEMPORARY_SUFFIX for path in left):  # the others are indexes that were replaced
        sync_folder(folder)
    for path in left:
        if path.is_dir():
            successor.remove(path)
        else:
            path.unlink(missing_ok=True)
