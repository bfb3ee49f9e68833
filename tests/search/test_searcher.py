"""The gateway of searches: how an instance is ranked, by the version of its features, and what turns the lift off."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.search.score import Calibration
from imgsearch.search.searcher import SearchOptions
from imgsearch.search.siblings import WITH_LIFT, WITHOUT_LIFT, RankingWeights
from imgsearch.types import AddPicture, Key, PictureOptions
from tests.storage.arithmetic import ArithmeticInstance, Sight
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
        with instance._writing(0) as engine, engine.committing() as store:
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
    ],
)
def test_an_instance_is_ranked_by_the_weights_of_its_features(
    folder: Path, version: int, lift: bool, weights: RankingWeights, exclude: bool
) -> None:
    """Older ones answer as they always did, and have no lift that could be turned off."""
    with made_with(folder, version) as instance:
        engine, item = instance._engine, instance.item(WANTED)
        asked = query(engine.store.feature(item.id), item.content_hash, item.region)
        curve = Calibration(*instance.model.score_curve)
        expected = engine.search(asked, curve, num=100, weights=weights, exclude_identical=exclude)
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
