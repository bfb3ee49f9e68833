"""Items in PostgreSQL and their index in Milvus, together: nothing acknowledged is missed, whatever the index does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import numpy as np
import pytest

from imgsearch.errors import RemoteUnavailable
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING
from imgsearch.search.ranking import Query, Ranker
from imgsearch.search.siblings import WITHOUT_LIFT
from imgsearch.storage.milvus import client
from imgsearch.storage.milvus.address import MilvusAddress
from imgsearch.storage.port import Storage
from imgsearch.storage.postgres import index_elsewhere, rebuilding, tables
from imgsearch.storage.postgres.address import Address
from imgsearch.storage.postgres.engine import PostgresEngine
from imgsearch.storage.postgres.indexer import Indexer
from imgsearch.values import Attributes, Key
from tests import postgres_server
from tests.milvus_server import Cable
from tests.storage.builders import CALIBRATION, at_work, change, scattered

pytestmark = pytest.mark.extended

SETTINGS = {"kind": "product", "created": 1, "model": {"name": "tiny"}}
COUNT = 120
FEATURES = scattered(4_000, seed=3)
Opener = Callable[..., PostgresEngine]


@pytest.fixture
def address(cable: Cable) -> Address:
    """Of an empty instance whose index is reached through a cable of this test."""
    if not postgres_server.is_installed():
        pytest.skip(postgres_server.MISSING)
    made = Address.parse(postgres_server.shared_server().url())
    tables.create(made, dict(SETTINGS), str(MilvusAddress.parse(f"milvus://127.0.0.1:{cable.port}?timeout=2").named()))
    return made


@pytest.fixture
def opener(address: Address, cable: Cable) -> Iterator[Opener]:
    """Opens the instance, as often as is asked; what it left in Milvus is dropped at the end."""
    opened: list[PostgresEngine] = []

    def open_one(*, write: bool = True) -> PostgresEngine:
        opened.append(PostgresEngine(address.place, address, write=write))
        opened[-1].follows = False  # the index follows when a test says so
        return opened[-1]

    yield open_one
    cable.mend()
    external = open_one().external
    for number in external.numbers():
        external.drop(number)
    for engine in opened:
        engine.close()


@pytest.fixture
def engine(opener: Opener) -> PostgresEngine:
    """With COUNT items, all of them indexed."""
    made = opener()
    add(made, range(COUNT))
    made.rebuild()
    return made


def add(engine: Storage, numbers: Any) -> None:
    """Items of products ``p<number>`` in category ``number % 3``."""
    with engine.committing() as store:
        store.insert(
            [
                change(
                    f"p{number}",
                    "1.jpg",
                    FEATURES[number],
                    category=number % 3,
                    attributes=Attributes(int_attr=number),
                )
                for number in numbers
            ]
        )


def found(engine: Storage, number: int, *, num: int = 5, **options: Any) -> list[int]:
    """The numbers of the items that are nearest to the feature of one, by their own features."""
    weights = WITHOUT_LIFT.__class__(sibling=0.0, sharpness=1.0, lift=0.0)
    ranking = Ranker(engine).search(
        Query(FEATURES[number], b"another"), CALIBRATION, num=num, weights=weights, **options
    )
    return [int(hit.item.key.product_id[1:]) for hit in ranking.hits]


def nearest(number: int, among: Any, size: int = 5) -> list[int]:
    return sorted(among, key=lambda other: -float(FEATURES[other] @ FEATURES[number]))[:size]


def test_answers_are_those_of_all_items(engine: PostgresEngine) -> None:
    """Whether an item is in the index, waits for it, or is gone and still in it; with and without a filter."""
    add(engine, range(COUNT, COUNT + 40))
    with engine.committing() as store:
        store.remove([Key(f"p{number}", "1.jpg") for number in (3, 50, COUNT + 7)])
    left = [number for number in range(COUNT + 40) if number not in (3, 50, COUNT + 7)]
    for asked in (3, 60, COUNT + 7, COUNT + 60):
        assert found(engine, asked) == nearest(asked, left)
        few = [number for number in left if number < 90]
        assert found(engine, asked, condition=parse_filter("int_attr<90")) == nearest(asked, few)
        assert found(engine, asked, categories=(1,)) == nearest(asked, [n for n in left if n % 3 == 1])


def test_the_indexer_takes_in_what_waits(engine: PostgresEngine) -> None:
    """And only what was shown for long enough leaves the table; what is deleted leaves the index."""
    add(engine, range(COUNT, COUNT + 10))
    with engine.committing() as store:
        store.remove([Key("p0", "1.jpg"), Key(f"p{COUNT}", "1.jpg")])
    assert engine.is_index_due()
    engine.refresh()
    assert not engine.is_index_due()
    generation = engine.store.generation()
    assert generation is not None
    assert sum(engine.external.count(generation.number).values()) == COUNT + 8
    assert (engine.store.count_waiting(), engine.store.count_removed()) == (9, 0)
    engine.store.link.run("UPDATE pending SET acknowledged = acknowledged - interval '30 seconds'")
    assert engine.is_index_due()
    engine.refresh()
    assert engine.store.count_waiting() == 0
    assert found(engine, COUNT + 5) == nearest(COUNT + 5, [n for n in range(1, COUNT + 10) if n != COUNT])


def _acknowledged_is_found(engine: PostgresEngine, reader: PostgresEngine, rounds: int) -> None:
    """Each item is found by the search after its commit, and gone after the commit that deletes it.

    The index is brought up to date meanwhile, now and then, so that items wait, are acknowledged, or have left.
    """
    missed, ghosts = [], []
    for number in range(COUNT, COUNT + rounds):
        add(engine, [number])
        if found(reader, number, num=1) != [number]:
            missed.append(number)
        if number % 7 == 0:
            engine.refresh()
        if number % 5 == 0:
            with engine.committing() as store:
                store.remove([Key(f"p{number - 3}", "1.jpg")])
            if number - 3 in found(reader, number - 3, num=3):
                ghosts.append(number - 3)
    assert (missed, ghosts) == ([], [])


def test_what_was_acknowledged_before_a_search_is_found(engine: PostgresEngine, opener: Opener) -> None:
    """50 of 50."""
    _acknowledged_is_found(engine, opener(write=False), 50)


@pytest.mark.long
def test_all_that_was_acknowledged_before_a_search_is_found(engine: PostgresEngine, opener: Opener) -> None:
    """1,000 of 1,000, so long that most of them have left the table of what waits."""
    begun = time.monotonic()
    _acknowledged_is_found(engine, opener(write=False), 1_000)
    waiting = engine.store.count_waiting()
    assert waiting < 800 or time.monotonic() - begun < 30


def test_writers_bring_the_index_up_to_date(engine: PostgresEngine) -> None:
    """Between their commits, if the last time was long enough ago."""
    add(engine, range(COUNT, COUNT + 5))
    assert engine.is_index_due()
    engine.follows, engine._follower._next = True, 0.0
    add(engine, [COUNT + 5])
    assert not engine.is_index_due()


# When the index fails


@pytest.mark.parametrize("how", ["pull", "freeze"])
def test_without_the_index_answers_are_the_same(
    engine: PostgresEngine, cable: Cable, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items are compared one by one; a writer goes on, too, and what it adds is found."""
    monkeypatch.setattr(client, "CALL_S", 2.0)
    before = [found(engine, asked) for asked in range(0, 40, 13)]
    getattr(cable, how)()
    assert [found(engine, asked) for asked in range(0, 40, 13)] == before
    add(engine, [COUNT])
    assert found(engine, COUNT, num=1) == [COUNT]
    engine.follows, engine._follower._next = True, 0.0
    add(engine, [COUNT + 1])  # tries to bring the index up to date
    assert found(engine, COUNT + 1, num=1) == [COUNT + 1]
    with pytest.raises(RemoteUnavailable):
        engine.refresh()
    cable.mend()
    engine.refresh()
    assert not engine.is_index_due()


