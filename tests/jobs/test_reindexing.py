"""Making an older instance's features anew, from its pictures where they lie.

Contract: until all items are done the instance is what it was, whatever happens; then it is, in one commit, what adding
the pictures to a new one gives. What is done is not done again. Nobody compares features of two versions.
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
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
from imgsearch.errors import InstanceExists, StampMismatch
from imgsearch.jobs import creation
from imgsearch.sources import files
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.problems import Damage
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store
from imgsearch.storage.successor import home
from imgsearch.transfer.file_format import item_document
from imgsearch.types import Content
from imgsearch.values import Location
from imgsearch.vision.limits import LIMIT_PROFILES
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS, FEATURE_VERSION
from tests.pictures import jpeg
from tests.storage.builders import child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Run

CURRENT = EMBEDDED_MODELS[DEFAULT_MODEL]
COUNT = 6
ANYWHERE = SearchOptions(any_category=True)


class Bytes:
    """A picture that lies nowhere."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def token(self) -> bytes | None:
        return None

    def read(self, max_bytes: int) -> Content:
        return Content(self._data)


def addition(pictures: Path, number: int, **attributes: Any) -> AddPicture:
    """Of each way to ask for a region and a category some."""
    options = (
        PictureOptions(),
        PictureOptions(category_id=3),
        PictureOptions(crop=False),
        PictureOptions(region=Region(5, 100, 5, 90)),
    )[number % 4]
    name = f"{number}.jpg"
    given = Attributes(int_attr=number, **attributes)
    location = Location(str(pictures), None if number % 2 else f"./{name}")
    path = pictures / name
    return AddPicture(name, Key(f"p{number // 2}", f"{number}.jpg"), FilePicture(path), options, given, location)


def make(folder: Path, version: int, page_bytes: int | None = None) -> None:
    """An empty instance as the release of that feature version made it."""
    record = replace(CURRENT, feature_version=version)
    creation.make(folder, Kind.PRODUCT, LIMIT_PROFILES["local"], "cn-shanghai", record)
    if page_bytes is not None:
        settings = stored(folder, lambda store: store.settings())
        for path in folder.iterdir():
            path.unlink()
        Engine.create(folder, settings, page_bytes)


def stored(folder: Path, what: Callable[[Store], Any]) -> Any:
    with closing(Engine.open(folder)) as engine:
        return what(engine.store)


def documents(folder: Path) -> dict[Key, tuple[dict[str, Any], bytes]]:
    """All that is known of each item, with its feature."""

    def of_all(store: Store) -> dict[Key, tuple[dict[str, Any], bytes]]:
        told = {}
        for item in store.all_stored_records():
            document = item_document(item)
            document.pop("Token", None)  # none while the file is new
            told[item.key] = document, item.extracted.feature.tobytes()
        return told

    found: dict[Key, tuple[dict[str, Any], bytes]] = stored(folder, of_all)
    return found


def hits(instance: Instance, pictures: Path) -> list[list[tuple[Key, float]]]:
    with instance.searching() as searcher:
        found = [searcher.by_picture(FilePicture(path), search=ANYWHERE) for path in sorted(pictures.iterdir())[:4]]
    return [[(hit.item.key, hit.score) for hit in result.hits] for result in found]


def reindex(instance: Instance) -> list[Outcome]:
    return list(instance.reindex())


def statuses(outcomes: list[Outcome]) -> list[str]:
    return [str(outcome.status) for outcome in outcomes]


@pytest.fixture(autouse=True)
def _old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures count as written long ago."""
    monkeypatch.setattr(files, "RACY_NANOSECONDS", 0)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and instances of version 2 and of today's with them; not to be changed."""
    base = tmp_path_factory.mktemp("template")
    pictures = base / "pictures"
    pictures.mkdir()
    for number in range(COUNT):
        (pictures / f"{number}.jpg").write_bytes(jpeg(number))
    for name, version in (("old", 2), ("new", FEATURE_VERSION)):
        make(base / name, version)
        with Instance.open(base / name) as instance:
            done = list(instance.apply(addition(pictures, number) for number in range(COUNT)))
            assert statuses(done) == ["added"] * COUNT
    return base


@pytest.fixture
def pictures(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template / "pictures", tmp_path / "pictures"))


@pytest.fixture
def old(template: Path, tmp_path: Path, pictures: Path, folder: Path) -> Iterator[Instance]:
    """A copy of the instance of version 2, with pictures of its own."""
    shutil.copytree(template / "old", folder)
    move(folder, template / "pictures", pictures)
    with Instance.open(folder) as instance:
        yield instance


