"""Pairs of nearly equal hashes among a million of them, in one pass and little memory.

Few are compared each with each. Of many, each of several tables sorts all by a few of their bits and compares those
that agree in them (locality-sensitive hashing: Indyk and Motwani, "Approximate nearest neighbors", STOC 1998). A table
takes its bits from one half of the hash: compression and resizing hardly change the second half (structure), a crop
changes less of the first (colours). So one of the tables brings copies together, nearly always.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]
    Numbers = npt.NDArray[np.int64]

__all__ = ["distances", "near_pairs"]

TABLES: Final = (24, 8)
"""Of each half."""
EXACT_UP_TO: Final = 2_000
MANY: Final = 200_000
BUCKET: Final = 16
BUCKET_OF_MANY: Final = 4
"""About so many hashes agree in the bits of a table: more of them cost time, fewer are found less surely."""
PIECES: Final = 3
WINDOW: Final = 256
"""In its table, a hash is compared with so many that follow it."""
PARTNERS: Final = 32
"""Pairs of which both have so many partners already are dropped: of a thousand copies, not all pairs are needed."""
FEW: Final = 8
"""If fewer than one in this many hashes has a partner at an offset, those are picked out."""
SEED: Final = 1998


def near_pairs(hashes: Words, most: int) -> Numbers:
    """Pairs of hashes that differ in at most ``most`` bits.

    Args:
        hashes: all different; shape (n, words).
        most: the largest distance.

    Returns:
        Positions of shape (pairs, 2), the smaller one first, sorted.
    """
    count = len(hashes)
    found = np.zeros(0, np.int64)
    if count < 2:
        return found.reshape(0, 2)
    partners = np.zeros(count, np.int32)
    for keys, others in _tables(hashes):
        first, second = _near_in_table(hashes, keys, others, most)
        wanted = (partners[first] < PARTNERS) | (partners[second] < PARTNERS)
        pairs = np.minimum(first, second)[wanted] * count + np.maximum(first, second)[wanted]
        new = np.setdiff1d(pairs, found)
        partners += np.bincount(new // count, minlength=count).astype(np.int32)
        partners += np.bincount(new % count, minlength=count).astype(np.int32)
        found = np.union1d(found, new)
    return np.stack([found // count, found % count], axis=1)


def distances(first: Words, second: Words) -> npt.NDArray[np.int64]:
    """Numbers of differing bits, row by row; shape (n,)."""
    found: npt.NDArray[np.int64] = np.bitwise_count(first ^ second).sum(axis=1, dtype=np.int64)
    return found


def _tables(hashes: Words) -> Iterator[tuple[npt.NDArray[np.uint32], slice]]:
    """Yield a key for each hash, table by table; those that are to be compared have the same key.

    With the keys comes the half of the hash that they are not taken from: it tells most of the others apart.
    """
    count, half = len(hashes), hashes.shape[1] // 2
    if count <= EXACT_UP_TO:
        yield np.zeros(count, np.uint32), slice(half)
        return
    generator = np.random.Generator(np.random.PCG64(SEED))
    key_bits = round(math.log2(count / (BUCKET_OF_MANY if count > MANY else BUCKET)))
    columns = [hashes[:, word].copy() for word in range(hashes.shape[1])]
    parts = (columns[:half], slice(half, None)), (columns[half:], slice(half))
    for tables, (part, others) in zip(TABLES, parts, strict=True):
        for _ in range(tables):
            yield _keys(part, key_bits, generator), others


def _keys(columns: list[Words], key_bits: int, generator: np.random.Generator) -> npt.NDArray[np.uint32]:
    """Some bits of each hash: PIECES runs of bits from random places, which takes less time than single bits."""
    keys = np.zeros(len(columns[0]), np.uint32)
    for number in range(PIECES):
        width = key_bits * (number + 1) // PIECES - key_bits * number // PIECES
        column = columns[int(generator.integers(len(columns)))]
        shift = np.uint64(generator.integers(64 - width + 1))
        mask = np.uint64((1 << width) - 1)
        keys = keys << np.uint32(width) | ((column >> shift) & mask).astype(np.uint32)
    return keys


def _near_in_table(hashes: Words, keys: npt.NDArray[np.uint32], others: slice, most: int) -> tuple[Numbers, Numbers]:
    """Positions of near pairs that have the same key."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    words = np.ascontiguousarray(hashes[order, others].T)
    first: list[Numbers] = [np.zeros(0, np.int64)]
    second: list[Numbers] = [np.zeros(0, np.int64)]
    places: Numbers | None = None  # as long as most hashes have a partner at the offset, none is picked out
    for offset in range(1, min(len(keys) - 1, len(keys) if len(keys) <= EXACT_UP_TO else WINDOW) + 1):
        if places is None:
            same = keys[:-offset] == keys[offset:]
            close = np.flatnonzero(same & (_differing(words[:, :-offset], words[:, offset:]) <= most))
            if np.count_nonzero(same) * FEW < len(keys):
                places = np.flatnonzero(same)
        else:
            # A run of equal keys that is too short for an offset is too short for the next.
            places = places[: np.searchsorted(places, len(keys) - offset)]
            places = places[keys[places] == keys[places + offset]]
            close = places[_differing(words[:, places], words[:, places + offset]) <= most]
        if places is not None and not len(places):
            break
        one, other = order[close], order[close + offset]
        near = distances(hashes[one], hashes[other]) <= most
        first.append(one[near])
        second.append(other[near])
    return np.concatenate(first), np.concatenate(second)


def _differing(first: Words, second: Words) -> npt.NDArray[np.uint8]:
    """Numbers of differing bits, column by column; shape (n,)."""
    count: npt.NDArray[np.uint8] = np.bitwise_count(first[0] ^ second[0])
    for word in range(1, len(first)):
        count += np.bitwise_count(first[word] ^ second[word])
    return count
