"""Pictures that a program has decoded already: pixels in memory, as an array or as Pillow's image.

They travel as the bytes of a PPM file, so they have a content hash like any other picture: two are identical if size
and pixels are, whatever they were given as.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageOps

from imgsearch.errors import DamagedPicture, UnsupportedPicFormat
from imgsearch.vision.orientation import UprightPicture
from imgsearch.vision.picture import to_eight_bit, to_rgb

if TYPE_CHECKING:
    import numpy.typing as npt

    from imgsearch.values import Region
    from imgsearch.vision.limits import Limits

__all__ = ["PixelPicture", "ppm_of_array", "ppm_of_image"]

DEPTH: Final = b"\n255\n"
"""Ends the header of a PPM file with eight bits a channel."""


def ppm_of_array(array: npt.NDArray[Any]) -> bytes:
    """The bytes of a PPM file of an array's pixels; transparent parts lie on white.

    Args:
        array: uint8; grey levels of shape (height, width), RGB of shape (height, width, 3), or RGBA of shape
            (height, width, 4).

    Raises:
        UnsupportedPicFormat: another type or shape.
    """
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4) or array.size == 0:
        raise UnsupportedPicFormat(
            f"an array of {array.dtype} and shape {array.shape} is not a picture: give uint8 of shape (height, width), "
            "(height, width, 3) for RGB, or (height, width, 4) for RGBA"
        )
    if channels == 4:
        return ppm_of_image(Image.fromarray(np.ascontiguousarray(array), "RGBA"))
    if channels == 1:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return _ppm(array.shape[1], array.shape[0], array.tobytes())


def ppm_of_image(image: Image.Image) -> bytes:
    """The bytes of a PPM file of an image's pixels, upright by its EXIF orientation; transparent parts lie on white.

    Raises:
        DamagedPicture: it has not been loaded yet, and its pixels cannot be decoded.
    """
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            image = to_eight_bit(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return _ppm(*image.size, image.convert("RGB").tobytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise DamagedPicture(f"the image cannot be loaded ({error}): get a whole copy of it") from error


def _ppm(width: int, height: int, pixels: bytes) -> bytes:
    return b"P6\n%d %d%b%b" % (width, height, DEPTH, pixels)


class PixelPicture(UprightPicture):
    """A picture whose pixels are at hand: no decoder looks at it.

    Args:
        ppm: as the functions above give it.
        limits: of the instance; that of bytes is for files.

    Raises:
        UnsupportedPicPixels
    """

    def __init__(self, ppm: bytes, limits: Limits) -> None:
        end = ppm.index(DEPTH)
        width, height = map(int, ppm[3:end].split())
        limits.check_pixels(width, height)
        super().__init__(width, height)
        pixels = np.frombuffer(ppm, np.uint8, offset=end + len(DEPTH)).reshape(height, width, 3)
        self._image = Image.fromarray(pixels)

    def decode(self, region: Region, size: int) -> npt.NDArray[np.uint8]:
        """See ``UprightPicture``."""
        box = (region.x1, region.y1, region.x2, region.y2)
        return np.asarray(to_rgb(self._image, box, (size, size)), dtype=np.uint8)
