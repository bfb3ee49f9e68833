"""Keeping an index outside of the database near the items, beside a writer's own work."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InstanceLocked, RemoteUnavailable
from imgsearch.storage.postgres import rebuilding
from imgsearch.storage.postgres.indexer import SHOWN_AFTER_SECONDS, Indexer
from imgsearch.storage.postgres.locks import Lock, is_held

if TYPE_CHECKING:
    from imgsearch.storage.postgres.engine import PostgresEngine
    from imgsearch.storage.postgres.rows import Generation

__all__ = ["Follower"]

log: Final = logging.getLogger("imgsearch.storage")

FIRST_ITEMS: Final = 1_000
"""From how many items on an instance gets an index by itself; fewer are compared in a few milliseconds."""
EVERY_SECONDS: Final = 5.0
"""How often a writer looks after the index, between two of its commits."""
OUTGROWN: Final = 2
"""How many times the items that are worth scanning whole an index has when it is made anew, to scan a part of them."""
AT_ONCE: Final = 2_000
"""How many items it adds then, so that it does not wait for long."""
UNREACHABLE_SECONDS: Final = 60.0
"""How long it leaves an index alone that could not be reached."""


class Follower:
    """Brings the index of one engine up to date; does nothing where pgvector is the index.

    Args:
        engine: open for writing.
    """

    def __init__(self, engine: PostgresEngine) -> None:
        self._engine = engine
        self._next = time.monotonic() + EVERY_SECONDS

    def is_due(self) -> bool:
        """Whether something waits that nobody else is at."""
        store = self._engine.store
        if is_held(store.link, Lock.INDEX):
            return False
        generation = store.generation()
        if generation is None:
            return store.count() >= FIRST_ITEMS
        return bool(self.count()) or _is_outgrown(generation)

    def follow(self) -> None:
        """Do a part of the work, if the last time was long enough ago; a commit has just ended.

        An index that cannot be reached is left alone for a while: what waits is found without it.
        """
        store = self._engine.store
        if not store.is_external or time.monotonic() < self._next:
            return
        pause = EVERY_SECONDS
        try:
            if store.generation() is not None and self.count():
                with self._engine.indexing(0):
                    Indexer(store, self._engine.external, AT_ONCE).step()
        except InstanceLocked:
            pass  # another process is at it
        except RemoteUnavailable as error:
            log.warning("%s; items wait for it", error.message)
            pause = UNREACHABLE_SECONDS
        self._next = time.monotonic() + pause

    def catch_up(self) -> None:
        """Do all that waits now; leaves it to another process that is at it.

        Raises:
            RemoteUnavailable: what is left waits.
        """
        store = self._engine.store
        try:
            with self._engine.indexing(0):
                generation = store.generation()
                if store.count() and (generation is None or _is_outgrown(generation)):
                    rebuilding.rebuild(store, self._engine.external)
                else:
                    Indexer(store, self._engine.external).run(max(1, self.count()))
        except InstanceLocked:
            return

    def clear(self) -> None:
        """Delete what the index holds of an instance that has become empty.

        If that cannot be done now, the next one who brings it up to date does it.
        """
        store = self._engine.store
        try:
            with self._engine.indexing(0):
                if store.generation() is None:
                    Indexer(store, self._engine.external).step()
        except (InstanceLocked, RemoteUnavailable) as error:
            log.warning("%s; the index still holds features of deleted items: run 'imgsearch index'", error.message)

    def count(self) -> int:
        """How many things are to be done."""
        row = self._engine.store.link.row(
            "SELECT (SELECT count(*) FROM pending WHERE acknowledged IS NULL "
            "OR acknowledged < clock_timestamp() - make_interval(secs => %s)) + (SELECT count(*) FROM removed)",
            (SHOWN_AFTER_SECONDS,),
        )
        return 0 if row is None else int(row[0])


def _is_outgrown(generation: Generation) -> bool:
    return generation.is_exact and generation.items > OUTGROWN * rebuilding.EXACT_ITEMS
