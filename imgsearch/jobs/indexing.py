"""Carrying out operations: read ahead, extract side by side, commit in order."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import wait
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from imgsearch.errors import ImgsearchError, InputError, InvalidModel
from imgsearch.filters.tree import named_condition, product_condition
from imgsearch.jobs.comparison import category_in_use, is_changed, is_unchanged, keeping, same_request
from imgsearch.jobs.devices import note_device
from imgsearch.jobs.id_set import IdSet
from imgsearch.jobs.recalling import LookUp
from imgsearch.jobs.unchanged import Unchanged
from imgsearch.service.categories import Kind, check_category
from imgsearch.types import (
    AddPicture,
    Content,
    DeletePictures,
    Extracted,
    Operation,
    Outcome,
    Recalled,
    Refused,
    Status,
    Upsert,
)
from imgsearch.values import Key, spellings
from imgsearch.vision.devices import CPU_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from imgsearch.storage.port import Storage
    from imgsearch.types import Item
    from imgsearch.values import PictureOptions
    from imgsearch.vision.pipeline import Pipeline

__all__ = ["COMMIT_ITEMS", "COMMIT_SECONDS", "IndexingRun"]

Ticket = TypeVar("Ticket")

COMMIT_ITEMS: Final = 256
COMMIT_SECONDS: Final = 1.0
"""A batch is committed when it holds so many items, or when so much time has passed since the last one."""


@dataclass(slots=True)
class _InFlight(Generic[Ticket]):
    """One operation between its reading and its commit."""

    operation: Operation | Unchanged
    ticket: Ticket
    item: Item | None = None
    """What was stored under the key when the operation was read."""
    future: Future[Extracted | Recalled | Content] | None = None
    """None: nothing is extracted, or the token says that the picture is unchanged."""
    refusal: InputError | None = None
    """Why nothing can come of it."""


class IndexingRun(Generic[Ticket]):
    """Carries out operations on an engine whose instance is locked for writing.

    Operations are given one by one, each with a ticket of the caller's; what became of them comes back with the ticket,
    in the same order, after its commit. What ends the run (a full disk, a model that cannot be had) is raised by the
    same methods, when the outcomes of what was committed before have been given.

    Args:
        engine: of the instance.
        pipeline: extracts the pictures.
        kind: of the instance.
        device: what the pipeline makes features with, as its label says.
        on_extracted: called in a worker's thread whenever an extraction has ended.
        recall: what is stored of the same bytes under another key, told in a worker's thread.
        distinct: refuse a picture whose key another picture of this run has.
        vacated: told of each new picture, inside its commit; the item that it is the new name of, if any, whose
            attributes and given category it keeps.
    """

    def __init__(
        self,
        engine: Storage,
        pipeline: Pipeline,
        kind: Kind,
        device: str = CPU_LABEL,
        on_extracted: Callable[[], object] | None = None,
        *,
        recall: Callable[[bytes, PictureOptions], Recalled | None] | None = None,
        distinct: bool = False,
        vacated: Callable[[bytes, Key], Item | None] | None = None,
    ) -> None:
        self._engine = engine
        self._store = engine.store
        self._tuning = engine.store.tuning()  # nobody else changes it while the instance is locked
        self._pipeline = pipeline
        self._kind = kind
        self._device = device
        self._on_extracted = on_extracted
        self._recall = recall
        self._vacated = vacated
        self.written: IdSet | None = IdSet() if distinct else None
        """Ids of the items that this run has added, replaced or found unchanged: no key is written twice."""
        self._window: deque[_InFlight[Ticket]] = deque()
        self._unfinished: deque[Future[Extracted | Recalled | Content]] = deque()
        self._last_commit = time.monotonic()
        self._device_noted = False
        self._keys: set[Key] = set()
        self._products: set[str] = set()
        """Keys under way, and products of which a deletion is under way."""

    def begin(self, operation: Operation, ticket: Ticket) -> Iterator[tuple[Ticket, list[Outcome]]]:
        """Begin an operation; waits while too many pictures are under way.

        Yields:
            What is committed by now, if it is time for a commit.
        """
        if self._collides(operation):
            # What is stored decides whether a picture is unchanged, so an earlier operation on it comes first.
            yield from self.commit_all()
        self._window.append(self._begun(operation, ticket))
        while len(self._unfinished) > self._pipeline.look_ahead:
            wait([self._unfinished.popleft()])
        if len(self._window) >= COMMIT_ITEMS or self.is_commit_due():
            yield from self._commit(self.count_finished())

    def pass_on(self, unchanged: Unchanged, ticket: Ticket) -> Iterator[tuple[Ticket, list[Outcome]]]:
        """Take what needs no work, in its place among the operations; takes and yields what ``begin`` does."""
        if self._is_outdated(unchanged):
            yield from self.commit_all()
            yield from self.begin(unchanged.operation(), ticket)
            return
        if self.written is not None:
            self.written.add(unchanged.item_id)
        if not self._window:
            yield ticket, [unchanged.outcome]
            return
        self._window.append(_InFlight(unchanged, ticket))
        if len(self._window) >= COMMIT_ITEMS or self.is_commit_due():
            yield from self._commit(self.count_finished())

    def _is_outdated(self, unchanged: Unchanged) -> bool:
        """Whether an operation after the look-up has changed the item or will."""
        if self.written is not None and unchanged.item_id in self.written:
            return True
        if not self._keys and not self._products:
            return False
        outcome = unchanged.outcome
        return (
            outcome.product_id in self._products or Key(outcome.product_id or "", outcome.pic_name or "") in self._keys
        )

    def commit_all(self) -> Iterator[tuple[Ticket, list[Outcome]]]:
        """Finish all that was begun."""
        return self._commit(len(self._window))

    def commit_finished(self) -> Iterator[tuple[Ticket, list[Outcome]]]:
        """Finish what waits for nothing but its commit."""
        return self._commit(self.count_finished())

    def is_commit_due(self) -> bool:
        """Whether the last commit was long ago."""
        return time.monotonic() - self._last_commit > COMMIT_SECONDS

    def __len__(self) -> int:
        return len(self._window)

    def count_finished(self) -> int:
        """How many operations, from the first one on, wait for nothing but their commit."""
        count = 0
        for flight in self._window:
            if flight.future is not None and not flight.future.done():
                break
            count += 1
        return count

    def _collides(self, operation: Operation) -> bool:
        match operation:
            case AddPicture(key=key):
                return key in self._keys or key.product_id in self._products
            case _:  # a deletion is carried out in its place among the others of its commit
                return False

    def _begun(self, operation: Operation, ticket: Ticket) -> _InFlight[Ticket]:
        flight = _InFlight(operation, ticket)
        match operation:
            case AddPicture():
                self._begin_add(operation, flight)
            case DeletePictures(product_id=product_id):
                self._products.add(product_id)
        return flight

    def _begin_add(self, operation: AddPicture, flight: _InFlight[Ticket]) -> None:
        self._keys.add(operation.key)
        try:
            check_category(operation.options.category_id)
            self._store.check_key(operation.key)
        except InputError as error:
            flight.refusal = error
            return
        flight.item = item = self._store.item(operation.key)
        reusable = item if item is not None and same_request(item, operation.options, self._kind) else None
        if reusable is not None and is_unchanged(reusable, operation):
            return
        is_taken = item is not None and self.written is not None and item.id in self.written
        flight.future = self._pipeline.submit(
            operation.picture,
            operation.options,
            LookUp(operation, reusable, item if is_taken else None, self._recall),
        )
        if not self._engine.is_shared:  # one in memory need not stay until the commit, where it is not begun anew
            flight.operation = replace(operation, picture=_TAKEN)
        self._unfinished.append(flight.future)
        if self._on_extracted is not None:
            tell = self._on_extracted
            flight.future.add_done_callback(lambda _future: tell())

    def _other_spelling(self, key: Key) -> Key | None:
        return next((other for other in key.spellings()[1:] if self._store.item(other) is not None), None)

    def _commit(self, count: int) -> Iterator[tuple[Ticket, list[Outcome]]]:
        """Finish the first ``count`` operations of the window, in one transaction.

        What ends the run is raised when those before it are committed; what the window then holds has come to nothing.
        """
        flights = list(islice(self._window, count))
        results: list[_Result] = []
        end: BaseException | None = None
        try:
            for flight in flights:
                results.append(self._result(flight))  # noqa: PERF401  # what came before an error counts
        except ImgsearchError as error:
            end = error
            del flights[len(results) :]
        finished: list[tuple[Ticket, list[Outcome]]] = []
        outdated: list[_InFlight[Ticket]] = []
        if flights:
            notes = not self._device_noted and any(isinstance(one, Extracted) for one in results)
            with self._engine.committing(None if notes or self._vacated else _products_of(flights)):
                if self._engine.is_shared:
                    kept = self._count_up_to_date(flights, results)
                    outdated, flights = flights[kept:], flights[:kept]
                if notes:
                    note_device(self._store, self._device)
                    self._device_noted = True
                pairs = zip(flights, results, strict=False)
                finished = [(flight.ticket, list(self._store_result(flight, result))) for flight, result in pairs]
        for flight in flights:
            self._window.popleft()
            if isinstance(flight.operation, AddPicture):
                self._keys.discard(flight.operation.key)
        self._products = {
            flight.operation.product_id for flight in self._window if isinstance(flight.operation, DeletePictures)
        }
        self._last_commit = time.monotonic()
        yield from finished
        if outdated:
            first = outdated[0]
            assert isinstance(first.operation, AddPicture)
            self._window[0] = self._begun(first.operation, first.ticket)
            yield from self._commit(len(outdated))
        if end is not None:
            raise end

    def _count_up_to_date(self, flights: list[_InFlight[Ticket]], results: list[_Result]) -> int:
        """How many come before the first whose picture was found unchanged and whose item others have changed since."""
        for count, (flight, result) in enumerate(zip(flights, results, strict=True)):
            known = flight.item if isinstance(result, Content | None) else None
            if known is not None and self._store.item(known.key) != known:
                return count
        return len(flights)

    def abandon(self) -> list[Ticket]:
        """The tickets of what was begun and is not committed; nothing more comes of it."""
        tickets = [flight.ticket for flight in self._window]
        self._window.clear()
        return tickets

    @staticmethod
    def _result(flight: _InFlight[Ticket]) -> _Result:
        """What came of reading and extracting; waits for it."""
        if flight.future is None:
            return flight.refusal
        try:
            return flight.future.result()
        except InvalidModel:  # no picture's fault
            raise
        except InputError as error:  # other errors are not of this picture's making and end the run
            return error

    def _store_result(self, flight: _InFlight[Ticket], result: _Result) -> Iterator[Outcome]:
        operation = flight.operation
        match operation:
            case Unchanged(outcome=outcome):
                yield outcome
            case Refused():
                yield operation.outcome()
            case DeletePictures(source=source, product_id=product_id, pic_name=pic_name):
                for key in self._store.delete(named_condition(product_id, pic_name)):
                    yield Outcome(Status.DELETED, source, key.product_id, key.pic_name)
            case AddPicture():
                yield self._store_picture(operation, flight, result)

    def _store_picture(self, operation: AddPicture, flight: _InFlight[Ticket], result: _Result) -> Outcome:
        key, item = operation.key, flight.item
        if isinstance(result, InputError):
            return Outcome(Status.FAILED, operation.source, key.product_id, key.pic_name, error=result)
        if isinstance(result, Extracted | Recalled):
            return self._store_extracted(operation, flight, result)
        assert item is not None  # known by its token or its bytes
        if self.written is not None and item.id in self.written:  # a second copy; the place of the first one stays
            return Outcome(
                Status.UNCHANGED, operation.source, key.product_id, key.pic_name, item.category_id, item.region
            )
        category_id, category_given = category_in_use(item, operation.options, self._kind)
        changed = is_changed(item, operation, self._kind)
        if changed or (operation.location is not None and operation.location.path(key.pic_name) != item.location):
            item_id = self._store.update(item, operation.attributes, category_id, category_given, operation.location)
        else:
            item_id = item.id
        if isinstance(result, Content) and result.token != item.token:
            self._store.set_tokens([(item_id, result.token)])
        self._note_written(item, item_id)
        status = Status.REPLACED if changed else Status.UNCHANGED
        return Outcome(status, operation.source, key.product_id, key.pic_name, category_id, item.region)

    def _store_extracted(
        self, operation: AddPicture, flight: _InFlight[Ticket], result: Extracted | Recalled
    ) -> Outcome:
        key, options = operation.key, operation.options
        if isinstance(result, Recalled):
            kept = result.extracted
        elif self._tuning is None:
            kept = result
        else:
            kept = replace(result, feature=self._tuning.applied(result.feature))
        former: Item | None = None
        status = Status.ADDED
        if self._store.delete(product_condition(key.product_id, key.pic_name)):
            status = Status.REPLACED
        elif (other := self._other_spelling(key)) is not None:
            self._store.remove([other])
            status = Status.REPLACED
        elif self._vacated is not None and (former := self._vacated(kept.content_hash, key)) is not None:
            self._store.remove([former.key])
            status = Status.RENAMED
            operation = keeping(operation, former)
            options = operation.options
            if options.category_id is not None and self._kind is Kind.PRODUCT:
                kept = replace(kept, category_id=options.category_id)
        category_given = self._kind is Kind.PRODUCT and options.category_id is not None
        upsert = Upsert(key, kept, options.region_mode, category_given, operation.attributes, operation.location)
        (item_id,) = self._store.insert([upsert])
        self._note_written(flight.item, item_id)
        return Outcome(
            status,
            operation.source,
            key.product_id,
            key.pic_name,
            kept.category_id,
            kept.region,
            renamed_from=None if former is None else former.key,
            warning=kept.warning,
        )

    def _note_written(self, item: Item | None, item_id: int) -> None:
        if self.written is not None:
            self.written.add(item_id)
            if item is not None:  # so that what was looked up before is known to be outdated
                self.written.add(item.id)


_Result = Extracted | Recalled | Content | InputError | None


@dataclass(frozen=True, slots=True)
class _Taken:
    """In the place of a picture that a worker has."""

    def token(self) -> None:
        """It is not asked for any more."""

    def read(self, max_bytes: int) -> Content:
        """It is not read any more."""
        raise NotImplementedError


_TAKEN: Final = _Taken()


def _products_of(flights: list[_InFlight[Ticket]]) -> set[str]:
    """The products that the commit of these operations changes, however their accents are spelled."""
    given = (getattr(one.operation, "key", one.operation) for one in flights)
    names = [one.product_id for one in given if isinstance(one, Key | DeletePictures)]
    return {spelled for name in names for spelled in spellings(name)}
