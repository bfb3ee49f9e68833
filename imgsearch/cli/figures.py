"""The figures of ``eval``, as a JSON document for printing and as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgsearch.cli.output import safe
from imgsearch.evaluation.documents import (
    category_fields,
    evaluation_document,
    named,
    retrieval_fields,
    share,
    subject_fields,
)
from imgsearch.evaluation.ground_truth import ALL
from imgsearch.service.categories import CATEGORIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.evaluation.breakdown import Breakdown
    from imgsearch.evaluation.categories import CategoryReport
    from imgsearch.evaluation.evaluate import Evaluation
    from imgsearch.evaluation.retrieval import RetrievalFigures

__all__ = ["FigureTable", "document", "figure_tables"]


def document(result: Evaluation) -> dict[str, Any]:
    """The JSON document."""
    figures = evaluation_document(result)
    for failure in figures["Failures"]:
        failure["Source"] = safe(failure["Source"])
    return figures


@dataclass(frozen=True, slots=True)
class FigureTable:
    """A table; names are not escaped."""

    title: str
    columns: list[str]
    rows: dict[str, list[Any]]
    """By the name in the first column: the figures of the other columns, or None."""

    def cells(self) -> Iterator[tuple[str, list[str]]]:
        """The rows, with formatted figures."""
        for name, values in self.rows.items():
            yield name, [f"{one:.3f}" if isinstance(one, float) else "–" if one is None else str(one) for one in values]


def figure_tables(result: Evaluation) -> Iterator[FigureTable]:
    """Tables of all figures, in the order of the parts."""
    if result.retrieval is not None:
        yield from _retrieval_tables(result.retrieval)
    if result.left_out is not None:
        yield _retrieval_table("Retrieval, each source with parameters trained without it", result.left_out)
    if result.categories is not None:
        yield from _category_tables(result.categories)
    if result.subjects is not None:
        rows = {}
        for name, fields in named(result.subjects, subject_fields):
            floor = fields.pop("Floor")
            rows[name] = [*fields.values(), floor["MeanIoU"]]
        yield FigureTable("Subjects", ["kind", "pictures", "mean IoU", ">= 0.5", ">= 0.7", "whole picture"], rows)


def _retrieval_table(title: str, figures: Breakdown[RetrievalFigures]) -> FigureTable:
    rows = {}
    for name, fields in named(figures, retrieval_fields):
        calibration = fields.pop("Calibration")
        rows[name] = [*fields.values(), calibration["ECE"]]
    columns = ["source", "queries", "hit@1", "hit@5", "hit@10", "mAP", "MRR@distinct", "products@10", "ECE"]
    return FigureTable(title, columns, rows)


def _retrieval_tables(figures: Breakdown[RetrievalFigures]) -> Iterator[FigureTable]:
    yield _retrieval_table("Retrieval", figures)
    kept = {}
    for name, fields in named(figures, retrieval_fields):
        calibration = fields["Calibration"]
        thresholds = calibration["MinScore"]
        kept[name] = [calibration["Results"], *(one[what] for one in thresholds for what in ("Precision", "Kept"))]
    calibration = figures.overall.calibration
    of_bins: dict[str, list[Any]] = {
        f"{one.lower:.1f} to {one.upper:.1f}": [one.results, one.score, one.right] for one in calibration.bins
    }
    yield FigureTable("Ten best results by Score", ["Score", "results", "mean Score", "right"], of_bins)
    columns = [f"{what} >= {one.threshold}" for one in calibration.kept for what in ("precision", "kept")]
    yield FigureTable("What --min-score keeps of the ten best results", ["source", "results", *columns], kept)


def _category_tables(report: CategoryReport) -> Iterator[FigureTable]:
    rows: dict[str, list[Any]] = {ALL: list(category_fields(report.by_source.overall).values())}
    rows["mean of the categories"] = ["", share(report.macro_strict), share(report.macro_lenient)]
    for number, figures in report.by_category.items():
        rare = ", rare: not in the mean" if number in report.rare else ""
        rows[f"{number} {CATEGORIES[number]}{rare}"] = list(category_fields(figures).values())
    yield FigureTable("Categories", ["category", "pictures", "strict", "lenient"], rows)
    groups = {name: list(category_fields(figures).values()) for name, figures in report.by_source.groups.items()}
    if groups:
        yield FigureTable("Categories by source", ["source", "pictures", "strict", "lenient"], groups)
