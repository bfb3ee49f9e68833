"""From the cosine of two features to what the service returns: Score, relevance, and the Hamming distance of codes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["MAX_RELEVANCE", "Calibration", "cosines", "hamming", "relevance", "sort_expr_values"]

MAX_RELEVANCE: Final = 7.33136443711219e24
"""The service's relevance of an identical picture (service.md, section 8.1)."""
RELEVANCE_PER_SCORE: Final = 10.0
"""Relevance of pictures that are not identical: 0 to 10, as the service's published pairs (2.6 to 5.7) suggest."""
MAX_SCORE: Final = 0.999999
"""Score of a picture that is not the identical one, however near."""
LARGEST_COSINE: Final = 1 - 1e-7
"""Above it float32 tells nothing apart."""
CODE_BITS: Final = 512
CODE_SEED: Final = 512


@dataclass(frozen=True, slots=True)
class Calibration:
    """A curve from cosine to Score: the chance that a match of that cosine shows the same product.

    The odds' logarithm is linear in the cosine's inverse hyperbolic tangent (Fisher's transformation), which grows
    without bound towards 1, so that near copies come near to Score 1. Fitted per model; Score 0.5 is where right and
    wrong matches balance.
    """

    slope: float
    offset: float
    linear: bool = False
    """Between a text and a picture, whose cosines are low: the logarithm is linear in the cosine itself."""

    def scores(self, cosines: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Scores in 0..MAX_SCORE, rising with the cosine; shape as given."""
        bounded = np.clip(cosines.astype(np.float64), -LARGEST_COSINE, LARGEST_COSINE)
        odds = np.clip(self.slope * (bounded if self.linear else np.arctanh(bounded)) + self.offset, -60.0, 60.0)
        return np.minimum(1.0 / (1.0 + np.exp(-odds)), MAX_SCORE)


def cosines(query: npt.NDArray[np.float32], features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cosines of L2-normalised features to the query, the same for equal features wherever they stand.

    (A matrix product rounds by the position of a row, which would put equal items in a random order.)

    Args:
        query: shape (dimension,).
        features: shape (n, dimension).

    Returns:
        Shape (n,).
    """
    products: npt.NDArray[np.float32] = np.einsum("ij,j->i", features, query)
    return products


def relevance(score: float, *, identical: bool) -> float:
    """The first value of SortExprValues: rises with Score, and is MAX_RELEVANCE for an identical picture only."""
    return MAX_RELEVANCE if identical else RELEVANCE_PER_SCORE * score


def sort_expr_values(score: float, distance: int, *, identical: bool) -> str:
    """``relevance;distance`` as the service prints it; an identical picture has distance 0."""
    value = relevance(score, identical=identical)
    return f"{value:.15g};{0 if identical else distance}"


@lru_cache(maxsize=4)
def _hyperplanes(dimension: int) -> npt.NDArray[np.float32]:
    """Normals of CODE_BITS random hyperplanes, the same on every machine; shape (dimension, CODE_BITS)."""
    generator = np.random.Generator(np.random.PCG64(CODE_SEED))
    return generator.standard_normal((dimension, CODE_BITS)).astype(np.float32)


def hamming(query: npt.NDArray[np.float32], features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Hamming distances of 512-bit codes: on which side of 512 random hyperplanes the features lie.

    The share of differing bits estimates the angle between two features (Charikar, "Similarity estimation techniques
    from rounding algorithms", STOC 2002).

    Args:
        query: shape (dimension,).
        features: shape (n, dimension).

    Returns:
        Shape (n,), 0 to 512 bits.
    """
    planes = _hyperplanes(query.shape[0])
    differing: npt.NDArray[np.int64] = np.sum((features @ planes > 0) != (query @ planes > 0), axis=1, dtype=np.int64)
    return differing
