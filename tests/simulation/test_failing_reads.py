"""A disk that fails to read once: who asked is told so, nothing is lost, and the next one gets an answer."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import pytest

from imgsearch.errors import InstanceDamaged, InvalidExport, StorageError
from imgsearch.search.options import SearchOptions
from imgsearch.storage.integrity.problems import Damage
from imgsearch.storage.sqlite.schema import PAGE_BYTES
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.types import AddPicture
from imgsearch.values import Key
from tests.simulation.given import GivenInstance, create, feature_of
from tests.simulation.machine import Machine
from tests.simulation.sqlite_files import unavailable
from tests.storage.arithmetic import SUBJECT, Sight

REASON = unavailable()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
KEYS = [Key("p", f"{number}.jpg") for number in range(6)]


@pytest.fixture
def machine(machine: Machine) -> Machine:
    """With an indexed instance of a few items."""
    create(machine.home / "instance")
    with GivenInstance.open(machine.home / "instance") as instance:
        instance.apply([AddPicture("here", key, Sight(number)) for number, key in enumerate(KEYS)])
        instance.update(product_id="p", attributes={"int_attr": 3})
        instance.rebuild()
    return machine


def _add_again(instance: GivenInstance) -> None:
    """The same pictures under other keys: what is stored of them is recalled."""
    instance.apply([AddPicture("there", Key("q", key.pic_name), Sight(number)) for number, key in enumerate(KEYS)])


def _search(instance: GivenInstance) -> None:
    with instance.searching() as searcher:
        assert len(searcher.by_feature(feature_of(2, SUBJECT)).hits) > 0


def _search_by_picture(instance: GivenInstance) -> None:
    """With a stored picture, a filter, and one picture of each product."""
    options = SearchOptions(filter="int_attr=3", distinct_product=True, any_category=True)
    with instance.searching() as searcher:
        assert len(searcher.by_picture(Sight(2), search=options).hits) > 0
        assert len(searcher.by_name(KEYS[3]).hits) > 0


def _export_and_import(instance: GivenInstance) -> None:
    folder = instance.folder.with_name("export")
    shutil.rmtree(folder, ignore_errors=True)
    assert instance.export(folder) >= len(KEYS)
    list(instance.import_stream(folder))


def _duplicates(instance: GivenInstance) -> None:
    with instance.duplicates(level="similar") as found:
        list(found.groups)


def _page(instance: GivenInstance) -> None:
    with instance.listing("int_attr=3", num=3) as page:
        list(page.items)


DONE: dict[str, Callable[[GivenInstance], object]] = {
    "add": _add_again,
    "search": _search,
    "search by picture": _search_by_picture,
    "export and import": _export_and_import,
    "duplicates": _duplicates,
    "info": lambda instance: (instance.info(), instance.count(), instance.index_state()),
    "find": lambda instance: [instance.find(key) for key in KEYS],
    "page": _page,
    "dry run": lambda instance: list(instance.dry_run([AddPicture("here", KEYS[0], Sight(0))])),
    "delete by filter": lambda instance: instance.delete_matching("int_attr=77"),
    "index": lambda instance: instance.index(),
    "reset tuning": lambda instance: instance.reset_tuning(),
    "list": lambda instance: list(instance.items()),
    "update": lambda instance: instance.update(product_id="p", attributes={"int_attr": 4}),
    "delete": lambda instance: instance.delete("q"),
    "rebuild": lambda instance: instance.rebuild(),
    "check": lambda instance: GivenInstance.check(instance.folder, read_data=True),
    "repair": lambda instance: GivenInstance.repair(instance.folder),
}


@pytest.mark.parametrize("name", DONE)
def test_a_read_that_fails_costs_nothing_but_the_answer(machine: Machine, name: str) -> None:
    """Whichever read it is; one in three is tried. It is told as an error of the storage, not as SQLite's."""
    folder = machine.home / "instance"
    failed = 0
    for number in count(0, 3):
        machine.seen.clear()
        try:
            with machine.plan([], number), GivenInstance.open(folder) as instance:
                DONE[name](instance)
        except (StorageError, InstanceDamaged, InvalidExport):
            assert machine.seen
            failed += 1
        if not machine.seen:
            break
        with GivenInstance.open(folder) as instance:
            assert {item.key for item in instance.items()} >= set(KEYS)
    assert failed > 3


