"""The figures of ``eval``, as a JSON document and as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from imgsearch.cli.output import safe
from imgsearch.evaluation.ground_truth import ALL
from imgsearch.service.categories import CATEGORIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.evaluation.breakdown import Breakdown
    from imgsearch.evaluation.calibration import CalibrationFigures
    from imgsearch.evaluation.categories import CategoryFigures, CategoryReport
    from imgsearch.evaluation.evaluate import Evaluation
    from imgsearch.evaluation.retrieval import RetrievalFigures
    from imgsearch.evaluation.subjects import OverlapFigures, SubjectFigures

__all__ = ["FigureTable", "document", "figure_tables"]

FIGURE_DIGITS: Final = 6


def document(result: Evaluation) -> dict[str, Any]:
    """The JSON document."""
    parts = {
        "Retrieval": result.retrieval and dict(_named(result.retrieval, _retrieval_fields)),
        "LeaveSourceOut": result.left_out and dict(_named(result.left_out, _retrieval_fields)),
        "Categories": result.categories and _category_document(result.categories),
        "Subjects": result.subjects and dict(_named(result.subjects, _subject_fields)),
    }
    return {
        "Success": not result.failures,
        "Model": result.model,
        "Kind": result.kind,
        **{name: value for name, value in parts.items() if value is not None},
        "Failures": [
            {"Source": safe(failure.source), "Code": failure.error.code, "Message": failure.error.message}
            for failure in result.failures
        ],
        "Seconds": round(result.seconds, 3),
    }


def _named(figures: Breakdown[Any], fields: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield ALL, fields(figures.overall)
    for name, group in figures.groups.items():
        yield name, fields(group)


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, FIGURE_DIGITS)


def _retrieval_fields(figures: RetrievalFigures) -> dict[str, Any]:
    return {
        "Queries": figures.queries,
        "Hit@1": _share(figures.hit1),
        "Hit@5": _share(figures.hit5),
        "Hit@10": _share(figures.hit10),
        "mAP": _share(figures.mean_average_precision),
        "MRR@distinct": _share(figures.mean_reciprocal_rank),
        "Products@10": _share(figures.products10),
        "Calibration": _calibration_fields(figures.calibration),
    }


def _calibration_fields(figures: CalibrationFigures) -> dict[str, Any]:
    return {
        "Results": figures.results,
        "ECE": _share(figures.error),
        "Bins": [
            {
                "From": one.lower,
                "To": one.upper,
                "Results": one.results,
                "Score": _share(one.score),
                "Right": _share(one.right),
            }
            for one in figures.bins
        ],
        "MinScore": [
            {"Score": one.threshold, "Precision": _share(one.precision), "Kept": _share(one.recall)}
            for one in figures.kept
        ],
    }


def _category_fields(figures: CategoryFigures) -> dict[str, Any]:
    return {"Pictures": figures.pictures, "Strict": _share(figures.strict), "Lenient": _share(figures.lenient)}


def _category_document(report: CategoryReport) -> dict[str, Any]:
    return {
        **_category_fields(report.by_source.overall),
        "MacroStrict": _share(report.macro_strict),
        "MacroLenient": _share(report.macro_lenient),
        "Rare": report.rare,
        "PerCategory": {
            str(number): {"Name": CATEGORIES[number], **_category_fields(figures)}
            for number, figures in report.by_category.items()
        },
        "PerSource": {name: _category_fields(figures) for name, figures in report.by_source.groups.items()},
    }


def _overlap_fields(figures: OverlapFigures) -> dict[str, Any]:
    return {
        "MeanIoU": _share(figures.mean),
        "IoU@0.5": _share(figures.share_50),
        "IoU@0.7": _share(figures.share_70),
    }


def _subject_fields(figures: SubjectFigures) -> dict[str, Any]:
    return {
        "Pictures": figures.pictures,
        **_overlap_fields(figures.found),
        "Floor": _overlap_fields(figures.floor),
    }


# The tables


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
        for name, fields in _named(result.subjects, _subject_fields):
            floor = fields.pop("Floor")
            rows[name] = [*fields.values(), floor["MeanIoU"]]
        yield FigureTable("Subjects", ["kind", "pictures", "mean IoU", ">= 0.5", ">= 0.7", "whole picture"], rows)


def _retrieval_table(title: str, figures: Breakdown[RetrievalFigures]) -> FigureTable:
    rows = {}
    for name, fields in _named(figures, _retrieval_fields):
        calibration = fields.pop("Calibration")
        rows[name] = [*fields.values(), calibration["ECE"]]
    columns = ["source", "queries", "hit@1", "hit@5", "hit@10", "mAP", "MRR@distinct", "products@10", "ECE"]
    return FigureTable(title, columns, rows)


def _retrieval_tables(figures: Breakdown[RetrievalFigures]) -> Iterator[FigureTable]:
    yield _retrieval_table("Retrieval", figures)
    kept = {}
    for name, fields in _named(figures, _retrieval_fields):
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
    rows: dict[str, list[Any]] = {ALL: list(_category_fields(report.by_source.overall).values())}
    rows["mean of the categories"] = ["", _share(report.macro_strict), _share(report.macro_lenient)]
    for number, figures in report.by_category.items():
        rare = ", rare: not in the mean" if number in report.rare else ""
        rows[f"{number} {CATEGORIES[number]}{rare}"] = list(_category_fields(figures).values())
    yield FigureTable("Categories", ["category", "pictures", "strict", "lenient"], rows)
    groups = {name: list(_category_fields(figures).values()) for name, figures in report.by_source.groups.items()}
    if groups:
        yield FigureTable("Categories by source", ["source", "pictures", "strict", "lenient"], groups)
