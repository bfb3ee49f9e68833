"""Files made to break whatever reads them: the same seed always gives the same corpus; nothing is downloaded.

``corpus()`` is more than a thousand of them: whole pictures of every kind cut off at every kilobyte, with bits inverted
and pieces exchanged, and files written by hand whose headers, lengths and metadata lie.
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from tests.pictures import draw, encode

KILOBYTE: Final = 1024
MOST_BYTES: Final = 8 * KILOBYTE * KILOBYTE
FLIPS: Final = 16
SPLICES: Final = 6

DAMAGED: Final = frozenset({"PictureError"})
OTHER_FORMAT: Final = frozenset({"UnsupportedPicFormat"})
PIXELS: Final = frozenset({"UnsupportedPicPixels"})
TAKEN: Final = frozenset({""})
REFUSED: Final = DAMAGED | OTHER_FORMAT | PIXELS
ANYTHING: Final = REFUSED | TAKEN
"""For files of which nobody can say beforehand whether a picture is left."""


@dataclass(frozen=True)
class Hostile:
    """One file."""

    name: str
    """With a suffix of pictures; unique in the corpus."""
    data: bytes
    codes: frozenset[str]
    """What may become of it: codes of refusals, and the empty string for being taken."""


def corpus(seed: int = 1) -> list[Hostile]:
    """All of them; the seed decides which bits are inverted and which pieces exchanged."""
    generator = random.Random(seed)
    whole = wholes()
    files = [
        *(Hostile(f"whole {name}", data, TAKEN) for name, data in whole.items()),
        *_cut_off(whole),
        *_flipped(whole, generator),
        *_spliced(whole, generator),
        *_pngs(),
        *_jpegs(),
        *_gifs(),
        *_tiffs(),
        *_webps(),
        *_bmps(),
        *_ppms(),
        *_polyglots(),
        *_others(generator),
    ]
    assert len({file.name for file in files}) == len(files)
    return files


def sample(count: int, seed: int = 1) -> list[Hostile]:
    """Some of them, spread over all kinds."""
    files = corpus(seed)
    generator = random.Random(seed)
    crafted = [file for file in files if not file.name.startswith(("cut ", "flip ", "splice "))]
    quick = [file for file in crafted if len(file.data) < 500 * KILOBYTE]
    others = [file for file in files if file.name.startswith(("cut ", "flip ", "splice "))]
    return generator.sample(quick, count * 2 // 3) + generator.sample(others, count // 3)


# Whole pictures, and what chance makes of them


def wholes() -> dict[str, bytes]:
    """A real picture of some tens of kilobytes in every format and variant that is accepted."""
    noise = np.random.default_rng(7).normal(0, 12, (150, 200, 3))
    image = Image.fromarray(np.clip(np.asarray(draw(9, (200, 150)), np.float64) + noise, 0, 255).astype(np.uint8))
    grey = image.convert("L")
    deep = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6

    def pages() -> list[Image.Image]:
        return [draw(number, (200, 150)) for number in (10, 11)]

    def save(one: Image.Image, image_format: str = "JPEG", **options: object) -> bytes:
        return encode(one.copy(), image_format, **options)  # Pillow keeps the settings of the last format in a picture

    return {
        "baseline.jpg": save(image, quality=90),
        "progressive.jpg": save(image, quality=90, progressive=True),
        "restarts.jpg": save(image, quality=90, restart_marker_blocks=2),
        "grey.jpg": save(grey, quality=90),
        "cmyk.jpg": save(image.convert("CMYK"), quality=80),
        "turned.jpg": save(image, quality=90, exif=exif),
        "two lenses.jpg": save(image, "MPO", save_all=True, append_images=pages()),
        "rgb.png": save(image, "PNG"),
        "palette.png": save(image.quantize(16), "PNG", transparency=3),
        "deep.png": save(deep, "PNG"),
        "one bit.png": save(image.convert("1"), "PNG"),
        "alpha.png": save(image.convert("RGBA"), "PNG"),
        "animated.png": save(image, "PNG", save_all=True, append_images=pages()),
        "lossy.webp": save(image, "WEBP"),
        "lossless.webp": save(image, "WEBP", lossless=True),
        "animated.webp": save(image, "WEBP", save_all=True, append_images=pages()),
        "plain.gif": save(image, "GIF"),
        "animated.gif": save(image, "GIF", save_all=True, append_images=pages()),
        "raw.tif": save(image, "TIFF"),
        "lzw.tif": save(image, "TIFF", compression="tiff_lzw"),
        "deflate.tif": save(image, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": save(image, "TIFF", compression="jpeg"),
        "packbits.tif": save(image, "TIFF", compression="packbits"),
        "fax.tif": save(image.convert("1"), "TIFF", compression="group4"),
        "float.tif": save(Image.fromarray(np.asarray(grey, np.float32)), "TIFF"),
        "big.tif": save(image, "TIFF", big_tiff=True),
        "pages.tif": save(image, "TIFF", save_all=True, append_images=pages()),
        "rgb.bmp": save(image, "BMP"),
        "palette.bmp": save(image.quantize(16), "BMP"),
        "rgb.ppm": save(image, "PPM"),
        "deep.pgm": save(deep, "PPM"),
        "one bit.pbm": save(image.convert("1"), "PPM"),
        "lossy.avif": save(image, "AVIF"),
        "alpha.avif": save(image.convert("RGBA"), "AVIF"),
        "animated.avif": save(image, "AVIF", save_all=True, append_images=pages()),
    }


def _cut_off(whole: dict[str, bytes]) -> Iterator[Hostile]:
    """At every kilobyte; where only a trailer is gone, a picture may still be whole."""
    for name, data in whole.items():
        for cut in range(KILOBYTE, len(data), KILOBYTE):
            yield Hostile(f"cut {cut // KILOBYTE:02} {name}", data[:cut], ANYTHING)


def _flipped(whole: dict[str, bytes], generator: random.Random) -> Iterator[Hostile]:
    """A few inverted bits; half of them where headers are."""
    for name, data in whole.items():
        for number in range(FLIPS):
            changed = bytearray(data)
            reach = len(data) if number % 2 else min(len(data), 400)
            for _ in range(generator.randint(1, 8)):
                changed[generator.randrange(reach)] ^= 1 << generator.randrange(8)
            yield Hostile(f"flip {number:02} {name}", bytes(changed), ANYTHING)


def _spliced(whole: dict[str, bytes], generator: random.Random) -> Iterator[Hostile]:
    """A piece of another file, of the same file, or nothing in place of a piece."""
    names = list(whole)
    for name, data in whole.items():
        for number in range(SPLICES):
            other = whole[generator.choice(names)] if number % 2 else data
            begin, end = sorted(generator.sample(range(len(data)), 2))
            start = generator.randrange(len(other))
            piece = other[start : start + generator.choice((0, 16, 512, end - begin))]
            yield Hostile(f"splice {number} {name}", data[:begin] + piece + data[end:], ANYTHING)


# PNG


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    """A chunk of a PNG, with its own checksum or another."""
    own = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", own if crc is None else crc)


PNG_START: Final = b"\x89PNG\r\n\x1a\n"
END: Final = chunk(b"IEND", b"")
CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of each colour type of PNG."""


