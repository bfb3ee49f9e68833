"""Options and results of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, SupportsFloat

from imgsearch.errors import InvalidFilter, InvalidPaging, UsageError
from imgsearch.types import MAX_RESULTS
from imgsearch.values import whole_number

if TYPE_CHECKING:
    from imgsearch.search.ranking import Hit
    from imgsearch.values import Region

__all__ = ["SearchOptions", "SearchResult"]

MAX_NUM: Final = 100
MAX_START: Final = 499


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What to return; independent of the query picture.

    Raises:
        InvalidPaging, InvalidFilter, UsageError
    """

    num: int = 10
    """Maximum number of results, 1 to 100."""
    start: int = 0
    """Number of results to skip, 0 to 499; ``start + num`` is at most 500."""
    any_category: bool = False
    """Search all categories of a product instance, ignoring the given or predicted one."""
    filter: str | None = None
    """An expression over attributes; filters before ranking."""
    distinct_product: bool = False
    """Return only the best result of each ProductId."""
    min_score: float = 0.0
    """Leave out results with a lower Score, 0 to 1."""
    exclude_self: bool = False
    """Leave out the query picture itself, under any name."""
    lift: bool = True
    """Let the best picture of a product lift its others. Without it, pictures are ranked by their own similarity and
    their siblings, so one product does not fill the first page. Feature versions up to 2 have no lift."""

    def __post_init__(self) -> None:
        for name in ("num", "start"):
            number = whole_number(getattr(self, name))
            if number is None:
                raise InvalidPaging(
                    f"{name} {getattr(self, name)!r} is not an integer",
                    code=f"Invalid{name.capitalize()}Parameter",
                )
            object.__setattr__(self, name, number)
        for name in ("any_category", "distinct_product", "exclude_self", "lift"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} {getattr(self, name)!r} is not True or False")
        if not isinstance(self.filter, str | None):
            raise InvalidFilter(f"the filter {self.filter!r} is not text")
        if not isinstance(self.min_score, SupportsFloat):
            raise UsageError(f"the minimum score {self.min_score!r} is not a number")
        object.__setattr__(self, "min_score", float(self.min_score))
        if not 1 <= self.num <= MAX_NUM:
            raise InvalidPaging(f"num {self.num} is not between 1 and {MAX_NUM}", code="InvalidNumParameter")
        if not 0 <= self.start <= MAX_START:
            raise InvalidPaging(f"start {self.start} is not between 0 and {MAX_START}", code="InvalidStartParameter")
        if self.start + self.num > MAX_RESULTS:
            raise InvalidPaging(
                f"start {self.start} + num {self.num} exceeds the limit of {MAX_RESULTS} results",
                code="OverflowMaxResultNum",
            )
        if not 0.0 <= self.min_score <= 1.0:
            raise UsageError(f"the minimum score {self.min_score} is not between 0 and 1")


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one query."""

    found: int
    """How many items match category and filter."""
    hits: list[Hit]
    category_id: int | None
    """The given or predicted category; 88888888 in a generic instance; None for text without one."""
    confidence: float | None
    """Probability of the predicted category, 0 to 1; None if not predicted."""
    searched_categories: tuple[int, ...]
    """The categories searched: several if the prediction is uncertain, empty for all."""
    region: Region | None
    """The region of the query picture; for an indexed picture, the stored region; None for text."""
    subjects: tuple[Region, ...]
    """All subjects found in the query picture (MultiRegion)."""
    seconds: float
    left_out: int = 0
    """How many items are the query picture, under whatever name, and were left out (``exclude_self``)."""
    warning: str | None = None
    """What is wrong with a query picture that was used all the same."""
