"""Checksums of what the database holds, row by row, since SQLite has none of its own.

CRC-64/XZ tells every change of up to 64 neighbouring bits, and all but one in 2**64 of others; it guards against decay,
not against people. A row is checksummed over all of its columns, its id among them, so that a row that turns up under
another id is told too. Checksums are signed 64-bit integers, as SQLite stores them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastcrc import crc64

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

__all__ = ["FUNCTION", "feature_checksum", "is_valid", "register", "row_checksum"]

FUNCTION: Final = "row_checksum"
"""What SQL calls ``row_checksum``."""

_SIGN: Final = 1 << 63
_FULL: Final = 1 << 64


def _signed(value: int) -> int:
    return value - _FULL if value & _SIGN else value


def row_checksum(*values: float | str | bytes | None) -> int:
    """The checksum of a row's columns in their order.

    Their literals are what counts, in ASCII, which is the same in every release of Python.
    """
    return _signed(crc64.xz(ascii(values).encode("ascii")))


def is_valid(sealed: Sequence[Any]) -> bool:
    """Whether a row is what was written: its columns in their order, then its seal."""
    return bool(row_checksum(*sealed[:-1]) == sealed[-1])


def feature_checksum(item_id: int, feature: bytes) -> int:
    """The checksum of a stored feature under the id of its item."""
    return _signed(crc64.xz(feature, item_id & (_FULL - 1)))


def register(connection: sqlite3.Connection) -> None:
    """Let SQL statements on this connection compute checksums."""
    connection.create_function(FUNCTION, -1, row_checksum, deterministic=True)
    connection.create_function("feature_checksum", 2, feature_checksum, deterministic=True)
