"""Building index generations: exact while they are small, measured when they are not, and always the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from imgsearch import all_cores, own_process
from imgsearch.storage.faiss import index_builder
from imgsearch.storage.faiss.index_file import checksum_of
from imgsearch.storage.faiss.index_reader import IndexReader
from imgsearch.storage.sqlite.generations import Generation
from tests.storage.builders import (
    DIMENSION,
    INDEXED,
    Features,
    child,
    clustered,
    finished,
    make_index,
    nearest,
    scattered,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_generation_says_what_was_written(built: tuple[Path, Generation], ids: npt.NDArray[np.int64]) -> None:
    folder, generation = built
    assert [path.name for path in folder.iterdir()] == [generation.file_name] == ["index-1.faiss"]
    path = folder / generation.file_name
    assert (generation.bytes, generation.checksum) == (path.stat().st_size, checksum_of(path))
    assert (generation.number, generation.items, generation.max_id) == (1, INDEXED, ids[-1])
    assert (path.stat().st_mode & 0o077) == 0
    if generation.structure == "flat":
        assert generation.nprobe is generation.recall is None
    else:
        assert generation.structure.startswith("IVF")
        assert ",RaBitQ" in generation.structure
        # One bit a dimension: far smaller than the features.
        assert generation.bytes < INDEXED * DIMENSION * 2


def recall_at_10(reader: IndexReader, queries: Features, features: Features, ids: npt.NDArray[np.int64]) -> float:
    """Share of the ten nearest that are in the shortlist, by brute force."""
    found = [np.isin(ids[nearest(features, query, 10)], reader.shortlist(query, 10)).mean() for query in queries]
    return float(np.mean(found))


def test_the_recorded_recall_is_true(
    built: tuple[Path, Generation], features: Features, ids: npt.NDArray[np.int64]
) -> None:
    """At least 0.99, and borne out by queries that the tuning has not seen."""
    folder, generation = built
    reader = IndexReader.open(folder, generation)
    measured = recall_at_10(reader, clustered(200, 0)[::2], features, ids)
    if generation.recall is not None:
        assert 0.99 <= generation.recall <= 1
        assert measured >= generation.recall - 0.01
    assert measured >= 0.98


def test_the_recorded_recall_is_that_of_the_ten_nearest_others(tmp_path: Path) -> None:
    """Of so few items, each was a query when it was measured."""
    features, ids = scattered(200), np.arange(200)
    generation = make_index(tmp_path, features, ids, flat_limit=0)
    reader = IndexReader.open(tmp_path, generation)
    found = [np.isin(nearest(features, one, 11)[1:], reader.shortlist(one, 10)).mean() for one in features]
    assert generation.recall == pytest.approx(np.mean(found), abs=1e-9)
    assert generation.recall < 1


@pytest.mark.extended
def test_a_recall_that_cannot_be_reached_is_recorded_as_it_is(tmp_path: Path) -> None:
    """Few dimensions without any structure are the worst case of one-bit codes: all lists are looked into."""
    features, ids = scattered(INDEXED), np.arange(1, INDEXED + 1)
    generation = make_index(tmp_path, features, ids, flat_limit=10)
    assert generation.structure == f"IVF{generation.nprobe},RaBitQ"
    assert generation.recall is not None
    assert 0.9 < generation.recall < 0.99
    measured = recall_at_10(IndexReader.open(tmp_path, generation), scattered(200, 5), features, ids)
    assert measured == pytest.approx(generation.recall, abs=0.03)


@pytest.mark.parametrize("count", [1, 2, 9, 38, 39, 40, 77, 78, 500])
@pytest.mark.parametrize("flat_limit", [0, 10_000])
def test_any_number_of_items_can_be_indexed(tmp_path: Path, count: int, flat_limit: int) -> None:
    """Also fewer than the ten of recall@10, and fewer than FAISS wants for training; each finds itself."""
    features, ids = scattered(count), np.arange(1, count + 1)
    generation = make_index(tmp_path, features, ids, flat_limit=flat_limit)
    reader = IndexReader.open(tmp_path, generation)
    assert (generation.items, generation.max_id) == (count, count)
    for number in (1, count):
        assert number in reader.shortlist(features[number - 1], 1).tolist()
    assert sorted(reader.shortlist(features[0], count).tolist()) == ids.tolist()
    assert sorted(reader.shortlist(features[0], 10 * count).tolist()) == ids.tolist()


@pytest.mark.extended
@pytest.mark.parametrize(("count", "lists"), [(1_000_000, 4096), (3_999_999, 8192), (4_000_000, 16_384)])
def test_many_items_have_more_lists(count: int, lists: int) -> None:
    """As powers of two, divided among the categories by their shares."""
    categories = np.zeros(count, np.int64)
    categories[: count // 4] = 7
    few, many = index_builder._parts(categories)[::-1]
    assert (few.category, few.lists, many.category, many.lists) == (7, lists // 4, 0, 3 * lists // 4)


def test_building_is_deterministic(tmp_path: Path, features: Features, ids: npt.NDArray[np.int64]) -> None:
    first, second = (make_index(tmp_path, features, ids, number, flat_limit=100) for number in (1, 2))
    assert (first.checksum, first.nprobe, first.recall) == (second.checksum, second.nprobe, second.recall)


def test_training_starts_from_the_lists_of_an_earlier_generation(
    tmp_path: Path, features: Features, ids: npt.NDArray[np.int64], iterations: list[int]
) -> None:
    old = make_index(tmp_path, features, ids, 1, flat_limit=100)
    assert old.recall is not None
    needed = len(iterations)
    iterations.clear()
    new = make_index(tmp_path, features, ids, 2, flat_limit=100, old=old)
    assert len(iterations) < needed
    assert new.recall is not None
    assert new.recall >= 0.99


@pytest.mark.parametrize("state", ["missing", "damaged", "unreadable", "flat"])
def test_without_earlier_centroids_training_starts_from_random_points(
    tmp_path: Path, features: Features, ids: npt.NDArray[np.int64], state: str
) -> None:
    expected = make_index(tmp_path, features, ids, 1, flat_limit=100)
    old = make_index(tmp_path, features, ids, 2, flat_limit=INDEXED if state == "flat" else 100)
    path = tmp_path / old.file_name
    if state in {"missing", "unreadable"}:
        path.unlink()
    if state == "unreadable":
        path.mkdir()
    if state == "damaged":
        data = bytearray(path.read_bytes())
        data[1_000] ^= 1  # of a centroid
        path.write_bytes(data)
    new = make_index(tmp_path, features, ids, 3, flat_limit=100, old=old)
    assert (new.checksum, new.nprobe, new.recall) == (expected.checksum, expected.nprobe, expected.recall)


def test_on_all_cores_the_same_index_is_built(
    tmp_path: Path, features: Features, ids: npt.NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces are calculated side by side; which one is finished first changes nothing."""
    monkeypatch.delenv(own_process.THREADS_OF_BLAS, raising=False)
    expected = make_index(tmp_path, features, ids, 1, flat_limit=100)
    monkeypatch.setenv(own_process.THREADS_OF_BLAS, "1")
    monkeypatch.setattr(all_cores, "available_cores", lambda: 3)
    found = make_index(tmp_path, features, ids, 2, flat_limit=100)
    assert (found.checksum, found.nprobe, found.recall) == (expected.checksum, expected.nprobe, expected.recall)


@pytest.mark.extended
@pytest.mark.parametrize("flat_limit", [INDEXED, 100], ids=["flat", "IVF"])
def test_a_write_that_fails_half_way_leaves_no_file(tmp_path: Path, flat_limit: int) -> None:
    """A process that may write 30,000 bytes only gets the system's own error, and cleans up."""
    code = """
import json, resource, sys
from pathlib import Path
from imgsearch.errors import StorageFull
from tests.storage.builders import Engine, fill, clustered
folder, count, flat_limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
Engine.create(folder, {})
engine = Engine.open(folder, write=True)
fill(engine, clustered(count))
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
try:
    engine.rebuild(flat_limit=flat_limit)
except StorageFull as error:
    failure = type(error.__cause__).__name__
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
files = [path.name for path in folder.glob("*index*")]
print(json.dumps([failure, files, engine.store.generation(), engine.rebuild(flat_limit=flat_limit).number]))
"""
    assert json.loads(finished(child(code, tmp_path, INDEXED, flat_limit))) == ["OSError", [], None, 1]
