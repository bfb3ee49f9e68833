"""What the HTML files have in common: one file each, with small copies of pictures inside, that asks for nothing else.

The pictures are read from where their owner keeps them, and go into the file that was asked for, nowhere else.
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
from imgsearch.vision.thumbnail import thumbnail

if TYPE_CHECKING:
    from pathlib import Path

    from imgsearch.types import PictureSource
    from imgsearch.vision.limits import Limits

__all__ = ["Thumbnails", "check_writable", "shown", "write"]

POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""No script, and no request whatever: a second lock beside the escaping of all text."""


def shown(value: object) -> str:
    """Text, as HTML: names are data, never markup."""
    return escape(safe(str(value)))


def check_writable(target: Path) -> None:
    """Refuse a file that cannot be written, before the work that it is to show.

    Raises:
        UsageError: its folder is not there, it is a folder itself, or its name is too long.
        StorageFull, StorageUnwritable
    """
    with file_errors(target.parent):
        try:
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            check_atomic_file(target)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP):
                raise UsageError(f"--html {str(target)!r} cannot be written: {error.strerror}") from None
            raise


def write(target: Path, title: str, style: str, body: str) -> None:
    """Write a page; the file appears whole. A new one is its owner's alone, one that is there keeps its mode.

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
    with file_errors(target.parent), atomic_file(target) as temporary:
        with open(temporary, "x", encoding="utf-8", errors="backslashreplace", opener=private_opener) as file:
            file.write(page)
        if target.exists():
            shutil.copymode(target, temporary)


class Thumbnails:
    """Small copies of pictures, as what HTML can show.

    Args:
        limits: that a picture has to meet.
        side: of a copy, at most, in pixels.
    """

    def __init__(self, limits: Limits, side: int) -> None:
        self._limits = limits
        self._side = side

    def address(self, picture: PictureSource) -> str:
        """A ``data:`` address that holds the picture.

        Raises:
            PictureError, UnreadableSource
        """
        data = base64.b64encode(thumbnail(picture, self._side, self._limits)).decode("ascii")
        return f"data:image/jpeg;base64,{data}"

    def image(self, picture: PictureSource | None, alternative: str) -> str:
        """An image, or why there is none.

        Args:
            picture: None: it is not kept where it could be read.
            alternative: what the image shows, for those who do not see it.
        """
        try:
            if picture is None:
                raise InputError("kept elsewhere")
            return f'<img alt="{shown(alternative)}" src="{self.address(picture)}">'
        except InputError as error:
            return shown(error.message)
