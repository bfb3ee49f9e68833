"""Instances of each released format: opened, migrated, searched and written as if they had been made today.

They lie in ``tests/formats``, made once by the release that wrote them (``make.py`` there); tests work on copies.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgsearch.errors import NewerFormat, OlderFormat, StorageUnwritable
from imgsearch.filters.tree import EVERYTHING
from imgsearch.instance import Instance
from imgsearch.quantization import HALF, quantised
from imgsearch.search.options import SearchOptions
from imgsearch.search.ranking import Ranker
from imgsearch.storage.checksum import register
from imgsearch.storage.engine import Engine
from imgsearch.storage.lock import LOCK_NAME
from imgsearch.storage.sqlite.schema import (
    APPLICATION_ID,
    FORMAT_VERSION,
    MIGRATIONS,
    PACKED_VERSION,
    SchemaEntry,
    expected_schema,
    schema_of,
)
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.types import Item, Status
from imgsearch.values import Attributes, Key, Location, Region, RegionMode
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS
from tests.storage.builders import (
    CALIBRATION,
    ROOT,
    Features,
    change,
    child,
    finished,
    query,
    ranking_similarities,
    started_together,
)

FORMATS = ROOT / "tests" / "formats"
VERSIONS = sorted(int(path.parent.name) for path in FORMATS.glob("*/truth.json"))
DIMENSION = EMBEDDED_MODELS[DEFAULT_MODEL].dimension


class Old:
    """A copy of the instance of one format, and what was put into it."""

    def __init__(self, version: int, target: Path) -> None:
        self.version = version
        self.folder = Path(shutil.copytree(FORMATS / str(version) / "instance", target))
        self.database = self.folder / DATABASE_NAME
        truth: list[dict[str, Any]] = json.loads((FORMATS / str(version) / "truth.json").read_text("utf-8"))
        self.truth = sorted(truth, key=lambda one: one["id"])

    @property
    def keys(self) -> list[Key]:
        return [Key(one["product_id"], one["pic_name"]) for one in self.truth]

    @property
    def features(self) -> Features:
        """By rising id, shape (n, dimension)."""
        data = bytes.fromhex("".join(one["feature"] for one in self.truth))
        given = np.frombuffer(data, "<f2").astype(np.float32).reshape(len(self.truth), DIMENSION)
        return quantised(given, self.bits)

    @property
    def bits(self) -> int:
        """Of each number of a feature."""
        return 8 if self.version == PACKED_VERSION else HALF

    def items(self) -> list[Item]:
        return [
            Item(
                id=one["id"],
                key=key,
                category_id=one["category_id"],
                region=Region(*one["region"]),
                region_mode=RegionMode(one["region_mode"]),
                category_given=one["category_given"],
                content_hash=bytes.fromhex(one["content_hash"]),
                token=None if one["token"] is None else bytes.fromhex(one["token"]),
                attributes=Attributes(**one["attributes"]),
                location=None if one["location"] is None else Path(one["location"]),
                subjects=(Region(*one["region"]), Region(0, 9, 0, 9)) if one["region_mode"] == 0 else (),
                picture_hash=bytes.fromhex(one["picture_hash"]) if "picture_hash" in one else None,
            )
            for one, key in zip(self.truth, self.keys, strict=True)
        ]

    def stored_version(self) -> int:
        with closing(sqlite3.connect(self.database)) as connection:
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return version


@pytest.fixture(params=VERSIONS, ids=lambda version: f"format {version}")
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    """An instance of each format that was ever released."""
    return Old(request.param, tmp_path / "instance")


@pytest.fixture(params=[version for version in VERSIONS if version < FORMAT_VERSION], ids="format {}".format)
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    """An instance of each format that has to be migrated."""
    return Old(request.param, tmp_path / "instance")


WITHOUT_CONTENT = {f"{DATABASE_NAME}-shm", LOCK_NAME}
"""What lies there for those who read and write at once; it says nothing of the instance."""


def content(folder: Path) -> dict[str, bytes]:
    """All files that say something, byte by byte."""
    paths = [path for path in folder.iterdir() if path.name not in WITHOUT_CONTENT]
    return {path.name: data for path in paths if (data := path.read_bytes()) or not path.name.endswith("-wal")}


def test_every_format_has_its_instance() -> None:
    """A new format is released together with the instance that proves it can be opened later."""
    assert list(range(1, PACKED_VERSION + 1)) == VERSIONS


def test_an_instance_is_of_its_format(old: Old) -> None:
    """It was not migrated by accident, and the migrations up to its format still say what that release made."""
    assert old.stored_version() == old.version
    with (
        closing(sqlite3.connect(old.database)) as made,
        closing(sqlite3.connect(":memory:", isolation_level=None)) as told,
    ):
        assert made.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert made.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for number, script in enumerate(MIGRATIONS[: old.version]):
            if number:  # the first one makes tables only; the others fill in what they add
                register(told)
            told.executescript(script)
        assert texts(schema_of(made)) == texts(schema_of(told))


def texts(entries: list[SchemaEntry]) -> set[tuple[str, str | None]]:
    """What was said to make them, without comments and indentation, which mean nothing."""
    return {(entry.name, entry.sql) for entry in entries}


def test_it_is_migrated_when_it_is_opened(old: Old) -> None:
    """For reading only: the format is today's, nothing of it is wrong, and the index is the one that was there."""
    index = (old.folder / "index-1.faiss").read_bytes()
    with Instance.open(old.folder) as instance:
        with pytest.raises(StorageUnwritable), instance._opened.engine.committing() as store:
            store.set_setting("written", "by a reader")
        assert instance.info().generation is not None
        assert schema_of(instance._opened.engine.store.connection) == expected_schema()
    assert old.stored_version() == max(old.version, FORMAT_VERSION)
    assert Instance.check(old.folder, read_data=True) == []
    assert (old.folder / "index-1.faiss").read_bytes() == index


