"""Tuning an instance: kept only where products gain, undone as well, and never half seen by anybody."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgsearch import Attributes, FilePicture, Instance, Key, Kind, SearchOptions, Status
from imgsearch.errors import InstanceDamaged, InstanceEmpty, InvalidExport, ItemNotFound, NotTunable, StampMismatch
from imgsearch.projection import Projection, learned, within_scatter
from imgsearch.quantization import quantised
from imgsearch.search.ranking import Hit, Query, Ranker
from imgsearch.search.score import Calibration
from imgsearch.service.categories import OTHER
from imgsearch.sources.files import FileRequest, operations
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.problems import Damage
from imgsearch.storage.records import PROJECTION, TUNED
from imgsearch.storage.sqlite.settings import SETTING_TABLES
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.transfer.file_format import FEATURES_NAME, STAMP_NAME, TUNING_NAME
from imgsearch.types import AddPicture, Extracted
from imgsearch.values import PictureOptions
from imgsearch.vision.models import COLOUR_DIMENSION, DEFAULT_MODEL, EMBEDDED_MODELS, ModelRecord
from imgsearch.vision.trained_weights import COLOUR, load_parameters
from tests.conftest import ROOT
from tests.storage.arithmetic import DIMENSION, ArithmeticInstance, Sight, feature_of, region_of
from tests.storage.builders import CALIBRATION, Features, at_work, change, of_products, scattered

SHAPE = EMBEDDED_MODELS[DEFAULT_MODEL].shape_dimension
PRODUCTS, PICTURES = 14, 3
FEATURES = of_products(PRODUCTS, PICTURES, view=0.5)
"""Which gain by tuning."""
HALF = 2.0**-11
UNKNOWN = b"another picture"
"""The content of a query that is no item's picture."""


def make(
    folder: Path,
    features: Features,
    products: list[str] | None = None,
    contents: list[int] | None = None,
    **options: Any,
) -> Path:
    """An instance of these pictures with an index; three of each product, and all different, unless told otherwise."""
    Instance.create(folder, Kind.GENERIC, **options)
    with closing(Engine.open(folder, write=True)) as engine:
        with engine.committing() as store:
            for number, feature in enumerate(features):
                product = products[number] if products else f"p{number // PICTURES}"
                content = (contents[number] if contents else number).to_bytes(16, "big")
                store.upsert(change(product, f"{number}.jpg", feature, content=content, category=OTHER))
        if len(features):
            engine.rebuild()
    return folder


def tune(folder: Path) -> Any:
    with Instance.open(folder) as instance:
        return instance.tune()


def reset(folder: Path) -> bool:
    with Instance.open(folder) as instance:
        return instance.reset_tuning()


def features_of(folder: Path) -> Features:
    """All that are stored, by id."""
    with closing(Engine.open(folder)) as engine:
        return np.concatenate([some for _, some in engine.store.features()]).astype(np.float32)


def tuning_of(folder: Path) -> Projection | None:
    with closing(Engine.open(folder)) as engine:
        return engine.store.tuning()


def state(folder: Path) -> dict[str, bytes]:
    """Everything that a tuning would change."""
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        dump = "\n".join(connection.iterdump()).encode()
    return {"": dump} | {path.name: path.read_bytes() for path in folder.glob("index-*")}


def names(hits: list[Hit]) -> list[str]:
    return [hit.item.key.pic_name for hit in hits]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuned instance, not to be changed."""
    folder = make(tmp_path_factory.mktemp("kept") / "instance", FEATURES)
    assert tune(folder).kept
    return folder


@pytest.fixture
def tuned(kept: Path, tmp_path: Path) -> Path:
    """A tuned instance."""
    return Path(shutil.copytree(kept, tmp_path / "tuned"))


def test_blocks_are_as_the_model_makes_them() -> None:
    """What the registry says of a feature's blocks is what the parameters give."""
    assert load_parameters(COLOUR)["projection"].shape[1] == COLOUR_DIMENSION
    assert SHAPE + COLOUR_DIMENSION == DIMENSION
    old = EMBEDDED_MODELS[DEFAULT_MODEL].as_dict() | {"feature_version": 2}
    assert ModelRecord.from_dict(old).shape_dimension == 0


# Kept, or not


