"""What conditions were found to mean, for as long as the database stays as it is.

A filter is asked for again and again, page by page or by many users. To count what meets it, or to list it, SQLite goes
through all of that, which for a broad filter takes longer than the rest of a search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from imgsearch.listed_ids import ListedIds

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from imgsearch.filters.tree import Condition

__all__ = ["Remembered"]

KEPT: Final = 256
"""Conditions whose counts are remembered: as many filters as there are categories may be in use."""
KEPT_BYTES: Final = 2**24
"""Of ids that are remembered; those listed last, however many they are."""


class Remembered:
    """Counts and ids of conditions, for one state of one connection's database.

    Nothing is remembered for a connection that has written: SQLite does not tell it that it has rolled back.
    """

    def __init__(self) -> None:
        self._state: tuple[object, ...] | None = None
        self._counts: dict[Condition, int] = {}
        self._asked: dict[Condition, int] = {}
        """How often each of these has been counted."""
        self._ids: dict[Condition, ListedIds] = {}

    def count(self, connection: sqlite3.Connection, condition: Condition, made: Callable[[], int]) -> int:
        """How many items meet a condition; ``made`` counts them."""
        if connection.total_changes:
            return made()
        self._look(connection)
        if condition not in self._counts:
            count = made()
            if len(self._counts) == KEPT:
                oldest = next(iter(self._counts))
                del self._counts[oldest], self._asked[oldest]
            self._counts[condition], self._asked[condition] = count, 0
        self._asked[condition] += 1
        return self._counts[condition]

    def asked(self, condition: Condition) -> int:
        """How often a condition was counted, as far as that is remembered; at least once."""
        return self._asked.get(condition, 1)

    def ids(
        self, connection: sqlite3.Connection, condition: Condition, made: Callable[[], npt.NDArray[np.int64]]
    ) -> ListedIds:
        """Which items meet a condition; ``made`` lists them in ascending order."""
        if connection.total_changes:
            return ListedIds(made())
        self._look(connection)
        if condition not in self._ids:
            ids = ListedIds(made())
            while self._ids and ids.nbytes + sum(one.nbytes for one in self._ids.values()) > KEPT_BYTES:
                del self._ids[next(iter(self._ids))]
            self._ids[condition] = ids
        return self._ids[condition]

    def _look(self, connection: sqlite3.Connection) -> None:
        """Forget everything if the database is not what it was, as others have committed."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        state = (connection, version)
        if state != self._state:
            self._state = state
            self._counts.clear()
            self._asked.clear()
            self._ids.clear()
