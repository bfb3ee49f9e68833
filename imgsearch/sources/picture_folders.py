"""Folders whose pictures clients of a server may be shown, or have read; nothing outside of them is opened."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imgsearch.errors import PictureTooLarge, UnreadableSource, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PictureFolders"]

QUOTED_CHARS: Final = 200
FORBIDDEN: Final = "AccessDenied"
FOLDER_FLAGS: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
STEP_FLAGS: Final = FOLDER_FLAGS | getattr(os, "O_NOFOLLOW", 0)
# Non-blocking: opening a pipe without a writer would wait forever.
FILE_FLAGS: Final = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
)


class PictureFolders:
    """Folders that the operator has named. Links and ``..`` are resolved first: where they lead is what counts.

    Args:
        folders: none: nothing may be read.

    Raises:
        UsageError: one of them is no folder.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self.folders = tuple(_resolved_folder(folder) for folder in folders)

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
                data = file.read(max_bytes)
                if len(data) >= max_bytes:
                    raise PictureTooLarge.of(len(data), max_bytes)
                return data
        except OSError as error:
            raise UnreadableSource(f"the file cannot be read: {error.strerror}") from None

    def find(self, given: str) -> Path:
        """The file or folder that a client names: an absolute path, or one that starts from one of the folders.

        The error is the same whether something exists at the forbidden place or not.

        Raises:
            UnreadableSource: it leads outside, or no folder may be read.
        """
        if not self.folders:
            raise UnreadableSource(
                "this server reads no pictures from its machine: give the picture itself, or ask the operator to "
                "start it with --pictures DIR",
                code=FORBIDDEN,
            )
        starts = [Path()] if os.path.isabs(given) else self.folders  # noqa: PTH117  # a Path refuses some names
        resolved = [_resolved(start / given) for start in starts]
        inside = [path for path in resolved if path is not None and self._is_inside(path)]
        if not given or not inside:
            raise UnreadableSource(
                f"{given[:QUOTED_CHARS]!r} does not lie in a folder that this server may read: "
                f"{', '.join(map(str, self.folders))}",
                code=FORBIDDEN,
            )
        return next((path for path in inside if os.path.lexists(path)), inside[0])

    def check_tree(self, folder: Path) -> None:
        """Refuse a folder with a link that leads outside: whoever reads all of it would follow it.

        Raises:
            UnreadableSource
        """
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = Path(place, name)
                if path.is_symlink() and not ((real := _resolved(path)) and self._is_inside(real)):
                    raise UnreadableSource(
                        f"{path} is a link that leads out of the folders that this server may read", code=FORBIDDEN
                    )

    def _is_inside(self, resolved: Path) -> bool:
        return any(resolved.is_relative_to(folder) for folder in self.folders)

    def _place(self, path: Path) -> tuple[Path, tuple[str, ...]] | None:
        """The folder that a file lies below and the way from there, without links; None if there is none."""
        real = _resolved(path)
        if real is None or not os.path.lexists(real):
            return None
        for folder in self.folders:
            if real != folder and real.is_relative_to(folder):
                return folder, real.relative_to(folder).parts
        return None


def _resolved(path: Path) -> Path | None:
    """Without links and ``..``; None for a name that no file can have, and for links in a circle."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return None


def _resolved_folder(folder: Path) -> Path:
    real = _resolved(folder)
    if real is None or not os.path.isdir(real):  # noqa: PTH112  # False also for what cannot be accessed
        raise UsageError(f"pictures cannot be read from {str(folder)!r}: it is not a folder")
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
