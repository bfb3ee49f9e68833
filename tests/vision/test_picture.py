"""Decoding (service.md, sections 3 and 4): any supported file to upright RGB, anything else to one clear error.

Contract: JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF and PPM are taken, whatever the file is called; EXIF rotation is applied
before anything else and a region refers to the upright picture; limits are checked before a pixel is decoded; hostile
bytes end in a ``PictureError`` and never in anything else.
"""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from imgsearch.errors import (
    DamagedPicture,
    EmptyPicture,
    InvalidRegion,
    PictureError,
    PictureTooLarge,
    UnsupportedPicFormat,
    UnsupportedPicPixels,
)
from imgsearch.values import PictureOptions, Region
from imgsearch.vision.limits import LIMIT_PROFILES, Limits
from imgsearch.vision.picture import TURNS, OpenPicture
from tests.pictures import TURNED_FORMATS, draw, encode, jpeg, turned

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The suite makes errors of warnings; Pillow warns of broken metadata, which users never see (test_says_nothing…).
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

ANY_SIZE = Limits(min_side=1)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
SIZE = 32
Colour = tuple[int, int, int]


def decode(data: bytes, size: int = SIZE, region: Region | None = None) -> np.ndarray:
    picture = OpenPicture(data, ANY_SIZE)
    decoded = picture.decode(picture.given_region(PictureOptions(region=region)), size)
    assert decoded.shape == (size, size, 3)
    assert decoded.dtype == np.uint8
    return decoded


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over all values."""
    return float(np.abs(one.astype(int) - np.asarray(other).astype(int)).mean())


def reference(image: Image.Image, size: int = SIZE, region: Region | None = None) -> np.ndarray:
    """What Pillow makes of the whole picture at full size."""
    upright = ImageOps.exif_transpose(image).convert("RGB")
    if region is not None:
        upright = upright.crop((region.x1, region.y1, region.x2, region.y2))
    return np.asarray(upright.resize((size, size), Image.Resampling.BICUBIC))


# Formats


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_gives_the_picture(image_format: str) -> None:
    image = draw(1)
    picture = OpenPicture(encode(image, image_format), ANY_SIZE)
    assert (picture.width, picture.height) == image.size
    assert difference(decode(encode(image, image_format)), reference(image)) < 4


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {"progressive": True, "quality": 95}),
        ("JPEG", {"subsampling": 0, "quality": 95}),
        ("JPEG", {"optimize": True, "restart_marker_blocks": 4, "quality": 95}),
        ("PNG", {"interlace": 1}),
        ("WEBP", {"lossless": True}),
        ("GIF", {"interlace": 0}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"compression": "jpeg", "quality": 95}),
        ("TIFF", {"big_tiff": True}),
    ],
    ids=str,
)
def test_variants_of_a_format(image_format: str, options: dict[str, object]) -> None:
    image = draw(2)
    assert difference(decode(encode(image, image_format, **options)), reference(image)) < 4


@pytest.mark.parametrize(
    "data",
    [
        b"P3\n# a comment\n2 2\n255\n255 0 0  0 255 0\n0 0 255  255 255 255\n",
        b"P6 2 2 255\n" + bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]),
        b"P6 2 2 65535\n"
        + struct.pack(">12H", *(value * 257 for value in (255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255))),
    ],
    ids=["plain", "raw", "16 bits"],
)
def test_ppm_dialects(data: bytes) -> None:
    assert decode(data, 2).tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]]


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "TIFF", "PNG", "MPO"])
def test_the_first_frame_counts(image_format: str) -> None:
    """Animations, pages, and the second lens of a camera."""
    first, *others = (draw(number) for number in (1, 2, 3))
    data = encode(first, image_format, save_all=True, append_images=others)
    with Image.open(io.BytesIO(data)) as check:
        assert check.n_frames == 3
    assert difference(decode(data), reference(first)) < 6
    assert difference(decode(data), reference(others[0])) > 20


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"just a note\n", id="text"),
        pytest.param(b"<!DOCTYPE html><html><body>404</body></html>", id="html"),
        pytest.param(b'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="200"/>', id="svg"),
        pytest.param(b"%PDF-1.7\n1 0 obj\n", id="pdf"),
        pytest.param(b"\0" * 4096, id="zeros"),
        pytest.param(b"x", id="one byte"),
        pytest.param(encode(draw(1), "ICO"), id="ico"),
        pytest.param(encode(draw(1), "JPEG2000"), id="jpeg 2000"),
        pytest.param(encode(draw(1), "TGA"), id="tga"),
        pytest.param(encode(draw(1), "PDF"), id="a whole pdf"),
        pytest.param(encode(draw(1), "EPS"), id="eps"),
    ],
)
def test_other_content_is_an_unsupported_format(data: bytes) -> None:
    """The message names the formats that work; nothing but the supported decoders ever sees the bytes."""
    with pytest.raises(
        UnsupportedPicFormat, match=r"not a JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF(, HEIC)? or PPM picture: "
    ):
        OpenPicture(data, ANY_SIZE)


def test_no_bytes_at_all() -> None:
    with pytest.raises(EmptyPicture, match="empty") as caught:
        OpenPicture(b"", ANY_SIZE)
    assert caught.value.code == "NoSpecifiedPicContent"


# Modes


def quarters(mode: str, values: list[object]) -> Image.Image:
    """Four flat quarters: top left, top right, bottom left, bottom right."""
    image = Image.new(mode, (64, 64))
    for (y, x), value in zip(product((0, 32), repeat=2), values, strict=True):
        image.paste(value, (x, y, x + 32, y + 32))
    return image


def palette(values: list[Colour]) -> Image.Image:
    image = quarters("P", [0, 1, 2, 3])
    image.putpalette([channel for value in values for channel in value])
    return image


def sixteen_bits(mode: str, levels: list[int]) -> Image.Image:
    array = np.zeros((64, 64), dtype={"I;16": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}[mode])
    for (y, x), level in zip(product((0, 32), repeat=2), levels, strict=True):
        array[y : y + 32, x : x + 32] = level
    return Image.frombytes(mode, (64, 64), array.tobytes())


BLACK, WHITE, RED, GREEN, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)
GREYS = [(level, level, level) for level in (0, 64, 128, 255)]
COLOURS = [RED, GREEN, BLUE, (200, 150, 100)]
TRANSLUCENT = [(255, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 128), (0, 0, 255, 0)]
ON_WHITE = [RED, WHITE, (127, 127, 127), WHITE]
LEVELS = [0, 64 * 257, 128 * 257, 65535]
BINARY = [0, 255, 255, 0]
ONE_BIT = [BLACK, WHITE, WHITE, BLACK]

MODES: list[tuple[Image.Image, str, dict[str, object], list[Colour]]] = [
    *((quarters("1", BINARY), name, {}, ONE_BIT) for name in ("PNG", "TIFF", "BMP", "PPM", "GIF")),
    *((quarters("L", [0, 64, 128, 255]), name, {}, GREYS) for name in FORMATS),
    (quarters("LA", [(0, 255), (0, 0), (0, 128), (255, 0)]), "PNG", {}, [BLACK, *ON_WHITE[1:]]),
    (quarters("LA", [(0, 255), (0, 0), (0, 128), (255, 0)]), "TIFF", {}, [BLACK, *ON_WHITE[1:]]),
    *((palette(COLOURS), name, {}, COLOURS) for name in ("PNG", "GIF", "BMP", "TIFF")),
    *((palette(COLOURS), name, {"transparency": 1}, [RED, WHITE, *COLOURS[2:]]) for name in ("PNG", "GIF")),
    (palette(COLOURS), "PNG", {"transparency": b"\xff\x00\x80\xff"}, [RED, WHITE, (127, 127, 255), COLOURS[3]]),
    *((quarters("RGB", COLOURS), name, {}, COLOURS) for name in ("PNG", "WEBP", "BMP", "TIFF", "PPM")),
    (quarters("RGB", COLOURS), "JPEG", {"quality": 98, "subsampling": 0}, COLOURS),
    (quarters("RGB", COLOURS), "JPEG", {"quality": 98, "keep_rgb": True}, COLOURS),
    (quarters("RGB", COLOURS), "PNG", {"transparency": GREEN}, [RED, WHITE, *COLOURS[2:]]),
    (quarters("L", [0, 64, 128, 255]), "PNG", {"transparency": 64}, [BLACK, WHITE, *GREYS[2:]]),
    *((quarters("RGBA", TRANSLUCENT), name, {}, ON_WHITE) for name in ("PNG", "TIFF")),
    (quarters("RGBA", TRANSLUCENT), "WEBP", {"lossless": True}, ON_WHITE),
    (quarters("RGB", COLOURS).convert("CMYK"), "JPEG", {"quality": 98}, COLOURS),
    (quarters("RGB", COLOURS).convert("CMYK"), "TIFF", {}, COLOURS),
    (quarters("RGB", COLOURS).convert("YCbCr"), "JPEG", {"quality": 98, "subsampling": 0}, COLOURS),
    (quarters("RGB", COLOURS).convert("YCbCr"), "TIFF", {}, COLOURS),
    (quarters("LAB", [(0, 128, 128), (255, 128, 128), (255, 128, 128), (0, 128, 128)]), "TIFF", {}, ONE_BIT),
    *((sixteen_bits("I;16", LEVELS), name, {}, GREYS) for name in ("PNG", "TIFF", "PPM")),
    (sixteen_bits("I;16B", LEVELS), "TIFF", {}, GREYS),
    *((sixteen_bits("I", LEVELS), name, {}, GREYS) for name in ("TIFF", "PPM")),
    (sixteen_bits("I", [0, 64 << 16, 128 << 16, 255 << 16]), "TIFF", {}, GREYS),
    (sixteen_bits("F", [0, 64 / 255, 128 / 255, 1]), "TIFF", {}, GREYS),
    (sixteen_bits("F", [0, 64, 128, 255]), "TIFF", {}, GREYS),
    (sixteen_bits("F", [0, 6400, 12800, 25500]), "TIFF", {}, GREYS),
    (sixteen_bits("F", [float("nan"), 0.25, 0.5, 1]), "TIFF", {}, GREYS),
    (sixteen_bits("F", [-5, 0.25, 0.5, 1]), "TIFF", {}, GREYS),
    (sixteen_bits("F", [float("-inf"), 0.25, 0.5, 1]), "TIFF", {}, GREYS),
]


@pytest.mark.parametrize(
    ("image", "image_format", "options", "expected"),
    [pytest.param(*row, id=f"{number}-{row[0].mode}-{row[1]}") for number, row in enumerate(MODES)],
)
def test_any_mode_becomes_the_colours_that_people_see(
    image: Image.Image, image_format: str, options: dict[str, object], expected: list[Colour]
) -> None:
    """Transparent parts are white; grey levels of 16 bits or more keep their order instead of being cut off."""
    pixels = decode(encode(image, image_format, **options), 16)
    corners = [pixels[y : y + 4, x : x + 4].reshape(-1, 3) for y, x in product((2, 10), repeat=2)]
    for corner, colour in zip(corners, expected, strict=True):
        assert np.abs(corner.astype(int) - colour).max() <= 4, f"{corner[0]} instead of {colour}"


def test_bmp_with_an_alpha_channel() -> None:
    """Pillow writes none, other programs do: a version 4 header with a mask for alpha."""
    rows = [[(0, 0, 255, 255), (9, 9, 9, 0)], [(0, 0, 0, 128), (255, 0, 0, 255)]]  # BGRA, the last row first
    pixels = bytes(value for row in reversed(rows) for pixel in row for value in pixel)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = (
        struct.pack("<IiiHHIIiiII", 108, 2, 2, 1, 32, 3, len(pixels), 2835, 2835, 0, 0) + masks + b"BGRs" + b"\0" * 48
    )
    data = b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels
    assert decode(data, 2).tolist() == [[[255, 0, 0], [255, 255, 255]], [[127, 127, 127], [0, 0, 255]]]


# Orientation and regions


@pytest.mark.parametrize("region", [None, Region(20, 170, 5, 160), Region(110, 299, 77, 200)], ids=str)
@pytest.mark.parametrize("image_format", TURNED_FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_comes_before_everything(orientation: int, image_format: str, region: Region | None) -> None:
    """Width, height, region and pixels are those of the upright picture."""
    upright = draw(7, (300, 200))
    data = turned(upright, orientation, image_format)
    picture = OpenPicture(data, ANY_SIZE)
    assert (picture.width, picture.height) == (300, 200)
    found = decode(data, 96, region)
    with Image.open(io.BytesIO(data)) as image:
        assert difference(found, reference(image, 96, region)) < 2.5
    assert difference(found, reference(upright, 96, region)) < 2.5
    for other in TURNS.values():  # the picture tells all turns apart, so nothing passes by chance
        assert difference(found, np.asarray(Image.fromarray(found).transpose(other))) > 10


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_is_exact_to_the_pixel(orientation: int, image_format: str) -> None:
    upright = Image.new("RGB", (61, 47), BLUE)
    block = Region(13, 40, 6, 21)
    upright.paste(RED, (block.x1, block.y1, block.x2, block.y2))
    data = turned(upright, orientation, image_format)
    assert (decode(data, 9, block) == RED).all()
    for wider in (Region(12, 40, 6, 21), Region(13, 41, 6, 21), Region(13, 40, 5, 21), Region(13, 40, 6, 22)):
        assert (decode(data, 60, wider) != RED).any()


@pytest.mark.parametrize(
    ("region", "pixel"),
    [(Region(0, 1, 0, 1), (0, 0)), (Region(59, 60, 39, 40), (59, 39)), (Region(17, 18, 30, 31), (17, 30))],
    ids=str,
)
def test_a_region_of_one_pixel(region: Region, pixel: tuple[int, int]) -> None:
    image = Image.new("RGB", (60, 40))
    for x, y in product(range(60), range(40)):
        image.putpixel((x, y), (4 * x, 6 * y, 99))
    assert (decode(encode(image, "PNG"), 5, region) == (4 * pixel[0], 6 * pixel[1], 99)).all()


def test_the_region_that_counts() -> None:
    """Crop and Region (service.md, section 4): a region counts unless Crop is false."""
    picture = OpenPicture(jpeg(1, (300, 200)), ANY_SIZE)
    region, whole = Region(10, 20, 30, 40), Region(0, 300, 0, 200)
    assert picture.given_region(PictureOptions(region=region)) == region
    assert picture.given_region(PictureOptions(region=whole)) == whole
    assert picture.given_region(PictureOptions(crop=False, region=region)) == whole
    assert picture.given_region(PictureOptions(crop=False, region=Region(0, 9999, 0, 9999))) == whole
    assert picture.given_region(PictureOptions(crop=False)) == whole


@pytest.mark.parametrize("region", [Region(0, 301, 0, 200), Region(0, 300, 0, 201), Region(300, 301, 0, 1)], ids=str)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_region_outside_the_upright_picture_is_refused(region: Region, orientation: int) -> None:
    picture = OpenPicture(turned(draw(1, (300, 200)), orientation, "JPEG"), ANY_SIZE)
    with pytest.raises(InvalidRegion, match=re.escape(f"{region} is outside the upright picture of 300 x 200")):
        picture.given_region(PictureOptions(region=region))


BROKEN_EXIF = {
    "garbage": b"Exif\0\0MM\0*\0\0\0\x08\0\x05garbage",
    "no header": b"Exif\0\0",
    "wrong byte order": b"Exif\0\0XX\0*\0\0\0\x08\0\0",
    "offset behind the end": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "circle": b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "orientation 9": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0",
    "orientation 0": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0",
    "orientation is text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0\0\0\0\0",
    "orientation is 1/0": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\x1a\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
def test_broken_exif_is_ignored(exif: bytes, image_format: str) -> None:
    image = draw(4)
    data = encode(image, image_format, exif=exif)
    assert (OpenPicture(data, ANY_SIZE).width, OpenPicture(data, ANY_SIZE).height) == image.size
    assert difference(decode(data), reference(image)) < 4
    assert OpenPicture(data, ANY_SIZE).thumbnail(50)


def test_says_nothing_about_broken_metadata() -> None:
    """stderr of the command line is for people: Pillow's warnings about its own source lines do not reach it."""
    script = """
import sys
from imgsearch import own_process
own_process.claim([])
from imgsearch.vision.picture import OpenPicture
from imgsearch.vision.limits import Limits
OpenPicture(sys.stdin.buffer.read(), Limits()).thumbnail(64)
"""
    for image_format in ("JPEG", "PNG", "WEBP"):
        data = encode(draw(4), image_format, exif=BROKEN_EXIF["garbage"])
        result = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True)
        assert result.stderr == b""


