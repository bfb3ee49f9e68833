"""Streams of work: in order, in groups of what is at hand, bounded, and with nothing lost at the end."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import EmptyPicture, InputError, InvalidManifest, InvalidModel
from imgsearch.ordered_futures import in_groups, until_it_fails


def done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return future


@given(
    results=st.lists(st.one_of(st.integers(), st.just(EmptyPicture("the file is empty"))), max_size=30),
    ahead=st.integers(0, 7),
    most=st.integers(1, 5),
)
def test_all_results_come_in_order(results: list[Any], ahead: int, most: int) -> None:
    groups = list(in_groups(map(done, results), ahead, most))
    assert [one for group in groups for one in group] == results
    assert all(0 < len(group) <= most for group in groups)


@given(ahead=st.integers(0, 5), count=st.integers(0, 12))
def test_the_source_is_read_no_further_ahead_than_told(ahead: int, count: int) -> None:
    begun = 0

    def source() -> Iterator[Future[int]]:
        nonlocal begun
        for number in range(count):
            begun += 1
            yield done(number)

    given_back = 0
    for group in in_groups(source(), ahead, 3):
        assert begun - given_back <= ahead + 1
        given_back += len(group)
    assert given_back == count


def test_a_group_does_not_wait_for_what_is_not_at_hand() -> None:
    late: Future[int] = Future()
    groups = in_groups(iter([done(0), done(1), late, done(3)]), 3, 10)
    assert next(groups) == [0, 1]
    late.set_result(2)
    assert next(groups) == [2, 3]


def test_what_the_source_raises_comes_after_what_it_gave() -> None:
    def source() -> Iterator[Future[int]]:
        yield done(0)
        yield done(1)
        raise InvalidManifest("cut off")

    groups = in_groups(source(), 5, 1)
    assert [next(groups), next(groups)] == [[0], [1]]
    with pytest.raises(InvalidManifest, match="cut off"):
        next(groups)
    end: list[Any] = []
    assert [future.result() for future in until_it_fails(source(), end)] == [0, 1]
    assert [type(error) for error in end] == [InvalidManifest]


@pytest.mark.parametrize("error", [InvalidModel("no such model"), ZeroDivisionError()], ids=lambda e: type(e).__name__)
def test_what_is_no_pictures_fault_ends_the_stream(error: Exception) -> None:
    groups = in_groups(iter([done(0), done(error), done(2)]), 1, 1)
    assert next(groups) == [0]
    with pytest.raises(type(error)):
        next(groups)
    assert isinstance(InvalidModel(""), InputError)
