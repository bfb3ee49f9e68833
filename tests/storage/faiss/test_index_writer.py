"""Writing index files list by list: the result is what FAISS would write of an index in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import pytest

from imgsearch.storage.faiss.index_file import CHECK, Part, list_of, serialised_parts
from imgsearch.storage.faiss.index_reader import IndexReader
from imgsearch.storage.faiss.index_writer import empty_index, write_lists
from imgsearch.storage.sqlite.generations import Generation
from tests.storage.builders import clustered, scattered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LISTS = 12
PARTS = [Part(3, 0, 5), Part(8, 5, 7)]
ITEMS = 900
GENERATION = Generation(
    7, f"IVF{LISTS},RaBitQ", 0, "", ITEMS, 5 * ITEMS, None, None, 0, trained=ITEMS, lists=serialised_parts(PARTS)
)
PROBES = 4


def filled(lists: np.ndarray) -> Any:
    """An index in memory with items in these lists."""
    features, ids = clustered(len(lists)), 5 * np.arange(1, len(lists) + 1)
    index = empty_index(scattered(LISTS, 1))
    index.add_core(len(lists), *map(faiss.swig_ptr, (features, ids, lists)))
    index.nprobe = PROBES
    return index


def written(folder: Path, index: Any, settled: Callable[[Callable[[], Any]], Generation] | None = None) -> Generation:
    """Write the lists of an index in memory one by one."""
    lists = (list_of(index, number) for number in range(LISTS))

    def found(opened: Callable[[], Any]) -> Generation:
        assert opened().ntotal == index.ntotal
        return replace(GENERATION, nprobe=PROBES, items=index.ntotal)

    return write_lists(folder, GENERATION, empty_index(scattered(LISTS, 1)), PARTS, lists, settled or found)


def test_the_file_is_byte_by_byte_that_of_faiss(tmp_path: Path) -> None:
    """Up to our own checksums behind it; with a list that is empty."""
    index = filled(np.random.default_rng(0).integers(0, LISTS - 1, ITEMS))
    generation = written(tmp_path, index)
    faiss.write_index(index, str(tmp_path / "theirs"))
    theirs, ours = ((tmp_path / name).read_bytes() for name in ("theirs", generation.file_name))
    assert ours[: len(theirs)] == theirs
    assert len(ours) - len(theirs) == (LISTS + len(PARTS)) * CHECK.itemsize
    assert generation.bytes == len(ours)


def test_most_lists_may_be_empty(tmp_path: Path) -> None:
    """FAISS would list the few that are not."""
    index = filled(np.full(ITEMS, 6))
    reader = IndexReader.open(tmp_path, written(tmp_path, index))
    assert [len(list_of(reader._index, number)[0]) for number in range(LISTS)] == [ITEMS * (n == 6) for n in range(12)]
    for ours, theirs in zip(list_of(reader._index, 6), list_of(index, 6), strict=True):
        assert np.array_equal(ours, theirs)
    assert len(reader.shortlist(clustered(1)[0], 10)) >= 10


def test_nothing_is_left_of_a_file_that_is_refused(tmp_path: Path) -> None:
    index = filled(np.random.default_rng(0).integers(0, LISTS, ITEMS))

    def refuse(_: object) -> Generation:
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        written(tmp_path, index, refuse)
    assert [*tmp_path.iterdir()] == []


def test_another_layout_of_faiss_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later release may write more behind empty lists; better no index than one that nobody can read."""
    index = filled(np.zeros(ITEMS, np.int64))
    serialise = faiss.serialize_index
    monkeypatch.setattr(faiss, "serialize_index", lambda index: np.append(serialise(index), np.uint8(0)))
    with pytest.raises(AssertionError, match="FAISS"):
        written(tmp_path, index)
    assert [*tmp_path.iterdir()] == []
