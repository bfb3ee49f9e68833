"""Small copies of pictures, made in memory for showing them to whoever has the pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgsearch.types import PictureSource
    from imgsearch.vision.limits import Limits

__all__ = ["thumbnail"]


def thumbnail(picture: PictureSource, side: int, limits: Limits) -> bytes:
    """A JPEG of the whole upright picture, at most ``side`` pixels a side; nothing is stored.

    Raises:
        PictureError, UnreadableSource
    """
    from imgsearch.vision.picture import OpenPicture

    return OpenPicture(picture.read(limits.max_bytes).data, limits).thumbnail(side)
