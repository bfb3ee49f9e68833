"""Near pairs of hashes: all that are near, none that is not, whatever their number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.search.near_hashes import distances, near_pairs

MOST = 58


def random_hashes(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 4), dtype=np.uint64, endpoint=False)


def flipped(one: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """A hash with so many bits changed."""
    bits = np.zeros(256, np.uint8)
    bits[generator.choice(256, count, replace=False)] = 1
    return one ^ np.packbits(bits).view(np.uint64)


def cropped(one: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A hash with as many bits changed as a crop changes: fewer in the first half."""
    bits = np.zeros(256, np.uint8)
    bits[generator.choice(128, int(generator.integers(1, 14)), replace=False)] = 1
    bits[128 + generator.choice(128, int(generator.integers(30)), replace=False)] = 1
    return one ^ np.packbits(bits).view(np.uint64)


def by_brute_force(hashes: np.ndarray) -> list[list[int]]:
    first, second = np.triu_indices(len(hashes), 1)
    near = distances(hashes[first], hashes[second]) <= MOST
    return np.stack([first[near], second[near]], axis=1).tolist()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 300), st.integers(0, 10_000))
def test_near_pairs_are_those_of_brute_force(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    hashes = random_hashes(count, seed)
    for place in range(1, count, 3):
        hashes[place] = flipped(hashes[int(generator.integers(place))], int(generator.integers(1, 90)), generator)
    hashes = np.unique(hashes, axis=0)
    assert near_pairs(hashes, MOST).tolist() == by_brute_force(hashes)


@pytest.mark.extended
def test_many_are_found_among_many() -> None:
    generator = np.random.default_rng(0)
    hashes = random_hashes(50_000, 1)
    planted = [(number, 49_999 - number) for number in range(500)]
    for number, place in planted:
        hashes[place] = cropped(hashes[number], generator)
    found = set(map(tuple, near_pairs(hashes, MOST).tolist()))
    assert len(found & set(planted)) >= 498
    assert len(found) <= 502


@pytest.mark.parametrize("count", [0, 1])
def test_few_have_no_pairs(count: int) -> None:
    assert near_pairs(random_hashes(count, 0), MOST).shape == (0, 2)


@pytest.mark.extended
def test_a_crowd_of_copies_costs_no_square_of_pairs() -> None:
    """Two and a half thousand copies of one picture have three million pairs."""
    generator = np.random.default_rng(0)
    (one,) = random_hashes(1, 0)
    hashes = np.unique(np.stack([flipped(one, 6, generator) for _ in range(2_500)]), axis=0)
    pairs = near_pairs(hashes, MOST)
    assert len(pairs) < 750_000
    assert np.unique(pairs).tolist() == list(range(len(hashes)))
