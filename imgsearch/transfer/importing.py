"""Importing items exported by an instance or written by another program (``file_format.py``)."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.errors import ImgsearchError, InputError, StampMismatch
from imgsearch.jobs.upkeep import refresh_if_due
from imgsearch.ordered_futures import until_it_fails
from imgsearch.quantization import HALF, quantised
from imgsearch.transfer.file_format import item_document, own_stamp
from imgsearch.transfer.reading import Line, check_stamp, read_export, read_tuning
from imgsearch.types import Outcome, Refused, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from imgsearch.opened import Opened
    from imgsearch.projection import Projection
    from imgsearch.shards import Shard
    from imgsearch.storage.port import Storage
    from imgsearch.types import Upsert
    from imgsearch.values import Key

__all__ = ["import_items", "import_stream"]

COMMIT_ITEMS: Final = 16_384
"""Lines per commit. Hashes and attributes come in random order, so each commit rewrites most pages of their indexes."""
SHARED_COMMIT_ITEMS: Final = 4096
"""Lines per commit where other writers wait for it."""
COMMIT_BYTES: Final = 16 * 1024 * 1024
"""A commit ends early once its lines have so many bytes, to bound memory; lines of the usual length never do."""


def import_stream(
    opened: Opened, folder: Path, *, rebuild: bool, shard: Shard | None, lock_timeout: float
) -> Iterator[Outcome]:
    """Add or replace the items of an export, under the lock of the instance; see ``Instance.import_stream``."""
    check_stamp(folder, own_stamp(opened.kind, opened.model))  # before it waits for the lock
    tuning = read_tuning(folder, opened.model.shape_dimension)
    # Whoever writes keeps the tuning in mind, so nobody else does while an empty instance adopts one.
    with opened.writing(lock_timeout, alone=tuning is not None) as engine:
        check_stamp(folder, own_stamp(opened.kind, opened.model))
        model = opened.model
        lines = read_export(folder, opened.kind, model.dimension, model.bits)
        if shard is not None:
            lines = _of_shard(lines, shard)
        yield from import_items(engine, lines, tuning, model.bits)
        if rebuild:
            refresh_if_due(engine)


def _of_shard(lines: Iterable[Line | Refused], shard: Shard) -> Iterator[Line | Refused]:
    for line in lines:
        if shard.takes(line.item.key.product_id if isinstance(line, Line) else line.product_id):
            yield line


def import_items(
    engine: Storage, lines: Iterable[Line | Refused], tuning: Projection | None = None, bits: int = HALF
) -> Iterator[Outcome]:
    """Add or replace items in atomic batches; yields outcomes once they are committed.

    An error of the source is raised after all lines before it are committed.

    Args:
        engine: of an instance locked for writing.
        lines: of the export.
        tuning: of their features. An empty instance adopts it; features without one get the instance's own tuning
            applied.
        bits: of each number of a stored feature.

    Raises:
        StampMismatch: the instance has items and a different tuning.
    """
    own = engine.store.tuning()
    adopts_tuning = tuning is not None and (own is None or own.name != tuning.name)
    if tuning is not None and adopts_tuning and engine.store.count():
        raise StampMismatch(
            f"the features to be imported are tuned ({tuning.name}), but those of {engine.folder} "
            f"{'are not' if own is None else f'are tuned differently ({own.name})'}: run 'imgsearch tune --reset' on "
            "their instance and export again, or import into an empty instance"
        )
    if tuning is None and own is not None:
        lines = (_tuned(own, line, bits) for line in lines)
    end: list[ImgsearchError] = []
    source = until_it_fails(lines, end)
    at_most = SHARED_COMMIT_ITEMS if engine.is_shared else COMMIT_ITEMS

    def read() -> list[Line | Refused]:
        batch, size = [], 0
        for line in itertools.islice(source, at_most):
            batch.append(_storable(engine, line))
            size += line.size if isinstance(line, Line) else 0
            if size >= COMMIT_BYTES:
                break
        return batch

    with ThreadPoolExecutor(1, "imgsearch-import") as reader:
        batch = read()
        while batch:
            products = {line.item.key.product_id for line in batch if isinstance(line, Line)}
            with engine.committing(None if adopts_tuning else products) as store:
                if adopts_tuning:
                    store.set_tuning(tuning)
                    adopts_tuning = False
                outcomes = _write(engine, batch)
                # Read while the commit waits for the disk. Any sooner, both would compete for the interpreter's lock.
                following = reader.submit(read)
            yield from outcomes
            batch = following.result()
    if adopts_tuning and not end:  # there was no line: of a shard, for one, that has none
        with engine.committing() as store:
            store.set_tuning(tuning)
    if end:
        raise end[0]


def _storable(engine: Storage, line: Line | Refused) -> Line | Refused:
    """The line, or its refusal if the storage cannot hold its key."""
    if isinstance(line, Refused):
        return line
    key = line.item.key
    try:
        engine.store.check_key(key)
    except InputError as error:
        return Refused(line.source, error, key.product_id, key.pic_name)
    return line


def _tuned(tuning: Projection, line: Line | Refused, bits: int) -> Line | Refused:
    """Apply the instance's tuning to the feature of a line, rounded as it will be stored."""
    if isinstance(line, Refused):
        return line
    extracted = line.item.extracted
    (feature,) = quantised(tuning.applied(extracted.feature)[None], bits).astype(np.float16).astype(np.float32)
    return replace(line, item=replace(line.item, extracted=replace(extracted, feature=feature)))


def _write(engine: Storage, batch: list[Line | Refused]) -> list[Outcome]:
    """Write a batch; of several lines with one key, the last one wins, as if written one by one."""
    store = engine.store
    present = store.stored_records([line.item.key for line in batch if isinstance(line, Line)])
    outcomes: list[Outcome] = []
    fresh: dict[Key, Upsert] = {}
    for line in batch:
        if isinstance(line, Refused):
            outcomes.append(line.outcome())
            continue
        item = line.item
        before = fresh.get(item.key) or present.get(item.key)
        status = Status.ADDED if before is None else Status.REPLACED
        if before is not None and _same(before, item):
            status = Status.UNCHANGED
        else:
            fresh.pop(item.key, None)
            fresh[item.key] = item
        extracted = item.extracted
        outcomes.append(
            Outcome(
                status, line.source, item.key.product_id, item.key.pic_name, extracted.category_id, extracted.region
            )
        )
    store.remove([key for key in fresh if key in present])
    store.insert(list(fresh.values()))
    return outcomes


def _same(one: Upsert, other: Upsert) -> bool:
    # As they are exported: of codes, some storages keep half precision only.
    feature, same = one.extracted.feature.astype(np.float16), other.extracted.feature.astype(np.float16)
    return item_document(one) == item_document(other) and np.array_equal(feature, same)
