"""The ground truth in a labelled folder: its parts, the pictures, and the right answer for each.

All tables are read and checked before the first picture is processed. This module opens no picture.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InvalidCategory, InvalidGroundTruth, InvalidRegion, InvalidValue
from imgsearch.evaluation.tables import read_table
from imgsearch.service.categories import parse_category
from imgsearch.sources.files import FileRequest, operations
from imgsearch.types import Refused
from imgsearch.values import Key, Region

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from imgsearch.evaluation.tables import Line

__all__ = ["ALL", "BoxedPicture", "CataloguePicture", "GroundTruth", "LabelledPicture", "Part", "RetrievalTruth"]


class Part(StrEnum):
    """The measurable parts; also the names of the subfolders that may hold their tables."""

    RETRIEVAL = "retrieval"
    CATEGORIES = "categories"
    SUBJECTS = "subjects"


TABLES: Final = {Part.RETRIEVAL: "groundtruth.csv", Part.CATEGORIES: "labels.csv", Part.SUBJECTS: "boxes.csv"}
COLUMNS: Final = {
    Part.RETRIEVAL: ("file", "split", "product_id"),
    Part.CATEGORIES: ("file", "label"),
    Part.SUBJECTS: ("file", "x1", "y1", "x2", "y2"),
}
OPTIONAL_COLUMNS: Final = {
    Part.RETRIEVAL: ("category", "source"),
    Part.CATEGORIES: ("accept", "source"),
    Part.SUBJECTS: ("source", "kind"),
}
ALL: Final = "all"
"""The name of the overall figures, reserved: no source or kind may have it."""


@dataclass(frozen=True, slots=True)
class CataloguePicture:
    """A picture and its product."""

    file: Path
    key: Key
    source: str | None = None
    """Its source, if the table gives one."""


@dataclass(frozen=True, slots=True)
class RetrievalTruth:
    """A catalogue and the query pictures."""

    gallery: list[CataloguePicture]
    queries: list[CataloguePicture]
    leave_one_out: bool = False
    """The queries are gallery pictures; each searches for the others of its product."""
    refused: tuple[Refused, ...] = ()
    """Files in the folder that can be neither indexed nor used as queries."""

    def asked_by(self, sources: Collection[str]) -> RetrievalTruth:
        """The same catalogue with only the queries of some sources.

        Raises:
            InvalidGroundTruth: they have no queries.
        """
        queries = [query for query in self.queries if query.source in sources]
        if not queries:
            raise InvalidGroundTruth(f"no query has the source {' or '.join(map(repr, sources))}")
        return replace(self, queries=queries)


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture and its category."""

    file: Path
    label: int
    accept: frozenset[int]
    """Other ids that are also acceptable."""
    source: str | None


