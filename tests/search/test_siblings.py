"""Pictures are ranked together with their siblings, and lifted by the best of their product.

By the formulas, at once, and every page by the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING, Condition, category_condition, product_condition
from imgsearch.search.family import PRODUCT_PICTURES
from imgsearch.search.ranking import Hit, Ranker
from imgsearch.search.score import cosines, hamming
from imgsearch.search.siblings import (
    WITH_LIFT,
    WITHOUT_LIFT,
    Members,
    RankingWeights,
    Similarities,
    ranking_weights,
    similarities,
)
from imgsearch.service.categories import OTHER
from imgsearch.storage.engine import Engine
from imgsearch.storage.port import Pictures
from imgsearch.types import MAX_RESULTS
from imgsearch.values import Attributes
from tests.storage.builders import (
    CALIBRATION,
    DIMENSION,
    Features,
    change,
    clustered,
    lifted,
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


def compared(
    wanted: Features,
    candidates: Pictures,
    siblings: list[Pictures],
    weights: RankingWeights = WITHOUT_LIFT,
    identical: Pictures | None = None,
) -> Similarities:
    """``similarities`` of pictures, whose products are numbered in the order in which they come."""
    numbers: dict[str, int] = {}
    ranked, *others = [Members.of(some, numbers) for some in (candidates, *siblings)]
    return similarities(wanted, ranked, others, weights, None if identical is None else Members.of(identical, numbers))


pictures = st.lists(
    st.tuples(st.integers(0, len(POOL) - 1), st.sampled_from("abc"), st.sampled_from([0, OTHER])),
    min_size=1,
    max_size=24,
)


def columns(ids: list[int], drawn: list[tuple[int, str, int]]) -> Pictures:
    groups = [drawn[number][1:] for number in ids]
    return Pictures(np.array(ids, np.int64), groups, POOL[[drawn[number][0] for number in ids]])


@settings(deadline=None)
@given(drawn=pictures, weights=st.sampled_from([WITHOUT_LIFT, WITH_LIFT]), data=st.data())
def test_similarities_are_those_of_the_formula(
    drawn: list[tuple[int, str, int]], weights: RankingWeights, data: st.DataObject
) -> None:
    """Whichever pictures are candidates and whichever of their products lend evidence, in whatever order and pieces."""
    everyone = range(len(drawn))
    shuffled = data.draw(st.permutations(everyone))
    asked = shuffled[: data.draw(st.integers(1, len(drawn)))]
    same = [number for number in everyone if number not in asked][: data.draw(st.integers(0, 3))]
    lending = data.draw(st.permutations(everyone))[: data.draw(st.integers(0, len(drawn)))]
    cut = data.draw(st.integers(0, len(lending)))
    pieces = [columns(part, drawn) for part in (lending[:cut], lending[cut:]) if part]
    wanted = scattered(1, 22)[0]
    found = compared(wanted, columns(asked, drawn), pieces, weights, columns(same, drawn))
    for values in found:
        assert values.dtype == np.float32
        assert values.shape == (len(asked),)
    groups = [one[1] if weights.across_categories else one[1:] for one in drawn]
    by_formula = []
    for number in asked:
        siblings = [POOL[drawn[n][0]] for n in lending if n != number and groups[n] == groups[number]]
        own = POOL[drawn[number][0]]
        by_formula.append(with_siblings(wanted, own, siblings, weights))
    assert found.unlifted == pytest.approx(by_formula, abs=1e-6)
    known = {groups[n]: [POOL[drawn[m][0]] for m in lending if groups[m] == groups[n]] for n in lending}
    own_cosines = [float(POOL[drawn[n][0]] @ wanted) for n in same]
    everything = lifted([*by_formula, *own_cosines], [groups[n] for n in [*asked, *same]], known, weights.lift)
    assert found.lifted == pytest.approx(everything[: len(asked)], abs=1e-5)
    for values, again in zip(
        found, compared(wanted, columns(asked, drawn), pieces[::-1], weights, columns(same, drawn)), strict=True
    ):
        assert again == pytest.approx(values, abs=1e-5)


@pytest.mark.parametrize("dimension", [3, 32, 1280])
def test_a_picture_without_siblings_keeps_its_cosine(dimension: int) -> None:
    """To the last bit."""
    features, wanted = scattered(50, 1, dimension), scattered(1, 2, dimension)[0]
    alone = Pictures(np.arange(50), [(str(n), 0) for n in range(50)], features)
    own = cosines(wanted, features).tolist()
    for weights in (WITHOUT_LIFT, WITH_LIFT):
        assert compared(wanted, alone, [], weights).lifted.tolist() == own
        assert compared(wanted, alone, [alone], weights).lifted.tolist() == own


def test_unrelated_siblings_do_little_harm() -> None:
    """The mean of 63 unrelated features is short; that of related ones is as long as a feature."""
    dimension = 256
    wanted = scattered(1, 3, dimension)[0]
    for related in (False, True):
        others = stored(wanted + 0.03 * scattered(63, 4, dimension)) if related else scattered(63, 4, dimension)
        own = stored(wanted + scattered(1, 5, dimension)[0])
        group = Pictures(np.arange(64), [("p", 0)] * 64, np.vstack([own, others]))
        (first, *_) = compared(wanted, group, [group]).lifted
        if related:
            assert first > own @ wanted + 0.1
        else:
            assert first == pytest.approx(own @ wanted, abs=0.05)


# The lift


def test_what_an_instance_is_ranked_by() -> None:
    """The first two versions of features keep what they had."""
    assert {ranking_weights(version) for version in (1, 2)} == {WITHOUT_LIFT} == {RankingWeights(0.5, 5.0, 0.0, False)}
    assert {ranking_weights(version) for version in (3, 4)} == {WITH_LIFT} == {RankingWeights(0.75, 3.0, 0.8, True)}
    assert WITH_LIFT.without_lift() == RankingWeights(0.75, 3.0, 0.0, True)


def product(name: str, size: int, likeness: float, seed: int, dimension: int = 256) -> tuple[list[str], Features]:
    """Pictures of which any two have about that cosine."""
    common, *others = np.linalg.qr(np.random.default_rng(seed).standard_normal((dimension, size + 1)))[0].T
    features = [np.sqrt(likeness) * common + np.sqrt(1 - likeness) * other for other in others]
    return [name] * size, stored(np.array(features))


def shelf(*products: tuple[list[str], Features]) -> Pictures:
    """All pictures of some products, one after the other."""
    names = [name for names, _ in products for name in names]
    return Pictures(
        np.arange(len(names)), [(name, 0) for name in names], np.concatenate([some for _, some in products])
    )


def order_of(pictures: Pictures, found: Similarities) -> list[int]:
    """Ids, best first, as the engine orders them."""
    return pictures.ids[np.lexsort((pictures.ids, -found.unlifted, -found.lifted))].tolist()  # type: ignore[no-any-return]


def firsts(ids: list[int], groups: list[tuple[str, int]]) -> list[int]:
    """The first id of each group, in the order of the ids."""
    return sorted({groups[number]: number for number in reversed(ids)}.values(), key=ids.index)


shelves = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from([0.0, 0.02, 0.05, 0.2, 0.9])), min_size=1, max_size=5
).map(lambda drawn: shelf(*(product(f"p{n}", *size_and_likeness, n) for n, size_and_likeness in enumerate(drawn))))


@settings(deadline=None, max_examples=50)
@given(every=shelves, seed=st.integers(0, 5), data=st.data())
def test_a_lift_keeps_the_order_within_a_product_and_its_best(every: Pictures, seed: int, data: st.DataObject) -> None:
    """So the first place is the same, and the order of products by their best pictures; nothing sinks."""
    some = data.draw(st.lists(st.sampled_from(every.ids.tolist()), min_size=1, unique=True))
    pictures, wanted = every.take(np.sort(some)), scattered(1, seed, 256)[0]
    plain = compared(wanted, pictures, [every], WITH_LIFT.without_lift())
    found = compared(wanted, pictures, [every], WITH_LIFT)
    assert found.unlifted.tolist() == plain.unlifted.tolist() == plain.lifted.tolist()
    assert np.all(found.lifted >= found.unlifted)
    before, after = order_of(pictures, plain), order_of(pictures, found)
    assert before[0] == after[0]
    for group in set(pictures.groups):
        own = [number for number in before if every.groups[number] == group]
        assert own == [number for number in after if every.groups[number] == group]
        places = np.flatnonzero([of == group for of in pictures.groups])
        assert found.lifted[places].max() == found.unlifted[places].max()

    assert firsts(before, every.groups) == firsts(after, every.groups)
    turned = np.array(data.draw(st.permutations(range(len(some)))))
    again = compared(wanted, pictures.take(turned), [every], WITH_LIFT)
    assert again.lifted.tolist() == found.lifted[turned].tolist()


@pytest.mark.parametrize("likeness", [0.0, 0.02])
def test_what_has_nothing_in_common_is_untouched(likeness: float) -> None:
    """To the last bit; a product of one picture beside it too, and one of which one picture only is known."""
    odd = product("odd", 64, likeness, 1)
    every = shelf(odd, product("single", 1, 1.0, 2), product("known by one", 2, 0.9, 3))
    wanted = scattered(1, 4, 256)[0]
    found = compared(wanted, every, [every.take(np.arange(66))], WITH_LIFT)
    assert found.lifted.tobytes() == found.unlifted.tobytes()
    random = Pictures(np.arange(64), [("random", 0)] * 64, scattered(64, 5, 256))
    found = compared(wanted, random, [random], WITH_LIFT)
    assert found.lifted.tobytes() == found.unlifted.tobytes()


@pytest.mark.parametrize(("likeness", "share"), [(0.03, 0.0), (0.065, 0.5), (0.10, 1.0), (0.5, 1.0)])
def test_the_lift_grows_with_the_likeness(likeness: float, share: float) -> None:
    """From nothing to four fifths of the way."""
    every = shelf(product("p", 30, likeness, 1))
    unlifted, raised = compared(scattered(1, 2, 256)[0], every, [every], WITH_LIFT)
    way = raised.astype(np.float64) - unlifted
    assert way == pytest.approx(0.8 * share * (unlifted.max() - unlifted.astype(np.float64)), abs=2e-3)


def test_candidates_that_lend_no_evidence_do_not_count_for_the_likeness() -> None:
    """They are lifted, and lift: which candidates there are makes no difference to how far."""
    names, features = product("p", 40, 0.3, 1)
    odd = scattered(60, 2, 256)
    every = shelf((names, features), (["p"] * 60, odd))
    lending = every.take(np.arange(40))
    wanted = odd[7]
    whole = compared(wanted, every, [lending], WITH_LIFT)
    assert whole.unlifted.argmax() == 47
    assert np.all(whole.lifted[40:47] > whole.unlifted[40:47] + 0.4)
    few = every.take(np.array([3, 47, 50]))
    found = compared(wanted, few, [lending], WITH_LIFT)
    assert found.lifted.tolist() == whole.lifted[[3, 47, 50]].tolist()


# In an instance


def ranked(engine: Engine, wanted: Features, content: bytes = b"another picture", **options: Any) -> list[str]:
    hits = Ranker(engine).search(query(wanted, content), CALIBRATION, num=100, **options).hits
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
    hits = Ranker(rivals).search(query(stored(WANTED)), CALIBRATION, num=10).hits
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
    """A condition selects what is found; by older features, a sibling of another category has no say."""
    first = parse_filter("int_attr=1")
    (hit,) = Ranker(rivals).search(query(stored(WANTED)), CALIBRATION, num=10, condition=first).hits
    (expected,) = CALIBRATION.scores(np.array([with_siblings(stored(WANTED), FAIR, [stored(WANTED)])], np.float32))
    assert hit.score == pytest.approx(expected, abs=1e-6)
    write(rivals.store, [change("b", "2", stored(WANTED), category=5)])
    assert ranked(rivals, stored(WANTED)) == ["b/2", "b/1", "a/1", "a/2"]
    (hit,) = Ranker(rivals).search(query(stored(WANTED)), CALIBRATION, num=10, condition=first).hits
    (expected,) = CALIBRATION.scores(np.array([float(FAIR @ stored(WANTED))], np.float32))
    assert hit.score == pytest.approx(expected, abs=1e-6)
    assert ranked(rivals, stored(WANTED), condition=category_condition((5,))) == ["b/2"]


def test_by_later_features_a_sibling_of_another_category_speaks_too(rivals: Engine) -> None:
    """A predicted category may be wrong. What is found belongs to the category that is searched all the same."""
    write(rivals.store, [change("b", "2", stored(WANTED), category=5)])
    asked, weights = query(stored(WANTED)), WITH_LIFT.without_lift()
    (hit,) = Ranker(rivals).search(asked, CALIBRATION, num=10, categories=(5,), weights=weights).hits
    others = Ranker(rivals).search(asked, CALIBRATION, num=10, categories=(0, OTHER), weights=weights).hits
    assert [(one.item.key.product_id, one.item.key.pic_name) for one in others] == [("b", "1"), ("a", "1"), ("a", "2")]
    joint = [
        with_siblings(stored(WANTED), stored(WANTED), [FAIR], weights),
        with_siblings(stored(WANTED), FAIR, [stored(WANTED)], weights),
    ]
    expected = CALIBRATION.scores(np.array(joint, np.float32))
    assert [hit.score, others[0].score] == pytest.approx(expected.tolist(), abs=1e-6)


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
    hits = Ranker(rivals).search(query(own, b"own"), CALIBRATION, num=10).hits
    assert (hits[0].item.key.pic_name, hits[0].score, hits[0].identical) == ("2", 1.0, True)
    assert hits[1].item.key.product_id == "b"
    assert hits[1].score > hits[2].score
    assert ranked(rivals, own, b"own", exclude_identical=True) == ["b/1", "a/1", "a/2"]
    left = Ranker(rivals).search(query(own, b"own"), CALIBRATION, num=10, exclude_identical=True).hits
    scores = {hit.item.key.product_id + hit.item.key.pic_name: hit.score for hit in left}
    (alone,) = CALIBRATION.scores(np.array([FAIR @ own], np.float32))
    assert scores["b1"] == pytest.approx(alone, abs=1e-6)
    assert set(scores) == {"a1", "a2", "b1"}


def test_the_first_64_pictures_by_name_speak_for_a_huge_product(engine: Engine) -> None:
    """For those after them as well; and the search runs as many statements as for a small one."""
    features = clustered(300, 5, clusters=4)
    write(engine.store, [change("huge", f"{n:03}", feature) for n, feature in enumerate(features)])
    hits = Ranker(engine).search(query(features[7]), CALIBRATION, num=100).hits
    names = [f"{n:03}" for n in range(300)]
    values = ranking_similarities(features[7], features, ["huge"] * 300, names)
    order = sorted(range(300), key=lambda n: (-values[n], n))
    assert PRODUCT_PICTURES == 64
    assert [int(hit.item.key.pic_name) for hit in hits] == order[:100]
    assert [hit.score for hit in hits] == pytest.approx(
        CALIBRATION.scores(np.array(values, np.float32))[order[:100]].tolist(), abs=1e-6
    )


def test_64_pictures_decide_on_the_lift_of_a_huge_product(engine: Engine) -> None:
    """Those after them are lifted as well, whatever they show."""
    features = np.concatenate([product("huge", 20, 0.3, 5, DIMENSION)[1], clustered(180, 5, clusters=4)])
    features = features[np.random.default_rng(6).permutation(len(features))]
    write(engine.store, [change("huge", f"{n:03}", feature) for n, feature in enumerate(features)])
    hits = Ranker(engine).search(query(features[7]), CALIBRATION, num=100, weights=WITH_LIFT).hits
    values = ranking_similarities(features[7], features, ["huge"] * 200, [f"{n:03}" for n in range(200)], WITH_LIFT)
    order = sorted(range(200), key=lambda n: (-values[n], n))
    assert [int(hit.item.key.pic_name) for hit in hits] == order[:100]
    assert [hit.score for hit in hits] == pytest.approx(
        CALIBRATION.scores(np.array(values, np.float32))[order[:100]].tolist(), abs=1e-5
    )


SHOP = shelf(
    product("a", 8, 0.3, 5, DIMENSION),
    product("b", 8, 0.15, 6, DIMENSION),
    product("catch-all", 8, 0.0, 7, DIMENSION),
    *(([f"single {n}"], scattered(1, n)) for n in range(8)),
)
CONTENTS = [f"{name}/{n}".encode() for n, (name, _) in enumerate(SHOP.groups)]


@pytest.fixture
def shop(engine: Engine) -> Engine:
    """Two products whose pictures are alike, a catch-all and eight single ones; ``int_attr`` counts."""
    write(
        engine.store,
        [
            change(name, str(n), SHOP.features[n], content=CONTENTS[n], attributes=Attributes(int_attr=n))
            for n, (name, _) in enumerate(SHOP.groups)
        ],
    )
    return engine


def first_of_products(hits: list[Hit]) -> list[Hit]:
    best: dict[str, Hit] = {}
    for hit in hits:
        best.setdefault(hit.item.key.product_id, hit)
    return list(best.values())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    towards=st.sampled_from(range(len(SHOP.ids))),
    by=st.floats(0, 2),
    condition=st.sampled_from([EVERYTHING, parse_filter("int_attr not in (2, 11)")]),
    least=st.sampled_from([0.0, 0.02, 0.1, 0.4]),
    own=st.booleans(),
    exclude=st.booleans(),
)
def test_a_lift_moves_neither_the_first_place_nor_distinct_products(
    shop: Engine, towards: int, by: float, condition: Condition, least: float, own: bool, exclude: bool
) -> None:
    """The best of each product stand in the same order with the same Score, whether or not they are asked for alone."""
    wanted = stored(SHOP.features[towards] + by * scattered(1, 77)[0])
    asked = query(wanted, CONTENTS[towards] if own else b"another picture")
    options: Any = {"condition": condition, "min_score": least, "exclude_identical": exclude, "num": 100}
    weights = WITH_LIFT.without_lift()
    plain = Ranker(shop).search(asked, CALIBRATION, weights=weights, **options).hits
    raised = Ranker(shop).search(asked, CALIBRATION, weights=WITH_LIFT, **options).hits
    assert raised[:1] == plain[:1]
    assert [hit.score for hit in raised] == sorted((hit.score for hit in raised), reverse=True)
    assert {hit.item.id for hit in plain} <= {hit.item.id for hit in raised}
    best = first_of_products(plain)
    assert first_of_products(raised) == best
    for some in (weights, WITH_LIFT):
        assert Ranker(shop).search(asked, CALIBRATION, weights=some, distinct_product=True, **options).hits == best


@pytest.mark.parametrize("number", [3, 12, 20, 30])
def test_a_picture_that_finds_itself_lifts_its_product_unless_it_is_excluded(shop: Engine, number: int) -> None:
    """As any candidate does, by its own cosine; excluded, it might as well not be there."""
    own, asked = SHOP.features[number], query(SHOP.features[number], CONTENTS[number])
    lending = {group: [SHOP.features[n] for n in SHOP.ids if SHOP.groups[n] == group] for group in SHOP.groups}
    values = [
        float(own @ own)
        if n == number
        else with_siblings(
            own,
            SHOP.features[n],
            [SHOP.features[m] for m in SHOP.ids if m != n and SHOP.groups[m] == SHOP.groups[n]],
            WITH_LIFT,
        )
        for n in SHOP.ids
    ]
    scores = CALIBRATION.scores(np.array(lifted(values, SHOP.groups, lending, WITH_LIFT.lift), np.float32))
    hits = Ranker(shop).search(asked, CALIBRATION, num=100, weights=WITH_LIFT).hits
    assert [hit.score for hit in hits if not hit.identical] == pytest.approx(
        sorted(np.delete(scores, number).tolist(), reverse=True), abs=1e-5
    )
    assert (hits[0].item.id, hits[0].identical, hits[0].score) == (number + 1, True, 1.0)
    if number < 16:  # of a product that belongs together
        assert {hit.item.key.product_id for hit in hits[:8]} == {SHOP.groups[number][0]}

    left = Ranker(shop).search(asked, CALIBRATION, num=100, weights=WITH_LIFT, exclude_identical=True)
    with shop.committing() as store:
        store.delete(product_condition(SHOP.groups[number][0], str(number)))
    assert Ranker(shop).search(asked, CALIBRATION, num=100, weights=WITH_LIFT).hits == left.hits


def statements(engine: Engine, wanted: Features, **options: Any) -> int:
    """How many statements a search runs."""
    seen: list[str] = []
    engine.store._connection.set_trace_callback(seen.append)
    Ranker(engine).search(query(wanted), CALIBRATION, **options)
    engine.store._connection.set_trace_callback(None)
    return len(seen)


# Pages

STATES = ["no generation", "flat", "IVF", "flat with tail", "IVF with tail"]
OPTIONS = {
    "everything": {},
    "distinct": {"distinct_product": True},
    "filter": {"condition": parse_filter("int_attr>=700")},
    "distinct filter": {"condition": parse_filter("int_attr>=700"), "distinct_product": True},
    "excluded": {"exclude_identical": True},
    "least": {"min_score": 0.6, "distinct_product": True},
    "lift": {"weights": WITH_LIFT},
    "lift filter": {
        "condition": parse_filter("int_attr>=700"),
        "exclude_identical": True,
        "min_score": 0.01,
        "weights": WITH_LIFT,
    },
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


@pytest.mark.extended
@pytest.mark.parametrize("name", OPTIONS)
def test_pages_are_slices_of_one_order(catalogue: Engine, name: str) -> None:
    """However they are cut: nothing twice, nothing missing, and Score falls."""
    wanted = query(clustered(3000, 8, clusters=500)[5], b"p0/5")
    options: Any = OPTIONS[name]
    whole: list[Hit] = []
    for size, starts in ((100, range(0, MAX_RESULTS, 100)), (37, range(0, MAX_RESULTS, 37)), (7, (0, 3, 241, 496))):
        for start in starts:
            page = Ranker(catalogue).search(wanted, CALIBRATION, num=size, start=start, **options)
            if size == 100:
                whole += page.hits
            assert page.hits == whole[start : start + size]
            assert page.found == catalogue.store.count(options.get("condition", EVERYTHING))
    assert len({hit.item.id for hit in whole}) == len(whole)
    assert len({hit.item.key.product_id for hit in whole}) == len(whole) or "distinct_product" not in options
    assert len(whole) == MAX_RESULTS or name not in {"everything", "filter", "excluded"}
    sorted_part = whole[:100] if "distinct" in name else whole  # farther ones come from layers of their own
    assert [hit.score for hit in sorted_part] == sorted((hit.score for hit in sorted_part), reverse=True)


@pytest.mark.extended
@pytest.mark.parametrize("name", ["everything", "filter", "lift", "lift filter"])
def test_every_page_costs_the_same_statements(catalogue: Engine, name: str) -> None:
    """Their number is that of the candidates, not of results, products or pictures."""
    options: Any = OPTIONS[name]
    counts = {
        statements(catalogue, wanted, num=num, start=start, **options)
        for wanted in clustered(3000, 8, clusters=500)[[5, 1500, 2900]]
        for num, start in ((1, 0), (100, 0), (100, 400))
    }
    assert max(counts) <= 20
    assert max(counts) - min(counts) <= 1  # as many more as equal candidates at the edge of the index take
