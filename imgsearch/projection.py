"""The mathematics of tuning: learning a projection from a catalogue's own products, and estimating its benefit.

Pictures of one product differ in irrelevant ways: view, light, background. The projection shrinks the directions of the
shape block in which they differ most, by ``(Sw + SHRINKAGE * m * I)^(-1/2)``, where ``Sw`` is the mean
covariance within a product and ``m`` the mean of its eigenvalues (within-class covariance normalisation; Hatch,
Kajarekar and Stolcke, "Within-class covariance normalization for SVM-based speaker recognition", Interspeech 2006).

The shrinkage bounds the effect: of ``d`` dimensions, none loses more than a factor of
``sqrt((d + SHRINKAGE) / SHRINKAGE)`` relative to another. So the projection can be inverted up to rounding to half
precision. The colour block and the lengths of both blocks do not change.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Estimate", "Projection", "estimated", "learned", "within_scatter"]

SHRINKAGE: Final = 3.0
"""This multiple of the mean eigenvalue is added to each eigenvalue."""
MATRIX_TYPE: Final = np.dtype("<f2")
NAME_DIGITS: Final = 16
MAX_CONDITION: Final = 100.0
"""Limit for projections from elsewhere; a learned one has at most 8, for 192 dimensions."""
NEAR: Final = 0.01
"""Projections count as equal if their difference is below this share of their norm."""
TINY: Final = 1e-12
RESAMPLES: Final = 2_000
CONFIDENCE: Final = 0.95
SEED: Final = 5


@dataclass(frozen=True)
class Projection:
    """A symmetric, invertible matrix applied to the shape block of features.

    Raises:
        ValueError: the matrix does not qualify.
    """

    matrix: npt.NDArray[np.float16]
    """Shape (d, d)."""

    def __post_init__(self) -> None:
        matrix = self.matrix
        if matrix.dtype != MATRIX_TYPE or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
            raise ValueError(f"{matrix.dtype} of shape {matrix.shape} is not a square matrix of half precision")
        if not np.isfinite(matrix).all() or not np.array_equal(matrix, matrix.T):
            raise ValueError("the matrix is not finite and symmetric")
        if not self.condition <= MAX_CONDITION:
            raise ValueError(f"the matrix has a condition of {self.condition:.4g}, above {MAX_CONDITION:g}")

    @property
    def dimension(self) -> int:
        """The length of the shape block."""
        return len(self.matrix)

    @cached_property
    def name(self) -> str:
        """Hexadecimal digits that identify it."""
        return hashlib.sha256(np.ascontiguousarray(self.matrix).tobytes()).hexdigest()[:NAME_DIGITS]

    @cached_property
    def condition(self) -> float:
        """Condition number: how much inversion can amplify the errors of a feature."""
        values = np.abs(np.linalg.eigvalsh(self.matrix.astype(np.float64)))
        return float(values.max() / max(values.min(), TINY))

    @cached_property
    def _forward(self) -> npt.NDArray[np.float64]:
        return self.matrix.astype(np.float64)

    @cached_property
    def _backward(self) -> npt.NDArray[np.float64]:
        return np.linalg.inv(self._forward).astype(np.float64)

    def applied(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Features with the projection applied.

        Args:
            features: shape (dimension,) or (n, dimension), the shape block first.

        Returns:
            The same shape; the lengths of both blocks are unchanged.
        """
        return _turned(features, self._forward)

    def undone(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """The inverse of ``applied``.

        If both are rounded to half precision, a shape block differs by at most
        ``(condition + 1) * 2**-11`` of its length.
        """
        return _turned(features, self._backward)

    def is_near(self, other: Projection) -> bool:
        """Whether both are equal up to small differences."""
        if self.matrix.shape != other.matrix.shape:
            return False
        difference = np.linalg.norm(self._forward - other._forward)
        return bool(difference <= NEAR * np.linalg.norm(self._forward))

    def as_text(self) -> str:
        """Encode for JSON."""
        return base64.b64encode(np.ascontiguousarray(self.matrix).tobytes()).decode("ascii")

    @classmethod
    def from_text(cls, text: Any) -> Self:
        """Decode the result of ``as_text``.

        Raises:
            ValueError
        """
        if not isinstance(text, str):
            raise ValueError("not text")
        values = np.frombuffer(base64.b64decode(text, validate=True), MATRIX_TYPE)
        side = int(np.sqrt(len(values)))
        return cls(values.reshape(side, side))


def _turned(features: npt.NDArray[np.floating], matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    dimension = len(matrix)
    turned = features.astype(np.float32)
    block = features[..., :dimension].astype(np.float64)
    product = block @ matrix
    lengths = np.linalg.norm(block, axis=-1, keepdims=True)
    turned[..., :dimension] = product * (lengths / np.maximum(np.linalg.norm(product, axis=-1, keepdims=True), TINY))
    return turned


def within_scatter(
    blocks: npt.NDArray[np.floating], products: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], int]:
    """The sum of within-product covariances, each product counting once, and the number of products.

    Args:
        blocks: shape blocks of pictures, shape (n, d), of any length.
        products: of each picture, shape (n,); products with a single picture are ignored.

    Returns:
        Shape (d, d), and a count.
    """
    units = blocks / np.maximum(np.linalg.norm(blocks.astype(np.float64), axis=1, keepdims=True), TINY)
    order = np.argsort(products, kind="stable")
    units = units[order]
    _, begins, counts = np.unique(products[order], return_index=True, return_counts=True)
    if not len(begins):
        return np.zeros((blocks.shape[1], blocks.shape[1])), 0
    means = np.add.reduceat(units, begins) / counts[:, None]
    centred = units - np.repeat(means, counts, axis=0)
    centred /= np.repeat(np.sqrt(np.maximum(counts - 1, 1)), counts)[:, None]
    return centred.T @ centred, int((counts > 1).sum())


def learned(scatter: npt.NDArray[np.float64], products: int) -> Projection:
    """The projection for a sum of within-product covariances; its largest eigenvalue is 1."""
    values, vectors = np.linalg.eigh(scatter / max(products, 1))
    values = np.maximum(values, 0.0)
    mean = float(values.mean())
    shrunk = values + SHRINKAGE * mean if mean > 0 else np.ones_like(values)
    matrix = (vectors * np.sqrt(shrunk.min() / shrunk)) @ vectors.T
    return Projection(((matrix + matrix.T) / 2).astype(MATRIX_TYPE))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def estimated(values: npt.NDArray[np.floating], products: npt.NDArray[np.int64]) -> Estimate:
    """The mean of values, with a confidence interval by bootstrap over products.

    Pictures of one product are not independent, so whole products are resampled.

    Args:
        values: one for each query, shape (n,).
        products: of each, shape (n,).
    """
    _, numbers = np.unique(products, return_inverse=True)
    sums = np.bincount(numbers, values)
    counts = np.bincount(numbers).astype(np.float64)
    drawn = np.random.default_rng(SEED).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    means = (drawn @ sums) / np.maximum(drawn @ counts, 1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(values.mean()), float(low), float(high))
