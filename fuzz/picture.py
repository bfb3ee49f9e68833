"""``OpenPicture``: bytes become pixels, a thumbnail and a region within them, or are refused as a picture."""

from __future__ import annotations

from fuzz.checks import check_error
from imgsearch.errors import PictureError
from imgsearch.values import PictureOptions, Region
from imgsearch.vision.limits import Limits
from imgsearch.vision.picture import OpenPicture

LIMITS = Limits(min_side=1, max_pixels=1_000_000)
SIDE = 16


def target(data: bytes) -> None:
    try:
        picture = OpenPicture(data, LIMITS)
        width, height = picture.width, picture.height
        assert 0 < width * height <= LIMITS.max_pixels
        assert picture.decode(picture.whole, SIDE).shape == (SIDE, SIDE, 3)
        corner = picture.given_region(PictureOptions(None, True, Region(width - 1, width, height - 1, height)))
        assert picture.given_region(PictureOptions()) == picture.whole
        assert len(picture.decode_bytes(corner, SIDE)) == 3 * SIDE * SIDE
        assert picture.thumbnail(SIDE)
    except PictureError as error:
        check_error(error)
