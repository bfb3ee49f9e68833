"""Several shards as one instance (docs/sharding.md).

Contract: whatever is read is what one instance with all items would tell: the same hits in the same order with the same
Scores, the same counts, lists, duplicates and exports; what is written is in the shard of its product.
"""

from __future__ import annotations

import json
import shutil
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from imgsearch import Attributes, Instance, Key, PictureOptions, SearchOptions, Shard, ShardedInstance, shard_of
from imgsearch.errors import (
    InstanceDamaged,
    InstanceNotFound,
    InvalidFilter,
    InvalidValue,
    ItemNotFound,
    StampMismatch,
    UsageError,
)
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.types import AddPicture, DeletePictures, Status
from tests.sharding.conftest import PRODUCTS, SHARDS, ArithmeticShards, Twice, catalogue
from tests.storage.arithmetic import ArithmeticInstance, Sight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imgsearch.search.options import SearchResult

FEATURES = np.stack([item.extracted.feature for item in catalogue()[::97]])


def facts(result: SearchResult) -> Any:
    """All of an answer but the ids of items, and how long it took."""
    hits = [(hit.item.key, hit.score, hit.distance, hit.identical, hit.item.attributes) for hit in result.hits]
    return result.found, result.left_out, hits, result.searched_categories, result.region


OPTIONS = [
    SearchOptions(num=100, filter=filter_, distinct_product=distinct, min_score=least, lift=lift, any_category=True)
    for filter_, distinct, least, lift in product(
        (None, "int_attr < 6", 'str_attr = "red"'), (False, True), (0.0, 0.3), (False, True)
    )
]


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda one: f"{one.filter} {one.distinct_product} {one.min_score} {one.lift}"
)
def test_searches_answer_as_one_instance(twice: Twice, options: SearchOptions) -> None:
    """Hit for hit, Score for Score."""
    with twice.whole.searching() as whole, twice.shards.searching() as shards:
        for feature, category in ((FEATURES[2], None), (FEATURES[5], 3)):
            expected = whole.by_feature(feature, category, options)
            assert facts(shards.by_feature(feature, category, options)) == facts(expected)
            assert expected.hits or options.min_score


def test_pages_are_slices_of_one_order(twice: Twice) -> None:
    with twice.whole.searching() as whole, twice.shards.searching() as shards:
        for distinct in (False, True):
            for start in (0, 7, 90, 400, 490):
                options = SearchOptions(num=10, start=start, distinct_product=distinct)
                assert facts(shards.by_feature(FEATURES[1], search=options)) == facts(
                    whole.by_feature(FEATURES[1], search=options)
                )


def test_a_stored_picture_is_found_in_its_shard(twice: Twice) -> None:
    """Its copies come first wherever they are, and are left out if it is."""
    keys = [Key("p0", "1.jpg"), Key("p34", "0.jpg"), Key("p17", "0.jpg")]
    copies = 0
    with twice.whole.searching() as whole, twice.shards.searching() as shards:
        for key, exclude in product([key for key in keys if twice.whole.has_item(key)], (False, True)):
            options = SearchOptions(num=100, exclude_self=exclude, any_category=True)
            expected = whole.by_name(key, search=options)
            assert facts(shards.by_name(key, search=options)) == facts(expected)
            copies = max(
                copies, len({shard_of(hit.item.key.product_id, SHARDS) for hit in expected.hits if hit.identical})
            )
        assert copies == SHARDS
        with pytest.raises(ItemNotFound):
            shards.by_name(Key("p0", "none.jpg"))
        with pytest.raises(InvalidFilter):
            shards.by_name(keys[0], search=SearchOptions(filter="no filter"))


def test_pictures_are_looked_at_once_for_all_shards(twice: Twice) -> None:
    """In all ways to search with them, several at once included."""
    with twice.whole.searching() as whole, twice.shards.searching() as shards:
        sights = [Sight(number) for number in range(8)]
        options = PictureOptions(category_id=0)
        both = zip(whole.by_pictures(sights, options), shards.by_pictures(sights, options), strict=True)
        for expected, found in both:
            assert isinstance(expected, list)
            assert isinstance(found, list)
            assert list(map(facts, found)) == list(map(facts, expected))
        assert facts(shards.by_views(sights[:3])) == facts(whole.by_views(sights[:3]))


def test_lists_and_counts(twice: Twice) -> None:
    """Pages in the order of keys, over the bounds of shards."""
    whole, shards = twice.whole, twice.shards
    assert len(shards) == len(whole)
    for expression, category, start, num in product((None, "int_attr < 3"), (None, 3), (0, 5, 300), (None, 20)):
        with (
            whole.listing(expression, category=category, start=start, num=num) as expected,
            shards.listing(expression, category=category, start=start, num=num) as found,
        ):
            assert found.total == expected.total
            assert [item.key for item in found.items] == [item.key for item in expected.items]
    assert [item.key for item in shards.items()] == [item.key for item in whole.items()]
    with shards.listing(product_id="p5") as found:
        assert {item.key.product_id for item in found.items} == {"p5"}
    one, other = whole.info(), shards.info()
    assert (other.items, other.products, other.categories, other.stamp, other.kind, other.devices) == (
        *(one.items, one.products, dict(sorted(one.categories.items())), one.stamp, one.kind, one.devices),
    )
    assert other.disk_bytes > 0
    state = shards.index_state()
    assert (state.items, state.unindexed) == (other.items, other.unindexed)
    assert state.generation == (0 if other.generation is None else other.generation.number)


