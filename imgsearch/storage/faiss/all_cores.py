"""Calculating on all cores: each piece in a thread of its own, and with that one alone.

NumPy's BLAS and FAISS have threads too. But these share a single product or search, and wait for each other without
giving up their core, also while the other library calculates: of a rebuild on two cores, this took a quarter.

The number of threads of a BLAS is one of the whole process, so it is changed in imgsearch's own processes only.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from threading import Lock
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
def all_cores() -> Iterator[Mapped]:
    """Have pieces calculated side by side; each in one thread, whatever library it calls.

    In a host program, they are calculated one after the other.

    Yields:
        A function like ``map``. It takes pieces in the calling thread, and few more than are being calculated. An error
        of a piece is raised in its place.
    """
    if not own_process.is_ours():
        yield map
        return
    from concurrent.futures import ThreadPoolExecutor

    import faiss

    count = min(available_cores(), MOST_THREADS)
    with (
        _single_threaded_blas,
        ThreadPoolExecutor(count, "imgsearch-index", initializer=lambda: faiss.omp_set_num_threads(1)) as threads,
    ):

        def mapped(work: Callable[[Piece], Result], pieces: Iterable[Piece], /) -> Iterator[Result]:
            waiting: deque[Future[Result]] = deque()
            for piece in pieces:
                waiting.append(threads.submit(work, piece))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        yield mapped


class _SingleThreadedBlas:
    """BLAS without threads of its own, for as long as anybody needs that: the whole process has one number of them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                from threadpoolctl import threadpool_limits

                self._limits = threadpool_limits(1, user_api="blas")
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limits.restore_original_limits()


_single_threaded_blas: Final = _SingleThreadedBlas()
