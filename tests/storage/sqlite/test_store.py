"""The store: what is written is what is read, each change in a commit of its own or in none."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import InstanceDamaged, NewerFormat, StorageUnwritable
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING, Condition, category_condition, picture_condition, product_condition
from imgsearch.storage.integrity.check import check
from imgsearch.storage.sqlite import store as store_module
from imgsearch.storage.sqlite.database import BUSY_TIMEOUT_S, connect
from imgsearch.storage.sqlite.generations import Generation
from imgsearch.storage.sqlite.schema import PACKED_VERSION, PAGE_BYTES
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store
from imgsearch.types import Upsert
from imgsearch.values import Attributes, Key, Location, Region, RegionMode
from tests.storage.builders import DIMENSION, change, scattered, stored, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

ATTRIBUTES = Attributes("shelf:4 ☂", -(2**31), 0, None, 2**31 - 1, "", "red", None, "a'b\"c")
FULL = Upsert(
    Key("bag-17", "front/1.jpg"),
    dataclasses.replace(
        change().extracted,
        content_hash=bytes(range(16)),
        token=b"\x00token",
        region=Region(1, 20, 3, 40),
        subjects=(Region(1, 20, 3, 40), Region(5, 6, 7, 8)),
        category_id=88888888,
        feature=scattered(1, 4)[0],
    ),
    RegionMode.GIVEN,
    True,
    ATTRIBUTES,
    Location("/photos", "x/1.jpg"),
)
LEGACY, WAL = bytes([1, 1]), bytes([2, 2])
"""What a database's header says at bytes 18 and 19 about its journal (https://sqlite.org/fileformat2.html)."""
NAMES = [
    "a",
    " ",
    "it's",
    'quo"te',
    "new\nline",
    "tab\t",
    "naïve",
    "nai\u0308ve",
    "紅🟥",
    "%_?*",
    "'; DROP TABLE items;--",
    "-1",
    "é" * 512,
]


def ids(store: Store, condition: Condition = EVERYTHING) -> list[int]:
    found: list[int] = store.matching_ids(condition).tolist()
    return found


def test_an_item_comes_back_as_it_was_written(store: Store) -> None:
    write(store, [FULL])
    item = store.item(FULL.key)
    assert item is not None
    assert (item.key, item.category_id, item.category_given) == (FULL.key, 88888888, True)
    assert (item.region, item.region_mode) == (Region(1, 20, 3, 40), RegionMode.GIVEN)
    assert (item.content_hash, item.token) == (bytes(range(16)), b"\x00token")
    assert item.attributes == ATTRIBUTES
    assert item.location == Path("/photos/x/1.jpg")
    (picture,) = store.pictures([item.id])
    assert picture.item == item
    assert picture.feature.tolist() == store.feature(item.id).tolist() == FULL.extracted.feature.tolist()


def test_what_is_not_there_is_none_or_empty(store: Store) -> None:
    assert store.item(Key("p", "1.jpg")) is None
    assert list(store.pictures([1, 2])) == []
    assert list(store.features()) == []
    assert store.keys(EVERYTHING) == []
    assert store.counts() == {}
    assert store.generation() is None
    assert (store.count(), store.count_products(), store.count_newer(0)) == (0, 0, 0)
    with store.writing():
        assert store.delete(EVERYTHING) == []


def test_upsert_replaces_under_a_new_id(store: Store) -> None:
    """Ids rise and are never given twice, not even after everything was deleted."""
    with store.writing():
        assert store.upsert(change(category=3, attributes=ATTRIBUTES, location=Location("/a"))) is False
        assert store.upsert(change("other")) is False
        assert store.upsert(change(feature=scattered(1, 8)[0], category=4)) is True
    assert ids(store) == [2, 3]
    item = store.item(Key("p", "1.jpg"))
    assert item is not None
    assert (item.id, item.category_id, item.attributes, item.location) == (3, 4, Attributes(), None)
    assert store.feature(3).tolist() == scattered(1, 8)[0].tolist()
    assert store.counts() == {0: 1, 4: 1}
    with store.writing():
        assert store.delete(EVERYTHING) == [Key("other", "1.jpg"), Key("p", "1.jpg")]
        store.upsert(change())
    assert ids(store) == [4]


