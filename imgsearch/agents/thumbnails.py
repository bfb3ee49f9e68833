"""Small pictures in answers, of stored pictures whose files may be read."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from mcp.types import ImageContent, TextContent

from imgsearch.agents.arguments import MAX_THUMBNAILS
from imgsearch.errors import InputError, InvalidPaging

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgsearch.instance import Instance
    from imgsearch.sources.picture_folders import PictureFolders
    from imgsearch.types import Item

__all__ = ["check_number", "thumbnails"]

SIDE: Final = 256


def check_number(number: int) -> None:
    """Refuse a number of small pictures that is too large for an answer.

    Raises:
        InvalidPaging
    """
    if not 0 <= number <= MAX_THUMBNAILS:
        raise InvalidPaging(
            f"thumbnails {number} is not between 0 and {MAX_THUMBNAILS}: page through more", code="InvalidNumParameter"
        )


def thumbnails(
    items: Iterable[Item], instance: Instance, folders: PictureFolders
) -> Iterator[TextContent | ImageContent]:
    """A line that names each picture, then the picture; or why it is not shown."""
    for number, item in enumerate(items, 1):
        name = f"{number}: {item.key.product_id} {item.key.pic_name}"
        shown = _thumbnail(item, instance, folders)
        if isinstance(shown, str):
            yield TextContent(type="text", text=f"{name}: not shown, {shown}")
            continue
        yield TextContent(type="text", text=name)
        yield ImageContent(type="image", data=base64.b64encode(shown).decode(), mime_type="image/jpeg")


def _thumbnail(item: Item, instance: Instance, folders: PictureFolders) -> bytes | str:
    """A JPEG in memory, or the reason why there is none."""
    if item.location is None:
        return "it was not added from a file"
    if not folders.has(item.location):
        return "its file is gone, or does not lie in a folder that this server may read"
    try:
        return instance.thumbnail(folders.read(item.location, instance.limits.max_bytes), SIDE)
    except InputError as error:
        return error.message
