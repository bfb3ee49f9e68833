"""Damage is found, named and mended: each kind by a script, and bits inverted at random places of each file."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from imgsearch.errors import InstanceDamaged, InstanceUnusable, NewerFormat, StorageFull
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import category_condition, product_condition
from imgsearch.search.ranking import Ranker
from imgsearch.storage.checksum import feature_checksum, register, row_checksum
from imgsearch.storage.engine import Engine
from imgsearch.storage.faiss.shortlist import STEP, shortlist_of
from imgsearch.storage.integrity.check import check
from imgsearch.storage.integrity.problems import REPAIR_NAME, Damage
from imgsearch.storage.integrity.repair import repair
from imgsearch.storage.lock import HOLDER_NAME, writer_lock
from imgsearch.storage.sqlite import store as store_module
from imgsearch.storage.sqlite.header import PAGE_COUNT_AT, repair_header
from imgsearch.storage.sqlite.schema import FORMAT_VERSION, MIGRATIONS, PACKED_VERSION, PAGE_BYTES, check_version
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store
from imgsearch.storage.sqlite.wal import committed_pages
from imgsearch.values import Attributes, Key, Location
from tests.storage.builders import (
    CALIBRATION,
    DIMENSION,
    change,
    child,
    clustered,
    fill,
    finished,
    flip,
    query,
)
from tests.storage.sqlite.test_database import in_mount, needs_root

COUNT, INDEXED = 330, 300
FEATURES = clustered(COUNT)
TABLES = ("settings", "settings_copy", "roots", "items", "features", "counts", "removed", "generations", "quarantine")


def key(number: int) -> Key:
    return Key(f"p{number // 3}", f"{number}.jpg")


@dataclass(frozen=True)
class Home:
    """A sound instance that copies are damaged of: items in the index and beside it, and some removed from it."""

    folder: Path

    def copy(self, target: Path) -> Path:
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(self.folder, target))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("sound") / "instance"
    folder.mkdir()
    Engine.create(folder, {"kind": "product", "model": {"dimension": DIMENSION}})
    with closing(Engine.open(folder, write=True)) as engine:
        for numbers in (range(INDEXED), range(INDEXED, COUNT)):
            with engine.committing() as store:
                for n in numbers:
                    store.upsert(
                        change(
                            *(key(n).product_id, key(n).pic_name, FEATURES[n]),
                            category=n % 3,
                            attributes=Attributes(int_attr=n % 7, str_attr=f"c{n % 5}", custom_content="x" * 50),
                            location=Location("/photos"),
                        )
                    )
            if numbers[0] == 0:
                engine.rebuild()
        with engine.committing() as store:
            store.delete(product_condition("p7"))
    return Home(folder)


@pytest.fixture
def broken(sound: Home, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return sound.copy(tmp_path / "instance")


def content(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that is stored."""
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in TABLES}


def answers(folder: Path) -> list[object]:
    """What an instance says to all kinds of questions."""
    with closing(Engine.open(folder)) as engine:
        said: list[object] = [engine.store.counts(), engine.store.settings()]
        said += [engine.store.item(key(n)) for n in range(0, COUNT, 10)]
        conditions = [parse_filter("int_attr=3"), parse_filter('str_attr="c2" AND int_attr>2')]
        for n in range(0, COUNT, 33):
            wanted = query(FEATURES[n])
            said.append(Ranker(engine).search(wanted, CALIBRATION, num=20))
            said += [
                Ranker(engine).search(wanted, CALIBRATION, num=20, condition=condition)
                for condition in (*conditions, category_condition((1,)))
            ]
        return said


def sql(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)) as connection:
        register(connection)
        for statement in statements:
            connection.execute(statement)


def put_feature(folder: Path, feature: bytes) -> None:
    """A feature that is wrong and was written so: its seal is right."""
    with closing(sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)) as connection:
        connection.execute(
            "UPDATE features SET feature = ?, seal = ? WHERE id = 5", (feature, feature_checksum(5, feature))
        )


def index_file(folder: Path) -> Path:
    (path,) = folder.glob("index-*.faiss")
    return path


def other_index(folder: Path) -> None:
    """An index over other features than those stored, told truly by the database."""
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        changed = clustered(COUNT, seed=9).astype(np.float16)
        for (item_id,) in store.connection.execute("SELECT id FROM features").fetchall():
            blob = changed[item_id - 1].tobytes()
            store.connection.execute(
                "UPDATE features SET feature = ?, seal = ? WHERE id = ?",
                (blob, feature_checksum(item_id, blob), item_id),
            )


