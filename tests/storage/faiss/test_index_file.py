"""The file of an index generation: what is read of it is what was written, or it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np
import pytest

from imgsearch.errors import InstanceDamaged
from imgsearch.storage.faiss import index_file
from imgsearch.storage.faiss.index_file import centroids_of, checksum_of, read_centroids
from imgsearch.storage.faiss.index_reader import IndexReader
from imgsearch.storage.sqlite.generations import Generation
from tests.storage.builders import (
    Features,
    child,
    finished,
)

if TYPE_CHECKING:
    from pathlib import Path


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
def test_centroids_are_read_as_faiss_reads_them(built: tuple[Path, Generation], tmp_path: Path) -> None:
    original, generation = built
    data = (original / generation.file_name).read_bytes()
    read = read_centroids(original / generation.file_name, generation)
    assert list(read) == [0]
    assert np.array_equal(read[0], centroids_of(faiss.read_index(str(original / generation.file_name))))
    damaged = tmp_path / generation.file_name
    for place in (0, data.index(read[0][-1].tobytes()), len(data) - 1):
        damaged.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(InstanceDamaged):
            read_centroids(damaged, generation)


@pytest.mark.parametrize("built", ["flat"], indirect=True)
def test_a_flat_index_has_no_centroids(built: tuple[Path, Generation]) -> None:
    assert read_centroids(built[0] / built[1].file_name, built[1]) == {}


@pytest.mark.extended
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
    read = index_file.list_of
    monkeypatch.setattr(index_file, "list_of", lambda index, number: calls.append(number) or read(index, number))
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


def test_what_is_no_index_is_damage(tmp_path: Path) -> None:
    (tmp_path / "index-1.faiss").write_bytes(b"no index, with the checksum of no index")
    generation = Generation(1, "flat", 39, checksum_of(tmp_path / "index-1.faiss"), 5, 5, None, None, 0)
    with pytest.raises(InstanceDamaged, match=r"the type of the index is b.no i."):
        IndexReader.open(tmp_path, generation)


def test_a_lack_of_memory_is_no_damage(built: tuple[Path, Generation], monkeypatch: pytest.MonkeyPatch) -> None:
    """No length in the file is wrong, as all are checked before; so the machine has too little."""

    def ask_for_all(_path: str, _flags: int) -> None:
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(faiss, "read_index", ask_for_all)
    with pytest.raises(MemoryError, match="bad_alloc"):
        IndexReader.open(*built)


def test_what_the_system_refuses_is_no_damage(built: tuple[Path, Generation]) -> None:
    """FAISS tells it in words only: it has the system's own error all the same."""
    code = """
import errno, faiss, resource, sys
from pathlib import Path
from imgsearch.storage.faiss import index_file, index_reader
from imgsearch.storage.sqlite.generations import Generation
index_file.checksum_of = lambda _path: ""
index_file.check_header = lambda *_: None  # the file is opened by FAISS alone
folder, *values = Path(sys.argv[1]), *sys.argv[2:]
generation = Generation(int(values[0]), "flat", int(values[1]), "", 5, 5, None, None, 0)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    index_reader.IndexReader.open(folder, generation)
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    folder, generation = built
    assert finished(child(code, folder, generation.number, generation.bytes)) == "EMFILE\n"
