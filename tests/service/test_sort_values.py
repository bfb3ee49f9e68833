"""SortExprValues: the first value rises with Score, and only an identical picture reaches the maximum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.search.score import MAX_SCORE
from imgsearch.service.sort_values import relevance, sort_expr_values


def test_an_identical_picture_has_the_exact_string_of_the_service() -> None:
    assert sort_expr_values(1.0, 0, identical=True) == "7.33136443711219e+24;0"
    assert sort_expr_values(0.2, 17, identical=True) == "7.33136443711219e+24;0"


@given(scores=st.tuples(st.floats(0, MAX_SCORE), st.floats(0, MAX_SCORE)), distance=st.integers(0, 512))
@settings(deadline=None)
def test_relevance_rises_with_score(scores: tuple[float, float], distance: int) -> None:
    """The first value orders as Score does, is far from the maximum, and is what is printed."""
    lower, higher = sorted(scores)
    assert relevance(lower, identical=False) <= relevance(higher, identical=False) < 10
    assert relevance(higher, identical=False) < relevance(1.0, identical=True)
    first, second = sort_expr_values(higher, distance, identical=False).split(";")
    assert float(first) == pytest.approx(relevance(higher, identical=False), rel=1e-14)
    assert int(second) == distance


def test_relevance_tells_scores_apart() -> None:
    values = [relevance(score, identical=False) for score in np.linspace(0, MAX_SCORE, 1000)]
    assert values == sorted(set(values))