def move(folder: Path, source: Path, target: Path) -> None:
    """Have an instance believe that its pictures lie elsewhere."""
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        for item in list(store.all_stored_records()):
            assert item.location is not None
            assert item.location.root == str(source)
            store.upsert(replace(item, location=replace(item.location, root=str(target))))


def fresh(template: Path, tmp_path: Path, pictures: Path) -> dict[Key, tuple[dict[str, Any], bytes]]:
    """What a new instance of today's version holds of the same pictures."""
    target = Path(shutil.copytree(template / "new", tmp_path / "fresh"))
    move(target, template / "pictures", pictures)
    return documents(target)


@pytest.mark.extended
def test_an_older_instance_goes_on_as_it_is(old: Instance, pictures: Path) -> None:
    """It says what it is, finds what it holds, and makes features of its version for pictures that are added."""
    info = old.info()
    assert (info.needs_reindex, info.reindexed, info.stamp["feature_version"]) == (True, None, 2)
    (pictures / "9.jpg").write_bytes(jpeg(9))
    assert statuses(list(old.apply([addition(pictures, 9)]))) == ["added"]
    assert old.info().stamp["feature_version"] == 2
    for key, found in zip([Key("p0", "0.jpg"), Key("p0", "1.jpg")], hits(old, pictures), strict=False):
        assert found[0] == (key, 1.0)


@pytest.mark.extended
def test_it_becomes_what_a_new_one_is(old: Instance, template: Path, tmp_path: Path, pictures: Path) -> None:
    """Features, regions, categories, attributes, places; and it is still the same instance, with nothing left over."""
    created, before = old.created, documents(old.folder)
    assert statuses(reindex(old)) == ["added"] * COUNT
    assert documents(old.folder) == fresh(template, tmp_path, pictures) != before
    info = old.info()
    assert (info.needs_reindex, info.reindexed, info.created, info.region_id) == (False, None, created, "cn-shanghai")
    assert info.stamp == CURRENT.stamp()
    assert info.generation is not None
    assert info.generation.number == 2
    assert {path.name for path in old.folder.glob("index-*")} == {"index-2.faiss"}
    assert not home(old.folder).exists()
    assert Instance.check(old.folder, read_data=True) == []
    assert [found[0][1] for found in hits(old, pictures)][:2] == [1.0, 1.0]
    assert reindex(old) == []


@pytest.mark.extended
def test_version_3_differs_in_colours_only(template: Path, tmp_path: Path, folder: Path, pictures: Path) -> None:
    """Regions and categories are those of today; features are those of its version until they are made anew."""
    make(folder, 3)
    today = fresh(template, tmp_path, pictures)
    with Instance.open(folder) as instance:
        assert instance.needs_reindex
        list(instance.apply(addition(pictures, number) for number in range(COUNT)))
        before = documents(folder)
        assert {key: told for key, (told, _) in before.items()} == {key: told for key, (told, _) in today.items()}
        assert {key: feature for key, (_, feature) in before.items()} != {key: one for key, (_, one) in today.items()}
        assert statuses(reindex(instance)) == ["added"] * COUNT
        assert instance.info().stamp == CURRENT.stamp()
    assert documents(folder) == today


