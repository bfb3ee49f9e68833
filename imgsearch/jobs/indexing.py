"""One pass of indexing: read ahead, extract side by side, commit in order."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from imgsearch.errors import ImgsearchError, InputError, InvalidModel
from imgsearch.filters.tree import product_condition
from imgsearch.ordered_futures import until_it_fails
from imgsearch.service.categories import Kind
from imgsearch.types import (
    AddPicture,
    Content,
    DeletePictures,
    Extracted,
    Key,
    Operation,
    Outcome,
    PictureOptions,
    Refused,
    Status,
    Upsert,
)
from imgsearch.vision.devices import CPU_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from imgsearch.storage.engine import Engine
    from imgsearch.storage.sqlite.store import Store
    from imgsearch.types import Item
    from imgsearch.vision.pipeline import Pipeline

__all__ = ["IndexingRun", "devices_of", "is_changed", "is_unchanged", "same_request"]

COMMIT_ITEMS: Final = 256
COMMIT_SECONDS: Final = 1.0
"""A batch is committed when it holds so many items, or when so much time has passed since the last one."""

DEVICES: Final = "devices"
"""The setting that lists what has made features, once that is not the CPU alone."""


@dataclass(slots=True)
class _InFlight:
    """One operation between its reading and its commit."""

    operation: Operation
    item: Item | None = None
    """What was stored under the key when the operation was read."""
    future: Future[Extracted | Content] | None = None
    """None: nothing is extracted, or the token says that the picture is unchanged."""


class IndexingRun:
    """Carries out operations on an engine whose instance is locked for writing.

    Args:
        engine: of the instance.
        pipeline: extracts the pictures.
        kind: of the instance.
        device: what the pipeline makes features with, as its label says.
    """

    def __init__(self, engine: Engine, pipeline: Pipeline, kind: Kind, device: str = CPU_LABEL) -> None:
        self._engine = engine
        self._store = engine.store
        self._tuning = engine.store.tuning()  # nobody else changes it while the instance is locked
        self._pipeline = pipeline
        self._kind = kind
        self._device = device
        self._window: deque[_InFlight] = deque()
        self._unfinished: deque[Future[Extracted | Content]] = deque()
        self._last_commit = time.monotonic()
        self._device_noted = False
        self._keys: set[Key] = set()
        self._products: set[str] = set()
        """Keys under way, and products of which a deletion is under way."""

    def outcomes(self, operations: Iterable[Operation]) -> Iterator[Outcome]:
        """The outcomes, in the order of the operations, each after its commit.

        What a source raises ends the run when all operations that it gave before are committed.
        """
        end: list[ImgsearchError] = []
        for operation in until_it_fails(operations, end):
            if self._collides(operation):
                # What is stored decides whether a picture is unchanged, so an earlier operation on it comes first.
                yield from self._commit(len(self._window))
            self._window.append(self._begin(operation))
            while len(self._unfinished) > self._pipeline.look_ahead:
                wait([self._unfinished.popleft()])
            if len(self._window) >= COMMIT_ITEMS or time.monotonic() - self._last_commit > COMMIT_SECONDS:
                yield from self._commit(self._finished_count())
        yield from self._commit(len(self._window))
        if end:
            raise end[0]

    def _collides(self, operation: Operation) -> bool:
        match operation:
            case AddPicture(key=key):
                return key in self._keys or key.product_id in self._products
            case DeletePictures():
                return bool(self._window)
            case _:
                return False

    def _begin(self, operation: Operation) -> _InFlight:
        match operation:
            case AddPicture():
                return self._begin_add(operation)
            case DeletePictures(product_id=product_id):
                self._products.add(product_id)
        return _InFlight(operation)

    def _begin_add(self, operation: AddPicture) -> _InFlight:
        self._keys.add(operation.key)
        item = self._store.item(operation.key)
        flight = _InFlight(operation, item)
        reusable = item if item is not None and same_request(item, operation.options, self._kind) else None
        if reusable is not None and is_unchanged(reusable, operation):
            return flight
        flight.future = self._pipeline.submit(
            operation.picture,
            operation.options,
            lambda found: reusable is not None and found == reusable.content_hash,
        )
        self._unfinished.append(flight.future)
        return flight

    def _finished_count(self) -> int:
        """How many operations at the head of the window wait for nothing but their commit."""
        count = 0
        for flight in self._window:
            if flight.future is not None and not flight.future.done():
                break
            count += 1
        return count

    def _commit(self, count: int) -> Iterator[Outcome]:
        """Finish the first ``count`` operations of the window, in one transaction.

        What ends the run is raised when those before it are committed.
        """
        flights = [self._window.popleft() for _ in range(count)]
        results: list[Extracted | Content | InputError | None] = []
        end: BaseException | None = None
        try:
            for flight in flights:
                results.append(self._result(flight))  # noqa: PERF401  # what came before an error counts
        except ImgsearchError as error:
            end = error
            del flights[len(results) :]
        outcomes: list[Outcome] = []
        if flights:
            with self._engine.committing():
                if any(isinstance(result, Extracted) for result in results):
                    self._note_device()
                outcomes = [
                    outcome
                    for flight, result in zip(flights, results, strict=True)
                    for outcome in self._store_result(flight, result)
                ]
        self._keys.difference_update(
            flight.operation.key for flight in flights if isinstance(flight.operation, AddPicture)
        )
        if not self._window:
            self._products.clear()
        self._last_commit = time.monotonic()
        yield from outcomes
        if end is not None:
            raise end

    def _note_device(self) -> None:
        """Have the instance remember what its features were made with, in the commit that brings the first of them."""
        if self._device_noted:
            return
        known = devices_of(self._store)
        if self._device not in (known or [CPU_LABEL]):
            self._store.set_setting(DEVICES, [*known, self._device])
        self._device_noted = True

    @staticmethod
    def _result(flight: _InFlight) -> Extracted | Content | InputError | None:
        """What came of reading and extracting; waits for it."""
        if flight.future is None:
            return None
        try:
            return flight.future.result()
        except InvalidModel:  # no picture's fault
            raise
        except InputError as error:  # other errors are not of this picture's making and end the run
            return error

    def _store_result(self, flight: _InFlight, result: Extracted | Content | InputError | None) -> Iterator[Outcome]:
        operation = flight.operation
        match operation:
            case Refused():
                yield operation.outcome()
            case DeletePictures(source=source, product_id=product_id, pic_name=pic_name):
                for key in self._store.delete(product_condition(product_id, pic_name)):
                    yield Outcome(Status.DELETED, source, key.product_id, key.pic_name)
            case AddPicture():
                yield self._store_picture(operation, flight.item, result)

    def _store_picture(
        self, operation: AddPicture, item: Item | None, result: Extracted | Content | InputError | None
    ) -> Outcome:
        key, options = operation.key, operation.options
        if isinstance(result, InputError):
            return Outcome(Status.FAILED, operation.source, key.product_id, key.pic_name, error=result)
        if isinstance(result, Extracted):
            category_given = self._kind is Kind.PRODUCT and options.category_id is not None
            kept = result if self._tuning is None else replace(result, feature=self._tuning.applied(result.feature))
            upsert = Upsert(key, kept, options.region_mode, category_given, operation.attributes, operation.location)
            replaced = self._store.upsert(upsert)
            status = Status.REPLACED if replaced else Status.ADDED
            return Outcome(status, operation.source, key.product_id, key.pic_name, result.category_id, result.region)
        assert item is not None  # known by its token or its bytes
        category_id, category_given = category_in_use(item, options, self._kind)
        changed = is_changed(item, operation, self._kind)
        if changed or (operation.location is not None and operation.location.path(key.pic_name) != item.location):
            item_id = self._store.update(item, operation.attributes, category_id, category_given, operation.location)
        else:
            item_id = item.id
        if isinstance(result, Content) and result.token != item.token:
            self._store.set_tokens([(item_id, result.token)])
        status = Status.REPLACED if changed else Status.UNCHANGED
        return Outcome(status, operation.source, key.product_id, key.pic_name, category_id, item.region)


def devices_of(store: Store) -> list[str]:
    """What an instance's features were made with, in the order of their coming; imported ones do not tell."""
    listed: list[str] = store.settings().get(DEVICES, [])
    return listed or ([CPU_LABEL] if store.count() else [])


def is_unchanged(item: Item, operation: AddPicture) -> bool:
    """Whether the source's token says that the picture is the one that was stored."""
    return item.token is not None and operation.picture.token() == item.token


def same_request(item: Item, options: PictureOptions, kind: Kind) -> bool:
    """Whether extracting the same bytes with these options would give what is stored.

    A category that is given does not change the feature; one that has to be predicted is not there to be reused.
    """
    if kind is Kind.PRODUCT and options.category_id is None and item.category_given:
        return False
    if options.region_mode is not item.region_mode:
        return False
    return options.given_region is None or options.given_region == item.region


def category_in_use(item: Item, options: PictureOptions, kind: Kind) -> tuple[int, bool]:
    """The category of a stored picture that is asked for again, and whether it is a given one."""
    if kind is Kind.PRODUCT and options.category_id is not None:
        return options.category_id, True
    return item.category_id, False


def is_changed(item: Item, operation: AddPicture, kind: Kind) -> bool:
    """Whether something else than the picture differs from what is stored: attributes or category."""
    stored = item.attributes, (item.category_id, item.category_given)
    return stored != (operation.attributes, category_in_use(item, operation.options, kind))
