"""The index of pgvector: made when it is worth it, measured, exact enough, and never the cause of a missing hit."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING, category_condition
from imgsearch.projection import Projection
from imgsearch.search.ranking import Ranker
from imgsearch.search.siblings import WITHOUT_LIFT
from imgsearch.values import Attributes
from tests.storage.builders import CALIBRATION, change, clustered, nearest, query, scattered
from tests.storage.postgres.conftest import Opener

if TYPE_CHECKING:
    from imgsearch.storage.postgres.engine import PostgresEngine
    from imgsearch.storage.postgres.rows import Generation

COUNT = 3_000
LIMIT = 500
FEATURES = clustered(COUNT)
OWN = WITHOUT_LIFT.__class__(sibling=0.0, sharpness=1.0, lift=0.0)


def fill(engine: PostgresEngine, numbers: range = range(COUNT)) -> None:
    """Category 0 holds half of the items, 1 a third, the others few."""
    with engine.committing() as store:
        store.insert(
            [
                change(
                    f"p{number}",
                    "1",
                    FEATURES[number % COUNT],
                    category=0 if number % 2 else 1 if number % 3 else 2 + number % 5,
                    attributes=Attributes(int_attr=number),
                )
                for number in numbers
            ]
        )


def indexed(engine: PostgresEngine, *, whole: bool = True) -> Generation:
    """With indexes from LIMIT items on."""
    from imgsearch.storage.postgres.index_building import build
    from imgsearch.storage.postgres.locks import Lock, give_back, hold

    hold(engine.store.link, Lock.INDEX, 0)
    generation = build(engine.store, whole=whole, flat_limit=LIMIT)
    give_back(engine.store.link, Lock.INDEX)
    return generation


@pytest.fixture
def large(engine: PostgresEngine) -> PostgresEngine:
    fill(engine)
    engine.store.link.run("SET enable_seqscan = off")  # so few items would be scanned all the same
    return engine


@pytest.mark.extended
def test_large_categories_get_an_index(large: PostgresEngine) -> None:
    """Its recall is measured, at 10 and at 500; new items are in it, deleted ones are not."""
    generation = indexed(large)
    indexes = large.store.partitions.indexes()
    assert [one.category for one in indexes] == [0, 1]
    assert all(one.is_valid and one.lists > 10 for one in indexes)
    assert (generation.items, generation.is_exact) == (COUNT, False)
    assert generation.recall is not None
    assert generation.recall_500 is not None
    assert (generation.recall >= 0.99, generation.recall_500 >= 0.95) == (True, True)
    assert generation.probes is not None
    index = large.index(generation)
    with large.committing() as store:
        store.remove([change("p1", "1", FEATURES[1]).key])
        (new,) = store.insert([change("new", "1", FEATURES[3], category=0)])
    found = index.shortlist(FEATURES[3], 5, categories=(0,)).tolist()
    assert new in found
    assert large.store.generation() == large.store.generation()
    plan = "".join(
        row[0]
        for row in large.store.link.rows(
            "EXPLAIN SELECT id FROM features WHERE category_id = 0 ORDER BY feature::halfvec(32) <#> "
            "(SELECT feature::halfvec(32) FROM features LIMIT 1) LIMIT 5"
        )
    )
    assert "ivf" in plan


@pytest.mark.extended
def test_answers_are_those_of_arithmetic(large: PostgresEngine) -> None:
    """In categories and in all, under rare and broad filters, before and after items come and go."""
    indexed(large)
    fill(large, range(COUNT, COUNT + 50))
    rising = np.argsort([int(item.key.product_id[1:]) for item in large.store.items(EVERYTHING)])
    assert len(rising) == COUNT + 50
    features = np.concatenate([FEATURES, FEATURES[:50]])
    numbers = np.arange(COUNT + 50)
    categories = np.where(numbers % 2 == 1, 0, np.where(numbers % 3 > 0, 1, 2 + numbers % 5))
    conditions = {
        "": numbers >= 0,
        "int_attr<40": numbers < 40,
        "int_attr>=100": numbers >= 100,
        "int_attr in (5, 7, 3049)": np.isin(numbers, [5, 7, 3049]),
    }
    for wanted in scattered(3, seed=5):
        for inside in ((), (0,), (1, 3)):
            for text, meets in conditions.items():
                allowed = meets & (np.isin(categories, inside) if inside else True)
                ranking = Ranker(large).search(
                    query(wanted),
                    CALIBRATION,
                    num=10,
                    categories=inside,
                    condition=parse_filter(text) if text else EVERYTHING,
                    weights=OWN,
                )
                expected = nearest(features, wanted, 10, np.flatnonzero(allowed).tolist())
                found = [int(hit.item.key.product_id[1:]) for hit in ranking.hits]
                assert ranking.found == np.count_nonzero(allowed)
                assert len(set(found) & set(expected.tolist())) >= len(expected) - 1, (inside, text)


@pytest.mark.extended
def test_a_refresh_makes_what_is_due_only(large: PostgresEngine) -> None:
    from imgsearch.storage.postgres.index_building import is_due

    assert is_due(large.store, flat_limit=LIMIT)
    before = indexed(large)
    names = {one.category: one.name for one in large.store.partitions.indexes()}
    assert not is_due(large.store, flat_limit=LIMIT)
    with large.committing() as store:
        extra = [change(f"q{number}", "1", FEATURES[number], category=2) for number in range(LIMIT)]
        store.insert(extra)
        store.delete(category_condition((1,)).joined(parse_filter("int_attr>100")))
    assert is_due(large.store, flat_limit=LIMIT)
    after = indexed(large, whole=False)
    kept = {one.category: one.name for one in large.store.partitions.indexes()}
    assert kept.keys() == {0, 2}
    assert kept[0] == names[0]
    assert after.number > before.number


@pytest.mark.extended
def test_searches_and_writers_go_on_during_a_rebuild(large: PostgresEngine, opener: Opener) -> None:
    searching, writing, stop = opener(write=False), opener(), Event()
    answers: list[int] = []
    failures: list[BaseException] = []

    def search() -> None:
        try:
            while not stop.is_set():
                ranking = Ranker(searching).search(query(FEATURES[0]), CALIBRATION, num=5, categories=(0,), weights=OWN)
                answers.append(len(ranking.hits))
        except BaseException as error:
            failures.append(error)

    def write() -> None:
        try:
            number = 0
            while not stop.is_set():
                with writing.committing(["w"]) as store:
                    store.upsert(change("w", str(number % 3), FEATURES[number % COUNT], category=0))
                number += 1
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=search), Thread(target=write)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            indexed(large)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert answers
    assert set(answers) == {5}


def test_tuning_rewrites_all_features_at_once(engine: PostgresEngine) -> None:
    """And undoing it brings the old ones back, but for rounding."""
    fill(engine, range(40))
    before = {item.id: engine.store.feature(item.id) for item in engine.store.items(EVERYTHING)}
    matrix = np.diag(np.linspace(0.5, 1, 16)).astype(np.float16)
    generation = engine.retune(Projection(matrix))
    assert generation is not None
    tuning = engine.store.tuning()
    assert tuning is not None
    for number, feature in before.items():
        stored = tuning.applied(feature).astype(np.float16)
        assert np.array_equal(engine.store.feature(number), stored.astype(np.float32))
    engine.retune(None)
    assert engine.store.tuning() is None
    for number, feature in before.items():
        assert np.allclose(engine.store.feature(number), feature, atol=3e-3)


def test_what_is_said_of_it(engine: PostgresEngine) -> None:
    about = engine.about()
    assert str(about["Server"]).startswith("PostgreSQL ")
    assert "pgvector" in str(about["Server"])
    assert str(about["Engine"]).startswith("postgresql://shop@127.0.0.1:")
    assert engine.table_bytes() > 0
