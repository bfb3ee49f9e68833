"""What the other pictures of a product say about one of them.

A product is seen from many sides, and a query shows one. A picture is therefore compared together with its siblings,
the other pictures of the same product: its feature is augmented by a share of their mean, in which those count most
that resemble it. This is the database-side feature augmentation of Arandjelović and Zisserman ("Three
things everyone should know to improve object retrieval", CVPR 2012), with the products of the instance in place of
neighbours in a matching graph, and the weights of a softmax over cosines.

The mean is not normalised. Siblings that show the same thing have a long mean; what is filed under a catch-all
ProductId has nothing in common, averages out to a short one, and counts little.

A picture that shows another side of the right product stays far from the query all the same. So the best picture of a
product lifts the others towards itself, as far as the product's pictures resemble each other: what a catch-all
ProductId holds stays where it is. No picture rises above the best of its product, so the first place is the same.

Pictures of one product count for each other whatever their categories, as a predicted one may be wrong for some;
with older features, only those of one category do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from imgsearch.search.score import cosines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from imgsearch.storage.port import Pictures

    Group = str | tuple[str, int]

__all__ = ["WITHOUT_LIFT", "WITH_LIFT", "RankingWeights", "Similarities", "ranking_weights", "similarities"]

NO_GROUP: Final = -1
PAIRS_AT_ONCE: Final = 4096
"""Of a candidate and a sibling: this bounds the memory, whatever the sizes of products."""
LEAST_LENGTH: Final = 1e-3
"""A sum of picture and siblings that is shorter than that has cancelled out and points nowhere."""
UNRELATED: Final = 0.03
"""Mean cosine between the pictures of a product up to which they have nothing in common, and lift nothing."""
RELATED: Final = 0.10
"""The same, from which they are surely one product, and lift with all their weight."""


@dataclass(frozen=True, slots=True)
class RankingWeights:
    """How much the other pictures of a product count; chosen for the features, as these have their own cosines."""

    sibling: float
    """Weight of the siblings' mean, beside 1 for the picture itself."""
    sharpness: float
    """A sibling weighs the exponential of so many times its cosine to the picture."""
    lift: float
    """Share of the way to the best picture of its product that a picture rises, 0 to 1; 0: no lift."""
    across_categories: bool = True
    """Whether pictures of one ProductId are one product although their categories differ."""

    def without_lift(self) -> Self:
        """The same for the siblings, and no lift."""
        return replace(self, lift=0.0)


WITHOUT_LIFT: Final = RankingWeights(sibling=0.5, sharpness=5.0, lift=0.0, across_categories=False)
"""For features of the first two versions, so that their instances answer as they always did."""
WITH_LIFT: Final = RankingWeights(sibling=0.75, sharpness=3.0, lift=0.8)
"""For all later ones."""
LIFT_SINCE: Final = 3


def ranking_weights(feature_version: int) -> RankingWeights:
    """What an instance with features of that version is ranked by."""
    return WITH_LIFT if feature_version >= LIFT_SINCE else WITHOUT_LIFT


class Similarities(NamedTuple):
    """Of candidates to a query; both of shape (n,), float32, -1 to 1."""

    unlifted: npt.NDArray[np.float32]
    """With the siblings' evidence alone. Where the lift has rounded two to the same, it decides between them."""
    lifted: npt.NDArray[np.float32]
    """What ranks; the same numbers where nothing is lifted."""