@pytest.mark.extended
def test_duplicates_across_shards(twice: Twice) -> None:
    """Copies of a picture are one group wherever they are."""
    for level, products in product(("same", "similar"), ("any", "within", "across")):
        with (
            twice.whole.duplicates(level=level, min_score=0.6, products=products) as expected,
            twice.shards.duplicates(level=level, min_score=0.6, products=products) as found,
        ):
            assert (found.compared, found.same, found.similar) == (expected.compared, expected.same, expected.similar)
            groups = [[(one.item.key, one.score) for one in group.pictures] for group in found.groups]
            assert groups == [[(one.item.key, one.score) for one in group.pictures] for group in expected.groups]
            assert groups or products == "within"


def test_an_export_brings_the_shards_together(twice: Twice, tmp_path: Path) -> None:
    """Byte for byte that of one instance whose items were added in the same order."""
    twice.whole.export(tmp_path / "whole")
    twice.shards.export(tmp_path / "shards")
    for name in ("items.jsonl", "features.npy"):
        assert (tmp_path / "shards" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    stamps = [json.loads((tmp_path / one / "stamp.json").read_text()) for one in ("whole", "shards")]
    assert stamps[0] == stamps[1]


# Writing


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[ArithmeticShards]:
    """Three empty shards."""
    for index in range(SHARDS):
        ArithmeticInstance.create(tmp_path / str(index))
    with ArithmeticShards.open_shards([tmp_path / str(index) for index in range(SHARDS)]) as opened:
        yield opened


def keys(instance: Instance) -> list[Key]:
    return sorted(item.key for item in instance.items())


def check_places(shards: ShardedInstance) -> None:
    for index, shard in enumerate(shards.shards):
        assert {shard_of(item.key.product_id, SHARDS) for item in shard.items()} <= {index}


def test_what_is_written_is_in_the_shard_of_its_product(shards: ArithmeticShards) -> None:
    """And is found as soon as its future has a result; a picture that cannot be used fails alone."""
    wanted = [Key(f"p{number % 9}", f"{number}.jpg") for number in range(40)]
    with shards.indexing() as writer:
        futures = [
            writer.submit(AddPicture("here", key, Sight(number if number != 7 else -1)))
            for number, key in enumerate(wanted)
        ]
        outcomes = [future.result() for future in futures]
        assert [one.status for one in outcomes].count(Status.ADDED) == 39
        assert outcomes[7].status is Status.FAILED
        assert keys(shards) == sorted(key for key in wanted if key.pic_name != "7.jpg")
        check_places(shards)
        assert writer.delete("p0").result().count == 5
        changed = writer.update("int_attr > 0", attributes={"str_attr": "x"}).result()
        assert changed == []
        assert writer.update(product_id="p1", attributes={"int_attr": 5}).result() == [
            key for key in wanted if key.product_id == "p1"
        ]
        writer.update(product_id="p2", pic_name="2.jpg", attributes={"int_attr": 5}).result()
        expected = sorted([*(key for key in wanted if key.product_id == "p1"), Key("p2", "2.jpg")])
        assert writer.delete_matching("int_attr = 5").result().keys == expected
        with pytest.raises(InvalidFilter):
            writer.delete_matching("nonsense")
        with pytest.raises(UsageError):
            writer.submit("an operation")  # type: ignore[arg-type]
        with pytest.raises(ItemNotFound):
            writer.update(product_id="none", attributes={"int_attr": 5})
        writer.flush()
        assert writer.pending == 0
    with pytest.raises(UsageError, match="closed"):
        writer.delete("p3")


def test_an_error_of_one_shard_is_raised(shards: ArithmeticShards) -> None:
    """What concerns all of them is told when all are done, and can be submitted again."""
    shards.add(Sight(1), "p1", "a", attributes=Attributes(int_attr=1))
    folder = shards.shards[shard_of("p1", SHARDS)].folder
    with shards.indexing(lock_timeout=0) as writer, Instance.open(folder)._opened.writing(0):
        failed = writer.delete_matching("int_attr = 1")
        assert str(folder) in str(failed.exception())
    assert shards.delete_matching("int_attr = 1").keys == [Key("p1", "a")]


def test_methods_that_change_items(shards: ArithmeticShards) -> None:
    for number in range(12):
        shards.add(Sight(number), f"p{number}", "a", attributes=Attributes(int_attr=number))
    check_places(shards)
    assert len(shards) == 12
    assert sorted(shards.update("int_attr < 3", attributes={"str_attr": "s"})) == [Key(f"p{n}", "a") for n in range(3)]
    assert shards.update(product_id="p5", attributes={"str_attr": "t"}) == [Key("p5", "a")]
    assert shards.delete_matching('str_attr = "s"', dry_run=True).keys == [Key(f"p{n}", "a") for n in range(3)]
    assert shards.delete("p5").keys == [Key("p5", "a")]
    selections = [("p6", None), ("none", None), ("p0", "a"), ("p7", "b")]
    assert [one.keys for one in shards.delete_stream(selections)] == [[Key("p6", "a")], [], [Key("p0", "a")], []]
    assert len(shards) == 9
    for wrong in ("", 7, "x" * 600):
        with pytest.raises(InvalidValue):
            shards.delete(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidValue):
            shards.update(product_id=wrong, attributes={"int_attr": 1})  # type: ignore[arg-type]


def test_what_is_for_one_instance_is_refused(shards: ArithmeticShards, tmp_path: Path) -> None:
    """Nothing is done in some of the shards only."""
    picture = AddPicture("here", Key("p", "a"), Sight(1))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"picture 1")
    for attempt in (
        lambda: shards.apply([picture, DeletePictures("x", "p")]),
        lambda: shards.sync([tmp_path / "pictures"]),
        shards.rebuild,
        shards.tune,
        shards.reset_tuning,
        lambda: shards.indexing(workers=3),
    ):
        with pytest.raises(UsageError, match="shards"):
            attempt()
    assert len(shards) == 0


