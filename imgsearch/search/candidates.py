"""Selecting candidates: the items nearest to the query by their own features, among those that may be found.

Queries on one snapshot share lookups: counts, removed ids, features of items newer than the index. So each further
query costs little.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import numpy as np

from imgsearch.distinct import is_among
from imgsearch.errors import RemoteUnavailable
from imgsearch.filters.tree import EVERYTHING, category_condition
from imgsearch.quantization import single
from imgsearch.search.score import cosines
from imgsearch.types import MAX_RESULTS, SCANNED_WITHOUT_INDEX

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.listed_ids import ListedIds
    from imgsearch.storage.port import Generation, Index, Storage, Truth

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]

__all__ = ["Candidates", "Selection", "Snapshot"]

EXACT_SCAN_LIMIT: Final = 2_500
"""If at most this many items meet category and filter, they are scanned exactly."""
LOOK_COST: Final = 40
"""Cost of testing an item's condition, relative to listing one item that meets it."""
BROAD_MARGIN: Final = 1.5
"""For a broad filter, the index is asked for this many times as many near items as should suffice."""
FIRST_MARGIN: Final = 1.1
"""How many times as many of them are tested first as should suffice."""
NO_IDS: Final = np.zeros(0, np.int64)
LEAST_OF_SHORTLIST: Final = 400
"""An index compares roughly, so less of a shortlist than that may lack even the nearest items."""
KEPT: Final = 4
"""Number of conditions whose features and ids are cached for further queries."""
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Selection:
    """The items that may be found."""

    categories: tuple[int, ...]
    """Empty: all."""
    filter: Condition
    condition: Condition
    """Both together."""
    found: int
    """Number of items that meet it."""
    among: int
    """Number of items in the categories."""


class Candidates(Protocol):
    """The items of a selection, nearest first."""

    @property
    def read(self) -> tuple[Ids, Feature] | None:
        """Ids of all items of the selection, ascending, and their features, if these have been read."""

    def best(self, size: int) -> Ids:
        """Ids of at least the ``size`` nearest items (all, if there are fewer)."""


