"""Layers: the items that queries rank, and their siblings; what several queries have in common is read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.distinct import distinct, is_among, places_of
from imgsearch.filters.tree import EVERYTHING, OneOf, picture_condition
from imgsearch.search.family import Family, joined
from imgsearch.search.score import cosines
from imgsearch.search.siblings import Members

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.search.candidates import Candidates, Selection
    from imgsearch.storage.port import Truth
    from imgsearch.types import Item
    from imgsearch.values import Region

    Ids = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

__all__ = ["Asked", "Layer", "Query", "read_layers"]

NO_IDS: Final = np.zeros(0, np.int64)

PRODUCTS: Final = 250
"""How many products of a layer are compared together with siblings, the nearest first: siblings take a third of the
time of a search. Without a filter, a layer rarely has more products; a filter leaves a picture or two of each."""
TRIED: Final = 300
"""With a filter, so many items are read first: these usually have PRODUCTS products, and then no more are needed."""
LAYER_FACTOR: Final = 4
"""If a layer does not fill a page, the next one reaches this many times as far."""


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


@dataclass(slots=True)
class Asked:
    """A query with its selection and candidates, and how far these have been ranked."""

    query: Query
    selection: Selection
    own: Ids
    """Ids of the identical pictures in the selection."""
    candidates: Candidates
    outer: int
    """How many candidates the next layer reaches to, without identical pictures."""
    inner: int = 0
    """How many the layers before reached to."""
    passed: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    """Ids of the items in these, ascending."""
    is_whole: bool = False
    """Whether the items beyond the nearest products of a layer are wanted, too."""

    @property
    def is_over(self) -> bool:
        """Whether all items of the selection have been in a layer."""
        return len(self.passed) >= self.selection.found

    @property
    def tried(self) -> int:
        """How many candidates to read first for the next layer."""
        reach = min(self.outer, self.inner + TRIED)
        is_likely = self.selection.filter != EVERYTHING and self.selection.found > reach
        return reach if is_likely and not self.is_whole else self.outer

    def near(self, store: Truth, reach: int) -> Ids:
        """Ids from which the next layer is chosen if it reaches so far, ascending."""
        found = distinct(self.candidates.best(reach + len(self.own)), self.own)
        near = found[~is_among(found, self.passed)] if len(self.passed) else found
        if not len(near):
            raise store.damage("the number of items")
        return near

    def nearest(self, near: Ids, features: npt.NDArray[np.float32], reach: int) -> _Nearest:
        """Those of ``near`` that are in the next layer if it reaches so far."""
        values = cosines(self.query.feature, features)
        order = np.lexsort((near, -values))
        is_own = is_among(near[order], self.own)
        others = order[~is_own]
        chosen = others[: reach - self.inner]
        return _Nearest(
            near[np.concatenate([order[is_own], chosen])],
            len(near) - len(others),
            is_tied=len(chosen) < len(others) and bool(values[chosen[-1]] == values[others[-1]]),
        )

    def pass_on(self, ids: Ids) -> None:
        """Go on behind a layer with these items."""
        self.passed = distinct(self.passed, ids)
        self.inner, self.outer = self.outer, LAYER_FACTOR * self.outer


@dataclass(frozen=True, slots=True)
class _Nearest:
    """The items nearest to a query, as far as they have been read."""

    ids: Ids
    """Identical pictures first, then by falling cosine and rising id."""
    own: int
    """How many of them are identical pictures."""
    is_tied: bool
    """Whether the last ones are as near as some that may not have been read."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Items to rank together."""

    pictures: Members
    """Identical ones first, then by falling cosine."""
    identical: Mask
    """Which of them show the query picture itself."""
    together: int
    """How many of the others are compared together with their siblings: the first ones."""
    siblings: list[Members]
    """The first pictures of the products of these, in chunks: those of the layer first."""
    beyond: float | None
    """The highest cosine of the candidates that were left out; None: there are none."""


def read_layers(
    store: Truth,
    asked: Sequence[Asked],
    numbers: dict[str, int],
    *,
    exclude_identical: bool,
    by_category: bool = False,
) -> list[Layer]:
    """The next layer of each query.

    Args:
        store: inside its ``reading`` block.
        asked: queries with the same selection.
        numbers: of products, in all layers of these queries; new ones are added.
        exclude_identical: siblings are not the query picture either; for one query at a time.
        by_category: the categories of siblings matter, so their rows are verified, too.

    Raises:
        InstanceDamaged: what is stored contradicts itself or its checksums.
    """
    read = _Read(store, asked, numbers)
    reaches = [one.tried for one in asked]
    nearest = read.nearest(reaches)
    further = [
        reach if reach == one.outer or read.is_enough(found) else one.outer
        for one, reach, found in zip(asked, reaches, nearest, strict=True)
    ]
    if further != reaches:
        nearest = read.nearest(further)
    pictures = read.pictures
    store.verify(pictures.ids[read.marked].tolist())
    drafts = [_Draft.of(store, one, found, read) for one, found in zip(asked, nearest, strict=True)]
    # What tells where the nearest products end, or stands alone, is in no look-up of siblings.
    store.verify(distinct(NO_IDS, *(pictures.ids[draft.alone] for draft in drafts)).tolist())
    condition = asked[0].query.identity.negated() if exclude_identical else EVERYTHING
    family = Family(store, pictures, numbers, [draft.together for draft in drafts], condition)
    if by_category:
        store.verify(family.ids.tolist())
    layers = []
    for one, draft in zip(asked, drafts, strict=True):
        lenders = draft.together if exclude_identical else draft.compared
        siblings = family.siblings(draft.together, draft.compared, lenders)
        layers.append(Layer(pictures.take(draft.places), draft.identical, len(draft.together), siblings, draft.beyond))
        if draft.beyond is None:
            one.pass_on(pictures.ids[draft.places])
    return layers


