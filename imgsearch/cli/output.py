"""Printing: stdout carries the result, in the format that was asked for."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from imgsearch.durable_fs import file_errors

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["Format", "console", "print_document", "print_line", "print_names", "resolve_format", "safe", "text"]


class Format(StrEnum):
    """Formats of the result."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    PATHS = "paths"

    @property
    def is_json(self) -> bool:
        """Whether programs read it as JSON."""
        return self in (Format.JSON, Format.JSONL)


def resolve_format(given: Format | None) -> Format:
    """The format that was asked for; else a table on a terminal and JSON for programs."""
    if given is not None:
        return given
    return Format.TABLE if sys.stdout.isatty() else Format.JSON


def print_document(document: dict[str, Any], *, one_line: bool = False) -> None:
    """Print JSON: on one line where programs read, indented for people.

    What json leaves as it is and a terminal would interpret, such as 8-bit control characters, is escaped: the document
    stays the same.
    """
    indent = 2 if sys.stdout.isatty() and not one_line else None
    line = json.dumps(document, ensure_ascii=False, indent=indent)
    print_line(line if line.isprintable() else "".join(map(_escaped, line)))


def _escaped(character: str) -> str:
    return character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]


def print_line(line: str, end: str = "\n") -> None:
    """Write to stdout at once: a line is an acknowledgement, so it must not wait in a buffer."""
    with file_errors("what standard output goes to"):
        sys.stdout.buffer.write((line + end).encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()


def print_names(names: list[str], *, nul: bool) -> None:
    """One name a line, or separated by NUL bytes."""
    for name in names:
        print_line(name, "\0" if nul else "\n")


def safe(value: str) -> str:
    """Text that cannot steer a terminal: control characters and undecodable bytes are written out."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in value
    )


def text(value: object, style: str = "") -> Text:
    """A cell of a table; names are data, never markup."""
    from rich.text import Text

    return Text(safe(str(value)), style=style)


def console() -> Console:
    """For tables: as wide as the terminal, or wide enough for everything."""
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False, soft_wrap=False)
