"""A set of item ids, with one bit for each id up to the highest: a megabyte for eight million items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

__all__ = ["IdSet"]


class IdSet:
    """Ids, each a whole number from 0."""

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._bits = bytearray()
        for item_id in ids:
            self.add(item_id)

    def add(self, item_id: int) -> None:
        """Add an id."""
        place = item_id >> 3
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1024))
        self._bits[place] |= 1 << (item_id & 7)

    def add_new(self, item_id: int) -> bool:
        """Add an id; whether it was not there before."""
        place, bit = item_id >> 3, 1 << (item_id & 7)
        try:
            if self._bits[place] & bit:
                return False
            self._bits[place] |= bit
        except IndexError:
            self.add(item_id)
        return True

    def update(self, other: IdSet) -> None:
        """Add the ids of another set."""
        size = max(len(self._bits), len(other._bits))
        own, its = int.from_bytes(self._bits, "little"), int.from_bytes(other._bits, "little")
        self._bits = bytearray((own | its).to_bytes(size, "little"))

    def discard(self, item_id: int) -> None:
        """Remove an id, if it is there."""
        if item_id in self:
            self._bits[item_id >> 3] &= ~(1 << (item_id & 7))

    def __contains__(self, item_id: int) -> bool:
        place = item_id >> 3
        return place < len(self._bits) and bool(self._bits[place] >> (item_id & 7) & 1)

    def ids(self) -> npt.NDArray[np.int64]:
        """All of them, ascending."""
        bits = np.unpackbits(np.frombuffer(self._bits, np.uint8), bitorder="little")
        found: npt.NDArray[np.int64] = np.flatnonzero(bits)
        return found

    def without(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Those of other ids that are not in this set, in their order."""
        bits = np.unpackbits(np.frombuffer(self._bits, np.uint8), bitorder="little")
        known = np.zeros(len(ids), np.bool_)
        low = ids < len(bits)
        known[low] = bits[ids[low]] != 0
        return ids[~known]
