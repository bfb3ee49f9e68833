"""Many rows at once, column by column, held against their checksums in bulk.

SQLite joins each column to one text or blob, which takes a fraction of the time of a Python object per value. From
these, the literals that checksums are made of (``checksum.row_checksum``) are put together for all rows. That is only a
shortcut: where a checksum does not agree, the caller reads the row itself and decides.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from fastcrc import crc64

from imgsearch.storage.records import ITEM_ROW
from imgsearch.storage.sqlite.rows import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from imgsearch.quantization import Coding

    Numbers = npt.NDArray[np.int64]

__all__ = [
    "FEATURE_COLUMNS",
    "GROUP_COLUMNS",
    "GROUP_WIDTH",
    "MANY",
    "ROW_COLUMNS",
    "FeatureColumns",
    "GroupColumns",
    "Wanted",
    "is_binary_safe",
    "verified_rows",
]

MANY: Final = 4096
"""Rows per statement: bounds the memory."""
_UNIT: Final = "\x1f"
"""Between the values of a text column."""
_UNSET: Final = "\x1e"
"""In place of an unset value of a text column."""
_BLOBS: Final = ("content_hash", "token", "picture_hash")
_OPTIONAL_NUMBERS: Final = ("root_id", "int_attr", "int_attr2", "int_attr3", "int_attr4")
_TEXTS: Final = (
    *("product_id", "pic_name", "subjects", "relative_path", "custom_content"),
    *("str_attr", "str_attr2", "str_attr3", "str_attr4"),
)


def _bytes(column: str) -> str:
    return f"CAST(group_concat({column}, '') AS BLOB)"


def _joined(name: str) -> tuple[str, ...]:
    """SQL that joins a column of ``items``; two columns for blobs, of which the second has their lengths."""
    column = f"items.{name}"
    if name in _BLOBS:
        return _bytes(column), f"group_concat(coalesce(length({column}), -1))"
    if name in _TEXTS:
        return (f"group_concat(coalesce({column}, '{_UNSET}'), '{_UNIT}')",)
    return (f"group_concat(coalesce({column}, 'None'))",) if name in _OPTIONAL_NUMBERS else (f"group_concat({column})",)


_ROW: Final = [column for name in (*ITEM_ROW, "seal") for column in _joined(name)]
ROW_COLUMNS: Final = ", ".join(_ROW)
"""What ``verified_rows`` takes, of a statement over ``items``."""
GROUP_COLUMNS: Final = ", ".join(column for name in ("id", "product_id", "category_id") for column in _joined(name))
"""What ``GroupColumns.read`` takes, of a statement over ``items``."""
GROUP_WIDTH: Final = 3
"""How many columns these are."""
FEATURE_COLUMNS: Final = f"group_concat(features.id), {_bytes('features.feature')}, group_concat(features.seal)"
"""What ``FeatureColumns.read`` takes, of a statement over ``features``."""


@lru_cache(maxsize=1)
def is_binary_safe() -> bool:
    """Whether this SQLite joins blobs byte by byte, which it does not promise; if not, rows are read one by one."""
    blobs = bytes(range(256)), bytes(1), bytes(range(255, -1, -1))
    with closing(sqlite3.connect(":memory:")) as connection:
        query = f"SELECT {_bytes('value')} FROM (SELECT ? AS value UNION ALL SELECT ? UNION ALL SELECT ?)"
        (found,) = connection.execute(query, blobs).fetchone()
    return bool(found == b"".join(blobs))


class Wanted:
    """Ids that a statement is asked for.

    Args:
        ids: each once.
    """

    def __init__(self, ids: list[int]) -> None:
        self._ids = np.array(ids, np.int64)
        self.json = json.dumps(ids, separators=(",", ":"))
        """The ids, as a parameter."""
        self._text = self.json[1:-1]

    def found(self, text: str | None) -> Numbers:
        """The ids that SQLite has joined: usually all of them, which then need not be parsed."""
        return self._ids if text == self._text else _numbers(text)


@dataclass(frozen=True, slots=True)
class GroupColumns:
    """ProductId and category of rows of ``items``, which are not held against the rows' checksums."""

    ids: Numbers
    """Shape (n,)."""
    groups: list[tuple[str, int]] | None
    """ProductId and category of each; None if they cannot be told apart."""

    @classmethod
    def read(cls, columns: Sequence[Any], wanted: Wanted) -> GroupColumns:
        """Convert the values of GROUP_COLUMNS of rows among those wanted."""
        joined, product, category = columns
        ids = wanted.found(joined)
        if not len(ids):
            return cls(ids, [])
        products = (product or "").split(_UNIT)
        same = _same_or_each(category or "", ",", len(ids))
        categories = _numbers(same).tolist() * len(ids) if isinstance(same, str) else _numbers(category).tolist()
        if not len(ids) == len(products) == len(categories):
            return cls(ids, None)
        return cls(ids, list(zip(products, categories, strict=True)))


