"""How many lists of an index are to be searched, measured: enough that nearly all of the nearest items are found.

The queries are some of the items; their exact neighbours are found while the index is filled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.storage.faiss.shortlist import FEW_HITS, MAX_OF_FEW_HITS, STEP

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Ids = npt.NDArray[np.int64]
    Vectors = npt.NDArray[np.float32]

__all__ = ["Neighbours", "query_positions", "tune"]

TARGET_RECALL: Final = 0.99
RECALL_QUERIES: Final = 200
MAPPED_SHARE: Final = 32
"""At most about this part of an index is in memory at a time while recall is measured."""


def query_positions(count: int) -> Ids:
    """Places of the items that serve as queries to measure recall; ascending."""
    return np.sort(np.random.default_rng(count).choice(count, min(RECALL_QUERIES, count), replace=False))


class Neighbours:
    """The exact nearest neighbours of queries, found in one pass; the queries are items themselves."""

    def __init__(self, queries: Vectors) -> None:
        self.queries = queries
        self._cosines = np.full((len(queries), 0), -np.inf, np.float32)
        self._ids = np.zeros((len(queries), 0), np.int64)

    def near(self, ids: Ids, features: Vectors) -> tuple[Ids, Vectors]:
        """Compare a chunk of items with the queries; also in several threads at a time.

        Returns:
            Ids of items that may be among the nearest, shape (n,), and their cosines, shape (queries, n).
        """
        return self._nearer(ids, self.queries @ features.T)

    def take(self, ids: Ids, cosines: Vectors) -> None:
        """Add to the neighbours what ``near`` returned, of one chunk after another."""
        # Which items remained there depends on when it was called.
        ids, cosines = self._nearer(ids, cosines)
        cosines = np.hstack([self._cosines, cosines])
        ids = np.hstack([self._ids, np.broadcast_to(ids, (len(self.queries), len(ids)))])
        if cosines.shape[1] > FEW_HITS + 1:
            best = np.argpartition(-cosines, FEW_HITS, axis=1)[:, : FEW_HITS + 1]
            cosines, ids = np.take_along_axis(cosines, best, 1), np.take_along_axis(ids, best, 1)
        self._cosines, self._ids = cosines, ids

    def _nearer(self, ids: Ids, cosines: Vectors) -> tuple[Ids, Vectors]:
        """Those that are nearer to a query than its neighbours so far, which hardly an item is after a few chunks."""
        present = self._cosines
        if present.shape[1] <= FEW_HITS:
            return ids, cosines
        places = np.flatnonzero((cosines > present.min(axis=1)[:, None]).any(axis=0))
        return ids[places], cosines[:, places]

    def ids(self) -> Ids:
        """Ids of the FEW_HITS neighbours of each query, without itself; shape (n, FEW_HITS)."""
        order = np.argsort(-self._cosines, axis=1, kind="stable")[:, 1:]
        return np.take_along_axis(self._ids, order, 1)


def tune(opened: Callable[[], Any], neighbours: Neighbours) -> tuple[int, int, float]:
    """Find the smallest nprobe (a power of two) that reaches TARGET_RECALL after exact ranking of the shortlist.

    Then find the shortest shortlist that keeps at least half of the margin by which recall exceeds the target, for
    queries that differ from those measured.

    Args:
        opened: maps the index.
        neighbours: of the queries.

    Returns:
        nprobe, the shortlist of few hits, and recall with both.
    """
    wanted, nprobe, lists = neighbours.ids(), 1, opened().nlist
    while True:
        found = _found(opened, neighbours.queries, nprobe, lists)
        recall = _recall(wanted, found)
        if recall >= TARGET_RECALL or nprobe >= lists:
            break
        nprobe = min(nprobe * 2, lists)
    least = min(recall, (recall + TARGET_RECALL) / 2)
    shortlist = next(
        size
        for size in range(STEP, MAX_OF_FEW_HITS + 1, STEP)
        if size == MAX_OF_FEW_HITS or _recall(wanted, found[:, :size]) >= least
    )
    return nprobe, shortlist, _recall(wanted, found[:, :shortlist])


def _found(opened: Callable[[], Any], queries: Vectors, nprobe: int, lists: int) -> Ids:
    """Ids of the MAX_OF_FEW_HITS nearest to each query, best first; shape (queries, MAX_OF_FEW_HITS).

    A mapping counts as memory of the process as far as it has been read, so it is made again every few queries.
    """
    at_once = max(1, lists // (MAPPED_SHARE * nprobe))
    pieces = (queries[start : start + at_once] for start in range(0, len(queries), at_once))
    return np.concatenate([_nearest(opened(), some, nprobe) for some in pieces])


def _nearest(index: Any, queries: Vectors, nprobe: int) -> Ids:
    index.nprobe = nprobe
    found: Ids = index.search(queries, MAX_OF_FEW_HITS)[1]
    return found


def _recall(wanted: Ids, found: Ids) -> float:
    """The mean share of the wanted ids that were found; both of shape (queries, n), the latter best first."""
    if not wanted.size:
        return 1.0
    hits = [(true[:, None] == some[None]).any(axis=1).mean() for true, some in zip(wanted, found, strict=True)]
    return float(np.mean(hits))
