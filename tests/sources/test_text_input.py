"""Text of unknown origin as UTF-8.

Contract: the text is the same whatever mark, encoding or compression it came in; bytes that are none of these pass
through; what is damaged, cut off or no text is told; no more is read than was asked for.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import InvalidManifest
from imgsearch.sources.text_input import beginning, utf8
from tests.pictures import draw, encode, jpeg

LINES = "a.jpg\nbü漢字.jpg\r\n" * 10_000
MARKS = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_the_same_text(encoding: str, compressed: bool) -> None:
    data = LINES.encode(encoding)
    if compressed:
        data = gzip.compress(data[:7]) + gzip.compress(data[7:]) + bytes(100)
    assert utf8(io.BytesIO(data), "it").read() == LINES.encode()


@given(st.binary(max_size=300))
def test_other_bytes_pass_through(data: bytes) -> None:
    data = b"a\n" + data
    assert utf8(io.BytesIO(data), "it").read() == data


@given(st.text(max_size=50).map(lambda text: "ab" + text), st.sampled_from(sorted(MARKS)), st.integers(1, 7))
def test_however_it_is_cut_into_packets(text: str, encoding: str, size: int) -> None:
    """A character may be cut in two; UTF-16 has surrogate pairs."""
    text = text.encode(errors="replace").decode()
    data = MARKS[encoding] + text.encode(encoding)

    class Packets(io.BytesIO):
        def read1(self, _most: int | None = -1) -> bytes:
            return self.read(size)

    assert utf8(Packets(data), "it").read() == text.encode()
    assert utf8(Packets(gzip.compress(data)), "it").read() == text.encode()


@pytest.mark.parametrize("data", [b"", b"a", b"\n", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_next_to_nothing(data: bytes) -> None:
    assert utf8(io.BytesIO(data), "it").read() == data.removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(LINES.encode())[:-20], "it is cut off"),
        (gzip.compress(LINES.encode())[:50], "it is cut off"),
        (gzip.compress(LINES.encode())[:300] + b"damage" * 100, "it is damaged"),
        (gzip.compress(LINES.encode()) + b"more", "it is damaged"),
        (LINES.encode("utf-16")[:-1], "begins as UTF-16, but is damaged or cut off"),
        (LINES.encode("utf-16") + b"\0\xd8\0\xd8", "begins as UTF-16"),
        (b"PK\x03\x04rest", "a spreadsheet: save the sheet as CSV"),
        (gzip.compress(b"PK\x03\x04rest"), "a spreadsheet"),
        (b"\xfd7zXZ", "xz"),
        (jpeg(1), "a JPEG picture"),
        (encode(draw(1), "PNG"), "a PNG picture"),
    ],
    ids=range(11),
)
def test_what_is_no_text_is_told(data: bytes, message: str) -> None:
    with pytest.raises(InvalidManifest, match="it ") as caught:
        utf8(io.BytesIO(data), "it").read()
    assert message in caught.value.message


def test_what_comes_before_the_damage_is_read() -> None:
    stream = utf8(io.BytesIO(gzip.compress(os.urandom(10**6).hex().encode())[:-500_000]), "it")
    assert len(stream.read(100_000)) == 100_000
    with pytest.raises(InvalidManifest, match="cut off"):
        stream.read()


def test_a_bomb_takes_little_memory() -> None:
    """A gigabyte of blanks is not held."""
    data = gzip.compress(b" " * 2**24) * 16
    tracemalloc.start()
    try:
        stream = utf8(io.BytesIO(data), "it")
        length = 0
        while block := stream.read(2**16):
            length += len(block)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length == 2**28
    assert peak < 2**22


@pytest.mark.parametrize(
    ("data", "head"),
    [(b"\n \r\na\nb\n", b"\n \r\na\n"), (b"a", b"a"), (b"", b""), (b"\n\n", b"\n\n"), (b"xxxx", b"xxx")],
)
def test_the_beginning_can_be_looked_at(data: bytes, head: bytes) -> None:
    """And is read again."""
    found, stream = beginning(io.BufferedReader(io.BytesIO(data)), 3 if data == b"xxxx" else 1000)  # type: ignore[arg-type]
    assert (found, stream.read()) == (head, data)
