"""From a heat map to boxes: where the subject of a picture is, and which further ones there are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.values import Region

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["find_subjects", "with_context"]

THRESHOLD: Final = 0.4
"""Heat from which a place belongs to a subject.

On composites that were kept from training, mean IoU is the same within 0.01 from 0.3 to 0.5."""
FAINT: Final = 0.7
"""Share of the greatest heat that counts instead where no place reaches the threshold."""
NOTHING: Final = 0.1
"""Where no place is this hot, nothing stands out: the whole picture is the subject."""
FURTHER: Final = 0.15
"""A further subject has at least this share of the main one's summed heat."""
MIDDLE: Final = 0.3
"""Deviation of a bell curve over the picture, in shares of its sides: what lies away from the middle weighs less."""
CUT_OFF: Final = 0.5
"""What weighs a thing that reaches a side of the picture, for each such side: photographers frame what they mean."""
MAX_SUBJECTS: Final = 8
CONTEXT: Final = 0.1
"""Margin around a subject, as a share of its longer side."""
MIN_SIDE: Final = 8
"""Smallest side of a found subject, in pixels: less holds nothing to recognise."""


def find_subjects(
    heat: npt.NDArray[np.float32], width: int, height: int, *, prefers_middle: bool = True
) -> tuple[Region, ...]:
    """The boxes of what stands out, the main subject first.

    Args:
        heat: shape (rows, columns), 0..1: how likely each place of the picture belongs to a subject.
        width: of the picture, in pixels.
        height: likewise.
        prefers_middle: whether the place of a thing counts, or its summed heat alone.

    Returns:
        At least one region inside the picture; the whole picture where nothing stands out.
    """
    heat = np.nan_to_num(np.asarray(heat, dtype=np.float32))
    peak = heat.max()
    if peak < NOTHING:
        return (Region(0, width, 0, height),)
    # A float32, as the heat: beside a float64 of nearly the same value the peak may pass while no place does.
    threshold = np.float32(THRESHOLD)
    if peak < threshold:
        threshold = FAINT * peak
    labels = _components(heat >= threshold)
    masses = np.bincount(labels.ravel(), weights=heat.ravel()).astype(np.float64)
    masses[0] = 0.0
    weights = masses * _places(labels, heat, masses) if prefers_middle else masses
    order = np.argsort(-weights, kind="stable")
    chosen = [int(label) for label in order[:MAX_SUBJECTS] if masses[label] >= FURTHER * masses[order[0]] > 0]
    regions = [_box(heat, labels == label, threshold, width, height) for label in chosen]
    return tuple(dict.fromkeys(regions))


def _places(
    labels: npt.NDArray[np.int64], heat: npt.NDArray[np.float32], masses: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """What the place of each component weighs, 0..1.

    Args:
        labels: shape (rows, columns), from 1, 0 outside.
        heat: the same shape.
        masses: summed heat of each label, shape (labels,).
    """
    weights = np.ones(len(masses))
    for axis, cells in enumerate(labels.shape):
        places = (np.arange(cells) + 0.5) / cells - 0.5
        along = heat * (places[:, None] if axis == 0 else places)
        centres = np.bincount(labels.ravel(), weights=along.ravel()) / np.maximum(masses, 1e-9)
        weights *= np.exp(-((centres / MIDDLE) ** 2) / 2)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        weights[np.bincount(side, minlength=len(weights)) > 0] *= CUT_OFF
    return weights


def with_context(region: Region, width: int, height: int) -> Region:
    """The part of the picture that the network sees of a subject: square where the picture allows it, with a margin.

    Squeezing a tall subject into a square would make it another shape, and a little of the surroundings tells where
    its outline ends.
    """
    across, down = region.x2 - region.x1, region.y2 - region.y1
    side = max(across, down) * (1 + 2 * CONTEXT)
    x1, x2 = _span((region.x1 + region.x2) / 2, side, width)
    y1, y2 = _span((region.y1 + region.y2) / 2, side, height)
    return Region(x1, x2, y1, y2)


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    """Begin and end of a span of that length around the centre, moved and cut to lie within 0..limit."""
    length = max(1, min(round(side), limit))
    begin = min(max(round(centre - length / 2), 0), limit - length)
    return begin, begin + length


def _components(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Label the parts of a mask that hang together side by side, from 1; shape as the mask, 0 outside of it.

    Each row is taken as runs, and runs that touch in neighbouring rows are united: a tenth of the time of spreading
    labels from cell to cell.
    """
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, begins = np.nonzero(steps == 1)
    runs = list(zip(rows.tolist(), begins.tolist(), np.nonzero(steps == -1)[1].tolist(), strict=True))
    parents = list(range(len(runs)))

    def last_of(run: int) -> int:
        while parents[run] != run:
            parents[run] = run = parents[parents[run]]
        return run

    above = 0
    for run, (row, begin, end) in enumerate(runs):
        while (runs[above][0], runs[above][2]) <= (row - 1, begin):
            above += 1
        for other in range(above, run):
            if runs[other][0] == row or runs[other][1] >= end:
                break
            parents[last_of(other)] = last_of(run)
    lasts = [last_of(run) for run in range(len(runs))]
    numbers = {last: number for number, last in enumerate(sorted(set(lasts)), 1)}
    labels = np.zeros(mask.shape, np.int64)
    for (row, begin, end), last in zip(runs, lasts, strict=True):
        labels[row, begin:end] = numbers[last]
    return labels


def _box(
    heat: npt.NDArray[np.float32], component: npt.NDArray[np.bool_], threshold: np.float32, width: int, height: int
) -> Region:
    rows, columns = np.nonzero(component)
    own = np.where(component, heat, 0.0)
    band = heat[rows.min() : rows.max() + 1]
    strip = heat[:, columns.min() : columns.max() + 1]
    left, right = _edges(own.max(axis=0), band.max(axis=0), threshold)
    top, bottom = _edges(own.max(axis=1), strip.max(axis=1), threshold)
    x1, x2 = _pixels(left / heat.shape[1], right / heat.shape[1], width)
    y1, y2 = _pixels(top / heat.shape[0], bottom / heat.shape[0], height)
    return Region(x1, x2, y1, y2)


def _edges(
    inside: npt.NDArray[np.float32], around: npt.NDArray[np.float32], threshold: np.float32
) -> tuple[float, float]:
    """Where a profile of the heat passes the threshold, in cells: the map is coarse, its slope tells more.

    Args:
        inside: greatest heat of the component by column (or row), 0 where it has none.
        around: likewise of everything in the component's rows.
        threshold: of the component.
    """
    places = np.nonzero(inside)[0]
    first, last = int(places[0]), int(places[-1])
    begin, end = float(first), float(last + 1)
    if first > 0 and around[first - 1] < threshold:
        begin = first + 0.5 - float((inside[first] - threshold) / (inside[first] - around[first - 1]))
    if last + 1 < len(around) and around[last + 1] < threshold:
        end = last + 0.5 + float((inside[last] - threshold) / (inside[last] - around[last + 1]))
    return begin, end


def _pixels(begin: float, end: float, limit: int) -> tuple[int, int]:
    """A span in shares of the side to whole pixels within it, MIN_SIDE at least."""
    first, last = max(0, math.floor(begin * limit)), min(limit, math.ceil(end * limit))
    if last - first < MIN_SIDE:
        return _span((first + last) / 2, MIN_SIDE, limit)
    return first, last
