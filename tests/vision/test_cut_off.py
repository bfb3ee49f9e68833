"""JPEGs that lack their end: used with a warning where at least half of the rows are there, else refused.

Contract: what is there is decoded as in the whole file, and grey takes the place of the rest; the first decoding tells,
later ones give the same; nothing of Pillow is changed for it.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import ImageFile

from imgsearch.errors import DamagedPicture
from imgsearch.values import Region
from imgsearch.vision.limits import Limits
from imgsearch.vision.picture import OpenPicture
from tests.hostile import wholes
from tests.pictures import draw, encode

ANY_SIZE = Limits(min_side=1)
SIZE = 48
JPEGS = {name: data for name, data in wholes().items() if name.endswith(".jpg") and name != "two lenses.jpg"}


def decoded(data: bytes) -> tuple[np.ndarray, str | None]:
    picture = OpenPicture(data, ANY_SIZE)
    assert picture.warning is None
    return picture.decode(picture.whole, SIZE), picture.warning


@pytest.mark.parametrize("data", JPEGS.values(), ids=JPEGS)
def test_the_last_bytes_may_be_missing(data: bytes) -> None:
    whole, nothing = decoded(data)
    assert nothing is None
    for missing in (1, 2, 3, 10):
        pixels, warning = decoded(data[:-missing])
        assert warning is not None
        assert warning.startswith("the file is cut off, the end of its data is missing")
        assert np.abs(pixels.astype(int) - whole).mean() < 2


@pytest.mark.parametrize("name", ["baseline.jpg", "restarts.jpg", "grey.jpg", "cmyk.jpg"])
def test_missing_rows_are_grey_and_told(name: str) -> None:
    data = JPEGS[name]
    whole, _ = decoded(data)
    pixels, warning = decoded(data[: len(data) * 3 // 4])
    assert warning is not None
    assert "% of the picture is missing" in warning
    assert np.array_equal(pixels[: SIZE // 3], whole[: SIZE // 3])
    assert np.ptp(pixels[-3:].astype(int)) <= 2


def test_a_picture_of_which_most_is_missing_is_refused() -> None:
    """The limit is at half of the rows, whatever the share of the bytes."""
    data = encode(draw(1, (160, 160)), quality=95, restart_marker_rows=1)
    rows = [place for place in range(len(data) - 1) if data[place] == 0xFF and 0xD0 <= data[place + 1] <= 0xD7]
    assert len(rows) == 9, "ten rows of 16 pixels"
    for number, place in enumerate(rows, 1):
        if number >= 5:
            told = decoded(data[:place])[1] or ""
        else:
            with pytest.raises(DamagedPicture, match="get a whole copy") as caught:
                decoded(data[:place])
            told = caught.value.message
        found = re.search(r"(\d+)% of the picture is missing", told)
        assert found is None or 90 - 10 * number <= int(found[1]) <= 100 - 10 * number, (
            "one row may be grey in part only"
        )
        assert found is not None or number == len(rows)
    for nothing in (data[: data.index(b"\xff\xda")], data[: data.index(b"\xff\xda") + 14], data[:50]):
        with pytest.raises(DamagedPicture):
            decoded(nothing)


@pytest.mark.extended
def test_a_progressive_picture_is_used_as_far_as_it_came() -> None:
    """Its first scan has all rows; a cut between two scans, within their tables, is no exception."""
    data = JPEGS["progressive.jpg"]
    whole, _ = decoded(data)
    for cut in range(len(data) // 2, len(data) - 2, 7):
        pixels, warning = decoded(data[:cut])
        assert warning is not None
        assert np.abs(pixels.astype(int) - whole).mean() < 10


def test_decoding_again_gives_the_same() -> None:
    """At other sizes, too, once it is known that the end is missing."""
    picture = OpenPicture(JPEGS["baseline.jpg"][:-700], ANY_SIZE)
    region = Region(20, 120, 10, 90)
    first = picture.decode(picture.whole, SIZE), picture.decode(region, SIZE)
    again = OpenPicture(JPEGS["baseline.jpg"][:-700], ANY_SIZE)
    assert np.array_equal(again.decode(region, SIZE), first[1])
    assert np.array_equal(again.decode(again.whole, SIZE), first[0])
    assert again.warning == picture.warning
    assert again.thumbnail(40)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.extended
@pytest.mark.parametrize(
    "name", ["rgb.png", "lossy.webp", "lossless.webp", "plain.gif", "raw.tif", "rgb.bmp", "rgb.ppm"]
)
def test_other_formats_are_refused_when_cut_off(name: str) -> None:
    data = wholes()[name]
    with pytest.raises(DamagedPicture, match="get a whole copy"):
        decoded(data[: len(data) * 9 // 10])


def test_a_grey_picture_that_is_whole_is_not_taken_for_a_cut_off_one() -> None:
    grey = encode(draw(1).convert("L").point(lambda _level: 128), quality=95)
    assert decoded(grey)[1] is None
