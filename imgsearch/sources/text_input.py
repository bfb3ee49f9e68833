"""Text of unknown origin as UTF-8: byte order marks, UTF-16, UTF-32 and gzip are undone while it streams."""

from __future__ import annotations

import codecs
import io
import zlib
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Final

from imgsearch.errors import InvalidManifest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["beginning", "utf8"]

BLOCK_BYTES: Final = 65536
GZIP: Final = b"\x1f\x8b"
GZIP_WINDOW: Final = 31
"""What zlib takes for the format of gzip, with its header and checksum."""
HEAD_BYTES: Final = 4
"""Enough to recognise each of the encodings and formats."""

MARKS: Final = (
    (codecs.BOM_UTF8, ""),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
NO_TEXT: Final = (
    (b"PK\x03\x04", "a ZIP file or a spreadsheet: save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Office file: save the sheet as CSV"),
    (b"\xfd7zX", "compressed with xz: decompress it, or use gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: decompress it, or use gzip"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
)
"""Only what no list of names begins with: there are files called ``GIF8.jpg``."""


class _Blocks(io.RawIOBase):
    """A raw stream over blocks of bytes."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = b""

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer from one block at most."""
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = block
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def utf8(stream: BinaryIO, name: str) -> io.BufferedReader:
    """The same text as UTF-8 without a mark; other bytes pass through as they are.

    It takes from the stream no more than it must, so that a list may be read while it is written.

    Args:
        stream: anything; the caller closes it.
        name: of it, for messages.

    Returns:
        A stream whose reading raises InvalidManifest where the compressed or encoded text is damaged.

    Raises:
        InvalidManifest: it is no text.
    """
    head, blocks = _peeked(_blocks_of(stream))
    if head.startswith(GZIP):
        head, blocks = _peeked(_decompressed(blocks, name))
    for magic, what in NO_TEXT:
        if head.startswith(magic):
            raise InvalidManifest(f"{name} is not text but {what}")
    mark, encoding = _encoding(head)
    if mark:
        blocks = _without(blocks, len(mark))
    if encoding:
        blocks = _recoded(blocks, encoding, name)
    return io.BufferedReader(_Blocks(blocks), BLOCK_BYTES)


def beginning(stream: io.BufferedReader, limit: int) -> tuple[bytes, io.BufferedReader]:
    """The first line that is not blank, with those before it, as far as it has ``limit`` bytes; and the whole again."""
    head = b""
    while len(head) < limit and not head.strip() and (line := stream.readline(limit)):
        head += line
    return head, io.BufferedReader(_Blocks(chain([head], _blocks_of(stream))), BLOCK_BYTES)


def _blocks_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes as they arrive."""
    read = stream.read1 if hasattr(stream, "read1") else stream.read
    while block := read(BLOCK_BYTES):
        yield block


def _peeked(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The beginning, as much as tells what it is; and all blocks, with it."""
    head = b""
    # A short first line is enough, if it is all that was written so far.
    while len(head) < HEAD_BYTES and (b"\n" not in head or b"\0" in head) and (block := next(blocks, b"")):
        head += block
    return head, chain([head], blocks)


def _encoding(head: bytes) -> tuple[bytes, str]:
    """The byte order mark, and the encoding if it is to be changed; UTF-16 is known without a mark, too."""
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return mark, encoding
    if len(head) >= HEAD_BYTES:
        first, second, third, fourth = (bool(byte) for byte in head[:HEAD_BYTES])
        if (first, second, third, fourth) == (True, False, True, False):
            return b"", "utf-16-le"
        if (first, second, third, fourth) == (False, True, False, True):
            return b"", "utf-16-be"
    return b"", ""


def _without(blocks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Leave out the first bytes, which lie in the first block."""
    yield next(blocks)[count:]
    yield from blocks


def _recoded(blocks: Iterator[bytes], encoding: str, name: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in blocks:
            yield decoder.decode(block).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeDecodeError:
        raise InvalidManifest(f"{name} begins as {encoding[:6].upper()}, but is damaged or cut off later on") from None


def _decompressed(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """What is inside of gzip, several members included, in blocks of a limited size."""
    decoder = zlib.decompressobj(GZIP_WINDOW)
    try:
        for block in blocks:
            while block or not decoder.eof:
                if decoder.eof:
                    decoder = zlib.decompressobj(GZIP_WINDOW)
                data = decoder.decompress(block, BLOCK_BYTES)
                if data:
                    yield data
                block = decoder.unused_data.lstrip(b"\0") if decoder.eof else decoder.unconsumed_tail  # noqa: PLW2901
                if not block and len(data) < BLOCK_BYTES:
                    break
    except zlib.error:
        raise InvalidManifest(f"{name} is damaged: its gzip data cannot be decompressed") from None
    if not decoder.eof:
        raise InvalidManifest(f"{name} is cut off: its gzip data has no end")
