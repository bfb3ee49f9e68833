"""A set of ids in bits: the same as a set."""

from __future__ import annotations

import random

import numpy as np

from imgsearch.jobs.id_set import IdSet


def test_it_is_a_set() -> None:
    generator = random.Random(1)
    bits, plain = IdSet(), set[int]()
    for _ in range(3000):
        number = generator.randrange(1 << generator.randrange(1, 18))
        match generator.randrange(3):
            case 0:
                bits.add(number)
                plain.add(number)
            case 1:
                assert bits.add_new(number) == (number not in plain)
                plain.add(number)
            case 2:
                bits.discard(number)
                plain.discard(number)
        assert (number in bits) == (number in plain)
    assert bits.ids().tolist() == sorted(plain)
    some = np.array(sorted(generator.sample(range(1 << 19), 500)), np.int64)
    assert bits.without(some).tolist() == [number for number in some.tolist() if number not in plain]
    other = IdSet([1, 2**20])
    other.update(bits)
    assert other.ids().tolist() == sorted(plain | {1, 2**20})
    assert IdSet().ids().tolist() == []
