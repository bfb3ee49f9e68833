"""Folders whose pictures an agent may have read; nothing outside of them is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imgsearch.errors import UnreadableSource, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PictureFolders"]

QUOTED_CHARS: Final = 200
FORBIDDEN: Final = "AccessDenied"


class PictureFolders:
    """What an operator allows to be read. Links and ``..`` are resolved first: where they lead is what counts.

    Args:
        folders: each must exist.

    Raises:
        UsageError: one is not a folder.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        given = list(folders)
        for folder in given:
            if not os.path.isdir(folder):  # noqa: PTH112  # False also for what cannot be accessed
                raise UsageError(f"{folder} is not a folder, so no pictures can be read from it")
        self.folders = [folder.resolve() for folder in given]

    def holds(self, path: Path) -> bool:
        """Whether a path leads to something in one of the folders, which need not exist."""
        resolved = _resolved(path)
        return resolved is not None and self._is_inside(resolved)

    def find(self, given: str) -> Path:
        """The file or folder that an agent names: an absolute path, or one that starts from one of the folders.

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
                if path.is_symlink() and not self.holds(path):
                    raise UnreadableSource(
                        f"{path} is a link that leads out of the folders that this server may read", code=FORBIDDEN
                    )

    def _is_inside(self, resolved: Path) -> bool:
        return any(resolved.is_relative_to(folder) for folder in self.folders)


def _resolved(path: Path) -> Path | None:
    """Without links and ``..``; None for a name that no file can have, and for links in a circle."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return None
