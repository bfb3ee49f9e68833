"""Predicting the category, and the outline of a subject.

Contract: chances over all ids of a product instance sum to 1, best first; more evidence for a category never lowers its
chance; an outline is a picture of the heat inside the square around the region, whatever the picture's proportions.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.service.categories import CATEGORIES
from imgsearch.values import Region
from imgsearch.vision.category import OUTLINE_CELLS, CategoryPredictor, outline
from imgsearch.vision.trained_weights import (
    CATEGORY,
    COLOUR,
    HEAD,
    SHAPE,
    SUBJECT,
    SUBJECT_2,
    load_parameters,
    parameters_hash,
)

EMPTY = np.zeros(OUTLINE_CELLS**2, np.float32)


@pytest.fixture(scope="module")
def predictor() -> CategoryPredictor:
    return CategoryPredictor()


@pytest.mark.extended
@given(st.lists(st.floats(-50, 50), min_size=len(CATEGORIES), max_size=len(CATEGORIES)))
def test_chances_are_chances(evidence: list[float]) -> None:
    chances = CategoryPredictor().chances(np.array(evidence, np.float32), EMPTY)
    assert {category_id for category_id, _ in chances} == set(CATEGORIES)
    values = [chance for _, chance in chances]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1)


@pytest.mark.parametrize("category_id", sorted(CATEGORIES))
def test_evidence_speaks_for_its_category(predictor: CategoryPredictor, category_id: int) -> None:
    evidence = np.zeros(len(CATEGORIES), np.float32)
    before = dict(predictor.chances(evidence, EMPTY))[category_id]
    evidence[predictor.ids.index(category_id)] = 3
    assert dict(predictor.chances(evidence, EMPTY))[category_id] > before


def test_an_outline_is_upright_and_in_place() -> None:
    """Heat in the upper left quarter of the region lands in the upper left quarter of the outline."""
    heat = np.zeros((32, 32), np.float32)
    heat[8:16, 8:16] = 1
    cells = outline(heat, Region(80, 240, 160, 480), 320, 640).reshape(OUTLINE_CELLS, OUTLINE_CELLS)
    assert cells[: OUTLINE_CELLS // 2, : OUTLINE_CELLS // 2].sum() == pytest.approx(cells.sum(), rel=0.15)
    assert cells.max() > 0.9


def test_an_outline_keeps_proportions() -> None:
    """A subject twice as high as wide fills half of the outline's width, in wide and in tall pictures."""
    for width, height in ((400, 400), (800, 400), (400, 1600)):
        region = Region(100, 200, 100, 300)
        heat = np.zeros((32, 32), np.float32)
        heat[round(100 / height * 32) : round(300 / height * 32), round(100 / width * 32) : round(200 / width * 32)] = 1
        cells = outline(heat, region, width, height).reshape(OUTLINE_CELLS, OUTLINE_CELLS) > 0.5
        assert 3 <= cells.any(axis=0).sum() <= 6
        assert 7 <= cells.any(axis=1).sum() <= 10


def test_outside_of_the_picture_there_is_nothing() -> None:
    cells = outline(np.ones((32, 32), np.float32), Region(0, 100, 0, 300), 300, 300)
    assert cells.reshape(OUTLINE_CELLS, OUTLINE_CELLS)[:, 0].max() == 0
    assert cells.max() == pytest.approx(1)


@pytest.mark.parametrize("name", [SUBJECT, SUBJECT_2, HEAD, SHAPE, COLOUR, CATEGORY])
def test_trained_parameters_are_numbers_and_nothing_else(name: str) -> None:
    parameters = load_parameters(name)
    assert all(np.isfinite(array.astype(np.float64)).all() for array in parameters.values())
    assert len(parameters_hash(name)) == 64
