"""Siblings: using the other pictures of a product to rank each of them.

Catalogues show a product from several sides, a query shows one. A picture is therefore compared together with its
siblings, the other pictures of the same product: a weighted mean of their features, in which similar ones count most,
is added to its feature. This is the database-side feature augmentation of Arandjelović and Zisserman ("Three things
everyone should know to improve object retrieval", CVPR 2012), with the instance's products in place of neighbours in a
matching graph, and softmax weights over cosines.

The mean is not normalised. Siblings that show the same thing have a long mean; unrelated pictures under a catch-all
ProductId average out to a short one, which counts little.

A picture of another side of the right product still remains far from the query. So the best picture of a product lifts
the others towards itself, as far as the product's pictures resemble each other: unrelated pictures under a catch-all
ProductId are not lifted. No picture rises above the best of its product, so the first place does not change.

Pictures of one product are siblings regardless of category, as some categories may be predicted wrongly; with older
feature versions, only pictures of the same category are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from imgsearch.distinct import is_among, places_of
from imgsearch.search.score import cosines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from imgsearch.storage.port import Pictures

    Ids = npt.NDArray[np.int64]

__all__ = ["WITHOUT_LIFT", "WITH_LIFT", "Members", "RankingWeights", "Similarities", "ranking_weights", "similarities"]

NO_GROUP: Final = -1
CATEGORY_BITS: Final = 32
"""Of a number that stands for a product and a category."""
SIZES: Final = (4, 16, 64)
"""Groups of up to so many pictures are computed together; larger ones by themselves."""
PICTURES_AT_ONCE: Final = 1024
"""In groups that are computed together: bounds the memory."""
FEW: Final = 16
"""For a group with at most so many inner products, a matrix product does not pay."""
LEAST_LENGTH: Final = 1e-3
"""A shorter sum of picture and siblings has cancelled out and has no meaningful direction."""
UNRELATED: Final = 0.03
"""Up to this mean cosine, the pictures of a product count as unrelated and are not lifted."""
RELATED: Final = 0.10
"""From this mean cosine on, they are lifted with full weight."""


@dataclass(frozen=True, slots=True)
class RankingWeights:
    """Weights of the other pictures of a product; they depend on the features' distribution of cosines."""

    sibling: float
    """Weight of the siblings' mean, relative to 1 for the picture itself."""
    sharpness: float
    """A sibling's weight is the exponential of this factor times its cosine to the picture."""
    lift: float
    """Share of the distance to the best picture of its product that a picture rises, 0 to 1; 0: no lift."""
    across_categories: bool = True
    """Whether pictures with one ProductId are siblings even if their categories differ."""

    def without_lift(self) -> Self:
        """The same weights without lift."""
        return replace(self, lift=0.0)


WITHOUT_LIFT: Final = RankingWeights(sibling=0.5, sharpness=5.0, lift=0.0, across_categories=False)
"""For feature versions 1 and 2, so that results of their instances do not change."""
WITH_LIFT: Final = RankingWeights(sibling=0.75, sharpness=3.0, lift=0.8)
"""For all later versions."""
LIFT_SINCE: Final = 3


def ranking_weights(feature_version: int) -> RankingWeights:
    """The weights for features of a version."""
    return WITH_LIFT if feature_version >= LIFT_SINCE else WITHOUT_LIFT


@dataclass(frozen=True, slots=True)
class Members:
    """Pictures of products, with a number for each product, as texts take many times as long to compare."""

    ids: Ids
    """Shape (n,)."""
    products: Ids
    """Shape (n,): the same number for pictures of one product."""
    categories: Ids
    """Shape (n,)."""
    features: npt.NDArray[np.float32]
    """Shape (n, dimension), L2-normalised."""

    @classmethod
    def of(cls, pictures: Pictures, numbers: dict[str, int]) -> Members:
        """Number the products of pictures.

        Args:
            pictures: any.
            numbers: of products; those that are new are added.
        """
        products = [numbers.setdefault(product_id, len(numbers)) for product_id, _ in pictures.groups]
        categories = [category_id for _, category_id in pictures.groups]
        return cls(pictures.ids, np.array(products, np.int64), np.array(categories, np.int64), pictures.features)

    def take(self, positions: Ids) -> Members:
        """The pictures at these positions, in this order."""
        return Members(
            self.ids[positions], self.products[positions], self.categories[positions], self.features[positions]
        )

    def groups(self, weights: RankingWeights) -> Ids:
        """A number for each picture that is the same for siblings; shape (n,)."""
        return self.products if weights.across_categories else (self.products << CATEGORY_BITS) | self.categories


