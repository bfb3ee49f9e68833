"""Pictures are ranked together with their siblings: by the formula, at once, and every page by the same order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.categories import OTHER
from imgsearch.engine.engine import PRODUCT_PICTURES, Engine, Hit
from imgsearch.engine.evidence import similarities
from imgsearch.engine.filters import compile_filter
from imgsearch.engine.score import cosines, hamming
from imgsearch.engine.store import EVERYTHING, Pictures, category_condition, product_condition
from imgsearch.records import MAX_RESULTS, Attributes
from tests.engine.builders import (
    CALIBRATION,
    Features,
    change,
    clustered,
    query,
    ranking_similarities,
    scattered,
    stored,
    with_siblings,
    write,
)

# The formula

POOL = np.concatenate([scattered(6, 21), -scattered(2, 21)])
"""With opposite ones, which cancel each other out."""
pictures = st.lists(
    st.tuples(st.integers(0, len(POOL) - 1), st.sampled_from("abc"), st.sampled_from([0, OTHER])),
    min_size=1,
    max_size=24,
)


def columns(ids: list[int], drawn: list[tuple[int, str, int]]) -> Pictures:
    groups = [drawn[number][1:] for number in ids]
    return Pictures(np.array(ids, np.int64), groups, POOL[[drawn[number][0] for number in ids]])


@settings(deadline=None)
@given(drawn=pictures, data=st.data())
def test_similarities_are_those_of_the_formula(drawn: list[tuple[int, str, int]], data: st.DataObject) -> None:
    """Whichever pictures are candidates and whichever of their products lend evidence, in whatever order and pieces."""
    everyone = range(len(drawn))
    asked = data.draw(st.lists(st.sampled_from(everyone), min_size=1, unique=True))
    lending = data.draw(st.permutations(everyone))[: data.draw(st.integers(0, len(drawn)))]
    cut = data.draw(st.integers(0, len(lending)))
    pieces = [columns(part, drawn) for part in (lending[:cut], lending[cut:]) if part]
    wanted = scattered(1, 22)[0]
    values = similarities(wanted, columns(asked, drawn), pieces)
    assert values.dtype == np.float32
    assert values.shape == (len(asked),)
    by_formula = []
    for number in asked:
        siblings = [POOL[drawn[n][0]] for n in lending if n != number and drawn[n][1:] == drawn[number][1:]]
        own = POOL[drawn[number][0]]
        by_formula.append(with_siblings(wanted, own, siblings))
    assert values == pytest.approx(by_formula, abs=1e-6)
    assert similarities(wanted, columns(asked, drawn), pieces[::-1]) == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize("dimension", [3, 32, 1280])
def test_a_picture_without_siblings_keeps_its_cosine(dimension: int) -> None:
    """To the last bit."""
    features, wanted = scattered(50, 1, dimension), scattered(1, 2, dimension)[0]
    alone = Pictures(np.arange(50), [(str(n), 0) for n in range(50)], features)
    own = cosines(wanted, features).tolist()
    assert similarities(wanted, alone, []).tolist() == own
    assert similarities(wanted, alone, [alone]).tolist() == own


def test_unrelated_siblings_do_little_harm() -> None:
    """The mean of 63 unrelated features is short; that of related ones is as long as a feature."""
    dimension = 256
    wanted = scattered(1, 3, dimension)[0]
    for related in (False, True):
        others = stored(wanted + 0.03 * scattered(63, 4, dimension)) if related else scattered(63, 4, dimension)
        own = stored(wanted + scattered(1, 5, dimension)[0])
        group = Pictures(np.arange(64), [("p", 0)] * 64, np.vstack([own, others]))
        (first, *_) = similarities(wanted, group, [group])
        if related:
            assert first > own @ wanted + 0.1
        else:
            assert first == pytest.approx(own @ wanted, abs=0.05)


# In an instance


def ranked(engine: Engine, wanted: Features, content: bytes = b"another picture", **options: Any) -> list[str]:
    hits = engine.search(query(wanted, content), CALIBRATION, num=100, **options).hits
    return [f"{hit.item.key.product_id}/{hit.item.key.pic_name}" for hit in hits]


WANTED, ASIDE, FAR = np.linalg.qr(np.random.default_rng(6).standard_normal((32, 3)))[0].T.astype(np.float32)
NEAR, FAIR = stored(WANTED + 0.5 * ASIDE), stored(WANTED + 0.6 * ASIDE)


@pytest.fixture(params=[0, OTHER], ids=["product", "generic"])
def rivals(request: pytest.FixtureRequest, engine: Engine) -> Engine:
    """Product ``a`` has the nearest picture and one of something else, ``b`` two that are fairly near."""
    category = request.param
    write(
        engine.store,
        [
            change("a", "1", NEAR, category=category),
            change("a", "2", stored(FAR), category=category),
            change("b", "1", FAIR, category=category, attributes=Attributes(int_attr=1)),
            change("b", "2", stored(WANTED), content=b"own", category=category, attributes=Attributes(int_attr=2)),
        ],
    )
    return engine


def test_siblings_decide_between_similar_pictures(rivals: Engine) -> None:
    """Order, Score and SortExprValues are of the same number; the distance is the picture's own."""
    hits = rivals.search(query(stored(WANTED)), CALIBRATION, num=10).hits
    assert [str(hit.item.key.product_id + hit.item.key.pic_name) for hit in hits] == ["b2", "b1", "a1", "a2"]
    by_formula = [
        with_siblings(stored(WANTED), own, [other])
        for own, other in ((stored(WANTED), FAIR), (FAIR, stored(WANTED)), (NEAR, stored(FAR)), (stored(FAR), NEAR))
    ]
    scores = CALIBRATION.scores(np.array(by_formula, np.float32))
    assert [hit.score for hit in hits] == pytest.approx(scores.tolist(), abs=1e-6)
    assert [float(hit.sort_expr_values.split(";")[0]) for hit in hits] == pytest.approx((10 * scores).tolist())
    distances = hamming(stored(WANTED), np.stack([stored(WANTED), FAIR, NEAR, stored(FAR)]))
    assert [hit.distance for hit in hits] == distances.tolist()
    least = float(scores[1] + scores[2]) / 2
    assert ranked(rivals, stored(WANTED), min_score=least) == ["b/2", "b/1"]
    assert ranked(rivals, stored(WANTED), distinct_product=True) == ["b/2", "a/1"]


