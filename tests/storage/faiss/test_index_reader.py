"""Searching an index generation: what is handed over, and that it stays readable to the end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from imgsearch.listed_ids import ListedIds
from imgsearch.storage.faiss import index_builder
from imgsearch.storage.faiss.index_builder import build
from imgsearch.storage.faiss.index_reader import IndexReader
from imgsearch.storage.faiss.shortlist import shortlist_of
from imgsearch.storage.sqlite.generations import Generation
from tests.storage.builders import (
    INDEXED,
    Features,
    clustered,
    make_index,
    nearest,
    picked_of,
    pieces_of,
    scattered,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("built", ["flat"], indirect=True)
def test_a_flat_index_is_exact(built: tuple[Path, Generation], features: Features, ids: npt.NDArray[np.int64]) -> None:
    folder, generation = built
    reader = IndexReader.open(folder, generation)
    for query in clustered(20, 1):
        for size in (1, 10, 500):
            assert set(ids[nearest(features, query, size)]) <= set(reader.shortlist(query, size).tolist())
            assert len(reader.shortlist(query, size)) < size + 5


@pytest.mark.parametrize("share", [1.0, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("far", [False, True], ids=["anywhere", "far from the query"])
def test_only_and_without_waste_no_place(
    built: tuple[Path, Generation], features: Features, ids: npt.NDArray[np.int64], share: float, far: bool
) -> None:
    """Ids that do not count are passed over while searching: the shortlist holds as many as asked for, if there are."""
    folder, generation = built
    reader = IndexReader.open(folder, generation)
    query = clustered(1, 3)[0]
    size = round(INDEXED * share)
    order = nearest(features, query, INDEXED)[::-1] if far else np.random.default_rng(1).permutation(INDEXED)
    chosen, others = ids[order[:size]], ids[order[size:]]
    for wanted in (1, 10, 500):
        for found in (
            reader.shortlist(query, wanted, only=ListedIds(np.sort(chosen))),
            reader.shortlist(query, wanted, without=others),
        ):
            assert len(set(found.tolist())) == len(found) >= min(wanted, size)
            assert set(found.tolist()) <= set(chosen.tolist())
            if generation.structure == "flat":
                best = nearest(features, query, wanted, np.sort(order[:size]))
                assert set(ids[best].tolist()) <= set(found.tolist())


def test_nothing_left_is_an_empty_shortlist(built: tuple[Path, Generation], ids: npt.NDArray[np.int64]) -> None:
    folder, generation = built
    reader = IndexReader.open(folder, generation)
    query = clustered(1, 3)[0]
    assert reader.shortlist(query, 10, without=ids).tolist() == []
    assert reader.shortlist(query, 10, only=ListedIds(np.array([1, 2]))).tolist() == []
    assert len(reader.shortlist(query, 10, without=np.zeros(0, np.int64))) >= 10


def test_many_queries_get_what_each_gets_alone_in_few_calls(
    tmp_path: Path, features: Features, ids: npt.NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the nearest lists hold too few, more are looked at for all that want it at once."""
    few = 50
    inside = np.where(np.arange(INDEXED) < few, 7, 3)
    generation = build(tmp_path, 1, inside, pieces_of(features, ids), picked_of(features), flat_limit=INDEXED - 1)
    reader = IndexReader.open(tmp_path, generation)
    queries, wanted = clustered(30, 3), INDEXED // 4
    categories = [None, (3,), (7,), (3, 7), (5,)] * 6
    alone = [reader.shortlist(query, wanted, categories=some) for query, some in zip(queries, categories, strict=True)]
    calls = []
    search = IndexReader._search

    def counted(self: IndexReader, queries: Features, *arguments: Any) -> Any:
        calls.append(len(queries))
        return search(self, queries, *arguments)

    monkeypatch.setattr(IndexReader, "_search", counted)
    without = ids[:0]
    together = reader.shortlists(queries, wanted, categories, without)
    assert [set(found.tolist()) for found in together] == [set(found.tolist()) for found in alone]
    assert [len(found) >= wanted for found in together[:5]] == [True, True, False, True, False]
    assert len(together[2]) == few
    assert len(together[4]) == 0
    assert len(calls) < 6
    assert calls[0] == len(queries)


