"""Printing results to stdout in the requested format."""

from __future__ import annotations

import errno
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from imgsearch.durable_fs import file_errors
from imgsearch.errors import StorageUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.text import Text

    from imgsearch.values import Key

__all__ = [
    "FORMAT_VARIABLE",
    "Format",
    "console",
    "local",
    "print_document",
    "print_keys",
    "print_line",
    "print_name",
    "print_names",
    "print_streamed",
    "resolve_format",
    "safe",
    "text",
]


FORMAT_VARIABLE: Final = "IMGSEARCH_FORMAT"


class Format(StrEnum):
    """Output formats."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    PATHS = "paths"

    @property
    def is_json(self) -> bool:
        """Whether the output is JSON."""
        return self in (Format.JSON, Format.JSONL)


def resolve_format(given: Format | None) -> Format:
    """The given format; by default a table on a terminal, else JSON."""
    if given is not None:
        return given
    return Format.TABLE if sys.stdout.isatty() else Format.JSON


def print_document(document: dict[str, Any], *, one_line: bool = False) -> None:
    """Print JSON: indented on a terminal, else on one line.

    Characters that json does not escape but a terminal would interpret, such as 8-bit control characters, are escaped;
    the document stays equivalent.
    """
    print_line(_as_json(document, None if one_line else _indent()))


def print_streamed(
    before: dict[str, Any],
    name: str,
    values: Iterable[dict[str, Any]],
    after: dict[str, Any] | None = None,
    *,
    one_line: bool,
) -> None:
    """Print a document like ``print_document``, streaming the values of one list field.

    Args:
        before: its first fields, at least one.
        name: of the list field.
        values: of the list.
        after: its last fields.
        one_line: print one line even on a terminal.
    """
    indent = None if one_line else _indent()
    end, level = ("", "") if indent is None else ("\n", " " * indent)
    comma = f",{end}" if end else ", "
    head = _as_json(before, indent)
    tail = f"{comma}{level}{_as_json(after, indent)[1:].lstrip()}" if after else f"{end}}}"
    print_line(f"{head[:-1].rstrip()}{comma}{level}{json.dumps(name)}: [", end="")
    divider = ""
    for value in values:
        text = _as_json(value, indent).replace("\n", f"\n{2 * level}")
        print_line(f"{divider}{end}{2 * level}{text}", end="")
        divider = "," if end else ", "
    print_line(f"{f'{end}{level}' if divider else ''}]{tail}")


def _indent() -> int | None:
    return 2 if sys.stdout.isatty() else None


def _as_json(document: dict[str, Any], indent: int | None) -> str:
    line = json.dumps(document, ensure_ascii=False, indent=indent)
    return line if line.isprintable() else "".join(map(_escaped, line))


def _escaped(character: str) -> str:
    return character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]


def print_line(line: str, end: str = "\n") -> None:
    """Write to stdout unbuffered: a line is an acknowledgement."""
    with file_errors("standard output"):
        try:
            sys.stdout.buffer.write((line + end).encode("utf-8", "surrogateescape"))
            sys.stdout.buffer.flush()
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            raise StorageUnwritable("standard output is closed, so the result cannot be printed") from None


def print_name(name: str, *, nul: bool) -> None:
    """Print a name on a line of its own, or followed by a NUL byte."""
    print_line(name, "\0" if nul else "\n")


def print_names(names: Iterable[str], *, nul: bool) -> None:
    """Print one name per line, or separated by NUL bytes."""
    for name in names:
        print_name(name, nul=nul)


def safe(value: str) -> str:
    """Text that is safe for a terminal: escapes control characters and undecodable bytes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in value
    )


def print_keys(keys: Iterable[Key], total: str) -> None:
    """Print keys for people, one per line, and how many there are."""
    where = console()
    for key in keys:
        where.print(f"{safe(key.product_id)}  {safe(key.pic_name)}", markup=False)
    where.print(total)


def local(path: Path | None) -> str:
    """A path for people: relative, if it lies below the working directory; empty for None."""
    if path is None:
        return ""
    try:
        return str(path.relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)


def text(value: object, style: str = "") -> Text:
    """A table cell; never interpreted as markup."""
    from rich.text import Text

    return Text(safe(str(value)), style=style)


def console() -> Console:
    """A console for tables: as wide as the terminal, or 200 characters."""
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False, soft_wrap=False)
