"""A system call that fails, whichever one it is: exit code 8 or success, a clear message, and nothing is lost.

The first call fails, then in a new try the second one, and so on until the command succeeds because it makes no further
one. A full disk stays full, and a device that fails goes on failing; both are tried for a single call as well.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import pytest

from tests.durability.system_calls import Action, Call, Decision
from tests.durability.trials import CASES, READING, Course

pytestmark = pytest.mark.usefixtures("watching")


@dataclass(frozen=True)
class Fault:
    """Calls that can fail, and how."""

    decision: Decision
    meets: Callable[[Call], bool]
    lasting: bool
    """From that call on all of them fail, instead of that one alone."""


def takes_space(call: Call) -> bool:
    return call.writes or call.creates or call.name in {"ftruncate", "fallocate", "mkdir", "rename", "link", "symlink"}


def reaches_the_device(call: Call) -> bool:
    return takes_space(call) or call.name in {"fsync", "fdatasync", "unlink", "rmdir"}


FULL = {"disk full": Fault(errno.ENOSPC, takes_space, lasting=True)}
FULL_ONCE = {"full for a moment": Fault(errno.ENOSPC, takes_space, lasting=False)}
FAILING = {"device fails": Fault(errno.EIO, reaches_the_device, lasting=True)}
FAILING_ONCE = {"device fails once": Fault(errno.EIO, reaches_the_device, lasting=False)}
OPEN_FILES = {"too many open files": Fault(errno.EMFILE, lambda call: call.opens, lasting=True)}
OPEN_FILES_ONCE = {"one too many open files": Fault(errno.EMFILE, lambda call: call.opens, lasting=False)}
EACH = FULL | FAILING_ONCE | OPEN_FILES_ONCE
SOME = FULL_ONCE | FAILING | OPEN_FILES
FAULTS = EACH | SOME


class Injector:
    """Lets the call of that number fail, from 0, of those that the fault is about."""

    def __init__(self, fault: Fault, number: int) -> None:
        self._fault = fault
        self._left = number
        self.step: str | None = None

    def __call__(self, call: Call) -> Decision:
        if not self._fault.meets(call):
            return Action.PASS
        self._left -= 1
        if self._left == -1:
            self.step = call.step
        elif self._left >= 0 or not self._fault.lasting:
            return Action.PASS
        return self._fault.decision


def failing(course: Course, name: str, numbers: Iterator[int]) -> set[int]:
    """Try the command with the fault at each of these calls, until there is none; return the exit codes."""
    codes = set()
    for number in numbers:
        course.reset()
        injector = Injector(FAULTS[name], number)
        code = course.run(injector)
        where = f"{course.case}, {name} at call {number}: {injector.step}"
        said = course.place.errors.read_text()
        if injector.step is None:
            assert code == 0, f"{where}: {said}"
            break
        codes.add(code)
        assert code in {0, 8}, f"{where}: {code} {said}"
        assert "Traceback" not in said, f"{where}: {said}"
        if code:
            *_, told = said.splitlines()
            assert re.match("imgsearch: (no space left in|.* cannot be written or read)", told), f"{where}: {said}"
            document = json.loads(course.place.output.read_text().splitlines()[-1])
            assert not document["Success"], where
            assert document["Code"] in {"InstanceOverQuota", "NoPermission"}, where
        course.assert_whole(where)
    return codes


@pytest.mark.extended
@pytest.mark.parametrize(
    ("name", "fault", "first", "step"),
    [
        ("add, replace, delete and change", "disk full", 9, 55),
        ("rebuild", "device fails once", 3, 18),
        ("init", "one too many open files", 2, 9),
        ("init", "device fails once", 60, 20),
        ("search", "one too many open files", 1, 3),
    ],
)
def test_some_calls_fail(course_of: Callable[[str], Course], name: str, fault: str, first: int, step: int) -> None:
    """Evenly from the first to the last of them."""
    assert 8 in failing(course_of(name), fault, count(first, step))


@pytest.mark.long
@pytest.mark.parametrize("fault", EACH)
@pytest.mark.parametrize("name", [*CASES, *READING])
def test_each_call_fails(course_of: Callable[[str], Course], name: str, fault: str) -> None:
    failing(course_of(name), fault, count())


@pytest.mark.long
@pytest.mark.parametrize("fault", SOME)
@pytest.mark.parametrize("name", [*CASES, *READING])
def test_every_fifth_call_fails(course_of: Callable[[str], Course], name: str, fault: str) -> None:
    """The same faults, lasting where those above pass, and passing where they last."""
    failing(course_of(name), fault, count(0, 5))


@pytest.mark.parametrize(
    "name",
    ["add, replace, delete and change", *(pytest.param(name, marks=pytest.mark.long) for name in ("init", "repair"))],
)
def test_writes_that_are_cut_short_or_interrupted_are_gone_on_with(
    course_of: Callable[[str], Course], name: str
) -> None:
    """Of every write half is done, or every second one is interrupted: both are no errors."""
    course = course_of(name)
    course.reset()
    assert course.run(lambda call: Action.SHORT if call.writes and len(call.data()) > 1 else Action.PASS) == 0
    course.assert_whole("all writes cut short")
    course.reset()
    number = count()

    def interrupt(call: Call) -> Decision:
        return errno.EINTR if call.writes and next(number) % 2 else Action.PASS

    assert course.run(interrupt) == 0
    course.assert_whole("every second write interrupted")