NAN = np.full(DIMENSION, np.nan, np.float16).tobytes()
LONG = (np.ones(DIMENSION) / 3).astype(np.float16).tobytes()

# Name: what is done, what is found, whether the fast check finds it, how many items are lost.
# ruff: noqa: E501
DAMAGES: dict[str, tuple[Callable[[Path], object], Damage, bool, int]] = {
    "index truncated": (lambda f: index_file(f).write_bytes(index_file(f).read_bytes()[:-9]), Damage.INDEX_LENGTH, True, 0),
    "index lost": (lambda f: index_file(f).unlink(), Damage.INDEX_MISSING, True, 0),
    "index altered": (lambda f: flip(index_file(f), 999), Damage.INDEX, False, 0),
    "index of other features": (other_index, Damage.SELF_SEARCH, False, 0),
    "orphan index": (lambda f: (f / "index-9.faiss").write_bytes(b"x"), Damage.LEFTOVER, True, 0),
    "temporary index": (lambda f: (f / "index-2.faiss.1.tmp").write_bytes(b"x"), Damage.LEFTOVER, True, 0),
    "temporary database": (lambda f: (f / f"{DATABASE_NAME}.tmp").write_bytes(b"x"), Damage.LEFTOVER, True, 0),
    "killed repair": (lambda f: (f / REPAIR_NAME).write_bytes(b"x"), Damage.LEFTOVER, True, 0),
    "counts wrong": (lambda f: sql(f, "UPDATE counts SET items = items + 1"), Damage.COUNTS, True, 0),
    "counts lost": (lambda f: sql(f, "DELETE FROM counts WHERE category_id = 1"), Damage.COUNTS, True, 0),
    "removed lost": (lambda f: sql(f, "DELETE FROM removed WHERE id = 22"), Damage.REMOVED, True, 0),
    "removed wrong": (lambda f: sql(f, "UPDATE removed SET id = 1 WHERE id = 22"), Damage.REMOVED, True, 0),
    "generation altered": (lambda f: sql(f, "UPDATE generations SET max_id = 7"), Damage.GENERATION, True, 0),
    "generation lost": (lambda f: sql(f, "DELETE FROM generations"), Damage.LEFTOVER, True, 0),
    "feature lost": (lambda f: sql(f, "DELETE FROM features WHERE id = 5"), Damage.FEATURE_MISSING, True, 1),
    "item lost": (
        lambda f: sql(f, "PRAGMA foreign_keys = OFF", "DELETE FROM items WHERE id = 5"), Damage.FEATURE_ORPHANED, True, 1
    ),
    "feature altered": (lambda f: sql(f, "UPDATE features SET feature = x'00' WHERE id = 5"), Damage.FEATURE, False, 1),
    "feature of NaN": (lambda f: put_feature(f, NAN), Damage.FEATURE, False, 1),
    "feature too short": (lambda f: put_feature(f, NAN[:-2]), Damage.FEATURE, False, 1),
    "feature of odd length": (lambda f: put_feature(f, NAN[:-1]), Damage.FEATURE, False, 1),
    "feature too long": (lambda f: put_feature(f, LONG), Damage.FEATURE, False, 1),
    "item altered": (lambda f: sql(f, "UPDATE items SET int_attr = 77 WHERE id = 5"), Damage.ITEM, False, 1),
    "settings altered": (lambda f: sql(f, "UPDATE settings SET value = '1' WHERE name = 'kind'"), Damage.SETTINGS, True, 0),
    "settings lost": (lambda f: sql(f, "DELETE FROM settings WHERE name = 'kind'"), Damage.SETTINGS, True, 0),
    "copy of settings lost": (lambda f: sql(f, "DELETE FROM settings_copy"), Damage.SETTINGS, True, 0),
    "trigger lost": (lambda f: sql(f, "DROP TRIGGER items_deleted"), Damage.SCHEMA, True, 0),
}  # fmt: skip


def test_a_sound_instance_has_no_problem_and_is_left_alone(broken: Path, sound: Home) -> None:
    before = {path.name: path.read_bytes() for path in broken.iterdir()}
    assert check(broken) == check(broken, read_data=True) == []
    done = repair(broken)
    assert (done.repaired, done.lost, done.problems) == ([], [], [])
    assert {path.name: path.read_bytes() for path in broken.iterdir() if path.name in before} == before
    assert answers(broken) == answers(sound.folder)