def test_a_catalogue_that_gains(folder: Path) -> None:
    """Features, index and stamp are the tuned ones; the figures say what was gained, and everything is sound."""
    make(folder, FEATURES)
    report = tune(folder)
    assert (report.kept, report.changed) == (True, True)
    assert (report.products, report.pictures, report.queries) == (PRODUCTS, len(FEATURES), len(FEATURES))
    assert report.gain.mean_average_precision.low > 0
    gain = report.after.mean_average_precision.mean - report.before.mean_average_precision.mean
    assert report.gain.mean_average_precision.mean == pytest.approx(gain)
    assert report.after.hit1.mean > report.before.hit1.mean

    scatter = within_scatter(FEATURES[:, :SHAPE], np.arange(len(FEATURES)) // PICTURES)
    tuning = tuning_of(folder)
    assert tuning is not None
    assert tuning.is_near(learned(*scatter))
    wanted = tuning.applied(FEATURES).astype(np.float16).astype(np.float32)
    assert np.abs(features_of(folder) - wanted).max() < 1e-4
    with Instance.open(folder) as instance:
        info = instance.info()
    assert info.stamp["tuning"] == f"tuned {tuning.name}" == f"tuned {report.tuning}"
    assert (info.generation, info.unindexed) == (report.generation, 0)
    assert Instance.check(folder, read_data=True) == []


@pytest.mark.extended
@pytest.mark.parametrize("case", ["isotropic", "dealt at random"])
def test_a_catalogue_that_does_not_gain(folder: Path, case: str) -> None:
    """Nothing is changed, no byte of it, and the figures say why."""
    if case == "isotropic":
        make(folder, scattered(150, dimension=DIMENSION))
    else:
        dealt = [f"p{number}" for number in np.random.default_rng(3).permutation(300) % 20]
        make(folder, of_products(100, 3, view=0.2), dealt)
    before = state(folder)
    report = tune(folder)
    assert (report.kept, report.changed, report.tuning, report.generation) == (False, False, None, None)
    assert not report.gain.mean_average_precision.low > 0
    assert state(folder) == before


@pytest.mark.extended
def test_further_pictures_gain(folder: Path) -> None:
    """Query pictures that nothing was learned from find their product more often than before."""
    seen = np.arange(160) % 4 > 0
    pictures = of_products(40, 4, view=0.5)
    make(folder, pictures[seen])

    def right() -> int:
        with closing(Engine.open(folder)) as engine:
            found = [Ranker(engine).search(Query(one, UNKNOWN), CALIBRATION, num=1).hits[0] for one in pictures[~seen]]
        return sum(hit.item.key.product_id == f"p{number}" for number, hit in enumerate(found))

    before = right()
    assert tune(folder).kept
    assert right() > before + 4


def test_identical_pictures_are_no_evidence(folder: Path) -> None:
    """Copies of one file say nothing of how pictures of a product differ."""
    copies = FEATURES[:15].repeat(2, axis=0)
    make(folder, copies, [f"p{n // 2}" for n in range(30)], [n // 2 for n in range(30)])
    before = state(folder)
    with pytest.raises(NotTunable, match="has 0 products with several different pictures, but tuning needs 10"):
        tune(folder)
    assert state(folder) == before


def test_too_few_products(folder: Path) -> None:
    """It is told how many there are and how many it takes; nothing is changed."""
    make(folder, FEATURES[:27], [f"p{n // 3}" for n in range(27)])
    before = state(folder)
    with pytest.raises(NotTunable, match=r"has 9 products .* needs 10: nothing has changed"):
        tune(folder)
    assert state(folder) == before


def test_what_cannot_be_tuned(tmp_path: Path) -> None:
    """Codes, features of an older version, and nothing at all."""
    for coding, bits in (("codes", 2), ("4-bit", 4)):
        Instance.create(tmp_path / coding, features=coding)  # type: ignore[arg-type]
        with pytest.raises(NotTunable, match=f"codes of {bits} bits"):
            tune(tmp_path / coding)
    with pytest.raises(InstanceEmpty, match="add pictures first"):
        tune(make(tmp_path / "empty", FEATURES[:0]))
    old = make(tmp_path / "old", FEATURES)
    with closing(Engine.open(old, write=True)) as engine, engine.committing() as store:
        store.set_setting("model", store.settings()["model"] | {"feature_version": 2})
    with pytest.raises(NotTunable, match="older version"):
        tune(old)


# Undone, and done again


def test_reset(tuned: Path) -> None:
    """Features are what they were to within the stated bound; the instance says nothing of a tuning any more."""
    tuning = tuning_of(tuned)
    assert tuning is not None
    assert reset(tuned)
    again = features_of(tuned)
    errors = np.linalg.norm((again - FEATURES)[:, :SHAPE], axis=1)
    assert (errors <= (tuning.condition + 1) * HALF * np.linalg.norm(FEATURES[:, :SHAPE], axis=1)).all()
    assert np.array_equal(again[:, SHAPE:], FEATURES[:, SHAPE:])
    with Instance.open(tuned) as instance:
        assert "tuning" not in instance.info().stamp
    assert Instance.check(tuned, read_data=True) == []
    before = state(tuned)
    assert not reset(tuned)
    assert state(tuned) == before


def test_tuning_again_changes_nothing(tuned: Path) -> None:
    """It begins with what was not tuned, comes to the same projection, and leaves everything as it is."""
    before = state(tuned)
    report = tune(tuned)
    assert (report.kept, report.changed, report.generation) == (True, False, None)
    assert report.tuning is not None
    assert state(tuned) == before


@pytest.mark.extended
def test_tuning_again_with_other_pictures(tuned: Path, folder: Path) -> None:
    """What is learned from a tuned instance is what would be learned if it had never been tuned."""
    further = of_products(20, 3, view=0.3, seed=5)
    turned = np.roll(further[:, :SHAPE], 20, axis=1)  # they differ in other directions
    further = np.concatenate([turned, further[:, SHAPE:]], axis=1)
    both = np.concatenate([FEATURES, further])
    first = tuning_of(tuned)
    assert first is not None
    with closing(Engine.open(tuned, write=True)) as engine, engine.committing() as store:
        for number, feature in enumerate(further, len(FEATURES)):
            content = number.to_bytes(16, "big")
            store.upsert(
                change(
                    f"p{number // PICTURES}", f"{number}.jpg", first.applied(feature), content=content, category=OTHER
                )
            )
    assert tune(tuned).changed
    assert tune(make(folder, both)).changed
    one, other = tuning_of(tuned), tuning_of(folder)
    assert one is not None
    assert other is not None
    assert one.is_near(other)
    assert not one.is_near(first)
    assert np.abs(features_of(tuned) - features_of(folder)).max() < 2e-3


def test_eight_bits_are_enough_to_be_tuned(tmp_path: Path) -> None:
    """What is stored are codes of the tuned features; after a reset, they are next to what they were."""
    folder = tmp_path / "instance"
    Instance.create(folder, Kind.GENERIC, features="8-bit")
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        for number, one in enumerate(FEATURES):
            content = number.to_bytes(16, "big")
            store.upsert(change(f"p{number // PICTURES}", f"{number}.jpg", one, content=content, category=OTHER))
    before = features_of(folder)
    report = tune(folder)
    assert report.kept
    projection = tuning_of(folder)
    assert projection is not None
    tuned = features_of(folder)
    assert np.array_equal(tuned, quantised(projection.applied(before), 8))
    assert not Instance.check(folder, read_data=True)
    assert reset(folder)
    assert np.einsum("ij,ij->i", features_of(folder), before).min() > 0.9999


@pytest.mark.extended
def test_reset_of_the_sample_catalogue(folder: Path) -> None:
    """After tuning and reset, every sample query finds what it found before, in the same order."""
    Instance.create(folder, Kind.GENERIC)
    request = FileRequest(product_from="parent")

    def found() -> list[list[str]]:
        with closing(Engine.open(folder)) as engine:
            return [
                names(Ranker(engine).search(Query(query.feature, query.content_hash), CALIBRATION, num=5).hits)
                for query in queries
            ]

    with Instance.open(folder) as instance:
        assert all(
            outcome.error is None
            for outcome in instance.apply(operations([ROOT / "sample_data" / "catalogue"], request))
        )
        pictures = [FilePicture(path) for path in sorted((ROOT / "sample_data" / "queries").glob("*.jpg"))]
        queries = [
            one
            for one in instance.analyse((picture, PictureOptions()) for picture in pictures)
            if isinstance(one, Extracted)
        ]
    assert len(queries) == len(pictures) > 30
    before, plain = found(), features_of(folder)
    with closing(Engine.open(folder, write=True)) as engine:
        products = [item.key.product_id for item in engine.store.all_stored_records()]
        numbers = np.unique(products, return_inverse=True)[1]
        engine.retune(learned(*within_scatter(plain[:, :SHAPE], numbers)))
        assert np.abs(features_of(folder) - plain).max() > 0.01
        engine.retune(None)
    assert np.abs(features_of(folder) - plain).max() < 2e-4
    assert found() == before


# Searching and adding


GENTLE = Calibration(1.0, 0.0)
"""A curve on which cosines near to 1 are told apart."""


def nearest(engine: Engine, query: Query) -> tuple[str, float]:
    """The first hit, and how near it is."""
    hit = Ranker(engine).search(query, GENTLE, num=1).hits[0]
    return hit.item.key.pic_name, hit.score


def test_an_open_searcher_sees_the_same_state_as_the_items(folder: Path) -> None:
    """Whoever opened the instance before compares tuned queries with tuned items afterwards, and back."""
    make(folder, FEATURES)
    asked = Query(FEATURES[5], UNKNOWN)
    with closing(Engine.open(folder)) as early:

        def found() -> tuple[str, float]:
            with closing(Engine.open(folder)) as late:
                assert nearest(late, asked) == nearest(early, asked)
            return nearest(early, asked)

        first = found()
        tune(folder)
        second = found()
        mixed = nearest(early, replace(asked, item_id=None, feature=tuning_of(folder).undone(asked.feature)))  # type: ignore[union-attr]
        assert (first[0], second[0]) == ("5.jpg", "5.jpg")
        assert mixed[1] < second[1] - 0.02
        reset(folder)
        assert found()[1] == pytest.approx(first[1], abs=1e-3)


@pytest.mark.extended
def test_searches_beside_a_tuning_see_one_state(folder: Path) -> None:
    """While another process tunes and resets, each answer is that of one state or the other, and of no mixture."""
    make(folder, FEATURES)
    asked = Query(FEATURES[7], UNKNOWN)
    with closing(Engine.open(folder)) as engine:
        scores = [nearest(engine, asked)[1]]
        tuning = tune(folder).tuning
        scores.append(nearest(engine, asked)[1])
        reset(folder)
    assert tuning is not None
    assert abs(scores[1] - scores[0]) > 0.01
    code = """
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from imgsearch.storage.engine import Engine
from imgsearch.projection import Projection
with closing(Engine.open(Path(sys.argv[1]), write=True)) as engine:
    projection = Projection.from_text(sys.argv[2])
    print("ready", flush=True)
    for _ in range(20):
        engine.retune(projection)
        engine.retune(None)
"""
    tune(folder)
    projection = tuning_of(folder)
    assert projection is not None
    seen = set()
    with (
        at_work(code, folder, projection.as_text(), told="ready") as process,
        closing(Engine.open(folder)) as engine,
    ):
        while process.poll() is None:
            name, score = nearest(engine, asked)
            differences = [abs(score - known) for known in scores]
            assert (name, min(differences) < 2e-3) == ("7.jpg", True)
            seen.add(int(np.argmin(differences)))
    assert process.returncode == 0
    assert seen == {0, 1}


def test_a_stored_picture_is_taken_as_it_is(tuned: Path) -> None:
    """Searching with it compares its stored feature; one that is gone meanwhile is told."""
    with Instance.open(tuned) as instance:
        with instance.searching() as searcher:
            hits = searcher.by_name(Key("p2", "7.jpg"), search=SearchOptions(num=5)).hits
        item = instance.item(Key("p2", "7.jpg"))
    assert (hits[0].item.id, hits[0].identical) == (item.id, True)
    plain = features_of(tuned)
    order = np.argsort(-(plain @ plain[7]))
    with closing(Engine.open(tuned)) as engine:
        query = Query(plain[7], UNKNOWN, item_id=item.id)
        assert names(Ranker(engine).search(query, CALIBRATION, num=1).hits) == [f"{order[0]}.jpg"]
        with pytest.raises(ItemNotFound, match="no longer"):
            Ranker(engine).search(Query(plain[7], UNKNOWN, item_id=10_000), CALIBRATION, num=1)


def test_new_pictures_go_the_way_of_the_stored_ones(tuned: Path) -> None:
    """A picture that is added is tuned, is found by itself, and is unchanged when it is added again."""
    tuning = tuning_of(tuned)
    assert tuning is not None
    added = AddPicture("one", Key("new", "1.jpg"), Sight(3, has_token=True))
    with ArithmeticInstance.open(tuned) as instance:
        assert [outcome.status for outcome in instance.apply([added])] == [Status.ADDED]
        assert [outcome.status for outcome in instance.apply([added])] == [Status.UNCHANGED]
        feature = feature_of(3, region_of(PictureOptions()))
        wanted = tuning.applied(feature).astype(np.float16)
        assert np.array_equal(features_of(tuned)[-1], wanted)
        moved = AddPicture("one", added.key, added.picture, attributes=Attributes(int_attr=5))
        assert [outcome.status for outcome in instance.apply([moved])] == [Status.REPLACED]
        assert np.array_equal(features_of(tuned)[-1], wanted)
    with closing(Engine.open(tuned)) as engine:
        hit = Ranker(engine).search(Query(feature, UNKNOWN), CALIBRATION, num=1).hits[0]
    assert hit.item.key == added.key


def test_rebuild_and_delete_keep_it(tuned: Path) -> None:
    """The index is made of what is stored, and an emptied instance still knows its tuning."""
    tuning, before = tuning_of(tuned), features_of(tuned)
    assert tuning is not None
    with Instance.open(tuned) as instance:
        instance.rebuild()
        assert np.array_equal(features_of(tuned), before)
        instance.delete("p3")
        assert len(features_of(tuned)) == len(before) - PICTURES
        for number in range(PRODUCTS):
            instance.delete(f"p{number}")
        assert instance.info().stamp["tuning"] == f"tuned {tuning.name}"
        assert instance.reset_tuning()
        assert "tuning" not in instance.info().stamp
    assert Instance.check(tuned, read_data=True) == []


# Out and in again


def export(folder: Path, target: Path) -> Path:
    with Instance.open(folder) as instance:
        assert instance.export(target) == instance.count()
    return target


def statuses(folder: Path, source: Path) -> set[Status]:
    with Instance.open(folder) as instance:
        return {outcome.status for outcome in instance.import_items(source)}


def test_an_empty_instance_takes_over_a_tuning(tuned: Path, tmp_path: Path) -> None:
    """Every bit of every feature, and the projection; the same again is unchanged."""
    out = export(tuned, tmp_path / "out")
    assert (out / TUNING_NAME).stat().st_mode & 0o777 == 0o600
    target = make(tmp_path / "to", FEATURES[:0])
    assert statuses(target, out) == {Status.ADDED}
    assert np.array_equal(features_of(target), features_of(tuned))
    one, other = tuning_of(target), tuning_of(tuned)
    assert one is not None
    assert other is not None
    assert one.name == other.name
    assert np.array_equal(np.load(out / TUNING_NAME), one.matrix)
    assert statuses(target, out) == {Status.UNCHANGED}
    assert statuses(tuned, out) == {Status.UNCHANGED}


def test_features_that_are_not_tuned_go_through_the_tuning(tuned: Path, tmp_path: Path) -> None:
    """As added pictures do; what is there already is seen to be the same."""
    plain = make(tmp_path / "plain", FEATURES)
    further = make(tmp_path / "further", of_products(3, 3, view=0.5, seed=2), [f"q{n}" for n in range(9)])
    tuning = tuning_of(tuned)
    assert tuning is not None
    assert statuses(tuned, export(plain, tmp_path / "out")) == {Status.UNCHANGED}
    assert statuses(tuned, export(further, tmp_path / "more")) == {Status.ADDED}
    wanted = tuning.applied(features_of(further)).astype(np.float16)
    assert np.array_equal(features_of(tuned)[len(FEATURES) :], wanted)


@pytest.mark.extended
def test_another_tuning_is_refused(tuned: Path, tmp_path: Path) -> None:
    """Where there are items of another one, or of none, with the way out; nothing is changed."""
    out = export(tuned, tmp_path / "out")
    plain = make(tmp_path / "plain", FEATURES)
    other = make(tmp_path / "other", of_products(20, 3, view=0.3, seed=4))
    assert tune(other).kept
    for target, words in ((plain, "are not"), (other, "differently")):
        before = state(target)
        with pytest.raises(StampMismatch, match=f"{words}.*tune --reset") as caught:
            statuses(target, out)
        assert caught.value.exit_code == 6
        assert state(target) == before


def _save_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, np.eye(SHAPE, dtype=np.float16))


def test_a_tuning_file_that_is_not_the_one(tuned: Path, tmp_path: Path) -> None:
    """Missing, cut off, or another one than the stamp names: told before anything is done."""
    out = export(tuned, tmp_path / "out")
    data = (out / TUNING_NAME).read_bytes()
    other = learned(*within_scatter(scattered(30, dimension=SHAPE), np.arange(30) // 3))
    target = make(tmp_path / "to", FEATURES[:0])
    before = state(target)
    for alter, words in (
        (lambda: (out / TUNING_NAME).write_bytes(data[:500]), "is not a tuning"),
        (lambda: np.save(out / TUNING_NAME, np.eye(5)), "is not a tuning"),
        (lambda: _save_archive(out / TUNING_NAME), "is not a tuning"),
        (lambda: (out / TUNING_NAME).write_bytes(b"\x93NUMPY\x01\x00\x02\x00{{"), "is not a tuning"),
        (lambda: np.save(out / TUNING_NAME, np.eye(5, dtype=np.float16)), "is not the tuning"),
        (lambda: np.save(out / TUNING_NAME, other.matrix), "is not the tuning"),
        ((out / TUNING_NAME).unlink, "cannot be read"),
    ):
        alter()
        with pytest.raises(InvalidExport, match=words):
            statuses(target, out)
        assert state(target) == before
    assert {path.name for path in out.iterdir()} > {FEATURES_NAME, STAMP_NAME}


# Damage


def damage(folder: Path, name: str, tables: tuple[str, ...]) -> None:
    """Alter a character in the middle of a setting's value."""
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        for table in tables:
            (value,) = connection.execute(f"SELECT value FROM {table} WHERE name = ?", (name,)).fetchone()
            middle = len(value) // 2
            altered = value[:middle] + chr(ord(value[middle]) ^ 1) + value[middle + 1 :]
            connection.execute(f"UPDATE {table} SET value = ? WHERE name = ?", (altered, name))
        connection.commit()


@pytest.mark.parametrize("name", [TUNED, PROJECTION])
@pytest.mark.parametrize("table", SETTING_TABLES)
def test_one_copy_of_a_tuning_is_damaged(tuned: Path, name: str, table: str) -> None:
    """It is told, and a repair has the other copy."""
    tuning, before = tuning_of(tuned), features_of(tuned)
    assert tuning is not None
    damage(tuned, name, (table,))
    assert {problem.damage for problem in Instance.check(tuned)} == {Damage.SETTINGS}
    repair = Instance.repair(tuned)
    assert (repair.lost, repair.problems) == ([], [])
    again = tuning_of(tuned)
    assert again is not None
    assert again.name == tuning.name
    assert np.array_equal(features_of(tuned), before)


def test_both_copies_of_a_tuning_are_damaged(tuned: Path) -> None:
    """The name follows from the projection. Without that, nothing is answered, and a repair does not pass over it."""
    name = tuning_of(tuned).name  # type: ignore[union-attr]
    damage(tuned, TUNED, SETTING_TABLES)
    assert Instance.repair(tuned).problems == []
    assert tuning_of(tuned).name == name  # type: ignore[union-attr]
    with closing(Engine.open(tuned)) as engine:
        damage(tuned, PROJECTION, SETTING_TABLES)
        assert {problem.damage for problem in Instance.check(tuned)} == {Damage.SETTINGS}
        with pytest.raises(InstanceDamaged):
            Ranker(engine).search(Query(FEATURES[0], UNKNOWN), CALIBRATION, num=1)
    before = state(tuned)
    with pytest.raises(InstanceDamaged, match="lost both copies of its tuning"):
        Instance.repair(tuned)
    assert state(tuned) == before


def test_a_projection_that_is_not_the_named_one(tuned: Path) -> None:
    """Both settings are what was written, and do not belong together."""
    with closing(Engine.open(tuned, write=True)) as engine, engine.committing() as store:
        store.set_setting(TUNED, "0" * 16)
    (problem,) = Instance.check(tuned)
    assert (problem.damage, "tuning" in problem.message) == (Damage.SETTINGS, True)
    with closing(Engine.open(tuned)) as engine, pytest.raises(InstanceDamaged, match="tuning"):
        Ranker(engine).search(Query(FEATURES[0], UNKNOWN), CALIBRATION, num=1)
    assert Instance.repair(tuned).problems == []
