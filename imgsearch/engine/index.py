"""Index generations: immutable FAISS files, derived from the features in the store.

Small instances get a flat index, which is exact. Larger ones get an inverted file with RaBitQ codes (Gao and Long,
"RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate Nearest Neighbor Search",
SIGMOD 2024): one bit per dimension, memory-mapped, whose shortlist is then ranked by the stored features. FAISS files
carry no checksum, so each is recorded with its length and BLAKE2b in the database.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.engine.store import Generation
from imgsearch.errors import InstanceDamaged
from imgsearch.files import atomic_file, private_opener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    Chunks = Callable[[], Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]]]

__all__ = ["FLAT_LIMIT", "IndexReader", "build"]

FLAT_LIMIT: Final = 20_000
"""Up to so many items the index is flat: exact, and quick enough."""

TRAINING_POINTS_PER_LIST: Final = 64
MAX_TRAINING_POINTS: Final = 262_144
MIN_POINTS_PER_LIST: Final = 39  # FAISS warns below that
TARGET_RECALL: Final = 0.99
RECALL_AT: Final = 10
RECALL_QUERIES: Final = 200
SHORTLIST_FACTOR: Final = 4
MIN_SHORTLIST: Final = 400
"""Candidates that an approximate index hands over for exact ranking: at least this many, or four times the hits."""
TIE: Final = 1e-6
"""Cosines so near to each other may be equal ones, rounded differently."""
VERIFY_BELOW_BYTES: Final = 64 * 2**20
"""Files below this size have their checksum verified whenever they are opened."""


def build(folder: Path, number: int, count: int, chunks: Chunks, *, flat_limit: int = FLAT_LIMIT) -> Generation:
    """Train, fill and write the index file of a generation; publishing it is the caller's.

    Args:
        folder: where the file goes, under its final name, complete and synced.
        number: of the generation.
        count: how many items there are, at least 1.
        chunks: starts a pass over all ids (int64, rising) and features (float16, L2-normalised) in pieces.
        flat_limit: largest number of items for an exact index.
    """
    import faiss

    dimension = next(iter(chunks()))[1].shape[1]
    if count <= flat_limit:
        structure, index = "flat", faiss.index_factory(dimension, "IDMap2,SQfp16", faiss.METRIC_INNER_PRODUCT)
        # Float16 has nothing to learn; FAISS wants the call all the same.
        index.train(np.zeros((1, dimension), np.float32))
    else:
        lists = _number_of_lists(count)
        structure = f"IVF{lists},RaBitQ"
        index = faiss.index_factory(dimension, structure, faiss.METRIC_INNER_PRODUCT)
        index.train(_sample(chunks, count, min(lists * TRAINING_POINTS_PER_LIST, MAX_TRAINING_POINTS)))
    max_id = 0
    for ids, features in chunks():
        index.add_with_ids(features.astype(np.float32), ids)
        max_id = int(ids[-1])
    nprobe, recall = (None, None) if structure == "flat" else _tune(index, lists, chunks, count)
    generation = Generation(number, structure, 0, "", count, max_id, nprobe, recall, int(time.time()))
    size, checksum = _write(index, folder / generation.file_name)
    return replace(generation, bytes=size, checksum=checksum)


def _number_of_lists(count: int) -> int:
    """A power of two near four times the square root of the count, with enough points for each list."""
    wanted = 1 << round(math.log2(4 * math.sqrt(count)))
    return max(1, min(wanted, count // MIN_POINTS_PER_LIST))


def _sample(chunks: Chunks, count: int, size: int) -> npt.NDArray[np.float32]:
    """About ``size`` of the features, spread evenly over all of them; shape (n, dimension)."""
    if size >= count:
        return np.concatenate([features.astype(np.float32) for _, features in chunks()])
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(count).choice(count, size, replace=False)] = True
    parts, position = [], 0
    for _, features in chunks():
        parts.append(features[chosen[position : position + len(features)]].astype(np.float32))
        position += len(features)
    return np.concatenate(parts)


def _tune(index: Any, lists: int, chunks: Chunks, count: int) -> tuple[int, float]:
    """Find the smallest nprobe (a power of two) that reaches TARGET_RECALL after exact ranking of the shortlist.

    Queries are stored features; a query itself does not count among its neighbours.
    """
    queries = _sample(chunks, count, min(RECALL_QUERIES, count))[:RECALL_QUERIES]
    wanted = RECALL_AT + 1
    best_scores = np.full((len(queries), 0), -np.inf, np.float32)
    best_ids = np.zeros((len(queries), 0), np.int64)
    for ids, features in chunks():
        best_scores = np.hstack([best_scores, queries @ features.astype(np.float32).T])
        best_ids = np.hstack([best_ids, np.broadcast_to(ids, (len(queries), len(ids)))])
        order = np.argsort(-best_scores, axis=1, kind="stable")[:, :wanted]
        best_scores, best_ids = np.take_along_axis(best_scores, order, 1), np.take_along_axis(best_ids, order, 1)
    nprobe, recall = 1, 0.0
    while True:
        index.nprobe = nprobe
        _, found = index.search(queries, MIN_SHORTLIST)
        hits = [len(np.intersect1d(true[1:], some)) / (wanted - 1) for true, some in zip(best_ids, found, strict=True)]
        recall = float(np.mean(hits))
        if recall >= TARGET_RECALL or nprobe >= lists:
            return nprobe, recall
        nprobe = min(nprobe * 2, lists)


def _write(index: Any, target: Path) -> tuple[int, str]:
    """Write an index file atomically; return its length in bytes and its checksum."""
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
        file.flush()
    return size, digest.hexdigest()


@dataclass(frozen=True, slots=True)
class IndexReader:
    """A published generation, opened and memory-mapped; it stays readable when a newer one replaces the file."""

    generation: Generation
    _index: Any

    @classmethod
    def open(cls, folder: Path, generation: Generation) -> IndexReader:
        """Map the index file.

        Raises:
            FileNotFoundError: a rebuild has replaced it in the meantime; or it is lost.
            InstanceDamaged: it is not the file that was published.
        """
        path = folder / generation.file_name
        if path.stat().st_size != generation.bytes or (
            generation.bytes < VERIFY_BELOW_BYTES and checksum_of(path) != generation.checksum
        ):
            raise InstanceDamaged(
                f"{path} is not what was written; the items are safe in the database: run 'imgsearch rebuild'"
            )
        import faiss

        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            if not path.exists():
                raise FileNotFoundError(path) from None
            _raise_if_of_the_system(error, path)
            raise InstanceDamaged(
                f"{path} cannot be read; the items are safe in the database: run 'imgsearch rebuild'"
            ) from error
        return cls(generation, index)

    def shortlist(
        self,
        query: npt.NDArray[np.float32],
        size: int,
        *,
        only: npt.NDArray[np.int64] | None = None,
        without: npt.NDArray[np.int64] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Ids of the nearest items, at least ``size`` of them or all there are.

        With the last of them come all that are just as near, so that the caller decides between equal ones. An
        approximate index gives more than were asked for, to be ranked exactly.

        Args:
            query: shape (dimension,), L2-normalised.
            size: how many are wanted.
            only: if given, ids outside it are passed over inside FAISS, so none of the places is wasted.
            without: likewise, ids in it.
        """
        import faiss

        selector = None
        if only is not None:
            selector = faiss.IDSelectorBatch(only)
        elif without is not None and len(without):
            selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(without))
        threads = faiss.omp_get_max_threads()
        # FAISS shares out queries among its threads; on a single one they would only wait for each other.
        faiss.omp_set_num_threads(1)
        try:
            if self.generation.nprobe is None:
                return self._exact_shortlist(query, size, selector)
            return self._approximate_shortlist(query, size, selector, self.generation.nprobe)
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

    def _approximate_shortlist(
        self, query: npt.NDArray[np.float32], size: int, selector: Any, nprobe: int
    ) -> npt.NDArray[np.int64]:
        import faiss

        fetched = max(MIN_SHORTLIST, SHORTLIST_FACTOR * size)
        while True:
            fetched = min(fetched, self.generation.items)
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=nprobe)
            estimates, ids = self._index.search(query.reshape(1, -1), fetched, params=parameters)
            found: npt.NDArray[np.int64] = ids[0][ids[0] >= 0]
            if len(found) < fetched and nprobe < self._index.nlist:
                nprobe *= 4  # the lists nearest to the query hold too few that may be given
            elif size <= len(found) == fetched < self.generation.items and estimates[0, -1] >= estimates[0, size - 1]:
                fetched *= 4  # all these are equal, and there may be more
            else:
                return found


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
