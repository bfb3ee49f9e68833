"""What the other pictures of a product say about one of them.

A product is seen from many sides, and a query shows one. A picture is therefore compared together with its siblings,
the other pictures of the same product in the same category: its feature is augmented by their mean. This is the
database-side feature augmentation of Arandjelović and Zisserman ("Three things everyone should know to improve object
retrieval", CVPR 2012), with the products of the instance in place of neighbours in a matching graph.

The mean is not normalised. Siblings that show the same thing have a long mean, which counts as much as the picture
itself; what is filed under a catch-all ProductId has nothing in common, averages out to a short one, and counts little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.engine.score import cosines

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from imgsearch.engine.store import Pictures

__all__ = ["similarities"]

LEAST_LENGTH: Final = 1e-3
"""A sum of picture and siblings that is shorter than that has cancelled out and points nowhere."""


def similarities(
    query: npt.NDArray[np.float32], candidates: Pictures, siblings: Iterable[Pictures]
) -> npt.NDArray[np.float32]:
    """Cosines of the query to each candidate augmented by its siblings: ``cos(q, x + mean(siblings of x))``.

    A candidate without siblings (or that they cancel out) keeps its own cosine. Whatever the order of the siblings,
    equal candidates with equal siblings have the very same result.

    Args:
        query: shape (dimension,), L2-normalised.
        candidates: n pictures, at least one.
        siblings: pictures of the candidates' products, piece by piece, none twice; each counts for the candidates of
            its group, except for itself.

    Returns:
        Shape (n,), float32, -1 to 1.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(candidates.groups))}
    groups = np.array([numbers[group] for group in candidates.groups], np.int64)
    # Sums of float16 values are exact in float64, so neither their order nor taking one out again leaves a trace.
    sums = np.zeros((len(numbers), len(query)), np.float64)
    counts = np.zeros(len(numbers), np.int64)
    among = np.zeros(len(groups), np.bool_)
    for piece in siblings:
        places = np.array([numbers.get(group, -1) for group in piece.groups], np.int64)
        order = np.argsort(places, kind="stable")
        order = order[np.searchsorted(places[order], 0) :]  # -1: of a category that no candidate of the product has
        if len(order):
            present, starts, sizes = np.unique(places[order], return_index=True, return_counts=True)
            sums[present] += np.add.reduceat(piece.features[order].astype(np.float64), starts, axis=0)
            counts[present] += sizes
            among |= np.isin(candidates.ids, piece.ids)

    features = candidates.features.astype(np.float64)
    others = counts[groups] - among
    augmented = features + (sums[groups] - among[:, None] * features) / np.maximum(others, 1)[:, None]
    lengths = np.sqrt(np.einsum("ij,ij->i", augmented, augmented))
    products = np.einsum("ij,j->i", augmented, query.astype(np.float64))
    counting = (others > 0) & (lengths >= LEAST_LENGTH)
    joint = (products / np.maximum(lengths, LEAST_LENGTH)).astype(np.float32)
    return np.where(counting, joint, cosines(query, candidates.features))