def test_what_a_repair_put_aside_stays_there(old: Instance) -> None:
    with closing(sqlite3.connect(old.folder / DATABASE_NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE features SET feature = zeroblob(512) WHERE id = (SELECT max(id) FROM features)")
    assert len(Instance.repair(old.folder).lost) == 1
    assert statuses(reindex(old)) == ["added"] * (COUNT - 1)
    rows = stored(old.folder, lambda store: store.connection.execute("SELECT pic_name FROM quarantine").fetchall())
    assert rows == [(f"{COUNT - 1}.jpg",)]


@pytest.mark.parametrize("page_bytes", [4096, 8192])
def test_pages_keep_their_size(folder: Path, pictures: Path, page_bytes: int) -> None:
    """The first releases made smaller ones, and SQLite copies onto pages of the same size only."""
    make(folder, 2, page_bytes)
    with Instance.open(folder) as instance:
        list(instance.apply([addition(pictures, 0)]))
        assert statuses(reindex(instance)) == ["added"]
        assert not instance.needs_reindex
    assert stored(folder, lambda store: store.page_bytes) == page_bytes
    assert Instance.check(folder, read_data=True) == []


def test_an_empty_one(folder: Path) -> None:
    make(folder, 2)
    with Instance.open(folder) as instance:
        assert reindex(instance) == []
        assert not instance.needs_reindex
    assert Instance.check(folder) == []


def test_a_version_that_is_no_longer_made(old: Instance, template: Path, tmp_path: Path, pictures: Path) -> None:
    """Its searches say the way out; the way out does not need the old networks."""
    with closing(Engine.open(old.folder, write=True)) as engine, engine.committing() as store:
        store.set_setting("model", {**store.made_by(), "feature_version": 1})
    with pytest.raises(StampMismatch, match=r"of version 1, which .* 'imgsearch add --reindex'"):
        hits(old, pictures)
    assert statuses(reindex(old)) == ["added"] * COUNT
    assert documents(old.folder) == fresh(template, tmp_path, pictures)
    with closing(Engine.open(old.folder, write=True)) as engine, engine.committing() as store:
        store.set_setting("model", {**store.made_by(), "feature_version": FEATURE_VERSION + 1})
    with Instance.open(old.folder) as newer:
        assert not newer.needs_reindex
        with pytest.raises(StampMismatch, match="install a newer imgsearch"):
            hits(newer, pictures)


KILLED = """
import os, signal, sys
from pathlib import Path
from imgsearch import Instance
from imgsearch.jobs import indexing

indexing.COMMIT_ITEMS = 1
with Instance.open(Path(sys.argv[1])) as instance:
    for outcome in instance.reindex_stream(workers=1):
        os.kill(os.getpid(), signal.SIGKILL)
"""
"""At the first outcome, when at most five pictures are under way."""


@pytest.mark.extended
def test_killed_in_the_middle(old: Instance, template: Path, tmp_path: Path, pictures: Path) -> None:
    """The instance is untouched and finds what it found; the next run goes on from there."""
    before, found = documents(old.folder), hits(old, pictures)
    process = child(KILLED, old.folder)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert documents(old.folder) == before
    assert hits(old, pictures) == found
    assert {problem.damage for problem in Instance.check(old.folder, read_data=True)} <= {Damage.LEFTOVER}
    done = old.info().reindexed
    assert done is not None
    assert 0 < done < COUNT
    old.delete("none")  # a writer, which clears away what the killed one left
    assert Instance.check(old.folder, read_data=True) == []
    assert statuses(reindex(old)) == ["unchanged"] * done + ["added"] * (COUNT - done)
    assert documents(old.folder) == fresh(template, tmp_path, pictures)


def test_given_up_in_the_middle(old: Instance, pictures: Path) -> None:
    """Whoever stops reading the stream has changed nothing."""
    before, found = documents(old.folder), hits(old, pictures)
    stream = old.reindex_stream()
    next(stream)
    stream.close()
    assert (documents(old.folder), old.needs_reindex) == (before, True)
    assert hits(old, pictures) == found
    assert Instance.check(old.folder, read_data=True) == []


def test_a_missing_picture_keeps_all_as_it_was(old: Instance, pictures: Path, run: Run) -> None:
    """It is named; what is done needs no picture any more; put back, or deleted from the instance, it is in no way."""
    before = documents(old.folder)
    for number in (2, 4):
        (pictures / f"{number}.jpg").rename(pictures.parent / f"{number}.jpg")
    result = run("add", "--reindex", "--format", "json")
    assert result.returncode == 1
    assert (result.document["Added"], result.document["Reindexed"]) == (COUNT - 2, False)
    failures = [(one["PicName"], one["Code"], Path(one["Source"]).name) for one in result.document["Failures"]]
    assert failures == [("2.jpg", "PictureError", "2.jpg"), ("4.jpg", "PictureError", "4.jpg")]
    assert "is unchanged and keeps" in result.stderr
    assert documents(old.folder) == before
    assert run("info").document["Reindexed"] == COUNT - 2
    for path in pictures.iterdir():
        path.unlink()
    (pictures.parent / "2.jpg").rename(pictures / "2.jpg")
    old.delete("p2", "4.jpg")
    again = run("add", "--reindex", "--format", "json")
    assert again.returncode == 0, again.stderr
    counts = {name: again.document[name] for name in ("Added", "Unchanged", "Failed", "Reindexed")}
    assert counts == {"Added": 1, "Unchanged": COUNT - 2, "Failed": 0, "Reindexed": True}
    assert set(documents(old.folder)) == {Key(f"p{n // 2}", f"{n}.jpg") for n in range(COUNT) if n != 4}
    assert Instance.check(old.folder, read_data=True) == []


def test_a_picture_that_came_from_nowhere(old: Instance) -> None:
    """What was imported, from OSS or from files, does not say where it lies."""
    list(old.apply([AddPicture("one", Key("o", "o.jpg"), Bytes(jpeg(30)))]))
    *_, last = reindex(old)
    assert (last.status, last.product_id, last.error.code if last.error else None) == (
        Status.FAILED,
        "o",
        "PictureError",
    )
    assert "location of this picture is unknown" in str(last.error)
    assert old.needs_reindex


@pytest.mark.extended
def test_what_changes_between_two_runs(old: Instance, tmp_path: Path, pictures: Path) -> None:
    """The instance is the truth: added, replaced, deleted and changed items are so in what takes its place."""
    (pictures / "5.jpg").rename(pictures.parent / "5.jpg")
    assert statuses(reindex(old)) == ["added"] * (COUNT - 1) + ["failed"]
    (pictures.parent / "5.jpg").rename(pictures / "5.jpg")
    (pictures / "0.jpg").write_bytes(jpeg(20))
    (pictures / "7.jpg").write_bytes(jpeg(7))
    changes = [addition(pictures, 0), addition(pictures, 7), addition(pictures, 3, str_attr="new")]
    recategorised = replace(addition(pictures, 1), options=PictureOptions(category_id=4))
    list(old.apply([*changes, recategorised, DeletePictures("", "p1", "2.jpg")]))
    (pictures / "4.jpg").write_bytes(jpeg(21))  # unknown to the instance: taken as it is now, where it is not done yet
    done = {outcome.pic_name: str(outcome.status) for outcome in reindex(old)}
    assert done == {
        "0.jpg": "replaced",
        "1.jpg": "replaced",
        "3.jpg": "replaced",
        "4.jpg": "unchanged",
        "5.jpg": "added",
        "7.jpg": "added",
    }
    (pictures / "4.jpg").write_bytes(jpeg(4))
    make(tmp_path / "fresh", FEATURE_VERSION)
    with Instance.open(tmp_path / "fresh") as instance:
        others = [addition(pictures, number) for number in (4, 5)]
        list(instance.apply([*changes, recategorised, *others]))
    assert documents(old.folder) == documents(tmp_path / "fresh")
    assert Instance.check(old.folder, read_data=True) == []


def test_a_picture_is_taken_as_it_is_now(old: Instance, pictures: Path) -> None:
    (pictures / "0.jpg").write_bytes(jpeg(22))
    assert statuses(reindex(old)) == ["added"] * COUNT
    assert hits(old, pictures)[0][0] == (Key("p0", "0.jpg"), 1.0)


@pytest.mark.extended
def test_who_opened_it_before_notices(old: Instance, pictures: Path, template: Path, tmp_path: Path) -> None:
    """A search prepared for the old features is refused; what begins anew, a writer too, goes with the new ones."""
    with Instance.open(old.folder) as reader, Instance.open(old.folder) as writer, Instance.open(old.folder) as export:
        with reader.searching() as searcher:
            picture, key = FilePicture(pictures / "0.jpg"), Key("p0", "0.jpg")
            assert searcher.by_picture(picture).hits[0].item.key == key
            with reader._opened.engine.store.reading():
                assert reader._opened.engine.store.made_by()["feature_version"] == 2
                reindex(old)
                assert reader._opened.engine.store.made_by()["feature_version"] == 2, "a snapshot stays what it is"
            for search in (lambda: searcher.by_picture(picture), lambda: searcher.by_name(key)):
                with pytest.raises(StampMismatch, match="recomputed while this search was prepared: search again"):
                    search()
        with reader.searching() as searcher:
            assert searcher.by_picture(picture).hits[0].score == searcher.by_name(key).hits[0].score == 1.0
        assert statuses(list(writer.apply([addition(pictures, 0)]))) == ["unchanged"]
        (pictures / "1.jpg").write_bytes(jpeg(1) + b" ")  # other bytes, the same pixels
        assert statuses(list(writer.apply([addition(pictures, 1)]))) == ["replaced"]
        features = {key: feature for key, (_, feature) in documents(old.folder).items()}
        assert features == {key: feature for key, (_, feature) in fresh(template, tmp_path, pictures).items()}
        export.export(tmp_path / "export")
        assert json.loads((tmp_path / "export" / "stamp.json").read_text())["feature_version"] == FEATURE_VERSION


def test_an_export_of_the_old_features_is_refused_afterwards(old: Instance, tmp_path: Path) -> None:
    old.export(tmp_path / "export")
    with Instance.open(old.folder) as other:
        reindex(old)
        with pytest.raises(StampMismatch):
            other.import_items(tmp_path / "export")


def test_deleting_for_good_reaches_what_was_begun(old: Instance, pictures: Path) -> None:
    """After a deletion, or a replacement, and a rebuild no file holds the feature, old or new."""
    (pictures / "5.jpg").unlink()
    reindex(old)
    made = documents(home(old.folder))
    (pictures / "3.jpg").write_bytes(jpeg(23))
    list(old.apply([addition(pictures, 3)]))
    old.delete("p0", "0.jpg")
    old.rebuild()
    assert set(documents(home(old.folder))) == {Key("p0", "1.jpg"), Key("p1", "2.jpg"), Key("p2", "4.jpg")}
    written = [path.read_bytes() for path in old.folder.rglob("*") if path.is_file()]
    for key in (Key("p0", "0.jpg"), Key("p1", "3.jpg")):
        feature = as_stored(made[key][1])
        assert not any(feature in data for data in written)
    assert any(as_stored(made[Key("p2", "4.jpg")][1]) in data for data in written)


def as_stored(feature: bytes) -> bytes:
    """In half precision."""
    return np.frombuffer(feature, np.float32).astype("<f2").tobytes()


def test_what_was_begun_is_no_leftover_and_what_is_over_is_one(old: Instance, pictures: Path) -> None:
    """A kill right behind the commit leaves the folder, whose model is then the instance's own."""
    (pictures / "5.jpg").rename(pictures.parent / "5.jpg")
    reindex(old)
    assert Instance.check(old.folder) == []
    kept = Path(shutil.copytree(home(old.folder), pictures.parent / "kept"))
    (pictures.parent / "5.jpg").rename(pictures / "5.jpg")
    reindex(old)
    shutil.copytree(kept, home(old.folder))
    assert [(problem.damage, problem.file) for problem in Instance.check(old.folder)] == [
        (Damage.LEFTOVER, home(old.folder))
    ]
    (home(old.folder) / "of somebody.txt").write_text("kept")
    old.delete("none")
    assert [path.name for path in home(old.folder).iterdir()] == ["of somebody.txt"]
    assert Instance.check(old.folder) == []


def test_other_files_in_its_place_are_left_alone(old: Instance) -> None:
    home(old.folder).mkdir()
    (home(old.folder) / "picture.jpg").write_bytes(b"somebody's")
    with pytest.raises(InstanceExists, match="move them"):
        reindex(old)
    assert (home(old.folder) / "picture.jpg").read_bytes() == b"somebody's"


def test_what_another_release_had_begun_is_begun_anew(old: Instance, pictures: Path) -> None:
    (pictures / "5.jpg").rename(pictures.parent / "5.jpg")
    reindex(old)
    with closing(Engine.open(home(old.folder), write=True)) as engine, engine.committing() as store:
        store.set_setting("model", {**store.made_by(), "input_size": 200})
    assert statuses(reindex(old)) == ["added"] * (COUNT - 1) + ["failed"]
    assert stored(home(old.folder), lambda store: store.made_by()["input_size"]) == CURRENT.input_size


@pytest.mark.extended
def test_damage_in_what_was_begun_takes_no_place(old: Instance, pictures: Path, run: Run) -> None:
    """It is told with the way out, and the instance stays as it was."""
    (pictures / "5.jpg").rename(pictures.parent / "5.jpg")
    reindex(old)
    before = documents(old.folder)
    (pictures.parent / "5.jpg").rename(pictures / "5.jpg")
    with closing(sqlite3.connect(home(old.folder) / DATABASE_NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE features SET feature = zeroblob(512) WHERE id = 2")
    result = run("add", "--reindex", "--quiet")
    assert (result.returncode, "the old ones stay" in result.stderr) == (6, True)
    assert documents(old.folder) == before
    assert run("check", "--repair", "-i", home(old.folder)).returncode == 0
    assert run("add", "--reindex").returncode == 0
    assert run("check", "--read-data").returncode == 0
    assert run("info").document["NeedsReindex"] is False


def test_nothing_to_do(instance: Instance, run: Run) -> None:
    result = run("add", "--reindex", "--format", "json")
    assert (result.returncode, result.document["Reindexed"]) == (0, True)
    assert "already has the features of this release" in result.stderr
    assert not home(instance.folder).exists()
    assert run("add", "--reindex", "-i", instance.folder / "none").returncode == 4


@pytest.mark.parametrize(
    "words", [["a.jpg"], ["--manifest", "m"], ["--product-id", "p"], ["--model", "efficientnet-lite0"], ["--no-crop"]]
)
def test_it_takes_no_pictures_nor_what_they_are_asked_for(instance: Instance, run: Run, words: list[str]) -> None:
    result = run("add", "--reindex", *words)
    assert (result.returncode, "--reindex reads the pictures from their original locations" in result.stderr) == (
        2,
        True,
    )
