"""Converting cosines to Score, and Hamming distances of codes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Calibration", "Rivals", "cosines", "hamming"]

MAX_SCORE: Final = 0.999999
"""Maximum Score of a picture that is not identical."""
LARGEST_COSINE: Final = 1 - 1e-7
"""Above it, float32 has no resolution left."""
CODE_BITS: Final = 512
CODE_SEED: Final = 512


RIVAL_FLOOR: Final = 0.4
"""Lower bound of a rival's similarity: a larger catalogue would have a product this similar."""
RIVAL_CEILING: Final = 0.9
"""Upper bound of a rival's similarity: a near-certain match makes others no less likely."""


@dataclass(frozen=True, slots=True)
class Rivals:
    """The two products most similar to a query, with which every result competes."""

    best: float = RIVAL_FLOOR
    """Similarity of the first product's best picture, RIVAL_FLOOR to RIVAL_CEILING."""
    second: float = RIVAL_FLOOR

    @classmethod
    def of(cls, products: npt.NDArray[np.int64], similarities: npt.NDArray[np.float32]) -> Rivals:
        """Compute from the products of results, as numbers, and their similarities; shape (n,) both."""
        if not len(similarities):
            return cls()
        nearest = int(np.argmax(similarities))
        others = similarities[products != products[nearest]]
        first, second = (max(RIVAL_FLOOR, float(some.max(initial=-1.0))) for some in (similarities[[nearest]], others))
        return cls(min(first, RIVAL_CEILING), min(second, RIVAL_CEILING))


@dataclass(frozen=True, slots=True)
class Calibration:
    """A curve from cosine to Score: the probability that a match with that cosine shows the same product.

    The log-odds are linear in the cosine's inverse hyperbolic tangent (Fisher's transformation), which diverges towards
    1, so that near copies get a Score near 1. A cosine means less if other products reach it too: a term for the two
    most similar products of the query is subtracted, so that Score has the same meaning in catalogues of similar and of
    distinct products. Within a query, Score rises with the cosine. Fitted per model.
    """

    slope: float
    offset: float
    best: float = 0.0
    """Weight of the most similar product, zero or less."""
    second: float = 0.0
    """Weight of the second most similar product."""
    linear: bool = False
    """For text queries, whose cosines are low: the log-odds are linear in the cosine itself."""

    def scores(self, cosines: npt.NDArray[np.float32], rivals: Rivals = Rivals()) -> npt.NDArray[np.float64]:
        """Scores in 0..MAX_SCORE, rising with the cosine; same shape."""
        bounded = np.clip(cosines.astype(np.float64), -LARGEST_COSINE, LARGEST_COSINE)
        competition = self.best * math.atanh(rivals.best) + self.second * math.atanh(rivals.second)
        evidence = bounded if self.linear else np.arctanh(bounded)
        odds = np.clip(self.slope * evidence + competition + self.offset, -60.0, 60.0)
        scores: npt.NDArray[np.float64] = np.minimum(1.0 / (1.0 + np.exp(-odds)), MAX_SCORE)
        return scores


def cosines(query: npt.NDArray[np.float32], features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cosines of L2-normalised features to the query; equal features get equal cosines.

    (A matrix product may round differently by row position, which would order equal items at random.)

    Args:
        query: shape (dimension,).
        features: shape (n, dimension).

    Returns:
        Shape (n,).
    """
    products: npt.NDArray[np.float32] = np.einsum("ij,j->i", features, query)
    return products


@lru_cache(maxsize=4)
def _hyperplanes(dimension: int) -> npt.NDArray[np.float32]:
    """Normals of CODE_BITS random hyperplanes, the same on every machine; shape (CODE_BITS, dimension)."""
    generator = np.random.Generator(np.random.PCG64(CODE_SEED))
    return np.ascontiguousarray(generator.standard_normal((dimension, CODE_BITS)).astype(np.float32).T)


def _code(features: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Codes of features, shape (n, CODE_BITS).

    A matrix product takes a tenth of the time on an idle machine; on a busy one it waits for its threads, by whole time
    slices of the system.
    """
    positive: npt.NDArray[np.bool_] = np.einsum("nd,bd->nb", features, _hyperplanes(features.shape[1])) > 0
    return positive


def hamming(query: npt.NDArray[np.float32], features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Hamming distances of 512-bit codes: the signs of projections on 512 random hyperplanes.

    The share of differing bits estimates the angle between two features (Charikar, "Similarity estimation techniques
    from rounding algorithms", STOC 2002).

    Args:
        query: shape (dimension,).
        features: shape (n, dimension).

    Returns:
        Shape (n,), 0 to 512 bits.
    """
    differing: npt.NDArray[np.int64] = np.sum(_code(features) != _code(query[np.newaxis]), axis=1, dtype=np.int64)
    return differing
