"""Index generations: immutable FAISS files, derived from the features in the store.

Small instances get a flat index, which is exact. Larger ones get an inverted file with RaBitQ codes (Gao and Long,
"RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate Nearest Neighbor Search",
SIGMOD 2024): one bit per dimension, memory-mapped, whose shortlist is then ranked by the stored features. Each category
has inverted lists of its own, trained on its own items, so that a search in a category opens these only and passes over
nothing.

FAISS files carry no checksum, so each is recorded with its length and BLAKE2b in the database. A flat file, which is
small, is held against it whenever it is opened. Behind the data of an inverted file stands a CRC-64 of each list and of
each category's centroids: a search verifies what it looks at, whatever the size of the file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from fastcrc import crc64

from imgsearch.engine.store import Generation
from imgsearch.errors import InstanceDamaged
from imgsearch.files import atomic_file, private_opener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Chunks = Callable[[], Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]]]

__all__ = ["FLAT_LIMIT", "IndexReader", "build", "can_extend", "extend"]

FLAT_LIMIT: Final = 20_000
"""Up to so many items the index is flat: exact, and quick enough."""

TRAINING_POINTS_PER_LIST: Final = 64
MAX_TRAINING_POINTS: Final = 524_288
MIN_POINTS_PER_LIST: Final = 39
"""FAISS's own advice."""
MIN_TRAINING_POINTS: Final = 1_000
"""Of each category, if it has so many."""
ITERATIONS: Final = 10
"""Of the clustering, as FAISS does for an inverted file."""
TINY: Final = 1e-9
EXTENSION: Final = 2.0
"""Lists serve until there are so many times as many items as they were trained for, or so many times fewer."""
TARGET_RECALL: Final = 0.99
RECALL_AT: Final = 10
RECALL_QUERIES: Final = 200
SHORTLIST_FACTOR: Final = 2
MIN_SHORTLIST: Final = 400
"""Candidates that an approximate index hands over for exact ranking: at least this many, or twice the hits."""
SEEN: Final = 16
"""Where only some items may be given, so many times as many of them are looked at as are handed over: what is left of
a neighbourhood lies apart, and looking is cheap."""
BITS_PER_ID: Final = 1_000
MIN_BITS: Final = 1_000_000
TIE: Final = 1e-6
"""Cosines so near to each other may be equal ones, rounded differently."""
NO_LIST: Final = -1
"""What FAISS passes over among the lists of a query that has fewer than others."""
CHECK: Final = np.dtype("<u8")
"""Behind an inverted file: the checksum of each list, then of each category's centroids."""


def build(
    folder: Path, number: int, categories: npt.NDArray[np.int64], chunks: Chunks, *, flat_limit: int = FLAT_LIMIT
) -> Generation:
    """Train, fill and write the index file of a generation; publishing it is the caller's.

    Args:
        folder: where the file goes, under its final name, complete and synced.
        number: of the generation.
        categories: of all items, by rising id, at least one; shape (n,).
        chunks: starts a pass over all ids (int64, rising) and features (float16, L2-normalised) in pieces.
        flat_limit: largest number of items for an exact index.
    """
    import faiss

    count, dimension = len(categories), next(iter(chunks()))[1].shape[1]
    parts: list[_Part] = []
    if count <= flat_limit:
        structure, trained, lists, nprobe, recall = "flat", None, None, None, None
        index = faiss.index_factory(dimension, "IDMap2,SQfp16", faiss.METRIC_INNER_PRODUCT)
        # Float16 has nothing to learn; FAISS wants the call all the same.
        index.train(np.zeros((1, dimension), np.float32))
        max_id = 0
        for ids, features in chunks():
            index.add_with_ids(features.astype(np.float32), ids)
            max_id = int(ids[-1])
    else:
        parts = _parts(categories)
        training, asked = _training_positions(parts, categories), _query_positions(count)
        sample, queries = _samples(chunks, dimension, training, asked)
        centroids = _train(parts, categories[training], sample)
        neighbours = _Neighbours(queries.astype(np.float32))
        del sample
        index = _empty(centroids)
        max_id = _add(index, parts, centroids, categories, chunks, neighbours.see)
        structure, trained = f"IVF{len(centroids)},RaBitQ", count
        lists = json.dumps({part.category: part.lists for part in parts})
        nprobe, recall = _tune(index, neighbours)
    generation = Generation(number, structure, 0, "", count, max_id, nprobe, recall, int(time.time()), trained, lists)
    return _written(folder, generation, index, parts)


