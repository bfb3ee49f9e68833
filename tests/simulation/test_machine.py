"""The simulated computer: it sees what the kernel sees, refuses what it is told to, and forgets what was not synced."""

from __future__ import annotations

import asyncio
import errno
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import pytest

from imgsearch.durable_fs import atomic_file
from imgsearch.errors import StorageFull, StorageUnwritable
from imgsearch.types import AddPicture
from imgsearch.values import Key
from tests.durability.power_loss import Loss
from tests.durability.system_calls import Action, Call, Decision, short_name, watched
from tests.durability.system_calls import unavailable as calls_unavailable
from tests.simulation.given import GivenInstance, create
from tests.simulation.machine import Clock, Cut, Event, Machine, PowerLoss
from tests.simulation.run import world
from tests.simulation.sqlite_files import unavailable
from tests.storage.arithmetic import Sight

REASON = unavailable()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
SAME = {"pwrite": "write", "fsync": "sync", "fdatasync": "sync", "ftruncate": "truncate"}
COMPARED = ("write", "sync", "unlink", "rename", "truncate")


def test_other_threads_keep_the_real_time() -> None:
    """A server of another test, in the same process, wakes up as it should; and nobody else moves the clock."""
    clock = Clock()
    with ThreadPoolExecutor(1) as other, world(clock):
        for name in ("time", "monotonic", "perf_counter"):
            real = other.submit(getattr(time, name)).result()
            clock.now, clock.running = 4e9, 4e9
            assert getattr(time, name)() > 4e9 > real
            assert 0 <= other.submit(getattr(time, name)).result() - real < 60
        assert clock.now + clock.running < 8e9 + 1
        assert other.submit(asyncio.run, asyncio.sleep(0.01, "awake")).result(60) == "awake"


def work(home: Path) -> None:
    """A new instance, a picture, an index, and the picture's end."""
    create(home / "instance")
    with GivenInstance.open(home / "instance") as instance:
        instance.apply([AddPicture("here", Key("p", "1.jpg"), Sight(1))])
        instance.delete("p")


def test_it_sees_what_the_kernel_sees(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change of a file, in the same order; but for those of shared memory, and syncs of folders by SQLite."""
    if calls_unavailable() is not None:
        pytest.skip(str(calls_unavailable()))
    seen: list[tuple[str, str]] = []
    step = machine.step

    def noted(name: str, path: Path) -> Cut | int | None:
        seen.append((name, short_name(path, machine.home)))
        return step(name, path)

    monkeypatch.setattr(machine, "step", noted)
    work(machine.home)
    monkeypatch.undo()
    real: list[tuple[str, str]] = []
    home = tmp_path / "real"
    home.mkdir()

    def decide(call: Call) -> Decision:
        if not call.path.is_dir() and not call.path.name.endswith("-shm"):
            real.append((SAME.get(call.name, call.name), short_name(call.path, home)))
        return Action.PASS

    assert watched(work, (home,), home, decide) == 0

    def compared(steps: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Without steps that come in a row: a page is one write or several."""
        kept = [one for one in steps if one[0] in COMPARED and "." in one[1]]
        return [one for one, _ in groupby(kept)]

    assert compared(seen) == compared(real)
    assert len(compared(seen)) > 20


@pytest.mark.parametrize(("what", "error"), [(errno.ENOSPC, StorageFull), (errno.EIO, StorageUnwritable)])
def test_it_refuses_what_it_is_told_to(machine: Machine, what: int, error: type[Exception]) -> None:
    """Once, whoever asks: Python or SQLite."""
    create(machine.home / "instance")
    for at in (0, 12):
        with machine.plan([Event(at, what, lasting=True)]), pytest.raises(error):
            GivenInstance.open(machine.home / "instance").apply([AddPicture("here", Key("p", "1.jpg"), Sight(1))])
    assert any(name.startswith(errno.errorcode[what]) for name in machine.seen)
    with GivenInstance.open(machine.home / "instance") as instance:
        assert len(instance) == 0


def test_power_ends_everything(machine: Machine, tmp_path: Path) -> None:
    """Nothing changes any more, and what was not synced may be gone."""
    with atomic_file(machine.home / "synced") as temporary:
        temporary.write_text("all of it")
    (machine.home / "lost").write_text("not synced")
    with machine.plan([Event(0, Cut.POWER)]), pytest.raises(PowerLoss):
        (machine.home / "never").write_text("too late")
    with pytest.raises(PowerLoss):
        (machine.home / "synced").unlink()
    after = machine.restart(tmp_path / "after", Loss.ALL)
    assert {path.name: path.read_text() for path in after.home.iterdir()} == {"synced": "all of it"}


def test_a_sync_that_fails_is_none(machine: Machine, tmp_path: Path) -> None:
    """What it was to sync may never come to the disk, whatever is synced later."""
    with machine.plan([Event(0, errno.EIO, lasting=True)]), pytest.raises(OSError, match="Input/output"):
        (machine.home / "new").write_text("x")
    target = machine.home / "file"
    with machine.plan([Event(1, errno.EIO)]), pytest.raises(OSError, match="Input/output"), atomic_file(target) as one:
        one.write_text("x" * 5000)
    assert not target.exists()
    assert machine.restart(tmp_path / "after", Loss.ALL).disk.file(tmp_path / "after" / "file") is None