def test_the_nearest_lists_are_scanned(
    tmp_path: Path, features: Features, ids: npt.NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are and however many of them are to be scanned, also a single one."""
    monkeypatch.setattr(index_builder, "MIN_POINTS_PER_LIST", 1)
    monkeypatch.setattr(index_builder, "LISTS", 8)
    reader = IndexReader.open(tmp_path, make_index(tmp_path, features, ids, flat_limit=0))
    assert reader._centroids is not None
    queries, several = clustered(50, 3), (1, 2, 30, len(reader._centroids))
    assert several[-1] > 300, "NumPy sorts what is shorter, whatever it is asked for"
    cosines = queries @ reader._centroids.T
    for most in several:
        lists, nearness = reader._nearest_lists(queries, [None] * len(queries), most)
        for values, found, near in zip(cosines, lists, nearness, strict=True):
            assert set(found.tolist()) == set(np.argsort(-values)[:most].tolist())
            assert near == pytest.approx(values[found], abs=1e-6)


def test_an_approximate_index_hands_over_more_than_asked_for(
    built: tuple[Path, Generation], features: Features
) -> None:
    """Its order is rough, so a longer list is left to exact ranking, from as many lists as that takes."""
    folder, generation = built
    reader = IndexReader.open(folder, generation)
    found = len(reader.shortlist(features[0], 10))
    assert found < 20 if generation.nprobe is None else found == shortlist_of(generation.structure)
    assert len(reader.shortlist(features[0], 1_000)) >= 1_000


def test_lists_that_hold_too_few_items_are_not_scanned_first(
    tmp_path: Path, features: Features, ids: npt.NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many lists as a few hits need hold too little for many hits."""
    monkeypatch.setattr(index_builder, "MIN_POINTS_PER_LIST", 1)
    monkeypatch.setattr(index_builder, "LISTS", 8)
    generation = make_index(tmp_path, features, ids, flat_limit=0)
    opened = IndexReader.open(tmp_path, generation)
    reader = replace(opened, generation=replace(generation, nprobe=1))
    calls = []
    search = IndexReader._search

    def counted(self: IndexReader, *arguments: Any) -> Any:
        calls.append(arguments)
        return search(self, *arguments)

    monkeypatch.setattr(IndexReader, "_search", counted)
    for query in clustered(20, 3):
        assert len(reader.shortlist(query, 200)) >= 200
    assert len(calls) < 30


@pytest.mark.parametrize("flat_limit", [900, 100], ids=["flat", "IVF"])
def test_all_that_are_as_near_as_the_last_come_along(tmp_path: Path, flat_limit: int) -> None:
    """So that the caller can put equal items in order, whatever FAISS does with them."""
    features = scattered(900)
    features[100:700] = features[100]
    ids = np.arange(1, 901)
    reader = IndexReader.open(tmp_path, make_index(tmp_path, features, ids, flat_limit=flat_limit))
    assert set(range(101, 701)) <= set(reader.shortlist(features[100], 3).tolist())
    assert set(range(101, 701, 2)) <= set(reader.shortlist(features[100], 3, only=ListedIds(ids[100:700:2])).tolist())


def test_a_reader_goes_on_when_the_file_is_replaced_or_removed(
    built: tuple[Path, Generation], tmp_path: Path, features: Features
) -> None:
    """It is mapped, not read again by name: a search never changes its mind half way."""
    folder, generation = built
    path = tmp_path / generation.file_name
    path.write_bytes((folder / generation.file_name).read_bytes())
    reader = IndexReader.open(tmp_path, generation)
    other = make_index(tmp_path, features[::-1].copy(), np.arange(1, INDEXED + 1), 2)
    (tmp_path / other.file_name).replace(path)
    answers = [reader.shortlist(query, 20).tolist() for query in features[:50]]
    path.unlink()
    assert [reader.shortlist(query, 20).tolist() for query in features[:50]] == answers
    whole = IndexReader.open(folder, generation)
    assert [whole.shortlist(query, 20).tolist() for query in features[:50]] == answers
