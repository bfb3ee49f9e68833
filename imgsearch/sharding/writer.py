"""Continuous writing to several shards: each has its writer, and all share the networks."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import ExitStack
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from imgsearch.errors import UsageError
from imgsearch.jobs.deleting import Deletion
from imgsearch.jobs.writer import Writer
from imgsearch.shards import shard_of
from imgsearch.types import AddPicture, DeletePictures, Refused
from imgsearch.values import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from imgsearch.opened import Opened
    from imgsearch.types import Operation, Outcome
    from imgsearch.vision.pipeline import Pipeline

__all__ = ["ShardedWriter"]

Result = TypeVar("Result")


class _ShardWriter(Writer):
    """Writes to one shard, with the networks of all."""

    def __init__(self, opened: Opened, whole: Opened, **options: Any) -> None:
        self._whole = whole
        super().__init__(opened, **options)

    def _pipeline_of(self) -> Pipeline:
        return self._whole.shared_pipeline()


class ShardedWriter(Writer):
    """What ``Writer`` is for one instance. It has no queue and no thread of its own: those are the shards'.

    Operations on one product are executed in the order of submission; those of different shards are not ordered.

    Args:
        opened: all shards as one.
        shards: the same, each by itself, in order.
        lock_timeout: seconds to wait for another writer of a shard.
    """

    def __init__(self, opened: Opened, shards: Sequence[Opened], *, lock_timeout: float = 0.0) -> None:
        self._opened = opened
        self._writers = [_ShardWriter(shard, opened, lock_timeout=lock_timeout) for shard in shards]

    def submit(self, operation: Operation) -> Future[Outcome]:
        """Queue an operation with the shard of its product; see ``Writer.submit``."""
        if isinstance(operation, AddPicture):
            return self._of(operation.key.product_id).submit(operation)
        if isinstance(operation, DeletePictures | Refused):
            return self._of(operation.product_id or "").submit(operation)
        raise UsageError(f"{type(operation).__name__} is not an operation: pass an AddPicture or a DeletePictures")

    def _of(self, product_id: str) -> Writer:
        return self._writers[shard_of(product_id, len(self._writers))]

    def delete_matching(self, expression: str) -> Future[Deletion]:
        """Submit the deletion of all items that a filter selects, in one commit of each shard.

        If a shard fails, its error is raised, and the others have deleted theirs: submit it again.

        Raises:
            InvalidFilter, UsageError
        """
        futures = [writer.delete_matching(expression) for writer in self._writers]
        return _joined(futures, lambda done: Deletion(sorted(key for one in done for key in one.keys)))

    def update(
        self,
        filter: str | None = None,  # noqa: A002  # its name in SearchOptions
        *,
        product_id: str | None = None,
        pic_name: str | None = None,
        attributes: Mapping[str, int | str | None] | None = None,
        category: int | str | None = None,
    ) -> Future[list[Key]]:
        """Submit changes of stored items, in one commit of each shard; else as ``Writer.update``."""
        if product_id is not None:
            Key(product_id, "any")  # refuses what no product can be called
            return self._of(product_id).update(
                filter, product_id=product_id, pic_name=pic_name, attributes=attributes, category=category
            )
        futures = [
            writer.update(filter, pic_name=pic_name, attributes=attributes, category=category)
            for writer in self._writers
        ]
        return _joined(futures, lambda done: [key for keys in done for key in keys])

    @property
    def pending(self) -> int:
        """How many submitted operations have no outcome yet; one for all shards counts once for each."""
        return sum(writer.pending for writer in self._writers)

    def flush(self) -> None:
        """Wait until all submitted operations are committed, in all shards; raises the errors of ``Writer.flush``."""
        with ExitStack() as stack:  # all of them, whatever one raises
            for writer in reversed(self._writers):
                stack.callback(writer.flush)

    def close(self) -> None:
        """Finish submitted operations and accept no more; raises the errors of ``flush``."""
        with ExitStack() as stack:
            for writer in reversed(self._writers):
                stack.callback(writer.close)


def _joined(futures: Sequence[Future[Result]], join: Callable[[list[Result]], Result]) -> Future[Result]:
    """One future for the results of all; it has the first error, when all are done."""
    whole: Future[Result] = Future()
    whole.set_running_or_notify_cancel()
    lock, left = Lock(), len(futures)

    def done(_future: Future[Result]) -> None:
        nonlocal left
        with lock:
            left -= 1
            if left:
                return
        try:
            whole.set_result(join([future.result() for future in futures]))
        except BaseException as error:  # raised by the future
            whole.set_exception(error)

    for future in futures:
        future.add_done_callback(done)
    return whole
