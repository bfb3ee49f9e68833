"""What tools work with: the instances in service, the folders that may be read, and what the operator allows."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import InstanceNotFound, InvalidValue, PictureTooLarge, UsageError
from imgsearch.service.categories import parse_category
from imgsearch.values import PictureOptions, Region

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from imgsearch.server.served import Instances, Permitted, Served
    from imgsearch.sources.picture_folders import PictureFolders
    from imgsearch.types import Item

__all__ = ["Answer", "Context", "given_picture", "picture_options"]

QUOTED_CHARS: Final = 80
BASE64: Final = ";base64"


def _go_on(_step: str, _done: int, _total: int) -> None:
    """Nobody wants to know how far it is, nor to stop it."""


@dataclass(frozen=True, slots=True)
class Context:
    """What tools work with; serves any number of calls at once."""

    instances: Instances | Permitted
    folders: PictureFolders
    may_write: bool = False
    """Whether items can be added, changed and deleted."""
    shows_pictures: bool = False
    """Whether answers have small pictures, of files in ``folders``."""
    lock_timeout: float = 30.0
    """Seconds that changes wait for another process that writes."""
    announce: Callable[[str], None] = field(default=lambda _message: None)
    """Called with a line about each slow step."""
    go_on: Callable[[str, int, int], None] = _go_on
    """Called with a step, what is done of it, and how much there is; raises where the call is cancelled."""

    def served(self, name: str | None) -> Served:
        """The instance of that name; None: the only one.

        Raises:
            InstanceNotFound: there is no such name, or none is given where there are several.
            InstanceDamaged, NewerFormat
        """
        names = self.instances.names()
        if name is None and len(names) == 1:
            return self.instances.get(names[0])
        if name is None or name not in names:
            what = "say which instance" if name is None else f"there is no instance {name[:QUOTED_CHARS]!r} here"
            raise InstanceNotFound(f"{what}; there are: {', '.join(names)}")
        return self.instances.get(name)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool answers."""

    document: dict[str, Any]
    items: tuple[Item, ...] = ()
    """Stored pictures in it, in its order, that can be shown."""


def given_picture(folders: PictureFolders, path: str | None, data: str | None, max_bytes: int) -> Path | bytes:
    """The picture of a call: a file that may be read, or bytes.

    Raises:
        UsageError: not exactly one of both.
        UnreadableSource, PictureTooLarge, InvalidValue
    """
    if (path is None) == (data is None):
        raise UsageError("give a picture: either its path, or its bytes as data")
    if path is not None:
        return folders.find(path)
    assert data is not None
    return _decoded(data, max_bytes)


def _decoded(data: str, max_bytes: int) -> bytes:
    """The bytes of base64 text or of a data: URL; checked for its length before anything is decoded."""
    head = ""
    if data[:5].lower() == "data:":
        head, comma, data = data.partition(",")
        if not comma or not head.lower().endswith(BASE64):
            raise InvalidValue(
                "the data: URL is not of the form data:image/jpeg;base64,…: encode the picture in base64",
                code="InvalidPicContent",
            )
    size = len(data) // 4 * 3
    if size > max_bytes + len(data) // 64 * 3:  # lines of 64 characters have a break each
        raise PictureTooLarge.of(size, max_bytes)
    try:
        decoded = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValue(
            "data is not base64: give the bytes of a picture file in base64, or a path", code="InvalidPicContent"
        ) from None
    if len(decoded) >= max_bytes:
        raise PictureTooLarge.of(len(decoded), max_bytes)
    return decoded


def picture_options(category: int | str | None, region: str | None, *, crop: bool) -> PictureOptions:
    """CategoryId, Crop and Region of a picture.

    Raises:
        UsageError: a region that would be ignored.
        InvalidCategory, InvalidRegion
    """
    if region is not None and not crop:
        raise UsageError("crop false uses the whole picture, so a region would be ignored: leave one of both out")
    parsed = None if region is None else Region.parse(region)
    return PictureOptions(None if category is None else parse_category(category), crop, parsed)
