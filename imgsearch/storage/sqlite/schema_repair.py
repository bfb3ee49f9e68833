"""Restoring the schema of a damaged database, without which SQLite reaches no table.

The schema is a table of its own, rooted in the first page. Where a page of it is malformed, SQLite reads none of the
tables behind the damage, so to a repair they would look empty. What the schema must say is known, except for the pages
where tables begin; so a single bit that makes the pages say it again is the flipped one. Bits of texts are not tried:
SQLite reads such a schema, and its texts are restored through it.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from imgsearch.durable_fs import sync
from imgsearch.storage.sqlite.database import is_refusal, transaction
from imgsearch.storage.sqlite.header import HEADER_BYTES, has_log, page_size_of
from imgsearch.storage.sqlite.pages import LEAF, Pages, readable_content
from imgsearch.storage.sqlite.schema import SchemaEntry, expected_schema, has_everything, missing_entries, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["has_all_tables", "repair_schema_pages", "restore_schema"]

INTERIOR: Final = 0x05
CELL_HEAD_BYTES: Final = 20
"""Of an entry: its length, its id and the types of its columns take no more."""
ROOT_PAGE: Final = 3
"""The column of an entry that says where its table begins."""
MALFORMED: Final = (struct.error, ValueError, IndexError, RecursionError)


def repair_schema_pages(path: Path) -> bool:
    """Correct one flipped bit in the structure of the schema's pages; the caller holds the writer lock.

    Leaves databases with a non-empty WAL alone, which may hold these pages.

    Args:
        path: of a database whose header is valid.

    Returns:
        Whether a bit was corrected.

    Raises:
        OSError
    """
    if has_log(path):
        return False
    data = bytearray(readable_content(path))
    page_size = page_size_of(data) if len(data) >= HEADER_BYTES else None
    if page_size is None:
        return False
    schema = _Schema(data, page_size)
    expected = expected_schema()
    if schema.positions() == [entry.position for entry in expected]:
        return False
    for place in schema.structure():
        for bit in range(8):
            data[place] ^= 1 << bit
            if schema.entries() == expected:
                with path.open("r+b") as file:
                    file.seek(place)
                    file.write(data[place : place + 1])
                sync(path)
                return True
            data[place] ^= 1 << bit
    return False


class _Schema:
    """The pages of the schema, read without SQLite."""

    def __init__(self, data: bytearray, page_size: int) -> None:
        self._data, self._size = data, page_size
        self._pages = Pages(data, page_size)

    def entries(self) -> list[SchemaEntry] | None:
        """All entries, without statistics tables that SQLite may add; None: a page is malformed."""
        try:
            rows = [self._pages.row(at) for at in self._cells(1)]
            entries = [SchemaEntry(row_id, kind, name, table, sql) for row_id, (kind, name, table, _, sql) in rows]
        except MALFORMED:
            return None
        if not all(isinstance(values[ROOT_PAGE], int) for _, values in rows):
            return None
        return [entry for entry in entries if not str(entry.name).startswith("sqlite_stat")]

    def positions(self) -> list[int]:
        """The ids of all entries that can be read; empty: a page is malformed."""
        entries = self.entries()
        return [] if entries is None else [entry.position for entry in entries]

    def _cells(self, number: int) -> Iterator[int]:
        """Offsets of the rows below a page, in their order.

        Raises:
            struct.error, ValueError, IndexError, RecursionError: a page is malformed.
        """
        start, head, count = self._page(number)
        kind = self._data[head]
        if kind not in (LEAF, INTERIOR):
            raise ValueError(kind)
        offsets = struct.unpack_from(f">{count}H", self._data, head + (8 if kind == LEAF else 12))
        if kind == LEAF:
            yield from (start + offset for offset in offsets)
            return
        children = [struct.unpack_from(">I", self._data, start + offset)[0] for offset in offsets]
        for child in (*children, *struct.unpack_from(">I", self._data, head + 8)):
            yield from self._cells(child)

    def _page(self, number: int) -> tuple[int, int, int]:
        """Where a page and its own header begin, and how many cells it says that it has."""
        start = (number - 1) * self._size
        head = start + (HEADER_BYTES if number == 1 else 0)
        if not 0 < number <= len(self._data) // self._size:
            raise ValueError(number)
        (count,) = struct.unpack_from(">H", self._data, head + 3)
        return start, head, count

    def structure(self) -> list[int]:
        """Offsets of all bytes that say where entries are and what they consist of, as far as they can be told."""
        places: dict[int, None] = {}
        numbers = [1]
        for number in numbers:
            try:
                start, head, count = self._page(number)
                # A wrong number of cells, or a wrong kind of page, is among what is corrected.
                most = min(count, len(expected_schema()) + 8)
                width = 12 if self._data[head] == INTERIOR else 8
                places |= dict.fromkeys(range(head, head + 12 + 2 * most))
                for offset in struct.unpack_from(f">{most}H", self._data, head + width):
                    at = start + min(offset, self._size - CELL_HEAD_BYTES)
                    places |= dict.fromkeys(range(at, at + CELL_HEAD_BYTES))
                    if self._data[head] == INTERIOR and number == 1:
                        numbers.append(struct.unpack_from(">I", self._data, at)[0])
                if self._data[head] == INTERIOR and number == 1:
                    numbers.append(struct.unpack_from(">I", self._data, head + 8)[0])
            except MALFORMED:
                continue
        return list(places)


def restore_schema(old: sqlite3.Connection) -> None:
    """Restore names and definitions of tables, indexes and triggers; their root pages stay.

    Leaves alone what is only in another order, where each position has the root page of another table.
    """
    with suppress(sqlite3.Error):
        present = schema_of(old)
        if has_everything(present):
            return
        with transaction(old, write=True):
            for entry in missing_entries(present):
                old.execute(
                    "UPDATE sqlite_schema SET type = ?, name = ?, tbl_name = ?, sql = ? WHERE rowid = ?",
                    (entry.type, entry.name, entry.table, entry.sql, entry.position),
                )


def has_all_tables(connection: sqlite3.Connection) -> bool:
    """Whether SQLite knows all tables of an instance's database.

    Raises:
        sqlite3.Error: the system refused access or resources.
    """
    try:
        known = {(entry.type, entry.name) for entry in schema_of(connection)}
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if is_refusal(error):
            raise
        return False
    return all((entry.type, entry.name) in known for entry in expected_schema() if entry.type == "table")
