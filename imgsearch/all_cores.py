"""Calculating on all cores: each piece in a thread of its own, and with that one alone.

NumPy's BLAS and FAISS have threads too. But these share a single product or search, and wait for each other without
giving up their core, also while the other library calculates: of a rebuild on two cores, this took a quarter.

Only where BLAS has no threads, as in imgsearch's own processes (``own_process``): there would be too many of them.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from imgsearch import own_process
from imgsearch.cores import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

__all__ = ["Mapped", "all_cores"]

MOST_THREADS: Final = 8
"""More of them would wait for what is read, and take memory for it."""
Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Mapped(Protocol):
    """``map``, or what does the same on all cores."""

    def __call__(self, work: Callable[[Piece], Result], pieces: Iterable[Piece], /) -> Iterator[Result]:
        """Yield what comes of each piece, in their order."""


@contextmanager
def all_cores(begin: Callable[[], None] = lambda: None) -> Iterator[Mapped]:
    """Have pieces calculated side by side, each in one thread; one after the other where BLAS has threads.

    Args:
        begin: called first in each of the threads, to keep a library from using more of them.

    Yields:
        A function like ``map``. It takes pieces in the calling thread, and few more than are being calculated. An error
        of a piece is raised in its place.
    """
    if not own_process.has_single_threaded_blas():
        yield map
        return
    from concurrent.futures import ThreadPoolExecutor

    count = min(available_cores(), MOST_THREADS)
    with ThreadPoolExecutor(count, "imgsearch-core", begin) as threads:

        def mapped(work: Callable[[Piece], Result], pieces: Iterable[Piece], /) -> Iterator[Result]:
            waiting: deque[Future[Result]] = deque()
            for piece in pieces:
                waiting.append(threads.submit(work, piece))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        yield mapped
