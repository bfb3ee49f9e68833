"""An index outside of the database follows it: what it lacks and what it still has makes no answer wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.errors import RemoteUnavailable
from imgsearch.filters.tree import EVERYTHING
from imgsearch.search.ranking import Ranker
from imgsearch.search.siblings import WITHOUT_LIFT
from imgsearch.values import Key
from tests.postgres_server import PostgresServer
from tests.storage.builders import CALIBRATION, change, nearest, query, scattered
from tests.storage.postgres.conftest import SETTINGS
from tests.storage.postgres.memory_index import MemoryIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.storage.postgres.engine import PostgresEngine

FEATURES = scattered(60)
OWN = WITHOUT_LIFT.__class__(sibling=0.0, sharpness=1.0, lift=0.0)


@pytest.fixture
def external() -> MemoryIndex:
    return MemoryIndex()


@pytest.fixture
def beside(server: PostgresServer, external: MemoryIndex) -> Iterator[PostgresEngine]:
    """An instance whose index is that one, with items 0 to 39 indexed and 40 to 49 stored since."""
    from imgsearch.storage.postgres import tables
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.engine import PostgresEngine

    address = Address.parse(server.url())
    tables.create(address, SETTINGS, "memory://")
    opened = PostgresEngine(address.place, address, write=True)
    opened.use_external(external)
    store_items(opened, range(40))
    opened.rebuild()
    store_items(opened, range(40, 50))
    yield opened
    opened.close()


def store_items(engine: PostgresEngine, numbers: range) -> None:
    with engine.committing() as store:
        store.insert([change(f"p{n}", "1", FEATURES[n], category=n % 3) for n in numbers])


def answers(engine: PostgresEngine, wanted: int = 55, **options: object) -> list[int]:
    ranking = Ranker(engine).search(query(FEATURES[wanted]), CALIBRATION, num=10, weights=OWN, **options)
    return [int(hit.item.key.product_id[1:]) for hit in ranking.hits]


def expected(numbers: list[int], wanted: int = 55) -> list[int]:
    return nearest(FEATURES, FEATURES[wanted], 10, numbers).tolist()


def test_answers_hold_what_the_index_lacks(beside: PostgresEngine, external: MemoryIndex) -> None:
    """New items, those that it does not show yet, and none that are gone, in all categories and in one."""
    assert beside.store.count_unindexed() == 10
    with beside.committing() as store:
        store.remove([Key("p3", "1"), Key("p45", "1")])
    left = [n for n in range(50) if n not in (3, 45)]
    assert (beside.store.count_unindexed(), beside.store.count_removed()) == (9, 2)
    assert answers(beside) == expected(left)
    assert answers(beside, categories=(1,)) == expected([n for n in left if n % 3 == 1])
    external.hidden = set(list(external.generations[1])[:20])
    assert answers(beside) == expected(left)


def test_steps_bring_it_up_to_date(beside: PostgresEngine, external: MemoryIndex) -> None:
    from imgsearch.storage.postgres.indexer import Indexer

    with beside.committing() as store:
        store.remove([Key("p3", "1"), Key("p45", "1")])
    assert beside.is_index_due()
    indexer = Indexer(beside.store, external)
    assert indexer.run() == 9 + 2
    stored = set(beside.store.matching_ids(EVERYTHING).tolist())
    assert set(external.generations[1]) == stored
    assert not beside.is_index_due()
    # What it has acknowledged it may not show yet, so searches look at it themselves.
    assert beside.store.count_unindexed() == 9
    external.hidden = set(external.generations[1])
    assert answers(beside) == expected([n for n in range(50) if n not in (3, 45)])
    external.hidden = set()
    beside.store.link.run("UPDATE pending SET acknowledged = acknowledged - interval '1 minute'")
    assert indexer.step() == 0
    assert beside.store.count_unindexed() == 0
    assert answers(beside) == expected([n for n in range(50) if n not in (3, 45)])


def test_work_that_was_cut_off_is_done_again(beside: PostgresEngine, external: MemoryIndex) -> None:
    """Between the index and the database, and between a publication there and here."""
    from imgsearch.storage.postgres.indexer import Indexer

    link = beside.store.link
    real, failing = link.run, ["DELETE FROM removed", "UPDATE pending"]

    def run(statement: str, parameters: object = ()) -> object:
        if failing and statement.startswith(failing[0]):
            failing.pop(0)
            raise RemoteUnavailable("cut off")
        return real(statement, parameters)  # type: ignore[arg-type]

    link.run = run  # type: ignore[assignment, method-assign]
    with beside.committing() as store:
        store.remove([Key("p4", "1")])
    indexer = Indexer(beside.store, external)
    for _ in range(2):
        with pytest.raises(RemoteUnavailable):
            indexer.run()
    external.current = None
    indexer.run()
    assert external.current == 1
    assert set(external.generations[1]) == set(beside.store.matching_ids(EVERYTHING).tolist())
    assert answers(beside) == expected([n for n in range(50) if n != 4])


def test_what_a_killed_rebuild_has_left_goes(beside: PostgresEngine, external: MemoryIndex) -> None:
    """With the next run of the indexer, as ``check`` says."""
    from imgsearch.storage.postgres.checking import check

    published = beside.rebuild().number
    external.build(published + 1, iter([]))
    assert ["removes it" in problem.message for problem in check(beside, read_data=False, settings=())] == [True]
    store_items(beside, range(50, 55))
    beside.refresh()
    assert external.numbers() == [published]
    assert check(beside, read_data=False, settings=()) == []


def test_a_rebuild_takes_what_came_meanwhile_later(beside: PostgresEngine, external: MemoryIndex) -> None:
    """An item stored and one deleted while the new generation is filled are not lost track of."""
    build = external.build

    def slow(number: int, chunks: object) -> None:
        build(number, chunks)  # type: ignore[arg-type]
        with other.committing() as store:
            store.insert([change("p50", "1", FEATURES[50])])
            store.remove([Key("p0", "1")])

    from imgsearch.storage.postgres.engine import PostgresEngine

    address = beside.store.link.address
    other = PostgresEngine(address.place, address, write=True)
    external.build = slow  # type: ignore[method-assign]
    generation = beside.rebuild()
    other.close()
    assert (generation.number, external.numbers(), external.current) == (2, [2], 2)
    assert (beside.store.count_unindexed(), beside.store.count_removed()) == (1, 1)
    assert generation.is_exact
    assert answers(beside) == expected(list(range(1, 51)))


def test_a_down_index_is_done_without(
    beside: PostgresEngine, external: MemoryIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the items can be compared one by one; commits never ask it."""
    from imgsearch.storage.postgres import index_elsewhere

    external.is_down = True
    store_items(beside, range(50, 52))
    assert answers(beside) == expected(list(range(52)))
    monkeypatch.setattr(index_elsewhere, "SCANNED_WITHOUT_INDEX", 10)
    with pytest.raises(RemoteUnavailable):
        answers(beside)


