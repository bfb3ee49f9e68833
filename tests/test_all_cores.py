"""Calculating on all cores: in order, each piece in one thread."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING

import faiss
import numpy as np
import pytest

from imgsearch import all_cores as module
from imgsearch import own_process
from imgsearch.all_cores import all_cores

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cores, and a single-threaded BLAS."""
    monkeypatch.setenv(own_process.THREADS_OF_BLAS, "1")
    monkeypatch.setattr(module, "available_cores", lambda: 3)


def test_results_come_in_the_order_of_the_pieces_few_of_which_are_taken_ahead() -> None:
    taken = []

    def pieces() -> Iterator[int]:
        for piece in range(50):
            taken.append((piece, get_ident()))
            yield piece

    with all_cores() as mapped:
        for expected, result in enumerate(mapped(lambda piece: (piece * piece, get_ident()), pieces())):
            assert result[0] == expected**2
            assert result[1] != get_ident(), "it is calculated elsewhere"
            assert len(taken) <= expected + 4
    assert {thread for _, thread in taken} == {get_ident()}, "what reads a database stays in its thread"
    assert expected == 49


def test_each_thread_begins_with_what_it_is_told() -> None:
    """FAISS can be kept from starting threads there, and only there."""
    before = faiss.omp_get_max_threads()
    with all_cores(lambda: faiss.omp_set_num_threads(1)) as mapped:
        assert list(mapped(lambda _: faiss.omp_get_max_threads(), range(4))) == [1] * 4
    assert faiss.omp_get_max_threads() == before


def test_without_pieces_there_is_no_result() -> None:
    with all_cores() as mapped:
        assert list(mapped(np.sum, [])) == []


def test_an_error_is_raised_in_the_place_of_its_result() -> None:
    def inverse(piece: int) -> float:
        return 1 / piece

    results = []

    def calculate() -> None:
        with all_cores() as mapped:
            for pieces in ([1, 2], [4, 0, 5]):
                for result in mapped(inverse, pieces):
                    results.append(result)  # noqa: PERF402

    with pytest.raises(ZeroDivisionError):
        calculate()
    assert results == [1, 0.5, 0.25]


def test_where_blas_has_threads_pieces_run_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(own_process.THREADS_OF_BLAS)
    with all_cores() as mapped:
        assert list(mapped(lambda _: get_ident(), range(4))) == [get_ident()] * 4
