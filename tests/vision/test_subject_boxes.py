"""From a heat map to boxes.

Contract: regions lie inside the picture, are never empty, and the main one comes first; where nothing stands out, the
whole picture is the subject; what the network sees of a subject is a square around it wherever the picture allows it.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imgsearch.values import Region
from imgsearch.vision.subject_boxes import (
    FURTHER,
    MAX_SUBJECTS,
    MIN_SIDE,
    THRESHOLD,
    _components,
    find_subjects,
    with_context,
)

SIDES = st.integers(min_value=100, max_value=9000)
HEATS = arrays(np.float32, (32, 32), elements=st.floats(0, 1, width=32))


def heat(*boxes: tuple[int, int, int, int, float]) -> np.ndarray:
    """A map of 32 x 32 cells: columns from, to, rows from, to, and how hot."""
    cells = np.zeros((32, 32), np.float32)
    for left, right, top, bottom, value in boxes:
        cells[top:bottom, left:right] = value
    return cells


@given(HEATS, SIDES, SIDES)
@example(np.full((32, 32), THRESHOLD, np.float32), 100, 100)
def test_regions_lie_inside_the_picture(cells: np.ndarray, width: int, height: int) -> None:
    regions = find_subjects(cells, width, height)
    assert 1 <= len(regions) <= MAX_SUBJECTS
    assert len(set(regions)) == len(regions)
    for region in regions:
        assert region.check_within(width, height) is region
        assert region.x2 - region.x1 >= MIN_SIDE
        assert region.y2 - region.y1 >= MIN_SIDE


@pytest.mark.parametrize("value", [0.0, 0.05, np.nan])
def test_where_nothing_stands_out_everything_counts(value: float) -> None:
    assert find_subjects(np.full((32, 32), value, np.float32), 640, 480) == (Region(0, 640, 0, 480),)


def test_a_picture_full_of_subject() -> None:
    assert find_subjects(np.ones((32, 32), np.float32), 640, 480) == (Region(0, 640, 0, 480),)


def test_a_sharp_box_comes_back_to_the_cell() -> None:
    (region,) = find_subjects(heat((8, 16, 4, 28, 1.0)), 320, 640)
    assert abs(region.x1 - 80) <= 10
    assert abs(region.x2 - 160) <= 10
    assert abs(region.y1 - 80) <= 20
    assert abs(region.y2 - 560) <= 20


def test_a_soft_edge_is_placed_between_cells() -> None:
    """A neighbour just below the threshold moves the edge outwards, a cold one inwards."""
    warm, cold = heat((8, 16, 8, 16, 1.0)), heat((8, 16, 8, 16, 1.0))
    warm[8:16, 7] = 0.39
    (wide,), (narrow,) = find_subjects(warm, 3200, 3200), find_subjects(cold, 3200, 3200)
    assert wide.x1 < narrow.x1
    assert wide.x2 == narrow.x2


def test_the_main_subject_is_the_one_with_the_most_heat() -> None:
    regions = find_subjects(heat((1, 5, 1, 5, 0.9), (10, 30, 10, 30, 0.8), (1, 8, 20, 30, 1.0)), 320, 320)
    assert [round(region.x1 / 10) for region in regions] == [10, 1]
    assert FURTHER * 400 * 0.8 > 16 * 0.9, "the third is too small a thing beside the first"


def test_what_the_border_cuts_off_is_not_the_subject() -> None:
    """Unless there is nothing else, or it is far larger."""
    small, large = (12, 18, 12, 18, 0.9), (0, 8, 0, 16, 0.9)
    assert find_subjects(heat(large, small), 320, 320)[0].x1 >= 110
    assert find_subjects(heat(large, small), 320, 320, prefers_middle=False)[0].x1 == 0
    assert find_subjects(heat(large), 320, 320)[0].x1 == 0
    assert find_subjects(heat((0, 32, 10, 32, 0.9), (14, 17, 2, 5, 0.9)), 320, 320)[0].x1 == 0


def test_of_two_alike_the_one_in_the_middle_is_the_subject() -> None:
    regions = find_subjects(heat((1, 7, 1, 7, 0.9), (14, 20, 10, 16, 0.9)), 320, 320)
    assert [round(region.x1 / 10) for region in regions] == [14, 1]


def test_diagonal_neighbours_are_two_things() -> None:
    assert len(find_subjects(heat((4, 12, 4, 12, 1.0), (12, 20, 12, 20, 1.0)), 320, 320)) == 2


def test_winding_shapes_hang_together() -> None:
    """A spiral, whose ends are far apart along the way."""
    cells = heat((2, 30, 2, 4, 1), (28, 30, 2, 30, 1), (2, 30, 28, 30, 1), (2, 4, 8, 30, 1), (2, 24, 8, 10, 1))
    assert len(find_subjects(cells, 320, 320)) == 1


def test_a_faint_subject_is_better_than_none() -> None:
    (region,) = find_subjects(heat((8, 16, 8, 16, 0.2)), 320, 320)
    assert region.x2 - region.x1 < 120


@pytest.mark.extended
@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_what_hangs_together_is_one_component(mask: np.ndarray) -> None:
    """Against walking from cell to cell."""
    labels = _components(mask)
    assert np.array_equal(labels > 0, mask)
    seen: set[int] = set()
    for start in np.argwhere(mask).tolist():
        reached, steps = set(), [tuple(start)]
        while steps:
            place = row, column = steps.pop()
            if place not in reached and mask[row : row + 1, column : column + 1].any() and min(place) >= 0:
                reached.add(place)
                steps += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        (label,) = {int(labels[place]) for place in reached}
        assert int((labels == label).sum()) == len(reached)
        seen.add(label)
    assert seen == set(range(1, len(seen) + 1))


@given(HEATS)
def test_mirrored_heat_gives_mirrored_boxes(cells: np.ndarray) -> None:
    regions, mirrored = find_subjects(cells, 640, 640), find_subjects(cells[:, ::-1], 640, 640)
    if len(regions) == len(mirrored) == 1:
        assert abs(regions[0].x1 - (640 - mirrored[0].x2)) <= 1
        assert abs(regions[0].x2 - (640 - mirrored[0].x1)) <= 1


# Context


@st.composite
def regions_in_pictures(draw: st.DrawFn) -> tuple[Region, int, int]:
    width, height = draw(SIDES), draw(SIDES)
    x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    region = Region(x1, draw(st.integers(x1 + 1, width)), y1, draw(st.integers(y1 + 1, height)))
    return region, width, height


@given(regions_in_pictures())
def test_what_is_seen_lies_inside_the_picture_around_the_region(case: tuple[Region, int, int]) -> None:
    region, width, height = case
    seen = with_context(region, width, height)
    assert seen.check_within(width, height) is seen
    assert seen.x1 <= region.x1 + 1
    assert seen.x2 >= region.x2 - 1
    assert seen.y1 <= region.y1 + 1
    assert seen.y2 >= region.y2 - 1
    across, down = seen.x2 - seen.x1, seen.y2 - seen.y1
    assert across == down or min(across, down) == (height if down < across else width), "square where it fits"


def test_the_whole_picture_has_no_context() -> None:
    assert with_context(Region(0, 640, 0, 480), 640, 480) == Region(0, 640, 0, 480)


def test_a_tall_subject_is_not_squeezed() -> None:
    assert with_context(Region(300, 400, 100, 600), 1000, 1000) == Region(50, 650, 50, 650)


def test_context_is_moved_in_from_the_border() -> None:
    assert with_context(Region(0, 100, 0, 100), 1000, 1000) == Region(0, 120, 0, 120)