@pytest.mark.extended
@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_named_and_mended(broken: Path, sound: Home, name: str) -> None:
    """What was lost is named item by item, all else answers as before, and a second repair finds nothing to do."""
    damage, expected, fast, losses = DAMAGES[name]
    damage(broken)
    assert (expected in {problem.damage for problem in check(broken)}) == fast
    found = check(broken, read_data=True)
    assert expected in {problem.damage for problem in found}
    assert found == check(broken, read_data=True)
    for problem in found:
        assert problem.damage.is_harmless or "imgsearch" in problem.message  # what to do
        assert problem.file.parent == broken
    done = repair(broken)
    assert done.problems == []
    assert len(done.lost) == losses
    assert check(broken, read_data=True) == []
    again = repair(broken)
    assert (again.repaired, again.lost, again.problems) == ([], [], [])
    if losses:
        assert {(loss.product_id, loss.pic_name) for loss in done.lost} <= {(*_names(4),), (None, None)}
        with closing(Engine.open(broken)) as engine:
            assert engine.store.item(key(4)) is None
            assert engine.store.count() == COUNT - 3 - losses
            ((item_id, reason),) = engine.store.connection.execute("SELECT id, reason FROM quarantine").fetchall()
            assert item_id == 5
            assert reason
    elif expected is not Damage.SELF_SEARCH:
        assert answers(broken) == answers(sound.folder)


def _names(number: int) -> tuple[str, str]:
    return key(number).product_id, key(number).pic_name


@pytest.mark.parametrize("now", [1_700_000_000.0, 0.0])
def test_losses_of_a_repair_that_did_not_end_are_told_by_the_next(
    broken: Path, monkeypatch: pytest.MonkeyPatch, now: float
) -> None:
    """Its content is committed before the index is made, for which there may be no room; by whatever clock."""
    sql(broken, "DELETE FROM features WHERE id IN (5, 6)")
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "rebuild", Mock(side_effect=StorageFull("no room")))
        patch.setattr("imgsearch.storage.integrity.repair.time.time", lambda: now)
        with pytest.raises(StorageFull):
            repair(broken)
    assert check(broken, read_data=True) == []
    assert {(loss.product_id, loss.pic_name) for loss in repair(broken).lost} == {_names(4), _names(5)}
    assert repair(broken).lost == []


def test_what_was_put_aside_keeps_its_attributes_until_it_is_added_again_or_deleted(broken: Path) -> None:
    sql(broken, "DELETE FROM features WHERE id IN (5, 6)")
    assert len(repair(broken).lost) == 2
    with closing(Engine.open(broken, write=True)) as engine:
        aside = "SELECT product_id, pic_name, int_attr, custom_content, location FROM quarantine ORDER BY id"
        assert engine.store.connection.execute(aside).fetchall() == [
            (*_names(n), n % 7, "x" * 50, "/photos") for n in (4, 5)
        ]
        with engine.committing() as store:
            store.upsert(change(*_names(4), FEATURES[4]))
            store.delete(product_condition(*_names(5)))
        assert engine.store.connection.execute(aside).fetchall() == []


def test_ids_are_not_given_again_after_a_repair(broken: Path) -> None:
    with closing(Engine.open(broken, write=True)) as engine, engine.committing() as store:
        store.delete(product_condition(*_names(COUNT - 1)))
    sql(broken, "DELETE FROM features WHERE id = 5")
    repair(broken)
    with closing(Engine.open(broken, write=True)) as engine:
        with engine.committing() as store:
            store.upsert(change("new", "new", FEATURES[0]))
        item = engine.store.item(Key("new", "new"))
        assert item is not None
        assert item.id == COUNT + 1


def test_an_altered_row_is_never_served(broken: Path) -> None:
    """Neither as a result, nor as an item, nor by a deletion, nor as evidence for its siblings."""
    sql(broken, "UPDATE items SET custom_content = 'other' WHERE id = 5")
    with closing(Engine.open(broken, write=True)) as engine:
        for way in (
            lambda: Ranker(engine).search(query(FEATURES[4]), CALIBRATION, num=5),
            lambda: Ranker(engine).search(query(FEATURES[3]), CALIBRATION, num=5),
            lambda: engine.store.item(key(4)),
            lambda: engine.store.keys(product_condition("p1")),
        ):
            with pytest.raises(InstanceDamaged, match="check --read-data"):
                way()
        with pytest.raises(InstanceDamaged), engine.committing() as store:
            store.delete(product_condition("p1"))
        assert engine.store.count() == COUNT - 3


