"""Rows of CSV and TSV files of unknown origin: numbered, streamed; a row that cannot be read spoils no other."""

from __future__ import annotations

import csv
import io
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, Final

from imgsearch.errors import InvalidManifest
from imgsearch.sources.jsonl import MAX_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

__all__ = ["DELIMITERS", "cells", "numbered_rows", "text_of"]

DELIMITERS: Final = (",", "\t", ";", "|")
MAX_ROW_CHARS: Final = 2**20
"""A quoted field that goes on for longer was never closed."""


def text_of(stream: BinaryIO) -> TextIO:
    """The lines of a table, whatever ends them; bytes that are not UTF-8 become surrogates, so that their row fails."""
    return io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")


def cells(line: str, delimiter: str) -> list[str]:
    """The cells of a row on one line; none if it cannot be read."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


class _NeverClosed(Exception):
    """A quoted field has no end."""


class _Lines:
    """The lines of a file, which can be given back."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.announced = ""
        """The delimiter, if the file begins with a line that says it, as spreadsheets write it."""
        self.number = 0
        """Of the last line taken."""
        header = self._first()
        self._returned = deque([header] if header else [])
        self.taken: list[str] = []
        """Lines of the row that is being read."""
        self._chars = 0
        self.is_at_end = False

    def _first(self) -> str:
        """Take the first line that says something, except for the delimiter."""
        while line := self._text.readline(MAX_LINE_BYTES + 1):
            if line[:4].lower() == "sep=" and len(line.strip()) == 5 and not self.announced:
                self.announced = line[4]
            elif line.strip():
                return line
            self.number += 1
        return ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.taken and self._chars > MAX_ROW_CHARS:
            raise _NeverClosed
        line = self._returned.popleft() if self._returned else self._text.readline(MAX_LINE_BYTES + 1)
        self.is_at_end = not line
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        self._chars += len(line)
        return line

    def begin(self) -> None:
        """Begin a row."""
        self.taken, self._chars = [], 0

    def give_back(self) -> bool:
        """Give back all lines of this row but the first; whether there are any."""
        returned = self.taken[1:]
        self._returned.extendleft(reversed(returned))
        self.number -= len(returned)
        return bool(returned)

    def skipped(self) -> InvalidManifest | None:
        """Skip to the end of a line that was too long to be read in one go; None: it was not."""
        line = self.taken[-1]
        if len(line) <= MAX_LINE_BYTES:
            return None
        while line and not line.endswith(("\n", "\r")):
            line = self._text.readline(MAX_LINE_BYTES)
        return InvalidManifest(f"the line is longer than {MAX_LINE_BYTES:,} characters")


def numbered_rows(text: TextIO, delimiter: str) -> Iterator[tuple[int, list[str] | InvalidManifest]]:
    """Yield rows with the numbers of their first lines, from 1, holding one at a time; skips empty ones.

    The first row is the header: all others must have a cell for each of its columns. Empty cells too many do not count.
    A row over several lines that is malformed is refused as its first line, and reading continues with the second. In
    tables with tabs, many programs write quotes as they are: a line with a cell for each column is then taken as it is.

    Args:
        text: from ``text_of``.
        delimiter: unless the file says another one.

    Yields:
        The cells, or why the row was skipped.
    """
    lines = _Lines(text)
    delimiter = lines.announced or delimiter
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    width = 0
    while True:
        lines.begin()
        number = lines.number + 1
        row: list[str] | InvalidManifest
        try:
            row = next(reader)
        except StopIteration:
            return
        except _NeverClosed:
            row = _never_closed()
        except csv.Error as error:
            row = _never_closed() if lines.is_at_end else InvalidManifest(f"the row cannot be read: {error}")
        else:
            if not any(cell and not cell.isspace() for cell in row):
                continue
            row = _fitting(row, width) if width else row
        if isinstance(row, InvalidManifest):
            row = lines.skipped() or (_never_closed() if lines.give_back() else row)
            literal = lines.taken[0].rstrip("\r\n").split(delimiter)
            if delimiter == "\t" and len(literal) == width:
                row = literal
        elif not width:
            width = len(row)
        yield number, row


def _never_closed() -> InvalidManifest:
    return InvalidManifest(
        'a quoted field begins on this line and does not end where it should: double the quotes inside of it ("")'
    )


def _fitting(row: list[str], width: int) -> list[str] | InvalidManifest:
    """The row with as many cells as the header, or why it has not."""
    if len(row) < width or any(row[width:]):
        return InvalidManifest(
            f"the row has {len(row)} cells and the header {width}: cells with a delimiter or newline need quotes"
        )
    return row[:width]
