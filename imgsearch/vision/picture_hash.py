"""The perceptual hash of a picture: 256 bits by which its copies are recognised, and that show little of it.

Two descriptions of the whole upright picture go in: the composition of its colours (how much of it has which colour,
not where) and its coarse structure (low frequencies of its luminance). Each is projected on random directions, and of
each projection one bit is kept: whether it falls into an even or an odd step. So bits of nearly equal pictures agree,
the share of differing ones rises with the distance, and beyond a few steps it is one half, whatever the pictures
(Boufounos and Rane, "Secure binary embeddings for privacy preserving nearest neighbors", WIFS 2011). Signs of
frequencies, which other perceptual hashes keep, show a small picture when they are transformed back; parities do not
(``benchmarks/inversion.py`` measures what remains).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]

__all__ = ["COLOUR_BITS", "HASH_BYTES", "STRUCTURE_BITS", "picture_hash"]

COLOUR_BITS: Final = 128
STRUCTURE_BITS: Final = 128
HASH_BYTES: Final = (COLOUR_BITS + STRUCTURE_BITS) // 8
SIDE: Final = 64
"""The picture is averaged to so many pixels a side: what is finer does not survive a resize or a strong compression."""
LUMINANCES: Final = 8
CHROMAS: Final = 5
"""Levels of luminance, and of each of the two colour differences; a pixel counts for the two levels around it."""
MAX_CHROMA: Final = 42.0
"""Colour differences are cut off there: beyond it, colours differ enough."""
FREQUENCIES: Final = 12
SHARPNESS: Final = 5.0
"""Frequencies count less the higher they are (a Gaussian of this width): a crop moves high ones the most."""
LEAST_CONTRAST: Final = 256.0
"""Structure is relative to the contrast, but what is plain has none."""
COLOUR_STEP: Final = 0.4
STRUCTURE_STEP: Final = 0.8
"""Width of a step. A crop of 5 % changes about a tenth of the bits; wider steps would tell more of the picture."""
SEED: Final = 2011
TO_LUMINANCE: Final = (0.299, 0.587, 0.114)
"""Of red, green and blue, as JPEG has it; likewise the two below."""
FROM_BLUE: Final = 0.564
FROM_RED: Final = 0.713


def picture_hash(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The hash of a picture.

    Args:
        pixels: the whole upright picture squashed to a square, RGB; shape (side, side, 3), side a multiple of 64.

    Returns:
        HASH_BYTES bytes: the bits of the colours, then those of the structure.
    """
    red, green, blue = _averaged(pixels)
    luminance = TO_LUMINANCE[0] * red + TO_LUMINANCE[1] * green + TO_LUMINANCE[2] * blue
    colour_planes, structure_planes, colour_offsets, structure_offsets = _projections()
    bits = np.concatenate(
        [
            _colours(luminance, FROM_BLUE * (blue - luminance), FROM_RED * (red - luminance)) @ colour_planes
            + colour_offsets,
            _structure(luminance) @ structure_planes + structure_offsets,
        ]
    )
    return np.packbits(np.floor(bits).astype(np.int64) & 1).tobytes()


def _averaged(pixels: npt.NDArray[np.uint8]) -> Vector:
    """The means of squares of pixels, as red, green and blue; shape (3, SIDE, SIDE)."""
    step = len(pixels) // SIDE
    rows = pixels.reshape(SIDE, step, -1)
    # Strips added one by one: reducing over short axes takes ten times as long.
    summed = rows[:, 0].astype(np.uint32)
    for number in range(1, step):
        summed += rows[:, number]
    columns = summed.reshape(SIDE, SIDE, step, 3)
    total = columns[:, :, 0].copy()
    for number in range(1, step):
        total += columns[:, :, number]
    averaged: Vector = (total.transpose(2, 0, 1) / step**2).astype(np.float32)
    return averaged


def _colours(luminance: Vector, blue: Vector, red: Vector) -> Vector:
    """Square roots of the shares of colours, whose distance is Hellinger's; shape (LUMINANCES * CHROMAS**2,)."""
    light = _levels(luminance, 0, 255, LUMINANCES)
    first, second = (_levels(chroma, -MAX_CHROMA, MAX_CHROMA, CHROMAS) for chroma in (blue, red))
    pairs = (first[:, None] * second[None]).reshape(CHROMAS**2, -1)
    return np.sqrt(light @ pairs.T / luminance.size).ravel()


def _levels(values: Vector, least: float, most: float, count: int) -> Vector:
    """The share that each value has in each level, by linear interpolation; shape (count, n)."""
    places = (np.clip(values.ravel(), least, most) - np.float32(least)) * np.float32((count - 1) / (most - least))
    levels = np.arange(count, dtype=np.float32)[:, None]
    shares: Vector = np.maximum(0, 1 - np.abs(places - levels))
    return shares


def _structure(luminance: Vector) -> Vector:
    """Low frequencies of the cosine transform, without the mean, of length 1 for pictures with contrast."""
    waves, weights = _waves()
    values = (waves @ luminance @ waves.T * weights).ravel()
    return (values / max(float(np.linalg.norm(values)), LEAST_CONTRAST)).astype(np.float32)


@lru_cache(maxsize=1)
def _waves() -> tuple[Vector, Vector]:
    """Cosines of shape (FREQUENCIES, SIDE), and the weight of each pair of them."""
    numbers = np.arange(FREQUENCIES)
    waves = np.cos(np.pi * numbers[:, None] * (np.arange(SIDE) + 0.5) / SIDE)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    weights = np.exp(-(numbers[:, None] ** 2 + numbers**2) / (2 * SHARPNESS**2))
    weights[0, 0] = 0
    return waves.astype(np.float32), weights.astype(np.float32)


@lru_cache(maxsize=1)
def _projections() -> tuple[Vector, Vector, Vector, Vector]:
    """Random directions in units of a step, and where the steps begin; the same on every machine."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    colour = generator.standard_normal((LUMINANCES * CHROMAS**2, COLOUR_BITS)) / COLOUR_STEP
    structure = generator.standard_normal((FREQUENCIES**2, STRUCTURE_BITS)) / STRUCTURE_STEP
    offsets = generator.uniform(0, 2, COLOUR_BITS), generator.uniform(0, 2, STRUCTURE_BITS)
    return tuple(part.astype(np.float32) for part in (colour, structure, *offsets))  # type: ignore[return-value]
