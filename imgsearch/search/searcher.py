"""Searching an instance: options, queries and results."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InputError, UsageError
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING
from imgsearch.opened import absent, stored_item
from imgsearch.ordered_futures import in_groups
from imgsearch.pictures import as_picture, as_pictures
from imgsearch.search.options import SearchOptions, SearchResult
from imgsearch.search.query_features import combined, unit
from imgsearch.search.ranking import Query
from imgsearch.search.results import predicted, unpredicted
from imgsearch.search.score import Calibration
from imgsearch.search.siblings import ranking_weights
from imgsearch.search.together import Together
from imgsearch.service.categories import OTHER, Kind, check_category
from imgsearch.values import PictureOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.opened import Opened
    from imgsearch.pictures import PictureLike
    from imgsearch.search.compare import Comparison
    from imgsearch.search.ranking import Ranking
    from imgsearch.types import Extracted
    from imgsearch.values import Key
    from imgsearch.vision.pipeline import Pipeline

__all__ = ["SearchOptions", "SearchResult", "Searcher"]

TOGETHER: Final = 32
"""Maximum number of queries answered together."""


class Searcher:
    """Answers queries on one instance and keeps the network loaded; thread-safe.

    Queries with the same options that arrive while others are answered are then answered together.

    Args:
        opened: the instance.
        pipeline: of query pictures.
    """

    def __init__(self, opened: Opened, pipeline: Pipeline) -> None:
        self._instance = opened
        self._pipeline = pipeline
        self._made_by = opened.made_by  # of this searcher's queries; the items' may have changed since
        self._calibration = Calibration(*opened.model.score_curve)
        self._weights = ranking_weights(opened.model.feature_version)
        self._together = Together(self._search_many, TOGETHER)

    def prepare(self, options: PictureOptions = PictureOptions()) -> None:
        """Start loading in threads what picture searches need.

        Does nothing if the model must be converted first, as the picture may turn out to be invalid.
        """
        if self._instance.model_is_at_hand:
            self._pipeline.prepare(options)
            with self._instance.reading() as engine:
                engine.prepare()

    def is_current(self) -> bool:
        """Whether it makes features as those stored are made; a reindex changes that."""
        with self._instance.reading() as engine:
            return engine.store.made_by() == self._made_by

    def by_picture(
        self,
        picture: PictureLike,
        options: PictureOptions = PictureOptions(),
        search: SearchOptions = SearchOptions(),
    ) -> SearchResult:
        """Search with a picture; nothing of it is stored.

        Args:
            picture: the query: a path, bytes, a binary file, a PIL image or a uint8 array.
            options: CategoryId, Crop and Region of the query picture.
            search: what to return.

        Raises:
            PictureError, UnreadableSource, InvalidRegion, InvalidFilter, InstanceDamaged, InvalidModel, StampMismatch
        """
        self._filter(search)  # reject a bad filter before processing the picture
        return self.with_picture(picture, options)(search)

    def with_picture(
        self, picture: PictureLike, options: PictureOptions = PictureOptions()
    ) -> Callable[[SearchOptions], SearchResult]:
        """Process a picture once; the function returned answers searches with it, such as pages or other options.

        That function raises the errors of ``by_picture`` except those of the picture, which are raised here.

        Raises:
            PictureError, UnreadableSource, InvalidRegion, InvalidModel, StampMismatch
        """
        looked_at = self._looked_at(picture, options, all_subjects=False)
        return lambda search: self._answered(looked_at, options, search)[0]

    def by_subjects(
        self,
        picture: PictureLike,
        options: PictureOptions = PictureOptions(),
        search: SearchOptions = SearchOptions(),
    ) -> list[SearchResult]:
        """Search with each subject of a picture separately, the main one first.

        Arguments and errors are those of ``by_picture``. With a given region or Crop false, there is one subject.
        """
        self._filter(search)
        return self._answered(self._looked_at(picture, options, all_subjects=True), options, search)

    def by_pictures(
        self,
        pictures: Iterable[PictureLike],
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
        for group in self._looked_at_together(pictures, options, search, all_subjects=all_subjects):
            yield from self._answer_group(group, options, search)

    def _looked_at_together(
        self, pictures: Iterable[PictureLike], options: PictureOptions, search: SearchOptions, *, all_subjects: bool
    ) -> Iterator[list[tuple[list[Extracted], float] | InputError]]:
        """Extract the subjects of many pictures side by side; yields groups, in order."""
        self._filter(search)
        check_category(options.category_id)
        futures = (
            self._pipeline.submit_all(picture, options, all_subjects=all_subjects)
            for picture in as_pictures(pictures, self._instance.limits.max_bytes)
        )
        return in_groups(futures, self._pipeline.look_ahead, TOGETHER)

    def _answer_group(
        self,
        group: list[tuple[list[Extracted], float] | InputError],
        options: PictureOptions,
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
        answers = zip(categories, self._rank(asked, search), strict=True)
        share = (time.perf_counter() - begun) / max(len(asked), 1)
        for looked_at in group:
            if isinstance(looked_at, InputError):
                yield looked_at
            else:
                found, seconds = looked_at
                yield [
                    predicted(extracted, *next(answers), (0.0 if number else seconds) + share)
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
        self, picture: PictureLike, options: PictureOptions, *, all_subjects: bool
    ) -> tuple[list[Extracted], float]:
        """Extract the subjects of a picture; also returns the seconds taken.

        Runs in a thread of the pipeline: there may be many callers, and each thread that decodes needs a process.
        """
        check_category(options.category_id)
        source = as_picture(picture, self._instance.limits.max_bytes)
        return self._pipeline.submit_all(source, options, all_subjects=all_subjects).result()

    def _answered(
        self, looked_at: tuple[list[Extracted], float], options: PictureOptions, search: SearchOptions
    ) -> list[SearchResult]:
        (results,) = self._answer_group([looked_at], options, search)
        assert not isinstance(results, InputError)
        return results

    def by_views(
        self,
        pictures: Iterable[PictureLike],
        options: PictureOptions = PictureOptions(),
        search: SearchOptions = SearchOptions(),
    ) -> SearchResult:
        """Search with several pictures of one product as one query: the mean of their features, identical to none.

        Raises:
            UsageError: no picture, or ``exclude_self`` is set.
            InputError: of the first picture that cannot be used, which is named by its place (``pictures[1]: …``).
            InvalidFilter, InstanceDamaged, InvalidModel, StampMismatch
        """
        if search.exclude_self:
            raise UsageError("several pictures are no single one, so there is nothing to exclude")
        views, seconds = [], 0.0
        groups = self._looked_at_together(pictures, options, search, all_subjects=False)
        for number, found in enumerate(chain.from_iterable(groups)):
            if isinstance(found, InputError):
                raise type(found)(f"pictures[{number}]: {found.message}", code=found.code)
            views.append(found[0][0])
            seconds += found[1]
        if not views:
            raise UsageError("there is no picture to search with")
        begun = time.perf_counter()
        view = combined(views)
        categories = self._categories(view.likely_categories(), search)
        (ranking,) = self._rank([(Query(view.feature, b""), categories)], search)
        result = predicted(view, categories, ranking, seconds + time.perf_counter() - begun)
        return replace(result, region=None, subjects=())

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
        self._filter(search)
        check_category(category_id)
        with self._instance.reading() as engine:
            item = stored_item(engine.store, key)
        if item is None:
            raise absent(key, self._instance.folder)
        query = Query.with_item(item)
        category = item.category_id if category_id is None or self._instance.kind is Kind.GENERIC else category_id
        categories = self._categories((category,), search)
        (ranking,) = self._rank([(query, categories)], search)
        return unpredicted(ranking, category, categories, item.region, begun)

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
        self._filter(search)
        check_category(category_id)
        feature = self._instance.embed_text(text)
        assert self._instance.model.text_curve is not None
        return self._without_picture(
            feature, category_id, search, Calibration(*self._instance.model.text_curve, linear=True), begun
        )

    def by_feature(
        self,
        feature: npt.ArrayLike,
        category_id: int | None = None,
        search: SearchOptions = SearchOptions(),
    ) -> SearchResult:
        """Search with a feature from ``Instance.embed``.

        No result is identical to a feature, as identity is decided by a picture's bytes.

        Args:
            feature: shape (dimension,); need not be normalised.
            category_id: the category to search; by default all.
            search: what to return.

        Raises:
            InvalidValue: not numbers, or not of the model's dimension.
            UsageError: ``exclude_self`` is set, which needs a picture.
            InvalidFilter, InvalidCategory, InstanceDamaged, StampMismatch
        """
        if search.exclude_self:
            raise UsageError("a feature is not a picture, so there is nothing to exclude")
        begun = time.perf_counter()
        self._filter(search)
        check_category(category_id)
        query = unit(feature, self._instance.model.dimension)
        return self._without_picture(query, category_id, search, self._calibration, begun)

    def _without_picture(
        self,
        feature: npt.NDArray[np.float32],
        category_id: int | None,
        search: SearchOptions,
        calibration: Calibration,
        begun: float,
    ) -> SearchResult:
        """Answer a query that has a feature but no picture."""
        category = OTHER if self._instance.kind is Kind.GENERIC else category_id
        categories = () if category_id is None else self._categories((category_id,), search)
        (ranking,) = self._rank([(Query(feature, b""), categories)], search, calibration)
        return unpredicted(ranking, category, categories, None, begun)

    def compare(
        self,
        first: PictureLike,
        second: PictureLike,
        *,
        first_options: PictureOptions = PictureOptions(),
        second_options: PictureOptions = PictureOptions(),
    ) -> Comparison:
        """Compare two pictures with the instance's model; see ``imgsearch.compare``.

        Raises:
            InputError: of the first picture that cannot be used; the message begins with ``first`` or ``second``.
            InvalidModel, StampMismatch
        """
        from imgsearch.search.compare import compared

        pictures = [as_picture(picture, self._instance.limits.max_bytes) for picture in (first, second)]
        return compared(self._pipeline, self._calibration, pictures, (first_options, second_options))

    def _filter(self, search: SearchOptions) -> Condition:
        return EVERYTHING if search.filter is None else parse_filter(search.filter)

    def _categories(self, likely: tuple[int, ...], search: SearchOptions) -> tuple[int, ...]:
        return () if self._instance.kind is Kind.GENERIC or search.any_category else likely

    def _rank(
        self,
        asked: list[tuple[Query, tuple[int, ...]]],
        search: SearchOptions,
        calibration: Calibration | None = None,
    ) -> list[Ranking]:
        return self._together((search, calibration or self._calibration), asked)

    def _search_many(
        self, options: tuple[SearchOptions, Calibration], asked: Sequence[tuple[Query, tuple[int, ...]]]
    ) -> list[Ranking]:
        search, calibration = options
        with self._instance.reading() as engine:
            return self._instance.ranker(engine).search_many(
                asked,
                calibration,
                num=search.num,
                start=search.start,
                condition=self._filter(search),
                distinct_product=search.distinct_product,
                min_score=search.min_score,
                exclude_identical=search.exclude_self,
                weights=self._weights if search.lift else self._weights.without_lift(),
                made_by=self._made_by,
            )
