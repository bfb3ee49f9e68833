"""What must hold of a stored feature: its checksum, its layout, its length."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.quantization import FEATURE_TYPE, HALF, Coding
from imgsearch.storage.checksum import feature_checksum, is_valid
from imgsearch.storage.integrity.readable_rows import readable_rows
from imgsearch.storage.records import SETTING_ROW
from imgsearch.storage.sqlite.settings import SETTING_TABLES

if TYPE_CHECKING:
    import sqlite3

__all__ = ["feature_fault", "stored_coding"]

LENGTH_TOLERANCE: Final = 2e-3
"""Tolerance for the length of a stored feature; half precision accounts for 5e-4 at most."""


def stored_coding(connection: sqlite3.Connection) -> Coding:
    """How features have to be laid out by the setting ``model``; without it, as most features are.

    The dimension is 0 if there is neither.
    """
    columns = ", ".join(SETTING_ROW)
    for table in SETTING_TABLES:  # each is a copy of the other
        for row in readable_rows(connection, f"SELECT {columns}, seal FROM {table} WHERE name = 'model'"):
            if is_valid(row):
                return Coding.of(json.loads(row[1]))
    row = connection.execute(
        "SELECT length(feature) FROM features GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
    ).fetchone()
    return Coding(dimension=0 if row is None else int(row[0]) // FEATURE_TYPE.itemsize)


def feature_fault(item_id: int, feature: object, checksum: object, coding: Coding) -> str | None:
    """What is wrong with a stored feature; None if it is valid.

    Args:
        item_id: of its item.
        feature: the stored bytes.
        checksum: the stored checksum.
        coding: how it has to be laid out; any dimension will do if that is 0.
    """
    if (
        not isinstance(feature, bytes)
        or not isinstance(checksum, int)
        or feature_checksum(item_id, feature) != checksum
    ):
        return "is corrupted"
    if not feature or len(feature) % FEATURE_TYPE.itemsize * (coding.bits == HALF):
        return f"has {len(feature)} bytes"
    try:
        values = coding.unpacked(feature, 1)[0].astype(np.float64)
    except ValueError:
        return f"has {len(feature)} bytes instead of {coding.row_bytes}"
    if coding.dimension and len(values) != coding.dimension:
        return f"has {len(values)} dimensions instead of {coding.dimension}"
    if not np.isfinite(values).all():
        return "is not finite"
    length = float(np.sqrt(values @ values))
    return None if abs(length - 1) <= LENGTH_TOLERANCE else f"has length {length:.4g} instead of 1"