def can_extend(old: Generation, removed: int, categories: npt.NDArray[np.int64]) -> bool:
    """Whether a generation's lists are fit for taking in newer items: trained on as many, and of their categories.

    Args:
        old: the published one.
        removed: how many of its items are no longer items.
        categories: of the newer items, shape (n,).
    """
    if old.lists is None or old.trained is None:
        return False
    count = old.items - removed + len(categories)
    known = [part.category for part in _read_parts(old.lists)]
    return old.trained / EXTENSION <= count <= EXTENSION * old.trained and bool(np.isin(categories, known).all())


def extend(
    folder: Path,
    number: int,
    old: Generation,
    removed: npt.NDArray[np.int64],
    categories: npt.NDArray[np.int64],
    chunks: Chunks,
) -> Generation:
    """Write a generation that has the lists of an old one, without what was removed and with what is newer.

    It takes the time of reading and writing a file, whatever the number of items, and is as good as the training was;
    the recall of that is told on.

    Args:
        folder: with the old one's file.
        number: of the new one.
        old: one for which ``can_extend`` holds.
        removed: ids that it holds and that are no longer items.
        categories: of the newer items, by rising id; shape (n,).
        chunks: starts a pass over their ids (int64, rising) and features (float16, L2-normalised) in pieces.

    Raises:
        FileNotFoundError, InstanceDamaged: the old file is not what was written.
    """
    import faiss

    assert old.lists is not None
    index = _read(folder / old.file_name, old, verify=True, flags=0)
    if len(removed):
        index.remove_ids(faiss.IDSelectorBatch(removed))
    parts, centroids = _read_parts(old.lists), _centroids(index)
    last = _add(index, parts, centroids, categories, chunks) or old.max_id
    if index.ntotal != old.items - len(removed) + len(categories):
        raise InstanceDamaged(f"{folder / old.file_name} does not hold what it should: run 'imgsearch rebuild'")
    generation = replace(old, number=number, items=index.ntotal, max_id=last, created=int(time.time()))
    return _written(folder, generation, index, parts)


@dataclass(frozen=True, slots=True)
class _Part:
    """The inverted lists of one category, next to each other."""

    category: int
    first: int
    lists: int

    @property
    def end(self) -> int:
        return self.first + self.lists


