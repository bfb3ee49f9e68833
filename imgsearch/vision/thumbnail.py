"""Thumbnails and dimensions of pictures, computed in memory for whoever has the pictures."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgsearch.types import PictureSource
    from imgsearch.vision.limits import Limits
    from imgsearch.vision.picture import OpenPicture

__all__ = ["dimensions", "thumbnail"]


def thumbnail(picture: PictureSource, side: int, limits: Limits) -> bytes:
    """A JPEG of the whole upright picture, at most ``side`` pixels a side; nothing is stored.

    Raises:
        PictureError, UnreadableSource
    """
    return _opened(picture, limits).thumbnail(side)


def dimensions(picture: PictureSource, limits: Limits) -> tuple[int, int]:
    """Width and height of the upright picture in pixels, without decoding it.

    Raises:
        PictureError, UnreadableSource
    """
    opened = _opened(picture, limits)
    return opened.width, opened.height


def _opened(picture: PictureSource, limits: Limits) -> OpenPicture:
    from imgsearch.vision.picture import OpenPicture

    content = picture.read(limits.max_bytes)
    # The limit of bytes is for files; pixels in memory are in the form of one that is not compressed.
    return OpenPicture(content.data, replace(limits, max_bytes=sys.maxsize) if content.is_pixels else limits)
