"""Rows of CSV and TSV files.

Contract: every row that has a cell for each column comes with the number of its first line; every other is refused with
it; reading goes on behind; a row takes a bounded amount of memory.
"""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import InvalidManifest
from imgsearch.sources.jsonl import MAX_LINE_BYTES
from imgsearch.sources.tables import numbered_rows, text_of

CLOSED = "does not end where it should"


def rows(data: bytes, delimiter: str = ",") -> list[tuple[int, list[str] | str]]:
    stream = io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]
    found = numbered_rows(text_of(stream), delimiter)
    return [(number, row.message if isinstance(row, InvalidManifest) else row) for number, row in found]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n\r\n", []),
        (b"a,b\n1,2\n", [(1, ["a", "b"]), (2, ["1", "2"])]),
        (b"a,b\r\n1,2", [(1, ["a", "b"]), (2, ["1", "2"])]),
        (b"a,b\r1,2\r", [(1, ["a", "b"]), (2, ["1", "2"])]),
        (b"\n\na,b\n\n , \n1,2\n", [(3, ["a", "b"]), (6, ["1", "2"])]),
        (b'a,b\n"1\n2","x ""y"", z"\n3,4\n', [(1, ["a", "b"]), (2, ["1\n2", 'x "y", z']), (4, ["3", "4"])]),
        (b"a,b\n5\" pipe,it's\n", [(1, ["a", "b"]), (2, ['5" pipe', "it's"])]),
        (b"sep=;\na;b\n1;2,3\n", [(2, ["a", "b"]), (3, ["1", "2,3"])]),
        (b"a,b\n1,2,,\n", [(1, ["a", "b"]), (2, ["1", "2"])]),
        (b"a,b\n1,\xff\n", [(1, ["a", "b"]), (2, ["1", "\udcff"])]),
        (b"a,b\n1,\0\n", [(1, ["a", "b"]), (2, ["1", "\0"])]),
    ],
)
def test_rows(data: bytes, expected: list[tuple[int, list[str]]]) -> None:
    """However lines end, with newlines, delimiters and quotes in cells, and empty cells too many."""
    assert rows(data) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1", "1 cells and the header 2"),
        (b"1,2,3", "3 cells and the header 2"),
        (b'1,"2', CLOSED),
        (b'"1,2', CLOSED),
        (b'1,"2" "', "expected after"),
        (b'1,"2"x', "expected after"),
        (b"1," + b"x" * 200_000, "field larger than field limit"),
        (b'1,"' + b"x" * 200_000, "field larger than field limit"),
        (b"x" * (MAX_LINE_BYTES + 9), "longer than 8,388,608"),
    ],
    ids=["short", "long", "open", "open first", "open again", "more behind", "huge", "huge and open", "endless"],
)
def test_a_row_that_cannot_be_read(line: bytes, message: str) -> None:
    """Is refused alone, with its number; those behind are read, also those that it seems to swallow."""
    found = rows(b"a,b\n0,0\n" + line + b"\n3,4\n5,6\n" + b"7,%s\n" % (b"8" * 1000) * 1200)
    assert found[1] == (2, ["0", "0"])
    assert found[2][0] == 3
    assert message in found[2][1] or CLOSED in found[2][1]
    assert found[3:5] == [(4, ["3", "4"]), (5, ["5", "6"])]
    assert len(found) == 1205


def test_a_quote_that_is_closed_in_a_later_row() -> None:
    """The rows between are not lost."""
    assert [number for number, _ in rows(b'a,b\n1,"2\n3,4\n5,"6\n7,8\n')] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("line", [b'1\t"12 inch', b'1\t"12" pipe', b'"1\t2"x'])
def test_quotes_in_tables_with_tabs_are_taken_as_they_are(line: bytes) -> None:
    """Where they cannot be those around a cell."""
    found = rows(b"a\tb\n" + line + b'\n"3"\t"4\n5"\n', "\t")
    assert found == [(1, ["a", "b"]), (2, line.decode().split("\t")), (3, ["3", "4\n5"])]


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.integers(2, 4).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=6)))
def test_what_a_writer_writes(table: list[list[str]]) -> None:
    """Cell for cell, for each of the usual delimiters and line ends."""
    for delimiter in ",\t;|":
        for end in ("\n", "\r\n"):
            text = io.StringIO()
            width = len(table[0]) if table else 2
            writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
            writer.writerows([["name"] * width, *table])
            found = [row for _, row in rows(text.getvalue().encode(), delimiter)]
            assert found == [
                ["name"] * width,
                *(row for row in table if any(cell and not cell.isspace() for cell in row)),
            ]


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Lines are numbered in order, and every row has as many cells as the header, or is refused."""
    found = rows(b"a,b\n" + data)
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    assert all(isinstance(row, str) or len(row) == 2 for _, row in found)