def test_a_sibling_speaks_whether_or_not_it_may_be_found(rivals: Engine) -> None:
    """A condition selects what is found; of another category, a sibling shows another thing."""
    first = compile_filter("int_attr=1")
    (hit,) = rivals.search(query(stored(WANTED)), CALIBRATION, num=10, condition=first).hits
    (expected,) = CALIBRATION.scores(np.array([with_siblings(stored(WANTED), FAIR, [stored(WANTED)])], np.float32))
    assert hit.score == pytest.approx(expected, abs=1e-6)
    write(rivals.store, [change("b", "2", stored(WANTED), category=5)])
    assert ranked(rivals, stored(WANTED)) == ["b/2", "b/1", "a/1", "a/2"]
    (hit,) = rivals.search(query(stored(WANTED)), CALIBRATION, num=10, condition=first).hits
    (expected,) = CALIBRATION.scores(np.array([float(FAIR @ stored(WANTED))], np.float32))
    assert hit.score == pytest.approx(expected, abs=1e-6)
    assert ranked(rivals, stored(WANTED), condition=category_condition((5,))) == ["b/2"]


def test_what_is_deleted_has_no_say_any_more(rivals: Engine) -> None:
    """From the commit on, in the index or newer than it."""
    rivals.rebuild()
    assert ranked(rivals, NEAR)[0] == "b/1"
    with rivals.committing() as store:
        store.delete(product_condition("b", "2"))
    with rivals.committing() as store:
        store.delete(product_condition("a", "2"))
    assert ranked(rivals, NEAR) == ["a/1", "b/1"]
    with rivals.committing() as store:  # what is new speaks at once too; one of these is of the rivals' category
        store.upsert(change("a", "3", stored(-WANTED + ASIDE), category=OTHER))
        store.upsert(change("a", "4", stored(-WANTED + ASIDE), category=0))
    assert ranked(rivals, NEAR)[0] == "b/1"


def test_the_excluded_picture_has_no_say_either(rivals: Engine) -> None:
    """Leaving out the query picture must not leave its evidence; found, it comes first with Score 1."""
    own = stored(WANTED)
    hits = rivals.search(query(own, b"own"), CALIBRATION, num=10).hits
    assert (hits[0].item.key.pic_name, hits[0].score, hits[0].identical) == ("2", 1.0, True)
    assert hits[1].item.key.product_id == "b"
    assert hits[1].score > hits[2].score
    assert ranked(rivals, own, b"own", exclude_identical=True) == ["b/1", "a/1", "a/2"]
    left = rivals.search(query(own, b"own"), CALIBRATION, num=10, exclude_identical=True).hits
    scores = {hit.item.key.product_id + hit.item.key.pic_name: hit.score for hit in left}
    (alone,) = CALIBRATION.scores(np.array([FAIR @ own], np.float32))
    assert scores["b1"] == pytest.approx(alone, abs=1e-6)
    assert set(scores) == {"a1", "a2", "b1"}


