"""A new instance meets each fault at each step of its creation: what is acknowledged afterwards outlives the power."""

from __future__ import annotations

import errno
import random
from itertools import count
from pathlib import Path

import pytest

from imgsearch.errors import StorageError
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.types import AddPicture
from imgsearch.values import Key
from tests.durability.power_loss import Loss
from tests.simulation.given import GivenInstance, create
from tests.simulation.machine import Clock, Cut, Event, Machine, PowerLoss
from tests.simulation.run import world
from tests.simulation.sqlite_files import unavailable
from tests.storage.arithmetic import Sight

REASON = unavailable()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
KEY = Key("p", "1.jpg")
IN_WAL_MODE = bytes([2, 2])
"""Bytes 18 and 19 of a database's header."""


EACH_STEP = [pytest.param(what, 1, marks=pytest.mark.extended) for what in (errno.EIO, Cut.POWER)]


@pytest.mark.parametrize(("what", "pace"), [(errno.EIO, 3), (errno.EMFILE, 5), (Cut.POWER, 4), *EACH_STEP])
def test_an_instance_whose_creation_failed_is_created_by_the_next_command(
    tmp_path: Path, what: int | Cut, pace: int
) -> None:
    """It lacks nothing that one without faults has: readers wait for no writer, and no power loss takes it away."""
    for step in count(0, pace):
        home = tmp_path / str(step)
        home.mkdir()
        machine = Machine(home, random.Random(step))
        with world(Clock()) as boot:
            boot(machine)
            try:
                with machine.plan([Event(step, what)]):
                    create(home / "instance")
            except StorageError:
                assert machine.seen
            except PowerLoss:
                machine = machine.restart(tmp_path / f"{step}-again", Loss.SOME)
                boot(machine)
            folder = machine.home / "instance"
            if not GivenInstance.exists(folder):
                create(folder)
            with GivenInstance.open(folder) as instance:
                instance.apply([AddPicture("here", KEY, Sight(1))])
                assert (folder / DATABASE_NAME).read_bytes()[18:20] == IN_WAL_MODE
                after = machine.restart(tmp_path / f"{step}-after", Loss.ALL)
            boot(after)
            with GivenInstance.open(after.home / "instance") as instance:
                assert instance.item(KEY).key == KEY
        if not machine.seen:
            break
    assert step > 10
