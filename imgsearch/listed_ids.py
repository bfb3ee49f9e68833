"""Ids of items in as little memory as their number allows, in a form that an index can use as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["ListedIds", "bits_of"]

LARGEST: Final = np.iinfo(np.uint32).max
"""Up to this one, ids are kept in four bytes each."""


def bits_of(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """A bit for each id from 0 to the highest, little-endian; it is 1 for these ids."""
    mask = np.zeros(int(ids.max(initial=0)) + 1, np.bool_)
    mask[ids] = True
    return np.packbits(mask, bitorder="little")


class ListedIds:
    """Ids of items: a bit for each one up to the highest, or the ids themselves where these take less memory.

    Args:
        ids: ascending, from 0; shape (n,).
    """

    def __init__(self, ids: npt.NDArray[np.int64]) -> None:
        self._count, last = len(ids), int(ids.max(initial=0))
        self._ids: npt.NDArray[Any] = ids.astype(np.uint32) if last <= LARGEST else ids
        self.bits: npt.NDArray[np.uint8] | None = None
        """Little-endian, as FAISS has them; None where the ids are kept."""
        if last // 8 < self._ids.nbytes:
            self.bits = bits_of(ids)
            self._ids = np.zeros(0, np.uint32)

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """The memory that they take."""
        return self._ids.nbytes if self.bits is None else self.bits.nbytes

    def ids(self) -> npt.NDArray[np.int64]:
        """All of them, ascending."""
        if self.bits is None:
            return self._ids.astype(np.int64, copy=False)
        return np.flatnonzero(np.unpackbits(self.bits, bitorder="little").view(np.bool_))
