"""A disk that fails to read once: who asked is told so, nothing is lost, and the next one gets an answer."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import pytest

from imgsearch.errors import InstanceDamaged, StorageError
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.types import AddPicture
from imgsearch.values import Key
from tests.simulation.given import GivenInstance, create, feature_of
from tests.simulation.machine import Clock, Machine
from tests.simulation.run import world
from tests.simulation.sqlite_files import unavailable
from tests.storage.arithmetic import SUBJECT, Sight

REASON = unavailable()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
KEYS = [Key("p", f"{number}.jpg") for number in range(6)]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A computer with an indexed instance of a few items."""
    home = tmp_path / "disk"
    home.mkdir()
    one = Machine(home, random.Random(1))
    with world(Clock()) as boot:
        boot(one)
        create(home / "instance")
        with GivenInstance.open(home / "instance") as instance:
            instance.apply([AddPicture("here", key, Sight(number)) for number, key in enumerate(KEYS)])
            instance.rebuild()
        yield one


def _add_again(instance: GivenInstance) -> None:
    """The same pictures under other keys: what is stored of them is recalled."""
    instance.apply([AddPicture("there", Key("q", key.pic_name), Sight(number)) for number, key in enumerate(KEYS)])


def _search(instance: GivenInstance) -> None:
    with instance.searching() as searcher:
        assert len(searcher.by_feature(feature_of(2, SUBJECT)).hits) > 0


DONE: dict[str, Callable[[GivenInstance], object]] = {
    "add": _add_again,
    "search": _search,
    "list": lambda instance: list(instance.items()),
    "update": lambda instance: instance.update(product_id="p", attributes={"int_attr": 3}),
    "delete": lambda instance: instance.delete("q"),
    "rebuild": lambda instance: instance.rebuild(),
    "check": lambda instance: GivenInstance.check(instance.folder, read_data=True),
    "repair": lambda instance: GivenInstance.repair(instance.folder),
}


@pytest.mark.parametrize("name", DONE)
def test_a_read_that_fails_costs_nothing_but_the_answer(machine: Machine, name: str) -> None:
    """Whichever read it is. It is told as an error of the storage, not as one of SQLite or the system."""
    folder = machine.home / "instance"
    failed = 0
    for number in count():
        machine.seen.clear()
        try:
            with machine.plan([], number), GivenInstance.open(folder) as instance:
                DONE[name](instance)
        except (StorageError, InstanceDamaged):
            assert machine.seen
            failed += 1
        if not machine.seen:
            break
        with GivenInstance.open(folder) as instance:
            assert {item.key for item in instance.items()} >= set(KEYS)
    assert failed > 10


def test_a_repair_loses_no_more_than_what_is_damaged(machine: Machine) -> None:
    """Not for a read that fails once: no other items, and not which ids have been in use. One read in four is tried."""
    folder = machine.home / "instance"
    damaged, last_id = KEYS[0], 0
    for number in count(1, 4):
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
