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

from imgsearch.search.score import cosines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from imgsearch.storage.port import Pictures

    Group = str | tuple[str, int]

__all__ = ["WITHOUT_LIFT", "WITH_LIFT", "RankingWeights", "Similarities", "ranking_weights", "similarities"]

NO_GROUP: Final = -1
CANDIDATES_AT_ONCE: Final = 64
"""Candidates whose siblings are added up at once: their features, 128 KiB, stay in the processor's cache."""
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


class Similarities(NamedTuple):
    """Similarities of candidates to a query; both of shape (n,), float32, -1 to 1."""

    unlifted: npt.NDArray[np.float32]
    """With siblings but without lift. Breaks ties that rounding of the lift creates."""
    lifted: npt.NDArray[np.float32]
    """The ranking values; equal to ``unlifted`` without lift."""


def similarities(
    query: npt.NDArray[np.float32],
    candidates: Pictures,
    siblings: Iterable[Pictures],
    weights: RankingWeights = WITHOUT_LIFT,
    identical: Pictures | None = None,
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
    numbers: dict[Group, int] = {}
    own = np.array([numbers.setdefault(group, len(numbers)) for group in _groups(candidates, weights)])
    features = candidates.features.astype(np.float64)
    sums = np.zeros(features.shape, np.float64)
    total = np.zeros(len(features), np.float64)
    certain = candidates.take(np.zeros(0, np.int64)) if identical is None else identical
    of_identical = _numbered(_groups(certain, weights), numbers)
    known = of_identical != NO_GROUP
    coherence = None
    if weights.lift:
        coherence = _Coherence(np.bincount(np.concatenate([own, of_identical[known]])), features.shape[1])
    for piece in siblings:
        groups = _numbered(_groups(piece, weights), numbers)
        if coherence is not None:
            coherence.add(groups, piece.features)
        _lend(candidates.ids, features, own, piece, groups, weights.sharpness, sums, total)

    others = total > 0
    augmented = features + weights.sibling * sums / np.where(others, total, 1.0)[:, None]
    lengths = np.sqrt(np.einsum("ij,ij->i", augmented, augmented))
    products = np.einsum("ij,j->i", augmented, query.astype(np.float64))
    counting = others & (lengths >= LEAST_LENGTH)
    joint = (products / np.maximum(lengths, LEAST_LENGTH)).astype(np.float32)
    unlifted = np.where(counting, joint, cosines(query, candidates.features))
    if coherence is None:
        return Similarities(unlifted, unlifted)

    best = np.full(len(numbers), -np.inf, np.float32)
    np.maximum.at(best, own, unlifted)
    np.maximum.at(best, of_identical[known], cosines(query, certain.features[known]))
    return Similarities(unlifted, _lifted(unlifted, best[own], weights.lift * coherence.shares()[own]))


class _Coherence:
    """Mean similarity within each group of pictures, computed in one pass.

    Keeps one sum per group in float32, which takes half the time of float64 and has an error of about 1e-7.
    """

    def __init__(self, sizes: npt.NDArray[np.int64], dimension: int) -> None:
        """Start with empty sums.

        Args:
            sizes: number of ranked pictures per group; a single one cannot be lifted.
            dimension: of features.
        """
        self._sums = np.zeros((len(sizes), dimension), np.float32)
        self._counts = np.zeros(len(sizes), np.int64)
        self._asked = np.append(sizes > 1, False)  # the last entry is for NO_GROUP

    def add(self, groups: npt.NDArray[np.int64], features: npt.NDArray[np.float32]) -> None:
        """Add pictures.

        Args:
            groups: of each picture, or NO_GROUP; shape (n,).
            features: shape (n, dimension), L2-normalised.
        """
        asked = np.flatnonzero(self._asked[groups])
        if not len(asked):
            return
        rows = asked[np.argsort(groups[asked], kind="stable")]
        found, begins, counts = np.unique(groups[rows], return_index=True, return_counts=True)
        large = np.argsort(-counts)  # large groups first, so that those with a next picture form a slice
        found, begins, counts = found[large], begins[large], counts[large]
        sums = features.take(rows[begins], axis=0)
        for place in range(1, int(counts[0])):
            larger = np.count_nonzero(counts > place)
            sums[:larger] += features.take(rows[begins[:larger] + place], axis=0)
        self._sums[found] += sums
        self._counts[found] += counts

    def shares(self) -> npt.NDArray[np.float64]:
        """The share of the lift for each group, shape (groups,), 0 to 1."""
        sums = self._sums.astype(np.float64)
        squares = np.einsum("ij,ij->i", sums, sums)
        pairs = self._counts * (self._counts - 1)
        means = (squares - self._counts) / np.maximum(pairs, 1)  # mean cosine of all pairs
        shares: npt.NDArray[np.float64] = np.clip((means - UNRELATED) / (RELATED - UNRELATED), 0.0, 1.0)
        return np.where(pairs > 0, shares, 0.0)


def _lifted(
    values: npt.NDArray[np.float32], best: npt.NDArray[np.float32], shares: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Move each value towards the best of its group by a share of the distance; a share of 0 changes nothing.

    Computed as a weighted sum: ``value + share * (best - value)`` may swap two values of a group through rounding.
    """
    nearer = ((1.0 - shares) * values + shares * best).astype(np.float32)
    return np.where(shares > 0, nearer, values)


def _groups(pictures: Pictures, weights: RankingWeights) -> Sequence[Group]:
    """The group of each picture; pictures of one group are siblings."""
    return [product_id for product_id, _ in pictures.groups] if weights.across_categories else pictures.groups


def _numbered(groups: Sequence[Group], numbers: dict[Group, int]) -> npt.NDArray[np.int64]:
    """The number of each group, or NO_GROUP; shape (n,)."""
    return np.array([numbers.get(group, NO_GROUP) for group in groups], np.int64)


def _lend(
    ids: npt.NDArray[np.int64],
    features: npt.NDArray[np.float64],
    own: npt.NDArray[np.int64],
    piece: Pictures,
    groups: npt.NDArray[np.int64],
    sharpness: float,
    sums: npt.NDArray[np.float64],
    total: npt.NDArray[np.float64],
) -> None:
    """Add the weighted features of siblings, and their weights, to each candidate.

    Goes through the candidates' first siblings, then their second ones, and so on, some candidates at a time, so that
    what is computed with stays in the processor's cache.

    Args:
        ids: of the candidates, shape (n,).
        features: of the candidates, shape (n, dimension).
        own: group of each candidate.
        piece: siblings.
        groups: of each sibling; NO_GROUP: no candidate's group.
        sharpness: as in the weights.
        sums: of the candidates, shape (n, dimension); changed.
        total: of the candidates' weights, shape (n,); changed.
    """
    order = np.argsort(groups, kind="stable")
    order = order[np.searchsorted(groups[order], 0) :]  # the others are no candidate's
    if not len(order):
        return
    sorted_groups = groups[order]
    first, end = np.searchsorted(sorted_groups, own, "left"), np.searchsorted(sorted_groups, own, "right")
    counts = end - first
    lent = piece.features[order].astype(np.float64)
    lent_ids = piece.ids[order]
    # A candidate lends nothing to itself.
    counts[(counts == 1) & (lent_ids[np.minimum(first, len(order) - 1)] == ids)] = 0
    # Those with most siblings first, so that those with a next one are a slice.
    ranked = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    for start in range(0, len(ranked), CANDIDATES_AT_ONCE):
        mine = ranked[start : start + CANDIDATES_AT_ONCE]
        begins, having, known = first[mine], counts[mine], features[mine]
        sum_of, weight_of = _Sum(), _Sum()
        for place in range(int(having[0])):
            with_it = np.count_nonzero(having > place)
            theirs = lent[begins[:with_it] + place]
            # At cosine 1 the exponential is 1, so nothing overflows.
            each = np.exp(sharpness * (np.einsum("ij,ij->i", known[:with_it], theirs) - 1))
            each[ids[mine[:with_it]] == lent_ids[begins[:with_it] + place]] = 0.0
            theirs *= each[:, None]
            sum_of.add(theirs)
            weight_of.add(each)
        sums[mine] += sum_of.value()
        total[mine] += weight_of.value()


class _Sum:
    """A sum of arrays, each no longer than the one before: what is missing at its end counts as zero.

    The first one is added last, as NumPy's ``add.reduceat`` does: up to eight terms are rounded as it rounds them.
    """

    def __init__(self) -> None:
        self._first: npt.NDArray[np.float64] | None = None
        self._others: npt.NDArray[np.float64] | None = None

    def add(self, terms: npt.NDArray[np.float64]) -> None:
        """Add one, which is kept and may be changed."""
        if self._first is None:
            self._first = terms
        elif self._others is None:
            self._others = terms
        else:
            self._others[: len(terms)] += terms

    def value(self) -> npt.NDArray[np.float64]:
        """The sum, as long as the first one."""
        assert self._first is not None
        if self._others is not None:
            self._first[: len(self._others)] += self._others
        return self._first
