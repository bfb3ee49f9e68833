"""The power goes before any step of a command: what was acknowledged is there, whatever of the rest was lost."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Container
from pathlib import Path

import pytest

from tests.durability.power_loss import Disk, Loss
from tests.durability.system_calls import Action, Call, Decision, watched
from tests.durability.trials import CASES, Course

pytestmark = pytest.mark.usefixtures("watching")


def without_power(course: Course, target: Path, steps: Container[int]) -> int:
    """Run the command once, and look at what each of these steps would have left; return how many steps there were."""
    course.reset()
    home, chance = course.place.home.resolve(), random.Random(course.case.name)
    disk, count = Disk(home), 0

    def look(step: str) -> None:
        lines = len(course.place.lines())
        for loss in Loss:
            shutil.rmtree(target, ignore_errors=True)
            disk.restore(target, loss, chance)
            course.assert_kept(
                target / course.place.instance.name, lines, f"{course.case}, {loss.value}, before step {count}: {step}"
            )

    def decide(call: Call) -> Decision:
        nonlocal count
        if call.changes:
            if count in steps:
                look(call.step)
            count += 1
        disk.follow(call)
        return Action.PASS

    assert course.run(decide) == 0
    look("after the last one")
    return count


@pytest.mark.parametrize("name", ["init", "add, replace, delete and change", "rebuild"])
def test_power_lost_at_some_steps(course_of: Callable[[str], Course], tmp_path: Path, name: str) -> None:
    """Once near its end, and when the command has ended."""
    course = course_of(name)
    without_power(course, tmp_path / "lost", {len(course.steps) - 4})


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_power_lost_at_every_step(course_of: Callable[[str], Course], tmp_path: Path, name: str) -> None:
    course = course_of(name)
    assert without_power(course, tmp_path / "lost", range(10_000)) == len(course.steps)


def write_synced(folder: Path) -> None:
    """A file that is synced, with its name; then more of everything that is not."""
    first = os.open(folder / "a", os.O_CREAT | os.O_WRONLY)
    os.write(first, b"synced")
    os.fsync(first)
    os.fsync(os.open(folder, os.O_RDONLY))
    os.write(first, b" and not")
    (folder / "a").rename(folder / "b")
    os.write(os.open(folder / "c", os.O_CREAT | os.O_WRONLY), bytes(range(256)) * 8)


def test_what_is_synced_stays_and_the_rest_may_not(tmp_path: Path) -> None:
    """The instrument itself."""
    home = tmp_path / "home"
    home.mkdir()
    disk = Disk(home)

    def decide(call: Call) -> Decision:
        disk.follow(call)
        return Action.PASS

    assert watched(write_synced, (home,), home, decide) == 0

    def left(loss: Loss, seed: int = 0) -> dict[str, bytes]:
        target = tmp_path / f"{loss.name} {seed}"
        disk.restore(target, loss, random.Random(seed))
        return {path.name: path.read_bytes() for path in target.iterdir()}

    assert left(Loss.ALL) == {"a": b"synced"}
    assert left(Loss.DATA) == {"b": b"synced", "c": b""}
    some = [left(Loss.SOME, seed) for seed in range(1, 60)]
    assert {frozenset(state) for state in some} == {frozenset("a"), frozenset("b"), frozenset("bc")}
    assert {state.get("a", state.get("b")) for state in some} == {b"synced", b"synced and not"}
    assert len({state["c"] for state in some if "c" in state}) > 5
