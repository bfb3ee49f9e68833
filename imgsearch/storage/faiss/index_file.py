"""Reading the file of an index generation: its inverted lists and its checksums.

FAISS files have no checksums, so the database records the length and BLAKE2b of each. A flat file is small and verified
on every opening. After the FAISS data of an inverted file follow CRC-64s of each list and of each category's centroids:
a search verifies what it reads, so its cost does not depend on the file size.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from fastcrc import crc64

from imgsearch.errors import InstanceDamaged
from imgsearch.storage.faiss.index_header import check_header, corrupted_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.storage.sqlite.generations import Generation

__all__ = [
    "CHECK",
    "Checks",
    "Part",
    "centroids_of",
    "checksum_of",
    "corrupted_error",
    "list_checksum",
    "list_of",
    "open_index",
    "part_checksum",
    "read_centroids",
    "read_index",
    "read_parts",
    "serialised_parts",
    "unreadable_is_damage",
]

FLOAT: Final = np.dtype("<f4")
"""Of a centroid."""
CHECK: Final = np.dtype("<u8")
"""After the FAISS data: the checksum of each list, then of each category's centroids."""


@dataclass(frozen=True, slots=True)
class Part:
    """The inverted lists of one category, which are consecutive."""

    category: int
    first: int
    lists: int

    @property
    def end(self) -> int:
        """One past the last list."""
        return self.first + self.lists


def read_parts(lists: str) -> list[Part]:
    """Parse ``Generation.lists``."""
    parts, first = [], 0
    for category, count in json.loads(lists).items():
        parts.append(Part(int(category), first, count))
        first += count
    return parts


def serialised_parts(parts: list[Part]) -> str:
    """Serialise parts for ``Generation.lists``."""
    return json.dumps({part.category: part.lists for part in parts})


def centroids_of(index: Any) -> npt.NDArray[np.float32]:
    """The centroids of an inverted file, as a view; shape (lists, dimension)."""
    import faiss

    quantizer = faiss.downcast_index(index.quantizer)
    view: npt.NDArray[np.float32] = faiss.rev_swig_ptr(quantizer.get_xb(), index.nlist * index.d)
    return view.reshape(index.nlist, index.d)