# Scaled decoding


@pytest.fixture
def decoded_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes at which picture files really were decoded; Pillow's own decoding goes on doing its work."""
    sizes: list[tuple[int, int]] = []
    load = ImageFile.ImageFile.load

    def watched(image: ImageFile.ImageFile) -> object:
        if image.tile:  # not decoded yet
            sizes.append(image.size)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", watched)
    return sizes


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_large_jpeg_is_decoded_small(decoded_sizes: list[tuple[int, int]], mode: str) -> None:
    """The decoder skips the detail that the network would not see, and the result stays what full decoding gives."""
    image = draw(5, (1600, 1200)).convert(mode)
    found = decode(encode(image, "JPEG", quality=95), 64)
    (size,) = decoded_sizes
    assert size[0] <= 800
    assert min(size) >= 64
    assert difference(found, reference(image, 64)) < 3


def test_a_small_region_of_a_large_jpeg_keeps_its_detail(decoded_sizes: list[tuple[int, int]]) -> None:
    image = draw(5, (1600, 1200))
    region = Region(700, 764, 500, 564)
    found = decode(encode(image, "JPEG", quality=95), 64, region)
    assert decoded_sizes == [(1600, 1200)]
    assert difference(found, reference(image, 64, region)) < 3


@pytest.mark.parametrize("orientation", [1, 5, 6, 8])
def test_a_region_of_a_jpeg_decoded_small(decoded_sizes: list[tuple[int, int]], orientation: int) -> None:
    """The region is scaled with the picture."""
    image = draw(6, (1603, 1201))  # no multiple of eight
    region = Region(401, 1600, 203, 1190)
    found = decode(turned(image, orientation, "JPEG"), 64, region)
    (size,) = decoded_sizes
    assert max(size) < 1603
    assert difference(found, reference(image, 64, region)) < 3


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_scaled_decoding_leaves_no_border(mode: str) -> None:
    """The edges of the whole picture and of a region hit the scaled picture's own, whatever the numbers."""
    for side in range(401, 440):
        data = encode(Image.new(mode, (side, side + 7), "white"), "JPEG")
        assert decode(data).min() > 250
        assert decode(data, SIZE, Region(1, side, 2, side + 7)).min() > 250
        assert Image.open(io.BytesIO(OpenPicture(data, ANY_SIZE).thumbnail(40))).getextrema() in (
            [(255, 255)] * 3,
            ((255, 255),) * 3,
        )


