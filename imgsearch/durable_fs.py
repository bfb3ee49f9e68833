"""Atomic, durable file writes, and the translation of the operating system's errors."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imgsearch.errors import StorageError, StorageFull, StorageUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    "temporary_folder",
]

TEMPORARY_SUFFIX: Final = ".tmp"


def private_opener(path: str, flags: int) -> int:
    """An opener for ``open``: new files are readable only by their owner, whatever the umask."""
    return os.open(path, flags, 0o600)


def make_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents, accessible only to their owner and durable.

    Existing folders are not changed.
    """
    path = folder.absolute()
    missing = list(takewhile(lambda one: not one.exists(), [path, *path.parents]))
    # An interrupted call may have made the nearest existing folder without syncing its name.
    sync_folder((missing[-1].parent if missing else path).parent)
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        sync_folder(one.parent)
    folder.mkdir(exist_ok=True)  # raises if it exists and is not a folder


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Provide a temporary path beside ``target``; sync it and rename it to ``target`` at the end of the block.

    If the block raises, the temporary file is removed and ``target`` is unchanged.
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
    """Check that ``atomic_file`` can create its temporary file; leaves no file, and ``target`` unchanged.

    Raises:
        OSError: it cannot be created.
    """
    temporary = _temporary(target)
    with open(temporary, "xb", opener=private_opener):
        pass
    temporary.unlink()


def _temporary(target: Path) -> Path:
    return target.with_name(f"{target.name}.{os.getpid()}{TEMPORARY_SUFFIX}")


def sync(path: Path) -> None:
    """Sync the content of a file, or the entries of a folder, to disk."""
    _sync(os.open(path, os.O_RDONLY))


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk; does nothing where folders cannot be opened or synced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except (PermissionError, FileNotFoundError):
        return
    try:
        _sync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # how Linux says that a file system has no such call
            raise


def _sync(descriptor: int) -> None:
    try:
        if not (sys.platform == "darwin" and _is_flushed(descriptor)):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_flushed(descriptor: int) -> bool:
    """On macOS, also flush the disk's cache, as fsync does not; False if the file system cannot."""
    import fcntl

    try:
        fcntl.fcntl(descriptor, getattr(fcntl, "F_FULLFSYNC"))  # noqa: B009  # other systems have no such name
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC):
            raise
        return False
    return True


@contextmanager
def file_errors(place: Path | str) -> Iterator[None]:
    """Translate the operating system's file errors; other errors pass.

    Args:
        place: named in the message if the system names no file: a folder, or a description.

    Raises:
        StorageFull, StorageUnwritable
    """
    try:
        yield
    except OSError as error:
        translated = _translate(error, place)
        if translated is None:
            raise
        raise translated from error


def temporary_folder() -> Path:
    """The folder for temporary files.

    Raises:
        StorageUnwritable: there is none.
    """
    import tempfile

    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise StorageUnwritable(
            f"there is no folder for temporary files ({error.strerror}): set TMPDIR to a writable one"
        ) from error


def storage_full(place: Path | str) -> StorageFull:
    """The error for a full disk."""
    return StorageFull(
        f"no space left in {place}; nothing acknowledged is lost: free some space and run the command again"
    )


def has_room(folder: Path, size: int) -> bool:
    """Whether a new file of ``size`` bytes fits on the file system of a folder; True if unknown. Ignores quotas."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return True
    has_files = room.f_favail > 0 or room.f_files == 0  # some file systems do not count files
    return has_files and room.f_bavail * room.f_frsize >= size


_PERMISSIONS: Final = ("EROFS", "EACCES", "EPERM")
_LIMITS: Final = ("EMFILE", "ENFILE", "ENOMEM", "ENOLCK")
_NAMES: Final = ("ENOTDIR", "EISDIR", "EEXIST", "ENAMETOOLONG", "ELOOP")
_DEVICES: Final = ("EIO", "ENXIO", "ENODEV", "ENOMEDIUM", "EBUSY", "EUCLEAN", "EBADMSG", "EREMOTEIO", "EOPNOTSUPP")
_DISTANT: Final = ("ESTALE", "ETIMEDOUT", "ENOTCONN", "ECONNABORTED", "EHOSTDOWN", "EHOSTUNREACH", "ENETUNREACH")
"""From network file systems, and from FUSE when its program has ended."""
_REFUSALS: Final = frozenset(
    getattr(errno, name) for name in _PERMISSIONS + _LIMITS + _NAMES + _DEVICES + _DISTANT if hasattr(errno, name)
)
"""Conditions of the system, not bugs; not every system defines all of them."""


def _translate(error: OSError, place: Path | str) -> StorageError | None:
    named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes | os.PathLike) else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return storage_full(place if named is None or named.parent == Path() else named.parent)
    if error.errno in _REFUSALS:
        where = place if named is None else named
        return StorageUnwritable(
            f"{where} cannot be written or read ({error.strerror}): check the disk and the permissions"
        )
    return None
