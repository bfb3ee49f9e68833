"""The privacy scan: pictures that can be recognised wherever they turn up, and the search for what is left of them.

Looked for in each file are

- 16 bytes in a row of a picture's file, of its decoded pixels (in several orders and number formats) and of either in
  base64: of every 24 bytes that leaked, some are found;
- the same of the picture resized to common sizes, as networks and thumbnails have them: of every 80 bytes;
- texts of its metadata, in UTF-8 and UTF-16;
- any picture at all that Pillow can open, at any place of the file, also in base64.

What is encrypted, compressed by other means, or pixels resized in a way of its own is not found.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import ExifTags, Image, ImageOps

from imgsearch.vision.limits import LIMIT_PROFILES
from imgsearch.vision.picture import OpenPicture
from imgsearch.vision.picture_formats import SUPPORTED_FORMATS
from tests.pictures import draw, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy.typing as npt

OPENED_FORMATS: Final = tuple(name for name in SUPPORTED_FORMATS if name != "MPO")
"""Pillow opens an MPO as a JPEG."""
RUN_BYTES: Final = 16
LEAST_VALUES: Final = 6
"""Different bytes in a run that counts: headers, padding and flat areas have fewer."""
EVERY: Final = 8
EVERY_OF_RESIZED: Final = 64
SIDES: Final = (16, 32, 64, 96, 128, 160, 224, 256, 260, 320)
NETWORK_SIDES: Final = (224, 240, 256, 260)
TABLE_BITS: Final = 24

MAGIC: Final = re.compile(
    rb"\xff\xd8\xff[\xc0-\xfe]|\x89PNG\r\n\x1a\n|RIFF.{4}WEBP|GIF8[79]a|II\*\x00|MM\x00\*|BM.{4}\x00{4}.{3}\x00"
    rb"|P[1-7]\s\d+\s\d+\s",
    re.DOTALL,
)
MAGIC_IN_BASE64: Final = re.compile(rb"(?:/9j/|iVBORw0KGgo|UklGR|R0lGOD|SUkqA|TU0AK)[A-Za-z0-9+/]{60,}")


class LeakScanner:
    """Finds what is left of pictures in files.

    Args:
        pictures: files, as bytes; of those that cannot be decoded, the bytes count.
        texts: of their metadata.
        decoded: look for their pixels as well, which takes some 0.4 s a picture to prepare.
    """

    def __init__(self, pictures: Iterable[bytes], texts: Iterable[str] = (), *, decoded: bool = True) -> None:
        forms = (form for one in pictures for form in (_forms(one) if decoded else [(one, EVERY)]))
        keys = [_keys(np.frombuffer(data, np.uint8), every) for data, every in forms]
        self._texts = {text.encode(coding): text for text in texts for coding in ("utf-8", "utf-16-le", "utf-16-be")}
        self._look_for(np.concatenate(keys))

    def _look_for(self, keys: npt.NDArray[np.uint64]) -> None:
        self._keys = np.unique(keys)
        self._table = np.zeros(2**TABLE_BITS, np.bool_)
        self._table[self._keys >> np.uint64(64 - TABLE_BITS)] = True

    def joined(self, other: LeakScanner) -> LeakScanner:
        """One that looks for what either looks for."""
        both = LeakScanner.__new__(LeakScanner)
        both._texts = self._texts | other._texts
        both._look_for(np.concatenate([self._keys, other._keys]))
        return both

    def found(self, places: Iterable[Path], since: float = 0.0) -> list[str]:
        """Files that hold something of the pictures, each with what that is.

        Args:
            places: folders, with all that is below, and files.
            since: files that were last changed before are passed over, seconds since the epoch.
        """
        paths = (path for place in places for path in ([place] if place.is_file() else place.rglob("*")))
        return sorted(
            f"{path}: {what}"
            for path in paths
            if path.is_file() and path.stat().st_mtime >= since
            for what in self.in_bytes(path.read_bytes())
        )

    def found_held(self, pid: int) -> list[str]:
        """The same for files that a process holds open though nobody else can name them: deleted ones, and memory."""
        leaks = []
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
                data = descriptor.read_bytes() if target.endswith(" (deleted)") and descriptor.is_file() else b""
            except FileNotFoundError:  # closed since
                continue
            leaks += [f"{target}: {what}" for what in self.in_bytes(data)]
        return leaks

    def in_bytes(self, data: bytes) -> list[str]:
        """What of the pictures some bytes hold."""
        found = [f"text {text!r}" for run, text in self._texts.items() if run in data]
        if self._holds_a_run(np.frombuffer(data, np.uint8)):
            found.append("bytes of a picture")
        found += [f"a picture in format {name}" for name in sorted(set(_pictures_in(data)))]
        return found

    def _holds_a_run(self, data: npt.NDArray[np.uint8]) -> bool:
        for shift in range(8):
            words = np.frombuffer(data[shift : len(data) - (len(data) - shift) % 8].tobytes(), "<u8")
            mixed = _mixed(words[:-1], words[1:])
            likely = mixed[self._table[mixed >> np.uint64(64 - TABLE_BITS)]]
            places = np.searchsorted(self._keys, likely)
            if len(likely) and (self._keys[np.minimum(places, len(self._keys) - 1)] == likely).any():
                return True
        return False


def _mixed(first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One number for two, different for different ones (but for a chance of 1 in 2**64)."""
    return (first * np.uint64(0x9E3779B97F4A7C15)) ^ (second * np.uint64(0xC2B2AE3D27D4EB4F) + (first >> np.uint64(29)))