def test_one_picture_can_be_decoded_many_times() -> None:
    """A small view first does not spoil a detail afterwards."""
    data = jpeg(5, (1600, 1200))
    picture = OpenPicture(data, ANY_SIZE)
    whole, detail = Region(0, 1600, 0, 1200), Region(700, 764, 500, 564)
    for region in (whole, detail, whole, detail):
        assert np.array_equal(picture.decode(region, SIZE), decode(data, SIZE, region))
    assert picture.thumbnail(64) == OpenPicture(data, ANY_SIZE).thumbnail(64)


def test_cuts_at_one_scale_are_of_one_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds the subject and what makes the feature see one picture; a large one is not kept in memory."""
    decoded: list[tuple[int, int]] = []
    loaded = OpenPicture._loaded

    def counted(self: OpenPicture, wanted: tuple[int, int]) -> Image.Image:
        image = loaded(self, wanted)
        decoded.append(image.size)
        return image

    monkeypatch.setattr(OpenPicture, "_loaded", counted)

    def sizes(data: bytes, *sides: int) -> list[tuple[int, int]]:
        decoded.clear()
        picture = OpenPicture(data, ANY_SIZE)
        for side in sides:
            picture.decode(Region(0, side, 0, side), SIZE)
        return decoded

    assert sizes(jpeg(5, (1600, 1200)), 1200, 1100) == [(200, 150)]
    assert sizes(jpeg(5, (1600, 1200)), 1200, 400, 200) == [(200, 150), (400, 300), (800, 600)]
    assert sizes(encode(draw(5).resize((640, 480)), "PNG"), 480, 100, 480) == [(640, 480)]
    assert sizes(encode(draw(5).resize((2400, 1600)), "PNG"), 1600, 1600) == 2 * [(2400, 1600)]


def test_decoding_twice_gives_the_same_bits() -> None:
    for image_format in FORMATS:
        data = encode(draw(8), image_format)
        assert np.array_equal(decode(data), decode(data))


# Limits


def test_the_number_of_bytes_is_checked_first() -> None:
    data = jpeg(1)
    OpenPicture(data, Limits(max_bytes=len(data) + 1))
    for size in (len(data), 1):
        with pytest.raises(PictureTooLarge, match="--max-bytes") as caught:
            OpenPicture(data, Limits(max_bytes=size))
        assert caught.value.code == "InvalidPicContent"
    with pytest.raises(PictureTooLarge):
        OpenPicture(b"x" * 100, Limits(max_bytes=100))


@pytest.mark.parametrize(
    ("size", "limits", "message"),
    [
        ((100, 100), Limits(), None),
        ((99, 100), Limits(), r"99 x 100 pixels.*at least 100 a side.*--min-side"),
        ((100, 99), Limits(), r"100 x 99 pixels.*at least 100 a side.*--min-side"),
        ((4096, 100), LIMIT_PROFILES["service"], None),
        ((100, 4096), LIMIT_PROFILES["service"], None),
        ((4097, 100), LIMIT_PROFILES["service"], r"4097 x 100 pixels.*at most 4096 a side.*--max-side"),
        ((100, 4097), LIMIT_PROFILES["service"], r"100 x 4097 pixels.*at most 4096 a side.*--max-side"),
        ((4097, 100), Limits(), None),
        ((200, 100), Limits(max_pixels=20000), None),
        ((201, 100), Limits(max_pixels=20000), r"megapixels \(201 x 100\).*instance is 0\.02.*--max-megapixels"),
    ],
    ids=str,
)
@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_pixels_at_the_very_limit(
    size: tuple[int, int], limits: Limits, message: str | None, image_format: str
) -> None:
    data = encode(Image.new("L", size, 200), image_format)
    if message is None:
        OpenPicture(data, limits).thumbnail(10)
        return
    with pytest.raises(UnsupportedPicPixels, match=message) as caught:
        OpenPicture(data, limits)
    assert caught.value.code == "UnsupportedPicPixels"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def lying_png(side: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 10**6)) + chunk(b"IEND", b"")


def lying_tiff(side: int) -> bytes:
    """Uncompressed, its one strip far behind the end."""
    entries = [
        (256, side),
        (257, side),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 200),
        (277, 1),
        (278, side),
        (279, side * side),
    ]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + b"\0" * 500


def lying_jpeg(side: int) -> bytes:
    data = jpeg(1)
    frame = data.index(b"\xff\xc0")
    return data[: frame + 5] + struct.pack(">HH", side, side) + data[frame + 9 :]


def lying_gif(side: int) -> bytes:
    data = encode(draw(1), "GIF")
    sides = struct.pack("<HH", side, side)
    frame = data.index(b"," + struct.pack("<4H", 0, 0, 160, 120))
    return data[:6] + sides + data[10 : frame + 5] + sides + data[frame + 9 :]


def lying_bmp(side: int) -> bytes:
    data = encode(draw(1), "BMP")
    return data[:18] + struct.pack("<ii", side, side) + data[26:]


LIARS: dict[str, Callable[[int], bytes]] = {
    "PNG": lying_png,
    "TIFF": lying_tiff,
    "JPEG": lying_jpeg,
    "GIF": lying_gif,
    "BMP": lying_bmp,
    "PPM": lambda side: f"P6 {side} {side} 255\n".encode() + b"\0" * 1000,
}

TRY_ALL = """
import json, resource, sys, time
from pathlib import Path
from imgsearch import own_process
own_process.claim([])
from imgsearch.vision.limits import Limits
from imgsearch.vision.picture import OpenPicture
from imgsearch.errors import PictureError
from imgsearch.values import Region

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

