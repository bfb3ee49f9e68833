"""Repairing the 100-byte header of a database: SQLite reads nothing without it, and most bytes are known.

https://sqlite.org/fileformat2.html, section 1.3.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

from imgsearch.storage.sqlite.schema import APPLICATION_ID, PAGE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["repair_header"]

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
MAX_CHANGED_BYTES: Final = 8
"""If more of the fixed bytes differ, the file never was an instance's database."""


def repair_header(path: Path) -> None:
    """Restore the known bytes of a database's header; the caller holds the writer lock.

    Leaves other kinds of files alone, and databases with a non-empty WAL, which may hold the first page.
    """
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists() and wal.stat().st_size:
        return
    with path.open("r+b") as file:
        header = bytearray(file.read(HEADER_BYTES))
        if len(header) < HEADER_BYTES:
            return
        before = bytes(header)
        for at, value in FIXED.items():
            header[at : at + len(value)] = value
        if sum(old != new for old, new in zip(before, header, strict=True)) > MAX_CHANGED_BYTES:
            return
        (page_size,) = struct.unpack_from(">H", header, PAGE_SIZE_AT)
        if not _is_page_size(page_size):
            # Derive it from the number of pages if that is intact; the first formats had smaller pages.
            (pages,) = struct.unpack_from(">I", header, PAGE_COUNT_AT)
            derived, rest = divmod(path.stat().st_size, max(1, pages))
            page_size = derived if not rest and _is_page_size(derived) else PAGE_BYTES
            struct.pack_into(">H", header, PAGE_SIZE_AT, page_size)
        pages = path.stat().st_size // (65536 if page_size == 1 else page_size)
        struct.pack_into(">I", header, PAGE_COUNT_AT, pages)
        if header != before:
            file.seek(0)
            file.write(header)
            file.flush()
            os.fsync(file.fileno())


def _is_page_size(size: int) -> bool:
    """Whether it is a valid header value; 1 means 65,536 bytes."""
    return size == 1 or (512 <= size <= 32_768 and not size & (size - 1))
