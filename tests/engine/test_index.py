"""Index generations: exact while they are small, measured when they are not, verified, and readable to the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

import imgsearch.engine.index as index_module
from imgsearch.engine.index import MIN_SHORTLIST, IndexReader, build, checksum_of
from imgsearch.engine.store import Generation
from imgsearch.errors import InstanceDamaged
from tests.engine.builders import DIMENSION, Features, child, clustered, finished, nearest, scattered

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 3_000
Build = Callable[..., Generation]


def chunks_of(features: Features, ids: npt.NDArray[np.int64]) -> Callable[[], object]:
    """The features as the store gives them, in pieces that do not divide the whole."""

    def chunks() -> object:
        for start in range(0, len(ids), 700):
            yield ids[start : start + 700], features[start : start + 700].astype(np.float16)

    return chunks


def make(folder: Path, features: Features, ids: npt.NDArray[np.int64], number: int = 1, **options: int) -> Generation:
    return build(folder, number, np.zeros(len(ids), np.int64), chunks_of(features, ids), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def features() -> Features:
    return clustered(COUNT)


@pytest.fixture(scope="module")
def ids() -> npt.NDArray[np.int64]:
    """Rising, with gaps, beyond 32 bits: our own ids, not FAISS's positions."""
    return np.cumsum(np.random.default_rng(0).integers(1, 5, COUNT)) + 2**40


@pytest.fixture(scope="module", params=["flat", "IVF"])
def built(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    features: Features,
    ids: npt.NDArray[np.int64],
) -> tuple[Path, Generation]:
    """A generation of each structure, not to be changed."""
    folder = tmp_path_factory.mktemp("index")
    return folder, make(folder, features, ids, flat_limit=COUNT if request.param == "flat" else COUNT - 1)


def test_a_generation_says_what_was_written(built: tuple[Path, Generation], ids: npt.NDArray[np.int64]) -> None:
    folder, generation = built
    assert [path.name for path in folder.iterdir()] == [generation.file_name] == ["index-1.faiss"]
    path = folder / generation.file_name
    assert (generation.bytes, generation.checksum) == (path.stat().st_size, checksum_of(path))
    assert (generation.number, generation.items, generation.max_id) == (1, COUNT, ids[-1])
    assert (path.stat().st_mode & 0o077) == 0
    if generation.structure == "flat":
        assert generation.nprobe is generation.recall is None
    else:
        assert generation.structure.startswith("IVF")
        assert generation.structure.endswith(",RaBitQ")
        # One bit a dimension: far smaller than the features.
        assert generation.bytes < COUNT * DIMENSION * 2


@pytest.mark.parametrize("built", ["flat"], indirect=True)
def test_a_flat_index_is_exact(built: tuple[Path, Generation], features: Features, ids: npt.NDArray[np.int64]) -> None:
    folder, generation = built
    reader = IndexReader.open(folder, generation)
    for query in clustered(20, 1):
        for size in (1, 10, 500):
            assert set(ids[nearest(features, query, size)]) <= set(reader.shortlist(query, size).tolist())
            assert len(reader.shortlist(query, size)) < size + 5


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


def test_a_recall_that_cannot_be_reached_is_recorded_as_it_is(tmp_path: Path) -> None:
    """Few dimensions without any structure are the worst case of one-bit codes: all lists are looked into."""
    features, ids = scattered(COUNT), np.arange(1, COUNT + 1)
    generation = make(tmp_path, features, ids, flat_limit=10)
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
    generation = make(tmp_path, features, ids, flat_limit=flat_limit)
    reader = IndexReader.open(tmp_path, generation)
    assert (generation.items, generation.max_id) == (count, count)
    for number in (1, count):
        assert number in reader.shortlist(features[number - 1], 1).tolist()
    assert sorted(reader.shortlist(features[0], count).tolist()) == ids.tolist()
    assert sorted(reader.shortlist(features[0], 10 * count).tolist()) == ids.tolist()


