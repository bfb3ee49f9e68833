"""Standard input: a list of paths, or the bytes of one picture."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from imgsearch.errors import InvalidManifest, PictureTooLarge
from imgsearch.sources.text_input import utf8
from imgsearch.types import Content

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

__all__ = ["StreamPicture", "read_lines", "read_paths"]

BLOCK_BYTES = 65536
LIST = "the list on standard input"
JSON = re.compile(rb'\s*(\[\s*["{\]]|\{\s*")')
MAX_PATH_BYTES = 2**20
"""Far above the limit of any system: 4,096 on Linux, 65,536 on Windows."""


def read_paths(stream: BinaryIO, *, nul: bool) -> Iterator[Path]:
    """Yield paths as they arrive, one per line or separated by NUL bytes; skips empty ones.

    A list of lines may be compressed with gzip, have a byte order mark or be UTF-16; with NUL it is taken as it is.
    Truncates paths at MAX_PATH_BYTES, still too long for any system: so a picture, or a list with other separators,
    takes no more memory or time.

    Raises:
        InvalidManifest: it is something else than a list of paths.
    """
    separator = b"\0" if nul else b"\n"
    for name in _parts(stream if nul else _checked(utf8(stream, LIST)), separator):
        if not _is_empty(name, nul):
            yield _path(name, nul)


def _checked(stream: io.BufferedReader) -> io.BufferedReader:
    """The same stream, unless it begins like JSON."""
    if JSON.match(stream.peek()):
        raise InvalidManifest(
            f"{LIST} is JSON: give one name per line, as 'jq -r .[]' prints them; JSON with ids and attributes "
            "are for --manifest -"
        )
    return stream


def read_lines(stream: BinaryIO, *, nul: bool) -> Iterator[str]:
    """Yield lines, or texts separated by NUL bytes, as they arrive; skips empty ones.

    Bytes that are not UTF-8 become surrogates, which no name may contain. Lists are those of ``read_paths``.

    Raises:
        InvalidManifest: it is something else than a list.
    """
    for line in _parts(stream if nul else _checked(utf8(stream, LIST)), b"\0" if nul else b"\n"):
        if not _is_empty(line, nul):
            yield (line if nul else line.removesuffix(b"\r")).decode("utf-8", "surrogateescape")


def _parts(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """Yield the parts between separators, each as soon as it is complete."""
    begun, length = [], 0  # of the incomplete part; joined once
    while block := stream.read1(BLOCK_BYTES) if hasattr(stream, "read1") else stream.read(BLOCK_BYTES):
        head, *others = block.split(separator)
        begun.append(head[: max(0, MAX_PATH_BYTES - length)])
        length += len(begun[-1])
        if others:
            yield b"".join(begun)
            yield from others[:-1]
            begun, length = [others[-1]], len(others[-1])
    yield b"".join(begun)


def _is_empty(name: bytes, nul: bool) -> bool:
    return not (name if nul else name.strip())  # between NULs, a blank is a valid name


def _path(name: bytes, nul: bool) -> Path:
    return Path(os.fsdecode(name if nul else name.removesuffix(b"\r")))


@dataclass(frozen=True, slots=True)
class StreamPicture:
    """A picture whose bytes come from a stream."""

    stream: BinaryIO

    def token(self) -> None:
        """A stream has no versions."""

    def read(self, max_bytes: int) -> Content:
        """Return all bytes up to the end.

        Raises:
            PictureTooLarge: ``max_bytes`` or more; the rest is not read.
        """
        data = self.stream.read(max_bytes)
        if len(data) >= max_bytes:
            raise PictureTooLarge.of(len(data), max_bytes)
        return Content(data)
