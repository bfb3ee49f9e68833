"""Retrieval: how high the right pictures stand in the results."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgsearch.errors import InputError, InvalidGroundTruth
from imgsearch.evaluation.breakdown import Breakdown
from imgsearch.records import MAX_RESULTS, AddPicture
from imgsearch.searching import MAX_NUM, SearchOptions
from imgsearch.sources.files import FilePicture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgsearch.evaluation.ground_truth import CataloguePicture, RetrievalTruth
    from imgsearch.evaluation.run import Run
    from imgsearch.records import Key
    from imgsearch.searching import Searcher

__all__ = ["Found", "RetrievalFigures", "measure_retrieval"]


@dataclass(frozen=True, slots=True)
class Found:
    """What one query found."""

    ranks: tuple[int, ...]
    """Where right pictures stand in the results, from 1, rising."""
    relevant: int
    """How many right pictures there are."""

    def hit(self, count: int) -> bool:
        """Whether a right picture is among the first ``count``."""
        return bool(self.ranks) and self.ranks[0] <= count

    @property
    def average_precision(self) -> float:
        """(1/R) times the sum of the precisions at the ranks of the right pictures."""
        return sum(number / rank for number, rank in enumerate(self.ranks, 1)) / self.relevant


@dataclass(frozen=True, slots=True)
class RetrievalFigures:
    """Shares and means over queries, 0 to 1."""

    queries: int
    hit1: float
    """Share of the queries whose first result is right."""
    hit5: float
    hit10: float
    mean_average_precision: float
    """Over the first 500 results; what is not among them counts as not found."""

    @classmethod
    def of(cls, found: Sequence[Found]) -> RetrievalFigures:
        """Summarise at least one query."""
        count = len(found)
        hit1, hit5, hit10 = (sum(one.hit(rank) for one in found) / count for rank in (1, 5, 10))
        return cls(count, hit1, hit5, hit10, sum(one.average_precision for one in found) / count)


def measure_retrieval(run: Run, truth: RetrievalTruth) -> Breakdown[RetrievalFigures]:
    """Index the gallery, search with the queries; figures over all and by source.

    A picture that cannot be read counts: as a query that finds nothing, as one that is right and not returned.

    Raises:
        InvalidGroundTruth: no query has a right picture to be found.
        And what ``Instance.apply`` and ``Searcher.by_picture`` raise, but for errors of single pictures.
    """
    for refused in truth.refused:
        run.fail(refused.source, refused.error)
    failed = _index(run, truth.gallery)
    answers = _Answers(run, truth, failed)
    found = []
    with run.instance.searching() as searcher:
        for number, query in enumerate(truth.queries, 1):
            if answers.count(query):
                found.append((query.source, _search(run, searcher, truth, query, answers)))
            run.progress("searching", number, len(truth.queries))
    if not found:
        raise InvalidGroundTruth("there is nothing to measure: all pictures of each product are the same file")
    return Breakdown.of(found, RetrievalFigures.of)


def _index(run: Run, gallery: Sequence[CataloguePicture]) -> set[Key]:
    """Add the gallery; the keys of those that failed."""
    failed = set()
    outcomes = run.instance.apply(
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
    """How many right pictures there are for each query."""

    def __init__(self, run: Run, truth: RetrievalTruth, failed: set[Key]) -> None:
        self.failed = failed
        self._leave_one_out = truth.leave_one_out
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
        """The gallery's pictures of its product, without those that leaving out the query itself leaves out."""
        product_id = query.key.product_id
        if not self._leave_one_out:
            return self._products[product_id]
        digest = self._hashes.get(query.key)
        return self._products[product_id] - (1 if digest is None else self._copies[product_id, digest])


def _search(run: Run, searcher: Searcher, truth: RetrievalTruth, query: CataloguePicture, answers: _Answers) -> Found:
    relevant = answers.count(query)
    if truth.leave_one_out and query.key in answers.failed:
        return Found((), relevant)  # taken note of when it could not be indexed
    ranks: list[int] = []
    for start in range(0, MAX_RESULTS, MAX_NUM):
        options = SearchOptions(MAX_NUM, start, run.any_category, exclude_self=truth.leave_one_out)
        try:
            hits = searcher.by_picture(FilePicture(query.file), run.options, options).hits
        except InputError as error:
            run.fail(str(query.file), error)
            return Found((), relevant)
        ranks += [
            start + number for number, hit in enumerate(hits, 1) if hit.item.key.product_id == query.key.product_id
        ]
        if len(ranks) == relevant or len(hits) < MAX_NUM:
            break  # nothing that comes later changes a figure
    return Found(tuple(ranks), relevant)
