"""Fixtures: each case's course is run once; where system calls cannot be watched, what needs it is skipped."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from tests.durability.system_calls import unavailable
from tests.durability.trials import CASES, READING, Course, Place

_unavailable = functools.lru_cache(maxsize=1)(unavailable)


@pytest.fixture
def watching() -> None:
    """System calls can be watched here."""
    reason = _unavailable()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def course_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Course]:
    """A case by its name, with what it does when nothing comes between."""

    @functools.cache
    def course(name: str) -> Course:
        return Course.of((CASES | READING)[name], Place(tmp_path_factory.mktemp("course")))

    return course
