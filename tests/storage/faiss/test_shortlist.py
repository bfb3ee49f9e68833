"""How many candidates are taken: as many as were measured to be enough, and never fewer than are wanted twice over."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.storage.faiss.index_reader import IndexReader
from imgsearch.storage.faiss.shortlist import FEW_HITS, MAX_OF_FEW_HITS, STEP, shortlist_of, size_of, structure
from tests.storage.builders import Features, clustered, make_index, nearest

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


@pytest.mark.parametrize("shortlist", range(STEP, MAX_OF_FEW_HITS + 1, STEP))
def test_the_name_of_a_structure_tells_the_shortlist(shortlist: int) -> None:
    """Also that of indexes built before it was measured, which have none."""
    assert shortlist_of(structure(4097, shortlist)) == shortlist
    assert structure(4097, shortlist).startswith("IVF4097,RaBitQ")
    assert shortlist_of("IVF4097,RaBitQ") == MAX_OF_FEW_HITS


@pytest.mark.parametrize("shortlist", [STEP, 200, MAX_OF_FEW_HITS])
def test_more_hits_get_more_candidates(shortlist: int) -> None:
    """From where more than a few are wanted, no fewer than before anything was measured."""
    sizes = [size_of(shortlist, hits) for hits in range(1, 1_000)]
    assert sizes == sorted(sizes)
    assert sizes[FEW_HITS - 1] == sizes[0] == shortlist
    assert all(size >= 2 * hits for hits, size in enumerate(sizes, 1))
    assert size_of(shortlist, 200) == MAX_OF_FEW_HITS
    assert size_of(shortlist, 500) == 1_000


def test_the_shortlist_measured_is_short_and_enough(
    tmp_path: Path, features: Features, ids: npt.NDArray[np.int64]
) -> None:
    """Clusters of fifty are told apart by their codes; an index without the figure goes on as before."""
    generation = make_index(tmp_path, features, ids, flat_limit=100)
    shortlist = shortlist_of(generation.structure)
    assert shortlist < MAX_OF_FEW_HITS
    assert generation.recall is not None
    assert generation.recall >= 0.99
    measured, before = (
        IndexReader.open(tmp_path, one) for one in (generation, replace(generation, structure="IVF256,RaBitQ"))
    )
    queries = clustered(100, 0)
    for query in queries[:10]:
        assert len(measured.shortlist(query, 10)) == shortlist
        assert len(before.shortlist(query, 10)) == MAX_OF_FEW_HITS
    found = [np.isin(ids[nearest(features, query, 10)], measured.shortlist(query, 10)).mean() for query in queries]
    assert np.mean(found) >= 0.98