@pytest.mark.parametrize("share", [1.0, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("far", [False, True], ids=["anywhere", "far from the query"])
def test_only_and_without_waste_no_place(
    built: tuple[Path, Generation], features: Features, ids: npt.NDArray[np.int64], share: float, far: bool
) -> None:
    """Ids that do not count are passed over while searching: the shortlist holds as many as asked for, if there are."""
    folder, generation = built
    reader = IndexReader.open(folder, generation)
    query = clustered(1, 3)[0]
    size = round(COUNT * share)
    order = nearest(features, query, COUNT)[::-1] if far else np.random.default_rng(1).permutation(COUNT)
    chosen, others = ids[order[:size]], ids[order[size:]]
    for wanted in (1, 10, 500):
        for found in (
            reader.shortlist(query, wanted, only=chosen),
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
    assert reader.shortlist(query, 10, only=np.array([1, 2])).tolist() == []
    assert len(reader.shortlist(query, 10, without=np.zeros(0, np.int64))) >= 10


def test_many_queries_get_what_each_gets_alone_in_few_calls(
    tmp_path: Path, features: Features, ids: npt.NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the nearest lists hold too few, more are looked at for all that want it at once."""
    few = 50
    inside = np.where(np.arange(COUNT) < few, 7, 3)
    generation = build(tmp_path, 1, inside, chunks_of(features, ids), flat_limit=COUNT - 1)
    reader = IndexReader.open(tmp_path, generation)
    queries, wanted = clustered(30, 3), COUNT // 4
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


def test_an_approximate_index_hands_over_more_than_asked_for(
    built: tuple[Path, Generation], features: Features
) -> None:
    """Its order is rough, so a longer list is left to exact ranking, from as many lists as that takes."""
    folder, generation = built
    reader = IndexReader.open(folder, generation)
    found = len(reader.shortlist(features[0], 10))
    assert found < 20 if generation.nprobe is None else found == MIN_SHORTLIST
    assert len(reader.shortlist(features[0], 1_000)) >= 1_000


@pytest.mark.parametrize("flat_limit", [900, 100], ids=["flat", "IVF"])
def test_all_that_are_as_near_as_the_last_come_along(tmp_path: Path, flat_limit: int) -> None:
    """So that the caller can put equal items in order, whatever FAISS does with them."""
    features = scattered(900)
    features[100:700] = features[100]
    ids = np.arange(1, 901)
    reader = IndexReader.open(tmp_path, make(tmp_path, features, ids, flat_limit=flat_limit))
    assert set(range(101, 701)) <= set(reader.shortlist(features[100], 3).tolist())
    assert set(range(101, 701, 2)) <= set(reader.shortlist(features[100], 3, only=ids[100:700:2]).tolist())


def test_building_is_deterministic(tmp_path: Path, features: Features, ids: npt.NDArray[np.int64]) -> None:
    first, second = (make(tmp_path, features, ids, number, flat_limit=100) for number in (1, 2))
    assert (first.checksum, first.nprobe, first.recall) == (second.checksum, second.nprobe, second.recall)


# Damage


def flipped(built: tuple[Path, Generation], folder: Path, bit: int) -> IndexReader:
    """A reader of a copy with one bit inverted."""
    original, generation = built
    data = bytearray((original / generation.file_name).read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    (folder / generation.file_name).write_bytes(data)
    return IndexReader.open(folder, generation)


@pytest.mark.parametrize("built", ["flat"], indirect=True)
@pytest.mark.parametrize("place", [0, 0.3, 0.9, 0.999999], ids=str)
def test_a_flipped_bit_in_a_flat_index_is_damage(built: tuple[Path, Generation], tmp_path: Path, place: float) -> None:
    """FAISS would load it silently: the header, a code, an id, the very last byte."""
    with pytest.raises(InstanceDamaged, match="the items are safe in the database: run 'imgsearch rebuild'"):
        flipped(built, tmp_path, int(8 * built[1].bytes * place))


@pytest.mark.parametrize("built", ["IVF"], indirect=True)
def test_a_flipped_bit_in_inverted_lists_is_damage_or_changes_nothing(
    built: tuple[Path, Generation], tmp_path: Path, features: Features
) -> None:
    """What a search looks at is verified, so it answers as before, or not at all; whichever bit it is."""
    reader = IndexReader.open(built[0], built[1])
    answers = [reader.shortlist(query, 20).tolist() for query in features[:40]]
    generator = np.random.default_rng(0)
    bits = [*range(0, 8 * 200, 7), *generator.integers(0, 8 * built[1].bytes, 300).tolist()]
    refused: list[str] = []
    for bit in bits:
        try:
            reader = flipped(built, tmp_path, bit)
            for query, answer in zip(features[:40], answers, strict=True):
                assert reader.shortlist(query, 20).tolist() == answer
        except InstanceDamaged as error:
            refused.append(error.message)
    assert len(refused) >= 0.5 * len(bits)
    assert all("the items are safe in the database: run 'imgsearch rebuild'" in message for message in refused)


@pytest.mark.parametrize("built", ["IVF"], indirect=True)
def test_what_has_been_verified_is_not_read_again(
    built: tuple[Path, Generation], features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    checksum = index_module._list_checksum
    monkeypatch.setattr(
        index_module, "_list_checksum", lambda index, number: calls.append(number) or checksum(index, number)
    )
    reader = IndexReader.open(built[0], built[1])
    assert calls == []
    reader.shortlist(features[0], 20)
    looked_at = len(calls)
    assert 0 < looked_at < reader._index.nlist
    reader.shortlist(features[0], 20)
    assert len(calls) == looked_at == len(set(calls))


@pytest.mark.parametrize("length", [0, 1, 0.5, -1])
def test_a_file_of_another_length_is_damage(built: tuple[Path, Generation], tmp_path: Path, length: float) -> None:
    folder, generation = built
    data = (folder / generation.file_name).read_bytes()
    (tmp_path / generation.file_name).write_bytes(data[: int(len(data) * 0.5) if length == 0.5 else int(length)])
    with pytest.raises(InstanceDamaged, match=generation.file_name):
        IndexReader.open(tmp_path, generation)
    (tmp_path / generation.file_name).write_bytes(data + b"\x00")
    with pytest.raises(InstanceDamaged, match=generation.file_name):
        IndexReader.open(tmp_path, generation)


def test_a_file_that_is_gone_is_not_damage_yet(built: tuple[Path, Generation], tmp_path: Path) -> None:
    """A rebuild may have replaced it: whoever reads looks for the new generation first."""
    with pytest.raises(FileNotFoundError):
        IndexReader.open(tmp_path, built[1])


def test_what_faiss_cannot_read_is_damage(tmp_path: Path) -> None:
    (tmp_path / "index-1.faiss").write_bytes(b"no index, with the checksum of no index")
    generation = Generation(1, "flat", 39, checksum_of(tmp_path / "index-1.faiss"), 5, 5, None, None, 0)
    with pytest.raises(InstanceDamaged, match="cannot be read"):
        IndexReader.open(tmp_path, generation)


def test_what_the_system_refuses_is_no_damage(built: tuple[Path, Generation]) -> None:
    """FAISS tells it in words only: it has the system's own error all the same."""
    code = """
import errno, faiss, resource, sys
from pathlib import Path
from imgsearch.engine import index
index.checksum_of = lambda _path: ""  # the file is opened by FAISS alone
folder, *values = Path(sys.argv[1]), *sys.argv[2:]
generation = index.Generation(int(values[0]), "flat", int(values[1]), "", 5, 5, None, None, 0)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    index.IndexReader.open(folder, generation)
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    folder, generation = built
    assert finished(child(code, folder, generation.number, generation.bytes)) == "EMFILE\n"


# Files that come and go


def test_a_reader_goes_on_when_the_file_is_replaced_or_removed(
    built: tuple[Path, Generation], tmp_path: Path, features: Features
) -> None:
    """It is mapped, not read again by name: a search never changes its mind half way."""
    folder, generation = built
    path = tmp_path / generation.file_name
    path.write_bytes((folder / generation.file_name).read_bytes())
    reader = IndexReader.open(tmp_path, generation)
    other = make(tmp_path, features[::-1].copy(), np.arange(1, COUNT + 1), 2)
    (tmp_path / other.file_name).replace(path)
    answers = [reader.shortlist(query, 20).tolist() for query in features[:50]]
    path.unlink()
    assert [reader.shortlist(query, 20).tolist() for query in features[:50]] == answers
    whole = IndexReader.open(folder, generation)
    assert [whole.shortlist(query, 20).tolist() for query in features[:50]] == answers


@pytest.mark.parametrize("flat_limit", [COUNT, 100], ids=["flat", "IVF"])
def test_a_write_that_fails_half_way_leaves_no_file(tmp_path: Path, flat_limit: int) -> None:
    """A process that may write 30,000 bytes only gets the system's own error, and cleans up."""
    code = """
import json, resource, sys
from pathlib import Path
from imgsearch.errors import StorageFull
from tests.engine.builders import Engine, fill, clustered
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
    assert json.loads(finished(child(code, tmp_path, COUNT, flat_limit))) == ["OSError", [], None, 1]
