"""The headers of index files: whatever is wrong in one is told as damage, before FAISS sees the file."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from imgsearch.errors import InstanceDamaged
from imgsearch.storage.faiss import index_header
from imgsearch.storage.faiss.index_reader import IndexReader
from imgsearch.storage.sqlite.generations import Generation
from tests.storage.builders import Features, child, finished, make_index, without_items

if TYPE_CHECKING:
    from pathlib import Path

FEW = 400
Place = tuple[int, int]
"""Of a field: where it begins, and its length in bytes."""


@pytest.fixture(scope="module", params=["flat", "all lengths", "lengths of lists with items"])
def index(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    features: Features,
    ids: npt.NDArray[np.int64],
) -> tuple[Path, Generation]:
    """A small file of each layout that FAISS writes; our own writer does not use the last one."""
    folder = tmp_path_factory.mktemp("header")
    generation = make_index(folder, features[:FEW], ids[:FEW], flat_limit=FEW if request.param == "flat" else 1)
    if request.param != "lengths of lists with items":
        return folder, generation
    return folder, without_items(folder, generation, ids[5:FEW])


@pytest.fixture
def places(index: tuple[Path, Generation], monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """The fields that are checked, in the order of the file."""
    found: list[Place] = []
    read = index_header._Fields._bytes

    def told(self: index_header._Fields, name: str, length: int) -> bytes:
        found.append((self.position, length))
        return read(self, name, length)

    with monkeypatch.context() as patch:
        patch.setattr(index_header._Fields, "_bytes", told)
        IndexReader.open(*index)
    return found


DAMAGED = """
import json, resource, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from imgsearch.errors import InstanceDamaged
from imgsearch.storage.faiss import index_file, index_reader
from imgsearch.storage.sqlite.generations import Generation
index_file.checksum_of = lambda _path: generation.checksum  # of a hostile file it may be right
folder, values, places = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
generation = Generation(*values)
path = folder / generation.file_name
whole = path.read_bytes()
index_reader.IndexReader.open(folder, generation)
told_early = told = 0
kept = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (kept + (64 << 20),) * 2)
for begin, length in places:
    for place in range(begin, begin + length):
        for change in (1, 0x80, 0xFF):
            data = bytearray(whole)
            data[place] ^= change
            path.write_bytes(data)
            try:
                reader = index_reader.IndexReader.open(folder, generation)
                if reader._checks is not None:  # as a search does of what it looks at
                    reader._checks.lists(np.arange(reader._index.nlist))
            except InstanceDamaged as error:
                told_early += "is corrupted (" in error.message
                told += 1
            else:
                print("taken", place, change)
print("end", told_early, told)
"""


def copied(index: tuple[Path, Generation], folder: Path) -> Path:
    original, generation = index
    target = folder / generation.file_name
    target.write_bytes((original / generation.file_name).read_bytes())
    return target


@pytest.mark.skipif("sys.platform != 'linux'")
def test_each_damaged_byte_of_each_field_is_told(
    index: tuple[Path, Generation], places: list[Place], tmp_path: Path
) -> None:
    """In a process with little memory to spare, which lives on; FAISS never sees such a file.

    Only the number of a list with items may be that of another list: their checksums tell, as soon as one is read.
    """
    copied(index, tmp_path)
    generation = index[1]
    row = [getattr(generation, name) for name in generation.__slots__]
    damages = 3 * sum(length for _, length in places)
    printed = finished(child(DAMAGED, tmp_path, json.dumps(row), json.dumps(places)))
    assert printed.splitlines()[0].startswith("end"), printed
    early, told = map(int, printed.split()[1:])
    assert told == damages > 300
    assert early >= damages - 3 * generation.items


def test_the_fields_and_the_data_between_them_are_the_file(
    index: tuple[Path, Generation], places: list[Place], features: Features
) -> None:
    """Nothing but codes, ids, centroids and checksums is left unchecked."""
    folder, generation = index
    data = (folder / generation.file_name).read_bytes()
    dimension, lists = features.shape[1], sum(json.loads(generation.lists or "{}").values())
    code = dimension // 8 + 8 if lists else 2 * dimension
    trailer = 8 * (lists + len(json.loads(generation.lists or "{}")))
    unchecked = generation.items * (code + 8) + 4 * lists * dimension + trailer
    assert sum(length for _, length in places) == len(data) - unchecked
    assert all(begin + length <= following for (begin, length), (following, _) in pairwise(places))


def test_a_file_that_ends_anywhere_is_damage(
    index: tuple[Path, Generation], places: list[Place], tmp_path: Path
) -> None:
    """Whatever length the database has recorded."""
    path = copied(index, tmp_path)
    whole = path.read_bytes()
    for end in sorted({0, 1, len(whole) - 1, *(begin for begin, _ in places), *(sum(place) for place in places)}):
        path.write_bytes(whole[:end])
        shorter = replace(index[1], bytes=end)
        with pytest.raises(InstanceDamaged, match="is corrupted"):
            index_header.check_header(path, shorter, *_lists_and_trailer(shorter))
    path.write_bytes(whole + bytes(8))
    with pytest.raises(InstanceDamaged, match=r"8 bytes too many|lists|ids"):
        index_header.check_header(path, index[1], *_lists_and_trailer(index[1]))


@pytest.mark.parametrize("change", [{"items": 1}, {"items": 2**62}, {"items": FEW + 1}], ids=str)
def test_the_file_of_another_generation_is_damage(index: tuple[Path, Generation], change: dict[str, int]) -> None:
    """What the database says of the items counts, not the file."""
    folder, generation = index
    other = replace(generation, **change)  # type: ignore[arg-type]
    with pytest.raises(InstanceDamaged, match="is corrupted"):
        index_header.check_header(folder / generation.file_name, other, *_lists_and_trailer(generation))


@pytest.mark.parametrize("index", ["all lengths"], indirect=True)
def test_the_number_of_lists_to_probe_is_the_published_one(index: tuple[Path, Generation]) -> None:
    folder, generation = index
    with pytest.raises(InstanceDamaged, match=f"the number of lists to probe is {generation.nprobe}, not 77"):
        index_header.check_header(
            folder / generation.file_name, replace(generation, nprobe=77), *_lists_and_trailer(generation)
        )


@pytest.mark.parametrize("index", ["all lengths"], indirect=True)
def test_lengths_that_overflow_to_the_right_sum_are_damage(index: tuple[Path, Generation], tmp_path: Path) -> None:
    """64 bits: two lists of 2**63 items have none together."""
    path = copied(index, tmp_path)
    data = bytearray(path.read_bytes())
    begin = data.find(b"full") + 12
    lengths = np.frombuffer(data, "<u8", 2, begin) + np.uint64(2**63)
    data[begin : begin + 16] = lengths.astype("<u8").tobytes()
    path.write_bytes(data)
    with pytest.raises(InstanceDamaged, match=f"the lists do not have {FEW} items together"):
        index_header.check_header(path, index[1], *_lists_and_trailer(index[1]))


def _lists_and_trailer(generation: Generation) -> tuple[int, int]:
    counts = json.loads(generation.lists or "{}").values()
    return sum(counts), 8 * (sum(counts) + len(counts))
