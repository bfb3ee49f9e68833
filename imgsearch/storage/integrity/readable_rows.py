"""Reading a damaged database: the rows that SQLite can still reach."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from imgsearch.storage.sqlite.database import is_refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ReadableRows", "readable_row", "readable_rows"]


class ReadableRows:
    """The rows of a statement, up to the first unreadable one.

    Errors of the system are raised instead: treated as damage, they would cost intact items.

    Args:
        connection: to the database.
        sql: the statement.
        parameters: of the statement.
    """

    def __init__(self, connection: sqlite3.Connection, sql: str, *parameters: object) -> None:
        self._connection, self._sql, self._parameters = connection, sql, parameters
        self.complete = True
        """Whether none was unreadable; known once all have been read."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(self._sql, self._parameters)
        except sqlite3.Error as error:
            if is_refusal(error):
                raise
            self.complete = False


def readable_rows(connection: sqlite3.Connection, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a statement, as far as they can be read."""
    return list(ReadableRows(connection, sql))


def readable_row(connection: sqlite3.Connection, sql: str, parameter: object) -> tuple[Any, ...] | None:
    """The first row of a statement, if there is one and it can be read.

    A disk may read at the second attempt what it could not read at the first.
    """
    for _attempt in range(2):
        rows = ReadableRows(connection, sql, parameter)
        row = next(iter(rows), None)
        if row is not None or rows.complete:
            return row
    return None
