"""Categories: how often the predicted one is right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imgsearch.evaluation.breakdown import Breakdown
from imgsearch.evaluation.details import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgsearch.evaluation.ground_truth import LabelledPicture
    from imgsearch.evaluation.run import Run

__all__ = ["CategoryFigures", "CategoryReport", "Judgement", "measure_categories"]

RARE_BELOW: Final = 10
"""Categories with fewer pictures are left out of macro averages."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether one prediction is right."""

    strict: bool
    """It is the label."""
    lenient: bool
    """It is the label or another accepted category."""

    @classmethod
    def of(cls, picture: LabelledPicture, predicted: int | None) -> Judgement:
        """Judge a prediction; None, for an unreadable picture, is wrong."""
        strict = predicted == picture.label
        return cls(strict, strict or predicted in picture.accept)


@dataclass(frozen=True, slots=True)
class CategoryFigures:
    """Shares of pictures, 0 to 1."""

    pictures: int
    strict: float
    lenient: float

    @classmethod
    def of(cls, judgements: Sequence[Judgement]) -> CategoryFigures:
        """Summarise at least one picture."""
        count = len(judgements)
        return cls(count, sum(one.strict for one in judgements) / count, sum(one.lenient for one in judgements) / count)


@dataclass(frozen=True, slots=True)
class CategoryReport:
    """How good the prediction is."""

    by_source: Breakdown[CategoryFigures]
    by_category: dict[int, CategoryFigures]
    """By label; only labels with pictures."""

    @property
    def rare(self) -> list[int]:
        """Ids with fewer than 10 pictures, left out of macro figures."""
        return [number for number, figures in self.by_category.items() if figures.pictures < RARE_BELOW]

    @property
    def macro_strict(self) -> float | None:
        """Mean over the ids that are not rare; None if all are."""
        return self._macro([figures.strict for figures in self._frequent()])

    @property
    def macro_lenient(self) -> float | None:
        """Mean over the ids that are not rare; None if all are."""
        return self._macro([figures.lenient for figures in self._frequent()])

    def _frequent(self) -> list[CategoryFigures]:
        return [figures for figures in self.by_category.values() if figures.pictures >= RARE_BELOW]

    @staticmethod
    def _macro(shares: list[float]) -> float | None:
        return sum(shares) / len(shares) if shares else None


def measure_categories(run: Run, pictures: Sequence[LabelledPicture]) -> CategoryReport:
    """Predict the category of each picture; an unreadable one counts as wrong.

    Raises:
        The errors of ``Instance.analyse``.
    """
    judged = []
    analysed = run.analysed("categories", [picture.file for picture in pictures])
    for picture, extracted in zip(pictures, analysed, strict=True):
        predicted = None if extracted is None else extracted.category_id
        judged.append((picture, Judgement.of(picture, predicted)))
        if run.details is not None and predicted is not None:
            run.details.predictions.append(Prediction(picture, predicted))
    return report(judged)


def report(judged: Sequence[tuple[LabelledPicture, Judgement]]) -> CategoryReport:
    """Summarise at least one judged picture."""
    labels = sorted(Counter(picture.label for picture, _ in judged))
    return CategoryReport(
        Breakdown.of(((picture.source, one) for picture, one in judged), CategoryFigures.of),
        {label: CategoryFigures.of([one for picture, one in judged if picture.label == label]) for label in labels},
    )
