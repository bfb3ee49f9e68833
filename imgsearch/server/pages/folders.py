"""The folders below which pictures may be shown; nothing outside of them ever is."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from typing import TYPE_CHECKING, Final

from imgsearch.errors import UnreadableSource, UsageError
from imgsearch.pictures import as_picture

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["PictureFolders"]

FOLDER_FLAGS: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
STEP_FLAGS: Final = FOLDER_FLAGS | getattr(os, "O_NOFOLLOW", 0)
# Non-blocking: opening a pipe without a writer would wait forever.
FILE_FLAGS: Final = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
)


class PictureFolders:
    """Folders that the operator has named.

    Args:
        folders: none: no picture is shown.

    Raises:
        UsageError: one of them is no folder.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self._folders = tuple(_resolved_folder(folder) for folder in folders)

    def has(self, path: Path | None) -> bool:
        """Whether a file is there and, with all links followed, lies below one of the folders."""
        return path is not None and self._place(path) is not None

    def read(self, path: Path, max_bytes: int) -> bytes:
        """The bytes of a file below one of the folders.

        Args:
            path: absolute; links are followed.
            max_bytes: the first size that is refused.

        Raises:
            UnreadableSource: it is missing, no regular file, or lies elsewhere; the message is the same for all that
                does not lie below the folders, so that nobody learns what does.
            PictureTooLarge
        """
        place = self._place(path)
        if place is None:
            raise UnreadableSource("the picture is not there, or not below a folder that may be shown", code="NotShown")
        try:
            with open(_descriptor(*place), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise UnreadableSource("it is not a regular file")
                return as_picture(file, max_bytes).read(max_bytes).data
        except OSError as error:
            raise UnreadableSource(f"the file cannot be read: {error.strerror}") from None

    def _place(self, path: Path) -> tuple[Path, tuple[str, ...]] | None:
        """The folder that a file lies below and the way from there, without links; None if there is none."""
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # missing, a circle of links, a NUL in its name
            return None
        for folder in self._folders:
            if real != folder and real.is_relative_to(folder):
                return folder, real.relative_to(folder).parts
        return None


def _resolved_folder(folder: Path) -> Path:
    try:
        real = folder.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        real = folder
    if not real.is_dir():
        raise UsageError(f"pictures cannot be shown from {str(folder)!r}: it is no folder")
    return real


def _descriptor(folder: Path, way: tuple[str, ...]) -> int:
    """Open a file step by step without following links: one put there after the check leads nowhere.

    Raises:
        OSError
    """
    if os.open not in os.supports_dir_fd:
        return os.open(folder.joinpath(*way), FILE_FLAGS)
    *steps, name = way
    descriptor = os.open(folder, FOLDER_FLAGS)
    for step in steps:
        with closing(_Descriptor(descriptor)):
            descriptor = os.open(step, STEP_FLAGS, dir_fd=descriptor)
    with closing(_Descriptor(descriptor)):
        return os.open(name, FILE_FLAGS, dir_fd=descriptor)


class _Descriptor:
    """A descriptor that ``closing`` can close."""

    def __init__(self, number: int) -> None:
        self._number = number

    def close(self) -> None:
        os.close(self._number)