def list_of(index: Any, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Ids and codes of an inverted list, as views; shapes (n,) and (n, code_size)."""
    import faiss

    lists = index.invlists
    size = lists.list_size(number)
    if not size:
        return np.zeros(0, np.int64), np.zeros((0, lists.code_size), np.uint8)
    codes = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size)
    return faiss.rev_swig_ptr(lists.get_ids(number), size), codes.reshape(size, -1)


def list_checksum(ids: npt.NDArray[np.int64], codes: npt.NDArray[np.uint8]) -> int:
    """CRC-64 of an inverted list: ids, then codes."""
    return crc64.xz(codes.data, crc64.xz(ids.data))


def part_checksum(centroids: npt.NDArray[np.float32], part: Part) -> int:
    """CRC-64 of a category's centroids."""
    return crc64.xz(centroids[part.first : part.end].view(np.uint8).data)


def read_centroids(path: Path, generation: Generation) -> dict[int, npt.NDArray[np.float32]]:
    """The centroids of each category in an inverted file, of shape (lists, dimension), verified; of a flat index, none.

    They are read, not mapped: a bad sector then raises an error and does not end the process.

    Args:
        path: of the file.
        generation: as published.

    Raises:
        OSError: the file is missing or cannot be read.
        InstanceDamaged: the file is corrupted.
    """
    parts, (position, dimension) = _check_header(path, generation)
    if not parts:
        return {}
    lists = parts[-1].end
    with path.open("rb") as file:
        file.seek(position)
        centroids = np.frombuffer(file.read(lists * dimension * FLOAT.itemsize), FLOAT).reshape(lists, dimension)
    if [part_checksum(centroids, part) for part in parts] != _stored_checks(path, len(parts)).tolist():
        raise corrupted_error(path)
    return {part.category: centroids[part.first : part.end] for part in parts}


def read_index(path: Path, generation: Generation, *, verify: bool, flags: int) -> Any:
    """Read an index file.

    Args:
        path: of the file.
        generation: as published.
        verify: check the whole file against its checksum.
        flags: for FAISS; 0 reads into memory.

    Raises:
        FileNotFoundError, InstanceDamaged
    """
    if path.stat().st_size != generation.bytes or (verify and checksum_of(path) != generation.checksum):
        raise corrupted_error(path)
    _check_header(path, generation)
    try:
        return open_index(path, flags)
    except RuntimeError as error:
        raise InstanceDamaged(
            f"{path} cannot be read; the items are safe in the database: run 'imgsearch rebuild'"
        ) from error


def _check_header(path: Path, generation: Generation) -> tuple[list[Part], tuple[int, int]]:
    """The parts of a file, and the position and dimension of its centroids, as ``check_header`` returns them."""
    parts = read_parts(generation.lists) if generation.lists is not None else []
    lists = parts[-1].end if parts else 0
    return parts, check_header(path, generation, lists, (lists + len(parts)) * CHECK.itemsize)


def _stored_checks(path: Path, count: int) -> npt.NDArray[np.uint64]:
    """The last checksums in a file; shape (count,)."""
    with path.open("rb") as file:
        file.seek(-count * CHECK.itemsize, os.SEEK_END)
        return np.frombuffer(file.read(), CHECK)


def open_index(path: Path, flags: int) -> Any:
    """Have FAISS read or map a file.

    Args:
        path: of the file.
        flags: for FAISS; 0 reads into memory.

    Raises:
        OSError: what the system says.
        RuntimeError: FAISS does not take it.
    """
    import faiss

    try:
        with _known_to_faiss(path) as name:
            return faiss.read_index(name, flags)
    except RuntimeError as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        _raise_system_error(error, path)
        raise


@contextmanager
def _known_to_faiss(path: Path) -> Iterator[str]:
    """A name by which FAISS can open a file: it takes UTF-8 only."""
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield f"/dev/fd/{file.fileno()}"
    else:
        yield name


class Checks:
    """The checksums of an inverted file; verifies each part once, before its first use."""

    def __init__(self, path: Path, index: Any, parts: list[Part], centroids: npt.NDArray[np.float32]) -> None:
        self._path, self._index, self._parts, self._centroids = path, index, parts, centroids
        count = index.nlist + len(parts)
        self._expected = _stored_checks(path, count)
        self._verified = np.zeros(count, bool)

    def parts(self, wanted: list[Part]) -> None:
        """Verify the centroids of some categories.

        Raises:
            InstanceDamaged
        """
        for part in wanted:
            number = self._index.nlist + self._parts.index(part)
            self._compare(number, partial(part_checksum, self._centroids, part))

    def lists(self, wanted: npt.NDArray[np.int64]) -> None:
        """Verify some inverted lists, by their numbers, of any shape and as often as they come.

        Raises:
            InstanceDamaged
        """
        asked = np.zeros(len(self._verified), bool)
        asked[wanted] = True
        for number in np.flatnonzero(asked & ~self._verified).tolist():
            self._compare(number, partial(self._list_checksum, number))

    def _list_checksum(self, number: int) -> int:
        return list_checksum(*list_of(self._index, number))

    def _compare(self, number: int, checksum: Callable[[], int]) -> None:
        if not self._verified[number]:
            if checksum() != self._expected[number]:
                raise corrupted_error(self._path)
            self._verified[number] = True


@contextmanager
def unreadable_is_damage(path: Path) -> Iterator[None]:
    """Take what the disk cannot read of an index for damage, as a rebuild needs nothing of it.

    Raises:
        InstanceDamaged
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise InstanceDamaged(
            f"{path} cannot be read ({error.strerror}); the items are safe in the database: run 'imgsearch rebuild'"
        ) from error


def _raise_system_error(error: RuntimeError, path: Path) -> None:
    """FAISS reports system errors on opening or mapping a file as text; turn them back into exceptions.

    Raises:
        OSError
    """
    for number in errno.errorcode:
        if str(error).endswith(os.strerror(number)):
            raise OSError(number, os.strerror(number), str(path)) from error


def checksum_of(path: Path) -> str:
    """BLAKE2b-128 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
