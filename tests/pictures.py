"""Real pictures for tests, drawn on the spot: the same number always gives the same picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

TURNED_FORMATS = {"JPEG": {"quality": 95, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}
"""Formats that carry an EXIF orientation, and how Pillow writes them with next to no loss."""
AS_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation to the turn from the upright picture to the stored pixels."""


def draw(number: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A colourful RGB picture of shapes, unlike that of any other number."""
    generator = np.random.default_rng(number)
    width, height = size
    image = Image.new("RGB", size, tuple(int(value) for value in generator.integers(90, 256, 3)))
    canvas = ImageDraw.Draw(image)
    for _ in range(8):
        x, y = int(generator.integers(0, width)), int(generator.integers(0, height))
        w, h = (int(value) for value in generator.integers(10, max(width, height) // 2, 2))
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        shape = canvas.ellipse if generator.integers(0, 2) else canvas.rectangle
        shape((x, y, x + w, y + h), fill=colour)
    return image


def encode(image: Image.Image, image_format: str = "JPEG", **options: object) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def jpeg(number: int, size: tuple[int, int] = (160, 120)) -> bytes:
    """A JPEG file of ``draw(number)``."""
    return encode(draw(number, size), quality=90)


def turned(upright: Image.Image, orientation: int, image_format: str) -> bytes:
    """A file whose stored pixels lie as a camera held that way stores them, with the EXIF flag that says so."""
    stored = upright.transpose(AS_STORED[orientation]) if orientation in AS_STORED else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(stored, image_format, exif=exif, **TURNED_FORMATS[image_format])


def write_catalogue(folder: Path, count: int, *, first: int = 0, size: tuple[int, int] = (160, 120)) -> list[Path]:
    """``count`` JPEG files ``0000.jpg``, ``0001.jpg``, … in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(first, first + count):
        path = folder / f"{number:04}.jpg"
        path.write_bytes(jpeg(number, size))
        paths.append(path)
    return paths
