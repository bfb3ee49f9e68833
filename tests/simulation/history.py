"""What an instance has held, state by state, and which of these states an answer may be of.

States follow each other in one line. A write in progress has put its states at the end of it; the ``floor`` is the
latest state that is known to be committed, because it was acknowledged or because somebody has seen it. An answer must
be that of one state between the floor at its start and the end of the line at its end, so nobody who asks later sees
an older state than somebody who asked before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tests.simulation.answers import UNDECIDED, Expected
from tests.storage.known import State

__all__ = ["Finding", "History"]

KEPT = 64
"""States whose answers are kept."""


class Finding(AssertionError):
    """Something is not as it must be."""


class History:
    """The line of states."""

    def __init__(self) -> None:
        self._line = [State()]
        self.floor = 0
        self.judged, self.undecided = 0, 0
        """How many answers were judged, and how many of them were accepted only because they depend on rounding."""
        self._answers: dict[int, Expected] = {}

    @property
    def present(self) -> State:
        """The latest state that is known to be committed."""
        return self._line[self.floor]

    def begin(self, states: Sequence[State]) -> int:
        """A write begins, which may lead to these states, in this order; returns where the line ended before.

        Nothing is in progress.
        """
        assert self.floor == len(self._line) - 1
        self._line += states
        return self.floor

    def acknowledge(self, position: int) -> None:
        """The state at a position is committed."""
        self.floor = max(self.floor, position)

    def finish(self) -> None:
        """The write has done all that it was to do."""
        self.floor = len(self._line) - 1

    def settle(self, now: State) -> int:
        """The write has ended, somehow, and this is what was found then; returns how many of its states were lost.

        Raises:
            Finding: it is no state that may be there.
        """
        for position in range(self.floor, len(self._line)):
            if is_same(self._line[position], now):
                lost = len(self._line) - 1 - position
                del self._line[position + 1 :]
                self._answers = {at: known for at, known in self._answers.items() if at <= position}
                self.floor = position
                return lost
        missing = difference(self._line[self.floor], now)
        raise Finding(f"none of {len(self._line) - self.floor} states that may be there is: {missing}")

    def possible(self) -> Sequence[State]:
        """The states of which one is there."""
        return self._line[self.floor :]

    def replace(self, now: State) -> None:
        """What is there is known to be something else, after damage."""
        self._line.append(now)
        self.finish()

    def window(self, start: int) -> range:
        """Positions of the states that an answer may be of which was begun when the floor was ``start``."""
        return range(start, len(self._line))

    def expected(self, position: int) -> Expected:
        """The answers in a state."""
        if position not in self._answers:
            if len(self._answers) >= KEPT:
                del self._answers[next(iter(self._answers))]
            self._answers[position] = Expected(self._line[position])
        return self._answers[position]

    def judge(self, positions: Iterable[int], fault: Callable[[Expected], str | None]) -> list[int]:
        """The positions, of these, of states that an answer may be of; there is at least one.

        Args:
            positions: of the states that it may be of so far.
            fault: what speaks against one; None: nothing does; UNDECIDED: nobody can say.

        Raises:
            Finding
        """
        tried = list(positions)
        faults = [fault(self.expected(position)) for position in tried]
        left = [position for position, found in zip(tried, faults, strict=True) if found in (None, UNDECIDED)]
        self.judged += 1
        self.undecided += UNDECIDED in faults and None not in faults
        if not left:
            raise Finding(f"an answer is that of none of {len(tried)} states: {faults[0]}")
        return left

    def saw(self, positions: Sequence[int]) -> None:
        """An answer was of one of these states."""
        self.acknowledge(min(positions))


def is_same(one: State, other: State) -> bool:
    """Whether two states hold the same."""
    return one.last_id == other.last_id and one.items == other.items


def difference(expected: State, found: State) -> str:
    """In which items two states differ, in words."""
    keys = sorted(
        key for key in expected.items.keys() | found.items.keys() if expected.items.get(key) != found.items.get(key)
    )
    told = [f"{key}: {expected.items.get(key)} → {found.items.get(key)}" for key in keys[:3]]
    return f"{len(keys)} items differ, last id {expected.last_id} → {found.last_id}; {'; '.join(told)}"
