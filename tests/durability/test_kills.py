"""A command that is killed before any of its steps: nothing acknowledged is lost, nothing is there by halves.

Each system call by which a command changes something in the instance is a step. The long session kills at every one.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable

import pytest

from tests.durability.system_calls import Action, Call, Decision
from tests.durability.trials import CASES, Course

pytestmark = pytest.mark.usefixtures("watching")


def killed_at(course: Course, steps: Iterable[int]) -> list[str]:
    """Kill the command before each of these steps; return the names of the steps."""
    names = []
    for number in steps:
        course.reset()
        killer = _Killer(number)
        code = course.run(killer)
        assert code == -signal.SIGKILL, f"step {number} of {course.case} was not reached"
        names.append(killer.name)
        course.assert_whole(f"{course.case}, killed before step {number}: {killer.name}")
    return names


class _Killer:
    """Kills the process before its step of that number, from 0."""

    def __init__(self, number: int) -> None:
        self._left = number
        self.name = ""

    def __call__(self, call: Call) -> Decision:
        if call.changes:
            if self._left == 0:
                self.name = call.step
                return Action.KILL
            self._left -= 1
        return Action.PASS


def spread(count: int, size: int) -> list[int]:
    """``size`` of the numbers below ``count``, evenly; the last one is among them."""
    return sorted({round((number + 1) * count / size) - 1 for number in range(size)})


@pytest.mark.extended
@pytest.mark.parametrize(
    "name",
    [
        "init",
        "add, replace, delete and change",
        "sync",
        "delete a product",
        "rebuild",
        "rebuild a large instance",
        "reindex",
    ],
)
def test_killed_at_some_steps(course_of: Callable[[str], Course], name: str) -> None:
    """In the middle, and before the last one."""
    course = course_of(name)
    killed_at(course, spread(len(course.steps), 2))


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_killed_at_every_step(course_of: Callable[[str], Course], name: str) -> None:
    course = course_of(name)
    assert killed_at(course, range(len(course.steps))) == course.steps
