"""Small pictures of items, made in memory when they are asked for, and kept there for a while; never on disk."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

from imgsearch.errors import UnreadableSource

if TYPE_CHECKING:
    from imgsearch.instance import Instance
    from imgsearch.sources.picture_folders import PictureFolders
    from imgsearch.types import Item

__all__ = ["SIDES", "Thumbnail", "Thumbnails"]

SIDES: Final = {"small": 320, "large": 1200}
"""Pixels a side at most; few sizes, so that the same ones are asked for again."""
MAX_KEPT_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture, and what the page needs to draw regions into it."""

    jpeg: bytes
    width: int
    """Of the picture itself, upright."""
    height: int
    is_changed: bool
    """The file has changed since the item was added, so its region may show something else."""


class Thumbnails:
    """Makes thumbnails and keeps the latest; thread-safe.

    Args:
        folders: where pictures may come from.
        max_bytes: what all that are kept take.
    """

    def __init__(self, folders: PictureFolders, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._folders = folders
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[bytes, str, bytes], Thumbnail] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, instance: Instance, item: Item, size: str) -> Thumbnail:
        """A thumbnail of an item's picture as its file is now.

        Args:
            instance: of the item; its limits apply.
            item: with or without a file.
            size: one of ``SIDES``.

        Raises:
            UnreadableSource: there is no file, or it may not be shown.
            PictureError
        """
        from imgsearch.vision.pipeline import content_hash

        if item.location is None:
            raise UnreadableSource("the item has no local file", code="NotShown")
        # Always from the file, as that may have changed or gone; decoding it is what takes time.
        data = self._folders.read(item.location, instance.limits.max_bytes)
        digest = content_hash(data)
        key = (digest, size, item.content_hash)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = Thumbnail(
            instance.thumbnail(data, SIDES[size]), *instance.dimensions(data), is_changed=digest != item.content_hash
        )
        self._keep(key, made)
        return made

    def _keep(self, key: tuple[bytes, str, bytes], made: Thumbnail) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += len(made.jpeg)
            while self._bytes > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped.jpeg)

    @property
    def kept_bytes(self) -> int:
        """What all that are kept take."""
        return self._bytes
