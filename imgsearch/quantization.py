"""How precisely features are kept: at half precision, or each number as a code of 8, 4 or 2 bits.

A code stands for one of a few levels. Features have length 1, so it is enough to keep their direction: the codes give
whole numbers, and dividing these by their length gives the feature. The largest number of a feature always has the
highest level, so the codes can be told from the feature, even rounded to half precision: reading what was stored and
storing it again changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Features = npt.NDArray[np.floating]
    Codes = npt.NDArray[np.uint8]

__all__ = ["FEATURE_TYPE", "HALF", "Coding", "features_stamp", "finer_stamps", "quantised", "single"]

FEATURE_TYPE: Final = np.dtype("<f2")
"""Half precision as it is stored: little-endian float16."""

HALF: Final = 16
"""Bits of a number at half precision."""

# The best levels for numbers of a normal distribution (Max, "Quantizing for minimum distortion", IRE Transactions on
# Information Theory, 1960), as whole numbers, so that sums of their squares are exact on every processor.
LEVELS: Final = {
    8: np.arange(128, dtype=np.float32),
    4: np.array([6, 18, 31, 44, 58, 75, 96, 127], np.float32),
    2: np.array([283, 944], np.float32),
}
"""Magnitudes of the numbers that codes stand for, rising; signs are kept too."""
LARGEST: Final = {8: np.inf, 4: 2.7326, 2: 1.5104}
"""Magnitudes above this one, in standard deviations, are cut off, as few numbers have them."""
HALF_FRACTION: Final = 10
"""Bits of the fraction of a number at half precision."""
SINGLE_FRACTION: Final = 23
"""At single precision."""
SIGN_AND_HALF: Final = np.int32(-(1 << 31) | 0x7FFF << SINGLE_FRACTION - HALF_FRACTION)
"""Of a number at single precision: the sign, and what comes from half precision."""
BIAS: Final = np.float32(2.0**112)
"""The exponents' biases are 127 at single precision, and 15 at half."""
SAME: Final = 1.0
"""How far numbers may be from those of codes that were made of these before, at half precision."""
EXACT_IN_SINGLE: Final = 2**24
"""Whole numbers below it are exact in float32, and so are their sums."""


@dataclass(frozen=True, slots=True)
class Coding:
    """How features are laid out."""

    bits: int = HALF
    """Of each number: 16 (half precision), 8, 4 or 2."""
    dimension: int = 0
    """Of a feature; needed for codes only."""

    @classmethod
    def of(cls, made_by: dict[str, Any] | None) -> Self:
        """The layout that the setting ``model`` of an instance tells; without one, half precision.

        Codes that older releases stored at half precision have another name there, and stay as they are.
        """
        return cls() if made_by is None else cls(made_by.get("bits", HALF), made_by.get("dimension", 0))

    @property
    def row_bytes(self) -> int | None:
        """Length of a stored feature; None if all lengths are valid."""
        return None if self.bits == HALF else -(-self.dimension * self.bits // 8)

    def packed(self, features: Features) -> Codes:
        """Features as they are stored.

        Args:
            features: shape (n, dimension).

        Returns:
            Shape (n, length of a stored feature).
        """
        if self.bits == HALF:
            return np.ascontiguousarray(features.astype(FEATURE_TYPE)).view(np.uint8)
        return _codes(features.astype(np.float32), self.bits)

    def stored(self, features: Features) -> Features:
        """Features as they will be read once they have been stored; shape (n, dimension)."""
        return self.unpacked(self.packed(features).tobytes(), len(features))

    def unpacked(self, data: bytes, count: int) -> Features:
        """Stored features: the very numbers that were packed, if ``quantised`` gave these.

        Args:
            data: of ``count`` features, one after another.
            count: of features.

        Returns:
            Shape (count, dimension), float16 at half precision, else float32.

        Raises:
            ValueError: the length is not that of so many features.
        """
        if self.bits == HALF:
            return np.frombuffer(data, FEATURE_TYPE).reshape(count, -1 if count else 0)
        if len(data) != count * (self.row_bytes or 0):
            raise ValueError(f"{len(data)} bytes for {count} features")
        return _unpacked(np.frombuffer(data, np.uint8).reshape(count, -1 if count else 0), self.bits, self.dimension)


def single(features: Features) -> npt.NDArray[np.float32]:
    """Features in single precision, exactly.

    NumPy converts numbers of half precision one by one. Here the bits of all are moved to where single precision has
    them, and 2**112 makes up for the difference of the exponents' biases: a sixth of the time.

    Args:
        features: finite numbers of any shape, at half or single precision.
    """
    if features.dtype != FEATURE_TYPE:
        return features.astype(np.float32, copy=False)
    bits = features.view("<i2").astype(np.int32)  # the sign spreads to the left
    bits <<= SINGLE_FRACTION - HALF_FRACTION
    bits &= SIGN_AND_HALF
    numbers = bits.view(np.float32)
    numbers *= BIAS
    return numbers


def features_stamp(bits: int) -> str:
    """What the stamp of an instance says of its features."""
    return "half precision" if bits == HALF else f"{bits} bits a number"


def finer_stamps(stamp: str) -> list[str]:
    """What the stamps of more precise features say, which can be replaced by such codes."""
    stamps = [features_stamp(bits) for bits in (HALF, *LEVELS)]
    return stamps[: stamps.index(stamp)] if stamp in stamps else []


def quantised(features: Features, bits: int) -> npt.NDArray[np.float32]:
    """Replace each number by the level that its code stands for; what has been replaced stays as it is.

    Equal codes give equal numbers, so nothing else of a feature is left, whatever it is stored as.

    Args:
        features: shape (n, dimension), L2-normalised.
        bits: of each code; 16 leaves all as it is.

    Returns:
        Shape (n, dimension), L2-normalised.
    """
    rows = features.astype(np.float32, copy=False)
    return rows if bits == HALF else _unpacked(_codes(rows, bits), bits, rows.shape[1])


def _codes(rows: npt.NDArray[np.float32], bits: int) -> Codes:
    """The codes of features, or those that they have been made of."""
    if bits == 4:
        rows = _turned(rows) / np.sqrt(_block(rows.shape[1]))
    codes = _nearest(rows, bits)
    if np.isinf(LARGEST[bits]):
        return codes
    numbers, lengths = _numbers(codes, bits, rows.shape[1])
    others = np.flatnonzero((np.abs(numbers / lengths - rows) > SAME / lengths).any(axis=1))
    if len(others):
        largest = LARGEST[bits] / np.sqrt(rows.shape[1])
        codes[others] = _nearest(np.clip(rows[others], -largest, largest), bits)
    return codes


def _nearest(rows: npt.NDArray[np.float32], bits: int) -> Codes:
    """The codes of the nearest levels, where the largest number of each feature has the highest level."""
    levels = LEVELS[bits]
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=np.finfo(np.float32).tiny)
    scaled = rows * (levels[-1] / largest)
    if bits == 8:
        whole: Codes = np.rint(scaled).astype(np.int8).view(np.uint8)
        return whole
    places = np.searchsorted((levels[1:] + levels[:-1]) / 2, np.abs(scaled).ravel()).reshape(rows.shape)
    codes = places.astype(np.uint8) | (np.signbit(rows).astype(np.uint8) << (bits - 1))
    each = 8 // bits
    codes = np.pad(codes, ((0, 0), (0, -codes.shape[1] % each))).reshape(len(rows), -1, each)
    packed: Codes = codes[:, :, 0]
    for place in range(1, each):
        packed = np.bitwise_or(packed, np.left_shift(codes[:, :, place], bits * place, dtype=np.uint8))
    return packed


