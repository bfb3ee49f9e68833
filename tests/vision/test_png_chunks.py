"""What a decoder gets of a PNG: broken or huge metadata spoils no picture, and critical chunks stay as they are.

Contract: the pixels of a whole PNG do not change, whatever metadata it has; damaged ancillary chunks are left out, as
browsers do; transparency and orientation are kept where they are sound; damaged critical chunks are refused.
"""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from imgsearch.errors import DamagedPicture
from imgsearch.vision.limits import Limits
from imgsearch.vision.picture import OpenPicture
from imgsearch.vision.png_chunks import SIGNATURE, rendered_chunks
from tests.hostile import EXIF_CIRCLE, chunk
from tests.pictures import draw, encode, turned

pytestmark = pytest.mark.filterwarnings("error")

ANY_SIZE = Limits(min_side=1)
SIZE = 64
WHOLE = encode(draw(3), "PNG")
HEADER_END = 33
LARGE = zlib.compress(os.urandom(1_500_000))
BOMB = zlib.compress(b"\0" * 40_000_000)

ODD_CHUNKS = {
    "resolution, checksum": chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1), 1),
    "resolution too short": chunk(b"pHYs", b"\0\0"),
    "text, checksum": chunk(b"tEXt", b"Software\0Editor", 1),
    "text without a keyword": chunk(b"tEXt", b"\0" * 9),
    "packed text, bomb": chunk(b"zTXt", b"Raw profile type 8bim\0\0" + BOMB),
    "packed text of another method": chunk(b"zTXt", b"a\0\7" + zlib.compress(b"b")),
    "packed text broken": chunk(b"zTXt", b"a\0\0no stream"),
    "xmp, bomb": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
    "xmp broken": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0no stream"),
    "xmp without an end": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0"),
    "exif as text, bomb": chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB),
    "exif as text, no exif": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nnot hexadecimal\n"),
    "profile, checksum": chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"x" * 400), 1),
    "profile, large": chunk(b"iCCP", b"icc\0\0" + LARGE),
    "profile, bomb": chunk(b"iCCP", b"icc\0\0" + BOMB),
    "profile broken": chunk(b"iCCP", b"icc\0\0no stream"),
    "profile without a name": chunk(b"iCCP", b""),
    "gamma too short": chunk(b"gAMA", b"\0"),
    "gamma of 0": chunk(b"gAMA", b"\0\0\0\0"),
    "rendering intent missing": chunk(b"sRGB", b""),
    "chromaticities too short": chunk(b"cHRM", b"\0" * 5),
    "time too short": chunk(b"tIME", b"\0"),
    "background too short": chunk(b"bKGD", b"\0"),
    "exif, checksum": chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0", 1),
    "exif circle": chunk(b"eXIf", EXIF_CIRCLE),
    "transparency, checksum": chunk(b"tRNS", b"\0" * 6, 1),
    "transparency too short": chunk(b"tRNS", b"\0"),
    "transparency too long": chunk(b"tRNS", b"\0" * 999),
    "animation too short": chunk(b"acTL", b"\0"),
    "animation of no frames": chunk(b"acTL", struct.pack(">II", 0, 0)),
    "a frame out of order": chunk(b"fcTL", struct.pack(">IIIIIHHBB", 9, 160, 120, 0, 0, 1, 1, 0, 0)),
    "a private one, checksum": chunk(b"prVt", b"anything", 1),
    "a hundred thousand texts": chunk(b"tEXt", b"a\0b") * 100_000,
}


def decode(data: bytes) -> np.ndarray:
    picture = OpenPicture(data, ANY_SIZE)
    return picture.decode(picture.whole, SIZE)


def with_chunk(odd: bytes, data: bytes = WHOLE, place: int = HEADER_END) -> bytes:
    return data[:place] + odd + data[place:]


@pytest.mark.parametrize("odd", ODD_CHUNKS.values(), ids=ODD_CHUNKS)
def test_metadata_spoils_no_picture(odd: bytes) -> None:
    """Before the pixels and behind them."""
    for place in (HEADER_END, len(WHOLE) - len(chunk(b"IEND", b""))):
        assert np.array_equal(decode(with_chunk(odd, place=place)), decode(WHOLE))


