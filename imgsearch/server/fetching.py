"""Reading the pictures of an import before they are given to a writer, so that requests never wait for a download."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InputError
from imgsearch.types import AddPicture, Content

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgsearch.instance import Instance
    from imgsearch.types import Operation

__all__ = ["DOWNLOADS", "fetched"]

DOWNLOADS: Final = 8
"""Pictures that are read at once, and in memory for it."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A picture that has been read, or could not be."""

    version: bytes | None
    reading: Future[Content]

    def token(self) -> bytes | None:
        return self.version

    def read(self, max_bytes: int) -> Content:  # noqa: ARG002  # the reading has kept to it
        return self.reading.result()


def fetched(operations: Iterable[Operation], instance: Instance) -> Iterator[Operation]:
    """The same operations in the same order, each when its picture has been read; unchanged pictures are not read.

    Raises:
        ImgsearchError: of the operations, or of a picture if it is not the picture's own.
    """
    waiting: deque[tuple[Operation, Future[Content] | None]] = deque()
    threads = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="imgsearch-fetch")
    try:
        for operation in operations:
            waiting.append(_begun(operation, instance, threads))
            if len(waiting) >= DOWNLOADS:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        threads.shutdown(cancel_futures=True)


def _begun(
    operation: Operation, instance: Instance, threads: ThreadPoolExecutor
) -> tuple[Operation, Future[Content] | None]:
    if not isinstance(operation, AddPicture):
        return operation, None
    picture, token = operation.picture, operation.picture.token()
    stored = instance.find(operation.key)
    if stored is not None and token is not None and stored.token == token:
        return operation, None
    reading = threads.submit(picture.read, instance.limits.max_bytes)
    return replace(operation, picture=_Read(token, reading)), reading


def _finished(operation: Operation, reading: Future[Content] | None) -> Operation:
    """Wait for the picture.

    Raises:
        ImgsearchError: it would end all other work of the writer, too.
    """
    error = None if reading is None else reading.exception()
    if error is not None and not isinstance(error, InputError):
        raise error
    return operation
