"""Layer by layer, searches give what brute force gives: the simulation's, with limits that a few items reach."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from imgsearch.errors import InstanceDamaged
from imgsearch.filters.parser import parse_filter
from imgsearch.search import candidates, family, layers, ranking
from imgsearch.search.layers import Query
from imgsearch.search.options import SearchOptions
from imgsearch.search.score import Calibration, Rivals
from imgsearch.search.siblings import WITH_LIFT, WITHOUT_LIFT
from imgsearch.storage.engine import Engine
from imgsearch.storage.faiss import index_builder
from imgsearch.storage.sqlite import store
from imgsearch.storage.sqlite.reader import Reader
from imgsearch.types import AddPicture
from imgsearch.values import Attributes, Key, PictureOptions
from imgsearch.vision.pipeline import content_hash
from tests.simulation.answers import Asked, Expected
from tests.simulation.given import SIGHTS, GivenInstance, create, feature_of
from tests.simulation.history import History
from tests.simulation.reading import Reading
from tests.simulation.writing import CORNER, PICTURES, PRODUCTS
from tests.storage.arithmetic import Sight, region_of
from tests.storage.builders import CALIBRATION, DIMENSION, change, query, scattered, with_siblings, write
from tests.storage.known import State

if TYPE_CHECKING:
    from imgsearch.storage.port import Truth
    from tests.storage.builders import Features

LIMITS = (
    (candidates, "EXACT_SCAN_LIMIT", 6),
    (index_builder, "MIN_POINTS_PER_LIST", 5),
    (family, "SIBLINGS_AT_ONCE", 7),
    (layers, "PRODUCTS", 4),
    (layers, "TRIED", 9),
    (ranking, "CANDIDATES", 20),
    (ranking, "DISTINCT_CANDIDATES", 6),
    (ranking, "FEW", 5),
    (ranking, "QUERIES_AT_ONCE", 3),
)
NUMBER_OF = {content_hash(Sight(number).data): number for number in range(SIGHTS)}


def additions() -> list[AddPicture]:
    """A picture for each key, in an order that is not that of the keys."""
    chance = random.Random(3)
    keys = [Key(product, picture) for product in PRODUCTS for picture in PICTURES]
    chance.shuffle(keys)
    return [
        AddPicture(
            "here",
            key,
            Sight(chance.randrange(SIGHTS)),
            PictureOptions(chance.choice((None, 0, 3)), region=chance.choice((None, None, CORNER))),
            Attributes(int_attr=chance.choice((None, 0, 1, 2, 3)), str_attr=chance.choice((None, "red"))),
        )
        for key in keys
    ]


@pytest.fixture(scope="module", params=["no index", "flat", "lists"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    """Eight products of twelve pictures, of which some came after the index and some went."""
    folder = tmp_path_factory.mktemp("shop")
    history, state, operations = History(), State(), additions()
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in LIMITS:
            patch.setattr(module, name, value)
        create(folder / "instance")
        with GivenInstance.open(folder / "instance") as instance:
            for some in (operations[:80], operations[80:]):
                instance.apply(some)
                for operation in some:
                    state = state.after(operation)
                if len(state.items) == 80 and request.param != "no index":
                    with instance._opened.writing(0) as engine:
                        assert isinstance(engine, Engine)
                        engine.rebuild(flat_limit=20_000 if request.param == "flat" else 0)
            for key in [one.key for one in operations[::9]]:
                instance.delete(key.product_id, key.pic_name)
                state = state.without([key])
            history.replace(replace(state, told=()))
            with instance.searching() as searcher:
                yield Reading(instance, searcher, history, NUMBER_OF)


def asked_with(shop: Reading, seed: int, options: SearchOptions) -> Asked:
    return shop._asked_with_feature(random.Random(seed), options)[0]


def test_searches_of_all_kinds(shop: Reading) -> None:
    """By feature, picture and name, with filters, categories, Scores and pages; with or without the picture itself."""
    for seed in range(25):
        for search in (shop.search_by_feature, shop.search_by_picture, shop.search_by_name, shop.search_widely):
            search(random.Random(seed))
    history = shop._history
    assert history.judged >= 100
    assert 20 * history.undecided <= history.judged


@pytest.mark.parametrize("least", [0.0, 0.05, 0.3])
def test_distinct_products_come_from_as_many_layers_as_they_need(shop: Reading, least: float) -> None:
    """Six candidates are of one or two products, and the page has place for all."""
    for seed in range(5):
        for start, num in ((0, 1), (0, 4), (0, 50), (3, 3), (7, 5), (40, 5)):
            for expression in (None, "int_attr>=2"):
                options = SearchOptions(
                    num, start, any_category=True, filter=expression, distinct_product=True, min_score=least
                )
                one = asked_with(shop, seed, options)
                result = shop._searcher.by_feature(one.feature, None, options)
                shop._judged(shop._history.floor, partial(Expected.fault, asked=one, result=result))
                if not least and expression is None:
                    assert len(result.hits) == min(num, max(0, len(PRODUCTS) - start))


def test_many_queries_at_once(shop: Reading) -> None:
    """More than are ranked together."""
    for seed in range(6):
        shop.search_widely_at_once(random.Random(seed), 7)


@pytest.mark.parametrize("expression", [None, "int_attr>=2", "int_attr in (0, 3)"])
def test_each_of_many_queries_leaves_out_its_own_picture(shop: Reading, expression: str | None) -> None:
    """And none that another one asks with, not even as a sibling that may not be found itself."""
    options = SearchOptions(50, any_category=True, filter=expression, exclude_self=True)
    stored = list(shop._instance.items())[::4]
    versions = [shop._as_known(item)[1] for item in stored]
    asked = [Asked(feature_of(one.number, one.region), one.number, one.region, (), options) for one in versions]
    undecided = shop._history.undecided
    rankings = shop._searcher._rank([(Query.with_item(item), ()) for item in stored], options)
    for one, found in zip(asked, rankings, strict=True):
        shop._judged(shop._history.floor, partial(Expected.fault, asked=one, result=found))
    assert any(found.left_out for found in rankings)
    assert shop._history.undecided == undecided


def test_a_full_page_ends_the_search_for_products(shop: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each further layer costs reading; the last one ends it, too."""
    read = counted(monkeypatch)
    options = SearchOptions(1, any_category=True, distinct_product=True)
    shop._searcher.by_feature(asked_with(shop, 1, options).feature, None, options)
    assert len(read) == 1
    read.clear()
    # 6 candidates, then up to the 24th, the 96th: all.
    shop._searcher.by_feature(asked_with(shop, 1, options).feature, None, replace(options, num=50))
    assert len(read) == 3
    read.clear()
    shop._searcher.by_feature(asked_with(shop, 1, options).feature, None, replace(options, num=50, min_score=0.9))
    assert len(read) == 1


