"""Statements of SQLite as steps of whoever makes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

__all__ = ["Watched"]


class Watched(sqlite3.Connection):
    """A connection whose statements are steps, too: something else may happen before each."""

    before: Callable[[], None] = staticmethod(lambda: None)

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Execute a statement."""
        Watched.before()
        return super().execute(*arguments)