def _unpacked(codes: Codes, bits: int, dimension: int) -> npt.NDArray[np.float32]:
    numbers, lengths = _numbers(codes, bits, dimension)
    if bits == 4:
        numbers = _turned(numbers)
        lengths = (lengths * np.sqrt(_block(dimension))).astype(np.float32)
    numbers *= 1 / lengths
    return numbers


def _numbers(codes: Codes, bits: int, dimension: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What codes stand for, shape (n, dimension), and its lengths, shape (n, 1)."""
    if bits == 8:
        numbers = codes.view(np.int8).astype(np.float32)
    else:
        numbers = _table(bits).take(codes, axis=0).reshape(len(codes), -1)[:, :dimension]
    is_exact = LEVELS[bits][-1] ** 2 * dimension < EXACT_IN_SINGLE
    squares = np.einsum("ij,ij->i", numbers, numbers, dtype=np.float32 if is_exact else np.float64)
    return numbers, np.sqrt(np.maximum(squares, 1)).astype(np.float32)[:, None]


def _turned(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Features times a Hadamard matrix of +1 and -1, which is its own inverse but for a factor.

    It spreads what a few numbers tell over all of a block, so that their distribution is nearly normal.
    """
    half = _block(rows.shape[1]).bit_length() // 2
    blocks = rows.reshape(-1, 2**half, _block(rows.shape[1]) >> half)
    turned = np.asarray(_hadamard(blocks.shape[1]) @ blocks @ _hadamard(blocks.shape[2]), np.float32)
    return turned.reshape(rows.shape)


def _block(dimension: int) -> int:
    """The largest power of two that divides a dimension."""
    return dimension & -dimension


@lru_cache
def _hadamard(size: int) -> npt.NDArray[np.float32]:
    """Shape (size, size), a power of two (Sylvester's construction)."""
    places = np.arange(size)
    signs: npt.NDArray[np.float32] = 1 - 2 * (np.bitwise_count(places[:, None] & places) % 2).astype(np.float32)
    return signs


@lru_cache(maxsize=len(LEVELS))
def _table(bits: int) -> npt.NDArray[np.float32]:
    """What each byte of codes stands for, shape (256, codes of a byte)."""
    codes = np.arange(256)[:, None] >> (bits * np.arange(8 // bits)) & (2**bits - 1)
    half = 2 ** (bits - 1)
    signs = np.where(codes & half, -1, 1).astype(np.float32)
    numbers: npt.NDArray[np.float32] = signs * LEVELS[bits][codes & (half - 1)]
    return numbers
