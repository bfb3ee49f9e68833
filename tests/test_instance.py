"""The gateway: what is added is found at once, what is replaced or deleted is gone at once, and nothing is mixed."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imgsearch import (
    AddPicture,
    Attributes,
    DeletePictures,
    FilePicture,
    Instance,
    Key,
    Kind,
    Outcome,
    PictureOptions,
    Region,
    SearchOptions,
    Status,
)
from imgsearch.errors import (
    InputError,
    InstanceDamaged,
    InstanceEmpty,
    InstanceExists,
    InstanceLocked,
    InstanceNotFound,
    InvalidFilter,
    InvalidPaging,
    ItemNotFound,
    PictureError,
    StampMismatch,
)
from imgsearch.jobs.reading import IndexState
from imgsearch.service.categories import OTHER
from imgsearch.sources.files import FileRequest, operations
from imgsearch.types import Content, Refused
from imgsearch.vision.limits import LIMIT_PROFILES
from imgsearch.vision.models import DEFAULT_MODEL
from tests.pictures import jpeg, write_catalogue
from tests.storage.arithmetic import ArithmeticInstance, Sight

pytestmark = pytest.mark.networks


class Bytes:
    """A picture in memory that counts how often it is read."""

    def __init__(self, data: bytes, token: bytes | None = None) -> None:
        self.data, self._token, self.reads = data, token, 0

    def token(self) -> bytes | None:
        return self._token

    def read(self, max_bytes: int) -> Content:
        self.reads += 1
        return Content(self.data, self._token)


def add(picture: Bytes, product: str = "p", name: str = "a.jpg", **options: object) -> AddPicture:
    attributes = Attributes(**{key: options.pop(key) for key in list(options) if "attr" in key or "content" in key})
    return AddPicture(name, Key(product, name), picture, PictureOptions(**options), attributes)


def apply(instance: Instance, *given: object) -> list[Outcome]:
    return list(instance.apply(given))


def best(instance: Instance, picture: Bytes, **search: object) -> tuple[Key, float, str]:
    with instance.searching() as searcher:
        hit = searcher.by_picture(picture, search=SearchOptions(**search)).hits[0]
    return hit.item.key, hit.score, hit.sort_expr_values


def hits(instance: Instance, picture: Bytes, options: PictureOptions | None = None, **search: object) -> list[str]:
    with instance.searching() as searcher:
        result = searcher.by_picture(picture, options or PictureOptions(), SearchOptions(num=100, **search))
    return [hit.item.key.pic_name for hit in result.hits]


MAXIMUM = (1.0, "7.33136443711219e+24;0")


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.long)])
def test_finds_itself_whatever_company_it_came_in(instance: Instance, tmp_path: Path, count: int) -> None:
    """The same picture added alone, in a batch, and renamed: Score 1 and the maximum relevance each time."""
    wanted = Bytes(jpeg(0))
    apply(instance, add(wanted, "alone", "alone.jpg"))
    assert best(instance, wanted) == (Key("alone", "alone.jpg"), *MAXIMUM)
    instance.delete("alone")

    catalogue = tmp_path / "catalogue"
    write_catalogue(catalogue, count)
    assert {o.status for o in instance.apply(operations([catalogue], FileRequest()))} == {Status.ADDED}
    assert best(instance, wanted) == (Key("0000", "0000.jpg"), *MAXIMUM)

    apply(instance, add(wanted, "renamed", "other name.png"))
    with instance.searching() as searcher:
        first, second, third = searcher.by_picture(wanted).hits[:3]
    assert {first.item.key.product_id, second.item.key.product_id} == {"0000", "renamed"}
    assert (first.score, first.sort_expr_values) == (second.score, second.sort_expr_values) == MAXIMUM
    assert third.score < 1.0

    instance.rebuild()
    assert best(instance, wanted)[1:] == MAXIMUM


@pytest.mark.extended
def test_features_do_not_depend_on_the_batch(instance: Instance, tmp_path: Path) -> None:
    """The stored feature has the same bits alone and among others."""
    picture = Bytes(jpeg(7))
    apply(instance, add(picture, "alone"))
    apply(instance, *[add(Bytes(jpeg(number)), f"p{number}") for number in range(30)])
    store = instance._opened.engine.store
    alone, among = (store.feature(instance.item(Key(product, "a.jpg")).id) for product in ("alone", "p7"))
    assert alone.tobytes() == among.tobytes()


def test_unchanged_pictures_are_not_extracted_again(instance: Instance) -> None:
    """Same bytes and same options: unchanged; and with the source's token, not even read."""
    without, with_token = Bytes(jpeg(1)), Bytes(jpeg(2), b"v1")
    both = [add(without, name="a.jpg"), add(with_token, name="b.jpg")]
    assert [o.status for o in apply(instance, *both)] == [Status.ADDED, Status.ADDED]
    id_before = instance.item(Key("p", "a.jpg")).id
    assert [o.status for o in apply(instance, *both)] == [Status.UNCHANGED, Status.UNCHANGED]
    assert (without.reads, with_token.reads) == (2, 1)
    assert instance.item(Key("p", "a.jpg")).id == id_before


