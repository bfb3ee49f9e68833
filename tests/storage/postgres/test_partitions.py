"""Partitions come with the first item of a category, whoever brings it, and readers do not wait for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from imgsearch.filters.tree import EVERYTHING
from tests.storage.builders import change, scattered
from tests.storage.postgres.conftest import Opener

if TYPE_CHECKING:
    from imgsearch.storage.postgres.engine import PostgresEngine

FEATURES = scattered(16)


def test_any_number_is_a_category(engine: PostgresEngine) -> None:
    categories = [0, 7, 88888888, -1, -88888888]
    with engine.committing() as store:
        store.insert([change("p", str(n), FEATURES[n], category=category) for n, category in enumerate(categories)])
    assert engine.store.counts() == dict.fromkeys(categories, 1)
    other = engine.store.partitions
    other.forget()
    other.ensure(categories)  # there already


def test_many_bring_the_same_new_categories(opener: Opener) -> None:
    """In different orders; the first makes the partition, nobody fails."""
    engines = [opener() for _ in range(4)]

    def write(number: int) -> None:
        order = [(number + place) % 6 for place in range(6)]
        for category in order:
            with engines[number].committing([f"p{number}"]) as store:
                store.insert([change(f"p{number}", str(category), FEATURES[category], category=category)])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert engines[0].store.counts() == dict.fromkeys(range(6), 4)


def test_one_that_was_undone_is_made_again(engine: PostgresEngine) -> None:
    def fail() -> None:
        with engine.committing(["p"]) as store:
            store.insert([change("p", "1", FEATURES[0], category=5)])
            raise ZeroDivisionError

    for _ in range(2):
        try:
            fail()
        except ZeroDivisionError:
            assert engine.store.counts() == {}
    with engine.committing(["p"]) as store:
        store.insert([change("p", "1", FEATURES[0], category=5)])
    assert engine.store.counts() == {5: 1}


def test_a_reader_does_not_wait_for_a_new_one(opener: Opener) -> None:
    reader, writer = opener(write=False), opener()
    with writer.committing(["p"]) as store:
        store.insert([change("p", "1", FEATURES[0], category=5)])
        reader.store.link.run("SET lock_timeout = '2s'")
        assert list(reader.store.scan(EVERYTHING)) == []
    assert len(list(reader.store.scan(EVERYTHING))) == 1
