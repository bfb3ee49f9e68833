"""Shortlists of an index outside of the database, and what takes its place while it cannot be asked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.errors import RemoteUnavailable
from imgsearch.filters.tree import EVERYTHING, category_condition
from imgsearch.storage.port import IndexReplaced
from imgsearch.storage.postgres.vector_index import VectorSearch
from imgsearch.types import SCANNED_WITHOUT_INDEX

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from imgsearch.listed_ids import ListedIds
    from imgsearch.storage.postgres.external_index import ExternalIndex
    from imgsearch.storage.postgres.rows import Generation
    from imgsearch.storage.postgres.store import Store

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]

__all__ = ["IndexElsewhere"]

log: Final = logging.getLogger("imgsearch.storage")

SPARE: Final = 1_000
"""How many more ids are asked for at most, for those that may be gone."""


class IndexElsewhere:
    """An index outside of the database, whose ids are looked up before they count.

    What it does not show yet is in ``pending``, which searches scan besides. An answer that lacks an item that the
    index should show is never given: it comes from the items themselves where they are few enough, else there is none.
    """

    is_best_first: Final = False

    def __init__(self, store: Store, generation: Generation, external: ExternalIndex) -> None:
        self._store = store
        self._generation = generation
        self._external = external

    def shortlist(
        self,
        query: Feature,
        size: int,
        *,
        categories: tuple[int, ...] | None = None,
        only: ListedIds | None = None,
        without: Ids | None = None,
    ) -> Ids:
        """Ids of the items nearest to a query; arguments are those of ``port.Index``.

        Raises:
            IndexReplaced, RemoteUnavailable
        """
        if only is not None:
            return VectorSearch(self._store, self._generation).shortlist(query, size, only=only)
        none = np.zeros(0, np.int64)
        return self.shortlists(query[None], size, [categories], none if without is None else without)[0]

    def shortlists(
        self, queries: Feature, size: int, categories: Sequence[tuple[int, ...] | None], without: Ids
    ) -> list[Ids]:
        """``shortlist`` for each of many queries."""
        wanted = size + min(len(without), SPARE)
        try:
            answers = self._asked(queries, wanted, categories)
        except RemoteUnavailable as error:
            log.warning("%s; items are compared one by one instead", error.message)
            return [self._compared(query, size, some, error) for query, some in zip(queries, categories, strict=True)]
        return [
            self._checked(query, size, some, ids, wanted)
            for query, some, ids in zip(queries, categories, answers, strict=True)
        ]

    def _asked(self, queries: Feature, size: int, categories: Sequence[tuple[int, ...] | None]) -> list[Ids]:
        number = self._generation.number
        try:
            return self._external.shortlist(queries, size, categories, number=number, probes=self._generation.probes)
        except IndexReplaced:
            if any(other > number for other in self._external.numbers()):
                raise
        raise RemoteUnavailable(
            f"the index of {self._store.link.address.url} is gone; the items are safe in the database: "
            "run 'imgsearch rebuild'"
        )

    def _checked(self, query: Feature, size: int, categories: tuple[int, ...] | None, ids: Ids, asked: int) -> Ids:
        """The ids that are items, and more of them where too few are left."""
        inside = EVERYTHING if categories is None else category_condition(categories)
        while True:
            found = np.unique(self._store.matching(np.unique(ids).tolist(), inside))
            if len(found) >= size:
                return found
            if len(ids) < asked:
                break  # that is all that the index has
            asked *= 2
            (ids,) = self._asked(query[None], asked, [categories])
        shown = self._count(categories) - self._store.count_waiting(categories)
        if len(found) >= shown:
            return found
        error = RemoteUnavailable(
            f"the index of {self._store.link.address.url} shows {len(found)} of {shown} items; they are safe in the "
            "database: run 'imgsearch rebuild'"
        )
        log.warning("%s; items are compared one by one instead", error.message)
        return self._compared(query, size, categories, error)

    def _compared(self, query: Feature, size: int, categories: tuple[int, ...] | None, error: RemoteUnavailable) -> Ids:
        """The nearest of all items, which are compared one by one.

        Raises:
            RemoteUnavailable: the given error, where they are too many for that.
        """
        if self._count(categories) > SCANNED_WITHOUT_INDEX:
            raise error
        inside = EVERYTHING if categories is None else category_condition(categories)
        return self._store.nearest(query, inside, size)

    def _count(self, categories: tuple[int, ...] | None) -> int:
        counts = self._store.counts()
        return sum(items for category, items in counts.items() if categories is None or category in categories)
