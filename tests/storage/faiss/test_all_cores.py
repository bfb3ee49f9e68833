"""Calculating on all cores: in order, each piece in one thread, and nothing is left of that afterwards."""

from __future__ import annotations

from contextlib import ExitStack
from threading import get_ident
from typing import TYPE_CHECKING

import faiss
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from imgsearch import own_process
from imgsearch.storage.faiss import all_cores as module
from imgsearch.storage.faiss.all_cores import all_cores

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three cores in a process of our own, and a BLAS that would use two of them."""
    monkeypatch.setattr(own_process, "_words", [])
    monkeypatch.setattr(module, "available_cores", lambda: 3)
    with threadpool_limits(2, user_api="blas"):
        yield


def blas_threads(_: object = None) -> set[int]:
    """How many threads NumPy's BLAS and FAISS's would use."""
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


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


def test_each_piece_has_one_thread() -> None:
    with all_cores() as mapped:
        assert list(mapped(blas_threads, range(4))) == [{1}] * 4
        assert list(mapped(lambda _: faiss.omp_get_max_threads(), range(4))) == [1] * 4
    assert blas_threads() == {2}


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
    assert blas_threads() == {2}


def test_a_host_program_keeps_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_process, "_words", None)
    with all_cores() as mapped:
        assert list(mapped(blas_threads, range(2))) == [{2}, {2}]


def test_two_at_a_time_leave_the_threads_as_they_were() -> None:
    """Also if the one that began first ends first."""
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(all_cores())
        second.enter_context(all_cores())
        first.close()
        assert blas_threads() == {1}
        second.close()
        assert blas_threads() == {2}
