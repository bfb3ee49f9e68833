"""Searching a published index generation for candidates, to be ranked by the stored features.

A flat index is exact. An inverted file is memory-mapped: a search reads and verifies (``index_file``) only the lists
nearest to the query.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from imgsearch.listed_ids import ListedIds, bits_of
from imgsearch.storage.faiss.centroids import inner_products, joined
from imgsearch.storage.faiss.index_file import (
    Checks,
    Part,
    centroids_of,
    read_index,
    read_parts,
    unreadable_is_damage,
)
from imgsearch.storage.faiss.shortlist import shortlist_of, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.storage.sqlite.generations import Generation

__all__ = ["IndexReader"]

MORE: Final = 4
"""How many times as many lists are scanned, or items fetched, where the first are too few."""
SEEN: Final = 4
"""With a filter, scan this many times as many permitted items as are returned: they are spread over more lists, and
scanning is cheap."""
BITS_PER_ID: Final = 1_000
MIN_BITS: Final = 1_000_000
TIE: Final = 1e-6
"""Cosines this close may be equal apart from rounding."""
NO_LIST: Final = -1
"""Padding for queries with fewer lists than others; FAISS skips it."""


@dataclass(frozen=True, slots=True)
class IndexReader:
    """A published generation, opened and memory-mapped; it stays readable when a newer one replaces the file."""

    generation: Generation
    _index: Any
    _parts: list[Part] = field(default_factory=list)
    _centroids: npt.NDArray[np.float32] | None = None
    """Shape (lists, dimension), a view of the file; None in a flat index."""
    _checks: Checks | None = None
    is_best_first: ClassVar[bool] = True

    @classmethod
    def open(cls, folder: Path, generation: Generation) -> IndexReader:
        """Map the index file.

        Raises:
            FileNotFoundError: a rebuild has replaced it meanwhile, or it is missing.
            InstanceDamaged: it is corrupted, or the disk cannot read it.
        """
        import faiss

        path = folder / generation.file_name
        with unreadable_is_damage(path):
            index = read_index(path, generation, verify=generation.lists is None, flags=faiss.IO_FLAG_MMAP_IFC)
            if generation.lists is None:
                return cls(generation, index)
            parts = read_parts(generation.lists)
            centroids = centroids_of(index)
            return cls(generation, index, parts, centroids, Checks(path, index, parts, centroids))

    @property
    def dimension(self) -> int:
        """Of its features."""
        return int(self._index.d)

    def shortlists(
        self,
        queries: npt.NDArray[np.float32],
        size: int,
        categories: Sequence[tuple[int, ...] | None],
        without: npt.NDArray[np.int64],
    ) -> list[npt.NDArray[np.int64]]:
        """``shortlist`` for many queries at once.

        Args:
            queries: shape (n, dimension), L2-normalised.
            size: how many items are wanted per query.
            categories: of each query: scan only lists of these; None: all. A flat index has no lists.
            without: ids to leave out.
        """
        selector = _outside(without)
        if self._centroids is None:
            return [self._exact_shortlist(query, size, selector) for query in queries]
        return self._approximate_shortlists(queries, size, selector, categories)

    def shortlist(
        self,
        query: npt.NDArray[np.float32],
        size: int,
        *,
        categories: tuple[int, ...] | None = None,
        only: ListedIds | None = None,
        without: npt.NDArray[np.int64] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Ids of the nearest items, best first: at least ``size``, or all there are.

        Includes all items tied with the last one, so that the caller can break ties. An approximate index returns more
        than requested, to be ranked exactly.

        Args:
            query: shape (dimension,), L2-normalised.
            size: how many are wanted.
            categories: if given, an approximate index scans only lists of these; a flat index has no lists.
            only: if given, FAISS skips all other ids, so that they take no place in the result.
            without: if given, FAISS skips these ids; ``only`` must not contain them.
        """
        import faiss

        selector = None
        if only is not None:
            selector = _inside(only)
        elif without is not None:
            selector = _outside(without)
        threads = faiss.omp_get_max_threads()
        # FAISS parallelises over queries; for a single one, threads only add overhead.
        faiss.omp_set_num_threads(1)
        try:
            if self._centroids is None:
                return self._exact_shortlist(query, size, selector)
            return self._approximate_shortlists(query[None], size, selector, [categories], only)[0]
        finally:
            faiss.omp_set_num_threads(threads)

    def _exact_shortlist(self, query: npt.NDArray[np.float32], size: int, selector: Any) -> npt.NDArray[np.int64]:
        import faiss

        fetched = size + 1
        while True:
            cosines, ids = self._index.search(
                query.reshape(1, -1), min(fetched, self.generation.items), params=faiss.SearchParameters(sel=selector)
            )
            found: npt.NDArray[np.int64] = ids[0][ids[0] >= 0]
            if len(found) < fetched or cosines[0, -1] < cosines[0, size - 1] - TIE:
                return found
            fetched *= MORE

    def _approximate_shortlists(
        self,
        queries: npt.NDArray[np.float32],
        size: int,
        selector: Any,
        categories: Sequence[tuple[int, ...] | None],
        only: ListedIds | None = None,
    ) -> list[npt.NDArray[np.int64]]:
        """Scan the lists nearest to each query, and more of them while too few items are found.

        Args:
            queries: shape (n, dimension).
            size: how many items are wanted per query.
            selector: permitted ids; None: all.
            categories: of each query; None: all.
            only: if given, the ids that the selector permits; the fewer, the more lists must be scanned.
        """
        answers = [np.zeros(0, np.int64)] * len(queries)
        probes, fetched = self.generation.nprobe or 1, size_of(shortlist_of(self.generation.structure), size)
        if only is not None and len(only):
            most = self._most(categories)
            probes = max(probes * self.generation.items, SEEN * fetched * most) // len(only) + 1
        # If so few lists hardly hold enough items, scanning them first would be in vain.
        while probes * self.generation.items < fetched * self._count(None):
            probes *= MORE
        waiting = [(list(range(len(queries))), probes, fetched)]
        while waiting:
            rows, probes, fetched = waiting.pop()
            fetched = min(fetched, self.generation.items)
            lists, nearness = self._nearest_lists(queries[rows], [categories[row] for row in rows], probes)
            few, tied = [], []
            for row, values, given in zip(
                rows, *self._search(queries[rows], fetched, selector, lists, nearness), strict=True
            ):
                found = given[given >= 0]
                if len(found) < fetched and probes < self._count(categories[row]):
                    few.append(row)  # these lists hold too few permitted items
                elif size <= len(found) == fetched < self.generation.items and values[-1] >= values[size - 1]:
                    tied.append(row)  # all are tied, and there may be more
                else:
                    answers[row] = found
            again = ((few, MORE * probes, fetched), (tied, probes, MORE * fetched))
            waiting += [work for work in again if work[0]]
        return answers

    def _nearest_lists(
        self, queries: npt.NDArray[np.float32], categories: Sequence[tuple[int, ...] | None], most: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The lists to scan for each query, and their cosines; both of shape (n, lists), padded with NO_LIST.

        Args:
            queries: shape (n, dimension).
            categories: of each query; None: all.
            most: the maximum number of lists per query.
        """
        width = min(most, self._most(categories))
        lists = np.full((len(queries), width), NO_LIST, np.int64)
        nearness = np.zeros((len(queries), width), np.float32)
        for some in set(categories):
            rows = [row for row, asked in enumerate(categories) if asked == some]
            numbers, cosines = self._lists_of(queries[rows], some)
            if width < len(numbers):
                nearest = np.argpartition(-cosines, width - 1, axis=1)[:, :width]
                lists[rows], nearness[rows] = numbers[nearest], np.take_along_axis(cosines, nearest, 1)
            else:
                lists[rows, : len(numbers)], nearness[rows, : len(numbers)] = numbers, cosines
        return lists, nearness

    def _lists_of(
        self, queries: npt.NDArray[np.float32], categories: tuple[int, ...] | None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """All lists of these categories, shape (lists,), and their cosines to the queries, shape (n, lists)."""
        parts = self._parts_of(categories)
        if not parts:
            return np.zeros(0, np.int64), np.zeros((len(queries), 0), np.float32)
        assert self._checks is not None
        assert self._centroids is not None
        self._checks.parts(parts)
        ranges = joined(parts)
        cosines = [inner_products(queries, self._centroids[first:end]) for first, end in ranges]
        return np.concatenate([np.arange(first, end) for first, end in ranges]), np.hstack(cosines)

    def _count(self, categories: tuple[int, ...] | None) -> int:
        """The number of lists of these categories; None: of all."""
        return sum(part.lists for part in self._parts_of(categories))

    def _most(self, categories: Sequence[tuple[int, ...] | None]) -> int:
        """The largest number of lists of any query; a set first, as most queries ask for the same categories."""
        return max(map(self._count, set(categories)))

    def _parts_of(self, categories: tuple[int, ...] | None) -> list[Part]:
        """The parts of these categories; None: all."""
        return [part for part in self._parts if categories is None or part.category in categories]

    def _search(
        self,
        queries: npt.NDArray[np.float32],
        size: int,
        selector: Any,
        lists: npt.NDArray[np.int64],
        nearness: npt.NDArray[np.float32],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Search each query's lists, of shape (n, lists), for the best ``size`` items by their codes.

        Returns:
            Estimated cosines and ids, both of shape (n, size); -1 where there are no more.
        """
        import faiss

        assert self._checks is not None
        count, width = lists.shape
        estimates, ids = np.full((count, size), -np.inf, np.float32), np.full((count, size), -1, np.int64)
        if width:
            self._checks.lists(lists[lists != NO_LIST])
            arrays = [np.ascontiguousarray(array) for array in (queries, lists, nearness)]
            rows, probed, scores = map(faiss.swig_ptr, arrays)
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=width)
            # FAISS's Python wrapper of this call takes no parameters.
            self._index.search_preassigned_c(
                count, rows, size, probed, scores, *map(faiss.swig_ptr, (estimates, ids)), False, parameters, None
            )
        return estimates, ids


def _inside(ids: ListedIds) -> Any:
    import faiss

    return _selector(ids.ids()) if ids.bits is None else faiss.IDSelectorBitmap(ids.bits)


def _outside(ids: npt.NDArray[np.int64]) -> Any:
    import faiss

    return faiss.IDSelectorNot(_selector(ids)) if len(ids) else None


def _selector(ids: npt.NDArray[np.int64]) -> Any:
    """Select these ids: with a bitmap, or a hash set if that is smaller because they are few or large."""
    import faiss

    if not len(ids) or int(ids.max()) > BITS_PER_ID * len(ids) + MIN_BITS:
        return faiss.IDSelectorBatch(ids)
    return faiss.IDSelectorBitmap(bits_of(ids))