def test_a_check_compares_it_with_the_items(beside: PostgresEngine, external: MemoryIndex) -> None:
    from imgsearch.storage.postgres.checking import check

    assert check(beside, read_data=True, settings=()) == []
    lost = next(iter(external.generations[1]))
    del external.generations[1][lost]
    found = {str(one.damage) for one in check(beside, read_data=True, settings=())}
    assert found == {"IndexDamaged", "SelfSearchFailed"}
    external.current = None
    beside.store.link.run("UPDATE pending SET since = since - interval '2 hours'")
    found = {str(one.damage) for one in check(beside, read_data=False, settings=())}
    assert found == {"IndexBehind", "GenerationDamaged"}
    external.is_down = True
    assert "IndexMissing" in {str(one.damage) for one in check(beside, read_data=False, settings=())}


def test_an_emptied_instance_keeps_nothing_there(beside: PostgresEngine, external: MemoryIndex) -> None:
    with beside.committing() as store:
        store.delete(EVERYTHING)
    beside.drop_index_if_empty()
    assert external.numbers() == []
    assert beside.store.generation() is None
    assert np.array_equal(beside.store.removed_ids(), [])


def test_what_waits_is_told(beside: PostgresEngine) -> None:
    about = beside.about()
    assert (about["Index"], about["Pending"], about["Removed"]) == ("an index in memory", 10, 0)
