"""What is taken as a picture, what is refused, and what becomes of pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgsearch import FilePicture, as_picture
from imgsearch.errors import (
    DamagedPicture,
    ImgsearchError,
    InvalidCategory,
    InvalidValue,
    PictureTooLarge,
    UnsupportedPicFormat,
    UsageError,
)
from imgsearch.pictures import addition, as_pictures
from imgsearch.types import Content
from imgsearch.values import Attributes, Key, Location, Region
from imgsearch.vision.limits import Limits
from imgsearch.vision.picture import OpenPicture
from imgsearch.vision.pixels import PixelPicture
from tests.pictures import draw, encode, jpeg, turned

SIZE = (160, 120)
LIMIT = 8 * 2**20


def content(value: Any) -> Content:
    return as_picture(value).read(LIMIT)


def test_paths_are_files(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(1))
    assert as_picture(path) == as_picture(str(path)) == FilePicture(path) == FilePicture(str(path))
    assert content(str(path)).data == jpeg(1)
    with pytest.raises(ImgsearchError, match="no such file"):
        content("a\0b.jpg")


def test_bytes_and_open_files_are_read_at_once(tmp_path: Path) -> None:
    """Whoever gives them may change or close them then."""
    data = bytearray(jpeg(1))
    pictures = [as_picture(data), as_picture(memoryview(data)), as_picture(bytes(data)), as_picture(io.BytesIO(data))]
    (tmp_path / "a.jpg").write_bytes(data)
    with (tmp_path / "a.jpg").open("rb") as file:
        pictures.append(as_picture(file))
    data[:] = bytes(len(data))
    assert {picture.read(LIMIT) for picture in pictures} == {Content(jpeg(1))}
    assert {picture.token() for picture in pictures} == {None}


def test_no_more_of_a_file_is_read_than_counts() -> None:
    """An upload without end costs as much as the limit."""
    file = io.BytesIO(bytes(10_000))
    picture = as_picture(file, 100)
    assert file.tell() == 100
    with pytest.raises(PictureTooLarge):
        picture.read(100)


def test_equal_pixels_are_identical_whatever_they_come_as() -> None:
    """Their bytes are those of a PPM file."""
    image = draw(1, SIZE)
    array = np.asarray(image)
    ppm = encode(image, "PPM")
    opaque = np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])
    for value in (image, array, array.copy(order="F"), opaque, image.convert("RGBA")):
        assert content(value) == Content(ppm, is_pixels=True)
    grey = np.asarray(image.convert("L"))
    assert content(grey) == content(grey[:, :, np.newaxis]) == content(image.convert("L"))


def test_transparent_parts_lie_on_white() -> None:
    array = np.zeros((120, 160, 4), np.uint8)
    assert content(array).data.endswith(b"\xff" * (120 * 160 * 3))
    assert content(Image.fromarray(array)) == content(array)


@pytest.mark.parametrize("mode", ["P", "CMYK", "1", "I;16", "F", "LA"])
def test_images_of_any_mode(mode: str) -> None:
    image = draw(1, SIZE).convert("L") if mode in ("I;16", "F") else draw(1, SIZE)
    assert len(content(image.convert(mode)).data) == len(encode(draw(1, SIZE), "PPM"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(orientation: int) -> None:
    image = Image.open(io.BytesIO(turned(draw(1, SIZE), orientation, "PNG")))
    assert content(image) == content(draw(1, SIZE))


def test_pixels_are_seen_as_the_same_file_is() -> None:
    """No decoder looks at them, and the result is the same to the bit; only the limit of bytes is not theirs."""
    data = content(draw(3, SIZE)).data
    pixels, file = PixelPicture(data, Limits(max_bytes=10)), OpenPicture(data, Limits())
    assert (pixels.width, pixels.height) == (file.width, file.height) == SIZE
    for region in (Region(0, 160, 0, 120), Region(30, 100, 5, 90)):
        for size in (32, 300):
            assert np.array_equal(pixels.decode(region, size), file.decode(region, size))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.zeros((120, 160, 3)), UnsupportedPicFormat),
        (np.zeros((120, 160, 2), np.uint8), UnsupportedPicFormat),
        (np.zeros((2, 120, 160, 3), np.uint8), UnsupportedPicFormat),
        (np.zeros((0, 160, 3), np.uint8), UnsupportedPicFormat),
        (None, InvalidValue),
        (5, InvalidValue),
        ([1, 2], InvalidValue),
        (io.StringIO("text"), InvalidValue),
        (Image.open(io.BytesIO(jpeg(1)[:1500])), DamagedPicture),
    ],
    ids=["floats", "two channels", "a batch", "empty", "None", "number", "list", "text file", "cut off"],
)
def test_what_is_no_picture_is_refused_at_once(value: Any, error: type[ImgsearchError]) -> None:
    with pytest.raises(error):
        as_picture(value)


@pytest.mark.parametrize(
    "value", ["a.jpg", Path("a.jpg"), jpeg(1), np.zeros((120, 160, 3), np.uint8), draw(1)], ids=type
)
def test_one_picture_is_not_several(value: Any) -> None:
    """Iterating over its letters, bytes or rows would do something else than what was meant."""
    with pytest.raises(UsageError, match=r"\[picture\]"):
        as_pictures(value, LIMIT)


def test_an_array_of_pictures_is_several() -> None:
    assert len(list(as_pictures(np.zeros((3, 120, 160, 3), np.uint8), LIMIT))) == 3


def test_an_addition_has_what_was_given(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    operation = addition(str(path), "p", category="Bag", attributes=Attributes(int_attr=3))
    assert (operation.key, operation.options.category_id) == (Key("p", "a.jpg"), 3)
    assert operation.location == Location(str(tmp_path.resolve()))
    assert addition(path, "p", "other").location == Location(str(tmp_path.resolve()), "a.jpg")
    assert addition(jpeg(1), "p", "b").location is None
    with pytest.raises(InvalidValue, match="pic_name"):
        addition(jpeg(1), "p")
    with pytest.raises(InvalidValue, match="ProductId None"):
        addition(path, None)  # type: ignore[arg-type]
    with pytest.raises(InvalidCategory):
        addition(path, "p", category=12)