CURVE = Calibration(3.0, -4.0, best=-1.0, second=-1.0)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each reading of layers is for."""
    read: list[int] = []
    read_layers = layers.read_layers

    def counting(store: Truth, asked: Sequence[layers.Asked], *arguments: Any, **options: Any) -> list[layers.Layer]:
        read.append(len(asked))
        return read_layers(store, asked, *arguments, **options)

    monkeypatch.setattr(ranking, "read_layers", counting)
    return read


def with_cosines(*cosines: float) -> list[Features]:
    """Features with these cosines to the first axis, each in a plane of its own."""
    features = np.zeros((len(cosines), DIMENSION), np.float32)
    features[:, 0] = cosines
    features[np.arange(len(cosines)), 1 + np.arange(len(cosines))] = np.sqrt(1 - np.square(cosines))
    return list(features)


@pytest.mark.parametrize(
    ("num", "start", "least", "reads"),
    [(1, 0, 0.0, 1), (2, 0, 0.0, 1), (1, 1, 0.0, 1), (3, 0, 0.0, 2), (1, 5, 0.0, 2), (6, 0, 0.08, 1)],
)
def test_candidates_beyond_the_nearest_products_are_read_where_the_page_may_need_them(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, num: int, start: int, least: float, reads: int
) -> None:
    """A picture each, so siblings change nothing; the second product's Score is below 0.08."""
    features = with_cosines(0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    write(engine.store, [change(f"p{number}", feature=feature) for number, feature in enumerate(features)])
    ranker, wanted = ranking.Ranker(engine), query(with_cosines(1.0)[0])
    options: dict[str, Any] = {"num": num, "start": start, "min_score": least, "weights": WITH_LIFT}
    expected = ranker.search(wanted, CURVE, **options)
    monkeypatch.setattr(layers, "PRODUCTS", 2)
    monkeypatch.setattr(ranking, "FEW", 10)
    read = counted(monkeypatch)
    assert ranker.search(wanted, CURVE, **options) == expected
    assert len(read) == reads
    assert len(expected.hits) == (1 if least else num)


@pytest.mark.parametrize("num", [1, 2])
def test_a_candidate_left_out_that_comes_before_others_is_ranked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, num: int
) -> None:
    """The second product's other picture takes it back behind the third, which is the first one's rival, then."""
    near, second, third, other = with_cosines(0.9, 0.8, 0.7, -0.9)
    changes = [("a", near), ("b", second), ("c", third), ("b", other)]
    write(engine.store, [change(name, f"{n}.jpg", feature) for n, (name, feature) in enumerate(changes)])
    ranker, wanted = ranking.Ranker(engine), query(with_cosines(1.0)[0])
    monkeypatch.setattr(layers, "PRODUCTS", 2)
    monkeypatch.setattr(ranking, "FEW", 10)
    read = counted(monkeypatch)
    hits = ranker.search(wanted, CURVE, num=num, weights=WITH_LIFT).hits
    assert [hit.item.key.product_id for hit in hits] == ["a", "c"][:num]
    assert len(read) == 2
    monkeypatch.setattr(ranking, "FEW", 0)
    assert hits == ranker.search(wanted, CURVE, num=4, weights=WITH_LIFT).hits[:num]
    assert len(read) == 3


