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
    from collections.abc import Iterable

    import numpy.typing as npt

    from imgsearch.engine.store import Pictures

__all__ = ["similarities"]

WEIGHT: Final = 0.5
"""Of the siblings' mean, beside 1 for the picture itself."""
SHARPNESS: Final = 5.0
"""A sibling weighs the exponential of so many times its cosine to the picture."""
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
    places: dict[tuple[str, int], list[int]] = {}
    for place, group in enumerate(candidates.groups):
        places.setdefault(group, []).append(place)
    features = candidates.features.astype(np.float64)
    sums = np.zeros(features.shape, np.float64)
    weights = np.zeros(len(features), np.float64)
    for piece in siblings:
        rows: dict[tuple[str, int], list[int]] = {}
        for row, group in enumerate(piece.groups):
            if group in places:  # else of a category that no candidate of the product has
                rows.setdefault(group, []).append(row)
        for group, members in rows.items():
            mine = places[group]
            theirs = piece.features[members].astype(np.float64)
            # At cosine 1 the exponential is 1, so nothing overflows.
            each = np.exp(SHARPNESS * (features[mine] @ theirs.T - 1))
            each[candidates.ids[mine][:, None] == piece.ids[members][None]] = 0.0
            sums[mine] += each @ theirs
            weights[mine] += each.sum(axis=1)

    others = weights > 0
    augmented = features + WEIGHT * sums / np.where(others, weights, 1.0)[:, None]
    lengths = np.sqrt(np.einsum("ij,ij->i", augmented, augmented))
    products = np.einsum("ij,j->i", augmented, query.astype(np.float64))
    counting = others & (lengths >= LEAST_LENGTH)
    joint = (products / np.maximum(lengths, LEAST_LENGTH)).astype(np.float32)
    return np.where(counting, joint, cosines(query, candidates.features))
