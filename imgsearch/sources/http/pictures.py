"""Pictures behind links as a source gives them, and asking servers ahead which of them have not changed."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imgsearch.errors import ImgsearchError, PictureTooLarge
from imgsearch.types import AddPicture, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imgsearch.sources.http.fetcher import Fetcher, Head
    from imgsearch.sources.http.link import Link
    from imgsearch.types import Content, Operation
    from imgsearch.values import Key

__all__ = ["HttpPicture", "looked_up", "with_tokens"]

AHEAD_PER_THREAD: Final = 4


@dataclass(slots=True)
class HttpPicture:
    """A picture behind a link."""

    fetcher: Fetcher
    link: Link
    asked: bytes | None = None
    """Its token according to the server, if it was asked."""

    def token(self) -> bytes | None:
        """The token of its current version; None if the server was not asked, or does not tell."""
        return self.asked

    def read(self, max_bytes: int) -> Content:
        """Download it into memory.

        Raises:
            PictureTooLarge, UnreadableSource
        """
        return self.fetcher.picture(self.link, max_bytes)


def with_tokens(operations: Iterable[Operation], is_stored: Callable[[Key], bool], threads: int) -> Iterator[Operation]:
    """The same operations; of pictures that are stored, the server is asked whether they have changed.

    Servers are asked side by side, a few operations ahead.
    """
    for operation, head in _asked(operations, is_stored, threads):
        if isinstance(head, ImgsearchError) or head is None:
            yield operation  # reading it will tell more
        else:
            _picture(operation).asked = head.token
            yield operation


def looked_up(operations: Iterable[Operation], threads: int, max_bytes: int) -> Iterator[Operation]:
    """The operations for a dry run: what servers say is missing or too large is refused; reads no picture."""
    for operation, head in _asked(operations, lambda _key: True, threads):
        if head is None or not isinstance(operation, AddPicture):
            yield operation
            continue
        error = head if isinstance(head, ImgsearchError) else None
        if error is None and not isinstance(head, ImgsearchError):
            _picture(operation).asked = head.token
            if head.size is not None and head.size >= max_bytes:
                error = PictureTooLarge.of(head.size, max_bytes)
        if error is None:
            yield operation
        else:
            yield Refused(operation.source, error, operation.key.product_id, operation.key.pic_name)


def _picture(operation: Operation) -> HttpPicture:
    assert isinstance(operation, AddPicture)
    assert isinstance(operation.picture, HttpPicture)
    return operation.picture


def _asked(
    operations: Iterable[Operation], is_wanted: Callable[[Key], bool], threads: int
) -> Iterator[tuple[Operation, Head | ImgsearchError | None]]:
    """Yield operations in order, with what a server says; None: it was not asked, or says nothing."""
    waiting: deque[tuple[Operation, Future[Head | None] | None]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="imgsearch-ask") as pool:
        try:
            for operation in operations:
                future = None
                if isinstance(operation, AddPicture) and isinstance(operation.picture, HttpPicture):
                    picture = operation.picture
                    if is_wanted(operation.key):
                        future = pool.submit(picture.fetcher.head, picture.link)
                waiting.append((operation, future))
                while waiting and _is_ready(waiting[0][1], len(waiting) > AHEAD_PER_THREAD * threads):
                    yield _answer(*waiting.popleft())
            while waiting:
                yield _answer(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _is_ready(future: Future[Head | None] | None, is_full: bool) -> bool:
    return future is None or is_full or future.done()


def _answer(operation: Operation, future: Future[Head | None] | None) -> tuple[Operation, Head | ImgsearchError | None]:
    try:
        return operation, None if future is None else future.result()
    except ImgsearchError as error:
        return operation, error