def verified_rows(columns: Sequence[Any], wanted: Wanted) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Which rows are sure to match their checksums.

    Args:
        columns: the values of ROW_COLUMNS.
        wanted: what was asked for.

    Returns:
        The rows' ids, and of each whether it was found to match; others may match all the same. Shape (n,) both.
    """
    values = iter(columns)
    joined = {name: (next(values), next(values) if name in _BLOBS else None) for name in (*ITEM_ROW, "seal")}
    ids = wanted.found(joined["id"][0])
    expected = _numbers(joined.pop("seal")[0])
    rows = _literals(len(ids), joined)
    if not len(expected) == len(rows) == len(ids):
        return ids, np.zeros(len(ids), np.bool_)
    return ids, np.fromiter(map(crc64.xz, rows), np.uint64, len(rows)).view(np.int64) == expected


@dataclass(frozen=True, slots=True)
class FeatureColumns:
    """Features; they may be used if ``verified``."""

    ids: Numbers
    features: npt.NDArray[np.floating]
    """Shape (n, dimension)."""
    verified: bool
    """Whether each matches its checksum."""

    @classmethod
    def read(cls, columns: Sequence[Any], wanted: Wanted, coding: Coding) -> FeatureColumns:
        """Convert the values of FEATURE_COLUMNS of features among those wanted, as they are laid out."""
        ids, blob, seals = columns
        numbers, expected = wanted.found(ids), _numbers(seals)
        count, length = len(numbers), len(blob or b"")
        if not count or len(expected) != count or not length or length % count:
            return cls(numbers, np.zeros((0, 0), np.float32), verified=not count and ids is None)
        pieces = _pieces(blob, np.full(count, length // count))
        found = np.fromiter(map(crc64.xz, pieces, numbers.tolist()), np.uint64, count).view(np.int64)
        try:
            return cls(numbers, coding.unpacked(blob, count), bool(np.array_equal(found, expected)))
        except ValueError:
            return cls(numbers, np.zeros((0, 0), np.float32), verified=False)


def _numbers(text: str | None) -> Numbers:
    """Integers with commas between them. Where there is anything else, fewer than there should be."""
    try:
        return numbers(text)
    except (ValueError, DeprecationWarning):
        return np.zeros(0, np.int64)


def _literals(count: int, joined: dict[str, tuple[Any, str | None]]) -> list[bytes]:
    """The literals of rows as ``ascii`` writes them; none if they cannot be told apart.

    Args:
        count: of rows.
        joined: what ``_joined`` gives of each of ITEM_ROW.
    """
    columns: list[list[str] | str] = []
    for name, (values, lengths) in joined.items():
        if values is None and lengths is None:
            return []
        if lengths is not None:
            column = _blobs(count, values, lengths)
        elif name in _TEXTS:
            column = _texts(count, values)
        else:
            column = _same_or_each(values, ",", count)
        if isinstance(column, list) and len(column) != count:
            return []
        if isinstance(column, str) and columns and isinstance(columns[-1], str):
            columns[-1] += f", {column}"
        else:
            columns.append(column)
    each = [repeat(column, count) if isinstance(column, str) else column for column in columns]
    return [b"(%b)" % row.encode("ascii") for row in map(", ".join, zip(*each, strict=True))]


def _same_or_each(text: str, separator: str, count: int) -> str | list[str]:
    """The value that all rows have, or that of each."""
    first = text.partition(separator)[0]
    if len(text) == count * len(first) + (count - 1) * len(separator) and text == separator.join([first] * count):
        return first
    return text.split(separator)


def _texts(count: int, text: str) -> str | list[str]:
    """The literal of all rows' texts, or of each."""
    values = _same_or_each(text, _UNIT, count)
    if isinstance(values, str):
        return "None" if values == _UNSET else ascii(values)
    is_plain = text.isascii() and "'" not in text and "\\" not in text
    if not is_plain or not text.replace(_UNIT, "").replace(_UNSET, "").isprintable():
        return ["None" if value == _UNSET else ascii(value) for value in values]
    quoted = text.replace(_UNIT, f"'{_UNIT}'")
    return f"'{quoted}'".replace(f"'{_UNSET}'", "None").split(_UNIT)


def _blobs(count: int, blob: bytes | None, lengths: str) -> str | list[str]:
    """The literal of all rows' blobs, or of each; none if they cannot be told apart."""
    length = _same_or_each(lengths, ",", count)
    if length == "-1":
        return "None"
    sizes = np.full(count, int(length)) if isinstance(length, str) and length.isdigit() else _numbers(lengths)
    lasting = np.maximum(sizes, 0)
    if len(sizes) != count or len(blob or b"") != lasting.sum():
        return []
    values: list[bytes | None] = [*_pieces(blob or b"", lasting)]
    for place in np.flatnonzero(sizes < 0).tolist():
        values[place] = None
    literals = ascii(values)[1:-1].split(", ")
    # The bytes of a blob may look like what separates two of them.
    return literals if len(literals) == count else [ascii(value) for value in values]


def _pieces(blob: bytes, sizes: Numbers) -> list[bytes]:
    """Consecutive pieces of these sizes."""
    if len(sizes) and sizes[0] and (sizes == sizes[0]).all():
        pieces: list[bytes] = np.frombuffer(blob, f"V{sizes[0]}").tolist()
        return pieces
    ends = np.cumsum(sizes).tolist()
    return [blob[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
