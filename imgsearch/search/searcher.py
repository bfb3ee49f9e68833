"""Searching an instance: what can be asked, what is answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.errors import InputError, InvalidValue, UsageError
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING
from imgsearch.opened import absent
from imgsearch.ordered_futures import in_groups
from imgsearch.pictures import as_picture, as_pictures
from imgsearch.search.options import SearchOptions, SearchResult
from imgsearch.search.ranking import Query, Ranker
from imgsearch.search.score import Calibration
from imgsearch.search.siblings import ranking_weights
from imgsearch.search.together import Together
from imgsearch.service.categories import OTHER, Kind, check_category
from imgsearch.values import PictureOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.opened import Opened
    from imgsearch.pictures import PictureLike
    from imgsearch.search.ranking import Ranking
    from imgsearch.types import Extracted
    from imgsearch.values import Key
    from imgsearch.vision.pipeline import Pipeline

__all__ = ["SearchOptions", "SearchResult", "Searcher"]

TOGETHER: Final = 32
"""Queries that are answered at once, if so many are at hand."""


class Searcher:
    """Answers queries to one instance, with the network kept loaded; safe to use from several threads.

    Queries with the same options that wait while others are answered are then answered together.

    Args:
        opened: the instance.
        pipeline: of query pictures.
    """

    def __init__(self, opened: Opened, pipeline: Pipeline) -> None:
        self._instance = opened
        self._pipeline = pipeline
        self._made_by = opened.made_by
        """What makes the features of queries here, whatever has made those of the items by now."""
        self._calibration = Calibration(*opened.model.score_curve)
        self._weights = ranking_weights(opened.model.feature_version)
        self._together = Together(self._search_many, TOGETHER)

    def prepare(self, options: PictureOptions = PictureOptions()) -> None:
        """Begin to load what searches with pictures need, side by side in threads, while other work goes on.

        Where the model is yet to be converted, nothing is begun: the picture may turn out to be none.
        """
        if self._instance.model_is_at_hand:
            self._pipeline.prepare(options)
            with self._instance.reading() as engine:
                engine.prepare()

    def by_picture(
        self,
        picture: PictureLike,
        options: PictureOptions = PictureOptions(),
        search: SearchOptions = SearchOptions(),
    ) -> SearchResult:
        """Search with a picture; nothing of it is stored.

        Args:
            picture: the query: a path, bytes, a binary file, an image of Pillow or an array of uint8.
            options: CategoryId, Crop and Region of the query picture.
            search: what to return.

        Raises:
            PictureError, UnreadableSource, InvalidRegion, InvalidFilter, InstanceDamaged, InvalidModel, StampMismatch
        """
        self._filter(search)  # a bad one is told before the picture takes its time
        return self.with_picture(picture, options)(search)

    def with_picture(
        self, picture: PictureLike, options: PictureOptions = PictureOptions()
    ) -> Callable[[SearchOptions], SearchResult]:
        """Look at a picture once, for several searches with it: pages of one order, or other orders.

        Returns:
            What takes the options of a search and answers it; valid as long as the searcher. What it raises is what
            ``by_picture`` does, but for errors of the picture, which are raised at once.

        Raises:
            PictureError, UnreadableSource, InvalidRegion, InvalidModel, StampMismatch
        """
        looked_at = self._looked_at(picture, options, all_subjects=False)

        def answer(search: SearchOptions) -> SearchResult:
            return self._answered(looked_at, options, search)[0]

        return answer

    def by_subjects(
        self,
        picture: PictureLike,
        options: PictureOptions = PictureOptions(),
        search: SearchOptions = SearchOptions(),
    ) -> list[SearchResult]:
        """Search with each subject of a picture by itself, the main one first.

        Takes and raises what ``by_picture`` does; where a region is given or Crop is false, that is the only subject.
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
        self._filter(search)
        check_category(options.category_id)
        futures = (
            self._pipeline.submit_all(picture, options, all_subjects=all_subjects)
            for picture in as_pictures(pictures, self._instance.limits.max_bytes)
        )
        for group in in_groups(futures, self._pipeline.look_ahead, TOGETHER):
            yield from self._answer_group(group, options, search)

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
        self, picture: PictureLike, options: PictureOptions, *, all_subjects: bool
    ) -> tuple[list[Extracted], float]:
        """What was found in a picture, and the seconds that took.

        A thread of the pipeline looks at it: callers may be many, and each thread that decodes has a process for that.
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
        self._filter(search)
        check_category(category_id)
        with self._instance.reading() as engine:
            item = engine.store.item(key)
        if item is None:
            raise absent(key, self._instance.folder)
        query = Query.with_item(item)
        category = item.category_id if category_id is None or self._instance.kind is Kind.GENERIC else category_id
        categories = self._categories((category,), search)
        (ranking,) = self._rank([(query, categories)], search)
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
        """Search with a feature, as ``Instance.embed`` makes it.

        Nothing is identical to a feature, as that is told by a picture's bytes.

        Args:
            feature: numbers of shape (dimension,); its length does not matter.
            category_id: where to search; by default everywhere.
            search: what to return.

        Raises:
            InvalidValue: no such numbers, or not as many as the model makes.
            UsageError: ``exclude_self``, as no picture is asked with.
            InvalidFilter, InvalidCategory, InstanceDamaged, StampMismatch
        """
        if search.exclude_self:
            raise UsageError("a feature is no picture of the instance, so there is none to exclude")
        begun = time.perf_counter()
        self._filter(search)
        check_category(category_id)
        query = _unit(feature, self._instance.model.dimension)
        return self._without_picture(query, category_id, search, self._calibration, begun)

    def _without_picture(
        self,
        feature: npt.NDArray[np.float32],
        category_id: int | None,
        search: SearchOptions,
        calibration: Calibration,
        begun: float,
    ) -> SearchResult:
        """The answer to a query that has a feature and no picture."""
        category = OTHER if self._instance.kind is Kind.GENERIC else category_id
        categories = () if category_id is None else self._categories((category_id,), search)
        (ranking,) = self._rank([(Query(feature, b""), categories)], search, calibration)
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
        search: SearchOptions,
        calibration: Calibration | None = None,
    ) -> list[Ranking]:
        return self._together((search, calibration or self._calibration), asked)

    def _search_many(
        self, options: tuple[SearchOptions, Calibration], asked: Sequence[tuple[Query, tuple[int, ...]]]
    ) -> list[Ranking]:
        search, calibration = options
        with self._instance.reading() as engine:
            return Ranker(engine).search_many(
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


def _unit(feature: npt.ArrayLike, dimension: int) -> npt.NDArray[np.float32]:
    """A feature that somebody gives, at length 1.

    Raises:
        InvalidValue
    """
    try:
        values = np.asarray(feature, np.float32)
    except (TypeError, ValueError):
        raise InvalidValue(f"{type(feature).__name__} is no feature: give {dimension} numbers") from None
    if values.shape != (dimension,):
        raise InvalidValue(f"a feature of this instance has the shape ({dimension},), not {values.shape}")
    length = float(np.linalg.norm(values.astype(np.float64)))
    if not np.isfinite(length) or length == 0.0:
        raise InvalidValue("a feature is made of finite numbers that are not all zero")
    return (values / length).astype(np.float32)
