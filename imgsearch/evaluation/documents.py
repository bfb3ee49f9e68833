"""The figures of an evaluation as a JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

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

__all__ = ["category_fields", "evaluation_document", "named", "retrieval_fields", "share", "subject_fields"]

FIGURE_DIGITS: Final = 6


def evaluation_document(result: Evaluation) -> dict[str, Any]:
    """The result of ``eval``."""
    parts = {
        "Retrieval": result.retrieval and dict(named(result.retrieval, retrieval_fields)),
        "LeaveSourceOut": result.left_out and dict(named(result.left_out, retrieval_fields)),
        "Categories": result.categories and _category_document(result.categories),
        "Subjects": result.subjects and dict(named(result.subjects, subject_fields)),
    }
    return {
        "Success": not result.failures,
        "Model": result.model,
        "Kind": result.kind,
        **{name: value for name, value in parts.items() if value is not None},
        "Failures": [
            {"Source": failure.source, "Code": failure.error.code, "Message": failure.error.message}
            for failure in result.failures
        ],
        "Seconds": round(result.seconds, 3),
    }


def named(figures: Breakdown[Any], fields: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures of all, then of each group, as documents."""
    yield ALL, fields(figures.overall)
    for name, group in figures.groups.items():
        yield name, fields(group)


def share(value: float | None) -> float | None:
    """A share as documents print it."""
    return None if value is None else round(value, FIGURE_DIGITS)


def retrieval_fields(figures: RetrievalFigures) -> dict[str, Any]:
    """Figures of retrieval."""
    return {
        "Queries": figures.queries,
        "Hit@1": share(figures.hit1),
        "Hit@5": share(figures.hit5),
        "Hit@10": share(figures.hit10),
        "mAP": share(figures.mean_average_precision),
        "MRR@distinct": share(figures.mean_reciprocal_rank),
        "Products@10": share(figures.products10),
        "Calibration": _calibration_fields(figures.calibration),
    }


def _calibration_fields(figures: CalibrationFigures) -> dict[str, Any]:
    return {
        "Results": figures.results,
        "ECE": share(figures.error),
        "Bins": [
            {
                "From": one.lower,
                "To": one.upper,
                "Results": one.results,
                "Score": share(one.score),
                "Right": share(one.right),
            }
            for one in figures.bins
        ],
        "MinScore": [
            {"Score": one.threshold, "Precision": share(one.precision), "Kept": share(one.recall)}
            for one in figures.kept
        ],
    }


def category_fields(figures: CategoryFigures) -> dict[str, Any]:
    """Figures of categories."""
    return {"Pictures": figures.pictures, "Strict": share(figures.strict), "Lenient": share(figures.lenient)}


def _category_document(report: CategoryReport) -> dict[str, Any]:
    return {
        **category_fields(report.by_source.overall),
        "MacroStrict": share(report.macro_strict),
        "MacroLenient": share(report.macro_lenient),
        "Rare": report.rare,
        "PerCategory": {
            str(number): {"Name": CATEGORIES[number], **category_fields(figures)}
            for number, figures in report.by_category.items()
        },
        "PerSource": {name: category_fields(figures) for name, figures in report.by_source.groups.items()},
    }


def _overlap_fields(figures: OverlapFigures) -> dict[str, Any]:
    return {
        "MeanIoU": share(figures.mean),
        "IoU@0.5": share(figures.share_50),
        "IoU@0.7": share(figures.share_70),
    }


def subject_fields(figures: SubjectFigures) -> dict[str, Any]:
    """Figures of subjects."""
    return {
        "Pictures": figures.pictures,
        **_overlap_fields(figures.found),
        "Floor": _overlap_fields(figures.floor),
    }
