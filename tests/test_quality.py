"""Quality on real photos: the floor that no change may fall below. Needs the evaluation data beside the checkout."""

from __future__ import annotations

import pytest

from benchmarks.quality import measure
from tests.conftest import EVALUATION_DATA, ROOT

RETRIEVAL = EVALUATION_DATA / "retrieval"


@pytest.mark.skipif(not RETRIEVAL.exists(), reason="the evaluation data is not part of the project")
def test_whole_pictures_on_real_photos() -> None:
    """435 queries against 529 photos: hit@1 at least 0.64 and mAP at least 0.57."""
    figures = measure(RETRIEVAL).overall
    assert figures.queries == 435
    assert figures.hit1 >= 0.64
    assert figures.hit10 >= 0.91
    assert figures.mean_average_precision >= 0.57


def test_the_sample_catalogue() -> None:
    """The first hit is the same product for at least 90 % of the sample queries, and one of the first five for all."""
    figures = measure(ROOT / "sample_data").overall
    assert figures.hit1 >= 0.9
    assert figures.hit5 == 1.0