def similarities(
    query: npt.NDArray[np.float32],
    candidates: Pictures,
    siblings: Iterable[Pictures],
    weights: RankingWeights = WITHOUT_LIFT,
    identical: Pictures | None = None,
) -> Similarities:
    """Cosines of the query to each candidate augmented by its siblings, lifted towards the best of its product.

    Augmented: ``s = cos(q, x + sibling * mean(siblings of x))``. A candidate without siblings (or that they cancel out)
    keeps its own cosine. Lifted: ``s + lift * c * (best - s)``, where ``best`` is the highest ``s`` of a product and
    ``c`` rises from 0 to 1 as the mean cosine between all its pictures in ``siblings`` rises from UNRELATED to RELATED.
    It is 0 for fewer than two of them; candidates that are not among them do not count.

    Args:
        query: shape (dimension,), L2-normalised.
        candidates: n pictures, at least one.
        siblings: pictures of the candidates' products, piece by piece, none twice; each counts for the candidates of
            its product, except for itself.
        weights: how much siblings and product count.
        identical: pictures that are ranked before the candidates, by their own cosines; these count for ``best``.
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
        for mine, theirs in _pairs(own, groups):
            lent = piece.features[theirs].astype(np.float64)
            # At cosine 1 the exponential is 1, so nothing overflows.
            each = np.exp(weights.sharpness * (np.einsum("ij,ij->i", features[mine], lent) - 1))
            each[candidates.ids[mine] == piece.ids[theirs]] = 0.0
            begins = np.flatnonzero(np.diff(mine, prepend=-1))  # of each candidate's pairs, which stand together
            sums[mine[begins]] += np.add.reduceat(each[:, None] * lent, begins)
            total[mine[begins]] += np.add.reduceat(each, begins)

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
    """How much the pictures of each group resemble each other, gathered while they pass by.

    Kept is a sum for each group, in float32, which takes half as long as float64 and is exact to some 1e-7.
    """

    def __init__(self, sizes: npt.NDArray[np.int64], dimension: int) -> None:
        """Begin with nothing.

        Args:
            sizes: how many pictures of each group are ranked; where it is one, there is nothing to lift.
            dimension: of features.
        """
        self._sums = np.zeros((len(sizes), dimension), np.float32)
        self._counts = np.zeros(len(sizes), np.int64)
        self._asked = np.append(sizes > 1, False)  # the last is that of NO_GROUP

    def add(self, groups: npt.NDArray[np.int64], features: npt.NDArray[np.float32]) -> None:
        """Count some pictures in.

        Args:
            groups: of each picture, or NO_GROUP; shape (n,).
            features: shape (n, dimension), L2-normalised.
        """
        asked = np.flatnonzero(self._asked[groups])
        if not len(asked):
            return
        rows = asked[np.argsort(groups[asked], kind="stable")]
        found, begins, counts = np.unique(groups[rows], return_index=True, return_counts=True)
        large = np.argsort(-counts)  # the large groups first, so that those with a next picture are a slice
        found, begins, counts = found[large], begins[large], counts[large]
        sums = features.take(rows[begins], axis=0)
        for place in range(1, int(counts[0])):
            larger = np.count_nonzero(counts > place)
            sums[:larger] += features.take(rows[begins[:larger] + place], axis=0)
        self._sums[found] += sums
        self._counts[found] += counts

    def shares(self) -> npt.NDArray[np.float64]:
        """Of the lift that each group is given, shape (groups,), 0 to 1."""
        sums = self._sums.astype(np.float64)
        squares = np.einsum("ij,ij->i", sums, sums)
        pairs = self._counts * (self._counts - 1)
        means = (squares - self._counts) / np.maximum(pairs, 1)  # of the cosines of all pairs
        shares: npt.NDArray[np.float64] = np.clip((means - UNRELATED) / (RELATED - UNRELATED), 0.0, 1.0)
        return np.where(pairs > 0, shares, 0.0)


def _lifted(
    values: npt.NDArray[np.float32], best: npt.NDArray[np.float32], shares: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Each value brought nearer to the best of its group by a share of the way; those without a share are untouched.

    A product and a sum, as ``value + share * (best - value)`` may turn two values of a group round when it rounds.
    """
    nearer = ((1.0 - shares) * values + shares * best).astype(np.float32)
    return np.where(shares > 0, nearer, values)


def _groups(pictures: Pictures, weights: RankingWeights) -> Sequence[Group]:
    """What each picture belongs to: those of one group count for each other."""
    return [product_id for product_id, _ in pictures.groups] if weights.across_categories else pictures.groups


def _numbered(groups: Sequence[Group], numbers: dict[Group, int]) -> npt.NDArray[np.int64]:
    """The number of each picture's group, or NO_GROUP; shape (n,)."""
    return np.array([numbers.get(group, NO_GROUP) for group in groups], np.int64)


def _pairs(
    own: npt.NDArray[np.int64], groups: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Each candidate with each of its siblings, as their positions; some pairs at a time, by rising candidate.

    Args:
        own: group of each candidate.
        groups: of each sibling; NO_GROUP: of none of the candidates.
    """
    order = np.argsort(groups, kind="stable")
    sorted_groups = groups[order]
    first, end = np.searchsorted(sorted_groups, own, "left"), np.searchsorted(sorted_groups, own, "right")
    counts = end - first
    piece = np.cumsum(counts) // PAIRS_AT_ONCE
    for number in np.unique(piece):
        some = np.flatnonzero((piece == number) & (counts > 0))
        if len(some):
            mine = np.repeat(some, counts[some])
            steps = np.arange(len(mine)) - np.repeat(np.cumsum(counts[some]) - counts[some], counts[some])
            yield mine, order[first[mine] + steps]
