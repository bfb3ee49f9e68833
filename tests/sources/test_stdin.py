"""Standard input: a list of paths (``add -``, ``-0``) or the bytes of one picture (``search -``)."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from imgsearch.errors import InvalidManifest, PictureTooLarge
from imgsearch.sources import stdin
from imgsearch.sources.files import FileRequest, operations
from imgsearch.sources.stdin import JSON, StreamPicture, read_paths
from imgsearch.sources.text_input import GZIP, MARKS, NO_TEXT
from imgsearch.types import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator


def paths(data: bytes, *, nul: bool = False) -> list[str]:
    return [str(path) for path in read_paths(io.BytesIO(data), nul=nul)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a.jpg", ["a.jpg"]),
        (b"a.jpg\n", ["a.jpg"]),
        (b"a.jpg\nb.jpg\n", ["a.jpg", "b.jpg"]),
        (b"a.jpg\r\nb.jpg\r\n", ["a.jpg", "b.jpg"]),
        (b"a.jpg\r\nb.jpg", ["a.jpg", "b.jpg"]),
        (b"\n\n a.jpg \n \n\r\n", [" a.jpg "]),
        (b"\xc3\xa4.jpg\n\xff.jpg\n", ["ä.jpg", "\udcff.jpg"]),
        (b"with space.jpg\n-option.jpg\n", ["with space.jpg", "-option.jpg"]),
    ],
)
def test_one_path_a_line(data: bytes, expected: list[str]) -> None:
    """As find, ls and Windows tools write them; empty lines say nothing."""
    assert paths(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a.jpg", ["a.jpg"]),
        (b"a.jpg\0b.jpg\0", ["a.jpg", "b.jpg"]),
        (b"a\nb.jpg\0c\r\n.jpg\0", ["a\nb.jpg", "c\r\n.jpg"]),
        (b"a.jpg\r\0", ["a.jpg\r"]),
        (b"\0\0a.jpg\0\0 \0", ["a.jpg", " "]),
    ],
)
def test_paths_separated_by_nul(data: bytes, expected: list[str]) -> None:
    """As find -print0 writes them: every byte but NUL belongs to a name."""
    assert paths(data, nul=True) == expected


@pytest.mark.parametrize("nul", [False, True])
def test_names_across_the_borders_of_blocks(nul: bool) -> None:
    """However long they are, and wherever a block ends."""
    separator = b"\0" if nul else b"\r\n"
    block = stdin.BLOCK_BYTES
    expected = [str(number) * (block // 3 + number) for number in range(1, 9)]
    expected += ["y" * length for length in (block - 2, block - 1, block, block + 1)]
    assert paths(separator.join(name.encode() for name in expected), nul=nul) == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("compressed", [False, True])
def test_lists_in_other_encodings(encoding: str, compressed: bool) -> None:
    """As Windows tools write them, and compressed."""
    data = "a.jpg\r\nä.jpg\r\n".encode(encoding)
    assert paths(gzip.compress(data) if compressed else data) == ["a.jpg", "ä.jpg"]


@pytest.mark.parametrize("data", [b'["a.jpg"]', b'\n[\n "a.jpg"]', b'{"ProductId":"p"}\n', b'[{"a":1}]', b"[]"])
def test_json_is_told_once(data: bytes) -> None:
    """Not refused line by line as files that are not there."""
    with pytest.raises(InvalidManifest, match="one name per line"):
        paths(data)


def test_names_in_brackets_are_names() -> None:
    assert paths(b"[1].jpg\n{2}.jpg\n") == ["[1].jpg", "{2}.jpg"]


class Dribble(io.RawIOBase):
    """A stream that gives what it is told to, piece by piece, as a pipe does."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = next(self._pieces, b"")
        buffer[: len(piece)] = piece
        return len(piece)


NAMES = st.lists(st.binary(min_size=1, max_size=20).map(lambda name: name.replace(b"\0", b"x").replace(b"\n", b"y")))