def _keys(data: npt.NDArray[np.uint8], every: int) -> npt.NDArray[np.uint64]:
    """A number for each run that begins at a multiple of ``every`` and has enough different values."""
    if len(data) < RUN_BYTES:
        return np.zeros(0, np.uint64)
    runs = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(data, RUN_BYTES)[::every])
    values = 1 + (np.diff(np.sort(runs, axis=1), axis=1) != 0).sum(axis=1)
    words = runs[values >= LEAST_VALUES].view("<u8")
    return _mixed(words[:, 0], words[:, 1])


def _forms(data: bytes) -> Iterator[tuple[bytes, int]]:
    """What could be written of a picture, with the distance of the runs that are looked for."""
    yield from ((form, EVERY) for form in (data, *(base64.b64encode(data[start:]) for start in range(3))))
    try:
        image = Image.open(io.BytesIO(data))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    except Exception:  # a cut one
        return
    for form in _pixel_forms(np.asarray(upright)):
        yield form, EVERY
    thumbnail = _thumbnail(image)
    if thumbnail:
        yield Image.open(io.BytesIO(thumbnail)).convert("RGB").tobytes(), EVERY
    for side in SIDES:
        fitted = ImageOps.contain(upright, (side, side), Image.Resampling.BICUBIC)
        squashed = [upright.resize((side, side), how) for how in (Image.Resampling.BOX, Image.Resampling.BICUBIC)]
        yield from ((form, EVERY_OF_RESIZED) for one in (fitted, *squashed) for form in _small_forms(np.asarray(one)))
    opened = OpenPicture(data, replace(LIMIT_PROFILES["local"], min_side=1))
    for side in NETWORK_SIDES:
        pixels = opened.decode(opened.whole, side)
        yield from ((form, EVERY_OF_RESIZED) for form in _small_forms(pixels))


def _thumbnail(image: Image.Image) -> bytes:
    """The small JPEG in a picture's EXIF, if there is one."""
    entry = image.getexif().get_ifd(ExifTags.IFD.IFD1)
    start, length = entry.get(ExifTags.Base.JpegIFOffset), entry.get(ExifTags.Base.JpegIFByteCount)
    block = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
    return b"" if start is None or length is None else block[start : start + length]


def _pixel_forms(pixels: npt.NDArray[np.uint8]) -> Iterator[bytes]:
    alpha = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    yield from (form.tobytes() for form in (pixels, pixels[..., ::-1], np.concatenate([pixels, alpha], axis=2)))
    yield from (pixels[..., channel].tobytes() for channel in range(3))
    yield np.asarray(Image.fromarray(pixels).convert("L")).tobytes()
    yield from ((pixels / np.float32(255)).astype(kind).tobytes() for kind in ("<f4", "<f2"))
    yield base64.b64encode(pixels.tobytes())