class Snapshot:
    """One snapshot of the store, for any number of queries.

    Args:
        storage: inside its truth's ``reading`` block.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._store = store = storage.store
        self._generation = store.generation()
        self._counts = store.counts()
        self._selections: dict[tuple[tuple[int, ...], Condition], Selection] = {}
        self._listed: dict[Condition, ListedIds] = {}
        self._scanned: dict[tuple[Condition, bool], tuple[Ids, Feature]] = {}

    def selection(self, categories: tuple[int, ...], condition: Condition) -> Selection:
        """The items in these categories (empty: all) that meet a condition."""
        key = (categories, condition)
        if key not in self._selections:
            self._selections[key] = self._select(categories, condition)
        return self._selections[key]

    def _select(self, categories: tuple[int, ...], condition: Condition) -> Selection:
        among = sum(items for category, items in self._counts.items() if not categories or category in categories)
        both = self._both(categories, condition)
        found = among if condition == EVERYTHING else self._store.count(both)
        return Selection(categories, condition, both, found, among)

    def _both(self, categories: tuple[int, ...], condition: Condition) -> Condition:
        """The condition for items in these categories (empty: all) that meet another one."""
        if condition == EVERYTHING:
            return category_condition(categories) if categories else EVERYTHING
        # Indexes of attributes lead with the category, so name all categories if none is given.
        return category_condition(categories or tuple(self._counts)).joined(condition)

    def candidates(self, queries: Sequence[tuple[Feature, Selection]], size: int) -> list[Candidates]:
        """Candidates for each query: a feature of shape (dimension,) and a selection; ``size`` are needed each."""
        near: list[Ids | None] = [None] * len(queries)
        whole = [
            number
            for number, (_, selection) in enumerate(queries)
            if selection.filter == EVERYTHING and not self._is_scanned(selection)
        ]
        if self._generation is not None and not self._generation.is_exact and len(whole) > 1:
            found = self.index.shortlists(
                np.stack([queries[number][0] for number in whole]),
                size,
                [queries[number][1].categories or None for number in whole],
                self.removed,
            )
            for number, ids in zip(whole, found, strict=True):
                near[number] = ids
        return [
            self._of(feature, selection, size, ids) for (feature, selection), ids in zip(queries, near, strict=True)
        ]

    def _of(self, query: Feature, selection: Selection, size: int, near: Ids | None) -> Candidates:
        if self._generation is None or self._is_scanned(selection):
            if self._store.compares_itself:
                return _Compared(self._store, query, selection.condition, size)
            scan = _Scan(*self.scanned(selection.condition), query)
            if len(scan) != selection.found:
                raise self._store.damage("the number of items")
            return scan
        return _IndexAndTail(self, self._store, self._generation, query, selection, size, near)

    def _is_scanned(self, selection: Selection) -> bool:
        return self._generation is None or (selection.condition != EVERYTHING and selection.found <= EXACT_SCAN_LIMIT)

    @cached_property
    def index(self) -> Index:
        """The index of the published generation."""
        assert self._generation is not None
        return self._storage.index(self._generation)

    @cached_property
    def removed(self) -> Ids:
        """Ids in the index that belong to deleted items."""
        return self._store.removed_ids()

    def listed(self, selection: Selection) -> ListedIds:
        """Ids of a whole selection."""
        if selection.condition not in self._listed:
            ids = self._store.listed(selection.condition)
            if len(ids) != selection.found:
                raise self._store.damage("the number of items")
            _keep(self._listed, selection.condition, ids)
        return self._listed[selection.condition]

    def scanned(self, condition: Condition, *, unindexed: bool = False) -> tuple[Ids, Feature]:
        """Ids and features, of shape (n, dimension), of items that meet a condition (and are not in the index)."""
        key = (condition, unindexed)
        if key not in self._scanned:
            parts = list(self._store.scan(condition, unindexed=unindexed))
            ids = np.concatenate([NO_IDS, *(ids for ids, _ in parts)])
            features = np.concatenate([features for _, features in parts]) if parts else np.zeros((0, 0))
            _keep(self._scanned, key, (ids, single(features)))
        return self._scanned[key]


def _keep(kept: dict[Key, Value], key: Key, value: Value) -> None:
    if len(kept) == KEPT:
        del kept[next(iter(kept))]
    kept[key] = value


class _Scan:
    """Candidates of an exact scan; among equals, those added first."""

    def __init__(self, ids: Ids, features: Feature, query: Feature) -> None:
        self.read = ids, features
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


class _Compared:
    """Candidates that the storage finds by comparing a query with all items."""

    read: Final = None

    def __init__(
        self, store: Truth, query: Feature, condition: Condition, size: int, *, unindexed: bool = False
    ) -> None:
        self._store, self._query, self._condition, self._unindexed = store, query, condition, unindexed
        self._size = size
        self._found: Ids | None = None

    def best(self, size: int) -> Ids:
        if self._found is None or size > self._size:
            self._size = max(size, self._size)
            self._found = self._store.nearest(self._query, self._condition, self._size, unindexed=self._unindexed)
        return self._found


class _IndexAndTail:
    """Candidates of the published index and of an exact scan of newer items."""

    read: Final = None

    def __init__(
        self,
        snapshot: Snapshot,
        store: Truth,
        generation: Generation,
        query: Feature,
        selection: Selection,
        size: int,
        near: Ids | None,
    ) -> None:
        self._snapshot, self._index, self._store = snapshot, snapshot.index, store
        self._query, self._selection = query, selection
        self._categories = selection.categories or None
        self._size, self._near = size, near
        self._is_sliced = self._index.is_best_first and not generation.is_exact  # an exact one returns ties, too
        self._without = snapshot.removed
        self._tail: _Scan | _Compared = (
            _Compared(store, query, selection.condition, size, unindexed=True)
            if store.compares_itself
            else _Scan(*snapshot.scanned(selection.condition, unindexed=True), query)
        )
        self._only: ListedIds | None = None
        self._compared: _Compared | None = None
        """In place of index and tail, where few enough items count that all are compared."""
        if selection.condition == EVERYTHING:
            newer = len(self._tail) if isinstance(self._tail, _Scan) else store.count_unindexed()
            if generation.items - len(self._without) + newer != selection.found:
                raise store.damage("the number of items")
        elif generation.is_exact or (selection.filter != EVERYTHING and not self._is_broad()):
            self._narrow()

    def _is_broad(self) -> bool:
        """Whether testing near items against the filter, as often as it has been asked, costs less than listing all.

        The storage keeps what has been listed. So at worst, a filter costs twice as much as the better of the two.
        """
        found, among = self._selection.found, self._selection.among
        return self._store.asked(self._selection.condition) * MAX_RESULTS * LOOK_COST * among < found * found

    def _narrow(self) -> None:
        """From now on, consider nothing but the items of the selection."""
        if self._store.compares_itself:
            self._compared = _Compared(self._store, self._query, self._selection.condition, self._size)
        else:
            self._only = self._snapshot.listed(self._selection)

    def best(self, size: int) -> Ids:
        if self._compared is None and (self._near is None or size > self._size):
            self._size = max(size, self._size)
            self._near = self._indexed(self._size)
        if self._compared is not None:
            return self._compared.best(size)
        assert self._near is not None
        near = self._near
        if self._is_sliced:  # the same margin for a few as for all
            near = near[: max(size, LEAST_OF_SHORTLIST, -(-len(near) * size // self._size))]
        return np.concatenate([near, self._tail.best(size)])

    def _indexed(self, size: int) -> Ids:
        if self._only is None and self._selection.filter != EVERYTHING:
            found = self._of_a_broad_filter(size)
            if found is not None:
                return found
            self._narrow()
            if self._compared is not None:
                return NO_IDS
        if self._only is None:
            return self._index.shortlist(self._query, size, categories=self._categories, without=self._without)
        return self._index.shortlist(self._query, size, categories=self._categories, only=self._only)

    def _of_a_broad_filter(self, size: int) -> Ids | None:
        """Filter a larger shortlist; None if too few remain, as for items far from the query."""
        items_per_match = self._selection.among / self._selection.found
        wanted = int(BROAD_MARGIN * size * items_per_match)
        try:
            near = self._index.shortlist(self._query, wanted, categories=self._categories, without=self._without)
        except RemoteUnavailable:
            if self._selection.found > SCANNED_WITHOUT_INDEX:
                raise
            return None  # few enough meet the filter, though there are many items
        # Keep as many as the index returns without a filter; it may return the nearest first.
        enough = len(near) * size // wanted if self._index.is_best_first else len(near)
        kept = NO_IDS
        for some in np.split(near, [int(FIRST_MARGIN * enough * items_per_match)]):
            if len(kept) < enough:
                matching = np.sort(self._store.matching(some.tolist(), self._selection.filter))
                kept = np.concatenate([kept, some[is_among(some, matching)]])
        return kept[:enough] if len(kept) >= size else None