@dataclass(frozen=True, slots=True)
class _Draft:
    """A layer before its siblings are known; positions are among all pictures that have been read."""

    places: Ids
    """Of its items."""
    identical: Mask
    """Which of them show the query picture itself."""
    compared: Ids
    """Positions of the items up to the end of the nearest products."""
    together: Ids
    """Those of them that are not identical."""
    alone: Ids
    """Positions of the items behind these, or of the first one if it is left out with all that follow."""
    beyond: float | None
    """As in the layer."""

    @classmethod
    def of(cls, store: Truth, asked: Asked, found: _Nearest, read: _Read) -> _Draft:
        """Tell what of the items nearest to a query is in the layer."""
        pictures = read.pictures
        places = np.searchsorted(pictures.ids, found.ids)
        identical = _identical(store, asked, pictures.ids[places], read.marked[places])
        others = np.flatnonzero(~identical)
        count = _together(pictures.products[places[others]])
        if count == len(others):
            return cls(places, identical, places, places[others], NO_IDS, None)
        end = others[count]
        compared, together, alone = places[:end], places[others[:count]], places[others[count:]]
        if asked.is_whole:
            return cls(places, identical, compared, together, alone, None)
        (beyond,) = cosines(asked.query.feature, pictures.features[alone[:1]])
        return cls(compared, identical[:end], compared, together, alone[:1], float(beyond))


def _together(products: Ids) -> int:
    """How many pictures, of these products, come before the first one of a product beyond the nearest ones."""
    first = np.sort(places_of(products).first)
    return int(first[PRODUCTS]) if len(first) > PRODUCTS else len(products)


class _Read:
    """What has been read of the items that several queries may rank.

    Args:
        store: inside its ``reading`` block.
        asked: the queries.
        numbers: of products; new ones are added.
    """

    def __init__(self, store: Truth, asked: Sequence[Asked], numbers: dict[str, int]) -> None:
        self._store, self._asked, self._numbers = store, asked, numbers
        hashes = tuple(dict.fromkeys(one.query.content_hash for one in asked))
        self._marks, self._condition = OneOf("content_hash", hashes), asked[0].selection.condition
        self._ids, self._features = NO_IDS, np.zeros((0, 0), np.float32)
        self.pictures = Members(NO_IDS, NO_IDS, NO_IDS, self._features)
        """Those that are near enough, by ascending id."""
        self.marked = np.zeros(0, np.bool_)
        """Which of them have the bytes of any query."""

    def nearest(self, reaches: Sequence[int]) -> list[_Nearest]:
        """Read the items that are nearest to each query, so far."""
        near = [one.near(self._store, reach) for one, reach in zip(self._asked, reaches, strict=True)]
        self._read_features(distinct(*near))
        found = []
        for one, wanted, reach in zip(self._asked, near, reaches, strict=True):
            rows = np.searchsorted(self._ids, wanted)
            features = self._features if len(rows) == len(self._ids) else self._features[rows]
            found.append(one.nearest(wanted, features, reach))
        self._read_pictures(distinct(*(one.ids for one in found)))
        return found

    def is_enough(self, found: _Nearest) -> bool:
        """Whether the nearest products end before these items do."""
        places = np.searchsorted(self.pictures.ids, found.ids[found.own :])
        return not found.is_tied and _together(self.pictures.products[places]) < len(places)

    def _read_features(self, wanted: Ids) -> None:
        new = wanted[~is_among(wanted, self._ids)]
        if not len(new):
            return
        ids, features = _features(self._store, self._asked[0].candidates.read, new)
        if len(self._ids):
            ids, features = np.concatenate([self._ids, ids]), np.concatenate([self._features, features])
            order = np.argsort(ids)
            ids, features = ids[order], features[order]
        self._ids, self._features = ids, features

    def _read_pictures(self, wanted: Ids) -> None:
        new = wanted[~is_among(wanted, self.pictures.ids)]
        if not len(new):
            return
        features = self._features[np.searchsorted(self._ids, new)]
        found, marked = self._store.candidates(new, features, self._marks, self._condition)
        pictures = Members.of(found, self._numbers)
        if len(self.pictures.ids):
            pictures, marked = joined([self.pictures, pictures]), np.concatenate([self.marked, marked])
            order = np.argsort(pictures.ids)
            pictures, marked = pictures.take(order), marked[order]
        self.pictures, self.marked = pictures, marked


def _features(
    store: Truth, read: tuple[Ids, npt.NDArray[np.float32]] | None, wanted: Ids
) -> tuple[Ids, npt.NDArray[np.float32]]:
    """The wanted items and their features, by ascending id; only read if they have not been read already."""
    if read is not None:
        if not is_among(wanted, read[0]).all():
            raise store.damage("an index of items")
        return wanted, read[1][np.searchsorted(read[0], wanted)]
    ids, features = store.features_of(wanted.tolist())
    if np.any(ids[1:] < ids[:-1]):
        order = np.argsort(ids)
        ids, features = ids[order], features[order]
    return ids, features


def _identical(store: Truth, asked: Asked, ids: Ids, marked: Mask) -> Mask:
    """Which items show the query picture.

    Args:
        store: inside its ``reading`` block.
        asked: the query.
        ids: of the items.
        marked: those of the bytes of any query.
    """
    if not marked.any():
        return marked
    found: Mask = np.isin(ids, store.matching(ids[marked].tolist(), asked.query.identity))
    return found
