"""Searching an instance: options, queries and results."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import InputError, InvalidPaging, UsageError
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING
from imgsearch.ordered_futures import in_groups
from imgsearch.search.ranking import Query, Ranker
from imgsearch.search.score import Calibration
from imgsearch.search.siblings import ranking_weights
from imgsearch.service.categories import OTHER, Kind
from imgsearch.types import MAX_RESULTS, PictureOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imgsearch.filters.tree import Condition
    from imgsearch.instance import Instance
    from imgsearch.search.ranking import Hit, Ranking
    from imgsearch.storage.port import Storage
    from imgsearch.types import Extracted, Key, PictureSource, Region
    from imgsearch.vision.pipeline import Pipeline

__all__ = ["SearchOptions", "SearchResult", "Searcher"]

MAX_NUM: Final = 100
MAX_START: Final = 499
TOGETHER: Final = 32
"""Maximum number of queries answered together."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What to return; independent of the query picture.

    Raises:
        InvalidPaging, UsageError
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
    """The given or predicted category; 88888888 in a generic instance; None for text without a category."""
    confidence: float | None
    """Probability of the predicted category, 0 to 1; None if not predicted."""
    searched_categories: tuple[int, ...]
    """The categories searched: several if the prediction is uncertain, empty for all."""
    region: Region | None
    """The region of the query picture; for an indexed picture, the stored region; None for text."""
    subjects: tuple[Region, ...]
    """All subjects found in the query picture (MultiRegion)."""
    seconds: float


