"""Codes on their way to inverted lists: on disk, as those of a large instance would take most of a rebuild's memory.

An item's list is known when its feature is read, but a list can only be written when all of its items are known. So
codes are distributed among buckets of neighbouring lists, each an unnamed file. One bucket at a time is then sorted in
memory.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    Ids = npt.NDArray[np.int64]
    Codes = npt.NDArray[np.uint8]

__all__ = ["Spool"]

BUCKET_BYTES: Final = 16 << 20
"""What a bucket is to hold."""
MAX_BUCKETS: Final = 128
"""Each takes a file descriptor."""


def _unnamed_file(folder: Path) -> IO[bytes]:
    # Not every system has files without a name. One that a killed process leaves has the name of a writer's leftover.
    return tempfile.TemporaryFile(dir=folder, prefix="index-", suffix=".faiss.tmp")


class Spool:
    """Codes of items, put in by item and taken out by list; each list in the order of insertion.

    Args:
        folder: on the disk that has room for them.
        lists: number of inverted lists.
        code_size: bytes of a code.
        items: how many are expected.

    Raises:
        OSError: the files cannot be created.
    """

    def __init__(self, folder: Path, lists: int, code_size: int, items: int) -> None:
        self._record: np.dtype[np.void] = np.dtype([("list", "<u4"), ("id", "<i8"), ("code", "u1", (code_size,))])
        count = min(max(1, items * self._record.itemsize // BUCKET_BYTES), lists, MAX_BUCKETS)
        self._bounds = np.linspace(0, lists, count + 1).astype(np.int64)
        with ExitStack() as stack:
            self._files = [stack.enter_context(_unnamed_file(folder)) for _ in range(count)]
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, lists: npt.NDArray[np.int64], ids: Ids, codes: Codes) -> None:
        """Put in some items.

        Args:
            lists: number of each one's list, shape (n,).
            ids: shape (n,).
            codes: shape (n, code_size).

        Raises:
            OSError: they cannot be written.
        """
        order = np.argsort(lists, kind="stable")
        records = np.empty(len(ids), self._record)
        records["list"], records["id"], records["code"] = lists[order], ids[order], codes[order]
        cuts = np.searchsorted(lists[order], self._bounds[1:-1])
        for file, some in zip(self._files, np.split(records, cuts), strict=True):
            file.write(some.tobytes())

    def lists(self) -> Iterator[tuple[Ids, Codes]]:
        """Yield the ids and codes of each list, shapes (n,) and (n, code_size); once only.

        Raises:
            OSError: they cannot be read.
        """
        for file, first, end in zip(self._files, self._bounds[:-1], self._bounds[1:], strict=True):
            file.seek(0)
            records = np.frombuffer(file.read(), self._record)
            file.close()  # frees its disk space: the index grows as the spool shrinks
            records = records[np.argsort(records["list"], kind="stable")]
            cuts = np.searchsorted(records["list"], np.arange(first + 1, end))
            for some in np.split(records, cuts):
                yield np.ascontiguousarray(some["id"]), np.ascontiguousarray(some["code"])
