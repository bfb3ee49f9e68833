"""Continuous writing: operations from any thread, each with a future for its outcome.

One thread executes them in order, with the batches of ``indexing``. The writer lock is held while there is work and
released after a short idle time, so that other processes can write in between.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from imgsearch.errors import ImgsearchError, UsageError
from imgsearch.filters.parser import parse_filter
from imgsearch.jobs.applying import bring_index_up_to_date
from imgsearch.jobs.deleting import deleted
from imgsearch.jobs.indexing import COMMIT_SECONDS, IndexingRun
from imgsearch.jobs.recalling import Recall
from imgsearch.jobs.updating import changes_of, selected, updated
from imgsearch.jobs.upkeep import refresh_if_due
from imgsearch.pictures import addition
from imgsearch.types import AddPicture, DeletePictures, Outcome, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from imgsearch.jobs.deleting import Deletion
    from imgsearch.opened import Opened
    from imgsearch.pictures import PictureLike
    from imgsearch.storage.port import Storage
    from imgsearch.types import Operation
    from imgsearch.values import Attributes, Key, Region
    from imgsearch.vision.pipeline import Pipeline

__all__ = ["Writer"]

GATHER_SECONDS: Final = 0.02
"""After this time without new operations, finished work is committed."""
IDLE_SECONDS: Final = 0.1
"""After this idle time, the lock is released. It is longer than the pause of a caller that awaits each outcome before
it submits the next operation: reopening the instance each time would cost more than the commit."""
MAX_WAITING: Final = 256
"""Maximum length of the queue, which includes pictures in memory; beyond it, ``submit`` blocks."""
INDEX_CHECK_ITEMS: Final = 5_000
"""A writer that is never idle checks after this many items whether the index is due."""


@dataclass(frozen=True, slots=True)
class _Job:
    """Work on the locked instance other than an operation."""

    run: Callable[[Storage], Any]


_Submitted: TypeAlias = "tuple[Operation | _Job, Future[Any]]"
_Ticket: TypeAlias = "tuple[Future[Outcome], DeletePictures | None]"
_Run: TypeAlias = "IndexingRun[_Ticket]"


class Writer:
    """Adds and deletes pictures as long as a program runs; thread-safe.

    Operations are executed in the order of submission. Once a future has its result, the change is committed: on disk,
    and visible to searches. An unusable picture gives an outcome with the status ``failed``. Errors of the instance or
    the storage are raised by the futures concerned; later operations are tried again.

    Use as a context manager, or call ``close``. Without that, operations whose outcome the program has not seen may be
    lost at exit.

    Args:
        opened: the instance.
        workers: pictures processed at once; None: three per core, more with a device other than the CPU.
        device: that runs the networks.
        lock_timeout: seconds to wait for another writer, whenever there is work.

    Raises:
        UsageError, DeviceUnusable: the device does not exist or cannot be used.
    """

    def __init__(
        self, opened: Opened, *, workers: int | None = None, device: str = "cpu", lock_timeout: float = 0.0
    ) -> None:
        self._opened = opened
        self._label = opened.usable(device).label
        self._options: dict[str, Any] = {"workers": workers, "device": device}
        self._lock_timeout = lock_timeout
        self._state = threading.Condition()
        """Guards the following attributes, and notifies of their changes."""
        self._waiting: deque[_Submitted] = deque()
        self._submitted = 0
        self._resolved = 0
        self._hurries = 0
        """Number of callers that wait for everything to be committed."""
        self._holds_lock = False
        self._closed = False
        self._failure: Exception | None = None
        """An error that no future could report."""
        self._pipelines = ExitStack()
        self._pipeline: Pipeline | None = None
        self._made_by: dict[str, Any] | None = None
        self._thread = threading.Thread(target=self._work, name="imgsearch-writer", daemon=True)
        self._thread.start()

    # Called by users

    def submit(self, operation: Operation) -> Future[Outcome]:
        """Queue an operation; blocks while the queue is full.

        Returns:
            A future for its outcome, which can be cancelled until execution starts. A deletion has one outcome, with
            the status ``deleted``, the number of deleted pictures as its ``count``, and their ``keys``.

        Raises:
            UsageError: the writer is closed, or this is not an operation.
        """
        if not isinstance(operation, AddPicture | DeletePictures | Refused):
            raise UsageError(f"{type(operation).__name__} is not an operation: pass an AddPicture or a DeletePictures")
        return self._queue(operation)

    def _queue(self, work: Operation | _Job) -> Future[Any]:
        future: Future[Any] = Future()
        with self._state:
            # Callbacks of futures run in the writer's thread, which would wait for itself.
            while (
                len(self._waiting) >= MAX_WAITING
                and not self._closed
                and threading.current_thread() is not self._thread
            ):
                self._state.wait()
            if self._closed:
                raise UsageError("the writer is closed: open another one with Instance.indexing")
            self._waiting.append((work, future))
            self._submitted += 1
            self._state.notify_all()
        return future

    def add(
        self,
        picture: PictureLike,
        product_id: str,
        pic_name: str | None = None,
        *,
        category: int | str | None = None,
        crop: bool = True,
        region: Region | None = None,
        attributes: Attributes | None = None,
    ) -> Future[Outcome]:
        """Submit the addition of a picture; arguments are those of ``Instance.add``.

        Raises:
            InvalidValue, InvalidCategory, InvalidRegion, PictureError, UnreadableSource: nothing is submitted.
            UsageError: the writer is closed.
        """
        return self.submit(
            addition(
                picture,
                product_id,
                pic_name,
                category=category,
                crop=crop,
                region=region,
                attributes=attributes,
                max_bytes=self._opened.limits.max_bytes,
            )
        )

    def delete(self, product_id: str, pic_name: str | None = None) -> Future[Outcome]:
        """Submit the deletion of one picture of a product, or of all.

        Raises:
            InvalidValue, UsageError
        """
        name = product_id if pic_name is None else f"{product_id} {pic_name}"
        return self.submit(DeletePictures(name, product_id, pic_name))

    def delete_matching(self, expression: str) -> Future[Deletion]:
        """Submit the deletion of all items that a filter selects, in one commit; its future has their keys.

        Raises:
            InvalidFilter, UsageError
        """
        condition = parse_filter(expression)
        return self._queue(_Job(lambda engine: deleted(engine, condition)))

    def update(
        self,
        filter: str | None = None,  # noqa: A002  # its name in SearchOptions
        *,
        product_id: str | None = None,
        pic_name: str | None = None,
        attributes: Mapping[str, int | str | None] | None = None,
        category: int | str | None = None,
    ) -> Future[list[Key]]:
        """Submit changes of stored items, in one commit; arguments and errors are those of ``Instance.update``."""
        changes = changes_of(self._opened, attributes, category)
        condition = selected(self._opened, filter, product_id, pic_name)
        return self._queue(_Job(lambda engine: updated(engine, condition, changes)))

    @property
    def pending(self) -> int:
        """How many submitted operations have no outcome yet."""
        with self._state:
            return self._submitted - self._resolved

    def flush(self) -> None:
        """Wait until all submitted operations are committed, and the lock is released unless others submit more.

        Raises:
            ImgsearchError: an error that no future could report: the index could not be brought up to date.
            UsageError: called from a callback of a future, which would deadlock.
        """
        if threading.current_thread() is self._thread:
            raise UsageError("a callback of a future cannot wait for the writer that calls it")
        with self._state:
            mine = self._submitted
            self._hurries += 1
            self._state.notify_all()
            try:
                while self._resolved < mine or (self._holds_lock and self._resolved == self._submitted):
                    self._state.wait()
            finally:
                self._hurries -= 1
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Finish submitted operations and accept no more; raises the errors of ``flush``."""
        with self._state:
            self._closed = True
            self._state.notify_all()
        try:
            self.flush()
        finally:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # Run by the thread

    def _work(self) -> None:
        with self._pipelines:
            while self._has_work():
                try:
                    self._write()
                except BaseException as error:  # raised by the futures
                    self._fail_waiting(error)

    def _has_work(self) -> bool:
        """Wait for work; False if closed and idle."""
        with self._state:
            while not self._waiting and not self._closed:
                self._state.wait()
            return bool(self._waiting)

    def _write(self) -> None:
        """Take the lock and work until idle.

        Raises:
            ImgsearchError: the lock or the instance is not available.
        """
        with self._holding_lock(), self._opened.writing(self._lock_timeout) as engine:
            run: _Run = IndexingRun(
                engine,
                self._pipeline_of(),
                self._opened.kind,
                self._label,
                self._wake,
                recall=Recall(self._opened),
            )
            if self._execute(engine, run):
                try:
                    bring_index_up_to_date(engine)
                except ImgsearchError as error:  # all is committed, and searches scan unindexed items
                    self._failure = error

    @contextmanager
    def _holding_lock(self) -> Iterator[None]:
        with self._state:
            self._holds_lock = True
        try:
            yield
        finally:
            with self._state:
                self._holds_lock = False
                self._state.notify_all()

    def _pipeline_of(self) -> Pipeline:
        """The pipeline with this instance's networks, loaded once unless a reindex changes the model."""
        if self._pipeline is None or self._made_by != self._opened.made_by:
            self._pipelines.close()
            self._made_by = self._opened.made_by
            self._pipeline = self._pipelines.enter_context(self._opened.pipeline(**self._options))
        return self._pipeline

    def _execute(self, engine: Storage, run: _Run) -> bool:
        """Execute operations until idle; False after an error, which fails all started ones."""
        committed = 0
        future: Future[Outcome] | None = None
        try:
            while (submitted := self._next(run)) is not None or len(run):
                if submitted is None:
                    committed += self._deliver(run.commit_finished())
                else:
                    operation, future = submitted
                    if not future.set_running_or_notify_cancel():
                        self._count_resolved()
                        continue
                    if isinstance(operation, _Job):
                        committed += self._deliver(run.commit_all())
                        self._carry_out(operation, future, engine)
                        continue
                    deletion = operation if isinstance(operation, DeletePictures) else None
                    committed += self._deliver(run.begin(operation, (future, deletion)))
                if committed >= INDEX_CHECK_ITEMS:
                    committed = 0
                    refresh_if_due(engine)
        except BaseException as error:  # raised by the futures
            begun = [ticket[0] for ticket in run.abandon()]
            if future is not None and future not in begun and not future.done():
                begun.append(future)  # not started yet: an operation on the same key failed
            self._fail(begun, error)
            return False
        return True

    def _carry_out(self, job: _Job, future: Future[Any], engine: Storage) -> None:
        """Run a job; its error is its own, as its commit was undone."""
        try:
            result = job.run(engine)
        except Exception as error:  # raised by the future
            self._fail([future], error)
        else:
            self._resolve(future, result)

    def _next(self, run: _Run) -> _Submitted | None:
        """The next operation; None if finished work should be committed, or when idle."""
        deadline = time.monotonic() + (GATHER_SECONDS if len(run) else IDLE_SECONDS)
        with self._state:
            while not self._waiting:
                left = deadline - time.monotonic()
                is_quiet = left <= 0 or self._hurries > 0 or self._closed
                ready = run.count_finished()
                # Wait for pictures still being extracted, unless that takes long.
                if is_quiet and (ready == len(run) or (ready and run.is_commit_due())):
                    return None
                self._state.wait(COMMIT_SECONDS if is_quiet else left)
            submitted = self._waiting.popleft()
            self._state.notify_all()
        return submitted

    def _wake(self) -> None:
        with self._state:
            self._state.notify_all()

    def _deliver(self, finished: Iterable[tuple[_Ticket, list[Outcome]]]) -> int:
        """Resolve futures with their outcomes; return their number."""
        count = 0
        for (future, deletion), outcomes in finished:
            count += 1  # before the iterator can raise
            if deletion is None:
                (outcome,) = outcomes
            else:
                outcome = deletion.outcome(tuple(one.key for one in outcomes))
            self._resolve(future, outcome)
        return count

    def _resolve(self, future: Future[Any], result: object) -> None:
        with suppress(BaseException):  # an error of a callback must not affect others
            future.set_result(result)
        self._count_resolved()

    def _fail(self, futures: Iterable[Future[Outcome]], error: BaseException) -> None:
        for future in futures:
            with suppress(BaseException):
                future.set_exception(error)
            self._count_resolved()

    def _fail_waiting(self, error: BaseException) -> None:
        with self._state:
            waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            future.set_running_or_notify_cancel()
        self._fail((future for _, future in waiting), error)

    def _count_resolved(self) -> None:
        with self._state:
            self._resolved += 1
            self._state.notify_all()
