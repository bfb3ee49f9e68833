"""Calculating on all cores: pieces run side by side, each in a single thread.

NumPy's BLAS and FAISS have threads too, but these share a single product or search. They busy-wait for each other, even
while the other library calculates: on two cores, this took a quarter of a rebuild.

Where BLAS has threads of its own, pieces run one after another: more threads would only get in each other's way. In
imgsearch's own processes it has none (``own_process``).
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
"""More would wait for data to be read, and take memory."""
Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Mapped(Protocol):
    """``map``, or its counterpart on all cores."""

    def __call__(self, work: Callable[[Piece], Result], pieces: Iterable[Piece], /) -> Iterator[Result]:
        """Yield the result of each piece, in order."""


@contextmanager
def all_cores(begin: Callable[[], None] = lambda: None) -> Iterator[Mapped]:
    """Calculate pieces side by side if BLAS is single-threaded, else one after another.

    Args:
        begin: called first in each thread, to keep a library from starting more of them.

    Yields:
        A function like ``map``. It takes pieces in the calling thread, no more than a few ahead of the results. The
        error of a piece is raised in place of its result.
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
