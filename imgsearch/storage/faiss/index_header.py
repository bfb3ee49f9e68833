"""The headers of index files, checked before FAISS parses them.

FAISS believes what a file says of itself: it allocates what a damaged count asks for, maps what lies behind the end,
and takes every kind of index that a type names. So each field before, between and behind the data must be what
``index_builder`` writes for the published generation, and all lengths together must be that of the file. Nothing else
is left for FAISS to find out.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from imgsearch.errors import InstanceDamaged

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.storage.sqlite.generations import Generation

__all__ = ["check_header", "corrupted_error"]

UNUSED: Final = 1 << 20
"""What FAISS writes where it once had two more fields."""
HALF_PRECISION: Final = 4
"""``ScalarQuantizer.QT_fp16``."""
HALF_BYTES: Final = 2
FLOAT_BYTES: Final = 4
ID_BYTES: Final = 8
FACTOR_BYTES: Final = 8
"""Behind the bits of a RaBitQ code: two numbers of single precision."""
QUERY_BITS: Final = 4
"""As IndexIVFRaBitQ has it unless told otherwise."""


def corrupted_error(path: Path, what: str = "") -> InstanceDamaged:
    """The error for an index file that is not as it was written.

    Args:
        path: of the file.
        what: is wrong with it, if that is known.
    """
    detail = f" ({what})" if what else ""
    return InstanceDamaged(f"{path} is corrupted{detail}; the items are safe in the database: run 'imgsearch rebuild'")


def check_header(path: Path, generation: Generation, lists: int, trailer: int) -> tuple[int, int]:
    """Raise unless FAISS will read of a file what was written for a generation.

    It reads some hundred bytes, and of an inverted file the lengths of its lists.

    Args:
        path: of the file.
        generation: as published.
        lists: number of inverted lists; 0: a flat index.
        trailer: bytes behind the FAISS data.

    Returns:
        Of an inverted file, the position of the centroids in bytes, and their dimension; zeros of a flat index.

    Raises:
        FileNotFoundError
        InstanceDamaged: with the field that is wrong.
    """
    with path.open("rb") as file:
        fields = _Fields(path, file, os.fstat(file.fileno()).st_size - trailer)
        centroids = _check_inverted(fields, generation, lists) if lists else _check_flat(fields, generation)
        fields.end()
        return centroids


@dataclass(slots=True)
class _Fields:
    """The fields of a file, one after the other, none of them behind its end."""

    path: Path
    file: BinaryIO
    size: int
    """Bytes of FAISS data."""
    position: int = 0

    def expect(self, name: str, kind: str, wanted: int | bytes) -> None:
        """Take a field that can have one value only.

        Args:
            name: for the message.
            kind: its type, as ``struct`` names it.
            wanted: the value.

        Raises:
            InstanceDamaged
        """
        found = self.take(name, kind)
        if found != wanted:
            raise corrupted_error(self.path, f"{name} is {found!r}, not {wanted!r}")

    def take(self, name: str, kind: str) -> Any:
        """The value of a field of any value.

        Raises:
            InstanceDamaged: the file ends before.
        """
        layout = struct.Struct(f"<{kind}")
        (value,) = layout.unpack(self._bytes(name, layout.size))
        return value

    def take_numbers(self, name: str, count: int) -> npt.NDArray[np.uint64]:
        """The values of consecutive fields of 64 bits, shape (count,).

        Raises:
            InstanceDamaged: the file ends before.
        """
        return np.frombuffer(self._bytes(name, count * 8), np.dtype("<u8"))

    def pass_over(self, name: str, length: int) -> None:
        """Leave out data of a length in bytes.

        Raises:
            InstanceDamaged: the file ends before.
        """
        self._check_left(name, length)
        self.file.seek(length, os.SEEK_CUR)

    def end(self) -> None:
        """Raise if there is more.

        Raises:
            InstanceDamaged
        """
        if self.position != self.size:
            raise corrupted_error(self.path, f"{self.size - self.position} bytes too many")

    def _bytes(self, name: str, length: int) -> bytes:
        self._check_left(name, length)
        data = self.file.read(length)
        if len(data) != length:
            raise corrupted_error(self.path, f"it ends before {name}")
        return data

    def _check_left(self, name: str, length: int) -> None:
        if length > self.size - self.position:
            raise corrupted_error(self.path, f"it ends before {name}")
        self.position += length


def _check_flat(fields: _Fields, generation: Generation) -> tuple[int, int]:
    """``IDMap2,SQfp16``: a map to ids, around codes of half precision."""
    items = generation.items
    fields.expect("the type of the index", "4s", b"IxM2")
    dimension = _dimension(fields)
    _check_common(fields, "the index", items)
    fields.expect("the type of the codes", "4s", b"IxSQ")
    fields.expect("the dimension of the codes", "i", dimension)
    _check_common(fields, "the codes", items)
    fields.expect("the quantiser", "i", HALF_PRECISION)
    fields.expect("the quantiser's range", "i", 0)
    fields.expect("the argument of the quantiser's range", "I", 0)  # a float: as bits, or -0.0 would be 0.0
    fields.expect("the quantiser's dimension", "Q", dimension)
    fields.expect("the length of a code", "Q", HALF_BYTES * dimension)
    fields.expect("the number of trained values", "Q", 0)
    fields.expect("the length of the codes", "Q", HALF_BYTES * dimension * items)
    fields.pass_over("the end of the codes", HALF_BYTES * dimension * items)
    fields.expect("the number of ids", "Q", items)
    fields.pass_over("the end of the ids", ID_BYTES * items)
    return 0, 0


def _check_inverted(fields: _Fields, generation: Generation, lists: int) -> tuple[int, int]:
    """``IVF…,RaBitQ``: centroids, and lists of codes and ids; where the centroids are, and their dimension."""
    items = generation.items
    fields.expect("the type of the index", "4s", b"Iwrq")
    dimension = _dimension(fields)
    code = (dimension + 7) // 8 + FACTOR_BYTES
    _check_common(fields, "the index", items)
    fields.expect("the number of lists", "Q", lists)
    fields.expect("the number of lists to probe", "Q", generation.nprobe or 1)
    fields.expect("the type of the centroids", "4s", b"IxFI")
    fields.expect("the dimension of the centroids", "i", dimension)
    _check_common(fields, "the centroids", lists)
    fields.expect("the number of values of the centroids", "Q", lists * dimension)
    centroids = fields.position
    fields.pass_over("the end of the centroids", FLOAT_BYTES * lists * dimension)
    fields.expect("the type of the direct map", "B", 0)
    fields.expect("the length of the direct map", "Q", 0)
    fields.expect("the quantiser's dimension", "Q", dimension)
    fields.expect("the length of the quantiser's codes", "Q", code)
    fields.expect("the quantiser's metric", "i", 0)
    fields.expect("the length of a code", "Q", code)
    fields.expect("whether codes are of residuals", "B", 1)
    fields.expect("the bits of a query", "B", QUERY_BITS)
    fields.expect("the type of the lists", "4s", b"ilar")
    fields.expect("the number of stored lists", "Q", lists)
    fields.expect("the length of a stored code", "Q", code)
    _check_lengths(fields, lists, items)
    fields.pass_over("the end of the lists", (code + ID_BYTES) * items)
    return centroids, dimension


def _check_lengths(fields: _Fields, lists: int, items: int) -> None:
    """The lengths of all lists; if most lists are empty, those of the others, each with its number."""
    kind = fields.take("the type of the lengths", "4s")
    if kind == b"full":
        fields.expect("the number of lengths", "Q", lists)
        lengths = fields.take_numbers("the end of the lengths", lists)
    elif kind == b"sprs":
        count = fields.take("the number of lengths", "Q")
        if count % 2 or count > 2 * lists:
            raise corrupted_error(fields.path, f"the number of lengths is {count}, for {lists} lists")
        pairs = fields.take_numbers("the end of the lengths", count)
        numbers, lengths = pairs[::2], pairs[1::2]
        if len(numbers) and (numbers.max() >= lists or len(np.unique(numbers)) != len(numbers)):
            raise corrupted_error(fields.path, "lengths of lists that there are not, or of one list twice")
    else:
        raise corrupted_error(fields.path, f"the type of the lengths is {kind!r}")
    # Each for itself first: a sum of 64 bits may overflow to what is wanted.
    if (len(lengths) and lengths.max() > items) or sum(lengths.tolist()) != items:
        raise corrupted_error(fields.path, f"the lists do not have {items} items together")


def _dimension(fields: _Fields) -> int:
    """The dimension, as the file says; the lengths behind it are wrong if it is."""
    dimension: int = fields.take("the dimension", "i")
    if dimension < 1:
        raise corrupted_error(fields.path, f"the dimension is {dimension}")
    return dimension


def _check_common(fields: _Fields, of: str, count: int) -> None:
    """What follows the dimension in every index: how many vectors, trained, compared by inner product."""
    fields.expect(f"the number of items in {of}", "q", count)
    fields.expect(f"the first unused field of {of}", "q", UNUSED)
    fields.expect(f"the second unused field of {of}", "q", UNUSED)
    fields.expect(f"whether {of} is trained", "B", 1)
    fields.expect(f"the metric of {of}", "i", 0)
