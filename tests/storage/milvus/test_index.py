"""The index in Milvus against brute force: generations, partitions, what is found, and what the alias names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from imgsearch.errors import InstanceEmpty, RemoteUnavailable
from imgsearch.storage.milvus import index as module
from imgsearch.storage.milvus.address import MilvusAddress
from imgsearch.storage.milvus.index import MilvusIndex
from imgsearch.storage.port import IndexReplaced
from tests.milvus_server import MilvusServer
from tests.storage.builders import clustered, nearest, scattered

pytestmark = pytest.mark.extended

Ids = npt.NDArray[np.int64]
COUNT = 600
FEATURES = clustered(COUNT)
IDS = np.arange(COUNT) * 3 + 2**40
CATEGORIES = np.arange(COUNT) % 3


def chunks(*, first: int = 0, last: int = COUNT, size: int = 250) -> Iterator[tuple[Ids, Ids, npt.NDArray[np.float16]]]:
    """Items as the truth gives them."""
    for start in range(first, last, size):
        some = slice(start, min(start + size, last))
        yield IDS[some], CATEGORIES[some], FEATURES[some].astype(np.float16)


@pytest.fixture(scope="module")
def built(milvus: MilvusServer, milvus_port: int) -> Iterator[MilvusIndex]:
    """Generation 1 with all items, published; not to be changed."""
    made = MilvusIndex(MilvusAddress.parse(f"milvus://127.0.0.1:{milvus_port}").named())
    made.build(1, chunks())
    made.publish(1)
    yield made
    made.drop(1)
    made.close()


def ids_of(index: MilvusIndex, number: int, category: int) -> list[int]:
    return [one for piece in index.ids(number, category) for one in piece.tolist()]


def test_a_built_generation_is_the_one_there_is(built: MilvusIndex) -> None:
    assert (built.numbers(), built.published()) == ([1], 1)
    assert built.count(1) == {0: 200, 1: 200, 2: 200}
    for category in range(3):
        assert sorted(ids_of(built, 1, category)) == IDS[category == CATEGORIES].tolist()
    assert ids_of(built, 1, 7) == []


def test_the_version_names_the_server(built: MilvusIndex) -> None:
    assert built.version().startswith("Milvus 2.")


@pytest.mark.parametrize("size", [1, 10, 500])
@pytest.mark.parametrize("categories", [None, (0,), (1, 2), (2, 9)])
def test_all_lists_give_the_nearest(built: MilvusIndex, size: int, categories: tuple[int, ...] | None) -> None:
    """In the categories that are asked for; one that has no items gives none."""
    among = np.flatnonzero(np.isin(CATEGORIES, categories)) if categories else np.arange(COUNT)
    queries = scattered(3, seed=5)
    found = built.shortlist(queries, size, [categories] * 3, number=1)
    for query, ids in zip(queries, found, strict=True):
        expected = nearest(FEATURES, query, size, among.tolist())
        assert sorted(ids.tolist()) == sorted(IDS[expected].tolist())


def test_queries_have_categories_of_their_own(built: MilvusIndex) -> None:
    queries = scattered(4, seed=6)
    asked = [(0,), None, (9,), (0,)]
    found = built.shortlist(queries, 5, asked, number=1)
    assert [len(ids) for ids in found] == [5, 5, 0, 5]
    for row in (0, 3):
        expected = nearest(FEATURES, queries[row], 5, np.flatnonzero(CATEGORIES == 0).tolist())
        assert sorted(found[row].tolist()) == sorted(IDS[expected].tolist())


def test_few_lists_give_near_items(built: MilvusIndex) -> None:
    (found,) = built.shortlist(FEATURES[7:8], 10, [(1,)], number=1, probes=1)
    assert IDS[7] in found


def test_more_than_one_search_gives(built: MilvusIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond Milvus' limit, page after page until there are enough, or all."""
    monkeypatch.setattr(module, "MAX_TOP", 100)
    query = scattered(1, seed=7)
    (found,) = built.shortlist(query, 350, [None], number=1)
    assert set(IDS[nearest(FEATURES, query[0], 350)].tolist()) <= set(found.tolist())
    (all_of_them,) = built.shortlist(query, 10_000, [None], number=1)
    assert sorted(all_of_them.tolist()) == IDS.tolist()