max_pixels, spare_bytes = map(int, sys.argv[1:3])
if spare_bytes:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + spare_bytes, used + spare_bytes))
before, begun, outcomes = peak(), time.monotonic(), []
for name in sys.argv[3:]:
    data = Path(name).read_bytes()
    for use in (lambda it: it.decode(Region(0, it.width, 0, it.height), 64), lambda it: it.thumbnail(64)):
        try:
            use(OpenPicture(data, Limits(max_pixels=max_pixels)))
            outcomes.append("decoded")
        except PictureError as error:
            outcomes.append(type(error).__name__)
print(json.dumps({"outcomes": outcomes, "seconds": time.monotonic() - begun, "growth": peak() / before}))
"""


@pytest.fixture(scope="module")
def liars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("liars")
    for name, make in LIARS.items():
        (folder / name).write_bytes(make(60_000))
    return sorted(folder.iterdir())


def try_all(max_pixels: int, spare_bytes: int, paths: list[Path]) -> dict[str, Any]:
    """Decode files in a process of their own, which may take no more than so much further memory (0: any)."""
    words = [sys.executable, "-c", TRY_ALL, str(max_pixels), str(spare_bytes), *map(str, paths)]
    result: dict[str, Any] = json.loads(subprocess.run(words, capture_output=True, check=True, timeout=60).stdout)
    return result


def test_a_header_that_lies_about_its_size_is_refused_on_the_header_alone(liars: list[Path]) -> None:
    """60,000 pixels a side, which would be gigabytes."""
    result = try_all(Limits().max_pixels, 0, liars)
    assert result["outcomes"] == ["UnsupportedPicPixels"] * 2 * len(LIARS)
    assert result["seconds"] < 5
    assert result["growth"] < 2


@pytest.mark.extended
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process within RLIMIT_AS")
def test_a_picture_that_does_not_fit_into_memory_is_one_failure(liars: list[Path]) -> None:
    """Where the limit was raised too far; a JPEG decoder makes do with what is there and fills up with grey."""
    result = try_all(10**12, 512 * 1024 * 1024, liars)
    assert set(result["outcomes"]) <= {"MemoryExceeded", "DamagedPicture", "decoded"}
    assert result["outcomes"].count("MemoryExceeded") >= 8
    assert result["outcomes"].count("decoded") <= 2


# Damage


def damaged_samples() -> dict[str, bytes]:
    image = draw(9, (90, 70))

    def save(image_format: str, **options: object) -> bytes:
        return encode(image.copy(), image_format, **options)

    def save_all(image_format: str) -> bytes:
        return save(image_format, save_all=True, append_images=[draw(number, (90, 70)) for number in (10, 11)])

    return {name: save(name) for name in FORMATS} | {
        "progressive JPEG": save("JPEG", progressive=True),
        "grey JPEG": encode(image.convert("L"), "JPEG"),
        "CMYK JPEG": encode(image.convert("CMYK"), "JPEG"),
        "JPEG with EXIF": turned(image, 6, "JPEG"),
        "MPO": save_all("MPO"),
        "palette PNG": encode(image.quantize(16), "PNG", transparency=3),
        "16 bit PNG": encode(sixteen_bits("I;16", LEVELS), "PNG"),
        "animated PNG": save_all("PNG"),
        "animated GIF": save_all("GIF"),
        "animated WebP": save_all("WEBP"),
        "lossless WebP": save("WEBP", lossless=True),
        "WebP with alpha": encode(image.convert("RGBA"), "WEBP", exif=BROKEN_EXIF["orientation 9"]),
        "LZW TIFF": save("TIFF", compression="tiff_lzw"),
        "JPEG in TIFF": save("TIFF", compression="jpeg"),
        "TIFF of pages": save_all("TIFF"),
        "float TIFF": encode(sixteen_bits("F", LEVELS), "TIFF"),
        "palette BMP": encode(image.quantize(16), "BMP"),
        "PGM of 16 bits": encode(sixteen_bits("I", LEVELS), "PPM"),
        "PBM": encode(image.convert("1"), "PPM"),
    }


DAMAGED = damaged_samples()


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_cut_off_anywhere(name: str) -> None:
    """One of the picture's own errors, or, where only a trailer is gone, the same pixels; JPEGs may be used in part.

    What becomes of these is in test_cut_off.py.
    """
    data = DAMAGED[name]
    whole = decode(data)
    failed = 0
    cuts = {*range(1, len(data), max(1, len(data) // 60)), *range(max(1, len(data) - 12), len(data))}
    for cut in sorted(cuts):
        try:
            picture = OpenPicture(data[:cut], ANY_SIZE)
            found = picture.decode(picture.whole, SIZE)
        except (DamagedPicture, UnsupportedPicFormat, UnsupportedPicPixels):
            failed += 1
        else:
            assert picture.warning or np.array_equal(found, whole), f"cut at {cut} of {len(data)}"
            assert picture.warning is None or data.startswith(b"\xff\xd8")
    assert failed >= len(cuts) // 25


@pytest.mark.parametrize("cut", [0.5, 0.9], ids=str)
@pytest.mark.parametrize("image_format", [name for name in FORMATS if name != "JPEG"])
def test_a_cut_off_picture_says_so(image_format: str, cut: float) -> None:
    data = encode(draw(9), image_format)
    with pytest.raises(DamagedPicture, match=r"damaged or cut off|header cannot be read") as caught:
        decode(data[: int(len(data) * cut)])
    assert caught.value.code == "PictureError"
    assert "\n" not in caught.value.message


MAGICS = [b"", *(data[:length] for data in DAMAGED.values() for length in (4, 12, 40))]
SMALL = Limits(min_side=1, max_pixels=1_000_000)


def try_everything(data: bytes) -> None:
    """Whatever the bytes are, only a PictureError may come out."""
    try:
        picture = OpenPicture(data, SMALL)
        picture.decode(picture.given_region(PictureOptions()), 8)
        picture.decode(Region(0, 1, 0, 1), 8)
    except PictureError as error:
        message = error.message
    else:
        message = "fine"
    with suppress(PictureError):
        OpenPicture(data, SMALL).thumbnail(8)
    assert message
    assert "\n" not in message


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=300))
@example(b"", b"")
def test_random_bytes_only_ever_raise_picture_errors(magic: bytes, rest: bytes) -> None:
    try_everything(magic + rest)


@pytest.mark.extended
@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(DAMAGED)),
    st.lists(st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=8),
    st.booleans(),
)
def test_mutated_files_only_ever_raise_picture_errors(
    name: str, changes: list[tuple[int, bytes]], near_the_start: bool
) -> None:
    """Half of the time the changes are in the header, where they hurt most."""
    data = bytearray(DAMAGED[name])
    for position, value in changes:
        start = position % (min(len(data), 200) if near_the_start else len(data))
        data[start : start + len(value)] = value
    try_everything(bytes(data))


# Thumbnails


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((300, 200), 96, (96, 64)),
        ((200, 300), 96, (64, 96)),
        ((1600, 1200), 64, (64, 48)),
        ((50, 40), 96, (50, 40)),
        ((5000, 10), 100, (100, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_thumbnail_is_small_upright_and_in_proportion(
    size: tuple[int, int], side: int, expected: tuple[int, int], orientation: int
) -> None:
    image = draw(7, size)
    with Image.open(io.BytesIO(OpenPicture(turned(image, orientation, "JPEG"), ANY_SIZE).thumbnail(side))) as thumbnail:
        assert (thumbnail.format, thumbnail.mode, thumbnail.size) == ("JPEG", "RGB", expected)
        assert thumbnail.getexif().get(0x0112, 1) == 1
        if min(expected) > 1:  # a line of pixels depends on how it is averaged
            assert difference(np.asarray(thumbnail), np.asarray(image.resize(expected, Image.Resampling.BICUBIC))) < 12


def test_a_thumbnail_carries_no_metadata_along() -> None:
    """It goes into a page that may be passed on; where a photo was taken stays with the photo."""
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 0.0)}
    data = encode(draw(1), "JPEG", exif=exif, comment=b"private", icc_profile=b"profile " * 20)
    assert all(word in data for word in (b"Exif", b"private", b"profile"))
    thumbnail = OpenPicture(data, ANY_SIZE).thumbnail(64)
    assert not any(word in thumbnail for word in (b"Exif", b"private", b"profile"))


def test_a_thumbnail_of_a_picture_with_a_huge_comment() -> None:
    image = encode(draw(1), "GIF", comment=b"word " * 40_000)
    assert OpenPicture(image, ANY_SIZE).thumbnail(64)
