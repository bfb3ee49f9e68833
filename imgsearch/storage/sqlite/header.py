"""Repairing the 100-byte header of a database: SQLite reads nothing without it, and most bytes are known.

https://sqlite.org/fileformat2.html, section 1.3.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from imgsearch.durable_fs import sync
from imgsearch.storage.sqlite.schema import APPLICATION_ID, PACKED_VERSION, PAGE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HEADER_BYTES", "has_log", "is_header", "page_size_of", "repair_header", "resembles_header"]

HEADER_BYTES: Final = 100
FIXED: Final = {
    0: b"SQLite format 3\0",
    18: bytes([2, 2, 0, 64, 32, 32]),  # WAL, no reserved bytes, payload fractions
    44: struct.pack(">I", 4),  # schema format
    56: struct.pack(">I", 1),  # UTF-8
    68: struct.pack(">I", APPLICATION_ID),
}
PAGE_SIZE_AT: Final = 16
PAGE_COUNT_AT: Final = 28
FORMAT_AT: Final = 60
MAX_CHANGED_BYTES: Final = 8
"""If more of the fixed bytes differ, the file never was an instance's database."""


def has_log(path: Path) -> bool:
    """Whether a database has a non-empty WAL, which may hold any of its pages."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def page_size_of(header: bytes | bytearray) -> int | None:
    """The page size in bytes that a header of HEADER_BYTES tells; None if it is not a valid one."""
    (size,) = struct.unpack_from(">H", header, PAGE_SIZE_AT)
    if not _is_page_size(size):
        return None
    return 65_536 if size == 1 else int(size)


def is_header(page: bytes) -> bool:
    """Whether a page begins with the header of an instance's database: all known bytes are right.

    Args:
        page: the first page, whole.
    """
    (version,) = struct.unpack_from(">I", page, FORMAT_AT)
    return _matches(page) == len(FIXED) and page_size_of(page) == len(page) and 1 <= version <= PACKED_VERSION


def resembles_header(page: bytes) -> bool:
    """Whether a page must be the first one, even if some of its bytes are wrong."""
    return _matches(page) > len(FIXED) // 2


def _matches(page: bytes) -> int:
    return sum(page.startswith(value, at) for at, value in FIXED.items())


def repair_header(path: Path, committed_pages: int | None) -> None:
    """Restore the known bytes of a database's header; the caller holds the writer lock.

    Leaves other kinds of files alone. If the first page is in the log as well, SQLite reads it there.

    Args:
        path: of the database.
        committed_pages: its size after the last commit in the log, if there is one. The file may still be shorter, if
            a checkpoint has moved the first page and, for a reader's sake, not the last ones.
    """
    with path.open("r+b") as file:
        header = bytearray(file.read(HEADER_BYTES))
        if len(header) < HEADER_BYTES:
            return
        before = bytes(header)
        for at, value in FIXED.items():
            header[at : at + len(value)] = value
        if sum(old != new for old, new in zip(before, header, strict=True)) > MAX_CHANGED_BYTES:
            return
        if page_size_of(header) is None:
            # Derive it from the number of pages if that is intact; the first formats had smaller pages.
            (counted,) = struct.unpack_from(">I", header, PAGE_COUNT_AT)
            derived, rest = divmod(path.stat().st_size, max(1, counted))
            size = derived if not rest and _is_page_size(derived) else PAGE_BYTES
            struct.pack_into(">H", header, PAGE_SIZE_AT, size)
        page_size = page_size_of(header)
        assert page_size is not None
        pages = path.stat().st_size // page_size if committed_pages is None else committed_pages
        struct.pack_into(">I", header, PAGE_COUNT_AT, pages)
        if header != before:
            file.seek(0)
            file.write(header)
            file.flush()
            sync(path)


def _is_page_size(size: int) -> bool:
    """Whether it is a valid header value; 1 means 65,536 bytes."""
    return size == 1 or (512 <= size <= 32_768 and not size & (size - 1))
