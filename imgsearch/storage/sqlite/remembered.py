"""What conditions were found to mean, for as long as the database stays as it is.

A filter is asked for again and again, page by page or by many users. To count what meets it, or to list it, SQLite goes
through all of that, which for a broad filter takes longer than the rest of a search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition

__all__ = ["Remembered"]

KEPT: Final = 8
"""Conditions that are remembered: at most four bits for each item and condition."""
FEW: Final = 8
"""Where at most one item in so many meets a condition, its ids are kept: reading them is faster than unpacking bits."""
LARGEST: Final = np.iinfo(np.uint32).max
"""Up to this one, ids are kept in four bytes each."""


class Remembered:
    """Counts and ids of conditions, for one state of one connection's database.

    Nothing is remembered for a connection that has written: SQLite does not tell it that it has rolled back.
    """

    def __init__(self) -> None:
        self._state: tuple[object, ...] | None = None
        self._counts: dict[Condition, int] = {}
        self._ids: dict[Condition, npt.NDArray[Any]] = {}
        """Ids, or a bit for each item (uint8)."""

    def count(self, connection: sqlite3.Connection, condition: Condition, made: Callable[[], int]) -> int:
        """How many items meet a condition; ``made`` counts them."""
        if connection.total_changes:
            return made()
        self._look(connection)
        if condition not in self._counts:
            count = made()
            _make_room(self._counts)
            self._counts[condition] = count
        return self._counts[condition]

    def ids(
        self, connection: sqlite3.Connection, condition: Condition, made: Callable[[], npt.NDArray[np.int64]]
    ) -> npt.NDArray[np.int64]:
        """Which items meet a condition, ascending; ``made`` lists them so."""
        if connection.total_changes:
            return made()
        self._look(connection)
        if condition not in self._ids:
            ids = made()
            _make_room(self._ids)
            self._ids[condition] = _packed(ids)
        kept = self._ids[condition]
        if kept.dtype == np.uint8:
            kept = np.flatnonzero(np.unpackbits(kept).view(np.bool_))
        return kept.astype(np.int64, copy=False)

    def _look(self, connection: sqlite3.Connection) -> None:
        """Forget everything if the database is not what it was, as others have committed."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        state = (connection, version)
        if state != self._state:
            self._state = state
            self._counts.clear()
            self._ids.clear()


def _packed(ids: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    last = int(ids.max(initial=0))
    if FEW * len(ids) <= last:
        return ids.astype(np.uint32) if last <= LARGEST else ids
    mask = np.zeros(last + 1, np.bool_)
    mask[ids] = True
    return np.packbits(mask)


def _make_room(kept: dict[Condition, int] | dict[Condition, npt.NDArray[Any]]) -> None:
    if len(kept) == KEPT:
        del kept[next(iter(kept))]
