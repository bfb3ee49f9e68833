"""Numbers of the networks that both builders share: torch's modules, and OpenVINO's graphs built directly.

A change to one of them makes other features: raise ``models.GRAPH_VERSION``, and the feature version where it matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "BACKGROUND_WEIGHT",
    "CENTRE_WIDTH",
    "CHROMA_BINS",
    "CHROMA_LIMIT",
    "COLOUR_SHARE",
    "DIFFERENCE_RANGE",
    "GEM_FLOOR",
    "GEM_POWER",
    "JOINED_WEIGHT",
    "LEAST_DIFFERENCE",
    "LIGHTNESS_BINS",
    "MOST_EXPOSURE",
    "NEVER",
    "SIDE",
    "SRGB_TO_XYZ",
    "STAGES",
    "STAGE_CHANNELS",
    "WHITE",
    "classifier_projection",
]

# Pooling and the joining of networks

GEM_POWER: Final = 2.0
GEM_FLOOR: Final = 1e-6
CENTRE_WIDTH: Final = 0.5
"""Standard deviation of the weight that places have, in half sides of the region, from its centre."""
JOINED_WEIGHT: Final = 0.5
"""Of every network but the first, whose features are better."""
COLOUR_SHARE: Final = 0.7
"""Length of a feature's colour block, beside 1 for its shape block."""
SINGULAR_VALUE_POWER: Final = -0.5

# The colour block

SIDE: Final = 64
"""Side that a region is reduced to before its colours are counted, in pixels."""
LIGHTNESS_BINS: Final = 4
CHROMA_BINS: Final = 7
CHROMA_LIMIT: Final = 60.0
"""Of a* and b*; what lies beyond counts as that."""
BACKGROUND_WEIGHT: Final = 0.1
"""Of pixels that look like the border, beside 1 for those that clearly do not."""
LEAST_DIFFERENCE: Final = 4.0
DIFFERENCE_RANGE: Final = 16.0
"""Distance in Lab from the background at which a pixel begins to count as subject, and over which that rises to 1."""
MOST_EXPOSURE: Final = 4.0
"""The largest factor for normalising exposure. A picture that is nearly black has no colours to be brought out."""
SRGB_TO_XYZ: Final = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE: Final = (0.95047, 1.0, 1.08883)
"""D65, in XYZ."""

# Category evidence

NEVER: Final = -1e4
"""Stands for minus infinity in bfloat16, too."""

# What finds subjects

STAGES: Final = (2, 4, 5)
"""Blocks of the trunk whose maps are read: at 1/8, 1/16 and 1/32 of the picture's side."""
STAGE_CHANNELS: Final = (40, 112, 192)


def classifier_projection(weight: npt.NDArray[np.generic], max_dimension: int) -> npt.NDArray[np.float32]:
    """A projection that needs no training data, for networks that have no trained one.

    The rows of the network's own classifier span the directions that tell classes apart, so their leading right
    singular vectors, with the strongest damped, keep what matters in few dimensions.

    Args:
        weight: of the classifier, shape (classes, channels).
        max_dimension: longest feature.

    Returns:
        Shape (channels, dimension).
    """
    rows = weight.astype(np.float64)
    rows -= rows.mean(axis=0, keepdims=True)
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    dimension = min(max_dimension, int((values > values[0] * 1e-6).sum()))
    values, vectors = values[:dimension], vectors[:dimension]
    # The sign of a singular vector is arbitrary; features of two machines must not differ by it.
    strongest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1, keepdims=True), axis=1)
    vectors = vectors * np.sign(strongest)
    projection: npt.NDArray[np.float32] = (vectors * ((values / values[0]) ** SINGULAR_VALUE_POWER)[:, None]).T
    return projection.astype(np.float32)
