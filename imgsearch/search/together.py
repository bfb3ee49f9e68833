"""Grouping: answering the questions of concurrent callers in one call.

A caller that finds nobody at work answers its own questions at once, so a single caller never waits. Callers that come
meanwhile wait; the first of them then answers for all. The more callers, the larger the groups.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

__all__ = ["Together"]

Options = TypeVar("Options", bound="Hashable")
Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass(eq=False, slots=True)
class _Asked(Generic[Question, Answer]):
    """The questions of one caller."""

    questions: Sequence[Question]
    answers: list[Answer] | None = None
    error: Exception | None = None

    @property
    def is_answered(self) -> bool:
        return self.answers is not None or self.error is not None


@dataclass(eq=False, slots=True)
class _Line(Generic[Question, Answer]):
    """Callers with the same options."""

    turn: Lock = field(default_factory=Lock)
    """Held by the answering caller."""
    waiting: deque[_Asked[Question, Answer]] = field(default_factory=deque)
    callers: int = 0


class Together(Generic[Options, Question, Answer]):
    """Calls a function with the questions of several threads at once.

    Questions with different options are independent and are answered in parallel.

    Args:
        answer: maps options and questions to their answers; called by one thread at a time per options.
        most: maximum number of questions per call, unless one caller has more.
    """

    def __init__(self, answer: Callable[[Options, Sequence[Question]], list[Answer]], most: int) -> None:
        self._answer = answer
        self._most = most
        self._lock = Lock()
        self._lines: dict[Options, _Line[Question, Answer]] = {}

    def __call__(self, options: Options, questions: Sequence[Question]) -> list[Answer]:
        """Return the answers to the questions; raises the errors of the function."""
        mine: _Asked[Question, Answer] = _Asked(questions)
        with self._lock:
            line = self._lines.setdefault(options, _Line())
            line.callers += 1
            line.waiting.append(mine)
        try:
            with line.turn:
                if not mine.is_answered:
                    self._answer_group(options, self._group(line, mine))
        finally:
            with self._lock:
                line.callers -= 1
                if not line.callers:
                    del self._lines[options]
        if mine.error is not None:
            raise mine.error
        assert mine.answers is not None
        return mine.answers

    def _group(self, line: _Line[Question, Answer], mine: _Asked[Question, Answer]) -> list[_Asked[Question, Answer]]:
        """My questions and other waiting ones, in order."""
        group = [mine]
        count = len(mine.questions)
        with self._lock:
            if mine in line.waiting:  # otherwise another caller took it and was interrupted
                line.waiting.remove(mine)
            while line.waiting and count + len(line.waiting[0].questions) <= self._most:
                count += len(line.waiting[0].questions)
                group.append(line.waiting.popleft())
        return group

    def _answer_group(self, options: Options, group: list[_Asked[Question, Answer]]) -> None:
        try:
            answers = iter(self._answer(options, [question for asked in group for question in asked.questions]))
        except Exception as error:  # raised in the asking thread
            if len(group) == 1:
                group[0].error = error
                return
            for asked in group:  # one failure must not affect the others
                self._answer_group(options, [asked])
            return
        for asked in group:
            asked.answers = [next(answers) for _ in asked.questions]
