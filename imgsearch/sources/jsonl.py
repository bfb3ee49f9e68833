"""Reading JSON lines of unknown origin: one object per line, streamed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from imgsearch.errors import InvalidManifest, InvalidRegion, InvalidValue
from imgsearch.values import MAX_ID_CHARS, Region, check_text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["json_object", "numbered_lines", "optional_region", "optional_text", "readable_id"]

MAX_LINE_BYTES: Final = 8 * 1024 * 1024
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_DECODER: Final = json.JSONDecoder()


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | InvalidManifest]]:
    """Yield lines with their numbers, from 1, holding one at a time; skips empty lines.

    Yields:
        The line, or why it was skipped.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
            yield number, InvalidManifest(f"the line is longer than {MAX_LINE_BYTES:,} bytes")
            continue
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if line.strip():
            yield number, line


def json_object(line: bytes) -> dict[str, Any]:
    """The object of one line.

    Raises:
        InvalidManifest: it is not a JSON object, or more than one.
    """
    try:
        document, end = _DECODER.raw_decode(text := line.decode("utf-8").strip())
    except UnicodeDecodeError:
        raise InvalidManifest("the line is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"the line is not a JSON object: {str(error)[:100]}") from None
    if text[end:].strip():
        raise InvalidManifest("the line has more than one object; put each on its own line")
    if not isinstance(document, dict):
        raise InvalidManifest("the line is not a JSON object")
    return document


def readable_id(document: dict[str, Any], field: str) -> str | None:
    """An id for reporting which item failed; None if it is not valid, such as half a surrogate pair in JSON."""
    value = document.get(field)
    if not isinstance(value, str):
        return None
    try:
        check_text(value, "", field, MAX_ID_CHARS)
    except InvalidValue:
        return None
    return value


def optional_text(document: dict[str, Any], field: str, code: str) -> str | None:
    """The text of a field; None if empty or missing.

    Raises:
        InvalidValue: it is not text; with ``code``.
    """
    value = document.get(field)
    if value is not None and not isinstance(value, str):
        raise InvalidValue(f"{field} {str(value)[:40]!r} is not text", code=code)
    return value or None


def optional_region(document: dict[str, Any]) -> Region | None:
    """The region of a line; None if empty or missing.

    Raises:
        InvalidRegion
    """
    value = document.get("Region")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidRegion(f"Region {str(value)[:40]!r} is not text 'x1,x2,y1,y2'")
    return Region.parse(value)
