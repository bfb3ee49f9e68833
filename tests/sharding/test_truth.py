"""The truth of several shards (``storage.port.Truth``).

Contract: what one instance with all items tells, tells the merged truth, too, with ids of its own; it writes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from imgsearch.errors import UsageError
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING, picture_condition
from imgsearch.sharding.ids import by_shard, global_id, global_ids, of_shard, shard_and_id
from imgsearch.values import Attributes, Key
from tests.sharding.conftest import SHARDS, Twice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.storage.port import Truth

RED = parse_filter('str_attr = "red"')


@pytest.fixture
def truths(twice: Twice) -> Iterator[tuple[Truth, Truth]]:
    """That of one instance, and that of the shards."""
    with (
        twice.whole._opened.reading() as whole,
        twice.shards._opened.reading() as shards,
        whole.store.reading(),
        shards.store.reading(),
    ):
        yield whole.store, shards.store


def keys_of(truth: Truth, ids: Any) -> list[Key]:
    """The keys of ids, in their order."""
    found = {picture.item.id: picture.item.key for picture in truth.pictures(np.asarray(ids).tolist())}
    return [found[number] for number in np.asarray(ids).tolist()]


def test_ids_of_shards() -> None:
    """They ascend shard by shard, and lead back."""
    ids = np.array([1, 2**40, 7])
    for shard in (0, 1, 65_535):
        assert [shard_and_id(number) for number in global_ids(shard, ids).tolist()] == [
            (shard, n) for n in ids.tolist()
        ]
        assert of_shard(shard, global_ids(shard, ids)).tolist() == ids.tolist()
        assert of_shard(shard + 1, global_ids(shard, ids)).tolist() == []
    assert global_id(2, 1) > global_id(1, 2**46)
    assert by_shard([global_id(1, 5), global_id(0, 3), global_id(1, 4)]) == {1: [5, 4], 0: [3]}


def test_counting(truths: tuple[Truth, Truth]) -> None:
    whole, shards = truths
    assert dict(sorted(shards.counts().items())) == dict(sorted(whole.counts().items()))
    for condition in (EVERYTHING, RED):
        assert shards.count(condition) == whole.count(condition)
        assert shards.keys(condition) == whole.keys(condition)
        assert keys_of(shards, shards.matching_ids(condition)) == keys_of(whole, whole.matching_ids(condition))
    assert shards.count_products() == whole.count_products()
    assert shards.products_with_several() == whole.products_with_several()
    assert len(shards.removed_ids()) == shards.count_removed()
    generation = shards.generation()
    if generation is not None:
        assert generation.items + shards.count_unindexed() - shards.count_removed() == shards.count()


def test_reading(truths: tuple[Truth, Truth]) -> None:
    """By key, by id, by product, by bytes, in pieces of any kind."""
    whole, shards = truths
    wanted = [*whole.keys(EVERYTHING)[::41], Key("none", "none")]
    ids = []
    for key in wanted:
        one, other = whole.item(key), shards.item(key)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one.key, one.attributes, one.content_hash) == (other.key, other.attributes, other.content_hash)
            assert np.array_equal(whole.feature(one.id), shards.feature(other.id))
            assert shards.has(other.id)
            ids.append(other.id)
    assert not shards.has(global_id(1, 2**40))
    assert len({shard for shard, _ in map(shard_and_id, ids)}) == SHARDS
    found, features = shards.features_of(ids)
    assert sorted(found.tolist()) == sorted(ids)
    assert all(
        np.array_equal(shards.feature(number), one) for number, one in zip(found.tolist(), features, strict=True)
    )
    pictures, marked = shards.candidates(found, features, RED)
    assert pictures.ids is found
    assert [product for product, _ in pictures.groups] == [key.product_id for key in keys_of(shards, found)]
    assert set(found[marked].tolist()) == set(shards.matching(ids, RED).tolist())
    products = ["p3", "p4", "p5", "p6", "none"]
    firsts = []
    for truth in truths:
        first, of = truth.first_of_products(products, 2)
        keys = keys_of(truth, first)
        assert [key.product_id for key in keys] == [products[place] for place in of.tolist()]
        firsts.append(sorted(keys))
        truth.verify(first.tolist())
    assert firsts[0] == firsts[1]
    assert len(firsts[0]) > 4
    pieces = list(shards.siblings(ids, RED))
    assert sorted(number for piece in pieces for number in piece.ids.tolist()) == sorted(found[marked].tolist())
    copies = [keys_of(truth, truth.identical_ids(picture_condition(b"copy"), EVERYTHING, 5)) for truth in truths]
    assert copies[0] == copies[1]
    assert len(copies[0]) == 5
    records = [truth.stored_records(wanted) for truth in truths]
    assert list(map(len, records)) == [len(ids), len(ids)]
    assert records[0].keys() == records[1].keys()
    given = [(key.product_id, key.pic_name) for key in wanted]
    versions = shards.versions(given, "/", Attributes())
    assert {place: version.id for place, version in versions.items()} == dict(enumerate(ids))
    assert all(version.position == place for place, version in versions.items())
    assert shards.ids_below("/").tolist() == []


def test_scans_ascend(truths: tuple[Truth, Truth]) -> None:
    """Over all shards, with features and with what copies are recognised by."""
    whole, shards = truths
    for condition in (EVERYTHING, RED):
        ids = [number for piece, _ in shards.scan(condition) for number in piece.tolist()]
        assert ids == sorted(ids) == shards.matching_ids(condition).tolist()
        prints = [number for piece in shards.fingerprints(condition) for number in piece.ids.tolist()]
        assert prints == ids
    unindexed = sum(len(piece) for piece, _ in shards.scan(EVERYTHING, unindexed=True))
    assert unindexed == shards.count_unindexed()
    assert [one.key for one in shards.all_stored_records()] == [one.key for one in whole.all_stored_records()]


def test_nothing_is_written(twice: Twice) -> None:
    with twice.shards._opened.reading() as storage:
        for attempt in (storage.store.remove, storage.store.insert):
            with pytest.raises(UsageError, match="each with its own lock"):
                attempt([])
        for refused in (storage.committing, storage.rebuild, storage.refresh, storage.is_index_due):
            with pytest.raises(UsageError, match="each with its own lock"):
                refused()
