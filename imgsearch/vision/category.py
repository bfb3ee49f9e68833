"""Predicting the category: what the networks say of the picture, and the outline of its subject, to chances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.vision.subject_boxes import CONTEXT
from imgsearch.vision.trained_weights import CATEGORY, load_parameters

if TYPE_CHECKING:
    import numpy.typing as npt

    from imgsearch.values import Region

__all__ = ["OUTLINE_CELLS", "CategoryPredictor", "outline"]

OUTLINE_CELLS: Final = 10
SAMPLES_PER_CELL: Final = 4


class CategoryPredictor:
    """A softmax over the sum of all evidence, with the parameters of ``training/category.py``."""

    def __init__(self) -> None:
        parameters = load_parameters(CATEGORY)
        self.ids: list[int] = parameters["ids"].tolist()
        self._outline = parameters["outline"].astype(np.float32)
        self._bias = parameters["bias"].astype(np.float32)

    def chances(
        self, evidence: npt.NDArray[np.float32], silhouette: npt.NDArray[np.float32]
    ) -> list[tuple[int, float]]:
        """Category ids with their chances, the most likely first; the chances sum to 1.

        Args:
            evidence: shape (categories,), the sum of what all networks give.
            silhouette: shape (OUTLINE_CELLS²,), as ``outline`` gives it.
        """
        scores = evidence + silhouette @ self._outline + self._bias
        powers = np.exp(scores - scores.max())
        chances = powers / powers.sum()
        order = np.argsort(-chances, kind="stable")
        return [(self.ids[number], float(chances[number])) for number in order]


def outline(heat: npt.NDArray[np.float32], region: Region, width: int, height: int) -> npt.NDArray[np.float32]:
    """The heat map inside a square around a region: a dress and a shirt differ in shape more than in cloth.

    Args:
        heat: shape (rows, columns), 0..1, of the whole picture.
        region: of the subject.
        width: of the picture, in pixels.
        height: likewise.

    Returns:
        Shape (OUTLINE_CELLS²,), 0..1; what lies outside of the picture is 0.
    """
    side = max(region.x2 - region.x1, region.y2 - region.y1) * (1 + 2 * CONTEXT)
    count = OUTLINE_CELLS * SAMPLES_PER_CELL
    steps = (np.arange(count) + 0.5) / count - 0.5
    columns = ((region.x1 + region.x2) / 2 + steps * side) / width * heat.shape[1] - 0.5
    rows = ((region.y1 + region.y2) / 2 + steps * side) / height * heat.shape[0] - 0.5
    sampled = _along(_along(heat, rows).T, columns).T
    cells = sampled.reshape(OUTLINE_CELLS, SAMPLES_PER_CELL, OUTLINE_CELLS, SAMPLES_PER_CELL)
    result: npt.NDArray[np.float32] = cells.mean(axis=(1, 3), dtype=np.float32).reshape(-1)
    return result


def _along(values: npt.NDArray[np.float32], places: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Rows of an array at fractional places, linear between them, 0 outside."""
    padded = np.pad(values, ((1, 1), (0, 0)))
    places = np.clip(places + 1, 0, len(padded) - 1)
    below = np.minimum(places.astype(np.int64), len(padded) - 2)
    share = (places - below).astype(np.float32)[:, None]
    result: npt.NDArray[np.float32] = padded[below] * (1 - share) + padded[below + 1] * share
    return result