@pytest.mark.extended
def test_a_repair_loses_no_more_than_what_is_damaged(machine: Machine) -> None:
    """Not for a read that fails once: no other items, and not which ids were in use. One read of eight is tried."""
    folder = machine.home / "instance"
    damaged, last_id = KEYS[0], 0
    for number in count(1, 8):
        machine.seen.clear()
        with GivenInstance.open(folder) as instance:
            instance.apply([AddPicture("here", key, Sight(8)) for key in (damaged, Key("q", "1.jpg"))])
            assert instance.item(damaged).id > last_id
            last_id = instance.item(Key("q", "1.jpg")).id
            instance.delete("q")
            damaged_id = instance.item(damaged).id
        with closing(sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)) as connection:
            connection.execute("DELETE FROM features WHERE id = ?", (damaged_id,))
        with suppress(StorageError, InstanceDamaged), machine.plan([], number):
            GivenInstance.repair(folder)
        assert GivenInstance.repair(folder).problems == []
        with GivenInstance.open(folder) as instance:
            assert {item.key for item in instance.items()} == {*KEYS} - {damaged}
        if not machine.seen:
            break
    assert number > 100


def test_a_repair_brings_back_all_but_what_an_unreadable_sector_held(machine: Machine) -> None:
    """Wherever it is behind the first page. What cannot be read is told as an error of the storage."""
    folder = machine.home / "instance"
    path = folder / DATABASE_NAME
    lost = 0
    for offset in range(PAGE_BYTES, path.stat().st_size, PAGE_BYTES):
        with GivenInstance.open(folder) as instance:
            instance.apply([AddPicture("here", key, Sight(number)) for number, key in enumerate(KEYS)])
        machine.spoil(path, offset)
        with suppress(StorageError, InstanceDamaged), GivenInstance.open(folder) as instance:
            list(instance.items())
            _search(instance)
        repair = GivenInstance.repair(folder)
        assert GivenInstance.repair(folder).problems == []
        with GivenInstance.open(folder) as instance:
            left = {item.key for item in instance.items()}
            gone = {*KEYS} - left
            assert {(loss.product_id, loss.pic_name) for loss in repair.lost} >= {
                (key.product_id, key.pic_name) for key in gone
            }
            with instance.searching() as searcher:
                assert searcher.by_feature(feature_of(2, SUBJECT)).found == len(left)
        lost += len(gone)
        machine.heal()
    assert lost > 0


def test_an_index_with_an_unreadable_sector_is_rebuilt(machine: Machine) -> None:
    """By a repair, and by a writer that would extend it; a search that needs the sector says so."""
    folder = machine.home / "instance"
    for mend in (lambda: GivenInstance.repair(folder), lambda: _add_and_index(folder)):
        (path,) = folder.glob("*.faiss")
        machine.spoil(path, 0)
        with GivenInstance.open(folder) as instance, pytest.raises(InstanceDamaged, match="run 'imgsearch rebuild'"):
            _search(instance)
        assert [one.damage for one in GivenInstance.check(folder, read_data=True)] == [Damage.INDEX]
        mend()
        assert [one for one in GivenInstance.check(folder, read_data=True) if not one.damage.is_harmless] == []
        with GivenInstance.open(folder) as instance:
            _search(instance)


def _add_and_index(folder: Path) -> None:
    with GivenInstance.open(folder) as instance:
        instance.apply([AddPicture("here", Key("r", "1.jpg"), Sight(9))])
        with instance._opened.writing(0) as engine:
            engine.refresh()
