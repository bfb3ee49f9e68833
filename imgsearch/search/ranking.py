"""Ranking: the order and Scores of the items that answer a query.

A search always ranks a fixed number of candidates, those nearest to the query by their own features, so pages are
slices of one order. Candidates are ranked by their similarity together with the other pictures of their products,
lifted towards the best of these (``siblings.py``).

Implemented in NumPy on top of the storage port, independent of database and index.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.distinct import distinct, places_of
from imgsearch.errors import InstanceDamaged, ItemNotFound, StampMismatch
from imgsearch.filters.tree import EVERYTHING
from imgsearch.search.candidates import Snapshot
from imgsearch.search.layers import Asked, Query, read_layers
from imgsearch.search.score import Calibration, Rivals, cosines, hamming
from imgsearch.search.siblings import WITHOUT_LIFT, Similarities, similarities
from imgsearch.service.sort_values import sort_expr_values
from imgsearch.storage.port import IndexReplaced
from imgsearch.types import MAX_RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.search.layers import Layer
    from imgsearch.search.siblings import Members, RankingWeights
    from imgsearch.storage.port import Storage, StoredPicture
    from imgsearch.types import Item

__all__ = ["Hit", "Query", "Ranker", "Ranking"]

CANDIDATES: Final = MAX_RESULTS
"""Items ranked in addition to identical ones: a fixed number, so that all pages see one order."""
DISTINCT_CANDIDATES: Final = 2 * CANDIDATES
"""The same for distinct products, as a product may have several pictures among the candidates."""
FEW: Final = 100
"""For more results than this, all candidates are read at once: a page may need those beyond the nearest products."""
QUERIES_AT_ONCE: Final = 32
"""Queries whose candidates are read together: bounds the memory, to a megabyte a query."""
IDENTICAL_LIMIT: Final = 10_000
REOPEN_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Hit:
    """One result."""

    item: Item
    score: float
    """0..1, from the ranking similarity; 1 only for an identical picture."""
    distance: int
    """Hamming distance of the feature codes, in bits; 0 for an identical picture."""
    identical: bool

    @property
    def sort_expr_values(self) -> str:
        """The service's ``relevance;distance``."""
        return sort_expr_values(self.score, self.distance, identical=self.identical)


@dataclass(frozen=True, slots=True)
class Ranking:
    """One page of results, best first, and the number of items that meet the condition."""

    found: int
    hits: list[Hit]
    left_out: int = 0
    """How many of the items are the query picture, under whatever name, and were left out for that."""


@dataclass(frozen=True, slots=True)
class _Order:
    """Ranked items, best first, in columns."""

    ids: npt.NDArray[np.int64]
    products: npt.NDArray[np.int64]
    """Their numbers."""
    scores: npt.NDArray[np.float64]
    identical: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        pictures: Members,
        scores: npt.NDArray[np.float64],
        *similarities: npt.NDArray[np.float32],
        identical: bool,
    ) -> _Order:
        """Sort by falling similarity, then by the next similarity, then in the order of addition."""
        keys: list[npt.NDArray[Any]] = [pictures.ids, *(-values for values in reversed(similarities))]
        marks = np.full(len(pictures.ids), identical)
        return cls(pictures.ids, pictures.products, scores, marks).take(np.lexsort(keys))

    def take(self, places: npt.NDArray[np.int64]) -> _Order:
        """The items at these places."""
        return _Order(self.ids[places], self.products[places], self.scores[places], self.identical[places])

    def then(self, others: _Order) -> _Order:
        """These items, then others."""
        return _Order(
            np.concatenate([self.ids, others.ids]),
            np.concatenate([self.products, others.products]),
            np.concatenate([self.scores, others.scores]),
            np.concatenate([self.identical, others.identical]),
        )

    def best_of_each_product(self) -> _Order:
        """The first item of each product."""
        return self.take(np.sort(places_of(self.products).first))


_NOTHING: Final = _Order(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_))


@dataclass(frozen=True, slots=True)
class _Options:
    """What ``search_many`` was asked for."""

    calibration: Calibration
    start: int
    wanted: int
    """How many of the order are needed, those skipped included."""
    distinct_product: bool
    min_score: float
    exclude_identical: bool
    weights: RankingWeights