def test_the_first_64_pictures_by_name_speak_for_a_huge_product(engine: Engine) -> None:
    """For those after them as well; and the search runs as many statements as for a small one."""
    features = clustered(300, 5, clusters=4)
    write(engine.store, [change("huge", f"{n:03}", feature) for n, feature in enumerate(features)])
    hits = engine.search(query(features[7]), CALIBRATION, num=100).hits
    names = [f"{n:03}" for n in range(300)]
    values = ranking_similarities(features[7], features, ["huge"] * 300, names)
    order = sorted(range(300), key=lambda n: (-values[n], n))
    assert PRODUCT_PICTURES == 64
    assert [int(hit.item.key.pic_name) for hit in hits] == order[:100]
    assert [hit.score for hit in hits] == pytest.approx(
        CALIBRATION.scores(np.array(values, np.float32))[order[:100]].tolist(), abs=1e-6
    )


def statements(engine: Engine, wanted: Features, **options: Any) -> int:
    """How many statements a search runs."""
    seen: list[str] = []
    engine.store._connection.set_trace_callback(seen.append)
    engine.search(query(wanted), CALIBRATION, **options)
    engine.store._connection.set_trace_callback(None)
    return len(seen)


# Pages

STATES = ["no generation", "flat", "IVF", "flat with tail", "IVF with tail"]
OPTIONS = {
    "everything": {},
    "distinct": {"distinct_product": True},
    "filter": {"condition": compile_filter("int_attr>=700")},
    "distinct filter": {"condition": compile_filter("int_attr>=700"), "distinct_product": True},
    "excluded": {"exclude_identical": True},
    "least": {"min_score": 0.6, "distinct_product": True},
}


def fill_products(engine: Engine, features: Features, sizes: Features, first: int = 0) -> None:
    owners = np.repeat(np.arange(len(sizes)), sizes)[first : first + len(features)]
    write(
        engine.store,
        [
            change(f"p{owner}", str(n), feature, attributes=Attributes(int_attr=n))
            for n, (owner, feature) in enumerate(zip(owners.tolist(), features, strict=True), first)
        ],
    )


@pytest.fixture(scope="module", params=STATES)
def catalogue(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """3,000 pictures in products of one to nine, and one of 400 that has something of everything."""
    folder = tmp_path_factory.mktemp("catalogue")
    Engine.create(folder, {})
    engine = Engine.open(folder, write=True)
    sizes = np.concatenate([[400], np.random.default_rng(7).integers(1, 10, 3000)])
    features = clustered(3000, 8, clusters=500)
    indexed = 2400 if "tail" in request.param else 3000
    fill_products(engine, features[:indexed], sizes)
    if request.param != "no generation":
        engine.rebuild(flat_limit=100 if "IVF" in request.param else 10_000)
    fill_products(engine, features[indexed:], sizes, indexed)
    yield engine
    engine.close()


@pytest.mark.parametrize("name", OPTIONS)
def test_pages_are_slices_of_one_order(catalogue: Engine, name: str) -> None:
    """However they are cut: nothing twice, nothing missing, and Score falls."""
    wanted = query(clustered(3000, 8, clusters=500)[5], b"p0/5")
    options: Any = OPTIONS[name]
    whole: list[Hit] = []
    for size, starts in ((100, range(0, MAX_RESULTS, 100)), (37, range(0, MAX_RESULTS, 37)), (7, (0, 3, 241, 496))):
        for start in starts:
            page = catalogue.search(wanted, CALIBRATION, num=size, start=start, **options)
            if size == 100:
                whole += page.hits
            assert page.hits == whole[start : start + size]
            assert page.found == catalogue.store.count(options.get("condition", EVERYTHING))
    assert len({hit.item.id for hit in whole}) == len(whole)
    assert len({hit.item.key.product_id for hit in whole}) == len(whole) or "distinct_product" not in options
    assert len(whole) == MAX_RESULTS or name not in {"everything", "filter", "excluded"}
    sorted_part = whole[:100] if "distinct" in name else whole  # farther ones come from layers of their own
    assert [hit.score for hit in sorted_part] == sorted((hit.score for hit in sorted_part), reverse=True)


@pytest.mark.parametrize("name", ["everything", "filter"])
def test_every_page_costs_the_same_statements(catalogue: Engine, name: str) -> None:
    """Their number is that of the candidates, not of results, products or pictures."""
    options: Any = OPTIONS[name]
    counts = {
        statements(catalogue, wanted, num=num, start=start, **options)
        for wanted in clustered(3000, 8, clusters=500)[[5, 1500, 2900]]
        for num, start in ((1, 0), (100, 0), (100, 400))
    }
    assert max(counts) <= 18
    assert max(counts) - min(counts) <= 1  # as many more as equal candidates at the edge of the index take
