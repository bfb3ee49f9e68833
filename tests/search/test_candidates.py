"""Candidates: at least those nearest to the query that may be found, found in the way that costs least.

Storages that compare by themselves have an index elsewhere; servers that do so are tested by the contract of storages,
which takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.errors import InstanceDamaged, RemoteUnavailable
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING
from imgsearch.search import candidates
from imgsearch.search.candidates import Snapshot
from imgsearch.search.ranking import Ranker
from imgsearch.values import Attributes
from tests.storage.builders import CALIBRATION, change, nearest, query, scattered
from tests.storage.memory import MemoryIndex, MemoryStorage, MemoryTruth

if TYPE_CHECKING:
    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from tests.storage.builders import Features

FEATURES = scattered(30)
LEFT = [number for number in range(30) if number not in (3, 7)]


class Comparing(MemoryTruth):
    """Finds what is near by itself."""

    compares_itself = True

    def nearest(
        self, query: Features, condition: Condition, size: int, *, unindexed: bool = False
    ) -> npt.NDArray[np.int64]:
        for ids, features in self.scan(condition, unindexed=unindexed):
            return ids[np.argsort(-(features.astype(np.float32) @ query), kind="stable")[:size]]
        return np.zeros(0, np.int64)


@pytest.fixture
def storage() -> MemoryStorage:
    """Items 1 to 30, of which the first twenty are indexed, and two of these gone since."""
    storage = MemoryStorage({})
    storage.store = Comparing({})
    changes = [change(f"p{n}", feature=one, attributes=Attributes(int_attr=n)) for n, one in enumerate(FEATURES)]
    storage.store.insert(changes[:20])
    storage.rebuild()
    storage.store.insert(changes[20:])
    storage.store.remove([changes[3].key, changes[7].key])
    return storage


def reopened(storage: MemoryStorage) -> MemoryStorage:
    """The same items, in a truth that compares nothing by itself."""
    found = MemoryStorage({})
    found.store.state = storage.store.state
    return found


@pytest.mark.parametrize(
    ("is_exact", "size", "least", "count"),
    [(False, 5, 0, 7), (False, 5, 12, 12), (False, 10, 0, 14), (False, 5, 400, 14), (True, 5, 0, 14)],
)
def test_fewer_candidates_are_the_first_of_all(
    storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch, is_exact: bool, size: int, least: int, count: int
) -> None:
    """With the same margin, and found only once; an exact index gives ties, which have no order."""
    asked: list[int] = []
    near = np.array([number + 1 for number in LEFT if number < 20][:14], np.int64)

    def shortlist(_index: MemoryIndex, _query: Features, size: int, **_options: object) -> npt.NDArray[np.int64]:
        asked.append(size)
        return near

    monkeypatch.setattr(MemoryIndex, "shortlist", shortlist)
    monkeypatch.setattr(MemoryIndex, "is_best_first", True)
    monkeypatch.setattr(candidates, "LEAST_OF_SHORTLIST", least)
    assert storage.store.state.generation is not None
    storage.store.state.generation = replace(storage.store.state.generation, is_exact=is_exact)
    snapshot = Snapshot(reopened(storage))
    (found,) = snapshot.candidates([(FEATURES[0], snapshot.selection((), EVERYTHING))], 10)
    assert found.best(size)[:count].tolist() == near[:count].tolist()
    assert not set(found.best(size)[count:].tolist()) & set(near.tolist())
    assert asked == [10]
    found.best(20)
    assert asked == [10, 20]


@pytest.mark.parametrize(
    ("condition", "meaning"),
    [(EVERYTHING, lambda n: True), (parse_filter("int_attr>=15"), lambda n: n >= 15)],
    ids=["everything", "filter"],
)
@pytest.mark.parametrize("num", [1, 5, 30])
def test_indexed_and_newer_items_are_found(
    storage: MemoryStorage, condition: Condition, meaning: Callable[[int], bool], num: int
) -> None:
    wanted, among = scattered(1, 5)[0], [number for number in LEFT if meaning(number)]
    ranking = Ranker(storage).search(query(wanted), CALIBRATION, num=num, condition=condition)
    assert ranking.found == len(among)
    assert [hit.item.id - 1 for hit in ranking.hits] == nearest(FEATURES, wanted, num, among).tolist()


def test_more_items_than_are_counted_are_damage(storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index would name items that are none."""
    count = storage.store.count_unindexed()
    monkeypatch.setattr(storage.store, "count_unindexed", lambda: count + 1)
    with pytest.raises(InstanceDamaged, match="the number of items"):
        Ranker(storage).search(query(FEATURES[0]), CALIBRATION, num=5)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 30])
