"""Streams of work: a bounded number of pieces is under way, they come in order, and none is lost at the end."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeVar

from imgsearch.errors import ImgsearchError, InputError, InvalidModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

__all__ = ["in_groups", "until_it_fails"]

T = TypeVar("T")


def until_it_fails(source: Iterable[T], end: list[ImgsearchError]) -> Iterator[T]:
    """The pieces up to a failure of the source itself, which is put into ``end`` to be raised when they are done."""
    try:
        yield from source
    except ImgsearchError as error:
        end.append(error)


def in_groups(futures: Iterable[Future[T]], ahead: int, most: int) -> Iterator[list[T | InputError]]:
    """Results in their order, or why a picture cannot be used, with each those behind it that are at hand as well.

    What the source of the futures raises comes when all before it are done.

    Args:
        futures: taken no further ahead than needed.
        ahead: how many may be under way.
        most: results in a group.

    Raises:
        InvalidModel, StampMismatch
    """
    end: list[ImgsearchError] = []
    waiting: deque[Future[T]] = deque()
    for future in until_it_fails(futures, end):
        waiting.append(future)
        if len(waiting) > ahead:
            yield _group(waiting, most)
    while waiting:
        yield _group(waiting, most)
    if end:
        raise end[0]


def _group(waiting: deque[Future[T]], most: int) -> list[T | InputError]:
    results: list[T | InputError] = []
    while not results or (waiting and len(results) < most and waiting[0].done()):
        try:
            results.append(waiting.popleft().result())
        except InvalidModel:  # no picture's fault
            raise
        except InputError as error:
            results.append(error)
    return results
