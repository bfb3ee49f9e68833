"""Ranking: the order and Scores of the items that answer a query.

A search always ranks a fixed number of candidates, those nearest to the query by their own features, so pages are
slices of one order. Candidates are ranked by their similarity together with the other pictures of their products,
lifted towards the best of these (``siblings.py``).

Implemented in NumPy on top of the storage port, independent of database and index.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.errors import InstanceDamaged, ItemNotFound, StampMismatch
from imgsearch.filters.tree import EVERYTHING, picture_condition
from imgsearch.search.candidates import Snapshot
from imgsearch.search.score import Calibration, Rivals, cosines, hamming
from imgsearch.search.siblings import WITHOUT_LIFT, similarities
from imgsearch.service.sort_values import sort_expr_values
from imgsearch.storage.port import IndexReplaced, Pictures
from imgsearch.types import MAX_RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.search.candidates import Candidates, Selection
    from imgsearch.search.siblings import RankingWeights
    from imgsearch.storage.port import Storage
    from imgsearch.types import Item
    from imgsearch.values import Region

__all__ = ["Hit", "Query", "Ranker", "Ranking"]

CANDIDATES: Final = MAX_RESULTS
"""Items ranked in addition to identical ones: a fixed number, so that all pages see one order."""
DISTINCT_CANDIDATES: Final = 2 * CANDIDATES
"""The same for distinct products, as a product may have several pictures among the candidates."""
LAYER_FACTOR: Final = 4
"""If these do not fill a page, the next layer reaches this many times as far."""
PRODUCT_PICTURES: Final = 64
"""Siblings per product, the first by PicName: bounds the cost of products with many pictures."""
IDENTICAL_LIMIT: Final = 10_000
REOPEN_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Query:
    """A query."""

    feature: npt.NDArray[np.float32]
    """Shape (dimension,), L2-normalised; untuned, as computed by the networks."""
    content_hash: bytes
    region: Region | None = None
    """The region given by the caller; None: automatic or the whole picture."""
    item_id: int | None = None
    """The stored picture to search with; its current stored feature is used."""

    @classmethod
    def with_item(cls, item: Item) -> Query:
        """A query with a stored picture."""
        return cls(np.zeros(0, np.float32), item.content_hash, item.region, item.id)

    @property
    def identity(self) -> Condition:
        """The condition for items of the same picture: same bytes, and no different region."""
        return picture_condition(self.content_hash, self.region)


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
class _Ranked:
    """A ranked candidate."""

    id: int
    product_id: str
    score: float
    identical: bool


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query with its selection and candidates."""

    query: Query
    selection: Selection
    own: npt.NDArray[np.int64]
    """Ids of the identical pictures in the selection."""
    candidates: Candidates
    size: int
    """Size of the first layer, without identical pictures."""


def _best_of_each_product(ranked: list[_Ranked]) -> list[_Ranked]:
    best: dict[str, _Ranked] = {}
    for hit in ranked:
        best.setdefault(hit.product_id, hit)
    return list(best.values())