@pytest.mark.parametrize("statement", ["DELETE FROM items WHERE id = 320", "DELETE FROM features WHERE id = 320"])
def test_a_lost_row_is_not_passed_over(broken: Path, statement: str) -> None:
    sql(broken, "PRAGMA foreign_keys = OFF", statement)
    with closing(Engine.open(broken)) as engine, pytest.raises(InstanceDamaged):
        Ranker(engine).search(query(FEATURES[4]), CALIBRATION, num=5)


def test_wrong_counts_end_a_search_at_once(broken: Path) -> None:
    sql(broken, "UPDATE counts SET items = items + 1000000")
    with closing(Engine.open(broken)) as engine, pytest.raises(InstanceDamaged, match="the number of items"):
        Ranker(engine).search(query(FEATURES[4]), CALIBRATION, num=5)


# Bits


def flipped_everywhere(sound: Home, target: Path, name: str, places: int) -> dict[str, int]:
    """Invert a bit at so many places; whatever happens, it is right, or refused, found and mended."""
    before, truth = answers(sound.folder), content(sound.folder)
    by_id = {table: {row[0]: row for row in truth[table]} for table in ("items", "features")}
    chance = random.Random(f"{name} {places}")
    size = (sound.folder / name).stat().st_size
    seen = {"found": 0, "without effect": 0, "lost": 0, "beyond repair": 0}
    for _ in range(places):
        folder = sound.copy(target)
        place, bit = chance.randrange(size), chance.randrange(8)
        flip(folder / name, place, bit)
        where = f"{name}: bit {bit} of byte {place}"
        with suppress(InstanceUnusable):  # exit code 6
            assert answers(folder) == before, where
        try:
            found = check(folder, read_data=True)
        except NewerFormat:
            assert place < 100, where  # the version itself
            continue
        if not found:
            # Only bytes that hold nothing: every table reads as before.
            assert name == DATABASE_NAME, where
            assert content(folder) == truth, where
            seen["without effect"] += 1
            continue
        seen["found"] += 1
        assert name in {problem.file.name for problem in found}, where
        try:
            done = repair(folder)
        except InstanceDamaged:
            if place >= 100:  # behind SQLite's header
                raise
            seen["beyond repair"] += 1
            continue
        assert done.problems == [], where
        assert check(folder, read_data=True) == [], where
        after = content(folder)
        for table, rows in by_id.items():
            assert all(row == rows[row[0]] for row in after[table]), where
        missing = rows_without(by_id["items"], after["items"])
        named = {(loss.product_id, loss.pic_name) for loss in done.lost}
        assert all((row[1], row[2]) in named for row in missing), where
        seen["lost"] += len(missing)
        if not done.lost:
            assert answers(folder) == before, where
    return seen


