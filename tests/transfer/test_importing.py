"""Importing reads one batch ahead while it commits; what has been told is stored, and no more is read than needed."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from imgsearch.errors import InvalidExport, StorageFull
from imgsearch.transfer import importing
from imgsearch.transfer.importing import import_items
from imgsearch.transfer.reading import Line
from imgsearch.types import Status
from tests.storage.builders import change, scattered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.storage.engine import Engine

BATCH = 3
ITEMS = 11
SIZE = 200


class Source:
    """Lines, the number of those that have been read, and the error that ends them, if any."""

    def __init__(self, error: Exception | None = None) -> None:
        self.read = 0
        self.error = error

    def __iter__(self) -> Iterator[Line]:
        for number, feature in enumerate(scattered(ITEMS)):
            self.read += 1
            yield Line(f"items.jsonl:{number + 1}", change(f"p{number}", feature=feature), SIZE)
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "COMMIT_ITEMS", BATCH)


def test_one_batch_is_read_ahead(engine: Engine) -> None:
    source = Source()
    outcomes = import_items(engine, iter(source))
    assert source.read == 0
    for number, outcome in enumerate(outcomes):
        committed = (number // BATCH + 1) * BATCH
        assert (outcome.status, outcome.product_id) == (Status.ADDED, f"p{number}")
        assert engine.store.count() == min(committed, ITEMS)
        assert source.read <= committed + BATCH
    assert source.read == engine.store.count() == ITEMS


def test_long_lines_end_a_batch_earlier(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "COMMIT_BYTES", 2 * SIZE)
    told = [(outcome.product_id, engine.store.count()) for outcome in import_items(engine, iter(Source()))]
    assert told == [(f"p{number}", min(number // 2 * 2 + 2, ITEMS)) for number in range(ITEMS)]


def test_other_writers_wait_for_smaller_batches(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "SHARED_COMMIT_ITEMS", 2)
    monkeypatch.setattr(type(engine), "is_shared", True)
    told = [engine.store.count() for _ in import_items(engine, iter(Source()))]
    assert told == [min(number // 2 * 2 + 2, ITEMS) for number in range(ITEMS)]


@pytest.mark.parametrize(
    ("error", "count"),
    [
        pytest.param(InvalidExport("features.npy is truncated"), ITEMS, id="expected: all lines before it"),
        pytest.param(MemoryError(), ITEMS // BATCH * BATCH, id="any other: all batches before it"),
    ],
)
def test_what_was_read_before_an_error_of_the_source_is_stored(engine: Engine, error: Exception, count: int) -> None:
    told: list[str | None] = []
    outcomes = import_items(engine, iter(Source(error)))
    with pytest.raises(type(error)):
        told.extend(outcome.product_id for outcome in outcomes)
    assert told == [f"p{number}" for number in range(count)]
    assert engine.store.count() == count


def test_who_stops_early_stores_what_was_told(engine: Engine) -> None:
    source = Source()
    outcomes = import_items(engine, iter(source))
    next(outcomes)
    outcomes.close()
    assert engine.store.count() == BATCH
    assert source.read == 2 * BATCH


def test_a_batch_that_cannot_be_committed_ends_the_import(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = import_items(engine, iter(Source()))
    told = [next(outcomes) for _ in range(BATCH)]

    def insert(_store: object, _changes: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(type(engine.store), "insert", insert)
    with pytest.raises(StorageFull):
        next(outcomes)
    assert engine.store.count() == len(told)
