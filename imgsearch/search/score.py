"""From the cosine of two features to what the service returns: Score, relevance, and the Hamming distance of codes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

__all__ = ["MAX_RELEVANCE", "Calibration", "Rivals", "cosines", "hamming", "relevance", "sort_expr_values"]

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


RIVAL_FLOOR: Final = 0.4
"""A product that is less similar counts as that similar: in a larger catalogue there would be one."""
RIVAL_CEILING: Final = 0.9
"""One that is more similar counts as that similar: what is nearly certain makes nothing else less likely."""


@dataclass(frozen=True, slots=True)
class Rivals:
    """The two products that are most similar to a query: what every result competes with."""

    best: float = RIVAL_FLOOR
    """Similarity of the first product's best picture, RIVAL_FLOOR to RIVAL_CEILING."""
    second: float = RIVAL_FLOOR

    @classmethod
    def of(cls, products: Iterable[str], similarities: npt.NDArray[np.float32]) -> Rivals:
        """From the ProductIds of some results, and the similarity of each, shape (n,)."""
        best: dict[str, float] = {}
        for product, similarity in zip(products, similarities.tolist(), strict=True):
            best[product] = max(similarity, best.get(product, RIVAL_FLOOR))
        first, second, *_ = (*sorted(best.values(), reverse=True), RIVAL_FLOOR, RIVAL_FLOOR)
        return cls(min(first, RIVAL_CEILING), min(second, RIVAL_CEILING))


@dataclass(frozen=True, slots=True)
class Calibration:
    """A curve from cosine to Score: the chance that a match of that cosine shows the same product.

    The odds' logarithm is linear in the cosine's inverse hyperbolic tangent (Fisher's transformation), which grows
    without bound towards 1, so that near copies come near to Score 1. The same cosine means less where other products
    reach it, too: what the two most similar products of the query reach is subtracted, so that Score means the same in
    catalogues whose products resemble each other and in those whose products do not. Within one query Score rises with
    the cosine. Fitted per model.
    """

    slope: float
    offset: float
    best: float = 0.0
    """Weight of the most similar product, zero or less."""
    second: float = 0.0
    """Weight of the second one."""
    linear: bool = False
    """Between a text and a picture, whose cosines are low: the logarithm is linear in the cosine itself."""

    def scores(self, cosines: npt.NDArray[np.float32], rivals: Rivals = Rivals()) -> npt.NDArray[np.float64]:
        """Scores in 0..MAX_SCORE, rising with the cosine; shape as given."""
        bounded = np.clip(cosines.astype(np.float64), -LARGEST_COSINE, LARGEST_COSINE)
        competition = self.best * math.atanh(rivals.best) + self.second * math.atanh(rivals.second)
        evidence = bounded if self.linear else np.arctanh(bounded)
        odds = np.clip(self.slope * evidence + competition + self.offset, -60.0, 60.0)
        scores: npt.NDArray[np.float64] = np.minimum(1.0 / (1.0 + np.exp(-odds)), MAX_SCORE)
        return scores


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