def test_a_changed_token_over_unchanged_bytes_is_remembered(instance: Instance) -> None:
    """A file that was only touched is read once more, not every time."""
    apply(instance, add(Bytes(jpeg(1), b"v1")))
    touched = Bytes(jpeg(1), b"v2")
    assert [o.status for o in apply(instance, add(touched))] == [Status.UNCHANGED]
    assert [o.status for o in apply(instance, add(touched))] == [Status.UNCHANGED]
    assert touched.reads == 1


@pytest.mark.parametrize(
    "changed",
    [{"str_attr": "red"}, {"int_attr4": -5}, {"custom_content": "note"}, {"category_id": 3}],
    ids=lambda changed: next(iter(changed)),
)
def test_changed_attributes_replace_without_extraction(instance: Instance, changed: dict[str, object]) -> None:
    """Same bytes, other attributes: replaced, and the picture was not read again."""
    picture = Bytes(jpeg(1), b"v1")
    apply(instance, add(picture, category_id=4))
    before = instance.item(Key("p", "a.jpg"))
    assert [o.status for o in apply(instance, add(picture, **{"category_id": 4, **changed}))] == [Status.REPLACED]
    after = instance.item(Key("p", "a.jpg"))
    # An index keeps each category apart: of another one it is a new item.
    assert (after.id == before.id) is ("category_id" not in changed)
    assert picture.reads == 1
    assert (after.attributes, after.category_id) != (before.attributes, before.category_id)


@pytest.mark.extended
@pytest.mark.parametrize(
    "changed", [{"region": Region(0, 50, 0, 50)}, {"crop": False}], ids=lambda changed: next(iter(changed))
)
def test_another_region_is_extracted_again(instance: Instance, changed: dict[str, object]) -> None:
    """What changes the feature replaces the item."""
    picture = Bytes(jpeg(1), b"v1")
    apply(instance, add(picture))
    before = instance.item(Key("p", "a.jpg")).id
    assert [o.status for o in apply(instance, add(picture, **changed))] == [Status.REPLACED]
    assert instance.item(Key("p", "a.jpg")).id != before


@pytest.mark.extended
def test_replaced_and_deleted_pictures_are_gone_at_once(instance: Instance) -> None:
    """No search finds an old picture again, in the index or beside it."""
    old, new, other = Bytes(jpeg(1)), Bytes(jpeg(2)), Bytes(jpeg(3))
    apply(instance, add(old), add(other, name="b.jpg"))
    instance.rebuild()
    assert [o.status for o in apply(instance, add(new))] == [Status.REPLACED]
    assert best(instance, old)[1] < 1.0
    assert best(instance, new) == (Key("p", "a.jpg"), *MAXIMUM)
    assert hits(instance, old).count("a.jpg") == 1
    assert instance.delete("p", "a.jpg").keys == [Key("p", "a.jpg")]
    assert hits(instance, new) == ["b.jpg"]


@pytest.mark.extended
def test_order_of_operations_counts(instance: Instance) -> None:
    """A later operation wins, also within one batch, and whatever is stored already."""
    first, second = Bytes(jpeg(1)), Bytes(jpeg(2))
    statuses = [
        o.status
        for o in apply(
            instance,
            add(first),
            add(second),
            add(first),
            DeletePictures("line 4", "p"),
            DeletePictures("line 5", "p", "a.jpg"),
            add(second),
        )
    ]
    assert statuses == [Status.ADDED, Status.REPLACED, Status.REPLACED, Status.DELETED, Status.ADDED]
    assert best(instance, second) == (Key("p", "a.jpg"), *MAXIMUM)
    again = [o.status for o in apply(instance, add(first), add(second), DeletePictures("x", "p"), add(second))]
    assert again == [Status.REPLACED, Status.REPLACED, Status.DELETED, Status.ADDED]


