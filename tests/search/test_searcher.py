"""The gateway of searches: how an instance is ranked, by the version of its features, and what turns the lift off."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgsearch.errors import DamagedPicture, InvalidCategory, InvalidFilter, InvalidValue, ItemNotFound, UsageError
from imgsearch.search.options import SearchOptions, SearchResult
from imgsearch.search.ranking import Ranker
from imgsearch.search.score import Calibration
from imgsearch.search.siblings import WITH_LIFT, WITHOUT_LIFT, RankingWeights
from imgsearch.types import AddPicture
from imgsearch.values import Attributes, Key, PictureOptions, Region
from tests.storage.arithmetic import DIMENSION, ArithmeticInstance, Sight
from tests.storage.builders import query

SIGHTS = [0, 1, 2, 3, 4, 5, 8, 9, 12]
WANTED = Key("p0", "1.jpg")


def made_with(folder: Path, feature_version: int) -> ArithmeticInstance:
    """An instance of four products, whose features say that they are of that version."""
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as instance:
        additions = [
            AddPicture("here", Key(f"p{number // 4}", f"{number}.jpg"), Sight(number), PictureOptions(category_id=0))
            for number in SIGHTS
        ]
        assert len(list(instance.apply(additions))) == len(SIGHTS)
        record = instance.model.as_dict() | {"feature_version": feature_version}
        with instance._opened.writing(0) as engine, engine.committing() as store:
            store.set_setting("model", record)
    return ArithmeticInstance.open(folder)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize(
    ("version", "lift", "weights"),
    [
        (1, True, WITHOUT_LIFT),
        (2, True, WITHOUT_LIFT),
        (2, False, WITHOUT_LIFT),
        (3, True, WITH_LIFT),
        (3, False, WITH_LIFT.without_lift()),
        (4, True, WITH_LIFT),
    ],
)
def test_an_instance_is_ranked_by_the_weights_of_its_features(
    folder: Path, version: int, lift: bool, weights: RankingWeights, exclude: bool
) -> None:
    """Older ones answer as they always did, and have no lift that could be turned off."""
    with made_with(folder, version) as instance:
        engine, item = instance._opened.engine, instance.item(WANTED)
        asked = query(engine.store.feature(item.id), item.content_hash, item.region)
        curve = Calibration(*instance.model.score_curve)
        expected = Ranker(engine).search(asked, curve, num=100, weights=weights, exclude_identical=exclude)
        with instance.searching() as searcher:
            result = searcher.by_name(WANTED, search=SearchOptions(100, exclude_self=exclude, lift=lift))
            by_picture = searcher.by_picture(
                Sight(1), PictureOptions(category_id=0), SearchOptions(100, exclude_self=exclude, lift=lift)
            )
        assert by_picture.hits == result.hits == expected.hits
        assert len(result.hits) == len(SIGHTS) - exclude


def test_the_lift_is_on_unless_it_is_turned_off(folder: Path) -> None:
    """It brings the product's other pictures up; the first place and the best of each product stay.

    Other products compete with what has risen, so their Scores may fall.
    """
    with made_with(folder, 3) as instance, instance.searching() as searcher:
        plain = searcher.by_name(WANTED, search=SearchOptions(100, lift=False)).hits
        raised = searcher.by_name(WANTED, search=SearchOptions(100)).hits
        assert raised[0] == plain[0]
        scores = {hit.item.id: hit.score for hit in plain}
        own = [hit for hit in raised if hit.item.key.product_id == WANTED.product_id]
        assert all(hit.score >= scores[hit.item.id] for hit in own)
        assert [hit.score for hit in raised] != [hit.score for hit in plain]
        distinct = [
            searcher.by_name(WANTED, search=SearchOptions(100, distinct_product=True, lift=lift)).hits
            for lift in (True, False)
        ]
        assert distinct[0] == distinct[1]


def test_threads_share_a_searcher(folder: Path) -> None:
    """With pictures, names and features, while items are iterated and the instance is written: the same answers."""
    with made_with(folder, 3) as instance, instance.searching(workers=None) as searcher:
        keys = [item.key for item in instance.items()]
        features = [instance._opened.engine.store.feature(instance.item(key).id) for key in keys]
        search = SearchOptions(100, any_category=True)

        def ask(number: int) -> SearchResult:
            place = number % len(keys)
            match number % 3:
                case 0:
                    result = searcher.by_name(keys[place], search=search)
                case 1:
                    result = searcher.by_feature(features[place], search=search)
                case _:
                    result = searcher.by_picture(Sight(SIGHTS[place]), search=search)
            return replace(result, seconds=0.0)

        expected = [ask(number) for number in range(3 * len(keys))]
        items = instance.items()
        next(items)
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(ask, [number % len(expected) for number in range(8 * len(expected))]))
        assert found == 8 * expected
        instance.delete("p3")
        assert len(list(items)) == len(keys) - 1, "an iteration sees what was there when it began"
        assert len(instance) == len(list(instance.items())) < len(keys)


def test_a_feature_ranks_as_its_picture_does(folder: Path) -> None:
    """At any length; but nothing is identical to it."""
    with made_with(folder, 3) as instance, instance.searching() as searcher:
        feature = instance._opened.engine.store.feature(instance.item(WANTED).id)
        by_name = searcher.by_name(WANTED, search=SearchOptions(100, any_category=True))
        for given in (feature, 7 * feature.astype(np.float64), feature.tolist()):
            result = searcher.by_feature(given, search=SearchOptions(100))
            assert {hit.item.key for hit in result.hits} == {hit.item.key for hit in by_name.hits}
            assert result.hits[0].item.key in {Key("p0", f"{number}.jpg") for number in SIGHTS}
            assert not any(hit.identical for hit in result.hits)
        within = searcher.by_feature(feature, 0, SearchOptions(100))
        assert within.found == len(SIGHTS)
        assert searcher.by_feature(feature, 4).found == 0


@pytest.mark.parametrize(
    "feature", [np.zeros(DIMENSION), np.full(DIMENSION, np.nan), np.ones(3), np.ones((1, DIMENSION)), "feature", None]
)
def test_what_is_no_feature_is_refused(folder: Path, feature: Any) -> None:
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as instance, instance.searching() as searcher, pytest.raises(InvalidValue):
        searcher.by_feature(feature)


def test_values_of_a_query_are_checked(folder: Path) -> None:
    """Categories that do not exist, and what makes no sense without a picture."""
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as instance, instance.searching() as searcher:
        with pytest.raises(InvalidCategory, match="12"):
            searcher.by_picture(Sight(1), PictureOptions(category_id=12))
        with pytest.raises(InvalidCategory, match="12"):
            searcher.by_feature(np.ones(DIMENSION), 12)
        with pytest.raises(UsageError, match="exclude"):
            searcher.by_feature(np.ones(DIMENSION), search=SearchOptions(exclude_self=True))
        with pytest.raises(ItemNotFound):
            searcher.by_name(WANTED)


def test_items_are_filtered(folder: Path) -> None:
    """By attributes and by category, in the order they were added."""
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as instance:
        for number in range(8):
            attributes = Attributes(int_attr=np.int64(number))
            instance.add(Sight(number), "p", str(number), category=(3, "Shoes")[number % 2], attributes=attributes)
        assert [item.key.pic_name for item in instance.items()] == list("01234567")
        assert [item.key.pic_name for item in instance.items("int_attr >= 3")] == list("34567")
        assert [item.key.pic_name for item in instance.items("int_attr >= 3", category="shoes")] == list("357")
        assert [item.key.pic_name for item in instance.items(category=np.int64(3))] == list("0246")
        assert bool(instance)
        with pytest.raises(InvalidFilter):
            instance.items("colour = 3")
        with pytest.raises(InvalidCategory):
            instance.items(category=12)


@pytest.mark.parametrize("pair", [(1, 2), (2, 1), (1, 9), (5, 5)])
def test_a_comparison_is_the_score_of_a_search(folder: Path, pair: tuple[int, int]) -> None:
    """In an instance that holds nothing but the other picture; the networks are those that are loaded."""
    first, second = map(Sight, pair)
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as instance:
        list(instance.apply([AddPicture("here", WANTED, second, PictureOptions())]))
        with instance.searching() as searcher:
            comparison = searcher.compare(first, second)
            (hit,) = searcher.by_picture(first, search=SearchOptions(any_category=True)).hits
    assert comparison.score == pytest.approx(hit.score)
    assert comparison.identical is hit.identical is (pair == (5, 5))


def test_a_comparison_has_options_of_each_picture(folder: Path) -> None:
    """And tells which of the two cannot be used."""
    with made_with(folder, 3) as instance, instance.searching() as searcher:
        whole, regions = PictureOptions(crop=False), PictureOptions(region=Region(1, 50, 1, 50))
        assert searcher.compare(Sight(1), Sight(1)).identical
        apart = searcher.compare(Sight(1), Sight(1), first_options=whole, second_options=regions)
        assert not apart.identical
        assert apart.score < 1
        with pytest.raises(DamagedPicture, match=r"^first"):
            searcher.compare(Sight(-1), Sight(1))
        with pytest.raises(DamagedPicture, match=r"^second"):
            searcher.compare(Sight(1), Sight(-1))
