"""What comes in on standard input: a list of paths, or the bytes of one picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from imgsearch.errors import PictureTooLarge
from imgsearch.types import Content

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["StreamPicture", "read_paths"]

BLOCK_BYTES = 65536


def read_paths(stream: BinaryIO, *, nul: bool) -> Iterator[Path]:
    """Paths as they arrive, one a line, or separated by NUL bytes; empty ones are passed over."""
    separator = b"\0" if nul else b"\n"
    rest = b""
    while block := stream.read1(BLOCK_BYTES) if hasattr(stream, "read1") else stream.read(BLOCK_BYTES):
        *whole, rest = (rest + block).split(separator)
        yield from (_path(name, nul) for name in whole if not _is_empty(name, nul))
    if not _is_empty(rest, nul):
        yield _path(rest, nul)


def _is_empty(name: bytes, nul: bool) -> bool:
    return not (name if nul else name.strip())  # between NULs even a blank is a name


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