def rows_without(rows: dict[int, tuple[Any, ...]], present: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    ids = {row[0] for row in present}
    return [row for item_id, row in rows.items() if item_id not in ids]


@pytest.mark.extended
@pytest.mark.parametrize("name", [DATABASE_NAME, "index-1.faiss"])
def test_bits_inverted_at_random_places(sound: Home, tmp_path: Path, name: str) -> None:
    seen = flipped_everywhere(sound, tmp_path / "instance", name, 25)
    assert seen["found"] >= 8


@pytest.mark.long
@pytest.mark.parametrize("name", [DATABASE_NAME, "index-1.faiss"])
def test_bits_inverted_at_many_random_places(sound: Home, tmp_path: Path, name: str) -> None:
    seen = flipped_everywhere(sound, tmp_path / "instance", name, 500)
    assert seen["found"] >= 150


def test_altered_rows_of_large_databases_are_refused(
    sound: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the structure is not verified at each opening, seals still are: no bit of the truth is served altered."""
    monkeypatch.setattr(store_module, "VERIFY_BELOW_BYTES", 0)
    truth = answers(sound.folder)
    data = (sound.folder / DATABASE_NAME).read_bytes()
    chance = random.Random(3)
    refused = 0
    for row in chance.sample(content(sound.folder)["features"], 40):
        folder = sound.copy(tmp_path / "instance")
        flip(folder / DATABASE_NAME, data.index(row[1]) + chance.randrange(len(row[1])), chance.randrange(8))
        try:
            assert answers(folder) == truth
        except InstanceDamaged:
            refused += 1
    assert refused >= 35


@pytest.mark.extended
def test_an_altered_header_is_mended(sound: Home, tmp_path: Path) -> None:
    """Bits of the first 28 bytes: SQLite reads nothing, and nothing is lost."""
    before = answers(sound.folder)
    for place in range(0, 28, 3):
        folder = sound.copy(tmp_path / "instance")
        flip(folder / DATABASE_NAME, place, place % 8)
        if check(folder, read_data=True):
            done = repair(folder)
            assert (done.lost, done.problems) == ([], []), place
        assert answers(folder) == before, place


def test_the_header_keeps_a_page_count_that_the_log_confirms(broken: Path) -> None:
    """A checkpoint moves the first page, but no page that a reader needs as it was: then the file is shorter than its
    header says, and whoever corrects that loses all items on the pages that are missing."""
    path = broken / DATABASE_NAME
    with closing(Store.open(path, write=True)) as writer:
        with writer.writing():
            writer.insert([change("more", f"{n}.jpg", FEATURES[n]) for n in range(200)])
        (pages,) = writer.connection.execute("PRAGMA page_count").fetchone()
        assert path.stat().st_size < pages * PAGE_BYTES
        copy = broken.with_name("copy")
        shutil.copytree(broken, copy)
    path = copy / DATABASE_NAME
    moved = bytearray(path.read_bytes())
    moved[PAGE_COUNT_AT : PAGE_COUNT_AT + 4] = pages.to_bytes(4, "big")
    for damaged in (moved, [*moved[: PAGE_COUNT_AT + 3], moved[PAGE_COUNT_AT + 3] ^ 4, *moved[PAGE_COUNT_AT + 4 :]]):
        path.write_bytes(bytes(damaged))
        repair_header(path, committed_pages(path))
        assert path.read_bytes() == moved


@pytest.mark.extended
@pytest.mark.parametrize("table", ["items", "features", "settings", "settings_copy", "counts"])
def test_what_a_destroyed_page_held_is_brought_back(sound: Home, tmp_path: Path, table: str) -> None:
    """The root page of a table, overwritten: its rows are still in the file, or can be had from elsewhere."""
    before = answers(sound.folder)
    with closing(sqlite3.connect(sound.folder / DATABASE_NAME)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    folder = sound.copy(tmp_path / "instance")
    data = bytearray((folder / DATABASE_NAME).read_bytes())
    data[(root - 1) * PAGE_BYTES : root * PAGE_BYTES] = bytes(PAGE_BYTES)
    (folder / DATABASE_NAME).write_bytes(data)
    with pytest.raises(InstanceDamaged):
        answers(folder)
    done = repair(folder)
    assert (done.lost, done.problems) == ([], [])
    assert answers(folder) == before


def test_deleted_items_are_not_brought_back(sound: Home, tmp_path: Path) -> None:
    """Their rows may still lie on free pages when others are fetched off theirs."""
    folder = sound.copy(tmp_path / "instance")
    with closing(Engine.open(folder, write=True)) as engine:
        engine.store.connection.execute("PRAGMA secure_delete = OFF")
        with engine.committing() as store:
            deleted = store.delete(parse_filter("int_attr in (1, 2, 3)"))
    with closing(Engine.open(folder)) as engine:
        left = set(engine.store.keys(parse_filter("int_attr in (0, 4, 5, 6)")))
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'items'").fetchone()
    data = bytearray((folder / DATABASE_NAME).read_bytes())
    data[(root - 1) * PAGE_BYTES : root * PAGE_BYTES] = bytes(PAGE_BYTES)
    (folder / DATABASE_NAME).write_bytes(data)
    assert repair(folder).lost == []
    with closing(Engine.open(folder)) as engine:
        present = set(engine.store.keys(parse_filter("int_attr in (0, 1, 2, 3, 4, 5, 6)")))
    assert present == left
    assert len(deleted) > 100


# Beside writers, on other media, of other formats


@pytest.mark.extended
def test_what_an_index_passes_over_for_a_few_hits_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at few lists and hands over few candidates; the nearest list may be one of another category."""
    monkeypatch.setattr("imgsearch.storage.faiss.index_builder.tune", lambda *_: (1, STEP, 1.0))
    monkeypatch.setattr("imgsearch.storage.faiss.index_builder.MIN_POINTS_PER_LIST", 60)  # enough for one to do
    folder = tmp_path / "crowded"
    folder.mkdir()
    Engine.create(folder, {"kind": "product", "model": {"dimension": DIMENSION}})
    crowds = clustered(900, clusters=4, spread=0.1)
    with closing(Engine.open(folder, write=True)) as engine:
        fill(engine, crowds)
        generation = engine.rebuild(flat_limit=100)
        assert shortlist_of(generation.structure) == STEP
        index = engine.index(generation)
        assert not all(number in index.shortlist(feature, 1) for number, feature in enumerate(crowds, 1))
    assert check(folder, read_data=True) == []


def test_a_check_beside_a_writer(broken: Path) -> None:
    """It sees one snapshot, and takes what the writer is about for no leftover."""
    code = """
import sys
from contextlib import closing, suppress
from pathlib import Path
from imgsearch.storage.lock import writer_lock
from tests.storage.builders import Engine, fill, scattered
with writer_lock(Path(sys.argv[1])):
    with closing(Engine.open(Path(sys.argv[1]), write=True)) as engine:
        print("on", flush=True)
        for n in range(25):
            fill(engine, scattered(20, n), first=n * 1000)
            engine.rebuild()
"""
    process = child(code, broken)
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    checks = 0
    while process.poll() is None:
        assert check(broken, read_data=checks % 2 == 0) == []
        checks += 1
    finished(process)
    assert checks > 2


def test_the_note_of_a_killed_writer_is_a_leftover(broken: Path) -> None:
    code = "import sys, os; from pathlib import Path; from imgsearch.storage.lock import writer_lock\n"
    process = child(
        code + "with writer_lock(Path(sys.argv[1])): print('held', flush=True); os.kill(os.getpid(), 9)", broken
    )
    process.communicate()
    (problem,) = check(broken)
    assert (problem.damage, problem.file.name) == (Damage.LEFTOVER, HOLDER_NAME)
    with writer_lock(broken):
        assert repair(broken).problems == []
    assert check(broken) == []


def test_what_is_no_database(broken: Path) -> None:
    (broken / DATABASE_NAME).write_bytes(b"no database at all" * 1000)
    (problem,) = check(broken)
    assert problem.damage is Damage.DATABASE
    with pytest.raises(InstanceDamaged, match="restore it from a backup"):
        repair(broken)
    assert (broken / DATABASE_NAME).read_bytes() == b"no database at all" * 1000


def test_a_newer_format_is_neither_checked_nor_repaired(broken: Path) -> None:
    sql(broken, f"PRAGMA user_version = {PACKED_VERSION + 1}")
    before = (broken / DATABASE_NAME).read_bytes()
    for way in (check, repair):
        with pytest.raises(NewerFormat):
            way(broken)
    assert (broken / DATABASE_NAME).read_bytes() == before


@pytest.mark.parametrize("write", [False, True])
def test_format_1_is_migrated_when_it_is_opened(tmp_path: Path, write: bool) -> None:
    """Seals are made for what it holds; from then on it is as any other."""
    path = tmp_path / DATABASE_NAME
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.executescript(f"PRAGMA journal_mode = WAL; {MIGRATIONS[0]} PRAGMA user_version = 1;")
        old.execute(f"PRAGMA application_id = {0x696D6773}")
        old.execute("INSERT INTO settings VALUES ('kind', '\"product\"')")
        old.execute("INSERT INTO roots VALUES (1, '/photos')")
        for n in range(20):
            old.execute(
                "INSERT INTO items (product_id, pic_name, category_id, category_given, region_mode, x1, x2, y1, y2, "
                "content_hash, root_id) VALUES (?, '1.jpg', 3, 0, 0, 0, 9, 0, 9, x'00', 1)",
                (f"p{n}",),
            )
            old.execute("INSERT INTO features VALUES (?, ?)", (n + 1, FEATURES[n].astype("<f2").tobytes()))
    with closing(Engine.open(tmp_path, write=write)) as engine:
        assert check_version(engine.store.connection, "here") == FORMAT_VERSION
        ranking = Ranker(engine).search(query(FEATURES[7]), CALIBRATION, num=20)
        assert (ranking.found, ranking.hits[0].item.key.product_id) == (20, "p7")
    assert check(tmp_path, read_data=True) == []


# Checksums


def test_checksums_tell_every_bit_and_every_column() -> None:
    row = (7, "紅.jpg", None, b"\x00\xff", 1.5, "")
    assert row_checksum(*row) == row_checksum(*row) != row_checksum(*row[:-1])
    assert row_checksum(7, "1") != row_checksum("7", 1) != row_checksum(71)
    feature = bytes(range(64))
    sums = {feature_checksum(7, feature), feature_checksum(8, feature)}
    for bit in range(8 * len(feature)):
        changed = bytearray(feature)
        changed[bit // 8] ^= 1 << bit % 8
        sums.add(feature_checksum(7, bytes(changed)))
    assert len(sums) == 8 * len(feature) + 2
    assert all(-(2**63) <= value < 2**63 for value in sums)


def test_the_checksum_of_a_row_never_changes() -> None:
    """It is stored: another value for the same row would condemn every instance."""
    assert row_checksum(1, "p1", "é.jpg", None, b"\x01", 0.25) == 5826813897640933882
    assert feature_checksum(1, b"\x00\x3c") == 2027908189334201092


@needs_root
def test_a_check_on_a_read_only_mount(broken: Path) -> None:
    """All of it works there; a repair has its error."""
    put_feature(broken, NAN)
    code = """
import sys
from pathlib import Path
from imgsearch.storage.faiss.shortlist import STEP, shortlist_of
from imgsearch.storage.integrity.check import check
from imgsearch.storage.lock import writer_lock
folder = Path(sys.argv[1])
print([problem.damage.value for problem in check(folder)])
print([problem.damage.value for problem in check(folder, read_data=True)])
try:
    with writer_lock(folder):
        pass
except Exception as error:
    print(type(error).__name__)
"""
    mount = "mount --bind {0} {0} && mount -o remount,bind,ro {0}"
    assert in_mount(broken, code, mount) == ["[]", "['FeatureDamaged']", "StorageUnwritable"]


REPAIR_WITHOUT_DESCRIPTORS = """
import resource, sys
from pathlib import Path
from imgsearch.storage.integrity import repair
from imgsearch.errors import StorageUnwritable
repair_header = repair.repair_header
def hinder(*arguments):
    repair_header(*arguments)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
repair.repair_header = hinder  # the database can be opened after it, and nothing beside it
try:
    repair.repair(Path(sys.argv[1]))
except StorageUnwritable as error:
    print(error.exit_code)
"""


def test_what_the_system_refuses_a_repair_is_no_damage(broken: Path) -> None:
    """Exit code 8, and nothing is changed: whatever cannot be opened just now is not given up for lost."""
    sql(broken, "DELETE FROM features WHERE id = 5")
    before = content(broken)
    assert finished(child(REPAIR_WITHOUT_DESCRIPTORS, broken)) == "8\n"
    assert content(broken) == before
    assert len(repair(broken).lost) == 1


REPAIR_UNTIL = """
import sys
from pathlib import Path
from imgsearch.storage.lock import writer_lock
from imgsearch.storage.integrity.repair import repair
from tests.storage.builders import die_at
with writer_lock(Path(sys.argv[1])):
    stop = die_at(int(sys.argv[2]))
    repair(Path(sys.argv[1]))
    print(stop())
"""


@pytest.mark.extended
def test_a_repair_that_is_killed_is_done_again(sound: Home, tmp_path: Path) -> None:
    """At moments spread over all of it: what is whole is there, what is broken is put aside once."""
    folder = sound.copy(tmp_path / "instance")
    sql(folder, "DELETE FROM features WHERE id = 5")
    steps = int(finished(child(REPAIR_UNTIL, folder, 0)))
    truth = content(folder)
    killed = 0
    for step in np.linspace(1, steps, 20).astype(int):
        folder = sound.copy(folder)
        sql(folder, "DELETE FROM features WHERE id = 5")
        process = child(REPAIR_UNTIL, folder, step)
        process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
        with writer_lock(folder):
            assert repair(folder).problems == []
        assert check(folder, read_data=True) == []
        after = content(folder)
        assert after["items"] == truth["items"]
        assert after["features"] == truth["features"]
        assert [row[0] for row in after["quarantine"]] == [5]
    assert killed >= 18
