"""Results per picture, for inspecting misses. No picture data is kept."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgsearch.evaluation.ground_truth import BoxedPicture, CataloguePicture, LabelledPicture
    from imgsearch.evaluation.retrieval import Found
    from imgsearch.values import Region

__all__ = [
    "Answer",
    "Confusion",
    "Details",
    "FoundBox",
    "Prediction",
    "Result",
    "confusions",
    "lowest_precisions",
    "worst_boxes",
    "wrong_first_results",
]


@dataclass(frozen=True, slots=True)
class Result:
    """A gallery picture and its rank in the results of a query."""

    picture: CataloguePicture
    rank: int | None = None
    """From 1; None if not among the results."""
    score: float | None = None
    identical: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The results of one query."""

    query: CataloguePicture
    found: Found
    first: tuple[Result, ...] = ()
    """The first three results."""
    right: Result | None = None
    """The first right result, else a right picture that was not found; None if the query failed."""

    def is_right(self, result: Result) -> bool:
        """Whether a result shows the product of the query."""
        return result.picture.key.product_id == self.query.key.product_id


@dataclass(frozen=True, slots=True)
class Prediction:
    """A labelled picture, and its predicted category."""

    picture: LabelledPicture
    predicted: int


@dataclass(frozen=True, slots=True)
class FoundBox:
    """A picture with its box and the region found."""

    picture: BoxedPicture
    width: int
    """Of the upright picture, in pixels."""
    height: int
    region: Region
    overlap: float
    """Intersection over union of box and region, 0 to 1."""


@dataclass(slots=True)
class Details:
    """Results of all usable pictures, in the order of the tables."""

    answers: list[Answer] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    boxes: list[FoundBox] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Confusion:
    """Pictures of one category that were taken for another."""

    label: int
    predicted: int
    pictures: list[LabelledPicture]

    @property
    def accepted(self) -> int:
        """How many of them accept the predicted category."""
        return sum(self.predicted in picture.accept for picture in self.pictures)


def wrong_first_results(answers: Iterable[Answer]) -> list[Answer]:
    """Queries whose first result is wrong, sorted by falling Score: the most confident errors first."""
    wrong = [answer for answer in answers if answer.first and not answer.is_right(answer.first[0])]
    return sorted(wrong, key=lambda answer: -(answer.first[0].score or 0.0))


def lowest_precisions(answers: Iterable[Answer]) -> list[Answer]:
    """Queries that missed something, lowest average precision first."""
    missed = [answer for answer in answers if answer.found.average_precision < 1]
    return sorted(missed, key=lambda answer: answer.found.average_precision)


def confusions(predictions: Iterable[Prediction]) -> list[Confusion]:
    """Confused categories, the most frequent first, then by id."""
    pictures: dict[tuple[int, int], list[LabelledPicture]] = defaultdict(list)
    for prediction in predictions:
        if prediction.predicted != prediction.picture.label:
            pictures[prediction.picture.label, prediction.predicted].append(prediction.picture)
    found = [Confusion(label, predicted, wrong) for (label, predicted), wrong in pictures.items()]
    return sorted(found, key=lambda one: (-len(one.pictures), one.label, one.predicted))


def worst_boxes(boxes: Iterable[FoundBox]) -> list[FoundBox]:
    """Boxes that were not found exactly, the smallest overlap first."""
    return sorted((box for box in boxes if box.overlap < 1), key=lambda box: box.overlap)