def _header(width: int = 120, height: int = 110, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def _pixels(width: int = 120, height: int = 110, depth: int = 8, colour: int = 2) -> bytes:
    row = b"\0" + b"\x55" * ((width * depth * CHANNELS.get(colour, 1) + 7) // 8)
    return chunk(b"IDAT", zlib.compress(row * height))


def _png(*before: bytes, header: bytes | None = None, pixels: bytes | None = None, after: bytes = END) -> bytes:
    parts = (_header() if header is None else header, *before, _pixels() if pixels is None else pixels, after)
    return PNG_START + b"".join(parts)


EXIF_CIRCLE: Final = b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"
"""Its sub-directory is itself, and so is the next one."""


def _pngs() -> Iterator[Hostile]:
    palette = chunk(b"PLTE", bytes(range(48)))
    for colour in range(8):
        for depth in (0, 1, 2, 3, 4, 8, 16, 32, 255):
            data = _png(palette, header=_header(depth=depth, colour=colour), pixels=_pixels(depth=depth, colour=colour))
            yield Hostile(f"png type {colour} depth {depth}.png", data, ANYTHING)
    bomb = zlib.compress(b"\0" * 40_000_000)
    cases: dict[str, tuple[bytes, frozenset[str]]] = {
        "60000 pixels a side": (_png(header=_header(60_000, 60_000)), PIXELS),
        "2 billion a side": (_png(header=_header(2**31 - 1, 2**31 - 1)), PIXELS),
        "4 billion a side": (_png(header=_header(2**32 - 1, 2**32 - 1)), REFUSED),
        "no width": (_png(header=_header(0, 100)), REFUSED),
        "more pixels than data": (_png(header=_header(3000, 3000)), DAMAGED),
        "more data than pixels": (_png(pixels=chunk(b"IDAT", bomb)), ANYTHING),
        "compressed text bomb": (_png(chunk(b"zTXt", b"a\0\0" + bomb)), TAKEN),
        "international text bomb": (_png(chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)), TAKEN),
        "profile bomb": (_png(chunk(b"iCCP", b"a\0\0" + bomb)), TAKEN),
        "text of megabytes": (_png(chunk(b"tEXt", b"a\0" + b"x" * 6_000_000)), TAKEN),
        "a hundred thousand texts": (_png(chunk(b"tEXt", b"a\0b") * 100_000), TAKEN),
        "a hundred thousand empty pieces": (_png(after=chunk(b"IDAT", b"") * 100_000 + END), ANYTHING),
        "a hundred thousand empty pieces first": (_png(chunk(b"IDAT", b"") * 100_000), ANYTHING),
        "a hundred thousand profiles": (_png(chunk(b"iCCP", b"a\0\0x") * 100_000), TAKEN),
        "checksum of the header": (
            _png(header=chunk(b"IHDR", struct.pack(">IIBBBBB", 120, 110, 8, 2, 0, 0, 0), 1)),
            REFUSED,
        ),
        "checksum of the pixels": (_png(pixels=chunk(b"IDAT", zlib.compress(b"\0" * 361 * 110), 1)), ANYTHING),
        "checksum of a text": (_png(chunk(b"tEXt", b"a\0b", 1)), TAKEN),
        "checksum of a profile": (_png(chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x"), 1)), TAKEN),
        "orientation in a text bomb": (_png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)), TAKEN),
        "no pixels": (_png(pixels=b""), REFUSED),
        "no header": (PNG_START + _pixels() + END, REFUSED),
        "two headers": (_png(_header(20_000, 20_000)), ANYTHING),
        "nothing behind the signature": (PNG_START, REFUSED),
        "a chunk of 4 gigabytes": (PNG_START + _header() + b"\xff\xff\xff\xffIDAT" + b"x" * 100, REFUSED),
        "a chunk of 2 gigabytes of text": (PNG_START + _header() + b"\x7f\xff\xff\xfftEXt" + b"x" * 100, REFUSED),
        "no palette": (_png(header=_header(colour=3), pixels=_pixels(colour=3)), ANYTHING),
        "palette of 5 bytes": (
            _png(chunk(b"PLTE", b"12345"), header=_header(colour=3), pixels=_pixels(colour=3)),
            ANYTHING,
        ),
        "interlaced by 9": (_png(header=_header(interlace=9)), ANYTHING),
        "pixels that are not compressed": (_png(pixels=chunk(b"IDAT", b"x" * 9000)), DAMAGED),
        "filter 255": (_png(pixels=chunk(b"IDAT", zlib.compress(b"\xff" * 361 * 110))), ANYTHING),
        "4 billion frames": (_png(chunk(b"acTL", struct.pack(">II", 2**32 - 1, 0))), TAKEN),
        "no frames": (_png(chunk(b"acTL", struct.pack(">II", 0, 0))), TAKEN),
        "a frame outside": (
            _png(
                chunk(b"acTL", struct.pack(">II", 2, 0)),
                chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 9999, 9999, 9999, 9999, 1, 1, 0, 0)),
            ),
            TAKEN,
        ),
        "exif circle": (_png(chunk(b"eXIf", EXIF_CIRCLE)), TAKEN),
        "exif of megabytes": (_png(chunk(b"eXIf", b"II*\0" + b"\xff" * 6_000_000)), TAKEN),
        "transparency too long": (_png(chunk(b"tRNS", b"\1" * 1000)), TAKEN),
        "resolution of 0": (_png(chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1))), TAKEN),
        "gamma of 0": (_png(chunk(b"gAMA", b"\0\0\0\0")), TAKEN),
        "chunk without a name": (_png(chunk(b"\0\0\0\0", b"x")), ANYTHING),
    }
    yield from (Hostile(f"png {name}.png", data, codes) for name, (data, codes) in cases.items())