def test_update_keeps_the_feature_and_what_is_not_given(store: Store) -> None:
    """And the id, in the same category; in another one it is a new item to an index."""
    write(store, [FULL, change("other", attributes=ATTRIBUTES)])
    item = store.item(FULL.key)
    assert item is not None
    with store.writing():
        assert store.update(item, ATTRIBUTES, item.category_id, False, None) == item.id
    item = store.item(FULL.key)
    assert item is not None
    with store.writing():
        new = store.update(item, Attributes(int_attr=5), 7, False, None)
    changed = store.item(FULL.key)
    assert new not in (item.id, 2)
    assert changed == dataclasses.replace(
        item, id=new, attributes=Attributes(int_attr=5), category_id=7, category_given=False
    )
    assert store.feature(new).tolist() == FULL.extracted.feature.tolist()
    item = changed
    assert store.counts() == {0: 1, 7: 1}
    with store.writing():
        store.update(item, ATTRIBUTES, 7, True, Location("/new"))
        store.set_tokens([(item.id, None)])
    changed = store.item(FULL.key)
    assert changed is not None
    assert (changed.location, changed.token) == (Path("/new/front/1.jpg"), None)
    other = store.item(Key("other", "1.jpg"))
    assert other is not None
    assert (other.attributes, other.category_id) == (ATTRIBUTES, 0)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_name(store: Store, name: str) -> None:
    """Names are compared character by character: no folding, no patterns, no normalising."""
    write(store, [change(product, picture) for product in NAMES for picture in ("1", name)])
    assert store.keys(product_condition(name)) == sorted({Key(name, "1"), Key(name, name)})
    assert store.keys(product_condition(name, name)) == [Key(name, name)]
    item = store.item(Key(name, name))
    assert item is not None
    assert item.key == Key(name, name)
    with store.writing():
        assert store.delete(product_condition(name)) == sorted([Key(name, "1"), Key(name, name)])
    assert store.count_products() == len(NAMES) - 1


def test_keys_are_sorted_by_product_then_picture(store: Store) -> None:
    keys = [
        Key(product, picture) for product in ("b", "a", "B", "ä", "紅", "a1", "🟥", "") for picture in "21" if product
    ]
    write(store, [change(key.product_id, key.pic_name) for key in keys])
    assert store.keys(EVERYTHING) == sorted(keys)
    assert store.keys(product_condition("a")) == [Key("a", "1"), Key("a", "2")]


@pytest.fixture
def assorted(store: Store) -> Store:
    """40 items in 10 products; item n has ``int_attr`` n, and the category n mod 4."""
    write(
        store,
        [
            change(f"p{n % 10}", str(n), feature, category=n % 4, attributes=Attributes(int_attr=n))
            for n, feature in enumerate(scattered(40, 6), 1)
        ],
    )
    return store