def test_nothing_of_it_is_lost(old: Old) -> None:
    """Items, features, settings, counts, what is indexed and what is not."""
    with Instance.open(old.folder) as instance:
        store = instance._opened.engine.store
        assert store.keys(EVERYTHING) == sorted(old.keys)
        assert [instance.item(key) for key in old.keys] == old.items()
        stored = np.stack([store.feature(one["id"]) for one in old.truth])
        assert stored.tobytes() == old.features.tobytes()
        info = instance.info()
        assert (info.kind, info.region_id, info.created) == ("product", "cn-shanghai", 1_750_000_000)
        version = info.stamp["feature_version"]
        assert info.stamp == replace(EMBEDDED_MODELS[DEFAULT_MODEL], feature_version=version, bits=old.bits).stamp()
        assert info.items == len(old.truth)
        assert info.generation is not None
        assert (info.generation.number, info.generation.items, info.generation.max_id) == (1, 20, 20)
        assert info.unindexed == sum(one["id"] > 20 for one in old.truth) > 0


def test_searches_find_what_was_put_in(old: Old) -> None:
    """By the index and what is newer, as brute force over the truth ranks it."""
    features = old.features
    groups = [(one["product_id"], one["category_id"]) for one in old.truth]
    with Instance.open(old.folder) as instance:
        for place in range(0, len(old.truth), 3):
            wanted = features[place]
            expected = ranking_similarities(wanted, features, groups, [key.pic_name for key in old.keys])
            ranking = Ranker(instance._opened.engine).search(query(wanted), CALIBRATION, num=100)
            assert ranking.found == len(ranking.hits) == len(old.truth)
            positions = [[one["id"] for one in old.truth].index(hit.item.id) for hit in ranking.hits]
            assert [expected[n] for n in positions] == pytest.approx(sorted(expected, reverse=True), abs=1e-6)
        with instance.searching() as searcher:
            for key in old.keys:
                result = searcher.by_name(key, search=SearchOptions(filter="int_attr>=0"))
                assert any(hit.identical and hit.item.key == key for hit in result.hits)


def test_it_can_be_written(old: Old) -> None:
    """Additions, replacements, deletions and a rebuild, after which all that was not touched is as it was."""
    gone, replaced, *kept = old.keys
    with closing(Engine.open(old.folder, write=True)) as engine:
        feature = old.features[0][::-1].copy()
        with engine.committing() as store:
            assert store.upsert(change(*named(replaced), feature)) is True
            assert store.upsert(change("new", "ü.jpg", feature, location=Location("/pictures/shop"))) is False
        item = engine.store.item(Key("new", "ü.jpg"))
        assert item is not None
        assert item.id > max(one["id"] for one in old.truth)
    with Instance.open(old.folder) as instance:
        assert instance.delete(*named(gone)).keys == [gone]
        assert instance.rebuild().number == 2
        assert [instance.item(key) for key in kept] == old.items()[2:]
        assert {path.name for path in old.folder.glob("*.faiss*")} == {"index-2.faiss"}
    assert Instance.check(old.folder, read_data=True) == []


