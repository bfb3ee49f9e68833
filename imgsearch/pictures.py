"""What the Python API takes as a picture, and the operation that adds one."""

from __future__ import annotations

import os
import reprlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeGuard

from imgsearch.errors import InvalidValue, PictureTooLarge, UsageError
from imgsearch.service.categories import parse_category
from imgsearch.sources.files import FilePicture, FileRequest, file_operation
from imgsearch.types import AddPicture, Content, Refused
from imgsearch.values import Attributes, Key, PictureOptions, Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    from imgsearch.types import PictureSource

__all__ = ["MemoryPicture", "PictureLike", "addition", "as_picture", "as_pictures"]

PictureLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | npt.NDArray[np.uint8] "
    "| PictureSource"
)
"""A path, the bytes of a picture file, a binary file, an image of Pillow, or an array of pixels."""

READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MemoryPicture:
    """A picture in memory: the bytes of a file, or pixels in the form of a PPM file."""

    data: bytes
    is_pixels: bool = False

    def token(self) -> None:
        """None: whether it is unchanged is told by its bytes."""

    def read(self, max_bytes: int) -> Content:
        """The bytes; the limit is for those of files.

        Raises:
            PictureTooLarge
        """
        if not self.is_pixels and len(self.data) >= max_bytes:
            raise PictureTooLarge.of(len(self.data), max_bytes)
        return Content(self.data, is_pixels=self.is_pixels)


def as_picture(value: PictureLike, max_bytes: int = sys.maxsize) -> PictureSource:
    """Something that can be read as a picture.

    Files are read later, when the picture's turn comes; what is in memory is copied now, and an open file is read now,
    so the caller may change or close it.

    Args:
        value: a path; the bytes of a picture file; a binary file, which is read from where it stands; an image of
            Pillow; an array of uint8, of shape (height, width) for grey levels, (height, width, 3) for RGB or
            (height, width, 4) for RGBA.
        max_bytes: no more than so many are read from an open file.

    Raises:
        InvalidValue: nothing of these.
        UnsupportedPicFormat: an array of another type or shape.
        DamagedPicture: an image that has not been loaded yet, and cannot be.
    """
    if isinstance(value, str | os.PathLike):
        return FilePicture(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return MemoryPicture(bytes(value))
    if _is_source(value):
        return value
    if _is_image(value):
        from imgsearch.vision.pixels import ppm_of_image

        return MemoryPicture(ppm_of_image(value), is_pixels=True)
    if _is_array(value):
        from imgsearch.vision.pixels import ppm_of_array

        return MemoryPicture(ppm_of_array(value), is_pixels=True)
    if callable(getattr(value, "read", None)):
        return MemoryPicture(_read(value, max_bytes))
    raise InvalidValue(
        f"{reprlib.repr(value)} is not a picture: give a path, bytes, a binary file, a PIL image or a NumPy array",
        code="InvalidPicContent",
    )


def _is_source(value: object) -> TypeGuard[PictureSource]:
    return callable(getattr(value, "token", None)) and callable(getattr(value, "read", None))


def _is_image(value: object) -> TypeGuard[Image.Image]:
    return _is_instance(value, "PIL.Image", "Image")


def _is_array(value: object) -> TypeGuard[npt.NDArray[Any]]:
    return _is_instance(value, "numpy", "ndarray")


def _is_instance(value: object, module: str, name: str) -> bool:
    """Whether it is of a class whose module nobody has to import for that."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _read(file: Any, max_bytes: int) -> bytes:
    """What an open file still holds, up to ``max_bytes``; what reads from a network may come in pieces."""
    pieces: list[bytes] = []
    missing = max_bytes
    while missing > 0:
        piece = file.read(min(missing, READ_BYTES))
        if not isinstance(piece, bytes):
            raise InvalidValue("the file gives no bytes: open it in binary mode ('rb')", code="InvalidPicContent")
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def as_pictures(values: Iterable[PictureLike], max_bytes: int) -> Iterator[PictureSource]:
    """Several of them, taken no further ahead than needed; a single picture is refused at once.

    Raises:
        UsageError: one picture instead of several.
    """
    is_single = isinstance(values, str | bytes | bytearray | memoryview | os.PathLike) or hasattr(values, "read")
    if is_single or _is_image(values) or (_is_array(values) and values.ndim != 4):
        raise UsageError("several pictures are wanted, and this is a single one: give a list, such as [picture]")
    return (as_picture(value, max_bytes) for value in values)


def addition(
    picture: PictureLike,
    product_id: str,
    pic_name: str | None = None,
    *,
    category: int | str | None = None,
    crop: bool = True,
    region: Region | None = None,
    attributes: Attributes | None = None,
    max_bytes: int = sys.maxsize,
) -> AddPicture:
    """The operation that adds a picture, or replaces the one of the same name.

    Args:
        picture: see ``as_picture``.
        product_id: of its product.
        pic_name: by default the file's name, where the picture is a path.
        category: its number or its name; None: predicted.
        crop: find the subject, or take the region; False: the whole picture counts.
        region: the part of the upright picture that counts.
        attributes: what filters and results can use.
        max_bytes: as for ``as_picture``.

    Raises:
        InvalidValue, InvalidCategory, InvalidRegion, UnsupportedPicFormat, DamagedPicture, UnreadableSource
    """
    options = PictureOptions(None if category is None else parse_category(category), crop, region)
    attributes = Attributes() if attributes is None else attributes
    if isinstance(picture, str | os.PathLike):
        path = Path(picture)
        Key(product_id, path.name if pic_name is None else pic_name)  # else a missing ProductId would be made up
        request = FileRequest(product_id, pic_name, options=options, attributes=attributes)
        operation = file_operation(path, path.name, str(path.parent.resolve()), request)
        if isinstance(operation, Refused):
            raise operation.error
        return operation
    if pic_name is None:
        raise InvalidValue("a picture that is not a path needs a pic_name", code="NoSpecifiedPicName")
    key = Key(product_id, pic_name)
    return AddPicture(f"{product_id} {pic_name}", key, as_picture(picture, max_bytes), options, attributes)