def _small_forms(pixels: npt.NDArray[np.uint8]) -> Iterator[bytes]:
    yield pixels.tobytes()
    yield pixels[..., ::-1].tobytes()
    yield np.asarray(Image.fromarray(pixels).convert("L")).tobytes()
    yield pixels.transpose(2, 0, 1).tobytes()
    yield pixels.astype("<f4").tobytes()


def _pictures_in(data: bytes) -> Iterator[str]:
    """Formats of the pictures that begin anywhere in some bytes."""
    for match in MAGIC.finditer(data):
        yield from _format_of(data[match.start() : match.start() + 2**20])
    for match in MAGIC_IN_BASE64.finditer(data):
        text = match.group()
        try:
            decoded = base64.b64decode(text[: len(text) // 4 * 4])
        except binascii.Error:
            continue
        yield from _format_of(decoded)


def _format_of(data: bytes) -> Iterator[str]:
    try:
        with Image.open(io.BytesIO(data), formats=OPENED_FORMATS) as image:
            yield str(image.format)
    except Exception:  # the beginning was chance
        return


# Pictures to be recognised

TEXTS: Final = ("described-by-9b61c7", "taken-by-04fd2e", "xmp-with-77ac10", "comment-5d3e90")


def marked(number: int, image_format: str = "JPEG", size: tuple[int, int] = (160, 120)) -> bytes:
    """A picture file with noise that no other has, and all metadata that its format takes.

    Formats without metadata, BMP and PPM, are uncompressed: their pixels lie in the file as they are.
    """
    generator = np.random.default_rng(1000 + number)
    drawn = np.asarray(draw(number, size), np.int16)
    image = Image.fromarray(np.clip(drawn + generator.integers(-60, 61, drawn.shape), 0, 255).astype(np.uint8))
    profile = b"\0" * 36 + b"acsp" + generator.bytes(500)
    xmp = f"<x:xmpmeta>{TEXTS[2]}</x:xmpmeta>".encode()
    metadata: Mapping[str, Any] = {
        "JPEG": {"exif": _exif(image, number), "icc_profile": profile, "comment": TEXTS[3], "xmp": xmp, "quality": 90},
        "WEBP": {"exif": _exif(image, number), "icc_profile": profile, "xmp": xmp, "lossless": True},
        "PNG": {"exif": _exif(image, number), "icc_profile": profile},
        "TIFF": {"icc_profile": profile, "description": TEXTS[0], "artist": TEXTS[1]},
    }
    return encode(image, image_format, **metadata.get(image_format, {}))


def _exif(image: Image.Image, number: int) -> bytes:
    """EXIF with two texts and, as cameras write it, a thumbnail as a JPEG of its own."""
    thumbnail = encode(image.resize((80, 60)), quality=70 + number % 20)
    texts = [text.encode() + b"\0" for text in TEXTS[:2]]
    places, at = [], 8 + 2 + 2 * 12 + 4 + 2 + 3 * 12 + 4
    for value in (*texts, thumbnail):
        places.append(at)
        at += len(value)
    first = [(0x010E, 2, len(texts[0]), places[0]), (0x013B, 2, len(texts[1]), places[1])]
    second = [(0x0103, 3, 1, 6), (0x0201, 4, 1, places[2]), (0x0202, 4, 1, len(thumbnail))]
    head = b"Exif\0\0II*\0" + struct.pack("<I", 8)
    after_first = 8 + 2 + 2 * 12 + 4
    return b"".join(
        [
            head,
            *(_directory(first, after_first), _directory(second, 0)),
            *texts,
            thumbnail,
        ]
    )


def _directory(entries: Iterable[tuple[int, int, int, int]], following: int) -> bytes:
    packed = [struct.pack("<HHII", *entry) for entry in entries]
    return struct.pack("<H", len(packed)) + b"".join(packed) + struct.pack("<I", following)
