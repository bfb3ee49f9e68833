"""Ids come back as they were given, in the form that takes less memory, which FAISS takes as it is."""

from __future__ import annotations

import faiss
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from imgsearch.listed_ids import ListedIds


@given(st.sets(st.integers(0, 5_000) | st.integers(0, 2**40), max_size=300))
@example(set())
@example({0})
@example(set(range(0, 32 * 50, 32)))
@example(set(range(0, 33 * 50, 33)))
@example({2**32 - 1})
@example({2**32})
def test_any_ids(ids: set[int]) -> None:
    """Of each number, from 0 on; a bit for each up to the highest, or four or eight bytes for each."""
    given_ids = np.array(sorted(ids), np.int64)
    listed = ListedIds(given_ids)
    assert (listed.ids().dtype, listed.ids().tolist(), len(listed)) == (np.int64, sorted(ids), len(ids))
    highest = max(ids, default=0)
    width = 4 if highest < 2**32 else 8
    assert listed.nbytes <= min(width * len(ids), highest // 8 + 1)
    assert (listed.bits is None) == (highest // 8 >= width * len(ids))


def test_bits_are_those_of_faiss() -> None:
    ids = np.array([0, 1, 7, 8, 30, 31, 63])
    listed = ListedIds(ids)
    assert listed.bits is not None
    selector = faiss.IDSelectorBitmap(listed.bits)
    assert [number for number in range(80) if selector.is_member(number)] == ids.tolist()