def test_it_can_be_mended(old: Old) -> None:
    """Whatever the size of its pages, which was another one in the first formats."""
    Instance.open(old.folder).close()
    with closing(sqlite3.connect(old.database, isolation_level=None)) as connection:
        connection.execute(
            "UPDATE features SET feature = zeroblob(length(feature)) WHERE id = (SELECT max(id) FROM features)"
        )
    assert len(Instance.repair(old.folder).lost) == 1
    assert Instance.check(old.folder, read_data=True) == []


def test_a_reindex_whose_pictures_are_gone_changes_nothing(old: Old) -> None:
    """Each item is named as failed, and all is as it was."""
    with Instance.open(old.folder) as instance:
        before = [instance.item(key) for key in old.keys]
        outcomes = list(instance.reindex())
        assert {outcome.status for outcome in outcomes} == {Status.FAILED}
        older = instance.needs_reindex  # else only perceptual hashes are missing
        assert len(outcomes) == (len(old.truth) if older else sum(item.picture_hash is None for item in old.items()))
        assert [instance.item(key) for key in old.keys] == before
    assert Instance.check(old.folder, read_data=True) == []


def named(key: Key) -> tuple[str, str]:
    return key.product_id, key.pic_name


def test_a_check_refuses_an_older_format_and_leaves_it_alone(older: Old) -> None:
    """It writes nothing, so it does not migrate; the message says what does, and a repair is such a thing."""
    before = content(older.folder)
    with pytest.raises(OlderFormat, match=rf"format {older.version}, older than .* {FORMAT_VERSION}: run .*--repair"):
        Instance.check(older.folder)
    assert content(older.folder) == before
    repaired = Instance.repair(older.folder)
    assert (repaired.repaired, repaired.lost, repaired.problems) == ([], [], [])
    assert Instance.check(older.folder, read_data=True) == []


@pytest.mark.parametrize("version", [PACKED_VERSION + 1, 2**31 - 1])
def test_a_newer_format_is_refused_by_everything_and_nothing_is_touched(tmp_path: Path, version: int) -> None:
    """Not a byte of what the instance holds changes, whatever is tried."""
    folder = Old(FORMAT_VERSION, tmp_path / "instance").folder
    with closing(sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = content(folder)
    for attempt in (Instance.open, Instance.check, lambda where: Instance.check(where, read_data=True)):
        with pytest.raises(NewerFormat, match=rf"format {version}; .* install a newer imgsearch") as refused:
            attempt(folder)
        assert refused.value.exit_code == 6
        assert content(folder) == before
    with pytest.raises(NewerFormat):
        Instance.repair(folder)
    assert content(folder) == before


MIGRATE = """
import os, signal, sqlite3, sys
from pathlib import Path
from imgsearch.storage.sqlite import store
from imgsearch.storage.engine import Engine

last, steps = int(sys.argv[2]), 0

def count():
    global steps
    steps += 1
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)

def register(connection):
    connection.set_progress_handler(count, 20)
    really_register(connection)

really_register, store.register = store.register, register
Engine.open(Path(sys.argv[1])).close()
print(steps)
"""
"""Opens an instance and is killed at a moment inside of SQLite, every 20 of its own instructions being one."""


@pytest.mark.extended
def test_a_killed_migration_has_not_happened_or_is_whole(older: Old, tmp_path: Path) -> None:
    """At whatever instruction: afterwards it is the old format or today's, and nothing of it is lost."""
    steps = int(finished(child(MIGRATE, Old(older.version, tmp_path / "counted").folder, 0)))
    assert steps > 100
    for number, step in enumerate(random.Random(older.version).sample(range(1, steps), 5)):
        old = Old(older.version, tmp_path / str(number))
        process = child(MIGRATE, old.folder, step)
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == -9
        assert old.stored_version() in {old.version, FORMAT_VERSION}
        test_nothing_of_it_is_lost(old)
        with Instance.open(old.folder) as instance:  # the next writer removes the note of the killed one
            instance.delete("none")
        assert Instance.check(old.folder, read_data=True) == []


OPEN = """
import sys
from pathlib import Path
from imgsearch.instance import Instance
print("ready", flush=True)
sys.stdin.readline()
with Instance.open(Path(sys.argv[1])) as instance:
    print(instance.info().items)
"""


@pytest.mark.extended
def test_those_who_open_an_older_format_at_once_wait_for_each_other(older: Old) -> None:
    """The first searches after an update, say: one migrates, none is turned away."""
    processes = started_together(6, OPEN, older.folder)
    assert [finished(process) for process in processes] == [f"{len(older.truth)}\n"] * len(processes)
    assert Instance.check(older.folder, read_data=True) == []