def _parts(categories: npt.NDArray[np.int64]) -> list[_Part]:
    """Share out near four times the square root of the count of lists, with enough points for each."""
    count = len(categories)
    wanted = 1 << round(math.log2(4 * math.sqrt(count)))
    parts, first = [], 0
    for category, items in zip(*np.unique(categories, return_counts=True), strict=True):
        lists = max(1, min(round(wanted * items / count), int(items) // MIN_POINTS_PER_LIST))
        parts.append(_Part(int(category), first, lists))
        first += lists
    return parts


def _read_parts(lists: str) -> list[_Part]:
    """Those of a stored generation."""
    parts, first = [], 0
    for category, count in json.loads(lists).items():
        parts.append(_Part(int(category), first, count))
        first += count
    return parts


def _training_positions(parts: list[_Part], categories: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which items the lists are trained on: of each category some of its own; shape (n,)."""
    generator = np.random.default_rng(len(categories))
    share = min(1.0, MAX_TRAINING_POINTS / (TRAINING_POINTS_PER_LIST * parts[-1].end))
    chosen = np.zeros(len(categories), bool)
    for part in parts:
        members = np.flatnonzero(categories == part.category)
        size = min(len(members), max(MIN_TRAINING_POINTS, round(share * TRAINING_POINTS_PER_LIST * part.lists)))
        chosen[generator.choice(members, size, replace=False)] = True
    return chosen


def _query_positions(count: int) -> npt.NDArray[np.bool_]:
    """Which items recall is measured with; shape (count,)."""
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(count).choice(count, min(RECALL_QUERIES, count), replace=False)] = True
    return chosen


def _train(
    parts: list[_Part], categories: npt.NDArray[np.int64], sample: npt.NDArray[np.float16]
) -> npt.NDArray[np.float32]:
    """Centroids of all lists, each category's from its own items; shape (lists, dimension).

    Args:
        parts: of the lists.
        categories: of the sample, shape (n,).
        sample: shape (n, dimension).
    """
    import faiss

    centroids = []
    for part in parts:
        points = sample[categories == part.category].astype(np.float32)
        if part.lists == 1:
            mean = points.astype(np.float64).mean(axis=0)
            centroids.append((mean / max(float(np.linalg.norm(mean)), TINY)).astype(np.float32)[None])
        else:
            clustering = faiss.Kmeans(
                sample.shape[1],
                part.lists,
                niter=ITERATIONS,
                spherical=True,
                seed=part.category,
                min_points_per_centroid=1,
            )
            clustering.train(points)
            centroids.append(clustering.centroids)
    return np.concatenate(centroids)


def _empty(centroids: npt.NDArray[np.float32]) -> Any:
    """An index of these lists, with nothing in them."""
    import faiss

    lists, dimension = centroids.shape
    quantizer = faiss.IndexFlatIP(dimension)
    quantizer.add(centroids)
    index = faiss.IndexIVFRaBitQ(quantizer, dimension, lists, faiss.METRIC_INNER_PRODUCT)
    index.train(centroids)  # the codes have nothing to learn; FAISS wants the call all the same
    return index


def _is_as_made(index: Any, lists: int, items: int) -> bool:
    """Whether what an altered header could have changed is as ``_empty`` and ``_add`` make it."""
    made = _empty(np.zeros((1, index.d), np.float32))
    return bool(
        (index.nlist, index.invlists.nlist, index.quantizer.ntotal, index.quantizer.d) == (lists, lists, lists, index.d)
        and index.ntotal == items
        and index.code_size == index.invlists.code_size == made.code_size
        and (index.metric_type, index.quantizer.metric_type) == (made.metric_type, made.quantizer.metric_type)
        and (index.is_trained, index.by_residual, index.qb) == (True, made.by_residual, made.qb)
    )


def _centroids(index: Any) -> npt.NDArray[np.float32]:
    """Of an inverted file, as a view of it; shape (lists, dimension)."""
    import faiss

    quantizer = faiss.downcast_index(index.quantizer)
    view: npt.NDArray[np.float32] = faiss.rev_swig_ptr(quantizer.get_xb(), index.nlist * index.d)
    return view.reshape(index.nlist, index.d)


def _add(
    index: Any,
    parts: list[_Part],
    centroids: npt.NDArray[np.float32],
    categories: npt.NDArray[np.int64],
    chunks: Chunks,
    see: Callable[[npt.NDArray[np.int64], npt.NDArray[np.float32]], None] = lambda _ids, _features: None,
) -> int:
    """Put items in, each into the list of its category that is nearest to it; return the last id, 0 without any.

    ``see`` is given the ids and features of all, as they pass.
    """
    import faiss

    position, last = 0, 0
    for ids, halves in chunks():
        features = halves.astype(np.float32)
        here = categories[position : position + len(ids)]
        lists = np.empty(len(ids), np.int64)
        for part in parts:
            members = np.flatnonzero(here == part.category)
            if len(members):
                _, nearest = faiss.knn(
                    features[members], centroids[part.first : part.end], 1, metric=faiss.METRIC_INNER_PRODUCT
                )
                lists[members] = nearest[:, 0] + part.first
        index.add_core(len(ids), *map(faiss.swig_ptr, (features, np.ascontiguousarray(ids), lists)))
        see(ids, features)
        position, last = position + len(ids), int(ids[-1])
    return last


def _samples(chunks: Chunks, dimension: int, *chosen: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float16]]:
    """The features at each choice of positions, from one pass; shape (n, dimension)."""
    samples = [np.empty((int(mask.sum()), dimension), np.float16) for mask in chosen]
    filled, position = [0] * len(chosen), 0
    for _, features in chunks():
        for number, mask in enumerate(chosen):
            some = features[mask[position : position + len(features)]]
            samples[number][filled[number] : filled[number] + len(some)] = some
            filled[number] += len(some)
        position += len(features)
    return samples


class _Neighbours:
    """The nearest of all items to each query, exactly, found while all pass; queries are items themselves."""

    def __init__(self, queries: npt.NDArray[np.float32]) -> None:
        self.queries = queries
        self._cosines = np.full((len(queries), 0), -np.inf, np.float32)
        self._ids = np.zeros((len(queries), 0), np.int64)

    def see(self, ids: npt.NDArray[np.int64], features: npt.NDArray[np.float32]) -> None:
        """Take some more items into account."""
        cosines = np.hstack([self._cosines, self.queries @ features.T])
        ids = np.hstack([self._ids, np.broadcast_to(ids, (len(self.queries), len(ids)))])
        if cosines.shape[1] > RECALL_AT + 1:
            best = np.argpartition(-cosines, RECALL_AT, axis=1)[:, : RECALL_AT + 1]
            cosines, ids = np.take_along_axis(cosines, best, 1), np.take_along_axis(ids, best, 1)
        self._cosines, self._ids = cosines, ids

    def ids(self) -> npt.NDArray[np.int64]:
        """Of RECALL_AT items for each query, itself not among them; shape (n, RECALL_AT)."""
        order = np.argsort(-self._cosines, axis=1, kind="stable")[:, 1:]
        return np.take_along_axis(self._ids, order, 1)


def _tune(index: Any, neighbours: _Neighbours) -> tuple[int, float]:
    """Find the smallest nprobe (a power of two) that reaches TARGET_RECALL after exact ranking of the shortlist."""
    wanted = neighbours.ids()
    nprobe, recall = 1, 0.0
    while True:
        index.nprobe = nprobe
        _, found = index.search(neighbours.queries, MIN_SHORTLIST)
        hits = [np.isin(true, some).mean() if len(true) else 1.0 for true, some in zip(wanted, found, strict=True)]
        recall = float(np.mean(hits))
        if recall >= TARGET_RECALL or nprobe >= index.nlist:
            return nprobe, recall
        nprobe = min(nprobe * 2, index.nlist)


def _list_checksum(index: Any, number: int) -> int:
    """CRC-64 of an inverted list: its ids, then its codes."""
    import faiss

    lists = index.invlists
    size = lists.list_size(number)
    if not size:
        return crc64.xz(b"")
    ids = faiss.rev_swig_ptr(lists.get_ids(number), size)
    return crc64.xz(faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size), crc64.xz(ids))


def _part_checksum(centroids: npt.NDArray[np.float32], part: _Part) -> int:
    return crc64.xz(centroids[part.first : part.end].view(np.uint8).data)


def _written(folder: Path, generation: Generation, index: Any, parts: list[_Part]) -> Generation:
    """Write an index, with its checksums behind it; return the generation with what is to be known of the file."""
    checks = [_list_checksum(index, number) for number in range(parts[-1].end)] if parts else []
    checks += [_part_checksum(_centroids(index), part) for part in parts]
    size, checksum = _write(index, folder / generation.file_name, np.array(checks, CHECK).tobytes())
    return replace(generation, bytes=size, checksum=checksum)


def _write(index: Any, target: Path, behind: bytes) -> tuple[int, str]:
    """Write an index file atomically, with more behind it; return its length in bytes and its checksum."""
    import faiss

    digest = hashlib.blake2b(digest_size=16)
    size = 0
    failure: list[OSError] = []
    with atomic_file(target) as temporary, open(temporary, "xb", opener=private_opener) as file:

        def write(data: bytes) -> None:
            nonlocal size
            try:
                file.write(data)
            except OSError as error:  # FAISS would turn it into text
                failure.append(error)
                raise
            digest.update(data)
            size += len(data)

        try:
            faiss.write_index(index, faiss.PyCallbackIOWriter(write))
        except Exception:
            if failure:
                raise failure[0] from None
            raise
        if behind:
            write(behind)
        file.flush()
    return size, digest.hexdigest()


def _read(path: Path, generation: Generation, *, verify: bool, flags: int) -> Any:
    """Read an index file.

    Args:
        path: of the file.
        generation: as it was published.
        verify: hold the whole file against its checksum.
        flags: for FAISS; 0: into memory.

    Raises:
        FileNotFoundError, InstanceDamaged
    """
    import faiss

    if path.stat().st_size != generation.bytes or (verify and checksum_of(path) != generation.checksum):
        raise _altered(path)
    try:
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        _raise_if_of_the_system(error, path)
        raise InstanceDamaged(
            f"{path} cannot be read; the items are safe in the database: run 'imgsearch rebuild'"
        ) from error


class _Checks:
    """The checksums behind an inverted file; what a search is about to look at is held against them once."""

    def __init__(self, path: Path, index: Any, parts: list[_Part], centroids: npt.NDArray[np.float32]) -> None:
        self._path, self._index, self._parts, self._centroids = path, index, parts, centroids
        count = index.nlist + len(parts)
        with path.open("rb") as file:
            file.seek(-count * CHECK.itemsize, os.SEEK_END)
            self._expected = np.frombuffer(file.read(), CHECK).tolist()
        self._sound: set[int] = set()

    def parts(self, wanted: list[_Part]) -> None:
        """Verify the centroids of some categories.

        Raises:
            InstanceDamaged
        """
        for part in wanted:
            number = self._index.nlist + self._parts.index(part)
            self._compare(number, partial(_part_checksum, self._centroids, part))

    def lists(self, wanted: npt.NDArray[np.int64]) -> None:
        """Verify some inverted lists.

        Raises:
            InstanceDamaged
        """
        for number in wanted.tolist():
            self._compare(number, partial(_list_checksum, self._index, number))

    def _compare(self, number: int, checksum: Callable[[], int]) -> None:
        if number not in self._sound:
            if checksum() != self._expected[number]:
                raise _altered(self._path)
            self._sound.add(number)


def _altered(path: Path) -> InstanceDamaged:
    return InstanceDamaged(
        f"{path} is not what was written; the items are safe in the database: run 'imgsearch rebuild'"
    )


@dataclass(frozen=True, slots=True)
class IndexReader:
    """A published generation, opened and memory-mapped; it stays readable when a newer one replaces the file."""

    generation: Generation
    _index: Any
    _parts: list[_Part] = field(default_factory=list)
    _centroids: npt.NDArray[np.float32] | None = None
    """Shape (lists, dimension), a view of the file; None in a flat index."""
    _checks: _Checks | None = None

    @classmethod
    def open(cls, folder: Path, generation: Generation) -> IndexReader:
        """Map the index file.

        Raises:
            FileNotFoundError: a rebuild has replaced it in the meantime; or it is lost.
            InstanceDamaged: it is not the file that was published.
        """
        import faiss

        path = folder / generation.file_name
        index = _read(path, generation, verify=generation.lists is None, flags=faiss.IO_FLAG_MMAP_IFC)
        if generation.lists is None:
            return cls(generation, index)
        parts = _read_parts(generation.lists)
        if not isinstance(index, faiss.IndexIVFRaBitQ) or not _is_as_made(index, parts[-1].end, generation.items):
            raise _altered(path)
        centroids = _centroids(index)
        return cls(generation, index, parts, centroids, _Checks(path, index, parts, centroids))

    def shortlists(
        self,
        queries: npt.NDArray[np.float32],
        size: int,
        categories: Sequence[tuple[int, ...] | None],
        without: npt.NDArray[np.int64],
    ) -> list[npt.NDArray[np.int64]]:
        """What ``shortlist`` gives for each of many queries, all at once, of an approximate index.

        Args:
            queries: shape (n, dimension), L2-normalised.
            size: how many are wanted of each.
            categories: of each query: if given, only the lists of these are looked at.
            without: ids in it are passed over.
        """
        return self._approximate_shortlists(queries, size, _outside(without), categories)

    def shortlist(
        self,
        query: npt.NDArray[np.float32],
        size: int,
        *,
        categories: tuple[int, ...] | None = None,
        only: npt.NDArray[np.int64] | None = None,
        without: npt.NDArray[np.int64] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Ids of the nearest items, at least ``size`` of them or all there are.

        With the last of them come all that are just as near, so that the caller decides between equal ones. An
        approximate index gives more than were asked for, to be ranked exactly.

        Args:
            query: shape (dimension,), L2-normalised.
            size: how many are wanted.
            categories: if given, an approximate index looks at the lists of these only; a flat one has none.
            only: if given, ids outside it are passed over inside FAISS, so none of the places is wasted.
            without: likewise, ids in it; ``only`` has none of them.
        """
        import faiss

        selector = None
        if only is not None:
            selector = _selector(only)
        elif without is not None:
            selector = _outside(without)
        threads = faiss.omp_get_max_threads()
        # FAISS shares out queries among its threads; on a single one they would only wait for each other.
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
            fetched *= 4

    def _approximate_shortlists(
        self,
        queries: npt.NDArray[np.float32],
        size: int,
        selector: Any,
        categories: Sequence[tuple[int, ...] | None],
        only: npt.NDArray[np.int64] | None = None,
    ) -> list[npt.NDArray[np.int64]]:
        """Look at the lists nearest to each query, and at more for those of which they hold too few.

        Args:
            queries: shape (n, dimension).
            size: how many are wanted of each.
            selector: what may be given; None: everything.
            categories: of each query: whose lists; None: all.
            only: if given, what the selector lets through; the fewer these are, the more lists their nearest lie in.
        """
        answers = [np.zeros(0, np.int64)] * len(queries)
        probes, fetched = self.generation.nprobe or 1, max(MIN_SHORTLIST, SHORTLIST_FACTOR * size)
        if only is not None and len(only):
            most = max(map(self._count, categories))
            probes = max(probes * self.generation.items, SEEN * fetched * most) // len(only) + 1
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
                    few.append(row)  # these lists hold too few that may be given
                elif size <= len(found) == fetched < self.generation.items and values[-1] >= values[size - 1]:
                    tied.append(row)  # all these are equal, and there may be more
                else:
                    answers[row] = found
            again = ((few, 4 * probes, fetched), (tied, probes, 4 * fetched))
            waiting += [work for work in again if work[0]]
        return answers

    def _nearest_lists(
        self, queries: npt.NDArray[np.float32], categories: Sequence[tuple[int, ...] | None], most: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The lists that each query looks at, and their cosines; both of shape (n, lists), NO_LIST at the end.

        Args:
            queries: shape (n, dimension).
            categories: of each query; None: all.
            most: how many lists for each at most.
        """
        width = min(most, max(map(self._count, categories)))
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
        """All lists of these categories, of shape (lists,), and their cosines to queries, of shape (n, lists)."""
        parts = self._parts_of(categories)
        if not parts:
            return np.zeros(0, np.int64), np.zeros((len(queries), 0), np.float32)
        assert self._checks is not None
        assert self._centroids is not None
        self._checks.parts(parts)
        cosines = [queries @ self._centroids[part.first : part.end].T for part in parts]
        return np.concatenate([np.arange(part.first, part.end) for part in parts]), np.hstack(cosines)

    def _count(self, categories: tuple[int, ...] | None) -> int:
        """How many lists these categories have; None: all."""
        return sum(part.lists for part in self._parts_of(categories))

    def _parts_of(self, categories: tuple[int, ...] | None) -> list[_Part]:
        """Those of these categories; None: all."""
        return [part for part in self._parts if categories is None or part.category in categories]

    def _search(
        self,
        queries: npt.NDArray[np.float32],
        size: int,
        selector: Any,
        lists: npt.NDArray[np.int64],
        nearness: npt.NDArray[np.float32],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The best ``size`` of each query by their codes in its lists, which have shape (n, lists).

        Returns:
            Estimated cosines and ids, both of shape (n, size); -1 where there are no more.
        """
        import faiss

        assert self._checks is not None
        count, width = lists.shape
        estimates, ids = np.full((count, size), -np.inf, np.float32), np.full((count, size), -1, np.int64)
        if width:
            self._checks.lists(np.setdiff1d(lists, NO_LIST))
            arrays = [np.ascontiguousarray(array) for array in (queries, lists, nearness)]
            rows, probed, scores = map(faiss.swig_ptr, arrays)
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=width)
            # FAISS's own wrapper of this call takes no parameters.
            self._index.search_preassigned_c(
                count, rows, size, probed, scores, *map(faiss.swig_ptr, (estimates, ids)), False, parameters, None
            )
        return estimates, ids


def _outside(ids: npt.NDArray[np.int64]) -> Any:
    import faiss

    return faiss.IDSelectorNot(_selector(ids)) if len(ids) else None


def _selector(ids: npt.NDArray[np.int64]) -> Any:
    """Of these ids: a bit for every id up to the last, unless they are so few, or so high, that a hash is smaller."""
    import faiss

    if not len(ids) or int(ids.max()) > BITS_PER_ID * len(ids) + MIN_BITS:
        return faiss.IDSelectorBatch(ids)
    mask = np.zeros(int(ids.max()) + 1, bool)
    mask[ids] = True
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))


def _raise_if_of_the_system(error: RuntimeError, path: Path) -> None:
    """FAISS makes text of what the system said when it could not open or map a file; make an error of it again.

    Raises:
        OSError
    """
    for number in errno.errorcode:
        if str(error).endswith(os.strerror(number)):
            raise OSError(number, os.strerror(number), str(path)) from error


def checksum_of(path: Path) -> str:
    """BLAKE2b-128 of a file, as recorded for it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