@dataclass(frozen=True, slots=True)
class BoxedPicture:
    """A picture and the box of its subject."""

    file: Path
    box: Region
    kind: str | None


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The parts of a folder; None for parts that are missing or were not requested."""

    retrieval: RetrievalTruth | None
    categories: list[LabelledPicture] | None
    subjects: list[BoxedPicture] | None

    @classmethod
    def read(cls, folder: Path, parts: Collection[Part] = tuple(Part)) -> GroundTruth:
        """Find and read the parts of a folder.

        A part is a table in the folder itself or in the subfolder named after the part. Without any table, each
        subfolder is a product.

        Args:
            folder: with the tables and the pictures.
            parts: to be read.

        Raises:
            InvalidGroundTruth: there is nothing to measure, or a table is invalid.
        """
        if not folder.is_dir():
            raise InvalidGroundTruth(f"{folder} is not a folder, or cannot be read")
        tables = {part: _table(folder, part) for part in Part}
        retrieval = None
        if Part.RETRIEVAL in parts:
            table = tables[Part.RETRIEVAL]
            if table is not None:
                retrieval = _read_retrieval(table)
            elif not any(tables.values()):
                retrieval = _read_products(folder)
        categories, subjects = (tables[part] if part in parts else None for part in (Part.CATEGORIES, Part.SUBJECTS))
        truth = cls(
            retrieval,
            None if categories is None else _read_categories(categories),
            None if subjects is None else _read_subjects(subjects),
        )
        if not truth.parts():
            raise InvalidGroundTruth(_nothing_to_measure(folder, parts))
        return truth

    def parts(self) -> list[Part]:
        """The parts that are present."""
        return [part for part in Part if getattr(self, part) is not None]


def _table(folder: Path, part: Part) -> Path | None:
    for path in (folder / TABLES[part], folder / part / TABLES[part]):
        if os.path.lexists(path):  # report a broken link instead of ignoring it
            return path
    return None


def _nothing_to_measure(folder: Path, parts: Collection[Part]) -> str:
    layouts = [
        f"{TABLES[part]} with the columns {','.join(COLUMNS[part])} (in the folder or its subfolder {part})"
        for part in Part
        if part in parts
    ]
    if Part.RETRIEVAL in parts:
        layouts.append("without any of these tables, one folder per product, at least one of them with two pictures")
    return f"there is nothing to measure in {folder}; it needs {'; or '.join(layouts)}"


def _lines(path: Path, part: Part) -> list[Line]:
    return list(read_table(path, COLUMNS[part], OPTIONAL_COLUMNS[part]))


def _group(line: Line, column: str) -> str | None:
    value = line.values[column]
    if value == ALL:
        raise line.problem(f"a {column} cannot be named {ALL!r}, which is the name of the overall figures")
    return value or None


def _category(line: Line, column: str, value: str) -> int:
    try:
        return parse_category(value)
    except InvalidCategory as error:
        raise line.problem(f"{column}: {error.message}") from None


def _read_retrieval(path: Path) -> RetrievalTruth:
    gallery, queries, asked = [], [], []
    for line in _lines(path, Part.RETRIEVAL):
        if line.values["category"]:
            _category(line, "category", line.values["category"])
        try:
            key = Key(line.values["product_id"], line.name)
        except InvalidValue as error:
            raise line.problem(error.message) from None
        picture = CataloguePicture(line.file, key, _group(line, "source"))
        match line.values["split"]:
            case "gallery":
                gallery.append(picture)
            case "query":
                queries.append(picture)
                asked.append(line)
            case _:
                raise line.problem(f"{line.quoted('split')} is neither gallery nor query")
    products = {picture.key.product_id for picture in gallery}
    for line, query in zip(asked, queries, strict=True):
        if query.key.product_id not in products:
            raise line.problem(f"no gallery picture has the query's {line.quoted('product_id')}")
    if not queries:
        raise InvalidGroundTruth(f"{path}: no picture is a query")
    return RetrievalTruth(gallery, queries)


def _read_products(folder: Path) -> RetrievalTruth | None:
    """Each folder with pictures is a product, as in ``add --product-from parent``; None without any pair."""
    gallery, refused = [], []
    for operation in operations([folder], FileRequest(product_from="parent")):
        if isinstance(operation, Refused):
            refused.append(operation)
        elif "/" in operation.key.pic_name:  # pictures in the folder itself belong to no product
            gallery.append(CataloguePicture(folder / operation.key.pic_name, operation.key))
    sizes = Counter(picture.key.product_id for picture in gallery)
    queries = [picture for picture in gallery if sizes[picture.key.product_id] > 1]
    return RetrievalTruth(gallery, queries, leave_one_out=True, refused=tuple(refused)) if queries else None


def _read_categories(path: Path) -> list[LabelledPicture]:
    return [
        LabelledPicture(
            line.file,
            _category(line, "label", line.values["label"]),
            frozenset(_category(line, "accept", word) for word in line.values["accept"].split()),
            _group(line, "source"),
        )
        for line in _lines(path, Part.CATEGORIES)
    ]


def _read_subjects(path: Path) -> list[BoxedPicture]:
    return [BoxedPicture(line.file, _box(line), _group(line, "kind")) for line in _lines(path, Part.SUBJECTS)]


def _box(line: Line) -> Region:
    x1, y1, x2, y2 = (line.values[name] for name in ("x1", "y1", "x2", "y2"))
    given = f"{x1},{y1},{x2},{y2}"
    try:
        return Region.parse(f"{x1},{x2},{y1},{y2}")
    except InvalidRegion:
        raise line.problem(
            f"the box {given[:60]!r} is not left, top, right, bottom in whole pixels with x1 < x2 and y1 < y2"
        ) from None
