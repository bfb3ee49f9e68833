"""Ordered results of futures, with a bounded number in progress; none is lost if the source fails."""

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
    """Yield from a source until it fails; its error is put into ``end``, to be raised after all results."""
    try:
        yield from source
    except ImgsearchError as error:
        end.append(error)


def in_groups(futures: Iterable[Future[T]], ahead: int, most: int) -> Iterator[list[T | InputError]]:
    """Yield results in order (or errors of single pictures), in groups of those already done.

    An error of the source of the futures is raised after all results before it.

    Args:
        futures: taken no further ahead than needed.
        ahead: maximum number in progress.
        most: maximum number of results per group.

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
        except InvalidModel:  # not an error of one picture
            raise
        except InputError as error:
            results.append(error)
    return results
