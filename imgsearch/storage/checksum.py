"""Checksums of database rows, as SQLite has none of its own.

CRC-64/XZ detects every burst error of up to 64 bits, and all but one in 2**64 of other changes; it guards against bit
rot, not against tampering. A row's checksum covers all columns including the id, so a row under a wrong id is detected
too. Checksums are signed 64-bit integers, as SQLite stores them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastcrc import crc64

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

__all__ = ["FUNCTION", "feature_checksum", "is_valid", "register", "row_checksum"]

FUNCTION: Final = "row_checksum"
"""The SQL name of ``row_checksum``."""

_SIGN: Final = 1 << 63
_FULL: Final = 1 << 64


def _signed(value: int) -> int:
    return value - _FULL if value & _SIGN else value


def row_checksum(*values: float | str | bytes | None) -> int:
    """The checksum of a row's columns, in order.

    Computed over their ASCII literals, which are the same in every Python release.
    """
    return _signed(crc64.xz(ascii(values).encode("ascii")))


def is_valid(row: Sequence[Any]) -> bool:
    """Whether a row (its columns in order, then its checksum) matches its checksum."""
    return bool(row_checksum(*row[:-1]) == row[-1])


def feature_checksum(item_id: int, feature: bytes) -> int:
    """The checksum of a stored feature and its item's id."""
    return _signed(crc64.xz(feature, item_id & (_FULL - 1)))


def register(connection: sqlite3.Connection) -> None:
    """Make the checksum functions available to SQL on this connection."""
    connection.create_function(FUNCTION, -1, row_checksum, deterministic=True)
    connection.create_function("feature_checksum", 2, feature_checksum, deterministic=True)