@dataclass(slots=True)
class _Progress:
    """How far a query has been answered."""

    asked: Asked
    order: _Order = _NOTHING
    rivals: Rivals | None = None
    """Those of the first layer apply to all layers."""
    is_done: bool = False
    hits: list[Hit] = field(default_factory=list)
    """The page, once it has been read."""

    def add(self, layer: Layer, options: _Options) -> None:
        """Rank a layer, or ask for the whole of it if the items that were left out may belong to the page.

        Identical pictures come first, by their own cosines, as siblings cannot add to certainty. They lift the others
        of their products as any candidate does. Items beyond the nearest products count by their own cosines.
        """
        query, pictures = self.asked.query, layer.pictures
        same = pictures.take(np.flatnonzero(layer.identical & (not options.exclude_identical)))
        own = cosines(query.feature, same.features)
        ranked = _Order.of(same, np.ones(len(same.ids)), own, identical=True)
        others = pictures.take(np.flatnonzero(~layer.identical)) if layer.identical.any() else pictures
        rivals = self.rivals
        is_known = layer.beyond is None
        if len(others.ids):
            values = _values(query, others, layer, options.weights, same)
            rivals = rivals or Rivals.of(others.products, values.lifted)
            scores = options.calibration.scores(values.lifted, rivals)
            ranked = ranked.then(_Order.of(others, scores, values.lifted, values.unlifted, identical=False))
            if layer.beyond is not None:
                is_before = values.lifted > layer.beyond
                ranked = ranked.take(np.arange(len(same.ids) + np.count_nonzero(is_before)))
                is_known = self.rivals is not None or len(distinct(others.products[is_before])) > 1
        near = ranked.take(np.flatnonzero(ranked.scores >= options.min_score))
        order = self.order.then(near)
        if options.distinct_product:
            order = order.best_of_each_product()
        # A result below the minimum score ends the order for all pages; a full page just ends this one.
        is_full = len(order.ids) >= options.wanted or len(near.ids) < len(ranked.ids)
        if layer.beyond is not None and not (is_known and is_full):
            self.asked.is_whole = True
            return
        self.order, self.rivals = order, rivals
        self.is_done = is_full or self.asked.is_over or not options.distinct_product


def _values(query: Query, others: Members, layer: Layer, weights: RankingWeights, same: Members) -> Similarities:
    """The similarities of a layer's items that are not identical pictures."""
    places = np.arange(len(others.ids))
    near, alone = others.take(places[: layer.together]), others.take(places[layer.together :])
    values = similarities(query.feature, near, layer.siblings, weights, same)
    if not len(alone.ids):
        return values
    own = cosines(query.feature, alone.features)
    return Similarities(np.concatenate([values.unlifted, own]), np.concatenate([values.lifted, own]))