@given(NAMES, st.booleans(), st.lists(st.integers(1, 50), max_size=20))
def test_any_cut_of_any_names_gives_the_names(names: list[bytes], nul: bool, cuts: list[int]) -> None:
    separator = b"\0" if nul else b"\n"
    data = b"".join(name + separator for name in names)
    assume(nul or not data.startswith((*(mark for mark, _ in MARKS), *(magic for magic, _ in NO_TEXT), GZIP)))
    assume(nul or not JSON.match(data))
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(data[start : start + cut])
        start += cut
    pieces = [piece for piece in (*pieces, data[start:]) if piece]
    expected = names if nul else [name.removesuffix(b"\r") for name in names if name.strip()]
    for stream in (io.BytesIO(data), io.BufferedReader(Dribble(pieces)), Dribble(pieces)):
        assert [os.fsencode(path) for path in read_paths(stream, nul=nul)] == [  # type: ignore[arg-type]
            os.fsencode(Path(os.fsdecode(name))) for name in expected
        ]


def test_paths_come_as_they_arrive() -> None:
    """``find … | imgsearch add -`` begins while find is still looking."""
    reading, writing = os.pipe()
    found: Iterator[Path]
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as pipe:
        found = read_paths(stream, nul=False)
        pipe.write(b"a.jpg\nb.jp")
        first: list[Path] = []
        thread = threading.Thread(target=lambda: first.append(next(found)), daemon=True)
        thread.start()
        thread.join(10)
        assert first == [Path("a.jpg")]
        pipe.write(b"g\nc.jpg")
        pipe.close()
        assert list(found) == [Path("b.jpg"), Path("c.jpg")]


class Blocks:
    """A stream without a single separator, such as a picture or a list with other separators."""

    def __init__(self, count: int) -> None:
        self.left = count

    def read1(self, size: int) -> bytes:
        self.left -= 1
        return b"x" * size if self.left >= 0 else b""


@pytest.mark.parametrize("nul", [False, True])
def test_a_list_without_separators_is_read_in_one_pass(nul: bool) -> None:
    """256 MiB, of which a bounded part is kept: what is longer is no path, and is refused as one that is too long."""
    (path,) = read_paths(Blocks(2**28 // stdin.BLOCK_BYTES), nul=nul)  # type: ignore[arg-type]
    assert len(str(path)) == stdin.MAX_PATH_BYTES
    (refused,) = operations([path], FileRequest())
    assert isinstance(refused, Refused)
    assert "too long" in refused.error.message
    assert len(refused.source) < 10_000


def test_what_follows_a_name_without_end_is_read() -> None:
    endless = b"x" * (stdin.MAX_PATH_BYTES + 3 * stdin.BLOCK_BYTES)
    assert [len(path) for path in paths(endless + b"\na.jpg\n" + endless + b"\nb.jpg")] == [
        stdin.MAX_PATH_BYTES,
        5,
        stdin.MAX_PATH_BYTES,
        5,
    ]


COUNT_PATHS = """
import resource, sys
from imgsearch.sources.stdin import read_paths
first = next(paths := read_paths(sys.stdin.buffer, nul=False))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = 1 + sum(1 for _ in paths)
print(first, count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / before)
"""


@pytest.mark.extended
def test_a_huge_list_takes_no_memory() -> None:
    """500,000 paths, 25 MB."""
    data = b"".join(b"catalogue/shoes/summer/women/%020d.jpg\n" % number for number in range(500_000))
    result = subprocess.run([sys.executable, "-c", COUNT_PATHS], input=data, capture_output=True, check=True)
    first, count, growth = result.stdout.decode().split()
    assert (first, count) == (f"catalogue/shoes/summer/women/{0:020}.jpg", "500000")
    assert float(growth) < 1.2


# One picture


def test_the_bytes_of_a_picture() -> None:
    source = StreamPicture(io.BytesIO(b"picture"))
    assert source.token() is None
    content = source.read(8)
    assert (content.data, content.token) == (b"picture", None)
    assert StreamPicture(io.BytesIO(b"")).read(8).data == b""


def test_bytes_that_come_slowly() -> None:
    pieces = [b"pic", b"t", b"ure"]
    assert StreamPicture(io.BufferedReader(Dribble(pieces))).read(100).data == b"picture"  # type: ignore[arg-type]


def test_an_endless_stream_is_refused_in_time() -> None:
    """The rest is not read."""
    stream = io.BytesIO(b"x" * 1000)
    with pytest.raises(PictureTooLarge, match="fewer than 100:"):
        StreamPicture(stream).read(100)
    assert stream.tell() == 100