def test_a_generation_that_is_gone_is_told(built: MilvusIndex) -> None:
    """So that whoever searches looks which one is published now."""
    with pytest.raises(IndexReplaced):
        built.shortlist(FEATURES[:1], 5, [None], number=9)


def test_changes_go_to_the_published_generation(milvus_index: MilvusIndex) -> None:
    """New categories, too; repeated, they change nothing that searches tell."""
    milvus_index.build(1, chunks(last=30))
    milvus_index.publish(1)
    ((ids, categories, features),) = chunks(first=30, last=40)
    categories = categories + 5
    for _ in range(2):
        milvus_index.add(ids, categories, features)
    removed = np.concatenate([IDS[:5], ids[:2]])
    for _ in range(2):
        milvus_index.remove(removed)
    left = {*IDS[5:40].tolist()} - set(ids[:2].tolist())
    assert sum(milvus_index.count(1).values()) == len(left)
    assert {one for category in range(8) for one in ids_of(milvus_index, 1, category)} == left
    (found,) = milvus_index.shortlist(FEATURES[35:36], 100, [None], number=1)
    assert set(found.tolist()) == left
    (found,) = milvus_index.shortlist(FEATURES[35:36], 100, [(5,)], number=1)
    assert set(found.tolist()) == left & set(ids[categories == 5].tolist())


def test_a_new_generation_replaces_the_old_one(milvus_index: MilvusIndex) -> None:
    """Until it is published nothing changes; then changes go there, and the old one can still be searched."""
    milvus_index.build(1, chunks(last=20))
    milvus_index.publish(1)
    milvus_index.build(2, chunks(last=25))
    assert (milvus_index.numbers(), milvus_index.published()) == ([1, 2], 1)
    milvus_index.publish(2)
    milvus_index.publish(2)
    milvus_index.remove(IDS[:1])
    assert (milvus_index.published(), sum(milvus_index.count(2).values())) == (2, 24)
    assert sum(milvus_index.count(1).values()) == 20
    milvus_index.drop(1)
    milvus_index.drop(1)
    assert milvus_index.numbers() == [2]
    milvus_index.drop(2)
    assert (milvus_index.numbers(), milvus_index.published()) == ([], None)


def test_what_an_attempt_left_is_made_anew(milvus_index: MilvusIndex) -> None:
    milvus_index.build(3, chunks(last=10))
    milvus_index.build(3, chunks(first=5, last=15))
    assert sorted(one for category in range(3) for one in ids_of(milvus_index, 3, category)) == IDS[5:15].tolist()


def test_an_index_of_nothing_is_refused(milvus_index: MilvusIndex) -> None:
    with pytest.raises(InstanceEmpty):
        milvus_index.build(1, iter(()))
    assert milvus_index.numbers() == []


def test_without_a_generation_nothing_can_be_added(milvus_index: MilvusIndex) -> None:
    milvus_index.remove(IDS[:1])
    with pytest.raises(RemoteUnavailable, match="run 'imgsearch rebuild'"):
        milvus_index.add(IDS[:1], CATEGORIES[:1], FEATURES[:1].astype(np.float16))
    with pytest.raises(RemoteUnavailable, match="has lost"):
        milvus_index.publish(1)


def test_indexes_of_one_server_are_apart(built: MilvusIndex, milvus_address: MilvusAddress) -> None:
    """Also where the name of one begins like that of the other."""
    like = MilvusIndex(replace(milvus_address, collection=f"{built._server.address.collection}_g1"))
    assert (like.numbers(), like.published()) == ([], None)
    like.drop(1)
    like.close()
    assert built.numbers() == [1]
