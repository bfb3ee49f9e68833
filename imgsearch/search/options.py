"""What a search can be asked, and what it answers."""

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
    """What to return, whatever the query picture is.

    Raises:
        InvalidPaging, InvalidFilter, UsageError
    """

    num: int = 10
    """Results at most, 1 to 100."""
    start: int = 0
    """Results to pass over first, 0 to 499; ``start + num`` at most 500."""
    any_category: bool = False
    """Search all categories of a product instance, whatever category is given or predicted."""
    filter: str | None = None
    """An expression over attributes; it selects first, ranking comes then."""
    distinct_product: bool = False
    """The best result of each ProductId only."""
    min_score: float = 0.0
    """Results with a lower Score are left out, 0 to 1."""
    exclude_self: bool = False
    """Leave out the query picture itself, under whatever name it is indexed."""
    lift: bool = True
    """Let the best picture of a product lift its others. Without: each stands by its own likeness and its siblings', so
    one product does not fill the first page. Instances with features of version 2 or older never lift."""

    def __post_init__(self) -> None:
        for name in ("num", "start"):
            number = whole_number(getattr(self, name))
            if number is None:
                raise InvalidPaging(
                    f"{name} {getattr(self, name)!r} is not a whole number",
                    code=f"Invalid{name.capitalize()}Parameter",
                )
            object.__setattr__(self, name, number)
        for name in ("any_category", "distinct_product", "exclude_self", "lift"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} {getattr(self, name)!r} is not True or False")
        if not isinstance(self.filter, str | None):
            raise InvalidFilter(f"the filter {self.filter!r} is not text")
        if not isinstance(self.min_score, SupportsFloat):
            raise UsageError(f"the smallest score {self.min_score!r} is not a number")
        object.__setattr__(self, "min_score", float(self.min_score))
        if not 1 <= self.num <= MAX_NUM:
            raise InvalidPaging(f"num {self.num} is not between 1 and {MAX_NUM}", code="InvalidNumParameter")
        if not 0 <= self.start <= MAX_START:
            raise InvalidPaging(f"start {self.start} is not between 0 and {MAX_START}", code="InvalidStartParameter")
        if self.start + self.num > MAX_RESULTS:
            raise InvalidPaging(
                f"start {self.start} + num {self.num} is more than {MAX_RESULTS} results in all",
                code="OverflowMaxResultNum",
            )
        if not 0.0 <= self.min_score <= 1.0:
            raise UsageError(f"the smallest score {self.min_score} is not between 0 and 1")


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one query."""

    found: int
    """How many items met the category and the filter."""
    hits: list[Hit]
    category_id: int | None
    """The category that was given or predicted; 88888888 in a generic instance; None of a text without one."""
    confidence: float | None
    """Chance of the predicted category, 0 to 1; None where it was not predicted."""
    searched_categories: tuple[int, ...]
    """The categories that results belong to: more than one where the prediction is unsure, none where all count."""
    region: Region | None
    """The region of the query picture that was used; for an indexed one, the stored region; None of a text."""
    subjects: tuple[Region, ...]
    """All subjects found in the query picture (MultiRegion)."""
    seconds: float
