"""A file that is one JSON array.

Contract: every element comes as it is written, with the line it begins on, however the array is laid out and however it
arrives; one that is malformed or too long spoils no other.
"""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import InvalidManifest
from imgsearch.sources.json_array import numbered_elements
from imgsearch.sources.jsonl import MAX_LINE_BYTES

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
)


class Packets(io.BytesIO):
    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read1(self, _most: int | None = -1) -> bytes:
        return self.read(self._size)


@given(st.lists(VALUES, max_size=5), st.sampled_from([None, 1]), st.booleans(), st.integers(1, 40))
def test_all_elements(values: list[Any], indent: int | None, ascii_only: bool, size: int) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = list(numbered_elements(Packets(data, size)))
    assert [
        json.loads(element.decode("utf-8", "surrogatepass")) for _, element in found if isinstance(element, bytes)
    ] == values
    assert len(found) == len(values)
    lines = data.split(b"\n")
    for number, element in found:
        assert isinstance(element, bytes)
        assert element.split(b"\n")[0].rstrip(b",") in lines[number - 1]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[]", []),
        (b"\n\n[\n\n1\n,\n2]\n\n", [(5, b"1"), (7, b"2")]),
        (b'[{"a":"]"},{"b":"\\"}"},]', [(1, b'{"a":"]"}'), (1, b'{"b":"\\"}"}')]),
        (b'[{"a":1}},\n{bad},\n{"b":2}]', [(1, b'{"a":1}}'), (2, b"{bad}"), (3, b'{"b":2}')]),
        (b"[1", [(1, "no end")]),
        (b'[1,\n"2,\n3]', [(1, b"1"), (1, "no end")]),
        (b"[1]\n2", [(1, b"1"), (2, "behind the end")]),
    ],
)
def test_layouts_and_faults(data: bytes, expected: list[tuple[int, bytes | str]]) -> None:
    found = list(numbered_elements(io.BytesIO(data)))
    assert len(found) == len(expected)
    for (number, element), (line, what) in zip(found, expected, strict=True):
        assert number == line
        if isinstance(what, str):
            assert isinstance(element, InvalidManifest)
            assert what in element.message
        else:
            assert element == what


def test_an_element_of_any_length_takes_no_more_memory_than_the_limit() -> None:
    size = 2**20
    pieces = [b'[1,"', *([b"x" * size] * 64), b'",2]']

    class Pieces(io.BytesIO):
        def read1(self, _most: int | None = -1) -> bytes:
            return pieces.pop(0) if pieces else b""

    tracemalloc.start()
    try:
        first, long, last = numbered_elements(Pieces())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (first[1], last[1]) == (b"1", b"2")
    assert isinstance(long[1], InvalidManifest)
    assert peak < 4 * MAX_LINE_BYTES


@given(st.binary(max_size=60).map(lambda rest: b"[" + rest), st.integers(1, 9))
def test_any_bytes(data: bytes, size: int) -> None:
    """Whatever the packets, the same comes of it."""
    whole = [
        (number, bytes(element) if isinstance(element, bytes) else str(element))
        for number, element in numbered_elements(io.BytesIO(data))
    ]
    cut = [
        (number, bytes(element) if isinstance(element, bytes) else str(element))
        for number, element in numbered_elements(Packets(data, size))
    ]
    assert whole == cut
