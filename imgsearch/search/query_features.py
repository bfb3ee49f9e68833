"""Features of queries that are no single picture: several views of a product, or a given feature."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from imgsearch.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from imgsearch.types import Extracted

__all__ = ["combined", "unit"]


def combined(views: Sequence[Extracted]) -> Extracted:
    """What stands for all views: the mean of their features, and the mean of their categories' probabilities.

    Args:
        views: at least one, all with a given category or all without.

    Returns:
        A copy of the first view with a feature of shape (dimension,), L2-normalised, and without a content hash.
    """
    mean = np.mean([view.feature for view in views], axis=0)
    length = float(np.linalg.norm(mean))
    feature = (mean / length if length else views[0].feature).astype(np.float32)
    chances: defaultdict[int, float] = defaultdict(float)
    for view in views:
        for category_id, chance in view.chances:
            chances[category_id] += chance / len(views)
    ordered = tuple(sorted(chances.items(), key=lambda one: -one[1]))
    category_id = ordered[0][0] if ordered else views[0].category_id
    return replace(
        views[0],
        content_hash=b"",
        token=None,
        subjects=(),
        category_id=category_id,
        chances=ordered,
        feature=feature,
        warning=next((view.warning for view in views if view.warning is not None), None),
    )


def unit(feature: npt.ArrayLike, dimension: int) -> npt.NDArray[np.float32]:
    """Validate and normalise a given feature, which has to have the shape (dimension,).

    Raises:
        InvalidValue
    """
    try:
        values = np.asarray(feature, np.float32)
    except (TypeError, ValueError):
        raise InvalidValue(f"{type(feature).__name__} is not a feature: pass {dimension} numbers") from None
    if values.shape != (dimension,):
        raise InvalidValue(f"a feature of this instance has the shape ({dimension},), not {values.shape}")
    length = float(np.linalg.norm(values.astype(np.float64)))
    if not np.isfinite(length) or length == 0.0:
        raise InvalidValue("a feature must have finite numbers that are not all zero")
    return (values / length).astype(np.float32)
