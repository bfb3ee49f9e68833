"""Candidates of a storage that compares by itself and has an index elsewhere: together they are all that may be found.

Servers that do so are tested by the contract of storages, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.errors import InstanceDamaged
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING
from imgsearch.search.ranking import Ranker
from imgsearch.values import Attributes
from tests.storage.builders import CALIBRATION, change, nearest, query, scattered
from tests.storage.memory import MemoryStorage, MemoryTruth

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
