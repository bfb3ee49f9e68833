"""The simulated computer of the tests."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.simulation.machine import Clock, Machine
from tests.simulation.run import world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A computer with an empty disk, whose steps are those of this process."""
    home = tmp_path / "disk"
    home.mkdir()
    one = Machine(home, random.Random(1))
    with world(Clock()) as boot:
        boot(one)
        yield one