def test_without_the_index_too_many_items_are_an_error(
    engine: PostgresEngine, cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exit code 7; where few enough count, there is an answer all the same."""
    monkeypatch.setattr(index_elsewhere, "SCANNED_WITHOUT_INDEX", COUNT - 1)
    monkeypatch.setattr(client, "PAUSE_S", 0.0)
    cable.pull()
    with pytest.raises(RemoteUnavailable) as told:
        found(engine, 1)
    assert told.value.exit_code == 7
    assert found(engine, 1, condition=parse_filter("int_attr<50")) == nearest(1, range(50))
    cable.mend()
    assert found(engine, 1) == nearest(1, range(COUNT))


def test_a_rebuild_that_fails_changes_nothing(engine: PostgresEngine, cable: Cable) -> None:
    generation = engine.store.generation()
    cable.pull()
    with pytest.raises(RemoteUnavailable):
        engine.rebuild()
    assert engine.store.generation() == generation
    cable.mend()
    assert found(engine, 1) == nearest(1, range(COUNT))
    again = engine.rebuild()
    assert engine.external.numbers() == [again.number]


def test_an_index_that_has_lost_items_is_not_believed(engine: PostgresEngine, caplog: pytest.LogCaptureFixture) -> None:
    """It shows fewer than it should: the answer comes from the items, and the log tells it."""
    lost = engine.store.matching_ids(EVERYTHING)[[5, 6, 7]]
    engine.external.remove(lost)
    generation = engine.store.generation()
    assert generation is not None
    assert sum(engine.external.count(generation.number).values()) == COUNT - 3  # deleted for certain
    assert found(engine, 5, num=100) == nearest(5, range(COUNT), 100)
    assert "run 'imgsearch rebuild'" in caplog.text
    engine.rebuild()
    assert found(engine, 5, num=100) == nearest(5, range(COUNT), 100)


def test_an_index_that_is_gone_is_made_again(engine: PostgresEngine, caplog: pytest.LogCaptureFixture) -> None:
    for number in engine.external.numbers():
        engine.external.drop(number)
    assert found(engine, 5) == nearest(5, range(COUNT))
    engine.rebuild()
    assert engine.external.published() == engine.store.generation().number  # type: ignore[union-attr]


def test_a_stale_alias_misleads_nobody(engine: PostgresEngine) -> None:
    """A process that ended between two steps: searches go by the database, and the next indexer puts it right."""
    generation = engine.store.generation()
    assert generation is not None
    ids = engine.store.matching_ids(EVERYTHING)[:10]
    _, features = engine.store.features_of(ids.tolist())
    other = generation.number + 50
    engine.external.build(other, iter([(ids, np.zeros(10, np.int64), features.astype(np.float16))]))
    engine.external.publish(other)
    assert found(engine, 77) == nearest(77, range(COUNT))
    add(engine, [COUNT])
    engine.refresh()
    assert engine.external.published() == generation.number
    assert sum(engine.external.count(generation.number).values()) == COUNT + 1


def test_searches_go_on_while_the_index_is_made_anew(engine: PostgresEngine, opener: Opener) -> None:
    """None fails, and none misses an item, also of those that are added meanwhile."""
    reader, failures, rounds = opener(write=False), [], [0]
    done = False

    def search() -> None:
        while not done:
            try:
                asked = rounds[0] % COUNT
                if found(reader, asked) != nearest(asked, range(COUNT)):
                    failures.append(asked)
            except BaseException as error:
                failures.append(error)
            rounds[0] += 1

    thread = Thread(target=search)
    thread.start()
    for _ in range(2):
        engine.rebuild()
    done = True
    thread.join()
    assert failures == []
    assert rounds[0] > 2


def test_an_emptied_instance_leaves_nothing_in_the_index(engine: PostgresEngine, cable: Cable) -> None:
    """If the server is away, the next one who brings the index up to date deletes it."""
    with engine.committing() as store:
        store.delete(EVERYTHING)
    cable.pull()
    engine.drop_index_if_empty()
    assert engine.store.generation() is None
    cable.mend()
    assert engine.external.numbers() != []
    engine.drop_index_if_empty()
    assert engine.external.numbers() == []
    assert engine.store.count_removed() == 0


# When the indexer is killed


class Died(BaseException):
    """As if the process had been killed."""


POINTS = [
    ("remove", "before"),
    ("remove", "after"),
    ("add", "before"),
    ("add", "after"),
    ("run", "before"),
    ("run", "after"),
]


@pytest.mark.parametrize(("name", "moment"), POINTS)
def test_an_indexer_that_dies_leaves_work_and_no_damage(
    opener: Opener, engine: PostgresEngine, name: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off before or after each thing that it does; the next one does it again, and nothing stands there twice."""
    add(engine, range(COUNT, COUNT + 6))
    with engine.committing() as store:
        store.remove([Key("p1", "1.jpg"), Key("p2", "1.jpg")])
    dying = opener()
    target = dying.store.link if name == "run" else dying.external
    call = getattr(target, name)

    def die(*arguments: Any) -> Any:
        if moment == "after":
            call(*arguments)
        raise Died

    monkeypatch.setattr(target, name, die)
    with pytest.raises(Died):
        Indexer(dying.store, dying.external).step()
    dying.close()
    left = [number for number in range(COUNT + 6) if number not in (1, 2)]
    assert found(engine, 1) == nearest(1, left)
    engine.refresh()
    generation = engine.store.generation()
    assert generation is not None
    assert sum(engine.external.count(generation.number).values()) == len(left)
    assert found(engine, COUNT + 5) == nearest(COUNT + 5, left)


KILLED = """
import sys
from imgsearch.storage.postgres.address import Address
from imgsearch.storage.postgres.engine import PostgresEngine
from imgsearch.storage.postgres.indexer import Indexer
address = Address.parse(sys.argv[1])
engine = PostgresEngine(address.place, address, write=True)
engine.external.numbers()
with engine.indexing(0):
    print("holds", flush=True)
    while True:
        Indexer(engine.store, engine.external, 1).step()
"""


def test_a_killed_indexer_leaves_its_lock(engine: PostgresEngine, address: Address) -> None:
    """kill -9 somewhere in its work: another one goes on at once."""
    add(engine, range(COUNT, COUNT + 30))
    url = address.url.replace("@", f":{postgres_server.PASSWORD}@", 1)
    with at_work(KILLED, url, told="holds") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 30
        while engine._follower.count():
            engine.refresh()
            assert time.monotonic() < deadline
    generation = engine.store.generation()
    assert generation is not None
    assert sum(engine.external.count(generation.number).values()) == COUNT + 30


def test_lists_are_scanned_as_far_as_recall_asks(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured against the items when an index is made; recorded with it."""
    monkeypatch.setattr(rebuilding, "EXACT_ITEMS", 100)
    engine = opener()
    add(engine, range(4_000))
    generation = engine.rebuild()
    assert not generation.is_exact
    assert generation.probes is not None
    assert generation.recall is not None
    assert generation.recall >= 0.99
    assert generation.recall_500 is not None
    assert generation.recall_500 >= 0.95
    assert engine.store.generation() == generation
    right = [found(engine, asked, num=1) == [asked] for asked in range(0, 4_000, 97)]
    assert all(right)
