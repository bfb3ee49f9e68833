"""Quality on real photos: the floor that no change may fall below. Needs the evaluation data beside the checkout."""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks.quality import LEFT_OUT, dealt, measure
from imgsearch.evaluation.evaluate import evaluate
from imgsearch.evaluation.ground_truth import Part
from imgsearch.evaluation.retrieval import RetrievalFigures
from tests import milvus_server, postgres_server
from tests.conftest import EVALUATION_DATA, ROOT

pytestmark = [pytest.mark.extended, pytest.mark.networks]

RETRIEVAL = EVALUATION_DATA / "retrieval"


@pytest.mark.long
@pytest.mark.skipif(not RETRIEVAL.exists(), reason="the evaluation data is not part of the project")
def test_whole_pictures_on_real_photos() -> None:
    """435 queries against 529 photos, without looking for subjects."""
    figures = measure(RETRIEVAL)[0].overall
    assert figures.queries == 435
    assert figures.hit1 >= 0.79
    assert figures.hit10 >= 0.93
    assert figures.mean_average_precision >= 0.83


@pytest.mark.skipif(not RETRIEVAL.exists(), reason="the evaluation data is not part of the project")
def test_searches_as_people_make_them() -> None:
    """Subjects found, categories predicted and searched in; floors leave room for processors that round otherwise."""
    found = evaluate(EVALUATION_DATA, [Part.RETRIEVAL, Part.SUBJECTS])
    assert found.failures == []
    assert found.retrieval is not None
    assert found.retrieval.overall.hit1 >= 0.81
    assert found.retrieval.overall.mean_average_precision >= 0.85
    sources = {name.partition("/")[0]: figures for name, figures in found.retrieval.groups.items()}
    assert sources["marcusklasson"].hit1 >= 0.77
    assert sources["magento"].hit1 >= 0.74
    assert found.subjects is not None
    assert found.subjects.overall.found.mean >= 0.75
    assert found.subjects.overall.found.share_50 >= 0.83


@pytest.mark.long
@pytest.mark.skipif(not RETRIEVAL.exists(), reason="the evaluation data is not part of the project")
def test_what_carries_over() -> None:
    """Each source with parameters that learned nothing from it: what strangers' catalogues may expect."""
    left_out = evaluate(EVALUATION_DATA, [Part.RETRIEVAL], left_out=LEFT_OUT).left_out
    assert left_out is not None
    assert left_out.overall.queries == 435
    assert left_out.overall.hit1 >= 0.77
    assert left_out.overall.mean_average_precision >= 0.81
    assert all(figures.calibration.error is not None for figures in left_out.groups.values())
    assert max(figures.calibration.error or 0.0 for figures in left_out.groups.values()) <= 0.05


@pytest.mark.long
@pytest.mark.skipif(not RETRIEVAL.exists(), reason="the evaluation data is not part of the project")
def test_catch_all_products_do_no_harm() -> None:
    """With all photos dealt at random to 20 products, neither siblings nor lift push the right ones down."""
    hit1, precision = dealt(RETRIEVAL, lift=True)
    assert hit1 >= 0.70
    assert precision >= 0.64


def test_the_sample_catalogue() -> None:
    """The first hit is the same product for at least 90 % of the sample queries, and one of the first five for all."""
    figures = measure(ROOT / "sample_data")[0].overall
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


@pytest.mark.long
@pytest.mark.skipif(not RETRIEVAL.exists(), reason="the evaluation data is not part of the project")
@pytest.mark.parametrize("name", ["pgvector", "milvus"])
def test_other_engines_find_the_same(name: str) -> None:
    """Beside the engine in a folder; nothing of the evaluation is left in the database."""
    if not postgres_server.is_installed():
        pytest.skip(postgres_server.MISSING)
    index = None
    if name == "milvus":
        if (reason := milvus_server.why_not()) is not None:
            pytest.skip(f"no Milvus: {reason}")
        index = f"milvus://127.0.0.1:{milvus_server.shared_server()[1].port}"
    server = postgres_server.shared_server()
    url = server.url()
    figures = evaluate(EVALUATION_DATA, [Part.RETRIEVAL], engine=url, index=index).retrieval
    assert figures is not None
    expected = _in_a_folder()
    assert figures.overall.queries == expected.queries == 435
    assert figures.overall.hit1 == pytest.approx(expected.hit1, abs=0.001)
    assert figures.overall.mean_average_precision == pytest.approx(expected.mean_average_precision, abs=0.001)
    with server.administrator(postgres_server.DATABASE) as connection:
        schema = url.rpartition("=")[2]
        assert connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchall() == []


@cache
def _in_a_folder() -> RetrievalFigures:
    found = evaluate(EVALUATION_DATA, [Part.RETRIEVAL]).retrieval
    assert found is not None
    return found.overall
