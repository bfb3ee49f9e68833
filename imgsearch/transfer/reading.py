"""Reading an export of unknown origin (``file_format.py``): nothing is stored here."""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from imgsearch.errors import InputError, InvalidExport, InvalidManifest, StampMismatch
from imgsearch.projection import Projection
from imgsearch.quantization import HALF, finer_stamps, quantised
from imgsearch.sources.jsonl import json_object, numbered_lines, readable_id
from imgsearch.transfer.file_format import (
    FEATURES_NAME,
    ITEMS_NAME,
    STAMP_NAME,
    TUNING,
    TUNING_NAME,
    parse_item,
    tuned_stamp,
)
from imgsearch.types import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.service.categories import Kind
    from imgsearch.types import Upsert

    Row = tuple[npt.NDArray[np.float32], float]
    """A feature of shape (dimension,), and its length."""

__all__ = ["Line", "check_stamp", "read_export", "read_tuning"]

ROWS_AT_ONCE: Final = 1024
MAX_STAMP_BYTES: Final = 1_000_000
FEATURES: Final = "features"
"""The field of a stamp that tells how precise features are."""
LENGTH_TOLERANCE: Final = 2e-3
"""Tolerance for the length of a feature; half precision accounts for 5e-4 at most."""


@dataclass(frozen=True, slots=True)
class Line:
    """A valid line."""

    source: str
    item: Upsert
    size: int
    """Bytes of its text."""


def check_stamp(folder: Path, own: dict[str, Any]) -> None:
    """Raise if the features are of another model, preprocessing or kind of instance, or less precise.

    Raises:
        InvalidExport: the folder holds no complete export.
        StampMismatch
    """
    stamp = _stamp(folder)
    for name, value in own.items():
        if stamp.get(name) != value and not (name == FEATURES and stamp.get(name) in finer_stamps(value)):
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
        # Not np.load, which opens archives, too.
        tuning = Projection(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False))
    except Exception as error:  # headers are read as Python, which raises anything
        raise InvalidExport(f"{path} is not a tuning ({str(error)[:100]}): export again") from None
    if tuning.dimension != dimension or tuned_stamp({}, tuning)[TUNING] != name:
        raise InvalidExport(f"{path} is not the tuning that {STAMP_NAME} names, {str(name)[:40]!r}: export again")
    return tuning


def read_export(folder: Path, kind: Kind, dimension: int, bits: int = HALF) -> Iterator[Line | Refused]:
    """Yield the items of an export in order, a few in memory at a time.

    Args:
        folder: with the files of an export.
        kind: of the target instance.
        dimension: of its features.
        bits: of each of their numbers.

    Raises:
        InvalidExport: a file is missing or malformed, or the numbers of lines and rows differ; raised before the
            first item where possible.
    """
    with _reading(folder / ITEMS_NAME) as items, _reading(folder / FEATURES_NAME) as features:
        name = str(folder / ITEMS_NAME)
        rows = _rows(features, folder / FEATURES_NAME, dimension, bits)
        for number, line in numbered_lines(items):
            source = f"{name}:{number}"
            row = next(rows, None)
            if row is None:
                raise InvalidExport(f"{source} has no row in {FEATURES_NAME}: the export is incomplete, export again")
            yield _parse(line, source, row, kind)
        if next(rows, None) is not None:
            raise InvalidExport(
                f"{name} has fewer lines than {FEATURES_NAME} has rows: the export is incomplete, export again"
            )


def _parse(line: bytes | InvalidManifest, source: str, row: Row, kind: Kind) -> Line | Refused:
    if isinstance(line, InvalidManifest):
        return Refused(source, line)
    document: dict[str, Any] = {}
    try:
        document = json_object(line)
        feature, length = row
        if not abs(length - 1) <= LENGTH_TOLERANCE:  # also true for NaN
            raise InvalidManifest(f"the feature of this line has length {length:.4g} instead of 1")
        return Line(source, parse_item(document, feature, kind), len(line))
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


def _rows(file: BinaryIO, path: Path, dimension: int, bits: int) -> Iterator[Row]:
    """Yield features one by one."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except Exception as error:  # the header is read as Python, which raises anything
        raise InvalidExport(f"{path} is not a NumPy file ({str(error)[:100]}): export again") from None
    if dtype.kind != "f" or fortran or len(shape) != 2 or shape[1] != dimension:
        raise InvalidExport(
            f"{path} has rows of {shape[1:]} {dtype}, not of ({dimension},) float16 in C order: export again"
        )
    return _read_rows(file, path, (shape[0], dimension), dtype, bits)


def _read_rows(file: BinaryIO, path: Path, shape: tuple[int, int], dtype: np.dtype[Any], bits: int) -> Iterator[Row]:
    count, dimension = shape
    size = dimension * dtype.itemsize
    for start in range(0, count, ROWS_AT_ONCE):
        wanted = min(ROWS_AT_ONCE, count - start)
        data = file.read(wanted * size)
        if len(data) != wanted * size:
            raise InvalidExport(f"{path} is truncated: export or copy it again")
        # Rounded as it will be stored, so that stored items compare equal.
        # Not around the yield: it would count for the caller, and end in its context.
        with np.errstate(over="ignore", invalid="ignore"):  # the length of infinities is NaN
            rows = np.frombuffer(data, dtype).astype(np.float16).astype(np.float32).reshape(wanted, dimension)
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        sound = np.abs(lengths - 1) <= LENGTH_TOLERANCE  # all others are refused
        rows[sound] = quantised(rows[sound], bits)
        yield from zip(rows, lengths.tolist(), strict=True)
