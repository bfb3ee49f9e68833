"""Quality on real photos: the floor that no change may fall below. Needs the evaluation data beside the checkout."""

from __future__ import annotations

import pytest

from benchmarks.quality import measure
from imgsearch.evaluation.evaluate import evaluate
from imgsearch.evaluation.ground_truth import Part
from tests.conftest import EVALUATION_DATA, ROOT

RETRIEVAL = EVALUATION_DATA / "retrieval"


@pytest.mark.long
@pytest.mark.skipif(not RETRIEVAL.exists(), reason="the evaluation data is not part of the project")
def test_whole_pictures_on_real_photos() -> None:
    """435 queries against 529 photos: hit@1 at least 0.68 and mAP at least 0.65."""
    figures = measure(RETRIEVAL).overall
    assert figures.queries == 435
    assert figures.hit1 >= 0.68
    assert figures.hit10 >= 0.92
    assert figures.mean_average_precision >= 0.65


@pytest.mark.skipif(not RETRIEVAL.exists(), reason="the evaluation data is not part of the project")
def test_searches_as_people_make_them() -> None:
    """Subjects found, categories predicted and searched in; floors leave room for processors that round otherwise."""
    found = evaluate(EVALUATION_DATA, [Part.RETRIEVAL, Part.SUBJECTS])
    assert found.failures == []
    assert found.retrieval is not None
    assert found.retrieval.overall.hit1 >= 0.70
    assert found.retrieval.overall.mean_average_precision >= 0.65
    sources = {name.partition("/")[0]: figures for name, figures in found.retrieval.groups.items()}
    assert sources["marcusklasson"].hit1 >= 0.66
    assert sources["magento"].hit1 >= 0.58
    assert found.subjects is not None
    assert found.subjects.overall.found.mean >= 0.75
    assert found.subjects.overall.found.share_50 >= 0.83


def test_the_sample_catalogue() -> None:
    """The first hit is the same product for at least 90 % of the sample queries, and one of the first five for all."""
    figures = measure(ROOT / "sample_data").overall
    assert figures.hit1 >= 0.9
    assert figures.hit5 == 1.0


@pytest.mark.skipif(not RETRIEVAL.exists(), reason="the evaluation data is not part of the project")
def test_subjects_of_each_kind() -> None:
    """Cluttered photos are the hard ones; no picture with a box was learned from."""
    found = evaluate(EVALUATION_DATA, [Part.SUBJECTS]).subjects
    assert found is not None
    assert found.overall.found.mean >= 0.78
    floors = {
        "composite": 0.82,
        "hand-labelled": 0.82,
        "photo": 0.67,
        "photo-cluttered": 0.55,
        "white-background": 0.92,
    }
    measured = {kind: figures.found.mean for kind, figures in found.groups.items()}
    assert measured.keys() == floors.keys()
    assert all(measured[kind] >= floor for kind, floor in floors.items()), measured
