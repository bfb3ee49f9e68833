"""Reading an instance from any number of threads: each reader has its own connection while it reads."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InstanceDamaged, InstanceLocked, UsageError
from imgsearch.storage.backends import backend_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgsearch.storage.port import Storage

__all__ = ["Readers"]

MAX_IDLE: Final = 32
"""Number of idle connections kept open; more are opened on demand and closed after use. As many as a server has threads
that read: opening one verifies the log, which takes longer than what it is opened for."""


class Readers:
    """A pool of engines of one instance, open for reading; each serves one reader at a time.

    A reader keeps its engine as long as it reads, so long iterations do not block others.

    Args:
        engine: the first engine; the pool takes ownership.
        on_open: called with each later engine before it is lent, as the folder may hold another instance by then.
    """

    def __init__(self, engine: Storage, on_open: Callable[[Storage], None] = lambda _engine: None) -> None:
        self._folder = engine.folder
        self._on_open = on_open
        self._idle = [engine]
        self._lock = Lock()
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[Storage]:
        """Provide an engine for exclusive use inside the block, whose storage errors are translated.

        Raises:
            UsageError: the instance has been closed.
            InstanceLocked: its folder was replaced during the read.
            InstanceNotFound, InstanceDamaged, NewerFormat, StorageUnwritable
        """
        engine = self._lent()
        try:
            with engine.errors():
                try:
                    yield engine
                except InstanceDamaged as error:  # the old database does not match the new index
                    if not engine.is_replaced:
                        raise
                    raise InstanceLocked(
                        f"{self._folder} was replaced by another instance during the read: run the command again"
                    ) from error
        finally:
            with self._lock:
                keep = not self._closed and len(self._idle) < MAX_IDLE
                if keep:
                    self._idle.append(engine)
            if not keep:
                engine.close()

    def _lent(self) -> Storage:
        with self._lock:
            if self._closed:
                raise UsageError(f"the instance {self._folder} has been closed: open it again")
            engine = self._idle.pop() if self._idle else None
        if engine is not None:
            with ExitStack() as stack:
                stack.callback(engine.close)
                with engine.errors():
                    if not engine.is_replaced:
                        stack.pop_all()
                        return engine
        engine = backend_of(self._folder).open(self._folder)
        with ExitStack() as stack:
            stack.callback(engine.close)
            with engine.errors():
                self._on_open(engine)
            stack.pop_all()
        return engine

    def close(self) -> None:
        """Close idle engines now, each even if closing another fails, and the others when they are returned."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        with ExitStack() as stack:
            for engine in idle:
                stack.callback(engine.close)