def test_pictures_behind_the_nearest_products_have_no_siblings(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in the order of their own cosines, though they are of one of these products."""
    features = with_cosines(0.9, 0.8, 0.7, 0.3, 0.2)
    names = ["a", "b", "c", "a", "b"]
    changes = [change(name, f"{n}.jpg", feature) for n, (name, feature) in enumerate(zip(names, features, strict=True))]
    write(engine.store, changes)
    monkeypatch.setattr(layers, "PRODUCTS", 2)
    wanted = with_cosines(1.0)[0]
    values = [with_siblings(wanted, features[n], [features[n + 3]], WITH_LIFT) for n in (0, 1)] + [0.7, 0.3, 0.2]
    scores = CURVE.scores(np.array(values, np.float32), Rivals(*values[:2]))
    for few in (0, 100):
        monkeypatch.setattr(ranking, "FEW", few)
        hits = ranking.Ranker(engine).search(query(wanted), CURVE, num=5, weights=WITH_LIFT).hits
        assert [hit.item.id for hit in hits] == [1, 2, 3, 4, 5]
        assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-3)


def test_the_nearest_of_many_equal_pictures_are_those_added_first(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ones of a shortlist may be any of them."""
    monkeypatch.setattr(candidates, "EXACT_SCAN_LIMIT", 6)
    monkeypatch.setattr(index_builder, "MIN_POINTS_PER_LIST", 5)
    for name, value in (("PRODUCTS", 3), ("TRIED", 4)):
        monkeypatch.setattr(layers, name, value)
    for name, value in (("CANDIDATES", 30), ("FEW", 10)):
        monkeypatch.setattr(ranking, name, value)
    equal = with_cosines(0.8)[0]
    attributes = Attributes(int_attr=1)
    far = [change(f"far {n}", feature=one, attributes=attributes) for n, one in enumerate(scattered(60, 9))]
    same = [change(f"same {n}", feature=equal, attributes=attributes) for n in range(40)]
    write(engine.store, [*far[::2], *same[::-1], *far[1::2]])
    engine.rebuild(flat_limit=0)
    where = parse_filter("int_attr=1")
    hits = ranking.Ranker(engine).search(query(equal), CURVE, num=3, condition=where, weights=WITH_LIFT).hits
    assert [hit.item.key.product_id for hit in hits] == ["same 39", "same 38", "same 37"]


def test_fewer_items_than_are_counted_are_damage(shop: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search does not go on for ever."""
    counts = Reader.counts
    monkeypatch.setattr(Reader, "counts", lambda self: {category: n + 1 for category, n in counts(self).items()})
    options = SearchOptions(50, any_category=True, distinct_product=True)
    with pytest.raises(InstanceDamaged, match="the number of items"):
        shop._searcher.by_feature(asked_with(shop, 1, options).feature, None, options)


def test_features_in_another_order_are_put_in_order(shop: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store gives them in whatever order it likes."""
    features_of = Reader.features_of

    def shuffled(self: Reader, ids: list[int]) -> object:
        found, features = features_of(self, ids)
        order = np.random.default_rng(1).permutation(len(found))
        return found[order], features[order]

    monkeypatch.setattr(Reader, "features_of", shuffled)
    for seed in range(10):
        shop.search_by_feature(random.Random(seed))


def test_an_altered_category_of_a_sibling_is_told_where_it_counts(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no candidate, so its row would not be verified otherwise."""
    monkeypatch.setattr(ranking, "CANDIDATES", 1)
    features = scattered(2)
    write(engine.store, [change("p", f"{number}.jpg", feature) for number, feature in enumerate(features)])
    ranker, wanted = ranking.Ranker(engine), query(features[0])
    sound = ranker.search(wanted, CALIBRATION, num=1, weights=WITH_LIFT)
    engine.store.connection.execute("UPDATE items SET category_id = 5 WHERE pic_name = '1.jpg'")
    assert ranker.search(wanted, CALIBRATION, num=1, weights=WITH_LIFT) == sound
    with pytest.raises(InstanceDamaged, match="a row"):
        ranker.search(wanted, CALIBRATION, num=1, weights=WITHOUT_LIFT)


@pytest.mark.parametrize("products", [layers.PRODUCTS, 1, 2])
def test_an_altered_product_never_changes_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, products: int
) -> None:
    """A row and the index of keys are held against each other; SQLite may read the same in an altered index.

    Nor where the nearest products end.
    """
    monkeypatch.setattr(layers, "PRODUCTS", products)
    monkeypatch.setattr(store, "VERIFY_BELOW_BYTES", 0)  # as in an instance that is too large to be checked at opening
    monkeypatch.setattr(ranking, "CANDIDATES", 10)
    folder, count, options = tmp_path / "instance", 6, SearchOptions(1, any_category=True)
    create(folder)
    with GivenInstance.open(folder) as instance:
        instance.apply(
            AddPicture("here", Key(f"product {number}", f"{picture}.jpg"), Sight(number), PictureOptions(0))
            for number in range(count)
            for picture in range(4)
        )
    path = folder / store.DATABASE_NAME
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sound = path.read_bytes()

    def answer(number: int) -> object:
        with GivenInstance.open(folder) as instance, instance.searching() as searcher:
            return searcher.by_feature(feature_of(number, region_of(PictureOptions(0))), None, options).hits

    for number in range(count):
        expected = answer(number)
        places = [found.start() for found in re.finditer(f"product {number}(?=[03].jpg)".encode(), sound)]
        assert len(places) == 4
        noticed = 0
        for place in places:
            damaged = bytearray(sound)
            damaged[place + 8] ^= 0b1000  # product 1 becomes product 9, which is none
            path.write_bytes(damaged)
            try:
                assert answer(number) == expected
            except InstanceDamaged:
                noticed += 1
        assert noticed >= 2, "the rows"
        path.write_bytes(sound)
