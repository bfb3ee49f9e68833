"""Overall figures, and the same figures per group."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Breakdown"]

Single = TypeVar("Single")
Figures = TypeVar("Figures")


@dataclass(frozen=True, slots=True)
class Breakdown(Generic[Figures]):
    """Overall figures, and figures by group, sorted by name."""

    overall: Figures
    groups: dict[str, Figures]

    @classmethod
    def of(
        cls, singles: Iterable[tuple[str | None, Single]], summarise: Callable[[list[Single]], Figures]
    ) -> Breakdown[Figures]:
        """Summarise single results, each with its group or None."""
        everything: list[Single] = []
        groups: dict[str, list[Single]] = defaultdict(list)
        for group, single in singles:
            everything.append(single)
            if group is not None:
                groups[group].append(single)
        return Breakdown(summarise(everything), {name: summarise(groups[name]) for name in sorted(groups)})
