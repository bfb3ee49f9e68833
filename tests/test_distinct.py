"""Sets of numbers are those of NumPy's own functions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.distinct import distinct, is_among, places_of

numbers = st.lists(st.integers(0, 2**62) | st.integers(0, 9), max_size=30).map(lambda some: np.array(some, np.int64))


@given(one=numbers, other=numbers)
def test_numbers_of_several_arrays_come_once_and_ascend(one: np.ndarray, other: np.ndarray) -> None:
    assert distinct(one, other).tolist() == np.unique(np.concatenate([one, other])).tolist()
    assert distinct(one).tolist() == np.unique(one).tolist()


@given(values=numbers)
def test_places_are_those_of_the_first(values: np.ndarray) -> None:
    expected = np.unique(values, return_index=True, return_inverse=True)
    for one, other in zip(places_of(values), expected, strict=True):
        assert one.tolist() == other.tolist()


@given(values=numbers, others=numbers)
def test_what_is_among_others(values: np.ndarray, others: np.ndarray) -> None:
    assert is_among(values, np.sort(others)).tolist() == np.isin(values, others).tolist()
