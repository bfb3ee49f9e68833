"""Searching an instance: what can be asked, what is answered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imgsearch.algorithm.models import EMBEDDED_MODELS
from imgsearch.categories import OTHER, Kind
from imgsearch.engine.engine import Query
from imgsearch.engine.filters import Condition, compile_filter
from imgsearch.engine.score import Calibration
from imgsearch.engine.store import EVERYTHING, category_condition
from imgsearch.errors import InvalidPaging, UsageError
from imgsearch.records import PictureOptions

if TYPE_CHECKING:
    from imgsearch.algorithm.pipeline import Pipeline
    from imgsearch.engine.engine import Engine, Hit
    from imgsearch.instance import Instance
    from imgsearch.records import Key, PictureSource, Region

__all__ = ["SearchOptions", "SearchResult", "Searcher"]

MAX_NUM: Final = 100
MAX_START: Final = 499
MAX_RESULTS: Final = 500


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What to return, whatever the query picture is.

    Raises:
        InvalidPaging, UsageError
    """

    num: int = 10
    """Results at most, 1 to 100."""
    start: int = 0
    """Results to pass over first, 0 to 499; ``start + num`` at most 500."""
    any_category: bool = False
    """Search all categories of a product instance, whatever category is given."""
    filter: str | None = None
    """An expression over attributes; it selects first, ranking comes then."""
    distinct_product: bool = False
    """The best result of each ProductId only."""
    min_score: float = 0.0
    """Results with a lower Score are left out, 0 to 1."""
    exclude_self: bool = False
    """Leave out the query picture itself, under whatever name it is indexed."""

    def __post_init__(self) -> None:
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
    category_id: int
    """The category that was given, else 88888888."""
    region: Region
    """The region of the query picture that was used; for an indexed one, the stored region."""
    subjects: tuple[Region, ...]
    """All subjects found in the query picture (MultiRegion)."""
    seconds: float


class Searcher:
    """Answers queries to one instance, with the network kept loaded."""

    def __init__(self, instance: Instance, engine: Engine, pipeline: Pipeline) -> None:
        self._instance = instance
        self._engine = engine
        self._pipeline = pipeline
        # The curve of the release at hand, so that a better one reaches instances that exist.
        record = EMBEDDED_MODELS.get(instance.model.name, instance.model)
        self._calibration = Calibration(record.score_slope, record.score_offset)

    def by_picture(
        self,
        picture: PictureSource,
        options: PictureOptions = PictureOptions(),
        search: SearchOptions = SearchOptions(),
    ) -> SearchResult:
        """Search with a picture; nothing of it is stored.

        Args:
            picture: the query.
            options: CategoryId, Crop and Region of the query picture.
            search: what to return.

        Raises:
            PictureError, UnreadableSource, InvalidRegion, InvalidFilter, InstanceDamaged, InvalidModel, StampMismatch
        """
        begun = time.perf_counter()
        condition = self._condition(options.category_id, search)
        extracted = self._pipeline.extract(picture.read(self._instance.limits.max_bytes), options)
        query = Query(extracted.feature, extracted.content_hash, options.given_region)
        subjects = extracted.subjects or (extracted.region,)
        return self._answer(query, options.category_id, extracted.region, subjects, condition, search, begun)

    def by_name(
        self, key: Key, category_id: int | None = None, search: SearchOptions = SearchOptions()
    ) -> SearchResult:
        """Search with a picture that is indexed.

        Raises:
            ItemNotFound, InvalidFilter, InstanceDamaged
        """
        begun = time.perf_counter()
        condition = self._condition(category_id, search)
        item = self._instance.item(key)
        query = Query(self._engine.store.feature(item.id), item.content_hash, item.region)
        return self._answer(query, category_id, item.region, (item.region,), condition, search, begun)

    def _condition(self, category_id: int | None, search: SearchOptions) -> Condition:
        conditions = []
        if self._instance.kind is Kind.PRODUCT and category_id is not None and not search.any_category:
            conditions.append(category_condition((category_id,)))
        if search.filter is not None:
            conditions.append(compile_filter(search.filter))
        return conditions[0].joined(*conditions[1:]) if conditions else EVERYTHING

    def _answer(
        self,
        query: Query,
        category_id: int | None,
        region: Region,
        subjects: tuple[Region, ...],
        condition: Condition,
        search: SearchOptions,
        begun: float,
    ) -> SearchResult:
        ranking = self._engine.search(
            query,
            self._calibration,
            num=search.num,
            start=search.start,
            condition=condition,
            distinct_product=search.distinct_product,
            min_score=search.min_score,
            exclude_identical=search.exclude_self,
        )
        category = OTHER if self._instance.kind is Kind.GENERIC or category_id is None else category_id
        return SearchResult(ranking.found, ranking.hits, category, region, subjects, time.perf_counter() - begun)