def test_a_scan_gives_just_the_nearest_and_of_equals_those_added_first(size: int) -> None:
    """Cosines 3, 1, 2, 2, 2, 1 …: whichever place the last of them takes."""
    cosines = np.array([3, 1, 2, 2, 2, 1, 0, 4, 0, 1], np.float32) / 4
    features = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    scan = candidates._Scan(np.arange(10, 20), features, np.array([1, 0], np.float32))
    expected = np.argsort(-cosines, kind="stable")[:size] + 10
    assert sorted(scan.best(size).tolist()) == sorted(expected.tolist())


@pytest.fixture
def large(storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> MemoryStorage:
    """The same items, as if they were so many that scanning the matches of a filter took too long."""
    monkeypatch.setattr(candidates, "EXACT_SCAN_LIMIT", 0)
    assert storage.store.state.generation is not None
    storage.store.state.generation = replace(storage.store.state.generation, is_exact=False)
    return reopened(storage)


FILTER = parse_filter("int_attr>=5")
MATCHING = [number for number in LEFT if number >= 5]


def filtered(storage: MemoryStorage, wanted: Features) -> list[int]:
    """Candidates for five hits, by the numbers of their features."""
    snapshot = Snapshot(storage)
    (found,) = snapshot.candidates([(wanted, snapshot.selection((), FILTER))], 5)
    return (np.sort(found.best(5)) - 1).tolist()


@pytest.mark.parametrize(
    ("cost", "never"), [(0, "matching_ids"), (10**9, "matching")], ids=["near items are tested", "matches are listed"]
)
def test_a_filter_is_met_in_the_way_that_costs_less(
    large: MemoryStorage, monkeypatch: pytest.MonkeyPatch, cost: int, never: str
) -> None:
    monkeypatch.setattr(candidates, "LOOK_COST", cost)
    is_met_without(large, monkeypatch, never)


def is_met_without(large: MemoryStorage, monkeypatch: pytest.MonkeyPatch, never: str) -> None:
    """The filter lets the nearest through, and that method of the truth is not called."""

    def refuse(*_arguments: object) -> None:
        raise AssertionError(f"{never} costs more")

    monkeypatch.setattr(large.store, never, refuse)
    wanted = scattered(1, 5)[0]
    found = filtered(large, wanted)
    assert set(nearest(FEATURES, wanted, 5, MATCHING).tolist()) <= set(found) <= set(MATCHING)


@pytest.mark.parametrize(("asked", "never"), [(1, "matching_ids"), (2, "matching")])
def test_a_filter_that_is_asked_for_again_is_listed(
    large: MemoryStorage, monkeypatch: pytest.MonkeyPatch, asked: int, never: str
) -> None:
    """Once testing has cost as much as listing."""
    found, among = len(MATCHING), len(LEFT)
    monkeypatch.setattr(candidates, "MAX_RESULTS", 1)
    monkeypatch.setattr(candidates, "LOOK_COST", found * found / among / 1.5)
    monkeypatch.setattr(MemoryTruth, "asked", lambda *_: asked)
    is_met_without(large, monkeypatch, never)


@pytest.mark.parametrize("limit", [len(MATCHING) - 1, len(MATCHING)])
def test_without_the_index_few_matches_are_compared(
    large: MemoryStorage, storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """More of them would hold up everybody else's statements."""

    def lost(*_arguments: object, **_options: object) -> None:
        raise RemoteUnavailable("the index is down")

    monkeypatch.setattr(candidates, "LOOK_COST", 0)
    monkeypatch.setattr(candidates, "SCANNED_WITHOUT_INDEX", limit)
    monkeypatch.setattr(MemoryIndex, "shortlist", lost)
    large.store = storage.store
    wanted = scattered(1, 5)[0]
    if limit < len(MATCHING):
        with pytest.raises(RemoteUnavailable):
            filtered(large, wanted)
    else:
        assert filtered(large, wanted) == sorted(nearest(FEATURES, wanted, 5, MATCHING).tolist())
