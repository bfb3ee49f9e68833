"""Locks keep apart what must not meet, tell who holds them, and end with their connection."""

from __future__ import annotations

from threading import Barrier, Thread, Timer
from typing import TYPE_CHECKING

import pytest

from imgsearch.errors import InstanceLocked
from imgsearch.values import Key
from tests.storage.builders import change, scattered
from tests.storage.postgres.conftest import PATIENCE, Opener

if TYPE_CHECKING:
    from imgsearch.storage.postgres.engine import PostgresEngine

FEATURES = scattered(8)


def test_writers_share_and_one_alone_waits(opener: Opener, engine: PostgresEngine) -> None:
    """The message names the others; when they end, the way is free."""
    opener()
    with pytest.raises(InstanceLocked, match=r"is being written by .*@"):
        opener(alone=True)


def test_nobody_writes_beside_one_alone(opener: Opener) -> None:
    alone = opener(alone=True)
    with pytest.raises(InstanceLocked, match=r"changed as a whole by process \d+ on .* since"):
        opener()
    opener(write=False)  # readers do not care
    alone.close()
    opener(timeout=PATIENCE)


def test_one_makes_an_index(opener: Opener, engine: PostgresEngine) -> None:
    from imgsearch.storage.postgres.locks import Lock, give_back, hold, is_held

    with engine.committing() as store:
        store.insert([change("p", "1", FEATURES[0])])
    other = opener()
    hold(other.store.link, Lock.INDEX, 0)
    assert is_held(engine.store.link, Lock.INDEX)
    with pytest.raises(InstanceLocked, match=r"is being indexed by process \d+ on"):
        engine.rebuild()
    assert not engine.is_index_due()  # somebody is at it
    give_back(other.store.link, Lock.INDEX)
    assert engine.rebuild().items == 1


def test_commits_of_one_product_wait_for_each_other(opener: Opener) -> None:
    """In whatever order each names its products; others go on."""
    first, second = opener(), opener()
    order: list[str] = []
    begun = Barrier(2)

    def later() -> None:
        begun.wait()
        with second.committing(["b", "a"]) as store:
            order.append("second")
            store.upsert(change("a", "1", FEATURES[1]))

    thread = Thread(target=later)
    thread.start()
    with first.committing(["a", "c"]) as store:
        begun.wait()
        with opener().committing(["d"]) as free:  # nobody is waited for
            free.upsert(change("d", "1", FEATURES[2]))
        store.upsert(change("a", "1", FEATURES[0]))
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    item = first.store.item(Key("a", "1"))
    assert item is not None
    assert first.store.feature(item.id).tolist() == FEATURES[1].tolist()


def test_many_products_or_any_wait_for_all(opener: Opener) -> None:
    """And a commit of a few waits for these."""
    from imgsearch.storage.postgres.locks import MAX_PRODUCTS

    first, second = opener(), opener()
    for products in (None, [f"p{number}" for number in range(MAX_PRODUCTS + 1)]):
        order: list[str] = []
        begun = Barrier(2)

        def later(order: list[str] = order, begun: Barrier = begun) -> None:
            begun.wait()
            with second.committing(["x"]):
                order.append("second")

        thread = Thread(target=later)
        thread.start()
        with first.committing(products):
            begun.wait()
            order.append("first")
        thread.join()
        assert order == ["first", "second"]


def test_who_is_leaving_is_waited_for(opener: Opener) -> None:
    """Without a timeout, too: the server gives back the locks of a closed connection a moment later."""
    alone = opener(alone=True)
    leaving = Timer(0.25, alone.close)
    leaving.start()
    opener()
    leaving.join()


def test_a_lost_connection_gives_its_locks_back(opener: Opener) -> None:
    held = opener(alone=True)
    held.close()
    opener(alone=True, timeout=PATIENCE).close()