class Ranker:
    """Answers queries on one storage.

    Args:
        storage: with the items.
        snapshot: makes a snapshot of it that selects candidates.
    """

    def __init__(self, storage: Storage, snapshot: Callable[[Storage], Snapshot] = Snapshot) -> None:
        self._storage = storage
        self._snapshot = snapshot

    def search(
        self,
        query: Query,
        calibration: Calibration,
        *,
        categories: tuple[int, ...] = (),
        **options: Any,
    ) -> Ranking:
        """Answer one query; arguments and errors are those of ``search_many``."""
        return self.search_many([(query, categories)], calibration, **options)[0]

    def search_many(
        self,
        queries: Sequence[tuple[Query, tuple[int, ...]]],
        calibration: Calibration,
        *,
        num: int,
        start: int = 0,
        condition: Condition = EVERYTHING,
        distinct_product: bool = False,
        min_score: float = 0.0,
        exclude_identical: bool = False,
        weights: RankingWeights = WITHOUT_LIFT,
        made_by: dict[str, Any] | None = None,
    ) -> list[Ranking]:
        """Rank the items that meet the condition by their similarity to each query.

        An item is compared together with the other pictures of its product, even those that do not meet the condition:
        it limits results, not evidence. Pages of one query are slices of one order. With ``distinct_product``, products
        found only by ranking additional candidates come after all others.

        Args:
            queries: each with the categories of its results; empty: all.
            calibration: from cosine to Score.
            num: maximum number of results.
            start: how many results to skip; ``start + num`` is capped at MAX_RESULTS.
            condition: filters before ranking: ``num`` results whenever that many items meet it.
            distinct_product: only the best item of each ProductId, which a lift never changes.
            min_score: leave out results with a lower Score.
            exclude_identical: leave out the query picture itself under any name, also as a sibling and for lift.
            weights: of the other pictures of a product.
            made_by: the model of the queries' features, as in the setting ``model``; None: not checked.

        Raises:
            InstanceDamaged: the index file is missing or corrupted.
            StampMismatch: the items' features are of another model.
            ItemNotFound: a stored query picture no longer exists.
        """
        options = _Options(
            calibration,
            start,
            min(start + num, MAX_RESULTS),
            distinct_product,
            min_score,
            exclude_identical,
            # A lift never changes the best picture of a product or its similarity.
            weights.without_lift() if distinct_product else weights,
        )
        store = self._storage.store
        for _ in range(REOPEN_ATTEMPTS):
            try:
                with self._storage.errors(), store.reading():
                    if made_by is not None and store.made_by() != made_by:
                        raise StampMismatch(
                            f"the features in {self._storage.folder} were recomputed while this search was prepared: "
                            "search again"
                        )
                    return self._answers(self._asked(queries, condition, options), options)
            except IndexReplaced:
                continue  # a rebuild has replaced the generation meanwhile: retry
        raise InstanceDamaged(
            f"the index file of {self._storage.folder} is missing; the items are safe in the database: "
            "run 'imgsearch rebuild'"
        )

    def _asked(
        self, queries: Sequence[tuple[Query, tuple[int, ...]]], condition: Condition, options: _Options
    ) -> list[_Progress]:
        """The queries with their selections and candidates."""
        store = self._storage.store
        comparable = [self._comparable(query) for query, _ in queries]
        snapshot = self._snapshot(self._storage)
        selections = [snapshot.selection(categories, condition) for _, categories in queries]
        owns = [
            store.identical_ids(query.identity, selection.condition, IDENTICAL_LIMIT)
            for query, selection in zip(comparable, selections, strict=True)
        ]
        size = DISTINCT_CANDIDATES if options.distinct_product else CANDIDATES
        candidates = snapshot.candidates(
            [(query.feature, selection) for query, selection in zip(comparable, selections, strict=True)],
            size + max(map(len, owns), default=0),
        )
        return [
            _Progress(Asked(query, selection, own, near, size, is_whole=options.wanted > FEW))
            for query, selection, own, near in zip(comparable, selections, owns, candidates, strict=True)
        ]

    def _comparable(self, query: Query) -> Query:
        """The query with a feature comparable to the stored ones, tuned as in this snapshot."""
        store = self._storage.store
        if query.item_id is not None:
            if not store.has(query.item_id):
                raise ItemNotFound(f"the query picture is no longer in {self._storage.folder}")
            return replace(query, feature=store.feature(query.item_id))
        tuning = store.tuning()
        return query if tuning is None else replace(query, feature=tuning.applied(query.feature))

    def _answers(self, queries: list[_Progress], options: _Options) -> list[Ranking]:
        """Rank what was asked for, many queries with one selection at a time."""
        at_once = 1 if options.exclude_identical else QUERIES_AT_ONCE
        selected: dict[int, list[_Progress]] = {}
        for one in queries:
            selected.setdefault(id(one.asked.selection), []).append(one)
        for same in selected.values():
            for start in range(0, len(same), at_once):
                some = same[start : start + at_once]
                self._rank(some, options)
                self._read_pages(some, options)
        return [
            Ranking(one.asked.selection.found, one.hits, len(one.asked.own) if options.exclude_identical else 0)
            for one in queries
        ]

    def _rank(self, queries: list[_Progress], options: _Options) -> None:
        """Rank layer after layer of queries with one selection, until each has what it needs."""
        numbers: dict[str, int] = {}
        waiting = [one for one in queries if not one.asked.is_over]
        while waiting:
            asked = [one.asked for one in waiting]
            layers = read_layers(
                self._storage.store,
                asked,
                numbers,
                exclude_identical=options.exclude_identical,
                by_category=not options.weights.across_categories,
            )
            for one, layer in zip(waiting, layers, strict=True):
                one.add(layer, options)
            waiting = [one for one in waiting if not one.is_done]

    def _read_pages(self, queries: list[_Progress], options: _Options) -> None:
        """Read the pages of ranked queries; an item on several of them is read once."""
        store = self._storage.store
        pages = [one.order.take(np.arange(len(one.order.ids))[options.start : options.wanted]) for one in queries]
        wanted = distinct(*(page.ids for page in pages)).tolist()
        pictures = {picture.item.id: picture for picture in store.pictures(wanted)}
        if len(pictures) != len(wanted):
            raise store.damage("an item or its feature")
        for one, page in zip(queries, pages, strict=True):
            one.hits = _hits(one.asked.query, page, [pictures[number] for number in page.ids.tolist()])


def _hits(query: Query, page: _Order, pictures: list[StoredPicture]) -> list[Hit]:
    if not pictures:
        return []
    distances = hamming(query.feature, np.stack([picture.feature for picture in pictures])).tolist()
    return [
        Hit(picture.item, score, 0 if identical else distance, identical)
        for picture, score, identical, distance in zip(
            pictures, page.scores.tolist(), page.identical.tolist(), distances, strict=True
        )
    ]
