"""Watching the connections that a process opens to write databases: when each is there, and under which lock.

Every connection of imgsearch's comes from ``sqlite3.connect``. One that is not opened as read-only may write, or move
what lies in the log to its place, whatever it is used for.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

from imgsearch.storage.lock import LOCK_NAME

__all__ = ["Watcher"]


class Watcher:
    """From ``install`` on, notes each connection that may write, and what is wrong with it."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.opened: list[str] = []
        """Names of the files, in order."""
        self._open: dict[Path, int] = {}
        self._lock = Lock()

    def install(self) -> None:
        """Watch this process from now on."""
        watcher, connect = self, sqlite3.connect

        class Watched(sqlite3.Connection):
            """A connection that may write."""

            place: Path | None = None

            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                if "ATTACH" in sql and "DETACH" not in sql and "mode=ro" not in str(arguments):
                    watcher.faults.append(f"attached for writing: {arguments}")
                return super().execute(sql, *arguments)

            def close(self) -> None:
                place, self.place = self.place, None
                if place is not None:
                    watcher.check_lock(place, "closed")
                super().close()
                if place is not None:
                    watcher.leave(place)

        def connected(database: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
            text = os.fspath(database)
            if text == ":memory:" or (options.get("uri") and "mode=ro" in urlsplit(text).query.split("&")):
                reading: sqlite3.Connection = connect(database, *arguments, **options)
                return reading
            place = Path(unquote(urlsplit(text).path) if options.get("uri") else text).resolve()
            watcher.enter(place)
            try:
                connection = connect(database, *arguments, **{**options, "factory": Watched})
            except BaseException:
                watcher.leave(place)
                raise
            assert isinstance(connection, Watched)
            connection.place = place
            return connection

        sqlite3.connect = connected  # type: ignore[assignment]

    def enter(self, place: Path) -> None:
        """A connection to that file is about to be opened."""
        self.check_lock(place, "opened")
        with self._lock:
            self.opened.append(place.name)
            self._open[place] = self._open.get(place, 0) + 1
            if self._open[place] > 1:
                self.faults.append(f"{place} has {self._open[place]} writing connections at once")

    def leave(self, place: Path) -> None:
        """It is closed."""
        with self._lock:
            self._open[place] -= 1

    def check_lock(self, place: Path, what: str) -> None:
        """Other processes keep away only where the writer lock of the file's folder is held."""
        try:
            descriptor = os.open(place.parent / LOCK_NAME, os.O_RDWR)
        except FileNotFoundError:
            self.faults.append(f"{place} was {what} where no lock is")
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.faults.append(f"{place} was {what} without the writer lock")
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)

    def left(self) -> list[str]:
        """Files to which a connection was never closed."""
        return [str(place) for place, count in self._open.items() if count]
