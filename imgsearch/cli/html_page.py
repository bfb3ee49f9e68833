"""HTML output: self-contained files with embedded thumbnails.

Pictures are read from their original locations and written only into the requested file.
"""

from __future__ import annotations

import base64
import errno
import shutil
from html import escape
from typing import TYPE_CHECKING, Final

from imgsearch.cli.output import safe
from imgsearch.durable_fs import atomic_file, check_atomic_file, file_errors, private_opener
from imgsearch.errors import InputError, UsageError
from imgsearch.vision.thumbnail import dimensions, thumbnail

if TYPE_CHECKING:
    from pathlib import Path

    from imgsearch.types import PictureSource
    from imgsearch.values import Region
    from imgsearch.vision.limits import Limits

__all__ = ["Thumbnails", "check_writable", "shown", "write"]

POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""No scripts and no requests: a second safeguard besides escaping all text."""


def shown(value: object) -> str:
    """Escape text for HTML; never interpreted as markup."""
    return escape(safe(str(value)))


def check_writable(target: Path) -> None:
    """Raise if a file cannot be written, before the work starts.

    Raises:
        UsageError: its folder does not exist, it is a folder itself, or its name is too long.
        StorageFull, StorageUnwritable
    """
    with file_errors(target.parent):
        try:
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            if target.exists() and not target.is_file():
                raise UsageError(f"--html {str(target)!r} cannot be written: it is not a regular file")
            check_atomic_file(target.resolve())
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP):
                raise UsageError(f"--html {str(target)!r} cannot be written: {error.strerror}") from None
            raise


def write(target: Path, title: str, style: str, body: str) -> None:
    """Write a page atomically. A new file is accessible only to its owner; an existing one keeps its mode.

    Args:
        target: the file.
        title: of the page, as text.
        style: CSS.
        body: HTML.

    Raises:
        StorageFull, StorageUnwritable
    """
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{shown(title)}</title><style>{style}</style></head><body>{body}</body></html>\n"
    )
    target = target.resolve()  # a link stays one
    with file_errors(target.parent), atomic_file(target) as temporary:
        with open(temporary, "x", encoding="utf-8", errors="backslashreplace", opener=private_opener) as file:
            file.write(page)
        if target.exists():
            shutil.copymode(target, temporary)


class Thumbnails:
    """Thumbnails of pictures, for HTML.

    Args:
        limits: for pictures.
        side: maximum width and height in pixels.
    """

    def __init__(self, limits: Limits, side: int) -> None:
        self._limits = limits
        self._side = side

    def address(self, picture: PictureSource) -> str:
        """A ``data:`` URL with the thumbnail.

        Raises:
            PictureError, UnreadableSource
        """
        data = base64.b64encode(thumbnail(picture, self._side, self._limits)).decode("ascii")
        return f"data:image/jpeg;base64,{data}"

    def image(self, picture: PictureSource | None, alternative: str) -> str:
        """An ``<img>`` element, or the reason why there is no image.

        Args:
            picture: None if it has no local file.
            alternative: alternative text.
        """
        try:
            if picture is None:
                raise InputError("no local file")
            return f'<img alt="{shown(alternative)}" src="{self.address(picture)}">'
        except InputError as error:
            return shown(error.message)

    def framed(self, picture: PictureSource | None, alternative: str, region: Region | None) -> str:
        """``image``, with a frame around a region of the upright picture, unless that is all of it."""
        image = self.image(picture, alternative)
        if picture is None or region is None or not image.startswith("<img"):
            return image
        width, height = dimensions(picture, self._limits)
        if region.bounds == (0, width, 0, height):
            return image
        place = {
            "left": region.x1 / width,
            "top": region.y1 / height,
            "width": (region.x2 - region.x1) / width,
            "height": (region.y2 - region.y1) / height,
        }
        style = ";".join(f"{name}:{min(value, 1):.2%}" for name, value in place.items())
        return f'<span class="frame">{image}<i style="{style}"></i></span>'
