"""Importing items exported by an instance or written by another program (``file_format.py``)."""

from __future__ import annotations

import io
import itertools
import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from imgsearch.errors import ImgsearchError, InputError, InvalidExport, InvalidManifest, StampMismatch
from imgsearch.jobs.upkeep import refresh_if_due
from imgsearch.ordered_futures import until_it_fails
from imgsearch.projection import Projection
from imgsearch.shards import Shard
from imgsearch.sources.jsonl import json_object, numbered_lines, readable_id
from imgsearch.transfer.file_format import (
    FEATURES_NAME,
    ITEMS_NAME,
    STAMP_NAME,
    TUNING,
    TUNING_NAME,
    item_document,
    own_stamp,
    parse_item,
    tuned_stamp,
)
from imgsearch.types import Outcome, Refused, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.opened import Opened
    from imgsearch.service.categories import Kind
    from imgsearch.storage.port import Storage
    from imgsearch.types import Upsert
    from imgsearch.values import Key

__all__ = ["check_stamp", "import_items", "import_stream", "read_export", "read_tuning"]

COMMIT_ITEMS: Final = 4096
ROWS_AT_ONCE: Final = 1024
MAX_STAMP_BYTES: Final = 1_000_000
LENGTH_TOLERANCE: Final = 2e-3
"""Tolerance for the length of a feature; half precision accounts for 5e-4 at most."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A valid line."""

    source: str
    item: Upsert


def check_stamp(folder: Path, own: dict[str, Any]) -> None:
    """Raise if the features are of another model, preprocessing or kind of instance.

    Raises:
        InvalidExport: the folder holds no complete export.
        StampMismatch
    """
    stamp = _stamp(folder)
    for name, value in own.items():
        if stamp.get(name) != value:
            raise StampMismatch(
                f"the features in {folder} cannot be mixed with the instance's: their {name} is "
                f"{str(stamp.get(name))[:80]!r}, not {str(value)[:80]!r}; create an instance with their model and kind "
                "with 'imgsearch init', or add the pictures themselves"
            )


def _stamp(folder: Path) -> dict[str, Any]:
    path = folder / STAMP_NAME
    with _reading(path) as file:
        data = file.read(MAX_STAMP_BYTES)
    try:
        stamp = json.loads(data)
    except (ValueError, RecursionError):
        stamp = None
    if not isinstance(stamp, dict):
        raise InvalidExport(f"{path} is not a JSON object: export again")
    return stamp


def read_tuning(folder: Path, dimension: int) -> Projection | None:
    """The tuning of the features in an export; None without one.

    Args:
        folder: accepted by ``check_stamp``.
        dimension: of the shape block.

    Raises:
        InvalidExport: the stamp names a tuning, but its file is missing or a different one.
    """
    name = _stamp(folder).get(TUNING)
    if name is None:
        return None
    path = folder / TUNING_NAME
    with _reading(path) as file:
        data = file.read(MAX_STAMP_BYTES)
    try:
        tuning = Projection(np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError, MemoryError) as error:
        raise InvalidExport(f"{path} is not a tuning ({str(error)[:100]}): export again") from None
    if tuning.dimension != dimension or tuned_stamp({}, tuning)[TUNING] != name:
        raise InvalidExport(f"{path} is not the tuning that {STAMP_NAME} names, {str(name)[:40]!r}: export again")
    return tuning


def read_export(folder: Path, kind: Kind, dimension: int) -> Iterator[_Line | Refused]:
    """Yield the items of an export in order, a few in memory at a time.

    Args:
        folder: with the files of an export.
        kind: of the target instance.
        dimension: of its features.

    Raises:
        InvalidExport: a file is missing or malformed, or the numbers of lines and rows differ; raised before the
            first item where possible.
    """
    with _reading(folder / ITEMS_NAME) as items, _reading(folder / FEATURES_NAME) as features:
        name = str(folder / ITEMS_NAME)
        rows = _rows(features, folder / FEATURES_NAME, dimension)
        for number, line in numbered_lines(items):
            source = f"{name}:{number}"
            feature = next(rows, None)
            if feature is None:
                raise InvalidExport(f"{source} has no row in {FEATURES_NAME}: the export is incomplete, export again")
            yield _parse(line, source, feature, kind)
        if next(rows, None) is not None:
            raise InvalidExport(
                f"{name} has fewer lines than {FEATURES_NAME} has rows: the export is incomplete, export again"
            )


def _parse(line: bytes | InvalidManifest, source: str, feature: npt.NDArray[np.float32], kind: Kind) -> _Line | Refused:
    if isinstance(line, InvalidManifest):
        return Refused(source, line)
    document: dict[str, Any] = {}
    try:
        document = json_object(line)
        length = float(feature @ feature) ** 0.5
        if not abs(length - 1) <= LENGTH_TOLERANCE:  # also true for NaN
            raise InvalidManifest(f"the feature of this line has length {length:.4g} instead of 1")
        return _Line(source, parse_item(document, feature, kind))
    except InputError as error:
        return Refused(source, error, readable_id(document, "ProductId"), readable_id(document, "PicName"))


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InvalidExport(
            f"{path} cannot be read ({error.strerror}): name a folder with a complete export of 'imgsearch export'"
        ) from None
    with file:
        yield file


