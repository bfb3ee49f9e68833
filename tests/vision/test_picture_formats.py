"""AVIF and HEIC: taken like any other format, with orientation, transparency and 10 bits, under the same limits.

HEIC needs an extra, which the refusal names where it is missing.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from imgsearch.errors import DamagedPicture, UnsupportedPicFormat, UnsupportedPicPixels
from imgsearch.sources.files import PICTURE_SUFFIXES
from imgsearch.vision import picture_formats
from imgsearch.vision.decoder_pool import Decoders
from imgsearch.vision.limits import Limits
from imgsearch.vision.picture import OpenPicture
from tests.heic import HEICS, QUARTERS
from tests.pictures import AS_STORED, draw, encode

SIZE = 32
ANY_SIZE = Limits(min_side=1)


def decode(data: bytes) -> np.ndarray:
    picture = OpenPicture(data, ANY_SIZE)
    return picture.decode(picture.whole, SIZE)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize("name", HEICS)
def test_heic(name: str) -> None:
    picture = OpenPicture(HEICS[name], ANY_SIZE)
    assert (picture.width, picture.height) == (128, 96)
    pixels = picture.decode(picture.whole, SIZE)
    expected = ((255, 255, 255), *QUARTERS[1:]) if name == "alpha" else QUARTERS
    for (y, x), colour in zip(((8, 8), (8, 24), (24, 8), (24, 24)), expected, strict=True):
        assert np.abs(pixels[y, x].astype(int) - colour).max() <= 4
    assert picture.thumbnail(50)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_upright(orientation: int) -> None:
    upright = draw(7, (90, 60))
    stored = upright.transpose(AS_STORED[orientation]) if orientation in AS_STORED else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, "AVIF", quality=95, exif=exif)
    picture = OpenPicture(data, ANY_SIZE)
    assert (picture.width, picture.height) == (90, 60)
    assert difference(picture.decode(picture.whole, SIZE), decode(encode(upright, "PNG"))) < 4


def test_transparent_parts_of_avif_lie_on_white() -> None:
    image = Image.new("RGBA", (64, 64), (10, 20, 30, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    pixels = decode(encode(image, "AVIF", quality=95))
    assert np.abs(pixels[:, 4].astype(int) - 255).max() <= 3
    assert np.abs(pixels[:, 28].astype(int) - (10, 20, 30)).max() <= 3


def test_the_first_frame_of_avif_counts() -> None:
    data = encode(draw(1), "AVIF", quality=95, save_all=True, append_images=[draw(2)])
    assert difference(decode(data), decode(encode(draw(1), "PNG"))) < 6


@pytest.mark.parametrize("data", [encode(draw(1), "AVIF"), HEICS["plain"]], ids=["avif", "heic"])
def test_the_same_in_a_process_of_their_own(data: bytes) -> None:
    """Under limits of memory and processor time; and the instance's own limits count before pixels are decoded."""
    decoders = Decoders(ANY_SIZE)
    try:
        picture = decoders.open(data)
        assert np.array_equal(picture.decode(picture.whole, SIZE), decode(data))
        for limits in (Limits(min_side=1, max_pixels=100), Limits(min_side=1, max_side=90), Limits(min_side=2000)):
            with pytest.raises(UnsupportedPicPixels):
                OpenPicture(data, limits)
        broken = decoders.open(data[:-60])
        with pytest.raises(DamagedPicture, match="get a whole copy"):
            broken.decode(broken.whole, SIZE)
    finally:
        decoders.close()


def test_heic_without_its_decoder_is_refused_with_the_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_formats, "HEIF_PACKAGE", "no_such_package")
    with pytest.raises(UnsupportedPicFormat, match=r"a HEIC picture, .*: pip install 'imgsearch-local\[heif\]' brings"):
        OpenPicture(HEICS["plain"], ANY_SIZE)


def test_nothing_of_pillow_is_changed() -> None:
    """Neither of its openers nor its numbers of threads, in a program that uses the library."""
    script = """
import sys
from PIL import AvifImagePlugin, Image
Image.init()
before = sorted(Image.OPEN), AvifImagePlugin.DEFAULT_MAX_THREADS
from imgsearch.vision.limits import Limits
from imgsearch.vision.picture import OpenPicture
from tests.heic import HEICS
from tests.pictures import draw, encode
for data in (HEICS["plain"], encode(draw(1), "AVIF")):
    OpenPicture(data, Limits(min_side=1)).thumbnail(20)
assert before == (sorted(Image.OPEN), AvifImagePlugin.DEFAULT_MAX_THREADS)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_folders_have_them_too() -> None:
    assert {".avif", ".heic", ".heif", ".hif"} <= PICTURE_SUFFIXES
