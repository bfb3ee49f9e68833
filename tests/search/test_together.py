"""Questions that wait together are answered together, and one's failure is not the others'."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from imgsearch.search.together import Together

PATIENCE = 60


class Answers:
    """Squares numbers; waits at the number 0, and refuses negative ones."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.waits, self.go_on = Event(), Event()

    def __call__(self, options: str, questions: Sequence[int]) -> list[int]:
        self.groups.append(list(questions))
        if 0 in questions:
            self.waits.set()
            assert self.go_on.wait(PATIENCE)
        if min(questions) < 0:
            raise ValueError(str(min(questions)))
        return [question * question for question in questions]


def waiting(together: Together[str, int, int], options: str) -> int:
    line = together._lines.get(options)
    return 0 if line is None else len(line.waiting)


def ask(numbers: list[list[int]], most: int = 32) -> tuple[list[list[int] | Exception], Answers]:
    """Have each list asked by a thread, all but the first while the first is being answered."""
    answers = Answers()
    together: Together[str, int, int] = Together(answers, most)
    with ThreadPoolExecutor(len(numbers)) as threads:
        futures = [threads.submit(together, "same", numbers[0])]
        assert answers.waits.wait(PATIENCE)
        for count, some in enumerate(numbers[1:], 1):
            futures.append(threads.submit(together, "same", some))
            while waiting(together, "same") < count:
                Event().wait(0.001)
        answers.go_on.set()
        found: list[list[int] | Exception] = []
        for future in futures:
            error = future.exception(PATIENCE)
            found.append(future.result() if error is None else error)  # type: ignore[arg-type]
    assert not together._lines
    return found, answers


def test_those_that_wait_are_answered_at_once() -> None:
    """One call for all who came while the first was answered; each gets its own answers."""
    found, answers = ask([[0], [1], [2, 3], [4]])
    assert found == [[0], [1], [4, 9], [16]]
    assert answers.groups[0] == [0]
    assert sorted(map(sorted, answers.groups[1:])) == [[1, 2, 3, 4]]


def test_a_group_is_bounded() -> None:
    """What does not fit waits for the next one; a single caller may have more."""
    found, answers = ask([[0], [1, 2], [3], [4, 5, 6, 7]], most=3)
    assert found == [[0], [1, 4], [9], [16, 25, 36, 49]]
    assert max(map(len, answers.groups)) == 4


def test_a_failure_is_told_to_its_own_caller() -> None:
    found, _ = ask([[0], [1], [-2], [3]])
    assert [str(one) for one in found] == ["[0]", "[1]", "-2", "[9]"]


def test_other_options_are_answered_side_by_side() -> None:
    answers = Answers()
    together: Together[str, int, int] = Together(answers, 32)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(together, "one", [0])
        assert answers.waits.wait(PATIENCE)
        assert together("other", [5]) == [25]
        answers.go_on.set()
        assert first.result(PATIENCE) == [0]


def test_a_single_failure_is_raised_as_it_is() -> None:
    with pytest.raises(ValueError, match="-1"):
        Together(Answers(), 32)("same", [-1])
