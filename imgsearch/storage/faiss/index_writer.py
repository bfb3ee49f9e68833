"""Writing the file of an index generation: a flat one whole, an inverted one list by list.

FAISS can only write an index that is in memory. So it writes one with empty lists, and this module adds what FAISS
would write of full ones: their lengths, then the codes and ids of each. A test compares the files byte by byte.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.durable_fs import atomic_file, private_opener
from imgsearch.storage.faiss.index_file import (
    CHECK,
    centroids_of,
    checksum_of,
    list_checksum,
    open_index,
    part_checksum,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.storage.faiss.index_file import Part
    from imgsearch.storage.sqlite.generations import Generation

__all__ = ["empty_index", "write_flat", "write_lists"]

LISTS: Final = struct.Struct("<4sQQ4sQ")
"""What lists begin with: their type, their number, the length of a code, the type of the lengths, and their number."""


def empty_index(centroids: npt.NDArray[np.float32]) -> Any:
    """An index with these centroids and empty lists."""
    import faiss

    lists, dimension = centroids.shape
    quantizer = faiss.IndexFlatIP(dimension)
    quantizer.add(centroids)
    index = faiss.IndexIVFRaBitQ(quantizer, dimension, lists, faiss.METRIC_INNER_PRODUCT)
    # The codes need no training, but FAISS requires the call, in which it assigns each vector to a list: one will do.
    index.train(centroids[:1])
    return index


def write_flat(folder: Path, generation: Generation, index: Any) -> Generation:
    """Write a flat index; return the generation with the file's length and checksum.

    Raises:
        OSError: it cannot be written; there is no file.
    """
    import faiss

    with atomic_file(folder / generation.file_name) as temporary:
        with open(temporary, "xb", opener=private_opener) as file:
            file.write(faiss.serialize_index(index).data)
        return _sealed(temporary, generation)


def write_lists(
    folder: Path,
    generation: Generation,
    index: Any,
    parts: list[Part],
    lists: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]],
    settled: Callable[[Callable[[], Any]], Generation],
) -> Generation:
    """Write an inverted file, followed by its checksums; return the generation with the file's length and checksum.

    Args:
        folder: where it is written under its final name, complete and synced.
        generation: to which the file belongs.
        index: with the centroids, and empty lists; it is changed.
        parts: which lists belong to which category.
        lists: ids and codes of each list, of shape (n,) and (n, code_size), in the order of their numbers.
        settled: returns what to record of the file. It is called before the file gets its final name, with a function
            that maps the index. If it raises, there is no file.

    Raises:
        OSError: it cannot be written; there is no file.
    """
    import faiss

    sizes = np.zeros(index.nlist, np.uint64)
    with atomic_file(folder / generation.file_name) as temporary:
        with open(temporary, "xb", opener=private_opener) as file:
            file.seek(sum(map(len, _header(index, sizes))))
            checks = []
            for number, (ids, codes) in enumerate(lists):
                file.write(codes.data)
                file.write(ids.data)
                sizes[number] = len(ids)
                checks.append(list_checksum(ids, codes))
            checks += [part_checksum(centroids_of(index), part) for part in parts]
            file.write(np.array(checks, CHECK).tobytes())
        index.ntotal = int(sizes.sum())
        _write_header(temporary, index, sizes)
        generation = settled(lambda: open_index(temporary, faiss.IO_FLAG_MMAP_IFC))
        index.nprobe = generation.nprobe or 1
        _write_header(temporary, index, sizes)
        return _sealed(temporary, generation)


def _write_header(path: Path, index: Any, sizes: npt.NDArray[np.uint64]) -> None:
    with path.open("r+b") as file:
        for piece in _header(index, sizes):
            file.write(piece)


def _header(index: Any, sizes: npt.NDArray[np.uint64]) -> tuple[memoryview, bytes, bytes]:
    """What FAISS would write of an index with lists of these lengths, up to the first list.

    In pieces, as the first one holds all centroids.

    Args:
        index: with empty lists.
        sizes: shape (lists,).
    """
    import faiss

    written = faiss.serialize_index(index).data
    empty = LISTS.pack(b"ilar", index.nlist, index.code_size, b"sprs", 0)
    if written[-len(empty) :] != empty:
        raise AssertionError("this release of FAISS writes empty lists in another way")
    full = LISTS.pack(b"ilar", index.nlist, index.code_size, b"full", index.nlist)
    return written[: -len(empty)], full, sizes.astype("<u8").tobytes()


def _sealed(path: Path, generation: Generation) -> Generation:
    return replace(generation, bytes=path.stat().st_size, checksum=checksum_of(path))