class Similarities(NamedTuple):
    """Similarities of candidates to a query; both of shape (n,), float32, -1 to 1."""

    unlifted: npt.NDArray[np.float32]
    """With siblings but without lift. Breaks ties that rounding of the lift creates."""
    lifted: npt.NDArray[np.float32]
    """The ranking values; equal to ``unlifted`` without lift."""


def similarities(
    query: npt.NDArray[np.float32],
    candidates: Members,
    siblings: Iterable[Members],
    weights: RankingWeights = WITHOUT_LIFT,
    identical: Members | None = None,
) -> Similarities:
    """Cosines of the query to each candidate augmented by its siblings, lifted towards the best of its product.

    Augmented: ``s = cos(q, x + sibling * mean(siblings of x))``. A candidate without siblings, or cancelled out by
    them, keeps its own cosine. Lifted: ``s + lift * c * (best - s)``, where ``best`` is the highest ``s`` of a product
    and ``c`` rises from 0 to 1 as the mean cosine between all its pictures in ``siblings`` rises from UNRELATED to
    RELATED. It is 0 for fewer than two of them; candidates outside ``siblings`` do not count.

    Args:
        query: shape (dimension,), L2-normalised.
        candidates: n pictures, at least one.
        siblings: pictures of the candidates' products, in chunks, without duplicates; each counts for the candidates
            of its product except itself.
        weights: of siblings and lift.
        identical: pictures ranked before the candidates, by their own cosines; these count for ``best``.
    """
    numbering = _Numbering(candidates.groups(weights))
    own = numbering.own
    certain = candidates.take(np.zeros(0, np.int64)) if identical is None else identical
    of_identical = numbering.of(certain.groups(weights))
    known = of_identical != NO_GROUP
    families = _Families(candidates, own, *_lenders(siblings, numbering, weights))
    found = families.evidence(query, weights)
    unlifted = np.where(found.counts, found.values, cosines(query, candidates.features))
    if not weights.lift:
        return Similarities(unlifted, unlifted)

    best = np.full(numbering.count, -np.inf, np.float32)
    np.maximum.at(best, own, unlifted)
    np.maximum.at(best, of_identical[known], cosines(query, certain.features[known]))
    return Similarities(unlifted, _lifted(unlifted, best[own], weights.lift * found.shares[own]))


class _Numbering:
    """Groups of candidates, numbered in the order in which they first come: whatever numbers they had before.

    Args:
        groups: of the candidates, at least one.
    """

    def __init__(self, groups: Ids) -> None:
        self._groups, first, inverse = places_of(groups)
        self.count = len(first)
        self._numbers = np.empty(self.count, np.int64)
        self._numbers[np.argsort(first)] = np.arange(self.count)
        self.own = self._numbers[inverse]
        """Of each candidate, shape (n,)."""

    def of(self, groups: Ids) -> Ids:
        """The number of each group, or NO_GROUP; shape (n,)."""
        places = np.minimum(np.searchsorted(self._groups, groups), self.count - 1)
        return np.where(self._groups[places] == groups, self._numbers[places], NO_GROUP)


