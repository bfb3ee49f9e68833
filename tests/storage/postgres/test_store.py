"""Writing beside others: nothing is lost, nothing is there twice, counts stay exact; what is damaged is noticed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.errors import InstanceDamaged, InstanceLocked, InvalidValue
from imgsearch.filters.tree import EVERYTHING, product_condition
from imgsearch.values import Attributes, Key, Location
from tests.storage.builders import change, scattered
from tests.storage.postgres.conftest import Opener

if TYPE_CHECKING:
    from imgsearch.storage.postgres.engine import PostgresEngine

FEATURES = scattered(64)
MANY = 100
"""More than are inserted one by one."""


def test_an_insert_replaces_what_another_has_stored_meanwhile(opener: Opener) -> None:
    """A key that was free when the writer looked; it gets a new id, and is counted once."""
    first, second = opener(), opener()
    with first.committing(["p"]) as store:
        (old,) = store.insert([change("p", "1", FEATURES[0], category=1)])
    with second.committing(["p"]) as store:
        (new,) = store.insert([change("p", "1", FEATURES[1], category=2)])
    assert new > old
    assert first.store.counts() == {2: 1}
    assert np.array_equal(first.store.feature(new), FEATURES[1])
    with pytest.raises(InstanceDamaged):
        first.store.feature(old)


def test_writers_of_the_same_keys_agree(opener: Opener) -> None:
    """Four of them, in different orders: no deadlock, each key once, exact counts, all features whole."""
    keys = [(f"p{number}", "1") for number in range(12)]

    def write(own: int) -> None:
        engine = opener()
        order = np.random.default_rng(own)
        for turn in range(10):
            chosen = [keys[n] for n in order.permutation(len(keys))[:6]]
            with engine.committing([product for product, _ in chosen]) as store:
                changes = [
                    change(*key, FEATURES[(own * 10 + turn) % 64], category=own % 2, location=Location(f"/{turn}"))
                    for key in chosen[1:]
                ]
                store.insert(changes)
                store.remove([Key(*chosen[0])])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    engine = opener()
    stored = engine.store.keys(EVERYTHING)
    assert len(set(stored)) == len(stored) == engine.store.count()
    assert sum(1 for _ in engine.store.all_stored_records()) == len(stored)
    from imgsearch.storage.postgres.checking import check

    assert check(engine, read_data=True, settings=()) == []


def test_a_later_id_may_be_committed_first(opener: Opener) -> None:
    """What is new cannot be told by ids; nothing here does."""
    first, second = opener(), opener()
    with first.committing() as store:  # the first of its category makes others that are wait
        store.upsert(change("a", "1", FEATURES[0]))
        store.delete(EVERYTHING)
    with first.committing(["a"]) as store:
        (low,) = store.insert([change("a", "1", FEATURES[0])])
        with second.committing(["b"]) as other:
            (high,) = other.insert([change("b", "1", FEATURES[1])])
        assert high > low
        assert second.store.matching_ids(EVERYTHING).tolist() == [high]
    assert second.store.matching_ids(EVERYTHING).tolist() == [low, high]


def test_an_update_of_what_another_has_replaced_is_refused(opener: Opener) -> None:
    first, second = opener(), opener()
    with first.committing() as store:
        store.insert([change("p", "1", FEATURES[0], category=1)])
    item = first.store.item(Key("p", "1"))
    assert item is not None
    with second.committing() as store:
        store.remove([item.key])
    for category in (1, 2):
        with pytest.raises(InstanceLocked, match="run the command again"), first.committing() as store:
            store.update(item, Attributes(int_attr=1), category, True, None)


def test_a_reader_keeps_its_snapshot(opener: Opener) -> None:
    reader, writer = opener(write=False), opener()
    with writer.committing() as store:
        store.insert([change("p", "1", FEATURES[0])])
    with reader.store.reading():
        assert reader.store.count() == 1
        with writer.committing() as store:
            store.delete(EVERYTHING)
        assert reader.store.count() == 1
        assert len(reader.store.keys(EVERYTHING)) == 1
    assert reader.store.count() == 0


@pytest.mark.parametrize("table", ["items", "features", "settings", "roots"])
def test_what_others_have_changed_is_noticed(engine: PostgresEngine, table: str) -> None:
    with engine.committing() as store:
        store.insert([change("p", "1", FEATURES[0], location=Location("/shop"))])
    statements = {
        "items": "UPDATE items SET x1 = x1 + 1",
        "features": "UPDATE features SET feature = '[1, 2, 3]'",
        "settings": "UPDATE settings SET value = '\"generic\"' WHERE name = 'kind'",
        "roots": "UPDATE roots SET path = '/other'",
    }
    engine.store.link.run(statements[table])
    with pytest.raises(InstanceDamaged, match="run 'imgsearch check --read-data'"):
        _ = (engine.store.settings(), list(engine.store.all_stored_records()))


def test_names_are_ordered_by_code_point(engine: PostgresEngine) -> None:
    """Whatever the locale of the database says."""
    names = ["B", "a", "Ä", "ä", "-a", "_b", "10", "9", "\U0001f600", "ﬀ", "é", "e\u0301"]
    with engine.committing() as store:
        store.insert([change("p", name, FEATURES[0]) for name in names])
    listed = [item.key.pic_name for item in engine.store.items_by_key(product_condition("p"))]
    assert listed == sorted(names)
    first, _ = engine.store.first_of_products(["p"], 3)
    assert {item.item.key.pic_name for item in engine.store.pictures(first.tolist())} == set(sorted(names)[:3])


@pytest.mark.parametrize("count", [1, MANY], ids=["one", "many"])
def test_a_nul_is_refused(engine: PostgresEngine, count: int) -> None:
    """Keys and attributes cannot hold one; a path could not be stored."""
    where = Location("/a", "b\0c")
    with pytest.raises(InvalidValue, match="NUL"), engine.committing() as store:
        store.insert([change("p", str(n), FEATURES[0], location=where) for n in range(count)])
    assert engine.store.count() == 0
    assert engine.store.insert([]) == []


def test_many_are_stored_as_one_by_one(engine: PostgresEngine) -> None:
    """By COPY or by INSERT: the same items and features, whatever is set of them and whatever is not."""
    given = [
        change(
            f"p{n}",
            "ü'\t\\.\n",
            FEATURES[n % 64],
            content=bytes([n, 0, 255]),
            category=n % 3,
            token=None if n % 2 else b"\0token",
            attributes=Attributes(int_attr=-n, str_attr="\\N" if n % 2 else None, custom_content="" if n % 3 else None),
            location=None if n % 5 else Location(f"/a{n}", "b"),
        )
        for n in range(MANY)
    ]
    listed = []
    for step in (1, len(given)):
        with engine.committing() as store:
            for start in range(0, len(given), step):
                store.insert(given[start : start + step])
        records = engine.store.stored_records([one.key for one in given])
        listed.append([(records[one.key].attributes, records[one.key].extracted) for one in given])
        assert engine.store.count() == len(given)
    for one, other in zip(*listed, strict=True):
        assert one[0] == other[0]
        assert one[1].feature.tobytes() == other[1].feature.tobytes()
        assert (one[1].content_hash, one[1].token) == (other[1].content_hash, other[1].token)
    assert [records[one.key].location for one in given] == [one.location for one in given]


def test_folders_that_nobody_needs_go(engine: PostgresEngine) -> None:
    """With the rebuild after the items that were in them."""
    with engine.committing() as store:
        store.insert([change("p", "1", FEATURES[0], location=Location("/a"))])
        store.insert([change("p", "2", FEATURES[0], location=Location("/b"))])
        store.remove([Key("p", "1")])
    engine.rebuild()
    assert engine.store.link.rows("SELECT path FROM roots") == [("/b",)]


def test_a_key_that_fits_no_index_is_refused(engine: PostgresEngine) -> None:
    """The longest one that is taken is stored, whatever its characters; so is a folder with a long path."""
    from imgsearch.storage.postgres.store import MAX_KEY_BYTES

    generator = np.random.default_rng(0)
    signs = "".join(map(chr, generator.integers(0x4E00, 0x9FFF, 1024)))
    with pytest.raises(InvalidValue, match="bytes together"):
        engine.store.check_key(Key(signs[:512], signs[512:]))
    longest = Key(signs[:512], signs[512 : 512 + (MAX_KEY_BYTES - 3 * 512) // 3])
    engine.store.check_key(longest)
    path = "/" + "".join(map(chr, generator.integers(0x4E00, 0x9FFF, 4000)))
    with engine.committing([longest.product_id]) as store:
        store.insert([change(longest.product_id, longest.pic_name, FEATURES[0], location=Location(path))])
        store.insert([change("p", "1", FEATURES[0], location=Location(path))])
    assert engine.store.item(longest) is not None
