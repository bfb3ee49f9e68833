"""The spool: what is put in by item comes out by list, and is not in memory all at once."""

from __future__ import annotations

import os
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.storage.faiss import spool
from imgsearch.storage.faiss.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path

CODE_SIZE = 5
MEBIBYTE = 1 << 20


def codes_of(ids: list[int]) -> np.ndarray:
    """A code for each id that no other has."""
    return np.array([list(number.to_bytes(CODE_SIZE, "big")) for number in ids], np.uint8).reshape(-1, CODE_SIZE)


@given(
    lists=st.integers(1, 40),
    items=st.lists(st.lists(st.integers(0, 1 << 30), max_size=30), max_size=8),
    bucket=st.integers(1, 400),
)
def test_each_list_has_its_items_in_the_order_of_insertion(
    lists: int, items: list[list[int]], bucket: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    wanted: dict[int, list[int]] = {number: [] for number in range(lists)}
    first = 1
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(spool, "BUCKET_BYTES", bucket)
        with Spool(folder, lists, CODE_SIZE, sum(map(len, items))) as codes:
            for some in items:
                ids, numbers = [*range(first, first + len(some))], [number % lists for number in some]
                first += len(some)
                for number, one in zip(numbers, ids, strict=True):
                    wanted[number].append(one)
                codes.add(np.array(numbers, np.int64), np.array(ids, np.int64), codes_of(ids))
            found = list(codes.lists())
    assert [ids.tolist() for ids, _ in found] == [*wanted.values()]
    for (_, ones), ids in zip(found, wanted.values(), strict=True):
        assert np.array_equal(ones, codes_of(ids))
        assert ones.shape[1] == CODE_SIZE


def test_no_file_has_a_name_while_it_is_used(tmp_path: Path) -> None:
    """So nothing is left of a process that is killed, and nobody else can open it."""
    with Spool(tmp_path, 10, CODE_SIZE, 10_000_000) as codes:
        codes.add(np.arange(10), np.arange(10), codes_of([*range(10)]))
        assert [*tmp_path.iterdir()] == []


def test_files_are_closed_whatever_happens(tmp_path: Path) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    codes = Spool(tmp_path, 1000, CODE_SIZE, 10**9)
    assert opened() == before + spool.MAX_BUCKETS
    with suppress(RuntimeError), codes:
        codes.add(np.arange(10), np.arange(10), codes_of([*range(10)]))
        raise RuntimeError
    assert opened() == before


@pytest.mark.extended
def test_only_a_bucket_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "BUCKET_BYTES", MEBIBYTE)
    count, size, at_once = 400_000, 40, 10_000
    generator = np.random.default_rng(0)
    with Spool(tmp_path, 500, size, count) as codes:
        tracemalloc.start()
        try:
            for start in range(0, count, at_once):
                codes.add(
                    generator.integers(0, 500, at_once),
                    np.arange(start, start + at_once),
                    np.zeros((at_once, size), np.uint8),
                )
            assert sum(len(ids) for ids, _ in codes.lists()) == count
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 6 * MEBIBYTE < count * size / 2
