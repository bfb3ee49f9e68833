"""One pass of indexing over a stream of operations, and what the index needs after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgsearch.jobs.indexing import IndexingRun
from imgsearch.jobs.recalling import Recall
from imgsearch.jobs.unchanged import Unchanged, unbatched
from imgsearch.jobs.upkeep import refresh_if_due
from imgsearch.ordered_futures import until_it_fails
from imgsearch.vision.devices import CPU

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgsearch.errors import ImgsearchError
    from imgsearch.jobs.unchanged import Given
    from imgsearch.opened import Opened
    from imgsearch.storage.port import Storage
    from imgsearch.types import AddPicture, Operation, Outcome

__all__ = ["apply_one", "apply_stream", "bring_index_up_to_date", "outcomes_of"]


def outcomes_of(run: IndexingRun[None], operations: Iterable[Operation | Unchanged]) -> Iterator[Outcome]:
    """The outcomes, in the order of the operations, each after its commit.

    What a source raises ends the run when all operations that it gave before are committed.
    """
    end: list[ImgsearchError] = []
    for operation in until_it_fails(operations, end):
        begun = run.pass_on(operation, None) if isinstance(operation, Unchanged) else run.begin(operation, None)
        for _, outcomes in begun:
            yield from outcomes
    for _, outcomes in run.commit_all():
        yield from outcomes
    if end:
        raise end[0]


def apply_stream(
    opened: Opened,
    operations: Iterable[Given],
    *,
    workers: int | None = None,
    readers: int = 0,
    rebuild: bool = False,
    distinct: bool = False,
    device: str = CPU,
    lock_timeout: float = 0.0,
) -> Iterator[Outcome]:
    """Carry out operations on an instance, under its lock; see ``Instance.apply_stream``."""
    opened.usable(device)  # before it waits for the lock
    with (
        opened.writing(lock_timeout) as engine,
        opened.pipeline(workers=workers, readers=readers, device=device) as pipeline,
    ):
        if rebuild:
            engine.count_to_index()
        label = opened.usable(device).label
        run = IndexingRun[None](engine, pipeline, opened.kind, label, recall=Recall(opened), distinct=distinct)
        yield from outcomes_of(run, unbatched(engine.store, operations, opened.kind))
        bring_index_up_to_date(engine, rebuild=rebuild)


def apply_one(opened: Opened, operation: AddPicture, lock_timeout: float) -> Outcome:
    """Carry out one addition, with the networks that the instance keeps loaded."""
    with opened.writing(lock_timeout) as engine:
        run = IndexingRun[None](engine, opened.shared_pipeline(), opened.kind, recall=Recall(opened))
        (outcome,) = outcomes_of(run, [operation])
        bring_index_up_to_date(engine)
    return outcome


def bring_index_up_to_date(engine: Storage, *, rebuild: bool = False) -> None:
    """What is due when operations have been carried out.

    Args:
        engine: whose lock the caller holds.
        rebuild: rebuild the index, even if it is not due.

    Raises:
        StorageFull, StorageUnwritable
    """
    # Of an instance that the operations have emptied, there is nothing to rebuild.
    if rebuild and engine.store.count():
        engine.rebuild()
    elif not refresh_if_due(engine):
        engine.drop_index_if_empty()
