"""Subjects: overlap of the region found and the subject's box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgsearch.errors import InputError
from imgsearch.evaluation.breakdown import Breakdown
from imgsearch.evaluation.details import FoundBox
from imgsearch.sources.files import FilePicture
from imgsearch.values import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgsearch.evaluation.ground_truth import BoxedPicture
    from imgsearch.evaluation.run import Run
    from imgsearch.types import Extracted

__all__ = ["Overlap", "OverlapFigures", "SubjectFigures", "intersection_over_union", "measure_subjects"]


def intersection_over_union(one: Region, other: Region) -> float:
    """Intersection over union of two regions, 0 to 1."""
    width = min(one.x2, other.x2) - max(one.x1, other.x1)
    height = min(one.y2, other.y2) - max(one.y1, other.y1)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(one) + _area(other) - shared)


def _area(region: Region) -> int:
    return (region.x2 - region.x1) * (region.y2 - region.y1)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Intersection over union with the true box of one picture."""

    found: float
    """Of the region found."""
    whole: float
    """Of the whole picture."""


@dataclass(frozen=True, slots=True)
class OverlapFigures:
    """Over pictures, 0 to 1."""

    mean: float
    """Mean intersection over union."""
    share_50: float
    """Share of the pictures with 0.5 or more."""
    share_70: float
    """Share of the pictures with 0.7 or more."""

    @classmethod
    def of(cls, values: Sequence[float]) -> OverlapFigures:
        """Summarise at least one picture."""
        count = len(values)
        share_50, share_70 = (sum(value >= least for value in values) / count for least in (0.5, 0.7))
        return cls(sum(values) / count, share_50, share_70)


@dataclass(frozen=True, slots=True)
class SubjectFigures:
    """Figures over pictures: for the regions found, and for whole pictures as a baseline."""

    pictures: int
    found: OverlapFigures
    floor: OverlapFigures

    @classmethod
    def of(cls, overlaps: Sequence[Overlap]) -> SubjectFigures:
        """Summarise at least one picture."""
        return cls(
            len(overlaps),
            OverlapFigures.of([overlap.found for overlap in overlaps]),
            OverlapFigures.of([overlap.whole for overlap in overlaps]),
        )


def measure_subjects(run: Run, pictures: Sequence[BoxedPicture]) -> Breakdown[SubjectFigures]:
    """Find the subject of each picture; figures over all and by kind. An unreadable picture counts as 0.

    Raises:
        The errors of ``Instance.analyse``.
    """
    overlaps = [
        (picture.kind, _overlap(run, picture, extracted))
        for picture, extracted in zip(
            pictures, run.analysed("subjects", [picture.file for picture in pictures]), strict=True
        )
    ]
    return Breakdown.of(overlaps, SubjectFigures.of)


def _overlap(run: Run, picture: BoxedPicture, extracted: Extracted | None) -> Overlap:
    if extracted is None:
        return Overlap(0.0, 0.0)
    try:
        width, height = run.instance.dimensions(FilePicture(picture.file))
        picture.box.check_within(width, height)
    except InputError as error:
        run.fail(str(picture.file), error)
        return Overlap(0.0, 0.0)
    found = intersection_over_union(extracted.region, picture.box)
    if run.details is not None:
        run.details.boxes.append(FoundBox(picture, width, height, extracted.region, found))
    return Overlap(
        found,
        intersection_over_union(Region(0, width, 0, height), picture.box),
    )
