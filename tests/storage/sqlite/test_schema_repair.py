"""The schema's own pages: one flipped bit in their structure is corrected, and no table is ever taken for empty."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from imgsearch.errors import InstanceDamaged, InstanceLocked
from imgsearch.filters.tree import EVERYTHING, product_condition
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.check import check
from imgsearch.storage.integrity.repair import repair
from imgsearch.storage.sqlite.schema import PAGE_BYTES, schema_of
from imgsearch.storage.sqlite.schema_repair import has_all_tables, repair_schema_pages, restore_schema
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.storage.sqlite.wal import FRAME, HEADER, log_of
from tests.storage.builders import DIMENSION, at_work, copied, fill, flip, scattered

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


@pytest.fixture(scope="module")
def logged(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after a kill, without one item: its removal is in the log only, and the first page is not."""
    folder = tmp_path_factory.mktemp("logged")
    origin = copied(sound, folder / "origin")
    with closing(Engine.open(origin)) as reading, reading.store.reading():
        reading.store.counts()
        with closing(Engine.open(origin, write=True)) as engine, engine.store.writing():
            engine.store.delete(product_condition("p0"))
        left = copied(origin, folder / "left")
    assert 1 not in logged_pages(left)
    return left


def logged_pages(folder: Path) -> list[int]:
    """Numbers of the pages in the log."""
    log = log_of(folder / DATABASE_NAME).read_bytes()
    starts = range(HEADER.size, len(log), FRAME.size + PAGE_BYTES)
    assert starts
    return [FRAME.unpack_from(log, start)[0] for start in starts]


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
    folder = copied(sound, tmp_path / "instance")
    path = folder / DATABASE_NAME
    flip(path, cells(path)[1] + byte, bit)
    done = repair(folder)
    assert (done.lost, done.problems) == ([], [])
    assert keys(folder) == ITEMS


@pytest.mark.parametrize("place", ["schema", "header"])
def test_a_bit_in_the_first_page_beside_a_log(logged: Path, tmp_path: Path, place: str) -> None:
    """Corrected as well, and what only the log has is kept."""
    folder = copied(logged, tmp_path / "instance")
    path = folder / DATABASE_NAME
    flip(path, cells(path)[1] + 2 if place == "schema" else 3, 7)
    done = repair(folder)
    assert (done.lost, done.problems) == ([], [])
    assert keys(folder) == ITEMS - 1


def test_a_bit_in_the_schema_beside_a_log_that_is_read(logged: Path, tmp_path: Path) -> None:
    """While somebody reads, the log cannot be moved: the repair says so, and does not ask for a backup."""
    folder = copied(logged, tmp_path / "instance")
    path = folder / DATABASE_NAME
    reading = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True, isolation_level=None)\n"
        "connection.execute('BEGIN')\n"
        "connection.execute('SELECT count(*) FROM items').fetchone()\n"
        "print('reading', flush=True)\n"
        "sys.stdin.readline()"
    )
    with at_work(reading, path, told="reading"):
        flip(path, cells(path)[1] + 2, 7)
        with pytest.raises(InstanceLocked, match="end them"):
            repair(folder)
    repair(folder)
    assert keys(folder) == ITEMS - 1


def test_what_vacuum_has_rewritten_is_put_in_order(sound: Path, tmp_path: Path) -> None:
    """It is reported as such, and nothing is lost, although each table begins where another one did."""
    folder = copied(sound, tmp_path / "instance")
    path = folder / DATABASE_NAME
    with closing(sqlite3.connect(sound / DATABASE_NAME)) as connection:
        path.unlink()
        connection.execute("VACUUM INTO ?", (str(path),))
    with closing(sqlite3.connect(path)) as connection:
        before = schema_of(connection)
        restore_schema(connection)
        assert schema_of(connection) == before
    with pytest.raises(InstanceDamaged, match="VACUUM"):
        Engine.open(folder)
    assert ["VACUUM" in one.message for one in check(folder, read_data=True)] == [True]
    done = repair(folder)
    assert (done.lost, done.problems) == ([], [])
    assert keys(folder) == ITEMS


def test_what_is_whole_is_left_alone(sound: Path, tmp_path: Path) -> None:
    """So is what is no database."""
    path = copied(sound, tmp_path / "instance") / DATABASE_NAME
    before = path.read_bytes()
    assert not repair_schema_pages(path)
    assert path.read_bytes() == before
    for content in (b"", b"short", bytes(PAGE_BYTES)):
        path.write_bytes(content)
        assert not repair_schema_pages(path)
        assert path.read_bytes() == content


def test_a_schema_that_cannot_be_restored_is_refused(sound: Path, tmp_path: Path) -> None:
    """Two bits are more than is corrected: the repair says so, and changes nothing."""
    folder = copied(sound, tmp_path / "instance")
    path = folder / DATABASE_NAME
    first, second = cells(path)[1], cells(path)[6]
    flip(path, first + 2, 7)
    flip(path, second + 2, 7)
    before = path.read_bytes()
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
        folder = copied(sound, tmp_path / "instance")
        path = folder / DATABASE_NAME
        at = chance.choice((chance.randrange(BTREE_HEADER, 160), chance.randrange(2600, PAGE_BYTES)))
        flip(path, at, chance.randrange(8))
        before = path.read_bytes()
        try:
            done = repair(folder)
        except InstanceDamaged:
            refused += 1
            assert path.read_bytes() == before, at
            continue
        assert (done.lost, done.problems, keys(folder)) == ([], [], ITEMS), at
    assert refused <= 5
