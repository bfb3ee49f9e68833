"""Layers: the items that queries rank, and their siblings; what several queries have in common is read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.distinct import distinct, is_among
from imgsearch.filters.tree import EVERYTHING, OneOf, picture_condition
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

LAYER_FACTOR: Final = 4
"""If a layer does not fill a page, the next one reaches this many times as far."""
PRODUCT_PICTURES: Final = 64
"""Siblings per product, the first by PicName: bounds the cost of products with many pictures."""
SIBLINGS_AT_ONCE: Final = 500
"""Siblings that are not candidates are added up in chunks of so many: another number would round sums otherwise."""


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

    @property
    def is_over(self) -> bool:
        """Whether all items of the selection have been in a layer."""
        return len(self.passed) >= self.selection.found

    def near(self, store: Truth) -> Ids:
        """Ids from which the next layer is chosen, ascending."""
        found = distinct(self.candidates.best(self.outer + len(self.own)), self.own)
        near = found[~is_among(found, self.passed)] if len(self.passed) else found
        if not len(near):
            raise store.damage("the number of items")
        return near

    def layer(self, near: Ids, features: npt.NDArray[np.float32]) -> Ids:
        """Positions of the next layer in ``near``: identical pictures first, then by falling cosine and rising id."""
        order = np.lexsort((near, -cosines(self.query.feature, features)))
        is_own = is_among(near[order], self.own)
        return np.concatenate([order[is_own], order[~is_own][: self.outer - self.inner]])

    def pass_on(self, ids: Ids) -> None:
        """Go on behind a layer with these items."""
        self.passed = distinct(self.passed, ids)
        self.inner, self.outer = self.outer, LAYER_FACTOR * self.outer


@dataclass(frozen=True, slots=True)
class Layer:
    """Items to rank together."""

    pictures: Members
    """Identical ones first, then by falling cosine."""
    identical: Mask
    """Which of them show the query picture itself."""
    siblings: list[Members]
    """The first pictures of the products of all others, in chunks: those of the layer first."""


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
    near = [one.near(store) for one in asked]
    ids, features = _features(store, asked[0].candidates.read, distinct(*near))
    chosen = []
    for one, wanted in zip(asked, near, strict=True):
        rows = np.searchsorted(ids, wanted)
        chosen.append(rows[one.layer(wanted, features if len(rows) == len(ids) else features[rows])])
    picked = distinct(*chosen)
    hashes = tuple(dict.fromkeys(one.query.content_hash for one in asked))
    found, marked = store.candidates(
        ids[picked], features[picked], OneOf("content_hash", hashes), asked[0].selection.condition
    )
    store.verify(found.ids[marked].tolist())
    pictures = Members.of(found, numbers)
    places = [np.searchsorted(picked, rows) for rows in chosen]
    identical = [_identical(store, one, pictures.ids[own], marked[own]) for one, own in zip(asked, places, strict=True)]
    condition = asked[0].query.identity.negated() if exclude_identical else EVERYTHING
    candidates = [own[~same] for own, same in zip(places, identical, strict=True)]
    family = _Family(store, pictures, numbers, candidates, condition)
    if by_category:
        store.verify(family.ids.tolist())
    layers = []
    for one, own, same in zip(asked, places, identical, strict=True):
        one.pass_on(pictures.ids[own])
        lenders = own[~same] if exclude_identical else own
        layers.append(Layer(pictures.take(own), same, family.siblings(own[~same], own, lenders)))
    return layers


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


def _joined(pieces: list[Members]) -> Members:
    """All items of several pieces, in order."""
    if len(pieces) == 1:
        return pieces[0]
    return Members(
        np.concatenate([piece.ids for piece in pieces]),
        np.concatenate([piece.products for piece in pieces]),
        np.concatenate([piece.categories for piece in pieces]),
        np.concatenate([piece.features for piece in pieces]),
    )


class _Family:
    """The pictures of the products of several queries' candidates.

    Each product is read from two places, an item's row and the index of keys. Rows on which both agree need not be held
    against their checksums.

    Args:
        store: inside its ``reading`` block.
        pictures: the items in the layers of all queries, by ascending id.
        numbers: of products; new ones are added.
        candidates: positions in it of each query's candidates, whose siblings are read.
        condition: that siblings meet.

    Raises:
        InstanceDamaged: what is stored contradicts itself or its checksums.
    """

    def __init__(
        self,
        store: Truth,
        pictures: Members,
        numbers: dict[str, int],
        candidates: list[Ids],
        condition: Condition,
    ) -> None:
        wanted = distinct(pictures.products[distinct(*candidates)])
        names = list(numbers)
        found, of = NO_IDS, NO_IDS
        if len(wanted):
            found, places = store.first_of_products([names[number] for number in wanted.tolist()], PRODUCT_PICTURES)
            of = wanted[places]
        lending = distinct(found)
        self._asked = lending[~is_among(lending, pictures.ids)]
        self._single = len(candidates) == 1
        others = store.siblings(self._asked.tolist(), condition) if len(self._asked) else ()
        self._pictures = _joined([pictures, *(Members.of(some, numbers) for some in others)])
        self._lends = is_among(self._pictures.ids, lending)
        self._count = len(numbers)
        self._check(store, wanted, found, of)

    def _check(self, store: Truth, wanted: Ids, found: Ids, of: Ids) -> None:
        """Hold the products in the rows of items against those in the index of keys.

        Args:
            store: inside its ``reading`` block.
            wanted: numbers of the candidates' products.
            found: ids of the first pictures of these, as the index tells.
            of: number of the product of each.

        Raises:
            InstanceDamaged: they do not agree; or a row on which the index says nothing is corrupted.
        """
        products, order = self._pictures.products, np.argsort(found)
        told = found[order]
        agrees = not np.any(told[1:] == told[:-1]) and np.array_equal(
            of[order][np.searchsorted(told, self.ids[self._lends])], products[self._lends]
        )
        counts = np.bincount(of, minlength=self._count)
        behind = ~self._lends & is_among(products, wanted)
        if not agrees or np.any(counts[products[behind]] < PRODUCT_PICTURES):
            raise store.damage("an index of items")
        store.verify(self.ids[behind].tolist())

    @property
    def ids(self) -> Ids:
        """Of all of the pictures."""
        return self._pictures.ids

    def siblings(self, candidates: Ids, layer: Ids, lenders: Ids) -> list[Members]:
        """The siblings of candidates, in chunks.

        Args:
            candidates: positions of the candidates.
            layer: positions of all items of their layer.
            lenders: those of them that may count as siblings.
        """
        if not len(candidates):
            return []
        asked = np.zeros(self._count, np.bool_)
        asked[self._pictures.products[candidates]] = True
        lends = self._lends & asked[self._pictures.products]
        first = self._pictures.take(lenders[lends[lenders]])
        lends[layer] = False
        others = np.flatnonzero(lends)
        others = others[np.argsort(self._pictures.ids[others])]
        # In chunks of what was asked for, which a condition may have thinned out.
        ids = self._asked if self._single else self._pictures.ids[others]
        cuts = np.searchsorted(self._pictures.ids[others], ids[SIBLINGS_AT_ONCE::SIBLINGS_AT_ONCE])
        return [first, *(self._pictures.take(piece) for piece in np.split(others, cuts) if len(piece))]