@pytest.mark.extended
def test_failures_stand_where_they_belong(instance: Instance) -> None:
    """A failed picture in any position of a batch is its own outcome; no neighbour gets its data."""
    broken = (jpeg(0)[:500], b"text", jpeg(0, (50, 50)), b"")
    given = []
    for number in range(40):
        picture = Bytes(broken[number // 10] if number % 10 == number // 10 * 3 else jpeg(number))
        given.append(add(picture, f"p{number}"))
    outcomes = apply(instance, *given)
    failed = {o.product_id: o.error.code for o in outcomes if o.error}
    assert failed == {
        "p0": "PictureError",
        "p13": "UnsupportedPicFormat",
        "p26": "UnsupportedPicPixels",
        "p39": "NoSpecifiedPicContent",
    }
    assert [o.product_id for o in outcomes] == [f"p{number}" for number in range(40)]
    for number in (1, 12, 14, 25, 38):
        assert best(instance, Bytes(jpeg(number))) == (Key(f"p{number}", "a.jpg"), *MAXIMUM)


def test_a_failed_replacement_leaves_the_old_picture(instance: Instance) -> None:
    """What was acknowledged stays."""
    good = Bytes(jpeg(1))
    apply(instance, add(good))
    assert [o.status for o in apply(instance, add(Bytes(b"no picture")))] == [Status.FAILED]
    assert best(instance, good) == (Key("p", "a.jpg"), *MAXIMUM)


def test_refused_operations_pass_through(instance: Instance) -> None:
    """What a source refuses comes out as a failure, with its source."""
    refusal = Refused("list:7", InvalidPaging("x"), "p", None)
    (outcome,) = apply(instance, refusal)
    assert (outcome.status, outcome.source, outcome.product_id) == (Status.FAILED, "list:7", "p")


def test_an_outcome_is_found_by_another_process_at_once(instance: Instance, folder: Path) -> None:
    """When an outcome is seen, a new reader finds the picture, although the run goes on."""
    outcomes = instance.apply_stream(
        [add(Bytes(jpeg(1)), "one"), *(add(Bytes(jpeg(n)), f"p{n}") for n in range(2, 300))]
    )
    next(outcomes)
    with Instance.open(folder) as reader:
        assert best(reader, Bytes(jpeg(1))) == (Key("one", "a.jpg"), *MAXIMUM)
    outcomes.close()


@pytest.mark.extended
def test_memory_is_bounded_by_the_look_ahead(instance: Instance) -> None:
    """Operations are not read further ahead than one commit's worth."""
    begun = 0

    def endless() -> object:
        nonlocal begun
        while True:
            begun += 1
            yield add(Bytes(jpeg(begun % 5)), f"p{begun}")

    outcomes = instance.apply_stream(endless())
    for _ in range(3):
        next(outcomes)
    outcomes.close()
    assert begun <= 2 * 256


def test_region_and_crop(instance: Instance) -> None:
    """The region that was used is stored and returned; identity takes an explicit region into account."""
    picture = Bytes(jpeg(1, (200, 120)))
    box, other_box = Region(10, 110, 20, 120), Region(0, 100, 0, 100)
    apply(
        instance,
        add(picture, name="box.jpg", region=box),
        add(picture, name="whole.jpg", crop=False, region=box),
        add(picture, name="auto.jpg"),
    )
    regions = {name: instance.item(Key("p", name)).region for name in ("box.jpg", "whole.jpg", "auto.jpg")}
    everywhere = SearchOptions(any_category=True)
    with instance.searching() as searcher:
        found = searcher.by_picture(picture, search=everywhere)
        assert regions == {"box.jpg": box, "whole.jpg": Region(0, 200, 0, 120), "auto.jpg": found.region}
        assert found.region.check_within(200, 120)
        same = [hit.item.key.pic_name for hit in found.hits if hit.identical]
        assert sorted(same) == ["auto.jpg", "box.jpg", "whole.jpg"]
        result = searcher.by_picture(picture, PictureOptions(region=box), everywhere)
        assert (result.region, [hit.item.key.pic_name for hit in result.hits if hit.identical]) == (box, ["box.jpg"])
        other = searcher.by_picture(picture, PictureOptions(region=other_box), everywhere)
        assert not any(hit.identical for hit in other.hits)


@pytest.mark.extended
def test_product_results_belong_exactly_to_the_category(instance: Instance) -> None:
    """A given category bounds the results; ``any_category`` lifts it."""
    apply(instance, *[add(Bytes(jpeg(n)), f"p{n}", f"{n}.jpg", category_id=(3, 4)[n % 2]) for n in range(8)])
    query = Bytes(jpeg(0))
    assert set(hits(instance, query, PictureOptions(category_id=4))) == {"1.jpg", "3.jpg", "5.jpg", "7.jpg"}
    assert len(hits(instance, query, PictureOptions(category_id=4), any_category=True)) == 8
    assert hits(instance, query, PictureOptions(category_id=22)) == []
    assert len(hits(instance, query, any_category=True)) == 8
    with instance.searching() as searcher:
        predicted = searcher.by_picture(query)
    assert predicted.searched_categories[0] == predicted.category_id
    assert predicted.found == 4 * len({3, 4} & set(predicted.searched_categories))


def test_generic_instances_have_one_category(folder: Path) -> None:
    """A given category is ignored and 88888888 recorded, on adding and on searching."""
    Instance.create(folder, Kind.GENERIC)
    with Instance.open(folder) as generic:
        (outcome,) = apply(generic, add(Bytes(jpeg(1)), category_id=3))
        assert outcome.category_id == generic.item(Key("p", "a.jpg")).category_id == OTHER
        with generic.searching() as searcher:
            result = searcher.by_picture(Bytes(jpeg(1)), PictureOptions(category_id=3))
        assert (result.category_id, len(result.hits)) == (OTHER, 1)
        (again,) = apply(generic, add(Bytes(jpeg(1)), category_id=4))
        assert again.status is Status.UNCHANGED


def test_search_by_name(instance: Instance) -> None:
    """An indexed picture finds itself first; an absent one is said to be absent."""
    apply(instance, *[add(Bytes(jpeg(n)), f"p{n}") for n in range(4)])
    with instance.searching() as searcher:
        result = searcher.by_name(Key("p2", "a.jpg"))
        assert (result.hits[0].item.key, result.hits[0].score) == (Key("p2", "a.jpg"), 1.0)
        without = searcher.by_name(Key("p2", "a.jpg"), search=SearchOptions(exclude_self=True))
        assert [hit.item.key.product_id for hit in without.hits] != []
        assert "p2" not in [hit.item.key.product_id for hit in without.hits]
        with pytest.raises(ItemNotFound, match="p9"):
            searcher.by_name(Key("p9", "a.jpg"))


def assert_same_answers(found: Any, expected: Any) -> None:
    """The same items in the same order; similarities and distances as close as two modes of the networks are.

    In float32 the last bits of a feature depend on how many threads share a picture; a code's number may then round to
    the other side.
    """
    for one, other in zip(*(each if isinstance(each, list) else [each] for each in (found, expected)), strict=True):
        assert (one.found, one.category_id, one.region) == (other.found, other.category_id, other.region)
        assert [hit.item.id for hit in one.hits] == [hit.item.id for hit in other.hits]
        for hit, same in zip(one.hits, other.hits, strict=True):
            assert hit.identical == same.identical
            assert hit.score == pytest.approx(same.score, abs=1e-6)
            assert abs(hit.distance - same.distance) <= 1


@pytest.mark.extended
@pytest.mark.parametrize("all_subjects", [False, True])
def test_many_pictures_are_answered_as_each_by_itself(instance: Instance, all_subjects: bool) -> None:
    """In their order, more than are under way at once; one that cannot be used is told in its place."""
    apply(instance, *[add(Bytes(jpeg(n)), f"p{n}") for n in range(30)])
    queries = [Bytes(jpeg(n)) for n in range(40)]
    queries[7] = Bytes(b"no picture")
    search = SearchOptions(num=3, any_category=True)
    with instance.searching(workers=2) as searcher:
        together = list(searcher.by_pictures(iter(queries), search=search, all_subjects=all_subjects))
    assert len(together) == 40
    assert isinstance(together[7], InputError)
    with instance.searching() as searcher:
        for number in (0, 6, 8, 39):
            one = searcher.by_subjects if all_subjects else searcher.by_picture
            assert_same_answers(together[number], one(queries[number], search=search))
            assert all(result.seconds > 0 for result in together[number])  # type: ignore[union-attr]


def test_a_filter_that_is_wrong_is_told_before_any_picture_is_read(instance: Instance) -> None:
    picture = Bytes(jpeg(0))
    with instance.searching(workers=2) as searcher, pytest.raises(InvalidFilter):
        list(searcher.by_pictures([picture], search=SearchOptions(filter="red")))
    assert picture.reads == 0


@pytest.mark.extended
@pytest.mark.usefixtures("own_networks")
def test_preparing_loads_what_a_search_needs(instance: Instance) -> None:
    """Side by side, in threads that end; the answer is the same. Without a converted model nothing is begun."""
    apply(instance, *[add(Bytes(jpeg(n)), f"p{n}") for n in range(4)])
    expected = hits(instance, Bytes(jpeg(2)))
    for options in (PictureOptions(), PictureOptions(crop=False), PictureOptions(category_id=3)):
        with instance.searching() as searcher:
            searcher.prepare(options)
            assert {"imgsearch-embedder"} <= {thread.name for thread in threading.enumerate()}
            found = searcher.by_picture(Bytes(jpeg(2)), search=SearchOptions(num=100))
        assert [hit.item.key.pic_name for hit in found.hits] == expected
        assert not {thread.name for thread in threading.enumerate() if thread.name.startswith("imgsearch-e")}


def test_nothing_is_prepared_before_the_model_is_converted(instance: Instance, tmp_path: Path) -> None:
    """The picture may turn out to be none, and a conversion takes seconds."""
    others = set(threading.enumerate())
    with Instance.open(instance.folder, cache=tmp_path / "empty") as fresh, fresh.searching() as searcher:
        assert fresh.model_is_at_hand is False
        searcher.prepare()
        assert set(threading.enumerate()) <= others
        with pytest.raises(PictureError):
            searcher.by_picture(Bytes(b"no picture"))
    assert not (tmp_path / "empty").exists()


@pytest.mark.extended
def test_filters_select_first(instance: Instance) -> None:
    """A filtered search and a filtered deletion see exactly what matches."""
    apply(instance, *[add(Bytes(jpeg(n)), f"p{n}", f"{n}.jpg", int_attr=n, str_attr="ab"[n % 2]) for n in range(10)])
    expression = 'int_attr>=4 AND str_attr="a"'
    assert set(hits(instance, Bytes(jpeg(0)), filter=expression)) == {"4.jpg", "6.jpg", "8.jpg"}
    doomed = instance.delete_matching(expression, dry_run=True).keys
    assert [key.pic_name for key in doomed] == ["4.jpg", "6.jpg", "8.jpg"]
    assert len(hits(instance, Bytes(jpeg(0)))) == 10
    assert len(instance.delete_matching(expression).keys) == 3
    assert len(hits(instance, Bytes(jpeg(0)))) == 7


@pytest.mark.parametrize(
    "options", [{"num": 0}, {"num": 101}, {"start": -1}, {"start": 500}, {"num": 100, "start": 401}]
)
def test_paging_limits(options: dict[str, int]) -> None:
    """1..100 results, 0..499 to start with, 500 in all."""
    with pytest.raises(InvalidPaging):
        SearchOptions(**options)
    SearchOptions(num=100, start=400)


def test_opening_and_making(folder: Path, tmp_path: Path) -> None:
    """A missing instance is said to be missing; an existing one, or any other folder, is never touched."""
    with pytest.raises(InstanceNotFound, match="imgsearch init"):
        Instance.open(folder)
    Instance.create(folder)
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    before = (folder / "instance.db").read_bytes()
    with pytest.raises(InstanceExists):
        Instance.create(folder)
    assert (folder / "instance.db").read_bytes() == before
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(jpeg(1))
    with pytest.raises(InstanceExists, match="not an empty folder"):
        Instance.create(foreign)
    assert [path.name for path in foreign.iterdir()] == ["holiday.jpg"]


def test_another_model_is_refused(instance: Instance) -> None:
    """Mixing features is refused, with the command that makes an instance for the other model."""
    instance.check_model(DEFAULT_MODEL)
    with pytest.raises(StampMismatch, match=r"imgsearch init .*--model efficientnet-lite0"):
        instance.check_model("efficientnet-lite0")


def test_rebuild_needs_items(instance: Instance) -> None:
    """``rebuild`` refuses an instance without items, also one that has lost them all."""
    with pytest.raises(InstanceEmpty):
        instance.rebuild()
    apply(instance, add(Bytes(jpeg(1))))
    assert instance.rebuild().items == 1
    instance.delete("p")
    with pytest.raises(InstanceEmpty):
        instance.rebuild()


def test_info_counts(instance: Instance, folder: Path) -> None:
    """Facts agree with what was done."""
    apply(instance, *[add(Bytes(jpeg(n)), f"p{n % 2}", f"{n}.jpg", category_id=(3, 4)[n > 2]) for n in range(5)])
    facts = instance.info()
    assert (facts.items, facts.products, facts.categories) == (5, 2, {3: 3, 4: 2})
    assert facts.generation is not None
    assert (facts.generation.items, facts.unindexed) == (5, 0)
    apply(instance, add(Bytes(jpeg(9)), "p9"))
    assert instance.info().unindexed == 1
    assert facts.disk_bytes == sum(path.stat().st_size for path in folder.iterdir()) or facts.disk_bytes > 0


@pytest.mark.extended
def test_a_second_writer_is_refused_while_readers_go_on(instance: Instance, folder: Path) -> None:
    """One writer; searches never wait for it."""
    outcomes = instance.apply_stream([add(Bytes(jpeg(n)), f"p{n}") for n in range(600)])
    next(outcomes)
    with Instance.open(folder) as second:
        with pytest.raises(InstanceLocked, match="process"):
            apply(second, add(Bytes(jpeg(1))))
        assert hits(second, Bytes(jpeg(1)))
    outcomes.close()
    assert [o.status for o in apply(instance, add(Bytes(jpeg(1))))] == [Status.ADDED]


def test_no_picture_is_stored(instance: Instance, folder: Path, cache: Path) -> None:
    """No byte run of a picture reaches the instance's folder, whatever the outcome."""
    good, bad = jpeg(1, (400, 300)), jpeg(2, (400, 300))[:-500]
    apply(instance, add(Bytes(good)), add(Bytes(bad), name="bad.jpg"))
    with instance.searching() as searcher:
        searcher.by_picture(Bytes(good))
    for path in folder.iterdir():
        stored = path.read_bytes()
        for data in (good, bad):
            assert not any(data[start : start + 32] in stored for start in range(200, len(data) - 32, 97)), path


@pytest.mark.extended
def test_folder_operations_find_files_again(instance: Instance, catalogue: Path) -> None:
    """Items remember where their owner keeps the picture."""
    list(instance.apply(operations([catalogue], FileRequest())))
    assert instance.item(Key("0003", "0003.jpg")).location == catalogue / "0003.jpg"
    thumbnail = instance.thumbnail(FilePicture(catalogue / "0003.jpg"), 64)
    assert thumbnail.startswith(b"\xff\xd8")


@pytest.mark.extended
@pytest.mark.parametrize("kind", list(Kind))
def test_pictures_of_a_product_speak_for_each_other(folder: Path, kind: Kind) -> None:
    """In whatever category they are: one picture's category may have been predicted wrong."""
    Instance.create(folder, kind)
    with Instance.open(folder) as instance:
        apply(instance, add(Bytes(jpeg(1)), name="a.jpg", category_id=0), add(Bytes(jpeg(2)), "other", category_id=0))

        def score() -> float:
            with instance.searching() as searcher:
                # In one category, as pictures of others would compete with it.
                hits = searcher.by_picture(Bytes(jpeg(3)), PictureOptions(category_id=0)).hits
            return next(hit.score for hit in hits if hit.item.key == Key("p", "a.jpg"))

        alone = score()
        apply(instance, add(Bytes(jpeg(4)), name="b.jpg", category_id=3))
        with_one = score()
        assert with_one != alone
        apply(instance, add(Bytes(jpeg(5)), name="c.jpg", category_id=0))
        assert score() not in (alone, with_one)
        instance.delete("p", "c.jpg")
        instance.delete("p", "b.jpg")
        assert score() == alone


SETTINGS = ["created", "kind", "limits", "model", "region_id"]


def _without(folder: Path, name: str, *tables: str) -> None:
    with closing(sqlite3.connect(folder / "instance.db")) as connection, connection:
        for table in tables:
            connection.execute(f"DELETE FROM {table} WHERE name = ?", (name,))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_is_missing_is_damage_and_comes_back_from_its_copy(folder: Path, name: str) -> None:
    Instance.create(folder)
    with closing(sqlite3.connect(folder / "instance.db")) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM settings ORDER BY name")] == SETTINGS
    with Instance.open(folder) as instance:
        before = instance.info()
    _without(folder, name, "settings")
    with pytest.raises(InstanceDamaged, match=rf"the setting '{name}' .* 'imgsearch check --repair'") as damaged:
        Instance.open(folder)
    assert damaged.value.exit_code == 6
    (problem,) = Instance.check(folder)
    assert f"of the setting '{name}'" in problem.message
    assert Instance.repair(folder).problems == []
    with Instance.open(folder) as instance:
        assert replace(instance.info(), disk_bytes=0) == replace(before, disk_bytes=0)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_is_missing_twice_is_told_by_name(folder: Path, name: str) -> None:
    """Nothing else says what it was: neither a check nor a repair passes over that."""
    Instance.create(folder)
    _without(folder, name, "settings", "settings_copy")
    with pytest.raises(InstanceDamaged, match=f"the setting '{name}'"):
        Instance.open(folder)
    (problem,) = Instance.check(folder)
    assert f"the setting '{name}'" in problem.message
    assert "backup" in problem.message
    with pytest.raises(InstanceDamaged, match=f"the setting '{name}': restore it from a backup"):
        Instance.repair(folder)


def test_an_item_is_found_or_is_not(folder: Path) -> None:
    """``find`` gives what ``item`` gives, and None where that would fail."""
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as instance:
        list(instance.apply([AddPicture("here", Key("p", "a"), Sight(1), PictureOptions(), Attributes(int_attr=7))]))
        assert instance.find(Key("p", "a")) == instance.item(Key("p", "a"))
        for key in (Key("p", "b"), Key("q", "a"), Key("P", "a")):
            assert instance.find(key) is None
            with pytest.raises(ItemNotFound):
                instance.item(key)


def test_the_state_of_the_index(folder: Path) -> None:
    """Of an empty instance, of one whose items are newer than the index, and of one that is up to date."""
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as instance:
        assert instance.index_state() == IndexState(0, 0, 0)
        for number in (1, 2):
            list(instance.apply([AddPicture("here", Key("p", f"{number}"), Sight(number), PictureOptions())]))
            state, facts = instance.index_state(), instance.info()
            assert (state.items, state.unindexed) == (facts.items, facts.unindexed)
            assert state.generation == (facts.generation.number if facts.generation else 0)
        instance.rebuild()
        assert instance.index_state().unindexed == 0
        assert instance.index_state().generation > 0


# Another instance in its place


def test_an_instance_that_takes_the_place_is_used_as_it_is(folder: Path, instance: Instance, tmp_path: Path) -> None:
    """As when a backup is restored while a server runs: what is written is read, by the settings of the new one."""
    one, two = (AddPicture(name, Key(name, "1.jpg"), Bytes(jpeg(n))) for n, name in enumerate("ab"))
    assert instance.info().kind is Kind.PRODUCT
    assert [outcome.status for outcome in instance.apply([one])] == [Status.ADDED]
    Instance.create(tmp_path / "other", Kind.GENERIC, limits=LIMIT_PROFILES["service"])
    folder.rename(tmp_path / "before")
    (tmp_path / "other").rename(folder)
    assert instance.count() == 0
    assert (instance.info().kind, instance.info().limits) == (Kind.GENERIC, LIMIT_PROFILES["service"])
    assert [outcome.status for outcome in instance.apply([two])] == [Status.ADDED]
    assert [item.key.product_id for item in instance.items()] == ["b"]
    with Instance.open(tmp_path / "before") as before:
        assert [item.key.product_id for item in before.items()] == ["a"]
