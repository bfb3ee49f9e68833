"""Pictures in the Python API: accepted types, and the operation that adds one."""

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
"""A path, the bytes of a picture file, a binary file, a PIL image, or an array of pixels."""

READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MemoryPicture:
    """A picture in memory: the bytes of a file, or pixels in the form of a PPM file."""

    data: bytes
    is_pixels: bool = False

    def token(self) -> None:
        """None: only its bytes tell whether it is unchanged."""

    def read(self, max_bytes: int) -> Content:
        """Return the bytes; the limit applies to files only.

        Raises:
            PictureTooLarge
        """
        if not self.is_pixels and len(self.data) >= max_bytes:
            raise PictureTooLarge.of(len(self.data), max_bytes)
        return Content(self.data, is_pixels=self.is_pixels)


def as_picture(value: PictureLike, max_bytes: int = sys.maxsize) -> PictureSource:
    """Convert a value to a ``PictureSource``.

    Files given by path are read later, when the picture is processed; values in memory are copied and open files are
    read now, so the caller may then change or close them.

    Args:
        value: a path; the bytes of a picture file; a binary file, read from its current position; a PIL image; a
            uint8 array of shape (height, width) for grey levels, (height, width, 3) for RGB or
            (height, width, 4) for RGBA.
        max_bytes: maximum number of bytes read from an open file.

    Raises:
        InvalidValue: none of these types.
        UnsupportedPicFormat: an array with another type or shape.
        DamagedPicture: a lazily loaded image that cannot be loaded.
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
        f"{reprlib.repr(value)} is not a picture: pass a path, bytes, a binary file, a PIL image or a NumPy array",
        code="InvalidPicContent",
    )


def _is_source(value: object) -> TypeGuard[PictureSource]:
    return callable(getattr(value, "token", None)) and callable(getattr(value, "read", None))


def _is_image(value: object) -> TypeGuard[Image.Image]:
    return _is_instance(value, "PIL.Image", "Image")


def _is_array(value: object) -> TypeGuard[npt.NDArray[Any]]:
    return _is_instance(value, "numpy", "ndarray")


def _is_instance(value: object, module: str, name: str) -> bool:
    """Whether it is an instance of a class, without importing the class's module."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _read(file: Any, max_bytes: int) -> bytes:
    """Read the rest of an open file, up to ``max_bytes``; network streams may return less per read."""
    pieces: list[bytes] = []
    missing = max_bytes
    while missing > 0:
        piece = file.read(min(missing, READ_BYTES))
        if not isinstance(piece, bytes):
            raise InvalidValue(
                "the file does not return bytes: open it in binary mode ('rb')", code="InvalidPicContent"
            )
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def as_pictures(values: Iterable[PictureLike], max_bytes: int) -> Iterator[PictureSource]:
    """Convert several values, taken no further ahead than needed; refuses a single picture at once.

    Raises:
        UsageError: one picture instead of several.
    """
    is_single = isinstance(values, str | bytes | bytearray | memoryview | os.PathLike) or hasattr(values, "read")
    if is_single or _is_image(values) or (_is_array(values) and values.ndim != 4):
        raise UsageError("expected several pictures, not a single one: pass a list, such as [picture]")
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
    """The operation that adds a picture or replaces the one with the same key.

    Args:
        picture: see ``as_picture``.
        product_id: of its product.
        pic_name: by default the file name, if the picture is a path.
        category: number or name; None: predicted.
        crop: detect the subject, or use the region; False: use the whole picture.
        region: the part of the upright picture to use.
        attributes: for filters and results.
        max_bytes: as for ``as_picture``.

    Raises:
        InvalidValue, InvalidCategory, InvalidRegion, UnsupportedPicFormat, DamagedPicture, UnreadableSource
    """
    options = PictureOptions(None if category is None else parse_category(category), crop, region)
    attributes = Attributes() if attributes is None else attributes
    if isinstance(picture, str | os.PathLike):
        path = Path(picture)
        Key(
            product_id, path.name if pic_name is None else pic_name
        )  # otherwise a missing ProductId would be derived from the path
        request = FileRequest(product_id, pic_name, options=options, attributes=attributes)
        operation = file_operation(path, path.name, str(path.parent.resolve()), request)
        if isinstance(operation, Refused):
            raise operation.error
        return operation
    if pic_name is None:
        raise InvalidValue("a picture that is not a path needs a pic_name", code="NoSpecifiedPicName")
    key = Key(product_id, pic_name)
    return AddPicture(f"{product_id} {pic_name}", key, as_picture(picture, max_bytes), options, attributes)
