"""Calibration of Score: the share of results with a given Score that show the right product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BINS", "THRESHOLDS", "Bin", "CalibrationFigures", "Grade", "Kept"]

BINS: Final = 10
"""Number of bins of equal width from 0 to 1; lower bounds are inclusive, and the last upper bound."""
THRESHOLDS: Final = (0.3, 0.5, 0.7)


@dataclass(frozen=True, slots=True)
class Grade:
    """The Score of one result, and whether it is right."""

    score: float
    """0 to 1."""
    right: bool


@dataclass(frozen=True, slots=True)
class Bin:
    """Results with similar Scores."""

    lower: float
    upper: float
    results: int
    score: float | None
    """Their mean Score; None without results."""
    right: float | None
    """Share of them that show the right product; None without results."""

    @classmethod
    def of(cls, number: int, grades: Sequence[Grade]) -> Bin:
        """Summarise the results of bin ``number``, which counts from 0."""
        count = len(grades)
        return cls(
            number / BINS,
            (number + 1) / BINS,
            count,
            sum(grade.score for grade in grades) / count if count else None,
            _share_right(grades),
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """What a minimum Score (``--min-score``) keeps."""

    threshold: float
    precision: float | None
    """Share of the kept results that are right; None if none is kept."""
    recall: float | None
    """Share of the right results that are kept; None if none is right."""

    @classmethod
    def of(cls, threshold: float, grades: Iterable[Grade]) -> Kept:
        """Summarise results."""
        grades = list(grades)
        kept = [grade for grade in grades if grade.score >= threshold]
        right = sum(grade.right for grade in grades)
        return cls(threshold, _share_right(kept), sum(grade.right for grade in kept) / right if right else None)


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """Calibration over the results of all queries."""

    results: int
    error: float | None
    """Expected calibration error: mean over the results of the distance between mean Score and share right in their
    bin, 0 to 1 (Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI
    2015); None without results."""
    bins: tuple[Bin, ...]
    kept: tuple[Kept, ...]
    """For each of THRESHOLDS."""

    @classmethod
    def of(cls, grades: Sequence[Grade]) -> CalibrationFigures:
        """Summarise results, possibly none."""
        binned: list[list[Grade]] = [[] for _ in range(BINS)]
        for grade in grades:
            binned[min(int(grade.score * BINS), BINS - 1)].append(grade)
        bins = tuple(Bin.of(number, inside) for number, inside in enumerate(binned))
        distances = [
            one.results * abs(one.score - one.right) for one in bins if one.score is not None and one.right is not None
        ]
        return cls(
            len(grades),
            sum(distances) / len(grades) if grades else None,
            bins,
            tuple(Kept.of(threshold, grades) for threshold in THRESHOLDS),
        )


def _share_right(grades: Sequence[Grade]) -> float | None:
    return sum(grade.right for grade in grades) / len(grades) if grades else None
