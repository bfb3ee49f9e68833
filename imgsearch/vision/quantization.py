"""Features as codes: two bits for each number, for instances that are to keep no more of a picture than that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["CODING", "as_code"]

CODING: Final = "2 bits a number"
"""What the stamp of an instance says of its features."""

# The best four levels for numbers of a normal distribution (Max, "Quantizing for minimum distortion", IRE Transactions
# on Information Theory, 1960), in units of its standard deviation.
THRESHOLD: Final = 0.9816
INNER, OUTER = 0.4528, 1.5104


def as_code(feature: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Replace each number by one of four levels, which its code of two bits stands for.

    Equal codes give equal numbers, so nothing else of the feature is left, whatever they are stored as.

    Args:
        feature: shape (dimension,), L2-normalised.

    Returns:
        Shape (dimension,), L2-normalised.
    """
    deviation = 1 / np.sqrt(feature.shape[0])
    levels = np.copysign(np.where(np.abs(feature) < THRESHOLD * deviation, INNER, OUTER), feature)
    coded: npt.NDArray[np.float32] = (levels / np.linalg.norm(levels)).astype(np.float32)
    return coded
