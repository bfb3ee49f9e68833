"""A file that is one JSON array, however it is laid out: its elements one by one, streamed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, Final

from imgsearch.errors import InvalidManifest
from imgsearch.sources.jsonl import MAX_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["numbered_elements"]

BLOCK_BYTES: Final = 65536
OUTSIDE: Final = re.compile(rb'["\[\]{},]')
INSIDE: Final = re.compile(rb'["\\]')
"""What counts outside and inside of a string."""


def numbered_elements(stream: BinaryIO) -> Iterator[tuple[int, bytes | InvalidManifest]]:
    """Yield the elements of an array, each with the number of the line on which it begins; holds one at a time.

    Where elements begin and end is told by quotes, brackets and commas alone, so a malformed one spoils no other.

    Args:
        stream: UTF-8 whose first character that is not blank is ``[``.

    Yields:
        The element, or why it was skipped.
    """
    splitter = _Splitter()
    while block := stream.read1(BLOCK_BYTES) if hasattr(stream, "read1") else stream.read(BLOCK_BYTES):
        yield from splitter.feed(block)
    yield from splitter.end()


class _Splitter:
    """Cuts an array at the commas between its elements."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._skips = False
        """The first byte of the next block is escaped."""
        self._pieces: list[bytes] = []
        self._length = 0
        self._line = 1
        """On which the element begins, or the blanks before it."""
        self._lines = 0
        """In the element, with the blanks around it."""
        self._is_over = False

    def feed(self, block: bytes) -> Iterator[tuple[int, bytes | InvalidManifest]]:
        """Take a block; yield the elements that end in it."""
        begun = 0  # of the part of the block that is not taken over yet
        position = 1 if self._skips else 0
        self._skips = False
        while found := (INSIDE if self._in_string else OUTSIDE).search(block, position):
            position = found.end()
            token = found[0]
            if self._in_string:
                if token == b'"':
                    self._in_string = False
                elif position < len(block):
                    position += 1
                else:
                    self._skips = True
            elif token == b'"':
                self._in_string = True
            elif token in b"[{":
                self._depth += 1
                if self._depth == 1:
                    self._keep(block[begun : found.start()])
                    self._line, self._lines = self._line + self._lines, 0
                    self._pieces, self._length = [], 0
                    begun = position
            elif self._depth == 1 and token in b"],":
                self._keep(block[begun : found.start()])
                begun = position
                yield from self._element()
                if token == b"]":
                    self._depth, self._is_over = 0, True
            elif token in b"]}":
                self._depth = max(1, self._depth - 1)
        self._keep(block[begun:])

    def end(self) -> Iterator[tuple[int, bytes | InvalidManifest]]:
        """Yield what is wrong with the end, if anything."""
        if self._is_over:
            for number, _ in self._element():
                yield number, InvalidManifest("there is something behind the end of the JSON array")
        else:
            yield (
                self._line,
                InvalidManifest("the JSON array has no end: the file is cut off in this element or behind it"),
            )

    def _keep(self, piece: bytes) -> None:
        self._length += len(piece)
        self._lines += piece.count(b"\n")
        if self._length <= MAX_LINE_BYTES:
            self._pieces.append(piece)

    def _element(self) -> Iterator[tuple[int, bytes | InvalidManifest]]:
        """What was kept since the last one, unless it is blank."""
        data = b"".join(self._pieces)
        content = data.lstrip()
        number = self._line + data[: len(data) - len(content)].count(b"\n")
        is_too_long = self._length > MAX_LINE_BYTES
        self._line, self._lines = self._line + self._lines, 0
        self._pieces, self._length = [], 0
        if is_too_long:
            yield number, InvalidManifest(f"the element is longer than {MAX_LINE_BYTES:,} bytes")
        elif content:
            yield number, content.rstrip()
