"""The schema's own pages: one flipped bit in their structure is corrected, and no table is ever taken for empty."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from imgsearch.errors import InstanceDamaged
from imgsearch.filters.tree import EVERYTHING
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.repair import repair
from imgsearch.storage.sqlite.schema import PAGE_BYTES, schema_of
from imgsearch.storage.sqlite.schema_repair import has_all_tables, repair_schema_pages
from imgsearch.storage.sqlite.store import DATABASE_NAME
from tests.storage.builders import DIMENSION, fill, scattered

ITEMS = 20
BTREE_HEADER = 100


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance that nobody has open, not to be changed."""
    folder = tmp_path_factory.mktemp("sound")
    Engine.create(folder, {"model": {"dimension": DIMENSION}})
    with closing(Engine.open(folder, write=True)) as engine:
        fill(engine, scattered(ITEMS))
    return folder


def copy(sound: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(sound, target)
    return target


def flip(path: Path, at: int, bit: int) -> bytes:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)
    return bytes(data)


def cells(path: Path) -> list[int]:
    """Where the entries of the schema begin in the first page."""
    data = path.read_bytes()
    count = int.from_bytes(data[BTREE_HEADER + 3 : BTREE_HEADER + 5])
    begin = BTREE_HEADER + 8
    return [int.from_bytes(data[begin + 2 * number : begin + 2 * number + 2]) for number in range(count)]


def keys(folder: Path) -> int:
    with closing(Engine.open(folder)) as engine:
        return len(engine.store.keys(EVERYTHING))


@pytest.mark.parametrize(("byte", "bit"), [(0, 7), (1, 0), (2, 7), (2, 0), (3, 3)])
def test_a_bit_in_the_head_of_an_entry(sound: Path, tmp_path: Path, byte: int, bit: int) -> None:
    """Length, id or width of a header: SQLite then reads no table behind it, and a repair loses none."""
    folder = copy(sound, tmp_path / "instance")
    path = folder / DATABASE_NAME
    flip(path, cells(path)[1] + byte, bit)
    done = repair(folder)
    assert (done.lost, done.problems) == ([], [])
    assert keys(folder) == ITEMS


def test_what_is_whole_is_left_alone(sound: Path, tmp_path: Path) -> None:
    """So is what is no database."""
    path = copy(sound, tmp_path / "instance") / DATABASE_NAME
    before = path.read_bytes()
    assert not repair_schema_pages(path)
    assert path.read_bytes() == before
    for content in (b"", b"short", bytes(PAGE_BYTES)):
        path.write_bytes(content)
        assert not repair_schema_pages(path)
        assert path.read_bytes() == content


def test_a_schema_that_cannot_be_restored_is_refused(sound: Path, tmp_path: Path) -> None:
    """Two bits are more than is corrected: the repair says so, and changes nothing."""
    folder = copy(sound, tmp_path / "instance")
    path = folder / DATABASE_NAME
    first, second = cells(path)[1], cells(path)[6]
    flip(path, first + 2, 7)
    before = flip(path, second + 2, 7)
    with pytest.raises(InstanceDamaged, match="restore it from a backup"):
        repair(folder)
    assert path.read_bytes() == before


def test_tables_are_known(sound: Path) -> None:
    """Those of an instance, and not those of any other database."""
    with closing(sqlite3.connect(sound / DATABASE_NAME)) as connection:
        assert has_all_tables(connection)
        assert len(schema_of(connection)) > 20
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE items (id INTEGER)")
        assert not has_all_tables(connection)


@pytest.mark.extended
def test_any_bit_of_the_first_page(sound: Path, tmp_path: Path) -> None:
    """All is there afterwards, or nothing was changed: never an instance without what it held."""
    chance = random.Random(7)
    refused = 0
    for _ in range(150):
        folder = copy(sound, tmp_path / "instance")
        path = folder / DATABASE_NAME
        at = chance.choice((chance.randrange(BTREE_HEADER, 160), chance.randrange(2600, PAGE_BYTES)))
        before = flip(path, at, chance.randrange(8))
        try:
            done = repair(folder)
        except InstanceDamaged:
            refused += 1
            assert path.read_bytes() == before, at
            continue
        assert (done.lost, done.problems, keys(folder)) == ([], [], ITEMS), at
    assert refused <= 5
