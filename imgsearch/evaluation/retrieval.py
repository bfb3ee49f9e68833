"""Retrieval: the ranks of right pictures in the results."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InputError, InvalidGroundTruth
from imgsearch.evaluation.breakdown import Breakdown
from imgsearch.evaluation.calibration import CalibrationFigures, Grade
from imgsearch.evaluation.details import Answer, Result
from imgsearch.search.options import MAX_NUM, SearchOptions
from imgsearch.sources.files import FilePicture
from imgsearch.types import MAX_RESULTS, AddPicture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imgsearch.evaluation.ground_truth import CataloguePicture, RetrievalTruth
    from imgsearch.evaluation.run import Run
    from imgsearch.search.options import SearchResult
    from imgsearch.search.ranking import Hit
    from imgsearch.search.searcher import Searcher
    from imgsearch.values import Key

__all__ = ["Found", "RetrievalFigures", "measure_retrieval"]

BEST: Final = 10
"""Results per query whose Scores are graded and whose products are counted."""
SHOWN: Final = 3
"""Results per query kept for inspection."""


@dataclass(frozen=True, slots=True)
class Found:
    """The results of one query."""

    ranks: tuple[int, ...]
    """Ranks of right pictures in the results, from 1, ascending."""
    relevant: int
    """How many right pictures there are."""
    product_rank: int | None = None
    """Rank of the right product if each product counts once, with its best picture; None: not in the first 500."""
    products: int = 0
    """Number of distinct products in the first ten results."""
    grades: tuple[Grade, ...] = ()
    """The first ten results without identical pictures, whose Score is not an estimate."""

    def hit(self, count: int) -> bool:
        """Whether a right picture is among the first ``count``."""
        return bool(self.ranks) and self.ranks[0] <= count

    @property
    def average_precision(self) -> float:
        """(1/R) times the sum of the precisions at the ranks of the right pictures."""
        return sum(number / rank for number, rank in enumerate(self.ranks, 1)) / self.relevant

    @property
    def reciprocal_product_rank(self) -> float:
        """1 / rank of the right product among distinct products; 0 if not found."""
        return 0.0 if self.product_rank is None else 1 / self.product_rank


@dataclass(frozen=True, slots=True)
class RetrievalFigures:
    """Shares and means over queries, 0 to 1."""

    queries: int
    hit1: float
    """Share of queries whose first result is right."""
    hit5: float
    hit10: float
    mean_average_precision: float
    """Over the first 500 results; others count as not found."""
    mean_reciprocal_rank: float
    """Of the right product among the first 500 distinct ones."""
    products10: float
    """Average number of distinct products in the first ten results, 0 to 10."""
    calibration: CalibrationFigures
    """Over the first ten results of each query, without identical pictures."""

    @classmethod
    def of(cls, found: Sequence[Found]) -> RetrievalFigures:
        """Summarise at least one query."""
        count = len(found)
        hit1, hit5, hit10 = (sum(one.hit(rank) for one in found) / count for rank in (1, 5, 10))
        return cls(
            count,
            hit1,
            hit5,
            hit10,
            mean_average_precision=sum(one.average_precision for one in found) / count,
            mean_reciprocal_rank=sum(one.reciprocal_product_rank for one in found) / count,
            products10=sum(one.products for one in found) / count,
            calibration=CalibrationFigures.of([grade for one in found for grade in one.grades]),
        )


def measure_retrieval(run: Run, truth: RetrievalTruth) -> Breakdown[RetrievalFigures]:
    """Index the gallery and search with the queries; figures over all and by source.

    Unreadable pictures count: a query finds nothing, a gallery picture is right but not returned.

    Raises:
        InvalidGroundTruth: no query has a right picture.
        Also the errors of ``Instance.apply`` and ``Searcher.with_picture``, except those of single pictures.
    """
    for refused in truth.refused:
        run.fail(refused.source, refused.error)
    failed = _index(run, truth.gallery)
    answers = _Answers(run, truth, failed)
    found = []
    with run.instance.searching() as searcher:
        for number, query in enumerate(truth.queries, 1):
            if answers.count(query):
                found.append((query.source, _search(run, searcher, query, answers)))
            run.progress("searching", number, len(truth.queries))
    if not found:
        raise InvalidGroundTruth("there is nothing to measure: all pictures of each product are the same file")
    return Breakdown.of(found, RetrievalFigures.of)


def _index(run: Run, gallery: Sequence[CataloguePicture]) -> set[Key]:
    """Add the gallery; return the keys of pictures that failed."""
    failed = set()
    outcomes = run.instance.apply_stream(
        (AddPicture(str(picture.file), picture.key, FilePicture(picture.file), run.options) for picture in gallery),
        workers=run.workers,
    )
    for number, (picture, outcome) in enumerate(zip(gallery, outcomes, strict=True), 1):
        run.progress("indexing", number, len(gallery))
        if outcome.error is not None:
            run.fail(outcome.source, outcome.error)
            failed.add(picture.key)
    return failed


class _Answers:
    """The right answers for each query."""

    def __init__(self, run: Run, truth: RetrievalTruth, failed: set[Key]) -> None:
        self.failed = failed
        self.leave_one_out = truth.leave_one_out
        self._gallery = {picture.key: picture for picture in truth.gallery}
        self._products = Counter(picture.key.product_id for picture in truth.gallery)
        self._hashes: dict[Key, bytes] = {}
        if truth.leave_one_out:
            self._hashes = {
                picture.key: run.instance.item(picture.key).content_hash
                for picture in truth.gallery
                if picture.key not in failed
            }
        self._copies = Counter((key.product_id, digest) for key, digest in self._hashes.items())

    def count(self, query: CataloguePicture) -> int:
        """Number of right pictures in the gallery, without the query itself and its copies if it is left out."""
        product_id = query.key.product_id
        if not self.leave_one_out:
            return self._products[product_id]
        digest = self._hashes.get(query.key)
        return self._products[product_id] - (1 if digest is None else self._copies[product_id, digest])

    def result(self, rank: int, hit: Hit) -> Result:
        """Convert a hit for inspection."""
        return Result(self._gallery[hit.item.key], rank, hit.score, hit.identical)

    def example(self, query: CataloguePicture) -> Result:
        """A right picture of the gallery, for a query that found none."""
        return next(
            Result(picture)
            for key, picture in self._gallery.items()
            if key.product_id == query.key.product_id
            and (not self.leave_one_out or (key != query.key and self._hashes.get(key) != self._hashes.get(query.key)))
        )


def _search(run: Run, searcher: Searcher, query: CataloguePicture, answers: _Answers) -> Found:
    relevant = answers.count(query)
    if answers.leave_one_out and query.key in answers.failed:
        return Found((), relevant)  # recorded when indexing failed
    try:
        ask = searcher.with_picture(FilePicture(query.file), run.options)
    except InputError as error:
        run.fail(str(query.file), error)
        return Found((), relevant)

    def is_right(hit: Hit) -> bool:
        return hit.item.key.product_id == query.key.product_id

    options = SearchOptions(any_category=run.any_category, exclude_self=answers.leave_one_out)
    hits: list[Hit] = []
    ranks: list[int] = []
    for page in _pages(ask, options, range(0, MAX_RESULTS + 1, MAX_NUM)):
        ranks += [rank for rank, hit in enumerate(page, len(hits) + 1) if is_right(hit)]
        hits += page
        if len(ranks) == relevant:
            break  # later results change no figure
    found = Found(
        tuple(ranks),
        relevant,
        product_rank=_product_rank(ask, options, is_right),
        products=len({hit.item.key.product_id for hit in hits[:BEST]}),
        grades=tuple(Grade(hit.score, is_right(hit)) for hit in hits[:BEST] if not hit.identical),
    )
    if run.details is not None:
        first = tuple(answers.result(rank, hit) for rank, hit in enumerate(hits[:SHOWN], 1))
        right = answers.result(ranks[0], hits[ranks[0] - 1]) if ranks else answers.example(query)
        run.details.answers.append(Answer(query, found, first, right))
    return found


def _product_rank(
    ask: Callable[[SearchOptions], SearchResult], options: SearchOptions, is_right: Callable[[Hit], bool]
) -> int | None:
    """The rank of the right product among distinct products.

    Needs a separate search: one for distinct products ranks more candidates, so its order may differ from that of the
    plain results. The first page is short, as the right product is nearly always there and a full page may rank many
    more candidates.
    """
    bounds = sorted({0, min(BEST, MAX_NUM), *range(0, MAX_RESULTS + 1, MAX_NUM)})
    pages = _pages(ask, replace(options, distinct_product=True), bounds)
    ranks = (rank for rank, hit in enumerate(chain.from_iterable(pages), 1) if is_right(hit))
    return next(ranks, None)


def _pages(
    ask: Callable[[SearchOptions], SearchResult], options: SearchOptions, bounds: Sequence[int]
) -> Iterator[list[Hit]]:
    """Yield the results between consecutive bounds, until there are no more."""
    for start, end in pairwise(bounds):
        hits = ask(replace(options, num=end - start, start=start)).hits
        yield hits
        if len(hits) < end - start:
            return