CONDITIONS = {
    "everything": (EVERYTHING, set(range(1, 41))),
    "nothing": (product_condition("none"), set()),
    "product": (product_condition("p3"), {3, 13, 23, 33}),
    "picture": (product_condition("p3", "13"), {13}),
    "category": (category_condition((1,)), set(range(1, 41, 4))),
    "categories": (category_condition((1, 2)), {n for n in range(1, 41) if n % 4 in (1, 2)}),
    "no category": (category_condition(()), set()),
    "joined": (category_condition((1,)).joined(product_condition("p3")), {13, 33}),
    "filter": (product_condition("p3").joined(parse_filter("int_attr=3 OR int_attr=4")), {3}),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_mean_the_same_everywhere(assorted: Store, name: str) -> None:
    condition, wanted = CONDITIONS[name]
    assert set(ids(assorted, condition)) == wanted
    assert assorted.count(condition) == len(wanted)
    assert {int(key.pic_name) for key in assorted.keys(condition)} == wanted
    assert {n for chunk, _ in assorted.features(condition) for n in chunk.tolist()} == wanted
    before = assorted.count()
    with assorted.writing():
        assert {int(key.pic_name) for key in assorted.delete(condition)} == wanted
    assert assorted.count() == before - len(wanted) == sum(assorted.counts().values())


@pytest.mark.parametrize("chunk", [1, 7, 8192])
@pytest.mark.parametrize("above", [0, 13, 40])
@pytest.mark.parametrize("name", ["everything", "nothing", "categories"])
def test_features_come_by_rising_id_above_a_number(assorted: Store, name: str, above: int, chunk: int) -> None:
    condition, wanted = CONDITIONS[name]
    parts = list(assorted.features(condition, above=above, chunk=chunk))
    assert [n for part, _ in parts for n in part.tolist()] == sorted(n for n in wanted if n > above)
    features = scattered(40, 6)
    for part, vectors in parts:
        assert 0 < len(part) <= chunk
        assert (part.dtype, vectors.dtype, vectors.shape) == (np.int64, np.float16, (len(part), DIMENSION))
        assert (vectors.astype(np.float32) == features[part - 1]).all()


def test_pictures_takes_more_ids_than_a_statement_has_parameters(store: Store) -> None:
    write(store, [change(f"p{n}", "1") for n in range(1200)])
    wanted = list(range(1, 1300))
    assert sorted(picture.item.id for picture in store.pictures(wanted)) == wanted[:1200]


@pytest.mark.extended
@settings(deadline=None, max_examples=50)
@given(values=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40).filter(lambda v: max(map(abs, v)) > 0.01))
def test_features_keep_float16_precision(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    """Any unit vector comes back within float16's precision, and what is float16 already comes back as it is."""
    feature = np.array(values, np.float32)
    feature /= np.linalg.norm(feature)
    folder = tmp_path_factory.mktemp("store")
    Store.create(folder / DATABASE_NAME, {})
    with closing(Store.open(folder / DATABASE_NAME, write=True)) as store:
        write(
            store,
            [change("exact", feature=feature.astype(np.float16).astype(np.float32)), change("any", feature=feature)],
        )
        exact, rounded = store.feature(1), store.feature(2)
    assert rounded.dtype == np.float32
    assert np.abs(rounded - feature).max() <= 2**-11
    assert exact.tolist() == rounded.tolist() == feature.astype(np.float16).tolist()


def test_a_picture_is_its_bytes_and_if_given_its_region(store: Store) -> None:
    write(
        store,
        [
            change(
                f"p{n}", "1", content=b"same" if n % 2 else f"{n}".encode(), category=n % 3, region=Region(0, 1, 0, n)
            )
            for n in range(1, 13)
        ],
    )
    same = picture_condition(b"same")
    assert ids(store, same) == [1, 3, 5, 7, 9, 11]
    assert store.identical_ids(same, EVERYTHING, 2).tolist() == [1, 3]
    assert store.identical_ids(same, category_condition((0,)), 9).tolist() == [3, 9]
    assert ids(store, category_condition((0,)).joined(same)) == [3, 9]
    assert ids(store, picture_condition(b"same", Region(0, 1, 0, 5))) == [5]
    assert ids(store, picture_condition(b"same", Region(0, 2, 0, 5))) == []
    assert ids(store, picture_condition(b"same", Region(0, 1, 0, 5)).negated()) == [n for n in range(1, 13) if n != 5]
    assert ids(store, picture_condition(b"other")) == []


@pytest.mark.parametrize("place", [0, 7, 8, 15])
def test_an_altered_content_hash_is_no_other_picture(home: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """Whatever byte of it, in the row: the index has the first eight."""
    monkeypatch.setattr(store_module, "VERIFY_BELOW_BYTES", 0)
    content = b"0123456789abcdef"
    path = home / DATABASE_NAME
    with closing(Store.open(path, write=True)) as opened:
        write(opened, [change(str(n), "1", content=content[:n] + b"?" + content[n + 1 :]) for n in range(16)])
        write(opened, [change("the one", "1", content=content)])
        opened.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert opened.identical_ids(picture_condition(content), EVERYTHING, 2).tolist() == [17]
    altered = bytearray(path.read_bytes())
    assert altered.count(content) == 1
    altered[altered.index(content) + place] ^= 4
    path.write_bytes(altered)
    with closing(Store.open(path, write=False)) as opened, opened.reading(), pytest.raises(InstanceDamaged):
        opened.identical_ids(picture_condition(content), EVERYTHING, 2)


def test_an_item_that_an_index_names_twice_is_damage(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever among the others: then another one is missing, and their number is as expected."""
    monkeypatch.setattr(store_module, "VERIFY_BELOW_BYTES", 0)
    path = home / DATABASE_NAME
    with closing(Store.open(path, write=True)) as opened:
        write(opened, [change(str(n), category=77) for n in range(9)])
    sound = path.read_bytes()
    for number in range(2, 9):  # SQLite writes a 1 in no byte at all
        entry = bytes([5, 3, 1, 1, 77, number])  # length, header, category, id
        assert sound.count(entry) == 1
        path.write_bytes(sound.replace(entry, entry[:-1] + bytes([number + 1])))
        with closing(Store.open(path, write=False)) as opened, pytest.raises(InstanceDamaged, match="an index of"):
            opened.matching_ids(category_condition((77,)))


def test_candidates_are_items_marked_by_a_condition(store: Store) -> None:
    """More than a statement has parameters, in the order asked for; what is no item is damage."""
    features = scattered(700)
    write(store, [change(f"p{n % 7}", str(n), feature, category=n % 3) for n, feature in enumerate(features)])
    found, read = store.features_of(range(1, 701))
    assert sorted(found.tolist()) == list(range(1, 701))
    assert (read == features[found - 1]).all()
    wanted = np.random.default_rng(1).permutation(found)
    pictures, marked = store.candidates(wanted, features[wanted - 1], category_condition((2,)))
    assert pictures.ids.tolist() == wanted.tolist()
    assert pictures.groups == [(f"p{(n - 1) % 7}", (n - 1) % 3) for n in wanted]
    assert marked.tolist() == [(n - 1) % 3 == 2 for n in wanted]
    some = pictures.take(np.array([5, 2]))
    assert (some.ids.tolist(), some.groups) == (pictures.ids[[5, 2]].tolist(), [pictures.groups[5], pictures.groups[2]])
    assert (some.features == pictures.features[[5, 2]]).all()
    with pytest.raises(InstanceDamaged):
        store.candidates(np.array([1, 5000]), features[:2], EVERYTHING)
    with pytest.raises(InstanceDamaged):
        store.candidates(np.array([1, 2]), features[:2], EVERYTHING, category_condition((1,)))
    with pytest.raises(InstanceDamaged):
        store.features_of([1, 5000])


def test_pictures_of_products_are_the_first_by_name(store: Store) -> None:
    """Of as many products as there are, in pieces; the condition is asked of those first ones only."""
    write(store, [change(f"p{n}", name, category=int(name)) for n in range(600) for name in "3142"])

    def groups(ids: npt.NDArray[np.int64], condition: Condition = EVERYTHING) -> list[tuple[str, int]]:
        return [group for part in store.siblings(ids.tolist(), condition) for group in part.groups]

    found, of = store.first_of_products((f"p{n}" for n in range(700)), 3)
    assert sorted(groups(found)) == sorted((f"p{n}", category) for n in range(600) for category in (1, 2, 3))
    assert of.tolist() == ((found - 1) // 4).tolist()
    some, of = store.first_of_products(["p5", "none", "p7"], 3)
    assert of.tolist() == [0, 0, 0, 2, 2, 2]
    assert sorted(groups(some, category_condition((3, 4)))) == [("p5", 3), ("p7", 3)]
    (part,) = store.siblings(some.tolist(), category_condition((3, 4)))
    assert part.features.tolist() == [scattered(1)[0].tolist()] * 2
    for nothing in ([], ["none"]):
        assert [values.tolist() for values in store.first_of_products(nothing, 3)] == [[], []]
    assert list(store.siblings([])) == list(store.siblings([9999])) == []


def test_a_huge_product_costs_no_more_than_its_first_pictures(store: Store) -> None:
    """Counted in steps of SQLite's machine: no row beyond the limit is so much as looked at."""
    write(store, [change("some", f"{n:05}") for n in range(70)])
    write(store, [change("huge", f"{n:05}") for n in range(2000)])
    steps = {}
    for product in ("some", "huge"):
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        store._connection.set_progress_handler(step, 1)
        (part,) = store.siblings(store.first_of_products([product], 64)[0].tolist())
        store._connection.set_progress_handler(None, 1)
        assert len(part.ids) == 64
        steps[product] = count
    assert 64 < steps["huge"] <= steps["some"] + 10


def test_locations_share_their_roots(store: Store) -> None:
    """One root for all pictures of a folder; the path below it is the PicName unless it is given."""
    places = {
        "a": Location("/photos"),
        "b": Location("/photos", "deep/er.jpg"),
        "c": Location("/a 'b' \n紅"),
        "d": None,
        "e": Location("/photos", ""),
    }
    write(store, [change(name, "sub/1.jpg", location=place) for name, place in places.items()])
    found = {item.item.key.product_id: item.item.location for item in store.pictures(range(10))}
    assert found == {
        "a": Path("/photos/sub/1.jpg"),
        "b": Path("/photos/deep/er.jpg"),
        "c": Path("/a 'b' \n紅/sub/1.jpg"),
        "d": None,
        "e": Path("/photos"),
    }
    assert store._connection.execute("SELECT count(*) FROM roots").fetchone() == (2,)


@pytest.fixture
def reader(store: Store) -> Iterator[Store]:
    """A second connection to the same database, as another process has one."""
    with closing(Store.open(store.path, write=False)) as opened:
        yield opened


def test_a_reading_block_sees_one_state(store: Store, reader: Store) -> None:
    """Whatever is committed meanwhile: the items, the features, the counts and the generation stay together."""
    write(store, [change("old", category=1)])
    with reader.reading():
        assert reader.count() == 1  # the first statement pins the state
        write(store, [change("new", category=2), change("old", category=3)])
        with store.writing():
            store.publish(Generation(1, "flat", 10, "00", 2, 3, None, None, 5))
        assert ids(reader) == [1]
        assert reader.counts() == {1: 1}
        assert reader.generation() is None
        assert [chunk.tolist() for chunk, _ in reader.features()] == [[1]]
        assert reader.item(Key("new", "1.jpg")) is None
    assert ids(reader) == [2, 3]
    assert reader.counts() == {2: 1, 3: 1}
    assert reader.generation() == Generation(1, "flat", 10, "00", 2, 3, None, None, 5)


def test_nothing_is_seen_before_the_commit(store: Store, reader: Store) -> None:
    with store.writing():
        store.upsert(change())
        assert store.count() == 1
        assert reader.count() == 0
    assert reader.count() == 1


def dump(store: Store) -> list[str]:
    return list(store._connection.iterdump())


def test_a_block_that_raises_leaves_no_trace(assorted: Store) -> None:
    """Not in any table: items, features, counts, roots, removed, generations."""
    with assorted.writing():
        assorted.publish(Generation(1, "flat", 10, "00", 40, 40, None, None, 5))
    before = dump(assorted)
    with pytest.raises(RuntimeError, match="in the middle"), assorted.writing():  # noqa: PT012
        assorted.upsert(change("new", location=Location("/new root")))
        assorted.upsert(change("p3", "13"))
        assorted.delete(product_condition("p4"))
        item = assorted.item(Key("p5", "5"))
        assert item is not None
        assorted.update(item, ATTRIBUTES, 9, True, Location("/another"))
        assorted.publish(Generation(2, "flat", 10, "00", 40, 40, None, None, 5))
        assert dump(assorted) != before
        raise RuntimeError("in the middle")
    assert dump(assorted) == before


def test_removed_ids_are_those_of_the_generation(store: Store) -> None:
    """Items newer than the generation leave no id behind when they go; publishing starts anew."""
    write(store, [change(str(n)) for n in range(6)])
    with store.writing():
        store.delete(product_condition("0"))
        assert store.removed_ids().tolist() == []
        store.publish(Generation(1, "flat", 10, "00", 5, 6, None, None, 5))
    write(store, [change("3"), change("new"), change("5")])
    with store.writing():
        store.delete(product_condition("new"))
        store.delete(product_condition("3"))
    assert sorted(store.removed_ids().tolist()) == [4, 6]
    assert store.count_newer(6) == 1
    with store.writing():
        store.publish(Generation(2, "flat", 10, "00", 5, 9, None, None, 5))
    assert store.removed_ids().tolist() == []


def test_an_altered_row_of_the_generation_is_told(store: Store) -> None:
    """The index would be another one, or items behind its last would be passed over."""
    with store.writing():
        store.publish(Generation(1, "flat", 10, "00", 5, 6, None, None, 5))
        store.connection.execute("UPDATE generations SET max_id = 7")
    for read in (store.generation, store.count_unindexed):
        with pytest.raises(InstanceDamaged, match=r"a row in .* is corrupted"):
            read()


def test_nothing_is_removed_from_an_index_that_is_gone(store: Store) -> None:
    write(store, [change(str(n)) for n in range(3)])
    with store.writing():
        store.publish(Generation(1, "flat", 10, "00", 3, 3, None, None, 5))
        store.delete(product_condition("1"))
        assert store.count_removed() == 1
        store.unpublish()
    assert (store.count_removed(), store.removed_ids().tolist()) == (0, [])


def test_a_name_that_is_written_again_leaves_the_quarantine(store: Store) -> None:
    """Also where nothing was deleted under that name before; the others stay there."""
    with store.writing():
        store.connection.executemany(
            "INSERT INTO quarantine (id, product_id, pic_name) VALUES (?, ?, '1.jpg')", [(1, "p1"), (2, "p2")]
        )
        store.insert([change("p1"), change("p3")])
    assert store.connection.execute("SELECT product_id FROM quarantine").fetchall() == [("p2",)]


@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_features_are_rewritten_piece_by_piece(store: Store, count: int) -> None:
    """Each once, however many pieces there are, in no piece more than were asked for; a reopened store reads them."""
    write(store, [change(f"p{number}", feature=one) for number, one in enumerate(scattered(count))])
    sizes = []

    def turned(features: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        sizes.append(len(features))
        return -features

    with store.writing():
        store.rewrite_features(turned, chunk=3)
    assert sizes == [3] * (count // 3) + [count % 3] * (count % 3 > 0)
    with closing(Store.open(store.path, write=False)) as opened:
        found = [picture.feature for picture in opened.pictures(range(count + 1))]
    assert np.array_equal(np.array(found).reshape(-1, DIMENSION), -scattered(count))


def test_a_writer_that_ends_leaves_no_commit_in_the_log(home: Path) -> None:
    """Also where somebody reads the instance all the time, which keeps SQLite from seeing to it by itself."""
    log = home / f"{DATABASE_NAME}-wal"
    with closing(Store.open(home / DATABASE_NAME, write=False)) as reader:
        store = Store.open(home / DATABASE_NAME, write=True)
        write(store, [change()])
        assert log.stat().st_size > 0
        store.close()
        assert log.stat().st_size == 0
        assert reader.count() == 1


def test_a_reader_that_needs_the_log_keeps_no_writer_waiting(home: Path) -> None:
    """It goes on with what it sees, and the next writer folds the rest in."""
    log = home / f"{DATABASE_NAME}-wal"
    with closing(Store.open(home / DATABASE_NAME, write=False)) as reader, reader.reading():
        assert reader.count() == 0
        store = Store.open(home / DATABASE_NAME, write=True)
        write(store, [change()])
        begun = time.monotonic()
        store.close()
        assert time.monotonic() - begun < BUSY_TIMEOUT_S / 2
        assert reader.count() == 0
        assert log.stat().st_size > 0
    Store.open(home / DATABASE_NAME, write=True).close()
    with closing(Store.open(home / DATABASE_NAME, write=False)) as reader:
        assert (reader.count(), log.stat().st_size) == (1, 0)


def test_a_database_that_has_lost_wal_mode_gets_it_from_its_next_writer(home: Path) -> None:
    """Else its readers and writers would keep each other waiting, and refuse after a while."""
    path = home / DATABASE_NAME
    with closing(connect(path, write=True)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    assert path.read_bytes()[18:20] == LEGACY
    with closing(Store.open(path, write=False)) as reader, reader.reading():
        assert reader.count() == 0
    with closing(Store.open(path, write=True)) as store, closing(Store.open(path, write=False)) as reader:
        assert path.read_bytes()[18:20] == WAL
        with reader.reading():
            assert reader.count() == 0
            write(store, [change()])
        assert reader.count() == 1


def test_where_wal_mode_is_not_to_be_had_nothing_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite then returns the old mode, without an error; a database in memory stands for such a file system."""
    connect_to = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda _path, **options: connect_to(":memory:", **options))
    with pytest.raises(StorageUnwritable, match="choose a folder on a local disk"):
        Store.create(tmp_path / DATABASE_NAME, {})


def test_a_database_that_is_refused_is_closed(home: Path) -> None:
    """Also while its error is being handled: SQLite leaves nothing beside it."""
    path = home / DATABASE_NAME
    with closing(connect(path, write=True)) as connection:
        connection.execute(f"PRAGMA user_version = {PACKED_VERSION + 1}")
    with pytest.raises(NewerFormat) as refused:
        Store.open(path, write=True)
    assert [path.name for path in home.iterdir()] == [DATABASE_NAME], refused


def test_settings_are_any_json(tmp_path: Path) -> None:
    wanted = {"kind": "product", "limits": {"max_bytes": 8}, "region_id": None, "created": 5, "紅": ["☂", 1.5, True]}
    Store.create(tmp_path / DATABASE_NAME, wanted)
    with closing(Store.open(tmp_path / DATABASE_NAME, write=False)) as store:
        assert store.settings() == wanted


def test_a_setting_that_is_set_later_is_in_both_places(tmp_path: Path) -> None:
    Store.create(tmp_path / DATABASE_NAME, {"kind": "product"})
    with closing(Store.open(tmp_path / DATABASE_NAME, write=True)) as store:
        for value in ([], ["☂", 1]):
            with store.writing():
                store.set_setting("later", value)
        assert store.settings() == {"kind": "product", "later": ["☂", 1]}
    assert check(tmp_path, read_data=True) == []


def test_create_never_overwrites(home: Path) -> None:
    before = (home / DATABASE_NAME).read_bytes()
    with pytest.raises(StorageUnwritable, match="File exists"):
        Store.create(home / DATABASE_NAME, {})
    assert (home / DATABASE_NAME).read_bytes() == before


def test_unit_vectors_of_the_builders_are_stored_exactly() -> None:
    """The brute-force answers of the engine's tests rest on it."""
    features = scattered(50)
    assert (features == features.astype(np.float16)).all()
    assert np.abs(np.linalg.norm(features, axis=1) - 1).max() < 1e-3
    assert stored(features).shape == features.shape


READS: dict[str, Callable[[Store], object]] = {
    "counts": Store.counts,
    "item": lambda store: store.item(Key("p", "1.jpg")),
    "feature": lambda store: store.feature(1),
    "keys": lambda store: store.keys(EVERYTHING),
    "products with several": Store.products_with_several,
}


@pytest.mark.parametrize("name", READS)
def test_reads_outside_of_a_block_report_damage(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As our own error, not as one of SQLite."""
    monkeypatch.setattr(store_module, "VERIFY_BELOW_BYTES", 0)
    path = home / DATABASE_NAME
    with closing(Store.open(path, write=True)) as opened:
        write(opened, [change("p", f"{number}.jpg") for number in range(100)])
        opened.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with closing(Store.open(path, write=False)) as opened:
        with path.open("r+b") as file:
            file.seek(PAGE_BYTES)
            file.write(b"\xff" * (path.stat().st_size - PAGE_BYTES))
        with pytest.raises(InstanceDamaged):
            READS[name](opened)
