"""What is refused: the message says truly what the file is, which formats work, and what to do.

Contract: another kind of file is ``UnsupportedPicFormat`` with its name; a file that begins like a supported format and
cannot be read is ``PictureError``; a raw photo is never mistaken for the tiny preview in it.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from imgsearch.errors import DamagedPicture, EmptyPicture, UnsupportedPicFormat
from imgsearch.vision.limits import Limits
from imgsearch.vision.picture import OpenPicture
from tests.pictures import draw, encode, jpeg

ANY_SIZE = Limits(min_side=1)


def ftyp(*brands: bytes) -> bytes:
    return struct.pack(">I", 16 + 4 * (len(brands) - 1)) + b"ftyp" + brands[0] + b"\0\0\0\0" + b"".join(brands[1:])


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("word/document.xml", "<x/>")
    return buffer.getvalue()


def twelve_bits() -> bytes:
    data = jpeg(1)
    frame = data.index(b"\xff\xc0")
    return data[: frame + 4] + b"\x0c" + data[frame + 5 :]


def float_tiff() -> bytes:
    """Three channels of 32-bit floats, as renderers and scientific programs write them."""
    pixels = np.zeros((8, 8, 3), "<f4").tobytes()
    entries = [
        *((256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 3, 0), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 0)),
        *((277, 3, 1, 3), (278, 3, 1, 8), (279, 4, 1, len(pixels)), (339, 3, 3, 0)),
    ]
    end = 8 + 2 + 12 * len(entries) + 4
    values = {258: end, 339: end + 6, 273: end + 12}
    directory = b"".join(struct.pack("<HHII", tag, kind, n, values.get(tag, v)) for tag, kind, n, v in entries)
    extra = struct.pack("<3H", 32, 32, 32) + struct.pack("<3H", 3, 3, 3)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + b"\0\0\0\0" + extra + pixels


def preview_of_raw(*, dng: bool) -> bytes:
    """The first directory of a raw photo: a small preview that any TIFF decoder reads."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if dng:
        tags[50706] = b"\1\4\0\0"
        tags.tagtype[50706] = 1
    else:
        tags[254] = 1
        tags[330] = 8
        tags.tagtype[330] = 4
    return encode(draw(1), "TIFF", tiffinfo=tags)


