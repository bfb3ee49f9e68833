"""The chunks of a PNG that its pixels need: damaged or huge metadata is left out before a decoder sees it.

Decoders refuse a picture for a comment with a wrong checksum, or for a profile that unpacks to megabytes. Browsers show
it, as do we: of the ancillary chunks, only transparency and what may hold the orientation is passed on, if it is sound.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SIGNATURE", "rendered_chunks"]

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
LENGTH_AND_KIND: Final = struct.Struct(">I4s")
CHECKSUM: Final = struct.Struct(">I")
OVERHEAD: Final = LENGTH_AND_KIND.size + CHECKSUM.size
"""Bytes of a chunk beside its data."""

TRANSPARENCY_BYTES: Final = {0: (2, 2), 2: (6, 6), 3: (1, 256)}
"""The least and the most for each colour type; the others have none."""
MOST_TEXT: Final = 1024 * 1024
"""Unpacked bytes of a text up to which Pillow takes it."""
ORIENTED: Final = frozenset({b"XML:com.adobe.xmp", b"Raw profile type exif"})
"""Keywords of texts in which editors store the orientation."""


class _Chunk(NamedTuple):
    """One chunk, whole."""

    kind: bytes
    data: memoryview
    raw: memoryview
    """With length, kind and checksum."""

    @property
    def is_intact(self) -> bool:
        told: int = CHECKSUM.unpack(self.raw[-CHECKSUM.size :])[0]
        return zlib.crc32(self.raw[4 : -CHECKSUM.size]) == told


def rendered_chunks(data: bytes) -> bytes:
    """The PNG without the chunks that its pixels do not need; critical chunks stay as they are, damaged ones too.

    What may tell the orientation is moved before the pixels, so that it is known without decoding these.

    Args:
        data: of a file that begins with ``SIGNATURE``.
    """
    chunks, rest = _split(memoryview(data))
    first_pixels = next((number for number, chunk in enumerate(chunks) if chunk.kind == b"IDAT"), len(chunks))
    header = chunks[0].data if chunks and chunks[0].kind == b"IHDR" else b""
    colour_type = header[9] if len(header) > 9 else None
    before: list[memoryview] = []
    kept: list[memoryview] = []
    after: list[memoryview] = []
    has_transparency = False
    for number, chunk in enumerate(chunks):
        if not _is_ancillary(chunk.kind):
            (before if number < first_pixels else after).append(chunk.raw)
        elif chunk.kind == b"tRNS":
            if number < first_pixels and not has_transparency and _is_transparency(chunk, colour_type):
                has_transparency = True
                kept.append(chunk.raw)
        elif _tells_orientation(chunk):
            kept.append(chunk.raw)
    return b"".join((SIGNATURE, *before, *kept, *after, rest))


def _split(data: memoryview) -> tuple[list[_Chunk], memoryview]:
    """All whole chunks up to the end, and what follows that is none: a piece cut off, or no PNG at all."""
    chunks = list(_whole_chunks(data))
    end = len(SIGNATURE) + sum(len(chunk.raw) for chunk in chunks)
    if chunks and chunks[-1].kind == b"IEND":
        return chunks, data[:0]
    if _is_ancillary(bytes(data[end + 4 : end + 8])):  # cut off within metadata
        return chunks, data[:0]
    return chunks, data[end:]


def _whole_chunks(data: memoryview) -> Iterator[_Chunk]:
    place = len(SIGNATURE)
    while place + OVERHEAD <= len(data):
        length, kind = LENGTH_AND_KIND.unpack_from(data, place)
        end = place + OVERHEAD + length
        if not kind.isalpha() or end > len(data):
            return
        yield _Chunk(kind, data[place + LENGTH_AND_KIND.size : end - CHECKSUM.size], data[place:end])
        if kind == b"IEND":
            return
        place = end


def _is_ancillary(kind: bytes) -> bool:
    return len(kind) == 4 and kind.isalpha() and kind[:1].islower()


def _is_transparency(chunk: _Chunk, colour_type: int | None) -> bool:
    least, most = TRANSPARENCY_BYTES.get(-1 if colour_type is None else colour_type, (1, 0))
    return least <= len(chunk.data) <= most and chunk.is_intact


def _tells_orientation(chunk: _Chunk) -> bool:
    if chunk.kind == b"eXIf":
        return chunk.is_intact
    if chunk.kind not in (b"tEXt", b"zTXt", b"iTXt") or bytes(chunk.data[:80]).partition(b"\0")[0] not in ORIENTED:
        return False
    return chunk.is_intact and _is_small_text(chunk)


def _is_small_text(chunk: _Chunk) -> bool:
    """Whether a decoder takes the text: compressed as the format says, and not too large."""
    _keyword, _, text = bytes(chunk.data).partition(b"\0")
    if chunk.kind == b"tEXt":
        return len(text) <= MOST_TEXT
    if chunk.kind == b"iTXt":
        is_packed, method, fields = text[:1], text[1:2], text[2:].split(b"\0", 2)
        if len(fields) != 3:
            return False
        text = fields[2]
        if is_packed == b"\0":
            return len(text) <= MOST_TEXT
    else:
        method, text = text[:1], text[1:]
    if method != b"\0":
        return False
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(text, MOST_TEXT)
    except zlib.error:
        return False
    return not unpacking.unconsumed_tail
