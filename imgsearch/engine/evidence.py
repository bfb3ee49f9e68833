"""What the other pictures of a product say about one of them.

A product is seen from many sides, and a query shows one. A picture is therefore compared together with its siblings,
the other pictures of the same product in the same category: its feature is augmented by half of their mean, in which
those count most that resemble it. This is the database-side feature augmentation of Arandjelović and Zisserman ("Three
things everyone should know to improve object retrieval", CVPR 2012), with the products of the instance in place of
neighbours in a matching graph, and the weights of a softmax over cosines.

The mean is not normalised. Siblings that show the same thing have a long mean; what is filed under a catch-all
ProductId has nothing in common, averages out to a short one, and counts little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.engine.score import cosines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from imgsearch.engine.store import Pictures

__all__ = ["similarities"]

WEIGHT: Final = 0.5
"""Of the siblings' mean, beside 1 for the picture itself."""
SHARPNESS: Final = 5.0
"""A sibling weighs the exponential of so many times its cosine to the picture."""
NO_GROUP: Final = -1
PAIRS_AT_ONCE: Final = 4096
"""Of a candidate and a sibling: this bounds the memory, whatever the sizes of products."""
LEAST_LENGTH: Final = 1e-3
"""A sum of picture and siblings that is shorter than that has cancelled out and points nowhere."""


def similarities(
    query: npt.NDArray[np.float32], candidates: Pictures, siblings: Iterable[Pictures]
) -> npt.NDArray[np.float32]:
    """Cosines of the query to each candidate augmented by its siblings: ``cos(q, x + WEIGHT * mean(siblings of x))``.

    A candidate without siblings (or that they cancel out) keeps its own cosine.

    Args:
        query: shape (dimension,), L2-normalised.
        candidates: n pictures, at least one.
        siblings: pictures of the candidates' products, piece by piece, none twice; each counts for the candidates of
            its group, except for itself.

    Returns:
        Shape (n,), float32, -1 to 1.
    """
    numbers: dict[tuple[str, int], int] = {}
    own = np.array([numbers.setdefault(group, len(numbers)) for group in candidates.groups])
    features = candidates.features.astype(np.float64)
    sums = np.zeros(features.shape, np.float64)
    weights = np.zeros(len(features), np.float64)
    for piece in siblings:
        groups = np.array([numbers.get(group, NO_GROUP) for group in piece.groups], np.int64)
        for mine, theirs in _pairs(own, groups):
            lent = piece.features[theirs].astype(np.float64)
            # At cosine 1 the exponential is 1, so nothing overflows.
            each = np.exp(SHARPNESS * (np.einsum("ij,ij->i", features[mine], lent) - 1))
            each[candidates.ids[mine] == piece.ids[theirs]] = 0.0
            begins = np.flatnonzero(np.diff(mine, prepend=-1))  # of each candidate's pairs, which stand together
            sums[mine[begins]] += np.add.reduceat(each[:, None] * lent, begins)
            weights[mine[begins]] += np.add.reduceat(each, begins)

    others = weights > 0
    augmented = features + WEIGHT * sums / np.where(others, weights, 1.0)[:, None]
    lengths = np.sqrt(np.einsum("ij,ij->i", augmented, augmented))
    products = np.einsum("ij,j->i", augmented, query.astype(np.float64))
    counting = others & (lengths >= LEAST_LENGTH)
    joint = (products / np.maximum(lengths, LEAST_LENGTH)).astype(np.float32)
    return np.where(counting, joint, cosines(query, candidates.features))


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