def _lenders(
    siblings: Iterable[Members], numbering: _Numbering, weights: RankingWeights
) -> tuple[Ids, Ids, npt.NDArray[np.float32]]:
    """Ids, groups and features of the candidates' siblings, by rising group."""
    pieces = list(siblings)
    if not pieces:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
    groups = numbering.of(np.concatenate([piece.groups(weights) for piece in pieces]))
    order = np.argsort(groups, kind="stable")
    order = order[np.searchsorted(groups[order], 0) :]  # the others are no candidate's
    features = np.concatenate([piece.features for piece in pieces])
    return np.concatenate([piece.ids for piece in pieces])[order], groups[order], features[order]


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What siblings say of candidates and their groups."""

    values: npt.NDArray[np.float32]
    """Cosine of the query to each candidate augmented by its siblings, shape (n,)."""
    counts: npt.NDArray[np.bool_]
    """Of each candidate, whether it has siblings, which do not cancel it out."""
    shares: npt.NDArray[np.float64]
    """The share of the lift for each group, shape (groups,), 0 to 1."""


class _Families:
    """Candidates and their siblings, group by group.

    Groups of similar size are computed together, by matrix products.

    Args:
        candidates: n pictures.
        own: group of each.
        ids: of the siblings, by rising group.
        groups: of each sibling.
        features: of each sibling, shape (siblings, dimension).
    """

    def __init__(
        self,
        candidates: Members,
        own: Ids,
        ids: Ids,
        groups: Ids,
        features: npt.NDArray[np.float32],
    ) -> None:
        self._candidates, self._ids, self._features = candidates, ids, features
        self._order = np.argsort(own, kind="stable")
        self._ranked, self._lent = np.bincount(own), np.bincount(groups, minlength=int(own.max()) + 1)
        self._first_ranked = np.cumsum(self._ranked) - self._ranked
        self._first_lent = np.cumsum(self._lent) - self._lent

    def evidence(self, query: npt.NDArray[np.float32], weights: RankingWeights) -> _Evidence:
        """What the siblings say to a query."""
        wanted, count = query.astype(np.float64), len(self._order)
        values, has = np.zeros(count, np.float32), np.zeros(count, np.bool_)
        likeness = np.zeros(len(self._ranked))
        for groups in self._batches():
            mine, is_mine = _places(self._first_ranked[groups], self._ranked[groups])
            theirs, is_theirs = _places(self._first_lent[groups], self._lent[groups])
            mine = self._order[mine]
            ranked = self._candidates.features[mine].astype(np.float64)
            lent = self._features[theirs].astype(np.float64)
            near, alike = _inner_products(ranked, lent), _inner_products(lent, lent)
            # At cosine 1 the exponential is 1, so nothing overflows. A candidate lends nothing to itself.
            others = self._candidates.ids[mine][:, :, None] != self._ids[theirs][:, None, :]
            each = np.exp(weights.sharpness * (near - 1)) * (others & is_theirs[:, None, :])
            total = each.sum(axis=2)
            each *= (weights.sibling / np.where(total > 0, total, 1.0))[:, :, None]
            # The sum of picture and siblings is never formed: inner products give its length and its cosine.
            products = np.vecdot(ranked, wanted) + np.vecdot(each, np.vecdot(lent, wanted)[:, None])
            squares = np.vecdot(ranked, ranked) + np.vecdot(each, 2 * near + each @ alike)
            lengths = np.sqrt(np.maximum(squares, 0.0))
            places = mine[is_mine]
            values[places] = (products / np.maximum(lengths, LEAST_LENGTH))[is_mine]
            has[places] = ((total > 0) & (lengths >= LEAST_LENGTH))[is_mine]
            likeness[groups] = np.einsum("gst,gs,gt->g", alike, is_theirs, is_theirs)
        pairs = self._lent * (self._lent - 1)
        means = (likeness - self._lent) / np.maximum(pairs, 1)  # mean cosine of all pairs
        shares = np.clip((means - UNRELATED) / (RELATED - UNRELATED), 0.0, 1.0)
        return _Evidence(values, has, np.where(pairs > 0, shares, 0.0))

    def _batches(self) -> Iterator[Ids]:
        """Groups with siblings, of similar size, some at a time."""
        size = np.maximum(self._ranked, self._lent)
        left = np.flatnonzero(self._lent)
        alone = left[size[left] == 1]
        itself = self._candidates.ids[self._order[self._first_ranked[alone]]] == self._ids[self._first_lent[alone]]
        left = left[~is_among(left, alone[itself])]
        left = left[np.argsort(size[left], kind="stable")]
        for few in SIZES:
            cut = np.searchsorted(size[left], few, "right")
            now, left = left[:cut], left[cut:]
            some = max(1, PICTURES_AT_ONCE // (2 * few))
            yield from (now[start : start + some] for start in range(0, len(now), some))
        yield from np.split(left, len(left)) if len(left) else ()


def _places(first: Ids, counts: Ids) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """Consecutive places from each first one, shape (groups, most), and which of them count."""
    steps = np.arange(counts.max())
    is_place = steps < counts[:, None]
    return np.where(is_place, first[:, None] + steps, 0), is_place


def _inner_products(some: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Inner products of each group's features with its others.

    NumPy starts a matrix product anew for each group, which for a few features takes longer than the product itself.

    Args:
        some: shape (groups, n, dimension).
        others: shape (groups, m, dimension).

    Returns:
        Shape (groups, n, m).
    """
    if some.shape[1] * others.shape[1] <= FEW:
        products: npt.NDArray[np.float64] = np.vecdot(some[:, :, None], others[:, None])
        return products
    return some @ others.transpose(0, 2, 1)


def _lifted(
    values: npt.NDArray[np.float32], best: npt.NDArray[np.float32], shares: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Move each value towards the best of its group by a share of the distance; a share of 0 changes nothing.

    Computed as a weighted sum: ``value + share * (best - value)`` may swap two values of a group through rounding.
    """
    nearer = ((1.0 - shares) * values + shares * best).astype(np.float32)
    return np.where(shares > 0, nearer, values)
