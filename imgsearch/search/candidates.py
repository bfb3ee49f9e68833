"""Which items a search ranks: those nearest to the query by their own features, among those that may be found.

Searches of one moment share what they look up: counts, removed ids, the features of what is newer than the index. So
many queries cost little more than each by itself has to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import numpy as np

from imgsearch.filters.tree import EVERYTHING, category_condition
from imgsearch.search.score import cosines
from imgsearch.types import MAX_RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.storage.faiss.index_reader import IndexReader
    from imgsearch.storage.sqlite.store import Generation, Store

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]

__all__ = ["Candidates", "Moment", "Selection"]

EXACT_SCAN_LIMIT: Final = 5_000
"""A category or a filter that so many items or fewer meet is answered by scanning exactly these."""
LOOK_COST: Final = 40
"""Looking at the condition of an item takes so many times as long as listing one that meets it."""
BROAD_MARGIN: Final = 1.5
KEPT: Final = 4
"""Features, and ids, of so many conditions are kept for the next queries."""
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Selection:
    """What may be found."""

    categories: tuple[int, ...]
    """None: all."""
    filter: Condition
    condition: Condition
    """Both together."""
    found: int
    """How many items there are of it."""
    among: int
    """How many items the categories have."""


class Candidates(Protocol):
    """The items of a selection, from near to far."""

    def best(self, size: int) -> Ids:
        """Ids of at least ``size`` nearest items (all there are, if fewer)."""


class Moment:
    """One snapshot of the store, for any number of queries.

    Args:
        store: inside a block of ``reading``.
        reader: opens the index file of a generation.
    """

    def __init__(self, store: Store, reader: Callable[[Generation], IndexReader]) -> None:
        self._store = store
        self._generation = store.generation()
        self._open = reader
        self._counts = store.counts()
        self._selections: dict[tuple[tuple[int, ...], Condition], Selection] = {}
        self._listed: dict[Condition, Ids] = {}
        self._scanned: dict[tuple[Condition, int], tuple[Ids, Feature]] = {}

    def selection(self, categories: tuple[int, ...], condition: Condition) -> Selection:
        """What may be found in these categories (none: in all) under that condition."""
        key = (categories, condition)
        if key not in self._selections:
            self._selections[key] = self._select(categories, condition)
        return self._selections[key]

    def _select(self, categories: tuple[int, ...], condition: Condition) -> Selection:
        counts = self._counts
        among = sum(items for category, items in counts.items() if not categories or category in categories)
        if condition == EVERYTHING:
            inside = category_condition(categories) if categories else EVERYTHING
            return Selection(categories, EVERYTHING, inside, among, among)
        # The indexes of attributes are within categories: all are named where none was.
        inside = category_condition(categories or tuple(counts)).joined(condition)
        return Selection(categories, condition, inside, self._store.count(inside), among)

    def candidates(self, queries: Sequence[tuple[Feature, Selection]], size: int) -> list[Candidates]:
        """Of each query, a feature of shape (dimension,) and what may be found; ``size`` will be wanted of each."""
        near: list[Ids | None] = [None] * len(queries)
        whole = [
            number
            for number, (_, selection) in enumerate(queries)
            if selection.filter == EVERYTHING and not self._is_scanned(selection)
        ]
        if self._generation is not None and self._generation.lists is not None and len(whole) > 1:
            found = self.reader.shortlists(
                np.stack([queries[number][0] for number in whole]),
                size,
                [queries[number][1].categories or None for number in whole],
                self.removed,
            )
            for number, ids in zip(whole, found, strict=True):
                near[number] = ids
        return [
            self._of(feature, selection, ids if ids is None else (size, ids))
            for (feature, selection), ids in zip(queries, near, strict=True)
        ]

    def _of(self, query: Feature, selection: Selection, near: tuple[int, Ids] | None) -> Candidates:
        if self._generation is None or self._is_scanned(selection):
            scan = _Scan(*self.scanned(selection.condition), query)
            if len(scan) != selection.found:
                raise self._store.damage("the number of items")
            return scan
        return _IndexAndTail(self, self._store, query, selection, near)

    def _is_scanned(self, selection: Selection) -> bool:
        return self._generation is None or (selection.condition != EVERYTHING and selection.found <= EXACT_SCAN_LIMIT)

    @cached_property
    def reader(self) -> IndexReader:
        """Of the published generation."""
        assert self._generation is not None
        return self._open(self._generation)

    @cached_property
    def removed(self) -> Ids:
        """What the index holds and is no longer an item."""
        return self._store.removed_ids()

    def listed(self, selection: Selection) -> Ids:
        """Ids of all of it, rising."""
        if selection.condition not in self._listed:
            ids = self._store.matching_ids(selection.condition)
            if len(ids) != selection.found:
                raise self._store.damage("the number of items")
            _keep(self._listed, selection.condition, ids)
        return self._listed[selection.condition]

    def scanned(self, condition: Condition, above: int = 0) -> tuple[Ids, Feature]:
        """Ids and features, of shape (n, dimension), of what meets a condition and has an id above that."""
        key = (condition, above)
        if key not in self._scanned:
            parts = list(self._store.features(condition, above=above))
            ids = np.concatenate([np.zeros(0, np.int64), *(ids for ids, _ in parts)])
            features = np.concatenate([features for _, features in parts]) if parts else np.zeros((0, 0))
            _keep(self._scanned, key, (ids, features.astype(np.float32)))
        return self._scanned[key]


def _keep(kept: dict[Key, Value], key: Key, value: Value) -> None:
    if len(kept) == KEPT:
        del kept[next(iter(kept))]
    kept[key] = value


class _Scan:
    """Candidates of an exact scan over some items; of equal ones, those that were added first."""

    def __init__(self, ids: Ids, features: Feature, query: Feature) -> None:
        self._ids = ids
        self._cosines = cosines(query, features) if len(ids) else np.zeros(0, np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def best(self, size: int) -> Ids:
        if size >= len(self._ids):
            return self._ids
        least = -np.partition(-self._cosines, size - 1)[size - 1]
        nearer, equal = self._ids[self._cosines > least], self._ids[self._cosines == least]
        return np.concatenate([nearer, equal[: size - len(nearer)]])


class _IndexAndTail:
    """Candidates of the published index, and of an exact scan of what is newer."""

    def __init__(
        self,
        moment: Moment,
        store: Store,
        query: Feature,
        selection: Selection,
        near: tuple[int, Ids] | None,
    ) -> None:
        self._moment, self._reader, self._store = moment, moment.reader, store
        self._query, self._selection = query, selection
        self._categories = selection.categories or None
        self._near = near
        self._without = moment.removed
        self._tail = _Scan(*moment.scanned(selection.condition, self._reader.generation.max_id), query)
        self._only: Ids | None = None
        if selection.condition == EVERYTHING:
            if self._reader.generation.items - len(self._without) + len(self._tail) != selection.found:
                raise store.damage("the number of items")
        elif self._reader.generation.lists is None or (selection.filter != EVERYTHING and not self._is_broad()):
            self._only = moment.listed(selection)

    def _is_broad(self) -> bool:
        """Whether looking at the condition of what is near costs less than listing all that meet it."""
        found, among = self._selection.found, self._selection.among
        return MAX_RESULTS * LOOK_COST * among < found * found

    def best(self, size: int) -> Ids:
        return np.concatenate([self._indexed(size), self._tail.best(size)])

    def _indexed(self, size: int) -> Ids:
        if self._near is not None and size <= self._near[0]:
            return self._near[1]
        if self._only is None and self._selection.filter != EVERYTHING:
            found = self._of_a_broad_filter(size)
            if found is not None:
                return found
            self._only = self._moment.listed(self._selection)
        if self._only is None:
            return self._reader.shortlist(self._query, size, categories=self._categories, without=self._without)
        return self._reader.shortlist(self._query, size, categories=self._categories, only=self._only)

    def _of_a_broad_filter(self, size: int) -> Ids | None:
        """What meets the filter among more of the nearest; None if that is too little, as it is for what lies apart."""
        wanted = int(BROAD_MARGIN * size * self._selection.among / self._selection.found)
        near = self._reader.shortlist(self._query, wanted, categories=self._categories, without=self._without)
        kept = self._store.matching(near.tolist(), self._selection.filter)
        return kept if len(kept) >= size else None
