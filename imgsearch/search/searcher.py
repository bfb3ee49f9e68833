"""Searching an instance: what can be asked, what is answered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import InputError, InvalidPaging, UsageError
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING
from imgsearch.ordered_futures import in_groups
from imgsearch.search.score import Calibration
from imgsearch.search.siblings import ranking_weights
from imgsearch.service.categories import OTHER, Kind
from imgsearch.storage.engine import Query
from imgsearch.types import MAX_RESULTS, PictureOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imgsearch.filters.tree import Condition
    from imgsearch.instance import Instance
    from imgsearch.storage.engine import Engine, Hit, Ranking
    from imgsearch.types import Extracted, Key, PictureSource, Region
    from imgsearch.vision.pipeline import Pipeline

__all__ = ["SearchOptions", "SearchResult", "Searcher"]

MAX_NUM: Final = 100
MAX_START: Final = 499
TOGETHER: Final = 32
"""Queries that are answered at once, if so many are at hand."""


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


class Searcher:
    """Answers queries to one instance, with the network kept loaded."""

    def __init__(self, instance: Instance, engine: Engine, pipeline: Pipeline, made_by: dict[str, Any]) -> None:
        self._instance = instance
        self._engine = engine
        self._pipeline = pipeline
        self._made_by = made_by
        """What makes the features of queries here, whatever has made those of the items by now."""
        self._calibration = Calibration(*instance.model.score_curve)
        self._weights = ranking_weights(instance.model.feature_version)

    def prepare(self, options: PictureOptions = PictureOptions()) -> None:
        """Begin to load what searches with pictures need, side by side in threads, while other work goes on.

        Where the model is yet to be converted, nothing is begun: the picture may turn out to be none.
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
        self._filter(search)  # a bad one is told before the picture takes its time
        return self.with_picture(picture, options)(search)

    def with_picture(
        self, picture: PictureSource, options: PictureOptions = PictureOptions()
    ) -> Callable[[SearchOptions], SearchResult]:
        """Look at a picture once, for several searches with it: pages of one order, or other orders.

        Returns:
            What takes the options of a search and answers it; valid as long as the searcher. What it raises is what
            ``by_picture`` does, but for errors of the picture, which are raised at once.

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
        """Search with each subject of a picture by itself, the main one first.

        Takes and raises what ``by_picture`` does; where a region is given or Crop is false, that is the only subject.
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
        """Search with many pictures: they are looked at side by side, and their searches share what they look up.

        Args:
            pictures: the queries; read no further ahead than needed.
            options: CategoryId, Crop and Region of each.
            search: what to return for each.
            all_subjects: search with each subject of a picture by itself, the main one first.

        Yields:
            In the order of the pictures, the answers to one (just one, unless all subjects are asked for), or why it
            cannot be used.

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
        """The query with the main subject of a picture (0) or a further one, which is a region of its own."""
        region = extracted.region if number else options.given_region
        query = Query(extracted.feature, extracted.content_hash, region)
        return query, self._categories(extracted.likely_categories(), search)

    def _looked_at(
        self, picture: PictureSource, options: PictureOptions, most: int | None = None
    ) -> tuple[list[Extracted], float]:
        """What was found in a picture, at most that many subjects, and the seconds that took."""
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
        """Search with a picture that is indexed.

        Args:
            key: of the picture.
            category_id: where to search; by default in the item's own category.
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
        """Search with words, where the instance's model has a text side.

        Args:
            text: what the pictures show.
            category_id: where to search; by default everywhere.
            search: what to return.

        Raises:
            UsageError: the model has no text side; there is no text; ``exclude_self``, as no picture is asked with.
            InvalidFilter, InstanceDamaged, InvalidModel, StampMismatch
        """
        if search.exclude_self:
            raise UsageError("a text is no picture of the instance, so there is none to exclude")
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
        return self._engine.search_many(
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
