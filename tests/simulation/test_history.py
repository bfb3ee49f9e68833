"""The checker: what it takes for wrong."""

from __future__ import annotations

from functools import partial

import pytest

from tests.simulation.answers import UNDECIDED, Expected
from tests.simulation.history import Finding, History
from tests.storage.known import State

STATES = [State(last_id=number) for number in (1, 2, 3)]


def answered(last_id: int, expected: Expected) -> str | None:
    return None if expected.state.last_id == last_id else "another"


def test_an_answer_is_of_a_state_in_its_time() -> None:
    """Not of an older one than was acknowledged, and not of one that is not begun."""
    history = History()
    history.begin(STATES)
    history.acknowledge(2)
    left = history.judge(history.window(history.floor), partial(answered, 3))
    for other in (1, 4):
        with pytest.raises(Finding, match="none of 2 states"):
            history.judge(history.window(history.floor), partial(answered, other))
    history.saw(left)
    with pytest.raises(Finding):
        history.judge(history.window(history.floor), partial(answered, 2))


def test_an_answer_that_depends_on_rounding_is_accepted_and_counted() -> None:
    """It is not counted if it certainly matches one of the states."""
    history = History()
    history.begin(STATES)
    history.acknowledge(2)
    faults: dict[int, str | None] = {2: UNDECIDED, 3: "another"}
    assert history.judge(history.window(2), lambda expected: faults[expected.state.last_id]) == [2]
    assert (history.judged, history.undecided) == (1, 1)
    faults[3] = None
    assert history.judge(history.window(2), lambda expected: faults[expected.state.last_id]) == [2, 3]
    assert (history.judged, history.undecided) == (2, 1)


def test_what_is_found_after_a_crash_is_a_state_in_its_time() -> None:
    """What was acknowledged is there; of the rest, a beginning."""
    history = History()
    history.begin(STATES)
    history.acknowledge(1)
    with pytest.raises(Finding):
        history.settle(State())
    assert history.settle(State(last_id=2)) == 1
    assert history.present.last_id == 2
    assert list(history.window(history.floor)) == [2]