def _in_order(
    pictures: Pictures, scores: npt.NDArray[np.float64], *similarities: npt.NDArray[np.float32], identical: bool
) -> list[_Ranked]:
    """Sort by falling similarity, then by the next similarity, then in the order of addition."""
    keys: list[npt.NDArray[Any]] = [pictures.ids, *(-values for values in reversed(similarities))]
    order = np.lexsort(keys)
    columns = zip(pictures.ids.tolist(), pictures.groups, scores.tolist(), strict=True)
    ranked = [_Ranked(number, product_id, score, identical) for number, (product_id, _), score in columns]
    return [ranked[place] for place in order.tolist()]


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
        given, store = queries, self._storage.store
        for _ in range(REOPEN_ATTEMPTS):
            try:
                with self._storage.errors(), store.reading():
                    if made_by is not None and store.made_by() != made_by:
                        raise StampMismatch(
                            f"the features in {self._storage.folder} were recomputed while this search was prepared: "
                            "search again"
                        )
                    queries = [(self._comparable(query), categories) for query, categories in given]
                    snapshot = self._snapshot(self._storage)
                    selections = [snapshot.selection(categories, condition) for _, categories in queries]
                    owns = [
                        store.identical_ids(query.identity, selection.condition, IDENTICAL_LIMIT)
                        for (query, _), selection in zip(queries, selections, strict=True)
                    ]
                    size = DISTINCT_CANDIDATES if distinct_product else CANDIDATES
                    candidates = snapshot.candidates(
                        [(query.feature, selection) for (query, _), selection in zip(queries, selections, strict=True)],
                        size + max(map(len, owns), default=0),
                    )
                    return [
                        self._search(
                            _Asked(query, selection, own, near, size),
                            calibration,
                            num,
                            start,
                            distinct_product,
                            min_score,
                            exclude_identical,
                            # A lift never changes the best picture of a product or its similarity.
                            weights.without_lift() if distinct_product else weights,
                        )
                        for (query, _), selection, own, near in zip(queries, selections, owns, candidates, strict=True)
                    ]
            except IndexReplaced:
                continue  # a rebuild has replaced the generation meanwhile: retry
        raise InstanceDamaged(
            f"the index file of {self._storage.folder} is missing; the items are safe in the database: "
            "run 'imgsearch rebuild'"
        )

    def _comparable(self, query: Query) -> Query:
        """The query with a feature comparable to the stored ones, tuned as in this snapshot."""
        store = self._storage.store
        if query.item_id is not None:
            if not store.has(query.item_id):
                raise ItemNotFound(f"the query picture is no longer in {self._storage.folder}")
            return replace(query, feature=store.feature(query.item_id))
        tuning = store.tuning()
        return query if tuning is None else replace(query, feature=tuning.applied(query.feature))

    def _search(
        self,
        asked: _Asked,
        calibration: Calibration,
        num: int,
        start: int,
        distinct_product: bool,
        min_score: float,
        exclude_identical: bool,
        weights: RankingWeights,
    ) -> Ranking:
        query = asked.query
        wanted = min(start + num, MAX_RESULTS)
        order: list[_Ranked] = []
        rivals: Rivals | None = None
        for pictures, identical in self._layers(asked):
            ranked, rivals = self._rank(query, calibration, pictures, identical, exclude_identical, weights, rivals)
            near = [hit for hit in ranked if hit.score >= min_score]
            order = _best_of_each_product(order + near) if distinct_product else near
            # A result below the minimum score ends the order for all pages; a full page just ends this one.
            if not distinct_product or len(order) >= wanted or len(near) < len(ranked):
                break
        left_out = len(asked.own) if exclude_identical else 0
        return Ranking(asked.selection.found, self._hits(query, order[start:wanted]), left_out)

    def _layers(self, asked: _Asked) -> Iterator[tuple[Pictures, npt.NDArray[np.bool_]]]:
        """Yield items by falling similarity of their own features, in layers that are the same for all pages.

        Yields:
            The pictures of a layer, identical ones in the first, and a mask of the identical ones.
        """
        store = self._storage.store
        query, selection, own = asked.query, asked.selection, asked.own
        passed: set[int] = set()
        inner, outer = 0, asked.size
        while len(passed) < selection.found:
            near = set(asked.candidates.best(outer + len(own)).tolist()) - passed
            if not near and passed.issuperset(own.tolist()):
                raise store.damage("the number of items")
            same = set(own.tolist()) - passed
            ids, features = store.features_of(near | same)
            order = np.lexsort((ids, -cosines(query.feature, features)))
            is_own = np.isin(ids[order], own)
            layer = np.concatenate([order[is_own], order[~is_own][: outer - inner]])
            pictures, identical = store.candidates(ids[layer], features[layer], query.identity, selection.condition)
            passed.update(pictures.ids.tolist())
            yield pictures, identical
            inner, outer = outer, LAYER_FACTOR * outer

    def _rank(
        self,
        query: Query,
        calibration: Calibration,
        pictures: Pictures,
        identical: npt.NDArray[np.bool_],
        exclude_identical: bool,
        weights: RankingWeights,
        rivals: Rivals | None,
    ) -> tuple[list[_Ranked], Rivals | None]:
        """Rank candidates; the rivals of the first layer apply to all layers.

        Identical pictures come first, by their own cosines, as siblings cannot add to certainty. They lift the others
        of their products as any candidate does.
        """
        same = pictures.take(np.flatnonzero(identical & (not exclude_identical)))
        own = cosines(query.feature, same.features)
        ranked = _in_order(same, np.ones(len(same.ids)), own, identical=True)
        others = pictures.take(np.flatnonzero(~identical))
        if len(others.ids):
            siblings = self._siblings(query, others, pictures, identical, exclude_identical)
            values = similarities(query.feature, others, siblings, weights, same)
            rivals = rivals or Rivals.of((product_id for product_id, _ in others.groups), values.lifted)
            scores = calibration.scores(values.lifted, rivals)
            ranked += _in_order(others, scores, values.lifted, values.unlifted, identical=False)
        return ranked, rivals

    def _siblings(
        self,
        query: Query,
        candidates: Pictures,
        pictures: Pictures,
        identical: npt.NDArray[np.bool_],
        exclude_identical: bool,
    ) -> Iterator[Pictures]:
        """Yield siblings of the candidates: the first pictures of their products, loaded ones first."""
        store = self._storage.store
        products = dict.fromkeys(product_id for product_id, _ in candidates.groups)
        lending = store.first_of_products(products, PRODUCT_PICTURES)
        known = np.isin(pictures.ids, lending)
        yield pictures.take(np.flatnonzero(known & ~identical if exclude_identical else known))
        others = np.setdiff1d(lending, pictures.ids).tolist()
        yield from store.siblings(others, query.identity.negated() if exclude_identical else EVERYTHING)

    def _hits(self, query: Query, page: list[_Ranked]) -> list[Hit]:
        if not page:
            return []
        store = self._storage.store
        pictures = {picture.item.id: picture for picture in store.pictures([hit.id for hit in page])}
        if len(pictures) != len(page):
            raise store.damage("an item or its feature")
        distances = hamming(query.feature, np.stack([pictures[hit.id].feature for hit in page])).tolist()
        return [
            Hit(pictures[hit.id].item, hit.score, 0 if hit.identical else distance, hit.identical)
            for hit, distance in zip(page, distances, strict=True)
        ]
