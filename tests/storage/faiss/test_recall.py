"""How many lists are to be searched: measured against the exact neighbours of some items."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.storage.faiss.recall import Neighbours, query_positions, tune
from imgsearch.storage.faiss.shortlist import FEW_HITS, MAX_OF_FEW_HITS, STEP
from tests.storage.builders import INDEXED, clustered, scattered

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.storage.sqlite.generations import Generation
    from tests.storage.builders import Features


def found(
    queries: Features, features: Features, ids: npt.NDArray[np.int64], chunks: list[npt.NDArray[np.int64]], ahead: int
) -> npt.NDArray[np.int64]:
    """Ids of the neighbours, if so many chunks are compared before the first of them is taken."""
    neighbours, waiting = Neighbours(queries), deque()
    for some in chunks:
        waiting.append(neighbours.near(ids[some], features[some]))
        if len(waiting) > ahead:
            neighbours.take(*waiting.popleft())
    for near in waiting:
        neighbours.take(*near)
    return neighbours.ids()


@given(st.lists(st.integers(0, 300), max_size=4), st.integers(1, 5))
def test_neighbours_are_those_of_brute_force(cuts: list[int], ahead: int) -> None:
    """However items are divided into chunks, and however many chunks are compared before the first is taken."""
    features, places = clustered(300, 2), np.arange(0, 300, 11)
    ids = np.arange(300, dtype=np.int64) * 3 + 1
    cosines = features[places] @ features.T
    cosines[np.arange(len(places)), places] = -np.inf
    expected = ids[np.argsort(-cosines, axis=1, kind="stable")[:, :FEW_HITS]]
    chunks = np.split(np.arange(300), sorted(cuts))
    assert np.array_equal(found(features[places], features, ids, chunks, ahead), expected)


def test_hardly_an_item_is_handed_on_once_neighbours_are_known() -> None:
    features = clustered(3_000, 2)
    neighbours = Neighbours(features[:5])
    ids = np.arange(3_000, dtype=np.int64)
    neighbours.take(*neighbours.near(ids[:2_000], features[:2_000]))
    handed, cosines = neighbours.near(ids[2_000:], features[2_000:])
    assert len(handed) <= 5 * FEW_HITS
    assert cosines.shape == (5, len(handed))


@pytest.mark.parametrize("ahead", [1, 3])
def test_equally_near_items_are_always_chosen_alike(ahead: int) -> None:
    """Whenever chunks are compared: the timing of threads differs from run to run."""
    features = np.repeat(scattered(2, 1), 40, axis=0)
    ids = np.arange(80, dtype=np.int64)
    chosen = [found(features[[0, 79]], features, ids, np.split(ids, 8), some) for some in (0, ahead)]
    assert np.array_equal(*chosen)


@pytest.mark.parametrize("built", ["IVF"], indirect=True)
def test_the_fewest_lists_are_searched_that_find_nearly_all(
    built: tuple[Path, Generation], features: Features, ids: npt.NDArray[np.int64]
) -> None:
    """As a power of two, with the shortest list of candidates that keeps what recall is above the target."""
    folder, generation = built
    neighbours = Neighbours(features[query_positions(INDEXED)].astype(np.float32))
    neighbours.take(*neighbours.near(ids, features))

    def recall(nprobe: int, size: int) -> float:
        index = faiss.read_index(str(folder / generation.file_name))
        index.nprobe = nprobe
        found = index.search(neighbours.queries, MAX_OF_FEW_HITS)[1][:, :size]
        hits = [len(set(one) & set(true)) for one, true in zip(found.tolist(), neighbours.ids().tolist(), strict=True)]
        return float(np.mean(hits)) / FEW_HITS

    nprobe, shortlist, reached = tune(lambda: faiss.read_index(str(folder / generation.file_name)), neighbours)
    assert nprobe > 1
    assert nprobe.bit_count() == 1
    assert recall(nprobe // 2, MAX_OF_FEW_HITS) < 0.99 <= recall(nprobe, MAX_OF_FEW_HITS)
    assert reached == pytest.approx(recall(nprobe, shortlist))
    assert reached >= (0.99 + recall(nprobe, MAX_OF_FEW_HITS)) / 2
    assert shortlist % STEP == 0
    assert shortlist == STEP or recall(nprobe, shortlist - STEP) < reached