def _rows(file: BinaryIO, path: Path, dimension: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield features one by one, each of shape (dimension,)."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except (ValueError, KeyError) as error:
        raise InvalidExport(f"{path} is not a NumPy file ({str(error)[:100]}): export again") from None
    if dtype.kind != "f" or fortran or len(shape) != 2 or shape[1] != dimension:
        raise InvalidExport(
            f"{path} has rows of {shape[1:]} {dtype}, not of ({dimension},) float16 in C order: export again"
        )
    return _read_rows(file, path, shape[0], dimension, dtype)


def _read_rows(
    file: BinaryIO, path: Path, count: int, dimension: int, dtype: np.dtype[Any]
) -> Iterator[npt.NDArray[np.float32]]:
    size = dimension * dtype.itemsize
    for start in range(0, count, ROWS_AT_ONCE):
        wanted = min(ROWS_AT_ONCE, count - start)
        data = file.read(wanted * size)
        if len(data) != wanted * size:
            raise InvalidExport(f"{path} is truncated: export or copy it again")
        # Rounded as it will be stored, so that stored items compare equal.
        with np.errstate(over="ignore"):  # not around the yield: it would count for the caller, and end in its context
            rows = np.frombuffer(data, dtype).astype(np.float16).astype(np.float32).reshape(wanted, dimension)
        yield from rows


def import_stream(
    opened: Opened, folder: Path, *, rebuild: bool, shard: Shard | None, lock_timeout: float
) -> Iterator[Outcome]:
    """Add or replace the items of an export, under the lock of the instance; see ``Instance.import_stream``."""
    check_stamp(folder, own_stamp(opened.kind, opened.model))  # before it waits for the lock
    tuning = read_tuning(folder, opened.model.shape_dimension)
    # Whoever writes keeps the tuning in mind, so nobody else does while an empty instance adopts one.
    with opened.writing(lock_timeout, alone=tuning is not None) as engine:
        check_stamp(folder, own_stamp(opened.kind, opened.model))
        lines = _of_shard(read_export(folder, opened.kind, opened.model.dimension), shard or Shard())
        yield from import_items(engine, lines, tuning)
        if rebuild:
            refresh_if_due(engine)


def _of_shard(lines: Iterable[_Line | Refused], shard: Shard) -> Iterator[_Line | Refused]:
    for line in lines:
        if shard.takes(line.item.key.product_id if isinstance(line, _Line) else line.product_id):
            yield line


def import_items(
    engine: Storage, lines: Iterable[_Line | Refused], tuning: Projection | None = None
) -> Iterator[Outcome]:
    """Add or replace items in atomic batches; yields outcomes once they are committed.

    An error of the source is raised after all lines before it are committed.

    Args:
        engine: of an instance locked for writing.
        lines: of the export.
        tuning: of their features. An empty instance adopts it; features without one get the instance's own tuning
            applied.

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
        lines = (_tuned(own, line) for line in lines)
    end: list[ImgsearchError] = []
    source = until_it_fails(lines, end)
    while batch := [_storable(engine, line) for line in itertools.islice(source, COMMIT_ITEMS)]:
        products = {line.item.key.product_id for line in batch if isinstance(line, _Line)}
        with engine.committing(None if adopts_tuning else products) as store:
            if adopts_tuning:
                store.set_tuning(tuning)
                adopts_tuning = False
            outcomes = _write(engine, batch)
        yield from outcomes
    if adopts_tuning and not end:  # there was no line: of a shard, for one, that has none
        with engine.committing() as store:
            store.set_tuning(tuning)
    if end:
        raise end[0]


def _storable(engine: Storage, line: _Line | Refused) -> _Line | Refused:
    """The line, or its refusal if the storage cannot hold its key."""
    if isinstance(line, Refused):
        return line
    key = line.item.key
    try:
        engine.store.check_key(key)
    except InputError as error:
        return Refused(line.source, error, key.product_id, key.pic_name)
    return line


def _tuned(tuning: Projection, line: _Line | Refused) -> _Line | Refused:
    """Apply the instance's tuning to the feature of a line, rounded as it will be stored."""
    if isinstance(line, Refused):
        return line
    extracted = line.item.extracted
    feature = tuning.applied(extracted.feature).astype(np.float16).astype(np.float32)
    return replace(line, item=replace(line.item, extracted=replace(extracted, feature=feature)))


def _write(engine: Storage, batch: list[_Line | Refused]) -> list[Outcome]:
    """Write a batch; of several lines with one key, the last one wins, as if written one by one."""
    store = engine.store
    present = store.stored_records([line.item.key for line in batch if isinstance(line, _Line)])
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
    return item_document(one) == item_document(other) and np.array_equal(one.extracted.feature, other.extracted.feature)
