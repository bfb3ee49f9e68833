"""Taking in items that an instance exported, or that another program wrote in the same form (``portable.py``)."""

from __future__ import annotations

import io
import itertools
import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from imgsearch.errors import ImgsearchError, InputError, InvalidExport, InvalidManifest, StampMismatch
from imgsearch.ordered_futures import until_it_fails
from imgsearch.projection import Projection
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
"""How far the length of a feature may be from 1: half precision makes it 5e-4 at most."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line that can be taken in."""

    source: str
    item: Upsert


def check_stamp(folder: Path, own: dict[str, Any]) -> None:
    """Refuse features of another model, another preprocessing or another kind of instance.

    Raises:
        InvalidExport: the folder holds no export, or one that was not finished.
        StampMismatch
    """
    stamp = _stamp(folder)
    for name, value in own.items():
        if stamp.get(name) != value:
            raise StampMismatch(
                f"the features in {folder} cannot be mixed with the instance's: their {name} is "
                f"{str(stamp.get(name))[:80]!r}, not {str(value)[:80]!r}; make an instance like the one they come from "
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
    """What the features of an export have been through; None if that is nothing.

    Args:
        folder: with a stamp that ``check_stamp`` has passed.
        dimension: of the shape block.

    Raises:
        InvalidExport: the stamp names one, and the file of it is missing or another one.
    """
    told = _stamp(folder).get(TUNING)
    if told is None:
        return None
    path = folder / TUNING_NAME
    with _reading(path) as file:
        data = file.read(MAX_STAMP_BYTES)
    try:
        tuning = Projection(np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError, MemoryError) as error:
        raise InvalidExport(f"{path} is not a tuning ({str(error)[:100]}): export again") from None
    if tuning.dimension != dimension or tuned_stamp({}, tuning)[TUNING] != told:
        raise InvalidExport(f"{path} is not the tuning that {STAMP_NAME} names, {str(told)[:40]!r}: export again")
    return tuning


def read_export(folder: Path, kind: Kind, dimension: int) -> Iterator[_Line | Refused]:
    """The items of an export, in their order, a few at a time.

    Args:
        folder: with the files of an export.
        kind: of the instance that they go to.
        dimension: of its features.

    Raises:
        InvalidExport: a file is missing or of another form, or the two have not as many lines as rows; told before
            anything is taken in as far as it can be known.
    """
    with _reading(folder / ITEMS_NAME) as items, _reading(folder / FEATURES_NAME) as features:
        name = str(folder / ITEMS_NAME)
        rows = _rows(features, folder / FEATURES_NAME, dimension)
        for number, line in numbered_lines(items):
            source = f"{name}:{number}"
            feature = next(rows, None)
            if feature is None:
                raise InvalidExport(f"{source} has no row in {FEATURES_NAME}: the export is not whole, make it again")
            yield _parse(line, source, feature, kind)
        if next(rows, None) is not None:
            raise InvalidExport(
                f"{name} has fewer lines than {FEATURES_NAME} has rows: the export is not whole, make it again"
            )


def _parse(line: bytes | InvalidManifest, source: str, feature: npt.NDArray[np.float32], kind: Kind) -> _Line | Refused:
    if isinstance(line, InvalidManifest):
        return Refused(source, line)
    document: dict[str, Any] = {}
    try:
        document = json_object(line)
        length = float(feature @ feature) ** 0.5
        if not abs(length - 1) <= LENGTH_TOLERANCE:  # nor is it if that is not a number
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
            f"{path} cannot be read ({error.strerror}): name a folder that 'imgsearch export' has written to its end"
        ) from None
    with file:
        yield file


def _rows(file: BinaryIO, path: Path, dimension: int) -> Iterator[npt.NDArray[np.float32]]:
    """Features one by one, each of shape (dimension,)."""
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
            raise InvalidExport(f"{path} is cut off: export or copy it again")
        # Rounded as it will be stored, so that what is there already is seen to be the same.
        with np.errstate(over="ignore"):
            yield from np.frombuffer(data, dtype).astype(np.float16).astype(np.float32).reshape(wanted, dimension)


def import_stream(opened: Opened, folder: Path, *, rebuild: bool, lock_timeout: float) -> Iterator[Outcome]:
    """Add or replace the items of an export, under the lock of the instance; see ``Instance.import_stream``."""
    check_stamp(folder, own_stamp(opened.kind, opened.model))  # before it waits for the lock
    with opened.writing(lock_timeout) as engine:
        check_stamp(folder, own_stamp(opened.kind, opened.model))
        tuning = read_tuning(folder, opened.model.shape_dimension)
        lines = read_export(folder, opened.kind, opened.model.dimension)
        yield from import_items(engine, lines, tuning)
        if rebuild and engine.is_index_due():
            engine.refresh()


def import_items(
    engine: Storage, lines: Iterable[_Line | Refused], tuning: Projection | None = None
) -> Iterator[Outcome]:
    """Add or replace items, in batches that are committed as a whole; an outcome is yielded when it is committed.

    What a source raises ends the run when all lines before it are committed.

    Args:
        engine: of an instance that is locked for writing.
        lines: of the export.
        tuning: what their features have been through. An instance without items takes it over; features that have been
            through none go through the instance's own.

    Raises:
        StampMismatch: the instance has items, and another tuning than theirs.
    """
    own = engine.store.tuning()
    takes_over = tuning is not None and (own is None or own.name != tuning.name)
    if tuning is not None and takes_over and engine.store.count():
        raise StampMismatch(
            f"the features to be imported are tuned ({tuning.name}), those of {engine.folder} "
            f"{'are not' if own is None else f'otherwise ({own.name})'}: run 'imgsearch tune --reset' where they "
            "come from and export again, or import into an empty instance"
        )
    if tuning is None and own is not None:
        lines = (_through(own, line) for line in lines)
    end: list[ImgsearchError] = []
    source = until_it_fails(lines, end)
    while batch := list(itertools.islice(source, COMMIT_ITEMS)):
        with engine.committing() as store:
            if takes_over:
                store.set_tuning(tuning)
                takes_over = False
            outcomes = _take_in(engine, batch)
        yield from outcomes
    if end:
        raise end[0]


def _through(tuning: Projection, line: _Line | Refused) -> _Line | Refused:
    """A line whose feature goes through the instance's tuning, rounded as it will be stored."""
    if isinstance(line, Refused):
        return line
    extracted = line.item.extracted
    feature = tuning.applied(extracted.feature).astype(np.float16).astype(np.float32)
    return replace(line, item=replace(line.item, extracted=replace(extracted, feature=feature)))


def _take_in(engine: Storage, batch: list[_Line | Refused]) -> list[Outcome]:
    """Write a batch; of several lines with one key, the last one counts, as if they had come one by one."""
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
