"""Reading an instance from any number of threads: each reader has a connection for itself while it reads."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

from imgsearch.errors import UsageError
from imgsearch.storage.backends import backend_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.storage.port import Storage

__all__ = ["Readers"]

MAX_IDLE: Final = 4
"""Connections that are kept open while nobody reads; more are opened on demand, and closed after it."""


class Readers:
    """Engines of one instance, open for reading, of which each is lent to one reader at a time.

    A reader keeps its engine for as long as it reads, so one that iterates disturbs nobody.

    Args:
        engine: the first of them; whoever made this gives it away.
    """

    def __init__(self, engine: Storage) -> None:
        self._folder = engine.folder
        self._idle = [engine]
        self._lock = Lock()
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[Storage]:
        """An engine that nobody else uses inside the block.

        Raises:
            UsageError: the instance has been closed.
            InstanceNotFound, InstanceDamaged, NewerFormat, StorageUnwritable
        """
        with self._lock:
            if self._closed:
                raise UsageError(f"the instance {self._folder} has been closed: open it again")
            engine = self._idle.pop() if self._idle else None
        if engine is None:
            engine = backend_of(self._folder).open(self._folder)
        try:
            yield engine
        finally:
            with self._lock:
                keep = not self._closed and len(self._idle) < MAX_IDLE
                if keep:
                    self._idle.append(engine)
            if not keep:
                engine.close()

    def close(self) -> None:
        """Close what nobody uses now, and the others when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for engine in idle:
            engine.close()