# JPEG


def _segment(marker: int, data: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def scan_bomb(side: int, size: int) -> bytes:
    """A progressive picture that is a few kilobytes whole, and goes over all its pixels again with every scan."""
    data = encode(Image.new("L", (side, side), 128), progressive=True)
    start = data.rindex(b"\xff\xda")
    scan = data[start:-2]
    return data[:-2] + scan * ((size - len(data)) // len(scan)) + data[-2:]


def _jpegs() -> Iterator[Hostile]:
    plain = encode(draw(3), quality=90)
    start, frame = plain[:2], plain.index(b"\xff\xc0")

    def with_frame(height: int = 120, width: int = 160, marker: int = 0xC0, precision: int = 8) -> bytes:
        return (
            plain[: frame + 1]
            + bytes([marker])
            + plain[frame + 2 : frame + 4]
            + bytes([precision])
            + struct.pack(">HH", height, width)
            + plain[frame + 9 :]
        )

    def behind_start(*segments: bytes) -> bytes:
        return start + b"".join(segments) + plain[2:]

    exif = b"Exif\0\0"
    profile = b"ICC_PROFILE\0"
    multi = b"MPF\0"
    cases: dict[str, tuple[bytes, frozenset[str]]] = {
        "65535 pixels a side": (with_frame(65535, 65535), PIXELS),
        "no height": (with_frame(0), REFUSED),
        "no width": (with_frame(120, 0), REFUSED),
        "more pixels than data": (with_frame(3000, 3000), ANYTHING),
        "12 bits": (with_frame(precision=12), ANYTHING),
        "64 scans": (scan_bomb(200, 12_000), ANYTHING),
        "no tables": (start + plain[frame:], REFUSED),
        "no pixels": (plain[: plain.index(b"\xff\xda")], REFUSED),
        "no end": (plain[:-2], ANYTHING),
        "an end at once": (start + b"\xff\xd9" + plain[2:], ANYTHING),
        "two starts": (start + plain, ANYTHING),
        "filled up": (start + b"\xff" * 100_000 + plain[2:], ANYTHING),
        "a segment of no length": (start + b"\xff\xe1\0\0" + plain[2:], ANYTHING),
        "a segment behind the end": (start + b"\xff\xe1\xff\xff" + plain[2:], ANYTHING),
        "comments of megabytes": (behind_start(_segment(0xFE, b"x" * 65533) * 100), TAKEN),
        "a hundred thousand comments": (behind_start(_segment(0xFE, b"") * 100_000), ANYTHING),
        "exif of megabytes": (behind_start(_segment(0xE1, exif + b"x" * 65000) * 100), TAKEN),
        "exif circle": (behind_start(_segment(0xE1, exif + EXIF_CIRCLE)), TAKEN),
        "exif of 65535 entries": (
            behind_start(_segment(0xE1, exif + b"II*\0\x08\0\0\0\xff\xff" + b"\1" * 60000)),
            TAKEN,
        ),
        "profile of megabytes": (
            behind_start(*(_segment(0xE2, profile + bytes([number, 100]) + b"x" * 65000) for number in range(1, 101))),
            TAKEN,
        ),
        "profile in no order": (
            behind_start(*(_segment(0xE2, profile + bytes([9, 2]) + b"x") for _ in range(255))),
            TAKEN,
        ),
        "profile without numbers": (behind_start(_segment(0xE2, profile)), ANYTHING),
        "xmp of megabytes": (behind_start(_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x>" * 21000)), TAKEN),
        "xmp entities": (
            behind_start(
                _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<!DOCTYPE a [<!ENTITY b 'cccccc'>]><a>&b;</a>")
            ),
            TAKEN,
        ),
        "photoshop resources that lie": (
            behind_start(_segment(0xED, b"Photoshop 3.0\0" + b"8BIM\xff\xff\xff" * 99)),
            TAKEN,
        ),
        "adobe says nonsense": (behind_start(_segment(0xEE, b"Adobe\0d\0\0\0\0\xff")), ANYTHING),
        "adobe cut off": (behind_start(_segment(0xEE, b"Adobe")), ANYTHING),
        "a table with too many codes": (behind_start(_segment(0xC4, b"\0" + b"\xff" * 16 + b"x" * 200)), ANYTHING),
        "a table of nothing": (behind_start(_segment(0xDB, b"\0" + b"\0" * 64)), ANYTHING),
        "a number for every table": (behind_start(_segment(0xDB, b"\xff" + b"\1" * 128)), ANYTHING),
        "restarts that do not come": (behind_start(_segment(0xDD, b"\0\1")), ANYTHING),
        "second lens cut off": (behind_start(_segment(0xE2, multi + b"II*\0\xff\xff\xff\xff")), ANYTHING),
        "second lens in a circle": (behind_start(_segment(0xE2, multi + EXIF_CIRCLE)), ANYTHING),
        "4 billion lenses": (
            behind_start(
                _segment(
                    0xE2,
                    multi + b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0xB001, 4, 1, 2**32 - 1) + b"\0" * 4,
                )
            ),
            ANYTHING,
        ),
        "resolution of nothing": (behind_start(_segment(0xE0, b"JFIF\0\1\1\1\0\0\0\0\0\0")), ANYTHING),
        "thumbnail of 255 x 255 that is not there": (
            behind_start(_segment(0xE0, b"JFIF\0\1\1\1\0\1\0\1\xff\xff")),
            ANYTHING,
        ),
    }
    for marker in (0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF):
        cases[f"frame of type {marker:X}"] = with_frame(marker=marker), ANYTHING
    for count in (0, 2, 5, 255):
        data = bytearray(plain)
        data[frame + 9] = count
        cases[f"{count} components"] = bytes(data), ANYTHING
    for value in (0, 9, 255, 65535):
        entry = struct.pack("<HHII", 0x0112, 3, 1, value)
        cases[f"orientation {value}"] = (
            behind_start(_segment(0xE1, exif + b"II*\0\x08\0\0\0\x01\0" + entry + b"\0" * 4)),
            TAKEN,
        )
    for kind in range(16):
        entry = struct.pack("<HHII", 0x0112, kind, 2**31 if kind % 2 else 1, 2**31)
        cases[f"orientation of type {kind}"] = (
            behind_start(_segment(0xE1, exif + b"II*\0\x08\0\0\0\x01\0" + entry + b"\0" * 4)),
            TAKEN,
        )
    yield from (Hostile(f"jpeg {name}.jpg", data, codes) for name, (data, codes) in cases.items())


# GIF


def _gif(width: int, height: int, *parts: bytes) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + b"".join(parts) + b";"


def _frame(x: int, y: int, width: int, height: int, data: bytes = b"\x02\x02\x4c\x01\0") -> bytes:
    return b"," + struct.pack("<4HB", x, y, width, height, 0) + data


def _gifs() -> Iterator[Hostile]:
    whole = encode(draw(3, (160, 120)), "GIF")
    comment = b"!\xfe" + (b"\xff" + b"x" * 255) * 24_000 + b"\0"
    cases: dict[str, tuple[bytes, frozenset[str]]] = {
        "65535 pixels a side": (_gif(65535, 65535, _frame(0, 0, 1, 1)), PIXELS),
        "a frame of 65535 pixels a side": (_gif(160, 120, _frame(0, 0, 65535, 65535)), REFUSED),
        "a frame outside": (_gif(160, 120, _frame(65535, 65535, 10, 10)), ANYTHING),
        "no size": (_gif(0, 0, _frame(0, 0, 0, 0)), REFUSED),
        "a hundred thousand frames": (_gif(160, 120, _frame(0, 0, 1, 1) * 100_000), ANYTHING),
        "many frames of 4000 pixels a side": (_gif(4000, 4000, _frame(0, 0, 4000, 4000) * 10_000), ANYTHING),
        "more pixels than data": (_gif(3000, 3000, _frame(0, 0, 3000, 3000)), ANYTHING),
        "no frames": (_gif(160, 120), REFUSED),
        "comment of megabytes": (whole[:-1] + comment + b";", TAKEN),
        "comment of megabytes first": (_gif(160, 120, comment) + whole[13 + 6 :], ANYTHING),
        "a million empty blocks": (whole[:13] + b"!\xfe\0" * 1_000_000 + whole[13:], ANYTHING),
        "extension without an end": (_gif(160, 120, b"!\xff\x0bNETSCAPE2.0\x03\x01"), REFUSED),
        "loop of 0 bytes": (_gif(160, 120, b"!\xff\x0bNETSCAPE2.0\x00", _frame(0, 0, 160, 120)), ANYTHING),
        "control block too short": (_gif(160, 120, b"!\xf9\x01\x01\0", _frame(0, 0, 160, 120)), ANYTHING),
        "nothing but zeros": (_gif(160, 120, b"\0" * 1_000_000), REFUSED),
    }
    for bits in (0, 1, 9, 12, 13, 255):
        data = bytes([bits]) + b"\xff" + b"\xaa" * 255 + b"\0"
        cases[f"codes of {bits} bits"] = _gif(160, 120, _frame(0, 0, 160, 120, data)), ANYTHING
    yield from (Hostile(f"gif {name}.gif", data, codes) for name, (data, codes) in cases.items())


# TIFF

TIFF_FIELDS: Final = {
    256: 120, 257: 110, 258: 8, 259: 1, 262: 1, 273: 300, 277: 1, 278: 110, 279: 120 * 110,
}  # fmt: skip
"""Width, height, bits, compression, photometric, strip, samples, rows of the strip, its bytes."""


def _tiff(changed: dict[int, int | None] | None = None, following: int = 0, pixels: bytes | None = None) -> bytes:
    fields = sorted((tag, value) for tag, value in (TIFF_FIELDS | (changed or {})).items() if value is not None)
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + directory + struct.pack("<I", following)
    return data.ljust(300, b"\0") + (b"\x80" * 120 * 110 if pixels is None else pixels)


def _tiffs() -> Iterator[Hostile]:
    bomb = zlib.compress(b"\0" * 80_000_000)
    cases: dict[str, tuple[bytes, frozenset[str]]] = {
        "by hand": (_tiff(), TAKEN),
        "next page is the same": (_tiff(following=8), ANYTHING),
        "next page is nowhere": (_tiff(following=2**32 - 1), ANYTHING),
        "exif is the page itself": (_tiff({34665: 8}), ANYTHING),
        "place is the page itself": (_tiff({34853: 8}), ANYTHING),
        "pages below are the page itself": (_tiff({330: 8}), ANYTHING),
        "first page is nowhere": (b"II*\0\xff\xff\xff\xff" + b"\0" * 500, REFUSED),
        "first page is the header": (b"II*\0\0\0\0\0" + b"\0" * 500, REFUSED),
        "65535 fields": (b"II*\0\x08\0\0\0\xff\xff" + b"\1" * 60_000, REFUSED),
        "no fields": (b"II*\0\x08\0\0\0\0\0" + b"\0" * 500, REFUSED),
        "60000 pixels a side": (_tiff({256: 60_000, 257: 60_000}), PIXELS),
        "4 billion a side": (_tiff({256: 2**32 - 1, 257: 2**32 - 1}), PIXELS | DAMAGED),
        "no width": (_tiff({256: 0}), REFUSED),
        "width is missing": (_tiff({256: None}), REFUSED),
        "no bits": (_tiff({258: None}), ANYTHING),
        "no strip": (_tiff({273: None}), REFUSED),
        "strip behind the end": (_tiff({273: 2**31}), REFUSED),
        "strip is the header": (_tiff({273: 0}), ANYTHING),
        "strip of 4 gigabytes": (_tiff({279: 2**32 - 1}), ANYTHING),
        "strip of nothing": (_tiff({279: 0}), ANYTHING),
        "strips of no rows": (_tiff({278: 0}), ANYTHING),
        "strips of 4 billion rows": (_tiff({278: 2**32 - 1}), ANYTHING),
        "strips of one row, and one strip": (_tiff({278: 1}), ANYTHING),
        "65535 samples": (_tiff({277: 65535}), ANYTHING),
        "no samples": (_tiff({277: 0}), ANYTHING),
        "planes": (_tiff({284: 2, 277: 3, 262: 2}), ANYTHING),
        "tiles of nothing": (_tiff({322: 0, 323: 0, 324: 300, 325: 100, 273: None, 279: None}), ANYTHING),
        "tiles of 4 billion": (_tiff({322: 2**32 - 1, 323: 2**32 - 1, 324: 300, 325: 9, 273: None}), ANYTHING),
        "tiles of no multiple": (_tiff({322: 17, 323: 3, 324: 300, 325: 51, 273: None, 279: None}), ANYTHING),
        "deflate bomb": (_tiff({259: 8, 279: len(bomb)}, pixels=bomb), ANYTHING),
        "deflate bomb of 9 megapixels": (
            _tiff({256: 3000, 257: 3000, 278: 3000, 259: 8, 279: len(bomb)}, pixels=bomb),
            ANYTHING,
        ),
        "fewer pixels than told, 9 megapixels": (_tiff({256: 3000, 257: 3000, 278: 3000}), DAMAGED),
        "fewer pixels than told, lzw": (_tiff({256: 3000, 257: 3000, 278: 3000, 259: 5}), ANYTHING),
        "large offsets": (b"II+\0\x08\0\0\0" + b"\xff" * 8 + b"\0" * 500, REFUSED),
        "large, offsets of 16 bytes": (b"II+\0\x10\0\0\0" + b"\0" * 500, REFUSED),
        "large, 2^63 fields": (b"MM\0+\0\x08\0\0" + struct.pack(">QQ", 16, 2**63) + b"\0" * 500, REFUSED),
        "orientation 99": (_tiff({274: 99}), ANYTHING),
        "fill order 2": (_tiff({266: 2}), ANYTHING),
    }
    for compression in (
        0,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        99,
        32766,
        32773,
        32946,
        34676,
        34712,
        34887,
        34925,
        50000,
        50001,
        65535,
    ):
        cases[f"compression {compression}"] = _tiff({259: compression, 279: 5000}), ANYTHING
    for bits in (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 24, 31, 32, 33, 64, 255, 65535):
        cases[f"{bits} bits"] = _tiff({258: bits}), ANYTHING
    for photometric in (0, 2, 3, 4, 5, 6, 8, 9, 10, 32803, 34892, 65535):
        cases[f"photometric {photometric}"] = _tiff({262: photometric}), ANYTHING
    for kind in (1, 2, 3, 4, 5, 65535):
        cases[f"values of kind {kind}"] = _tiff({339: kind, 258: 32}), ANYTHING
    for predictor in (0, 2, 3, 99):
        cases[f"predictor {predictor}"] = _tiff({317: predictor, 259: 8}), ANYTHING
    for count in (0, 2, 2**16, 2**31, 2**32 - 1):
        data = bytearray(_tiff())
        place = data.index(struct.pack("<HH", 273, 4))
        data[place + 4 : place + 8] = struct.pack("<I", count)
        cases[f"{count} strips"] = bytes(data), ANYTHING
    for kind in (0, 1, 2, 5, 7, 12, 13, 16, 99, 65535):
        data = bytearray(_tiff())
        place = data.index(struct.pack("<HH", 258, 4))
        data[place + 2 : place + 4] = struct.pack("<H", kind)
        cases[f"bits as a field of type {kind}"] = bytes(data), ANYTHING
    yield from (Hostile(f"tiff {name}.tif", data, codes) for name, (data, codes) in cases.items())


# WebP


def _riff(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def _extended(flags: int, width: int, height: int) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _webps() -> Iterator[Hostile]:
    whole = encode(draw(3), "WEBP")
    picture = whole[12:16], whole[20:]
    frame = b"ANMF", b"\0" * 6 + bytes([159, 0, 0, 119, 0, 0, 1, 0, 0, 0]) + whole[12:]
    turn = b"ANIM", b"\0" * 6
    cases: dict[str, tuple[bytes, frozenset[str]]] = {
        "16 million pixels a side": (_riff(_extended(0, 2**24, 2**24), picture), REFUSED),
        "16383 pixels a side": (_riff(_extended(0, 16383, 16383), picture), REFUSED),
        "another size than told": (_riff(_extended(0, 300, 300), picture), ANYTHING),
        "length of 4 gigabytes": (_riff(picture, size=2**32 - 1), ANYTHING),
        "length of nothing": (_riff(picture, size=0), ANYTHING),
        "no picture": (_riff(_extended(0, 160, 120)), REFUSED),
        "nothing": (_riff(), REFUSED),
        "a picture of nothing": (_riff((b"VP8 ", b"")), REFUSED),
        "a lossless picture of nothing": (_riff((b"VP8L", b"/")), REFUSED),
        "lossless noise": (_riff((b"VP8L", b"/" + bytes(range(256)) * 40)), ANYTHING),
        "alpha noise": (_riff(_extended(16, 160, 120), (b"ALPH", bytes(range(256)) * 9), picture), ANYTHING),
        "profile of megabytes": (_riff(_extended(32, 160, 120), (b"ICCP", b"x" * 6_000_000), picture), ANYTHING),
        "exif of megabytes": (_riff(_extended(8, 160, 120), picture, (b"EXIF", b"x" * 6_000_000)), TAKEN),
        "exif circle": (_riff(_extended(8, 160, 120), picture, (b"EXIF", EXIF_CIRCLE)), TAKEN),
        "xmp of megabytes": (_riff(_extended(4, 160, 120), picture, (b"XMP ", b"<x>" * 2_000_000)), TAKEN),
        "a thousand frames": (_riff(_extended(2, 160, 120), turn, *[frame] * 1000), ANYTHING),
        "a frame outside": (
            _riff(_extended(2, 160, 120), turn, (b"ANMF", b"\xff" * 6 + frame[1][6:])),
            REFUSED,
        ),
        "frames of nothing": (_riff(_extended(2, 160, 120), turn, *[(b"ANMF", b"\0" * 16)] * 1000), REFUSED),
        "a hundred thousand unknown pieces": (
            _riff(_extended(0, 160, 120), *[(b"abcd", b"")] * 100_000, picture),
            ANYTHING,
        ),
    }
    yield from (Hostile(f"webp {name}.webp", data, codes) for name, (data, codes) in cases.items())


# BMP and PPM


def _bmp(
    width: int = 120,
    height: int = 110,
    bits: int = 24,
    compression: int = 0,
    header: int = 40,
    colours: int = 0,
    pixels: bytes = b"\x40" * 40_000,
    offset: int | None = None,
) -> bytes:
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(pixels), 2835, 2835, colours, 0)
    info = info.ljust(max(40, min(header, 200)), b"\0") + b"\0\x80\xff\0" * 256
    start = 14 + len(info) if offset is None else offset
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(pixels), 0, 0, start) + info + pixels


def _bmps() -> Iterator[Hostile]:
    cases: dict[str, tuple[bytes, frozenset[str]]] = {
        "60000 pixels a side": (_bmp(60_000, 60_000), PIXELS),
        "2 billion a side": (_bmp(2**31 - 1, 2**31 - 1), REFUSED),
        "negative width": (_bmp(-120), REFUSED),
        "top down": (_bmp(120, -110), ANYTHING),
        "the most negative height": (_bmp(120, -(2**31)), REFUSED),
        "more pixels than data": (_bmp(3000, 3000), DAMAGED),
        "4 billion colours": (_bmp(bits=8, colours=2**32 - 1), ANYTHING),
        "pixels behind the end": (_bmp(offset=2**32 - 1), REFUSED),
        "pixels in the header": (_bmp(offset=0), ANYTHING),
        "runs of nothing": (_bmp(bits=8, compression=1, pixels=b"\0\0" * 1_000_000), ANYTHING),
        "runs that jump away": (_bmp(bits=8, compression=1, pixels=b"\0\2\xff\xff" * 50_000), ANYTHING),
        "runs without an end": (_bmp(bits=8, compression=1, pixels=b"\xff\1" * 60), ANYTHING),
        "runs of 4 bits": (_bmp(bits=4, compression=2, pixels=b"\0\xff" * 60_000), ANYTHING),
        "masks of nothing": (_bmp(bits=32, compression=3), ANYTHING),
        "a jpeg within": (_bmp(bits=0, compression=4, pixels=encode(draw(1))), REFUSED),
        "a png within": (_bmp(bits=0, compression=5, pixels=encode(draw(1), "PNG")), REFUSED),
        "words": (b"BMW is a make of cars, and this is a text about it.\n" * 20, REFUSED),
    }
    for bits in (0, 1, 2, 3, 4, 8, 15, 16, 24, 31, 32, 48, 64, 65535):
        cases[f"{bits} bits"] = _bmp(bits=bits), ANYTHING
    for header in (0, 4, 12, 16, 39, 52, 56, 64, 108, 124, 2**31, 2**32 - 1):
        cases[f"header of {header} bytes"] = _bmp(header=header), ANYTHING
    yield from (Hostile(f"bmp {name}.bmp", data, codes) for name, (data, codes) in cases.items())


def _ppms() -> Iterator[Hostile]:
    raw = b"\x55" * 120 * 110 * 3
    cases: dict[str, tuple[bytes, frozenset[str]]] = {
        "60000 pixels a side": (b"P6 60000 60000 255\n" + raw, PIXELS),
        "a width of 5000 digits": (b"P6 " + b"9" * 5000 + b" 110 255\n" + raw, REFUSED),
        "a width of 9 digits": (b"P6 999999999 999999999 255\n" + raw, PIXELS),
        "negative": (b"P6 -120 110 255\n" + raw, REFUSED),
        "no width": (b"P6 0 110 255\n" + raw, REFUSED),
        "no levels": (b"P6 120 110 0\n" + raw, REFUSED),
        "65536 levels": (b"P6 120 110 65536\n" + raw, REFUSED),
        "3 levels": (b"P6 120 110 3\n" + raw, ANYTHING),
        "more pixels than data": (b"P6 3000 3000 255\n" + raw, DAMAGED),
        "comment of megabytes": (b"P6 #" + b"x" * 6_000_000 + b"\n120 110 255\n" + raw, ANYTHING),
        "a million comments": (b"P6\n" + b"#\n" * 1_000_000 + b"120 110 255\n" + raw, ANYTHING),
        "spaces of megabytes": (b"P6" + b" " * 6_000_000 + b"120 110 255\n" + raw, ANYTHING),
        "nothing behind the letters": (b"P6", REFUSED),
        "text where numbers belong": (b"P3 120 110 255\n" + b"one two three " * 9000, DAMAGED),
        "a number of megabytes": (b"P3 120 110 255\n" + b"1" * 6_000_000, DAMAGED),
        "numbers above the level": (b"P3 120 110 7\n" + b"255 " * 120 * 110 * 3, DAMAGED),
        "plain with a comment of megabytes": (b"P3 120 110 255\n#" + b"x" * 6_000_000, DAMAGED),
        "bits that are none": (b"P1 120 110\n" + b"2" * 120 * 110, DAMAGED),
        "floats": (b"PF 120 110 -1.0\n" + b"\xff" * 120 * 110 * 12, ANYTHING),
        "floats of scale 0": (b"Pf 120 110 0.0\n" + raw * 2, ANYTHING),
        "floats of scale nan": (b"Pf 120 110 nan\n" + raw * 2, ANYTHING),
        "named tuples": (b"P7\nWIDTH 120\nHEIGHT 110\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + raw, REFUSED),
        "cmyk of a dialect": (b"P0CMYK 120 110 255\n" + raw * 2, ANYTHING),
    }
    yield from (Hostile(f"ppm {name}.ppm", data, codes) for name, (data, codes) in cases.items())


# Two things at once, and nothing at all


def _polyglots() -> Iterator[Hostile]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 1_000_000)
    html = b"<!DOCTYPE html><script>alert(1)</script>"
    pdf = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"
    picture = {name: encode(draw(4), name) for name in ("GIF", "JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")}
    for name, data in picture.items():
        for other, extra in {"zip": buffer.getvalue(), "html": html, "pdf": pdf, **picture}.items():
            yield Hostile(f"polyglot {name} then {other}.png", data + extra, TAKEN)
    for other, extra in {"zip": buffer.getvalue(), "html": html, "pdf": pdf}.items():
        for name, data in picture.items():
            yield Hostile(f"polyglot {other} then {name}.jpg", extra + data, OTHER_FORMAT)
    yield Hostile("polyglot GIF that is a script.gif", b"GIF89a/*" + b"\0" * 50 + b"*/=1;alert(1)", REFUSED)


def _others(generator: random.Random) -> Iterator[Hostile]:
    suffixes = ("jpg", "png", "gif", "bmp", "webp", "tif", "ppm")
    for suffix in suffixes:
        yield Hostile(f"nothing.{suffix}", b"", frozenset({"NoSpecifiedPicContent"}))
        yield Hostile(f"one byte.{suffix}", b"\xff", OTHER_FORMAT)
        yield Hostile(f"noise.{suffix}", generator.randbytes(5000), OTHER_FORMAT)
        yield Hostile(f"zeros.{suffix}", b"\0" * 5000, OTHER_FORMAT)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        for suffix in suffixes:
            yield Hostile(f"really {kind}.{suffix}", encode(draw(5), kind), TAKEN)
        yield Hostile(f"one pixel.{kind.lower()[:4]}", encode(Image.new("RGB", (1, 1)), kind), PIXELS)
    starts = {
        "text": b"just a note\n",
        "html": b"<!DOCTYPE html><html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "zip": b"PK\3\4",
        "elf": b"\x7fELF",
        "film": b"\0\0\0 ftypisom",
        "heic": b"\0\0\0 ftypheic",
        "icon": b"\0\0\1\0\1\0",
        "photoshop": b"8BPS\0\1",
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
        "jpeg xl": b"\xff\x0a",
        "postscript": b"%!PS-Adobe",
        "flif": b"FLIF",
        "dds": b"DDS |\0\0\0",
        "metafile": b"\xd7\xcd\xc6\x9a",
        "targa": b"\0\0\2" + b"\0" * 9 + b"\x40\0\x40\0\x18\0",
    }
    for name, data in starts.items():
        # Of HEIC, the decoder may be installed.
        codes = OTHER_FORMAT | DAMAGED if name == "heic" else OTHER_FORMAT
        yield Hostile(f"in truth {name}.jpg", data.ljust(3000, b"\0"), codes)
    large = encode(draw(6))
    yield Hostile("8 MB less a byte.jpg", large.ljust(MOST_BYTES - 1, b"\0"), TAKEN)
    yield Hostile("8 MB.jpg", large.ljust(MOST_BYTES, b"\0"), frozenset({"InvalidPicContent"}))
    yield Hostile("9 MB.jpg", large.ljust(MOST_BYTES + 1_000_000, b"\0"), frozenset({"InvalidPicContent"}))
