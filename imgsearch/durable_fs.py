"""Writing files so that they are there whole or not at all, and what the operating system's refusals mean."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from imgsearch.errors import StorageError, StorageFull, StorageUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "TEMPORARY_SUFFIX",
    "atomic_file",
    "check_atomic_file",
    "file_errors",
    "make_private_folder",
    "private_opener",
    "storage_full",
    "sync",
    "sync_folder",
]

TEMPORARY_SUFFIX: Final = ".tmp"


def private_opener(path: str, flags: int) -> int:
    """For ``open``: a file that is made can be read by its owner only, whatever the umask; one that is there stays."""
    return os.open(path, flags, 0o600)


def make_private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner only, so that they survive a power loss.

    One that is there stays as it is.
    """
    for missing in reversed([folder, *folder.parents]):
        if not missing.exists():
            missing.mkdir(mode=0o700, exist_ok=True)
            sync_folder(missing.parent)
    folder.mkdir(exist_ok=True)  # tells what is there and is no folder


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target``; sync it and rename it to ``target`` at the end of the block.

    When the block raises, the temporary file is removed and ``target`` stays as it was.
    """
    temporary = _temporary(target)
    try:
        yield temporary
        sync(temporary)
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def check_atomic_file(target: Path) -> None:
    """Find out whether ``atomic_file`` can make its temporary file; none is left, and ``target`` stays as it was.

    Raises:
        OSError: it cannot.
    """
    temporary = _temporary(target)
    with open(temporary, "xb", opener=private_opener):
        pass
    temporary.unlink()


def _temporary(target: Path) -> Path:
    return target.with_name(f"{target.name}.{os.getpid()}{TEMPORARY_SUFFIX}")


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, survive a power loss."""
    _sync(os.open(path, os.O_RDONLY))


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` survive a power loss (a no-op where folders cannot be opened)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except (PermissionError, FileNotFoundError):
        return
    _sync(descriptor)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def file_errors(folder: Path) -> Iterator[None]:
    """Translate what the operating system says about the storage under ``folder``; other errors pass.

    Raises:
        StorageFull, StorageUnwritable
    """
    try:
        yield
    except OSError as error:
        translated = _translate(error, folder)
        if translated is None:
            raise
        raise translated from error


def storage_full(folder: Path) -> StorageFull:
    """What to tell people when the disk is full."""
    return StorageFull(
        f"no space left in {folder}; nothing that was acknowledged is lost: free some space and run the command again"
    )


def _translate(error: OSError, folder: Path) -> StorageError | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return storage_full(folder)
    if error.errno in (
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOTDIR,
        errno.EEXIST,
    ):
        return StorageUnwritable(
            f"{folder} cannot be written or read ({error.strerror}): check the disk and permissions"
        )
    return None