class Searcher:
    """Answers queries on one instance and keeps the network loaded."""

    def __init__(self, instance: Instance, engine: Storage, pipeline: Pipeline, made_by: dict[str, Any]) -> None:
        self._instance = instance
        self._engine = engine
        self._ranker = Ranker(engine)
        self._pipeline = pipeline
        self._made_by = made_by
        """The model of this searcher's queries; the items' may have changed since."""
        self._calibration = Calibration(*instance.model.score_curve)
        self._weights = ranking_weights(instance.model.feature_version)

    def prepare(self, options: PictureOptions = PictureOptions()) -> None:
        """Start loading in threads what picture searches need.

        Does nothing if the model must be converted first, as the picture may turn out to be invalid.
        """
        if self._instance.model_is_at_hand:
            self._pipeline.prepare(options)
            self._engine.prepare()

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
        self._filter(search)  # reject a bad filter before processing the picture
        return self.with_picture(picture, options)(search)

    def with_picture(
        self, picture: PictureSource, options: PictureOptions = PictureOptions()
    ) -> Callable[[SearchOptions], SearchResult]:
        """Process a picture once for several searches, such as pages or other options.

        Returns:
            A function that answers a search with given options, valid as long as the searcher. It raises the errors of
            ``by_picture`` except those of the picture, which are raised here.

        Raises:
            PictureError, UnreadableSource, InvalidRegion, InvalidModel, StampMismatch
        """
        looked_at = self._looked_at(picture, options, 1)

        def answer(search: SearchOptions) -> SearchResult:
            return self._answered(looked_at, options, search)[0]

        return answer

    def by_subjects(
        self,
        picture: PictureSource,
        options: PictureOptions = PictureOptions(),
        search: SearchOptions = SearchOptions(),
    ) -> list[SearchResult]:
        """Search with each subject of a picture separately, the main one first.

        Arguments and errors are those of ``by_picture``. With a given region or Crop false, there is one subject.
        """
        self._filter(search)
        return self._answered(self._looked_at(picture, options), options, search)

    def by_pictures(
        self,
        pictures: Iterable[PictureSource],
        options: PictureOptions = PictureOptions(),
        search: SearchOptions = SearchOptions(),
        *,
        all_subjects: bool = False,
    ) -> Iterator[list[SearchResult] | InputError]:
        """Search with many pictures, processed in parallel; their searches share lookups.

        Args:
            pictures: the queries; read no further ahead than needed.
            options: CategoryId, Crop and Region of each.
            search: what to return for each.
            all_subjects: search with each subject of a picture separately, the main one first.

        Yields:
            For each picture in order, its results (one, or one per subject with ``all_subjects``), or why it cannot be
            used.

        Raises:
            InvalidFilter, InstanceDamaged, InvalidModel, StampMismatch
        """
        compiled = self._filter(search)
        futures = (self._pipeline.submit_all(picture, options, all_subjects=all_subjects) for picture in pictures)
        for group in in_groups(futures, self._pipeline.look_ahead, TOGETHER):
            yield from self._answer_group(group, options, compiled, search)

    def _answer_group(
        self,
        group: list[tuple[list[Extracted], float] | InputError],
        options: PictureOptions,
        compiled: Condition,
        search: SearchOptions,
    ) -> Iterator[list[SearchResult] | InputError]:
        begun = time.perf_counter()
        asked = [
            self._asked(extracted, options, number, search)
            for looked_at in group
            if not isinstance(looked_at, InputError)
            for number, extracted in enumerate(looked_at[0])
        ]
        categories = [searched for _, searched in asked]
        answers = zip(categories, self._rank(asked, compiled, search), strict=True)
        share = (time.perf_counter() - begun) / max(len(asked), 1)
        for looked_at in group:
            if isinstance(looked_at, InputError):
                yield looked_at
            else:
                found, seconds = looked_at
                yield [
                    self._result(extracted, *next(answers), (0.0 if number else seconds) + share)
                    for number, extracted in enumerate(found)
                ]

    def _asked(
        self, extracted: Extracted, options: PictureOptions, number: int, search: SearchOptions
    ) -> tuple[Query, tuple[int, ...]]:
        """The query for the main subject of a picture (number 0) or for another one, given by its region."""
        region = extracted.region if number else options.given_region
        query = Query(extracted.feature, extracted.content_hash, region)
        return query, self._categories(extracted.likely_categories(), search)

    def _looked_at(
        self, picture: PictureSource, options: PictureOptions, most: int | None = None
    ) -> tuple[list[Extracted], float]:
        """Extract at most that many subjects of a picture; also returns the seconds taken."""
        begun = time.perf_counter()
        content = picture.read(self._instance.limits.max_bytes)
        return self._pipeline.extract_all(content, options, most), time.perf_counter() - begun

    def _answered(
        self, looked_at: tuple[list[Extracted], float], options: PictureOptions, search: SearchOptions
    ) -> list[SearchResult]:
        (results,) = self._answer_group([looked_at], options, self._filter(search), search)
        assert not isinstance(results, InputError)
        return results

    @staticmethod
    def _result(extracted: Extracted, categories: tuple[int, ...], ranking: Ranking, seconds: float) -> SearchResult:
        return SearchResult(
            found=ranking.found,
            hits=ranking.hits,
            category_id=extracted.category_id,
            confidence=extracted.chances[0][1] if extracted.chances else None,
            searched_categories=categories,
            region=extracted.region,
            subjects=extracted.subjects or (extracted.region,),
            seconds=seconds,
        )

    def by_name(
        self, key: Key, category_id: int | None = None, search: SearchOptions = SearchOptions()
    ) -> SearchResult:
        """Search with an indexed picture.

        Args:
            key: of the picture.
            category_id: the category to search; by default the item's own.
            search: what to return.

        Raises:
            ItemNotFound, InvalidFilter, InstanceDamaged
        """
        begun = time.perf_counter()
        compiled = self._filter(search)
        item = self._instance.item(key)
        query = Query.with_item(item)
        category = item.category_id if category_id is None or self._instance.kind is Kind.GENERIC else category_id
        categories = self._categories((category,), search)
        (ranking,) = self._rank([(query, categories)], compiled, search)
        return SearchResult(
            found=ranking.found,
            hits=ranking.hits,
            category_id=category,
            confidence=None,
            searched_categories=categories,
            region=item.region,
            subjects=(item.region,),
            seconds=time.perf_counter() - begun,
        )

    def by_text(
        self, text: str, category_id: int | None = None, search: SearchOptions = SearchOptions()
    ) -> SearchResult:
        """Search with text, if the instance's model supports it.

        Args:
            text: a description of the pictures.
            category_id: the category to search; by default all.
            search: what to return.

        Raises:
            UsageError: the model does not support text; the text is empty; or ``exclude_self`` is set.
            InvalidFilter, InstanceDamaged, InvalidModel, StampMismatch
        """
        if search.exclude_self:
            raise UsageError("a text query is not a picture, so there is nothing to exclude")
        begun = time.perf_counter()
        compiled = self._filter(search)
        query = Query(self._instance.embed_text(text), b"")
        is_generic = self._instance.kind is Kind.GENERIC
        category = OTHER if is_generic else category_id
        categories = () if category_id is None else self._categories((category_id,), search)
        assert self._instance.model.text_curve is not None
        calibration = Calibration(*self._instance.model.text_curve, linear=True)
        (ranking,) = self._rank([(query, categories)], compiled, search, calibration)
        return SearchResult(
            found=ranking.found,
            hits=ranking.hits,
            category_id=category,
            confidence=None,
            searched_categories=categories,
            region=None,
            subjects=(),
            seconds=time.perf_counter() - begun,
        )

    def _filter(self, search: SearchOptions) -> Condition:
        return EVERYTHING if search.filter is None else parse_filter(search.filter)

    def _categories(self, likely: tuple[int, ...], search: SearchOptions) -> tuple[int, ...]:
        return () if self._instance.kind is Kind.GENERIC or search.any_category else likely

    def _rank(
        self,
        asked: list[tuple[Query, tuple[int, ...]]],
        compiled: Condition,
        search: SearchOptions,
        calibration: Calibration | None = None,
    ) -> list[Ranking]:
        return self._ranker.search_many(
            asked,
            calibration or self._calibration,
            num=search.num,
            start=search.start,
            condition=compiled,
            distinct_product=search.distinct_product,
            min_score=search.min_score,
            exclude_identical=search.exclude_self,
            weights=self._weights if search.lift else self._weights.without_lift(),
            made_by=self._made_by,
        )