@pytest.mark.parametrize("odd", ODD_CHUNKS.values(), ids=ODD_CHUNKS)
def test_the_decoder_gets_no_more_than_it_needs(odd: bytes) -> None:
    """Nor does anything that is not sound reach it."""
    assert len(rendered_chunks(with_chunk(odd))) <= len(WHOLE) + 100


def test_a_png_without_metadata_stays_as_it_is() -> None:
    for image in (draw(3), draw(3).quantize(16), draw(3).convert("RGBA"), draw(3).convert("1")):
        data = encode(image, "PNG")
        assert rendered_chunks(data) == data
    assert rendered_chunks(SIGNATURE) == SIGNATURE


def test_what_is_transparent_stays_so() -> None:
    image = Image.new("P", (64, 64), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 32, 64))
    data = encode(image, "PNG", transparency=b"\xff\0")
    assert decode(data)[:, 8].tolist() == [[255, 0, 0]] * SIZE
    assert decode(data)[:, 56].tolist() == [[255, 255, 255]] * SIZE
    start = data.index(b"tRNS")
    damaged = data[: start + 6] + b"\1\2\3\4" + data[start + 10 :]
    assert decode(damaged)[:, 56].tolist() == [[0, 0, 255]] * SIZE, "as browsers show it"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_counts_wherever_it_is(orientation: int) -> None:
    """In EXIF before or behind the pixels, in XMP, and in the text of an old editor."""
    upright = draw(7, (90, 60))
    data = turned(upright, orientation, "PNG")
    start = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[start : start + 4], "big")
    exif, bare = data[start : start + length], data[:start] + data[start + length :]
    end = len(bare) - len(chunk(b"IEND", b""))
    xmp = b'<x:xmpmeta tiff:Orientation="%d"/>' % orientation
    tiff = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0%c\0\0\0\0\0\0" % orientation
    raw = b"\nexif\n %d\n%b\n" % (len(tiff) + 6, (b"Exif\0\0" + tiff).hex().encode())
    carriers = [
        exif,
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)),
        chunk(b"tEXt", b"Raw profile type exif\0" + raw),
    ]
    for carrier in carriers:
        for place in (HEADER_END, end):
            picture = OpenPicture(with_chunk(carrier, bare, place), ANY_SIZE)
            assert (picture.width, picture.height) == (90, 60)
            assert np.array_equal(picture.decode(picture.whole, SIZE), decode(encode(upright, "PNG")))


def test_the_pixels_are_not_decoded_for_the_orientation() -> None:
    """The size of a PNG whose pixels are gone is known all the same."""
    start = WHOLE.index(b"IDAT")
    picture = OpenPicture(WHOLE[: start + 4] + b"no pixels", ANY_SIZE)
    assert (picture.width, picture.height) == (160, 120)
    with pytest.raises(DamagedPicture):
        picture.decode(picture.whole, SIZE)


@pytest.mark.parametrize(
    "place", [WHOLE.index(b"IHDR") + 9, WHOLE.index(b"IDAT") + 40, len(WHOLE) // 2], ids=["header", "begin", "middle"]
)
def test_damaged_critical_chunks_are_refused(place: int) -> None:
    with pytest.raises(DamagedPicture):
        decode(WHOLE[:place] + b"\xff\xff\xff" + WHOLE[place + 3 :])


def test_a_png_cut_off_within_its_pixels_is_refused_and_behind_them_is_whole() -> None:
    end = len(WHOLE) - len(chunk(b"IEND", b""))
    with pytest.raises(DamagedPicture, match="get a whole copy"):
        decode(WHOLE[: end - 400])
    text = chunk(b"tEXt", b"Comment\0" + b"x" * 100)
    for data in (WHOLE[:end], with_chunk(text, place=end)[: end + 50]):
        assert np.array_equal(decode(data), decode(WHOLE))


def test_an_animation_gives_its_first_picture() -> None:
    data = encode(draw(1), "PNG", save_all=True, append_images=[draw(2), draw(3)])
    assert np.array_equal(decode(data), decode(encode(draw(1), "PNG")))
