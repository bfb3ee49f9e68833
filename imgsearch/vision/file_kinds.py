"""What a file is, by its content: for those that are refused, so that the message says what they really are.

Nothing is decoded here: first bytes, the brands of a container, the frame header of a JPEG, the first tags of a TIFF.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from imgsearch.errors import DamagedPicture, PictureError, UnsupportedPicFormat
from imgsearch.vision.extras import HEIF_EXTRA, pip_install

__all__ = ["HEIF", "SAVE_ANEW", "container_kind", "is_raw_photo", "refusal"]

AVIF: Final = "AVIF"
HEIF: Final = "HEIF"
CONVERT: Final = "convert it to JPEG, PNG or WebP"
SAVE_ANEW: Final = "get a whole copy of it, or open it in an editor and save it anew"
"""The way out where a decoder does not get through."""

PICTURES: Final = (
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"gimp xcf", "a GIMP document (XCF)"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"icns", "an icon (ICNS)"),
    (b"DDS ", "a texture (DDS)"),
    (b"qoif", "a QOI picture"),
    (b"FLIF", "a FLIF picture"),
    (b"BPG\xfb", "a BPG picture"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"AT&TFORM", "a DjVu document"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (b"P7\n", "a PAM picture"),
)
DOCUMENTS: Final = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document"),
)
RAW_PHOTOS: Final = (
    (b"FUJIFILMCCD-RAW", "a raw photo of a camera (RAF)"),
    (b"IIRO", "a raw photo of a camera (ORF)"),
    (b"IIRS", "a raw photo of a camera (ORF)"),
    (b"MMOR", "a raw photo of a camera (ORF)"),
    (b"IIU\0", "a raw photo of a camera (RW2)"),
    (b"FOVb", "a raw photo of a camera (X3F)"),
)
FILMS: Final = (
    (b"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)"),
    (b"OggS", "a video or sound (Ogg)"),
    (b"FLV\1", "a video (Flash)"),
    (b"\0\0\1\xba", "a video (MPEG)"),
    (b"\0\0\1\xb3", "a video (MPEG)"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video (Windows Media)"),
)
OTHERS: Final = (
    (b"PK\3\4", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite format 3\0", "a database"),
)
WAYS_OUT: Final = (
    (PICTURES, CONVERT),
    (DOCUMENTS, "save its page as JPEG or PNG"),
    (RAW_PHOTOS, "develop it, and save it as JPEG"),
    (FILMS, "save one of its frames as JPEG or PNG"),
    (OTHERS, "it holds no pixels that could be searched, so leave it out, or put the picture itself there"),
)

AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
STILL_BRANDS: Final = frozenset({b"mif1", b"msf1", b"mif2", b"miaf"})
"""Of containers whose other brands tell what is in them."""
MOST_BRANDS: Final = 64

TEXT_LOOKED_AT: Final = 2048
MARKUP: Final = (
    (re.compile(rb"<svg[\s>]"), "an SVG drawing", "export it as PNG"),
    (
        re.compile(rb"<!doctype html|<html[\s>]|<head[\s>]|<body[\s>]"),
        "a web page (HTML)",
        "servers send one where a picture is missing, so download the picture again",
    ),
    (re.compile(rb"\A<\?xml|\A<[a-z]+[\s>]"), "an XML document", "download the picture again"),
)

JPEG_START: Final = b"\xff\xd8\xff"
TIFF_STARTS: Final = {b"II*\0": "<", b"MM\0*": ">"}
SUPPORTED_STARTS: Final = (
    (JPEG_START, "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
PLAIN_START: Final = re.compile(rb"P[1-6]\s")
NO_FRAMES: Final = frozenset({0xC4, 0xC8, 0xCC})
"""Markers among those of frames that begin none."""
MOST_BITS: Final = 16

SUBFILE, BITS, SAMPLES, SUB_DIRECTORIES, SAMPLE_FORMAT, DNG_VERSION = 254, 258, 277, 330, 339, 50706
VALUE_BYTES: Final = {1: 1, 3: 2, 4: 4}
"""Of the types of TIFF values that are whole numbers."""
FLOATS: Final = 3


def container_kind(data: bytes) -> str | None:
    """``AVIF`` or ``HEIF`` for a container of such pictures, by its brands; None for anything else."""
    brands = _brands(data)
    if not brands:
        return None
    if not AVIF_BRANDS.isdisjoint(brands):
        return AVIF
    if not HEIC_BRANDS.isdisjoint(brands):
        return HEIF
    return HEIF if brands[0] in STILL_BRANDS else None


def is_raw_photo(data: bytes) -> bool:
    """Whether a TIFF is a camera's raw photo (CR2, NEF, DNG, ARW, …): what decoders read of it is a tiny preview."""
    order = TIFF_STARTS.get(data[:4])
    if order is None:
        return False
    if data[8:10] == b"CR":
        return True
    tags = _tiff_tags(data, order)
    return DNG_VERSION in tags or (SUB_DIRECTORIES in tags and bool(tags.get(SUBFILE, 0) & 1))