# Opening


def folders(tmp_path: Path, count: int = 2) -> list[Path]:
    """Shards with a few items each."""
    made = [tmp_path / str(index) for index in range(count)]
    for folder in made:
        ArithmeticInstance.create(folder)
    with ArithmeticShards.open_shards(made) as shards, shards.indexing() as writer:
        for number in range(20):
            writer.add(b"picture %d" % number, f"p{number}", "a")
    return made


def test_shards_in_another_order_are_refused(tmp_path: Path) -> None:
    first, second = folders(tmp_path)
    for given in ([second, first], [first], [first, first], []):
        with pytest.raises(UsageError):
            ArithmeticShards.open_shards(given)
    with pytest.raises(InstanceNotFound):
        ArithmeticShards.open_shards([first, tmp_path / "none"])
    with ArithmeticShards.open_shards([first, second]) as shards:
        assert len(shards) == 20


def test_some_shards_are_not_taken_for_all(tmp_path: Path) -> None:
    """The first four of eight are not four, nor is one of them an instance of its own."""
    made = folders(tmp_path, 8)
    for given in (made[:4], made[:2], [*made, *made], made[:1]):
        with pytest.raises(UsageError):
            ArithmeticShards.open_shards(given)
    with pytest.raises(UsageError, match="open_shards"):
        ArithmeticShards.open(made[0])


def test_shards_that_differ_are_refused(tmp_path: Path) -> None:
    """In whatever makes answers incomparable, at the start and while they are open."""
    first, second = folders(tmp_path)
    ArithmeticInstance.create(tmp_path / "generic", "generic")
    with pytest.raises(StampMismatch, match="kind"):
        ArithmeticShards.open_shards([first, tmp_path / "generic"])
    with ArithmeticShards.open_shards([first, second]) as shards, shards.searching() as searcher:
        assert searcher.by_feature(FEATURES[0]).found == 20
        with ArithmeticInstance.open(second) as shard, shard._opened.writing(0) as engine, engine.committing() as store:
            store.set_setting("model", shard.model.as_dict() | {"feature_version": 2})
        with pytest.raises(StampMismatch, match="model"):
            searcher.by_feature(FEATURES[0])
    with pytest.raises(StampMismatch, match="model"):
        ArithmeticShards.open_shards([first, second])


def test_a_damaged_shard_is_never_passed_over(tmp_path: Path) -> None:
    """Every answer that would need it is an error that names it."""
    places = folders(tmp_path, 3)
    with ArithmeticShards.open_shards(places) as shards, shards.searching() as searcher:
        assert len(searcher.by_feature(FEATURES[0], search=SearchOptions(num=100)).hits) == 20
    database = places[1] / DATABASE_NAME
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with (
        pytest.raises(InstanceDamaged, match=str(places[1])),
        ArithmeticShards.open_shards(places) as shards,
        shards.searching() as searcher,
    ):
        searcher.by_feature(FEATURES[0])
    shutil.rmtree(places[1])
    with pytest.raises(InstanceNotFound, match=str(places[1])):
        ArithmeticShards.open_shards(places)


def test_items_of_another_shard_are_found(tmp_path: Path) -> None:
    first, second = folders(tmp_path)
    with ArithmeticInstance.open(first) as shard:
        assert list(shard.misplaced(Shard(0, 2))) == []
        wrong = list(shard.misplaced(Shard(1, 2)))
        assert wrong == keys(shard)
        assert all(shard_of(key.product_id, 2) == 0 for key in wrong)
    assert second.exists()
    assert PRODUCTS > 20