OTHER_KINDS = {
    "text": (b"just a note\n", "text", "download the picture again"),
    "text in utf-8": ("Bild nicht verfügbar ".encode() * 200, "text", "download"),
    "json": (json.dumps({"error": "not found"}).encode(), "a JSON document", "download"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", r"a web page \(HTML\)", "servers send one .* download"),
    "html behind a bom": (b"\xef\xbb\xbf\r\n <HTML lang=en>", r"a web page \(HTML\)", "download"),
    "xml": (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "an XML document", "download"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="200"/>', "an SVG drawing", "export it as PNG"),
    "svg behind xml": (b'<?xml version="1.0"?>\n<!-- x -->\n<svg width="9">', "an SVG drawing", "export it"),
    "pdf": (encode(draw(1), "PDF"), "a PDF document", "save its page as JPEG or PNG"),
    "eps": (encode(draw(1), "EPS"), "a PostScript document", "save its page"),
    "photoshop": (b"8BPS\0\1" + b"\0" * 90, r"a Photoshop document \(PSD\)", "convert it"),
    "jpeg 2000": (encode(draw(1), "JPEG2000"), "a JPEG 2000 picture", "convert it"),
    "jpeg 2000 stream": (b"\xff\x4f\xff\x51\0", "a JPEG 2000 picture", "convert it"),
    "jpeg xl": (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 90, "a JPEG XL picture", "convert it to JPEG, PNG or WebP"),
    "jpeg xl stream": (b"\xff\x0a" + b"\x80" * 90, "a JPEG XL picture", "convert it"),
    "ico": (encode(draw(1), "ICO"), "an icon", "convert it"),
    "cr2": (b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 90, "a raw photo of a camera", "develop it, and save it as JPEG"),
    "cr3": (ftyp(b"crx ", b"crx ", b"isom"), r"a raw photo of a camera \(CR3\)", "develop it"),
    "dng": (preview_of_raw(dng=True), "a raw photo of a camera", "develop it"),
    "nef": (preview_of_raw(dng=False), "a raw photo of a camera", "develop it"),
    "raf": (b"FUJIFILMCCD-RAW 0201", r"a raw photo of a camera \(RAF\)", "develop it"),
    "mp4": (ftyp(b"isom", b"isom", b"avc1"), r"a video \(MP4 or QuickTime\)", "one of its frames"),
    "mov": (ftyp(b"qt  "), r"a video \(MP4 or QuickTime\)", "one of its frames"),
    "webm": (b"\x1a\x45\xdf\xa3" + b"\0" * 90, r"a video \(Matroska or WebM\)", "one of its frames"),
    "avi": (b"RIFF\0\0\0\0AVI LIST", r"a video or sound \(RIFF\)", "one of its frames"),
    "zip": (archive(), "a ZIP archive or an office document", "leave it out"),
    "program": (b"\x7fELF" + b"\0" * 90, "a program", "leave it out"),
    "zeros": (b"\0" * 4096, "nothing but zeros", "get the picture again"),
    "tga": (encode(draw(1), "TGA"), "of no known kind", "convert it"),
    "noise": (b"\x93\x01\xfe\x80" * 99, "of no known kind", "convert it"),
    "one byte": (b"\xff", "of no known kind", "convert it"),
    "float tiff": (float_tiff(), "a TIFF with 3 channels of 32-bit floating-point numbers", "save it with 8 bits"),
    "12-bit jpeg": (twelve_bits(), "a JPEG with 12 bits per channel", "save it with 8 bits per channel"),
}


@pytest.mark.parametrize(("data", "name", "way_out"), OTHER_KINDS.values(), ids=OTHER_KINDS)
def test_the_message_says_what_it_is_and_what_to_do(data: bytes, name: str, way_out: str) -> None:
    with pytest.raises(UnsupportedPicFormat, match=rf"^the content is {name}.*: .*{way_out}") as caught:
        OpenPicture(data, ANY_SIZE)
    assert caught.value.code == "UnsupportedPicFormat"


BROKEN = {
    "JPEG": b"\xff\xd8\xff\xc0" + b"\0" * 50,
    "PNG": b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
    "GIF": b"GIF89a\0\0\0\0",
    "TIFF": b"II*\0\xff\xff\xff\x7f",
    "WebP": b"RIFF\0\0\0\0WEBPjunk",
    "AVIF": ftyp(b"avif", b"mif1") + b"\0" * 50,
    "PPM": b"P6 -120 110 255\n" + b"\0" * 50,
}


@pytest.mark.parametrize(("name", "data"), BROKEN.items(), ids=BROKEN)
def test_a_supported_format_that_cannot_be_read_is_damaged(name: str, data: bytes) -> None:
    with pytest.raises(DamagedPicture, match=f"begins like a {name}, .*get a whole copy|header cannot be read"):
        OpenPicture(data, ANY_SIZE)


def test_an_empty_file() -> None:
    with pytest.raises(EmptyPicture):
        OpenPicture(b"", ANY_SIZE)


def test_a_tiff_with_pages_or_layers_is_no_raw_photo() -> None:
    """Editors store layers and smaller copies in further directories; the first is the picture."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 0
    tags[330] = 8
    tags.tagtype[330] = 4
    for data in (encode(draw(1), "TIFF", tiffinfo=tags), encode(draw(1), "TIFF", big_tiff=True)):
        assert OpenPicture(data, ANY_SIZE).width == 160


def test_a_grey_float_tiff_is_taken() -> None:
    assert OpenPicture(encode(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), ANY_SIZE).thumbnail(9)