def refusal(data: bytes, supported: str) -> PictureError:
    """Why the content cannot be used, where no decoder takes it.

    Args:
        data: of the file, not empty.
        supported: the formats that work, for people.
    """
    if is_raw_photo(data):
        return _other("a raw photo of a camera", "develop it, and save it as JPEG", supported)
    for starts, way_out in WAYS_OUT:
        for start, name in starts:
            if data.startswith(start):
                return _other(name, way_out, supported)
    for start, name in SUPPORTED_STARTS:
        if data.startswith(start):
            return _unreadable(data, name)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _unreadable(data, "WebP")
    if PLAIN_START.match(data):
        return _unreadable(data, "PPM")
    if container_kind(data) == AVIF:
        return _unreadable(data, "AVIF")
    name, way_out = _by_content(data)
    return _other(name, way_out, supported)


def _other(name: str, way_out: str, supported: str) -> UnsupportedPicFormat:
    return UnsupportedPicFormat(f"the content is {name}, not a {supported} picture: {way_out}")


def _by_content(data: bytes) -> tuple[str, str]:
    kind = container_kind(data)
    if kind == HEIF:
        return "a HEIC picture", f"{pip_install(HEIF_EXTRA)} brings its decoder, or {CONVERT}"
    brands = _brands(data)
    if brands:
        if brands[0] == b"crx ":
            return "a raw photo of a camera (CR3)", "develop it, and save it as JPEG"
        return "a video (MP4 or QuickTime)", "save one of its frames as JPEG or PNG"
    if data[:4] == b"RIFF" and data[8:12] in (b"AVI ", b"WAVE"):
        return "a video or sound (RIFF)", "save one of its frames as JPEG or PNG"
    if not data.strip(b"\0"):
        return "nothing but zeros", "an interrupted download or copy leaves such a file, so get the picture again"
    begin = data[:TEXT_LOOKED_AT].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for pattern, name, way_out in MARKUP:
        if pattern.search(begin):
            return name, way_out
    if _is_text(begin):
        return ("a JSON document" if begin[:1] in (b"{", b"[") else "text"), "download the picture again"
    return "of no known kind", CONVERT


def _is_text(begin: bytes) -> bool:
    """Whether it is UTF-8 without control characters; the last character may be cut off."""
    text = begin.decode("utf-8", "replace").rstrip("\ufffd")
    return bool(text) and all(one.isspace() or (one.isprintable() and one != "\ufffd") for one in text)


def _brands(data: bytes) -> list[bytes]:
    """Of an ISO container (MP4, HEIF, AVIF, …), the major one first; empty for anything else."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4], "big"), 16 + 4 * MOST_BRANDS, len(data))
    return [data[8:12], *(data[place : place + 4] for place in range(16, end - 3, 4))]


def _unreadable(data: bytes, name: str) -> PictureError:
    """For a file that begins like one of a supported format."""
    detail = _jpeg_detail(data) if name == "JPEG" else _tiff_detail(data) if name == "TIFF" else None
    if detail is not None:
        return UnsupportedPicFormat(f"the content is {detail}: save it with 8 bits per channel, as JPEG or PNG")
    return DamagedPicture(f"the file begins like a {name}, but its header cannot be read: {SAVE_ANEW}")


def _jpeg_detail(data: bytes) -> str | None:
    """What is special about a JPEG, by its frame header."""
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # filled up
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in NO_FRAMES:
            bits = data[place + 4]
            return f"a JPEG with {bits} bits per channel" if 8 < bits <= MOST_BITS else None
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _tiff_detail(data: bytes) -> str | None:
    """How a TIFF stores its pixels, where that is out of the ordinary."""
    order = TIFF_STARTS.get(data[:4])
    tags = {} if order is None else _tiff_tags(data, order)
    bits, samples = tags.get(BITS, 1), tags.get(SAMPLES, 1)
    is_float = tags.get(SAMPLE_FORMAT) == FLOATS
    if not is_float and bits <= 8:
        return None
    numbers = "floating-point numbers" if is_float else "integers"
    channels = f"{samples} channel{'s' if samples > 1 else ''}"
    return f"a TIFF with {channels} of {bits}-bit {numbers}"


def _tiff_tags(data: bytes, order: str) -> dict[int, int]:
    """The first value of each tag of the first directory that holds whole numbers."""
    tags: dict[int, int] = {}
    try:
        (place,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from(f"{order}HHI", data, entry)
            size = VALUE_BYTES.get(kind, 4)
            where = entry + 8
            if size * length > 4:
                (where,) = struct.unpack_from(f"{order}I", data, where)
            tags[tag] = struct.unpack_from(f"{order}{'B' if size == 1 else 'H' if size == 2 else 'I'}", data, where)[0]
    except struct.error:  # cut off: what was read counts
        pass
    return tags
