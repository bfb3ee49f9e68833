"""Reading rows of an instance's database: one snapshot, many ids at a time."""

from __future__ import annotations

import functools
import sqlite3
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import numpy as np

from imgsearch.errors import InstanceDamaged
from imgsearch.storage.records import Records
from imgsearch.storage.sqlite.database import FrozenConnection, Place, connect, place_of, storage_errors, transaction
from imgsearch.storage.sqlite.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["MAX_PARAMETERS", "Rows", "numbers", "translated"]

P = ParamSpec("P")
R = TypeVar("R", bound="Rows")
T = TypeVar("T")

MAX_PARAMETERS: Final = 500
"""Ids per statement; far below SQLite's limit on parameters."""


def translated(read: Callable[Concatenate[R, P], T]) -> Callable[Concatenate[R, P], T]:
    """Translate storage errors in reading methods called outside the engine's own blocks."""

    @functools.wraps(read)
    def translated(self: R, /, *args: P.args, **options: P.kwargs) -> T:
        try:
            try:
                self._follow()
                return read(self, *args, **options)
            except (sqlite3.Error, OSError, UnicodeDecodeError):
                with storage_errors(self.path.parent):  # only now: most calls cost less than entering it
                    raise
        except InstanceDamaged:
            if isinstance(self._connection, FrozenConnection):
                self._connection.check()  # a concurrent write may be the cause
            raise

    return translated


class Rows(Records):
    """A connection, and the conversion of its rows to records."""

    def __init__(self, connection: sqlite3.Connection, path: Path, place: Place) -> None:
        self._connection = connection
        self.path = path
        self._place = place
        self._remembered = Remembered()

    @property
    def connection(self) -> sqlite3.Connection:
        """For checks and repairs, which inspect the database itself."""
        return self._connection

    @property
    def is_replaced(self) -> bool:
        """Whether another file, or none, is where this one was opened."""
        return place_of(self.path) != self._place

    def reading(self) -> AbstractContextManager[None]:
        """Return a context manager; reads inside it see one snapshot."""
        self._follow()
        return transaction(self._connection)

    def _follow(self) -> None:
        """Reopen the database if the connection cannot see later commits."""
        before = self._connection
        if isinstance(before, FrozenConnection) and not before.in_transaction and before.is_outdated:
            self._connection = connect(self.path, write=False)
            before.close()

    def damage(self, what: str) -> InstanceDamaged:
        """Return the error to raise when stored data does not match its checksum."""
        return InstanceDamaged(
            f"{what} in {self.path} is corrupted: run 'imgsearch check --read-data' to see what is damaged, "
            "'imgsearch check --repair' to repair it"
        )

    def _by_id(self, select: str, ids: Iterable[int]) -> Iterator[sqlite3.Cursor]:
        """Run a statement over ``items`` for the ids, MAX_PARAMETERS at a time."""
        wanted = list(ids)
        for start in range(0, len(wanted), MAX_PARAMETERS):
            some = wanted[start : start + MAX_PARAMETERS]
            yield self._connection.execute(f"{select} WHERE items.id IN ({','.join('?' * len(some))})", some)

    def _rising(self, select: str, parameters: tuple[Any, ...]) -> npt.NDArray[np.int64]:
        ids = np.sort(self._ids(select, parameters))
        if np.any(ids[1:] == ids[:-1]):
            raise self.damage("an index of items")
        return ids

    def _ids(self, select: str, parameters: tuple[Any, ...] = ()) -> npt.NDArray[np.int64]:
        """The ``id`` column of a statement; SQLite joins it to one text, as a row each takes three times as long."""
        (text,) = self._connection.execute(f"SELECT group_concat(id) FROM ({select})", parameters).fetchone()
        return numbers(text)


def numbers(joined: str | None) -> npt.NDArray[np.int64]:
    """The integers that ``group_concat`` has joined, None for no rows; shape (n,)."""
    return np.fromstring(joined, np.int64, sep=",") if joined else np.zeros(0, np.int64)
