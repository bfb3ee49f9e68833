"""Building index generations: immutable FAISS files, derived from the features in the store.

Small instances get a flat index, which is exact. Larger ones get an inverted file with RaBitQ codes (Gao and Long,
"RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate Nearest Neighbor Search",
SIGMOD 2024): one bit per dimension; the shortlist is then ranked by the stored features. Each category has its own
inverted lists, trained on its own items, so that a search in a category scans only these.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.all_cores import all_cores
from imgsearch.distinct import is_among
from imgsearch.errors import InstanceDamaged
from imgsearch.quantization import single
from imgsearch.storage.faiss.clustering import Centroids, spherical_kmeans
from imgsearch.storage.faiss.index_file import (
    Part,
    centroids_of,
    list_of,
    read_centroids,
    read_index,
    read_parts,
    serialised_parts,
    unreadable_is_damage,
)
from imgsearch.storage.faiss.index_writer import empty_index, write_flat, write_lists
from imgsearch.storage.faiss.recall import Neighbours, query_positions, tune
from imgsearch.storage.faiss.shortlist import structure
from imgsearch.storage.faiss.spool import Spool
from imgsearch.storage.sqlite.generations import Generation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    Ids = npt.NDArray[np.int64]
    Features = npt.NDArray[np.floating]
    Chunks = Callable[[], Iterator[tuple[Ids, Features]]]
    Picked = Callable[[Ids], Features]

__all__ = ["FLAT_LIMIT", "build", "can_extend", "extend"]

FLAT_LIMIT: Final = 20_000
"""Up to this many items the index is flat: exact and fast enough."""

LISTS: Final = 4
"""Times the square root of the number of items: how many lists there are, as a power of two."""
LISTS_OF_MANY: Final = 8
"""The same for many items: shorter lists save a search more than comparing with twice as many centroids costs."""
MANY_ITEMS: Final = 4_000_000
TRAINING_POINTS_PER_LIST: Final = 64
MAX_TRAINING_POINTS: Final = 524_288
MIN_POINTS_PER_LIST: Final = 39
"""As FAISS recommends."""
MIN_TRAINING_POINTS: Final = 1_000
"""Per category, if it has that many items."""
EXTENSION: Final = 2.0
"""Lists are kept until the number of items has grown or shrunk by this factor since training."""
SAMPLED_AT_ONCE: Final = 16_384
"""Features that are read at a time: bounds the memory."""


def build(
    folder: Path,
    number: int,
    categories: Ids,
    chunks: Chunks,
    picked: Picked,
    *,
    flat_limit: int = FLAT_LIMIT,
    old: Generation | None = None,
) -> Generation:
    """Train, fill and write the index file of a generation; the caller publishes it.

    Args:
        folder: where the file is written, under its final name, complete and synced.
        number: of the generation.
        categories: of all items, by ascending id, at least one; shape (n,).
        chunks: starts a pass over all ids (int64, ascending) and features (L2-normalised) in chunks.
        picked: the features of the items at some places in the order of ids; the places are ascending.
        flat_limit: maximum number of items for an exact index.
        old: an earlier generation of the same features; training starts from its centroids, if they can be read.
    """
    count, created = len(categories), int(time.time())
    dimension = picked(np.zeros(1, np.int64)).shape[1]
    if count <= flat_limit:
        index, max_id = _flat(chunks, dimension)
        return write_flat(folder, Generation(number, "flat", 0, "", count, max_id, None, None, created), index)
    parts = _parts(categories)
    index = empty_index(_train(parts, categories, picked, dimension, _begin(folder, old)))
    neighbours = Neighbours(picked(query_positions(count)).astype(np.float32))
    with Spool(folder, index.nlist, index.code_size, count) as spool:
        max_id = _fill(spool, index, parts, categories, chunks, neighbours)

        def settled(opened: Callable[[], Any]) -> Generation:
            nprobe, shortlist, recall = tune(opened, neighbours)
            name = structure(index.nlist, shortlist)
            return replace(generation, structure=name, nprobe=nprobe, recall=recall)

        lists = serialised_parts(parts)
        generation = Generation(number, "", 0, "", count, max_id, None, None, created, count, lists)
        return write_lists(folder, generation, index, parts, spool.lists(), settled)


def _flat(chunks: Chunks, dimension: int) -> tuple[Any, int]:
    """An exact index of all items, and the last id."""
    import faiss

    index = faiss.index_factory(dimension, "IDMap2,SQfp16", faiss.METRIC_INNER_PRODUCT)
    # Float16 needs no training, but FAISS requires the call.
    index.train(np.zeros((1, dimension), np.float32))
    max_id = 0
    for ids, features in chunks():
        index.add_with_ids(single(features), ids)
        max_id = int(ids[-1])
    return index, max_id


def can_extend(old: Generation, removed: int, categories: Ids) -> bool:
    """Whether newer items can be added to a generation's lists: similar number of items, known categories.

    Args:
        old: the published one.
        removed: how many of its items have been deleted.
        categories: of the newer items, shape (n,).
    """
    if old.lists is None or old.trained is None:
        return False
    count = old.items - removed + len(categories)
    known = [part.category for part in read_parts(old.lists)]
    return old.trained / EXTENSION <= count <= EXTENSION * old.trained and bool(np.isin(categories, known).all())


def extend(
    folder: Path,
    number: int,
    old: Generation,
    removed: Ids,
    categories: Ids,
    chunks: Chunks,
) -> Generation:
    """Write a generation with the lists of an old one, without removed and with newer items.

    It takes only the time to read and write a file. Quality depends on the training; the old recall figure is kept.

    Args:
        folder: of the old file.
        number: of the new generation.
        old: a generation for which ``can_extend`` holds.
        removed: its ids that belong to deleted items.
        categories: of the newer items, by ascending id; shape (n,).
        chunks: starts a pass over their ids (int64, ascending) and features (L2-normalised) in chunks.

    Raises:
        FileNotFoundError, InstanceDamaged: the old file is missing or corrupted.
    """
    import faiss

    assert old.lists is not None
    path = folder / old.file_name
    with unreadable_is_damage(path):
        present = read_index(path, old, verify=True, flags=faiss.IO_FLAG_MMAP_IFC)
    parts, index, gone = read_parts(old.lists), empty_index(centroids_of(present)), np.sort(removed)

    def settled(opened: Callable[[], Any]) -> Generation:
        items = opened().ntotal
        if items != old.items - len(removed) + len(categories):
            raise InstanceDamaged(f"{path} has the wrong number of items: run 'imgsearch rebuild'")
        return replace(old, number=number, items=items, max_id=last, created=int(time.time()))

    with Spool(folder, index.nlist, index.code_size, len(categories)) as spool:
        last = _fill(spool, index, parts, categories, chunks) or old.max_id
        return write_lists(folder, replace(old, number=number), index, parts, _merged(present, gone, spool), settled)


def _merged(old: Any, removed: Ids, spool: Spool) -> Iterator[tuple[Ids, npt.NDArray[np.uint8]]]:
    """Ids and codes of each list: what remains of an old index, then what is new.

    Args:
        old: the index.
        removed: ids, ascending.
        spool: of the new items.
    """
    for number, (new_ids, new_codes) in enumerate(spool.lists()):
        ids, codes = list_of(old, number)
        remains = ~is_among(ids, removed)
        yield np.concatenate([ids[remains], new_ids]), np.concatenate([codes[remains], new_codes])


def _parts(categories: Ids) -> list[Part]:
    """Divide lists among the categories, each with enough items per list."""
    count = len(categories)
    wanted = 1 << round(math.log2((LISTS if count < MANY_ITEMS else LISTS_OF_MANY) * math.sqrt(count)))
    parts, first = [], 0
    for category, items in zip(*np.unique(categories, return_counts=True), strict=True):
        lists = max(1, min(round(wanted * items / count), int(items) // MIN_POINTS_PER_LIST))
        parts.append(Part(int(category), first, lists))
        first += lists
    return parts


def _training_positions(parts: list[Part], categories: Ids) -> Ids:
    """Places of the items that the lists are trained on, a sample of each category; ascending."""
    generator = np.random.default_rng(len(categories))
    share = min(1.0, MAX_TRAINING_POINTS / (TRAINING_POINTS_PER_LIST * parts[-1].end))
    chosen = []
    for part in parts:
        members = np.flatnonzero(categories == part.category)
        size = min(len(members), max(MIN_TRAINING_POINTS, round(share * TRAINING_POINTS_PER_LIST * part.lists)))
        chosen.append(generator.choice(members, size, replace=False))
    return np.sort(np.concatenate(chosen))


def _single_threaded() -> None:
    """Make FAISS use the calling thread only."""
    import faiss

    faiss.omp_set_num_threads(1)


def _begin(folder: Path, old: Generation | None) -> dict[int, npt.NDArray[np.float32]]:
    """The centroids of each category to start training from; none if the old file cannot be read."""
    if old is not None:
        with suppress(OSError, InstanceDamaged):
            return read_centroids(folder / old.file_name, old)
    return {}


def _train(
    parts: list[Part],
    categories: Ids,
    picked: Picked,
    dimension: int,
    begin: dict[int, npt.NDArray[np.float32]],
) -> npt.NDArray[np.float32]:
    """Train the centroids of all lists, per category on a sample of its own items; shape (lists, dimension).

    Args:
        parts: of the lists.
        categories: of all items, shape (n,).
        picked: the features of items.
        dimension: of these.
        begin: earlier centroids of some categories, shape (lists, dimension).
    """
    places = _training_positions(parts, categories)
    chosen = categories[places]
    with all_cores(_single_threaded) as mapped:
        return np.concatenate(
            [
                spherical_kmeans(
                    _sample(picked, places[chosen == part.category], dimension),
                    part.lists,
                    seed=part.category,
                    begin=begin.get(part.category),
                    mapped=mapped,
                )
                for part in parts
            ]
        )


def _sample(picked: Picked, places: Ids, dimension: int) -> npt.NDArray[np.float32]:
    """The features at some places, read a few at a time; shape (n, dimension)."""
    sample = np.empty((len(places), dimension), np.float32)
    for start in range(0, len(places), SAMPLED_AT_ONCE):
        some = places[start : start + SAMPLED_AT_ONCE]
        sample[start : start + len(some)] = picked(some)
    return sample


def _fill(
    spool: Spool,
    index: Any,
    parts: list[Part],
    categories: Ids,
    chunks: Chunks,
    neighbours: Neighbours | None = None,
) -> int:
    """Code each item for the nearest list of its category; return the last id, 0 without items.

    If neighbours are given, they are found among the items.
    """
    coder = _Coder(index, [part for part in parts if part.category in categories], neighbours)

    def pieces() -> Iterator[tuple[Ids, Features, Ids]]:
        position = 0
        for ids, features in chunks():
            yield ids, features, categories[position : position + len(ids)]
            position += len(ids)

    last = 0
    with all_cores(_single_threaded) as mapped:
        for coded in mapped(coder.coded, pieces()):
            spool.add(coded.lists, coded.ids, coded.codes)
            if neighbours is not None and coded.near is not None:
                neighbours.take(*coded.near)
            last = int(coded.ids[-1])
    return last


@dataclass(frozen=True, slots=True)
class _Coded:
    """A chunk of items, coded for their lists."""

    ids: Ids
    lists: Ids
    codes: npt.NDArray[np.uint8]
    near: tuple[Ids, npt.NDArray[np.float32]] | None
    """Items that may be among the neighbours, as ``Neighbours.near`` returns them."""


class _Coder:
    """Codes chunks of items, in several threads at a time.

    Args:
        index: with the centroids.
        parts: of the items' categories.
        neighbours: to compare the items with; None: no comparison.
    """

    def __init__(self, index: Any, parts: list[Part], neighbours: Neighbours | None) -> None:
        centroids = centroids_of(index)
        self._index, self._neighbours = index, neighbours
        self._prepared = [(part, Centroids(centroids[part.first : part.end])) for part in parts]

    def coded(self, piece: tuple[Ids, Features, Ids]) -> _Coded:
        """Code a chunk, given as its ids, features and categories."""
        import faiss

        ids, halves, categories = piece
        features = single(halves)
        lists = np.empty(len(ids), np.int64)
        for part, centroids in self._prepared:
            members = np.flatnonzero(categories == part.category)
            if len(members):
                lists[members] = centroids.nearest(features[members]) + part.first
        codes = np.empty((len(ids), self._index.code_size), np.uint8)
        self._index.encode_vectors(len(ids), *map(faiss.swig_ptr, (features, lists, codes)), False)
        near = None if self._neighbours is None else self._neighbours.near(ids, features)
        return _Coded(ids, lists, codes, near)
