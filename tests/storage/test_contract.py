"""The contract of a storage, held by every backend that is handed to it: files, plain memory, a database server.

Another backend is one more entry of ``BACKENDS``. The state machine at the end makes the same changes in all of them
and compares all that they can be asked, answers to searches included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from imgsearch.errors import InstanceDamaged, InstanceEmpty
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import (
    EVERYTHING,
    Condition,
    category_condition,
    location_condition,
    picture_condition,
    product_condition,
)
from imgsearch.search.ranking import Query, Ranker
from imgsearch.search.siblings import WITH_LIFT, WITHOUT_LIFT
from imgsearch.storage.engine import Engine
from imgsearch.storage.port import Storage, Truth
from imgsearch.types import Upsert
from imgsearch.values import Attributes, Key, Location, Region
from tests import milvus_server, postgres_server
from tests.storage.builders import CALIBRATION, REGION, change, scattered
from tests.storage.memory import MemoryStorage
from tests.storage.postgres.memory_index import MemoryIndex

SETTINGS = {"kind": "product", "created": 1, "model": {"name": "tiny"}}
FEATURES = scattered(40)


def _local(folder: Path) -> Storage:
    folder.mkdir(mode=0o700)
    Engine.create(folder, dict(SETTINGS))
    return Engine.open(folder, write=True)


def _memory(_folder: Path) -> Storage:
    return MemoryStorage(dict(SETTINGS))


def _postgres(_folder: Path) -> Storage:
    from imgsearch.storage.postgres import tables
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.engine import PostgresEngine

    address = Address.parse(postgres_server.shared_server().url())
    tables.create(address, dict(SETTINGS))
    return PostgresEngine(address.place, address, write=True)


def _postgres_beside(_folder: Path) -> Storage:
    """With an index outside of the database, which is only as far as a rebuild or the indexer brings it."""
    from imgsearch.storage.postgres import tables
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.engine import PostgresEngine

    address = Address.parse(postgres_server.shared_server().url())
    tables.create(address, dict(SETTINGS), "memory://")
    engine = PostgresEngine(address.place, address, write=True)
    engine.use_external(MemoryIndex())
    return engine


def _milvus(_folder: Path) -> Storage:
    """With its index in Milvus, which is only as far as a rebuild or the indexer brings it."""
    from imgsearch.storage.milvus.address import MilvusAddress
    from imgsearch.storage.postgres import tables
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.engine import PostgresEngine

    _, cable = milvus_server.shared_server()
    address = Address.parse(postgres_server.shared_server().url())
    index = MilvusAddress.parse(f"milvus://127.0.0.1:{cable.port}").named()
    tables.create(address, dict(SETTINGS), str(index))
    engine = PostgresEngine(address.place, address, write=True)
    engine.follows = False
    return engine


BACKENDS: dict[str, Callable[[Path], Storage]] = {"sqlite and faiss": _local, "memory": _memory}
MILVUS: dict[str, Callable[[Path], Storage]] = {}
"""Takes seconds for each new index."""
if postgres_server.is_installed():
    BACKENDS |= {"postgresql and pgvector": _postgres, "postgresql and an index elsewhere": _postgres_beside}
    if milvus_server.why_not() is None:
        MILVUS |= {"postgresql and milvus": _milvus}


def is_live(storage: Storage) -> bool:
    """Whether its index shows each commit at once, so that nothing is ever unindexed, or removed and still in it."""
    return storage.store.compares_itself and not is_elsewhere(storage)


def is_elsewhere(storage: Storage) -> bool:
    """Whether its index lies outside of its database."""
    return bool(getattr(storage.store, "is_external", False))


def test_every_backend_is_tested() -> None:
    if not postgres_server.is_installed():
        pytest.skip(postgres_server.MISSING)
    assert len(BACKENDS) == 4


SLOW = ["postgresql and an index elsewhere", *MILVUS]


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.extended if name in SLOW else ()) for name in BACKENDS | MILVUS]
)
def storage(request: pytest.FixtureRequest, folder: Path) -> Iterator[Storage]:
    """An empty one, open for writing."""
    opened = (BACKENDS | MILVUS)[request.param](folder)
    yield opened
    _discarded(opened)


def _discarded(storage: Storage) -> None:
    """Close it, and leave nothing of it in a server that other tests use."""
    if is_elsewhere(storage):
        external = storage.external  # type: ignore[attr-defined]
        for number in external.numbers():
            external.drop(number)
    storage.close()


def numbered(number: int, **options: Any) -> Upsert:
    """An item of product ``p<number % 5>`` in category ``number % 3``, whose ``int_attr`` is its number."""
    options = {"category": number % 3, "attributes": Attributes(int_attr=number)} | options
    return change(f"p{number % 5}", f"{number:02}.jpg", FEATURES[number], **options)


@pytest.fixture
def filled(storage: Storage) -> Storage:
    """Items 0 to 29, of which the first twenty are indexed, and two of these gone since."""
    with storage.committing() as store:
        store.insert([numbered(number) for number in range(20)])
    storage.rebuild()
    with storage.committing() as store:
        store.insert([numbered(number) for number in range(20, 30)])
        store.remove([numbered(3).key, numbered(7).key])
    return storage


LEFT = [number for number in range(30) if number not in (3, 7)]


def names(keys: list[Key]) -> set[int]:
    return {int(key.pic_name[:2]) for key in keys}


def numbers_of(storage: Storage, ids: Any) -> set[int]:
    return {int(one.item.key.pic_name[:2]) for one in storage.store.pictures([int(number) for number in ids])}


def test_an_empty_one_holds_nothing(storage: Storage) -> None:
    store = storage.store
    assert (store.counts(), store.count(), store.count_products(), store.count_unindexed()) == ({}, 0, 0, 0)
    assert (store.generation(), store.keys(EVERYTHING), list(store.scan(EVERYTHING))) == (None, [], [])
    assert store.item(Key("p", "1")) is None
    assert list(store.all_stored_records()) == []
    with pytest.raises(InstanceEmpty):
        storage.rebuild()
    with pytest.raises(InstanceEmpty):
        storage.count_to_index()


def test_settings_are_kept(storage: Storage) -> None:
    with storage.committing() as store:
        store.set_setting("devices", ["cpu", "cuda"])
        store.set_setting("devices", ["cpu"])
    assert storage.store.settings() == {**SETTINGS, "devices": ["cpu"]}
    assert storage.store.made_by() == {"name": "tiny"}
    assert storage.store.tuning() is None


def test_what_is_written_is_read(storage: Storage) -> None:
    """Every field, of an item that has them all."""
    location = Location("/pictures", "below/one.jpg")
    given = change(
        "p",
        "one",
        FEATURES[0],
        content=b"bytes",
        category=4,
        region=Region(1, 9, 2, 8),
        subjects=(Region(1, 9, 2, 8), Region(0, 5, 0, 5)),
        token=b"token",
        given=True,
        attributes=Attributes("content", 1, 2, 3, 4, "a", "b", "c", "d"),
        location=location,
        picture_hash=bytes(32),
    )
    with storage.committing() as store:
        (number,) = store.insert([given])
    item = storage.store.item(given.key)
    assert item is not None
    assert (item.id, item.key, item.category_id, item.category_given) == (number, given.key, 4, True)
    assert (item.region, item.region_mode, item.content_hash, item.token) == (
        given.extracted.region,
        given.region_mode,
        b"bytes",
        b"token",
    )
    assert item.picture_hash == record_hash(storage) == bytes(32)
    assert (item.attributes, item.location) == (given.attributes, Path("/pictures/below/one.jpg"))
    assert np.array_equal(storage.store.feature(number), FEATURES[0])
    (record,) = storage.store.all_stored_records()
    assert record.extracted.subjects == given.extracted.subjects
    assert (record.key, record.location, record.attributes) == (given.key, location, given.attributes)
    assert storage.store.stored_records([given.key, Key("p", "two")]).keys() == {given.key}


def record_hash(storage: Storage) -> bytes | None:
    """Of the only item, as it would be written again."""
    (record,) = storage.store.all_stored_records()
    return record.extracted.picture_hash


def test_fingerprints_are_those_of_the_items(filled: Storage) -> None:
    """By id; a hash that an item has not is None until it is set."""
    condition = product_condition("p1")
    items = list(filled.store.items(condition))
    with filled.committing() as store:
        store.set_picture_hashes([(items[1].id, b"h" * 32)])
    pieces = list(filled.store.fingerprints(condition))
    assert np.concatenate([piece.ids for piece in pieces]).tolist() == [item.id for item in items]
    assert [one for piece in pieces for one in piece.products] == ["p1"] * len(items)
    assert [one for piece in pieces for one in piece.contents] == [item.content_hash for item in items]
    assert [one for piece in pieces for one in piece.hashes] == [None, b"h" * 32, *[None] * (len(items) - 2)]
    assert list(filled.store.items(condition))[1] == replace(items[1], picture_hash=b"h" * 32)


def test_replacing_gives_a_new_id(storage: Storage) -> None:
    """Ids are never given twice, so an index that is behind names nothing wrong."""
    with storage.committing() as store:
        assert store.upsert(numbered(1)) is False
        first = store.item(numbered(1).key)
        assert store.upsert(numbered(1)) is True
        second = store.item(numbered(1).key)
        assert first is not None
        assert second is not None
        assert second.id > first.id
        store.remove([numbered(1).key])
        (third,) = store.insert([numbered(1)])
        assert third > second.id
    assert storage.store.count() == 1


def test_inserting_nothing_gives_no_ids(filled: Storage) -> None:
    """Nor does it cost one."""
    (before,) = inserted(filled, [numbered(30)])
    assert inserted(filled, []) == []
    assert inserted(filled, [numbered(31), numbered(32)]) == [before + 1, before + 2]


def inserted(storage: Storage, changes: list[Upsert]) -> list[int]:
    with storage.committing() as store:
        return list(store.insert(changes))


def test_a_block_that_fails_leaves_nothing(storage: Storage) -> None:
    with storage.committing() as store:
        store.insert([numbered(0)])

    def fail(store: Truth) -> None:
        store.insert([numbered(1)])
        store.delete(product_condition("p0"))
        store.set_setting("kind", "generic")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), storage.committing() as store:
        fail(store)
    assert storage.store.keys(EVERYTHING) == [numbered(0).key]
    assert storage.store.settings()["kind"] == "product"


CONDITIONS: dict[str, tuple[Condition, Callable[[int], bool]]] = {
    "everything": (EVERYTHING, lambda number: True),
    "a product": (product_condition("p2"), lambda number: number % 5 == 2),
    "a picture": (product_condition("p2", "12.jpg"), lambda number: number == 12),
    "categories": (category_condition((0, 2)), lambda number: number % 3 != 1),
    "no category": (category_condition(()), lambda number: False),
    "a filter": (
        parse_filter("int_attr>=5 AND int_attr not in (9, 10) OR int_attr=1"),
        lambda n: n in {1, *range(5, 9), *range(11, 30)},
    ),
    "unset": (parse_filter('str_attr!="red" OR int_attr=4'), lambda number: number == 4),
    "category and filter": (
        category_condition((1,)).joined(parse_filter("int_attr<20")),
        lambda n: n % 3 == 1 and n < 20,
    ),
    "bytes": (picture_condition(b"p1/16.jpg"), lambda number: number == 16),
    "bytes and region": (picture_condition(b"p1/16.jpg", REGION), lambda number: number == 16),
    "another region": (picture_condition(b"p1/16.jpg", Region(0, 1, 0, 1)), lambda number: False),
    "not these bytes": (picture_condition(b"p1/16.jpg", REGION).negated(), lambda number: number != 16),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_mean_the_same_everywhere(filled: Storage, name: str) -> None:
    condition, meaning = CONDITIONS[name]
    expected, store = {number for number in LEFT if meaning(number)}, filled.store
    assert names(store.keys(condition)) == expected
    assert store.count(condition) == len(expected)
    ids = store.matching_ids(condition)
    assert store.listed(condition).ids().tolist() == ids.tolist()
    assert store.asked(condition) >= 1
    assert [item.id for item in store.items(condition)] == ids.tolist()
    by_key = [item.key for item in store.items_by_key(condition)]
    assert by_key == sorted(by_key) == store.keys(condition)
    assert [item.key for item in store.items_by_key(condition, start=2, limit=3)] == by_key[2:5]
    assert (numbers_of(filled, ids), ids.tolist()) == (expected, sorted(ids.tolist()))
    everything = store.matching_ids(EVERYTHING).tolist()
    assert numbers_of(filled, store.matching([*everything, 10**6], condition)) == expected
    pieces = list(store.scan(condition))
    assert [number for piece, _ in pieces for number in piece.tolist()] == ids.tolist()
    new = np.concatenate([np.zeros(0, np.int64), *(piece for piece, _ in store.scan(condition, unindexed=True))])
    assert numbers_of(filled, new) == {number for number in expected if number >= 20 and not is_live(filled)}
    siblings = [number for piece in store.siblings(everything, condition) for number in piece.ids.tolist()]
    assert sorted(siblings) == ids.tolist()
    with filled.committing() as writing:
        assert names(writing.delete(condition)) == expected
        assert names(writing.keys(EVERYTHING)) == set(LEFT) - expected


def test_counts_are_exact(filled: Storage) -> None:
    store = filled.store
    assert store.counts() == {category: len([n for n in LEFT if n % 3 == category]) for category in range(3)}
    behind = (0, 0) if is_live(filled) else (10, 2)
    assert (store.count_products(), store.count_unindexed(), store.count_removed()) == (5, *behind)
    assert store.products_with_several() == [(f"p{k}", len([n for n in LEFT if n % 5 == k])) for k in range(5)]


def test_features_come_with_their_ids(filled: Storage) -> None:
    wanted = filled.store.matching_ids(EVERYTHING)[[5, 1, 20]]
    ids, features = filled.store.features_of(wanted.tolist())
    by_id = dict(zip(ids.tolist(), features, strict=True))
    assert by_id.keys() == set(wanted.tolist())
    for number, feature in by_id.items():
        assert np.array_equal(feature, filled.store.feature(number))


def test_candidates_keep_their_order_and_are_marked(filled: Storage) -> None:
    ids = filled.store.matching_ids(EVERYTHING)[[9, 2, 17]]
    features = np.stack([filled.store.feature(number) for number in ids.tolist()])
    pictures, marked = filled.store.candidates(ids, features, category_condition((0,)))
    assert pictures.ids.tolist() == ids.tolist()
    assert marked.tolist() == [category == 0 for _, category in pictures.groups]
    with pytest.raises(InstanceDamaged):
        filled.store.candidates(np.array([10**6]), features[:1], EVERYTHING)
    with pytest.raises(InstanceDamaged):
        filled.store.candidates(ids, features, EVERYTHING, category_condition((9,)))


def test_the_first_pictures_of_products_are_those_by_name(filled: Storage) -> None:
    ids, of = filled.store.first_of_products(["p0", "none", "p1"], 2)
    assert numbers_of(filled, ids[of == 0]) == {0, 5}
    assert numbers_of(filled, ids[of == 2]) == {1, 6}
    assert len(ids) == 4


def test_items_are_verified(filled: Storage) -> None:
    filled.store.verify([])
    filled.store.verify(filled.store.matching_ids(EVERYTHING).tolist())
    with pytest.raises(InstanceDamaged):
        filled.store.verify([filled.store.matching_ids(EVERYTHING).tolist()[0], 10**6])


def test_an_update_keeps_the_picture(filled: Storage) -> None:
    """Attributes, category and place change; another category gives a new id, as indexes are kept apart by it."""
    item = filled.store.item(numbered(8).key)
    assert item is not None
    with filled.committing() as store:
        same = store.update(item, Attributes(int_attr=80), item.category_id, True, Location("/new", "8.jpg"))
        assert same == item.id
        moved = store.update(item, Attributes(int_attr=81), 88888888, True, None)
        assert moved > item.id
        store.set_tokens([(moved, b"seen")])
    after = filled.store.item(numbered(8).key)
    assert after is not None
    assert (after.id, after.category_id, after.attributes.int_attr, after.token) == (moved, 88888888, 81, b"seen")
    assert after.location == Path("/new/8.jpg")
    assert np.array_equal(filled.store.feature(moved), FEATURES[8])
    assert not filled.store.has(item.id)


def test_attributes_are_set_in_bulk(filled: Storage) -> None:
    """Of the named items, the named attributes; None unsets one."""
    ids = filled.store.matching_ids(parse_filter("int_attr in (1, 2)")).tolist()
    before = {item.id: item for item in filled.store.items(EVERYTHING)}
    with filled.committing() as store:
        store.set_attributes(ids, {"str_attr2": "new", "int_attr": None})
    for item in filled.store.items(EVERYTHING):
        attributes = before[item.id].attributes
        changed = replace(attributes, str_attr2="new", int_attr=None) if item.id in ids else attributes
        assert item == replace(before[item.id], attributes=changed)
    assert filled.store.matching_ids(parse_filter('str_attr2="new"')).tolist() == ids


def test_items_are_found_by_their_file(storage: Storage) -> None:
    """Whichever of its folders was given, and whether the PicName is the path below it or not."""
    places = {
        "1": Location("/shop/a", "b/1.jpg"),
        "b/1.jpg": Location("/shop/a"),
        "2": Location("/shop/a/b", "1.jpg"),
        "other": Location("/shop/a/b", "2.jpg"),
        "none": None,
    }
    with storage.committing() as store:
        store.insert([change("p", name, FEATURES[0], location=place) for name, place in places.items()])
    found = storage.store.keys(location_condition(PurePosixPath("/shop/a/b/1.jpg")))
    assert [key.pic_name for key in found] == ["1", "2", "b/1.jpg"]


def test_versions_and_places_of_files(storage: Storage) -> None:
    """What is stored under keys, as far as it tells whether a file is unchanged; and what lies below a folder."""
    places = [
        *(Location("/shop"), Location("/shop/red", "other.jpg"), Location("/shop2"), None, Location("/", "shop/x.jpg")),
        Location("/", "shop2/x.jpg"),
    ]
    changes = [
        change("p", f"{number}.jpg", FEATURES[0], location=place, attributes=Attributes(int_attr=number % 2 or None))
        for number, place in enumerate(places)
    ]
    with storage.committing() as store:
        ids = list(store.insert(changes))
    store = storage.store
    keys = [("p", f"{number}.jpg") for number in (1, 0, 99, 3)]
    found = store.versions(keys, "/shop", Attributes())
    assert {position: version.id for position, version in found.items()} == {0: ids[1], 1: ids[0], 3: ids[3]}
    assert [found[position].relative for position in (0, 1)] == ["other.jpg", None]
    assert [bool(found[position].is_of_folder) for position in (0, 1, 3)] == [False, True, False]
    assert [bool(found[position].has_attributes) for position in (0, 1, 3)] == [False, True, False]
    item = store.item(changes[0].key)
    assert item is not None
    assert found[1].token == item.token
    assert (found[1].category_id, found[1].region_mode) == (item.category_id, item.region_mode)
    assert found[1][7:11] == item.region.bounds
    assert store.ids_below("/shop").tolist() == [ids[0], ids[1], ids[4]]
    assert store.ids_below("/shop/red").tolist() == [ids[1]]
    assert store.ids_below("/").tolist() == [ids[0], ids[1], ids[2], ids[4], ids[5]]


def test_an_index_names_what_is_near(filled: Storage) -> None:
    """Of what it holds, at least as many as are wanted, without those that do not count."""
    store, index = filled.store, filled.index(filled.store.generation())
    removed = store.removed_ids()
    assert len(removed) == (0 if is_live(filled) else 2)
    own = store.item(numbered(12).key)
    assert own is not None
    near = index.shortlist(FEATURES[12], 3, without=removed)
    assert own.id in near.tolist()
    assert len(near) >= 3
    assert not set(near.tolist()) & set(removed.tolist())
    only = store.listed(product_condition("p1"))
    assert set(index.shortlist(FEATURES[12], 50, only=only).tolist()) <= set(only.ids().tolist())
    assert len(index.shortlist(FEATURES[12], 50, without=removed)) == (28 if is_live(filled) else 18)


def test_rebuilding_takes_all_in(filled: Storage) -> None:
    before = filled.store.generation()
    generation = filled.rebuild()
    assert before is not None
    assert (generation.number, generation.items, generation.is_exact) == (before.number + 1, 28, True)
    store = filled.store
    assert (store.count_unindexed(), store.count_removed(), store.generation()) == (0, 0, generation)
    assert len(filled.index(generation).shortlist(FEATURES[0], 100)) == 28
    assert generation.recall is None


def test_an_emptied_instance_keeps_no_index(filled: Storage) -> None:
    with filled.committing() as store:
        store.delete(EVERYTHING)
    filled.drop_index_if_empty()
    assert filled.store.generation() is None
    assert Ranker(filled).search(Query(FEATURES[0], b"other"), CALIBRATION, num=5).hits == []


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_never_costs_hits(filled: Storage, name: str) -> None:
    """All that meet it are found, nearest first by arithmetic, whether indexed or not."""
    condition, meaning = CONDITIONS[name]
    expected = [number for number in LEFT if meaning(number)]
    weights = WITHOUT_LIFT.__class__(sibling=0.0, sharpness=1.0, lift=0.0)
    ranking = Ranker(filled).search(
        Query(FEATURES[35], b"other"), CALIBRATION, num=100, condition=condition, weights=weights
    )
    assert ranking.found == len(expected)
    order = sorted(expected, key=lambda number: -float(FEATURES[number] @ FEATURES[35]))
    assert [int(hit.item.key.pic_name[:2]) for hit in ranking.hits] == order


class Backends(RuleBasedStateMachine):
    """The same changes in every backend; whatever is asked, all say the same."""

    makers: ClassVar = BACKENDS
    are_alike_behind = True
    """Whether their indexes are equally far, as nothing but a rebuild moves them."""

    @initialize()
    def start(self) -> None:
        self._folder = TemporaryDirectory()
        self.storages = [make(Path(self._folder.name) / str(n)) for n, make in enumerate(self.makers.values())]

    def teardown(self) -> None:
        for storage in self.storages:
            _discarded(storage)
        self._folder.cleanup()

    @rule(number=st.integers(0, 39), category=st.integers(0, 2), attribute=st.none() | st.integers(0, 3))
    def upsert(self, number: int, category: int, attribute: int | None) -> None:
        one = numbered(number, category=category, attributes=Attributes(int_attr=attribute))
        said = []
        for storage in self.storages:
            with storage.committing() as store:
                said.append(store.upsert(one))
        assert len(set(said)) == 1

    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        keys = self.storages[0].store.keys(EVERYTHING)
        if not keys:
            return
        key, category = data.draw(st.sampled_from(keys)), data.draw(st.integers(0, 2))
        ids = set()
        for storage in self.storages:
            with storage.committing() as store:
                item = store.item(key)
                assert item is not None
                ids.add(store.update(item, Attributes(int_attr=9), category, True, None))
        assert len(ids) == 1

    @rule(condition=st.sampled_from([*(condition for condition, _ in CONDITIONS.values())]))
    def delete(self, condition: Condition) -> None:
        said = []
        for storage in self.storages:
            with storage.committing() as store:
                said.append(store.delete(condition))
            storage.drop_index_if_empty()
        assert said[1:] == said[:-1]

    @rule()
    def rebuild(self) -> None:
        for storage in self.storages:
            try:
                storage.rebuild()
            except InstanceEmpty:
                assert storage.store.count() == 0

    @rule(number=st.integers(0, 39), data=st.data())
    def search(self, number: int, data: st.DataObject) -> None:
        condition = data.draw(st.sampled_from([condition for condition, _ in CONDITIONS.values()]))
        options: dict[str, Any] = {
            "num": data.draw(st.integers(1, 20)),
            "start": data.draw(st.integers(0, 5)),
            "condition": condition,
            "categories": data.draw(st.sampled_from([(), (0,), (1, 2)])),
            "distinct_product": data.draw(st.booleans()),
            "exclude_identical": data.draw(st.booleans()),
            "weights": data.draw(st.sampled_from([WITH_LIFT, WITHOUT_LIFT])),
        }
        asked = Query(FEATURES[number], numbered(number).extracted.content_hash)
        rankings = [Ranker(storage).search(asked, CALIBRATION, **options) for storage in self.storages]
        first = rankings[0]
        for other in rankings[1:]:
            assert other.found == first.found
            assert [(hit.item.key, hit.score, hit.distance) for hit in other.hits] == [
                (hit.item.key, hit.score, hit.distance) for hit in first.hits
            ]

    @invariant()
    def all_say_the_same(self) -> None:
        facts = [
            (
                storage.store.counts(),
                storage.store.keys(EVERYTHING),
                storage.store.products_with_several(),
                storage.store.matching_ids(EVERYTHING).tolist(),
                [(one.key, one.attributes, one.category_given) for one in storage.store.all_stored_records()],
            )
            for storage in self.storages
        ]
        assert facts[1:] == facts[:-1]
        if not self.are_alike_behind:
            return
        # An index elsewhere may hold what waits for it, so what was deleted while it waited counts as removed, too.
        behind = [
            (storage.store.count_unindexed(), None if is_elsewhere(storage) else storage.store.removed_ids().tolist())
            for storage in self.storages
            if not is_live(storage) or storage.store.generation() is None
        ]
        behind = [(count, removed or behind[0][1]) for count, removed in behind]
        assert behind[1:] == behind[:-1]


@pytest.mark.extended
def test_any_changes_leave_all_backends_alike() -> None:
    run_state_machine_as_test(
        Backends,
        settings=settings(
            max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )


class WithMilvus(Backends):
    """Beside the embedded engine; the index follows at any time, and is cut off in the middle of it."""

    makers: ClassVar = {"sqlite and faiss": _local, **MILVUS}
    are_alike_behind = False

    @property
    def elsewhere(self) -> Any:
        return self.storages[1]

    @rule()
    def follow(self) -> None:
        if self.elsewhere.store.generation() is not None:
            self.elsewhere.refresh()

    @rule(step=st.integers(0, 3))
    def die_while_following(self, step: int) -> None:
        """Cut off before a statement, as if the process had been killed there."""
        from imgsearch.storage.postgres.indexer import Indexer

        link, steps = self.elsewhere.store.link, iter(range(10))
        run = link.run

        def counted(*arguments: Any) -> Any:
            if next(steps) == step:
                raise ZeroDivisionError
            return run(*arguments)

        with pytest.MonkeyPatch.context() as patch, suppress(ZeroDivisionError):
            patch.setattr(link, "run", counted)
            Indexer(self.elsewhere.store, self.elsewhere.external).step()

    @rule()
    def show(self) -> None:
        """Let the time pass after which the index is sure to show what it has acknowledged."""
        self.elsewhere.store.link.run("UPDATE pending SET acknowledged = acknowledged - interval '1 hour'")


def _run_with_milvus(examples: int) -> None:
    run_state_machine_as_test(
        WithMilvus,
        settings=settings(
            max_examples=examples, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.extended
@pytest.mark.skipif(not MILVUS, reason="there is no PostgreSQL or no Milvus here")
def test_any_changes_leave_milvus_alike() -> None:
    _run_with_milvus(3)


@pytest.mark.long
@pytest.mark.skipif(not MILVUS, reason="there is no PostgreSQL or no Milvus here")
def test_many_changes_leave_milvus_alike() -> None:
    _run_with_milvus(20)
