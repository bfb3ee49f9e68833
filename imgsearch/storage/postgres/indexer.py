"""Bringing an index outside of the database up to date: what was stored goes into it, what was deleted goes out.

Any writer may do it, one at a time (``Lock.INDEX``). A process that is killed in between leaves work that is done once
more: an id that stands in the index twice is one id to a search. A row of ``pending`` goes only when the index shows
its item for certain, so a search that looks into both misses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.storage.postgres.rows import numbers
from imgsearch.storage.records import CHECKED_FEATURE

if TYPE_CHECKING:
    from imgsearch.storage.postgres.external_index import ExternalIndex
    from imgsearch.storage.postgres.store import Store

__all__ = ["AT_ONCE", "SHOWN_AFTER_SECONDS", "Indexer"]

AT_ONCE: Final = 10_000
"""Items per step."""
SHOWN_AFTER_SECONDS: Final = 30
"""How long an index may take to show what it has acknowledged."""


class Indexer:
    """Works through ``pending`` and ``removed``; the caller holds the lock, and is in no transaction.

    Args:
        store: of the instance.
        external: its index.
        at_once: how many items a step adds, and deletes, at most.
    """

    def __init__(self, store: Store, external: ExternalIndex, at_once: int = AT_ONCE) -> None:
        self._store = store
        self._external = external
        self._at_once = at_once

    def step(self) -> int:
        """Do a part of what is to be done.

        Returns:
            How many items were added or deleted; 0: nothing is left to do now.

        Raises:
            RemoteUnavailable: what is left stays to be done.
        """
        generation = self._store.generation()
        if generation is None:
            self._keep(None)
            return 0
        if self._external.published() != generation.number:  # cut off between the two
            self._external.publish(generation.number)
        self._forget_shown()
        return self._remove() + self._add()

    def run(self, count: int | None = None) -> int:
        """Do all that can be done, or, as others may add to it all the time, about so much of it.

        Returns:
            How many items were added or deleted.
        """
        generation = self._store.generation()
        self._keep(None if generation is None else generation.number)
        done = 0
        while (count is None or done < count) and (step := self.step()):
            done += step
        return done

    def _keep(self, published: int | None) -> None:
        """Drop all other generations, which a rebuild that was killed has left; without one, nothing belongs there."""
        for number in self._external.numbers():
            if number != published:
                self._external.drop(number)

    def _forget_shown(self) -> None:
        self._store.link.run(
            "DELETE FROM pending WHERE acknowledged < clock_timestamp() - make_interval(secs => %s)",
            (SHOWN_AFTER_SECONDS,),
        )

    def _remove(self) -> int:
        """Delete from the index what is gone: never what is stored, as no id is given twice."""
        link = self._store.link
        ids = numbers(link.rows("SELECT id FROM removed ORDER BY id LIMIT %s", (self._at_once,)))
        if len(ids):
            self._external.remove(ids)
            link.run("DELETE FROM removed WHERE id = ANY (%s::bigint[])", (ids.tolist(),))
        return len(ids)

    def _add(self) -> int:
        link = self._store.link
        rows = link.rows(
            f"SELECT features.id, {CHECKED_FEATURE}, features.category_id FROM pending JOIN features "
            "ON features.id = pending.id AND features.category_id = pending.category_id "
            "WHERE pending.acknowledged IS NULL ORDER BY features.id LIMIT %s",
            (self._at_once,),
        )
        if rows:
            ids, features = self._store.checked_features([row[:3] for row in rows])
            categories = np.fromiter((row[3] for row in rows), np.int64, len(rows))
            self._external.add(ids, categories, features)
            # Deleted meanwhile, an item has no row here any more, and one in ``removed`` for the next step.
            link.run(
                "UPDATE pending SET acknowledged = clock_timestamp() WHERE id = ANY (%s::bigint[])", (ids.tolist(),)
            )
        return len(rows)
