"""Recovering rows from the leaf pages of a database whose interior pages are destroyed.

SQLite reaches a row from the root of its table; if a page on the way is damaged, all rows below it are unreachable but
still in the file. This module reads each page on its own (https://sqlite.org/fileformat2.html, sections 1.6 and 2.1)
and accepts rows whose checksum matches. It skips pages on the free list, which hold deleted data.
"""

from __future__ import annotations

import errno
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from imgsearch.durable_fs import sync
from imgsearch.storage.checksum import feature_checksum, is_valid
from imgsearch.storage.records import ITEM_ROW
from imgsearch.storage.sqlite.header import HEADER_BYTES
from imgsearch.storage.sqlite.schema import STORED_ITEM_ROW

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from io import FileIO
    from pathlib import Path

__all__ = ["LEAF", "Pages", "overwrite_unreadable", "readable_content", "recover_rows"]

SECTOR_BYTES: Final = 4096
"""What a disk reads as a whole, or not at all; older disks have smaller sectors."""

LEAF: Final = 0x0D
INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
"""Size of an integer by its serial type."""

SEAL_LAST: Final = [STORED_ITEM_ROW.index(name) for name in (*ITEM_ROW, "seal")]
"""The places in an item's row as it is stored, in the order in which rows are checked."""


def readable_content(path: Path) -> bytes:
    """The content of a file, with zeros where the disk cannot read it.

    Raises:
        OSError: the file cannot be opened, or for another reason than the disk.
    """
    with path.open("rb", buffering=0) as file:
        try:
            return file.readall()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        return b"".join(sector or bytes(SECTOR_BYTES) for _, sector in _sectors(file, path.stat().st_size))


def overwrite_unreadable(path: Path) -> None:
    """Write zeros where the disk cannot read a file, so that it takes other sectors in place of broken ones.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("rb", buffering=0) as file:
        broken = [start for start, sector in _sectors(file, path.stat().st_size) if sector is None]
    with path.open("r+b", buffering=0) as file:
        for start in broken:
            file.seek(start)
            file.write(bytes(SECTOR_BYTES))
    sync(path)


def _sectors(file: FileIO, size: int) -> Iterator[tuple[int, bytes | None]]:
    """The sectors of a file with their offsets; None for one that cannot be read."""
    for start in range(0, size, SECTOR_BYTES):
        file.seek(start)
        sector = None
        with suppress(OSError):
            sector = file.read(SECTOR_BYTES)
        yield start, sector


def recover_rows(
    path: Path, page_size: int, wanted: set[int]
) -> tuple[dict[int, list[tuple[Any, ...]]], dict[int, tuple[bytes, int]]]:
    """Find rows with these ids and a valid checksum anywhere in the file.

    Args:
        path: of the database, after a checkpoint.
        page_size: in bytes.
        wanted: ids of items.

    Returns:
        By id: all distinct rows of ``items`` (the checksum last), and features with their checksums.
    """
    items: dict[int, list[tuple[Any, ...]]] = {}
    features: dict[int, tuple[bytes, int]] = {}
    pages = Pages(readable_content(path), page_size)
    for row_id, values in pages.rows(wanted):
        row = (row_id, *values[1:])
        item = tuple(row[place] for place in SEAL_LAST) if len(row) == len(SEAL_LAST) else None
        if item is not None and is_valid(item):
            versions = items.setdefault(row_id, [])
            if item not in versions:
                versions.append(item)
        elif len(row) == 3 and isinstance(row[1], bytes) and feature_checksum(row_id, row[1]) == row[2]:
            features[row_id] = (row[1], row[2])
    return items, features


class Pages:
    """A database file, page by page.

    Args:
        data: of the file; may change.
        page_size: in bytes.
    """

    def __init__(self, data: bytes | bytearray, page_size: int) -> None:
        self._data = data
        self._size = page_size

    def rows(self, wanted: set[int]) -> Iterator[tuple[int, list[Any]]]:
        """Yield id and columns of apparent rows on table leaf pages."""
        free = self._free_pages()
        for number in range(1, len(self._data) // self._size + 1):
            start = (number - 1) * self._size
            head = start + (HEADER_BYTES if number == 1 else 0)
            if number in free or self._data[head] != LEAF:
                continue
            (count,) = struct.unpack_from(">H", self._data, head + 3)
            for place in range(count):
                try:
                    (offset,) = struct.unpack_from(">H", self._data, head + 8 + 2 * place)
                    row = self._row(start + offset, wanted)
                except (struct.error, ValueError, IndexError):
                    continue  # not a valid row
                if row is not None:
                    yield row

    def _free_pages(self) -> set[int]:
        free: set[int] = set()
        (trunk,) = struct.unpack_from(">I", self._data, 32)
        while 0 < trunk <= len(self._data) // self._size and trunk not in free:
            free.add(trunk)
            start = (trunk - 1) * self._size
            following, count = struct.unpack_from(">II", self._data, start)
            free.update(struct.unpack_from(f">{min(count, self._size // 4 - 2)}I", self._data, start + 8))
            trunk = following
        return free

    def _row(self, at: int, wanted: Container[int]) -> tuple[int, list[Any]] | None:
        length, at = self._varint(self._data, at)
        row_id, at = self._varint(self._data, at)
        if row_id not in wanted:
            return None
        return row_id, self._values(self._payload(at, length))

    def row(self, at: int) -> tuple[int, list[Any]]:
        """Id and columns of the row that begins at an offset.

        Raises:
            struct.error, ValueError, IndexError: there is none.
        """
        row = self._row(at, range(1, 1 << 63))
        if row is None:
            raise ValueError(at)
        return row

    def _payload(self, at: int, length: int) -> bytes | bytearray:
        """A row's bytes, including those on overflow pages."""
        most, least = self._size - 35, (self._size - 12) * 32 // 255 - 23
        if length > len(self._data):
            raise ValueError(length)
        if length <= most:
            return self._data[at : at + length]
        local = least + (length - least) % (self._size - 4)
        local = local if local <= most else least
        parts, missing = [self._data[at : at + local]], length - local
        (page,) = struct.unpack_from(">I", self._data, at + local)
        while missing > 0:
            start = (page - 1) * self._size
            (page,) = struct.unpack_from(">I", self._data, start)
            part = self._data[start + 4 : start + 4 + min(missing, self._size - 4)]
            if not part:
                raise ValueError(page)
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _values(self, payload: bytes | bytearray) -> list[Any]:
        end, at = self._varint(payload, 0)
        body = end
        values: list[Any] = []
        while at < end:
            kind, at = self._varint(payload, at)
            size = INTEGER_BYTES.get(kind, 8 if kind == 7 else max(0, (kind - 12) // 2))
            raw = payload[body : body + size]
            if len(raw) != size:
                raise ValueError(size)
            body += size
            if kind in INTEGER_BYTES:
                values.append(int.from_bytes(raw, "big", signed=True))
            elif kind == 7:
                values.append(struct.unpack(">d", raw)[0])
            elif kind >= 12:
                values.append(raw.decode() if kind % 2 else raw)
            else:
                values.append({8: 0, 9: 1}.get(kind))
        if body != len(payload):
            raise ValueError(body)
        return values

    @staticmethod
    def _varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
        value = 0
        for place in range(8):
            byte = data[at + place]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, at + place + 1
        return value << 8 | data[at + 8], at + 9
