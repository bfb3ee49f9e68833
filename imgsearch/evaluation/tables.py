"""Reading ground truth tables. They are untrusted input: every error names file and line."""

from __future__ import annotations

import csv
import io
import stat
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InvalidGroundTruth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Line", "read_table"]

MAX_TABLE_BYTES: Final = 16 * 1024 * 1024
"""About 200,000 lines; bounds the memory, as tables are read as a whole."""
QUOTED_CHARS: Final = 60
"""Maximum length of a value quoted in a message."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table."""

    path: Path
    """The table."""
    number: int
    values: dict[str, str]
    """By column, stripped; empty for a column that the table lacks."""

    def problem(self, message: str) -> InvalidGroundTruth:
        """Return an error about this line, to be raised."""
        return InvalidGroundTruth(f"{self.path}, line {self.number}: {message}")

    def quoted(self, column: str) -> str:
        """Column and value, for a message."""
        return f"{column} {self.values[column][:QUOTED_CHARS]!r}"

    @property
    def name(self) -> str:
        """The normalised value of ``file``.

        Raises:
            InvalidGroundTruth: it is empty or outside the table's folder.
        """
        value = self.values["file"]
        path = PurePosixPath(value)
        if value.startswith("/") or "\x00" in value or ".." in path.parts or not path.name:
            raise self.problem(f"{self.quoted('file')} must be a relative path below the table's folder")
        return str(path)

    @property
    def file(self) -> Path:
        """The path of the picture.

        Raises:
            InvalidGroundTruth: as for ``name``.
        """
        return self.path.parent / self.name


def read_table(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Line]:
    """Read a UTF-8 CSV file with a header and one picture per line, without duplicates.

    Args:
        path: of the file.
        required: required columns, including ``file``.
        optional: optional columns; all others are ignored.

    Raises:
        InvalidGroundTruth: it is unreadable, lacks a column, has no lines or an invalid one.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header, required)
        seen: dict[str, int] = {}
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise InvalidGroundTruth(
                    f"{path}, line {reader.line_num}: {len(cells)} values under {len(header)} columns; "
                    'put a value with a comma in double quotes: "'
                )
            values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            line = Line(path, reader.line_num, {name: values.get(name, "") for name in (*required, *optional)})
            first = seen.setdefault(line.name, line.number)
            if first != line.number:
                raise line.problem(f"{line.quoted('file')} is already in line {first}")
            yield line
    except csv.Error as error:
        raise InvalidGroundTruth(f"{path}, line {reader.line_num}: not CSV: {error}") from None
    if not seen:
        raise InvalidGroundTruth(f"{path}, line 1: there are no lines below the header")


def _text(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            raise InvalidGroundTruth(f"{path} is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_TABLE_BYTES + 1)
    except OSError as error:
        raise InvalidGroundTruth(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_TABLE_BYTES:
        raise InvalidGroundTruth(f"{path} is larger than {MAX_TABLE_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InvalidGroundTruth(f"{path}, line {number}: not UTF-8; save the table in this encoding") from None


def _check_header(path: Path, header: list[str], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        raise InvalidGroundTruth(
            f"{path}, line 1: the column {missing[0]} is missing; the header needs {','.join(required)}"
        )
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise InvalidGroundTruth(f"{path}, line 1: the column {twice[0][:QUOTED_CHARS]!r} appears twice")
