"""Manifests in any format: JSON lines, a JSON array, CSV, TSV, with the service's or Google Merchant's names.

Contract: the same content in any format gives the same operations; each row is one operation for each of its pictures,
or one refusal with its line; what is not used is told once; what can only be read wrongly is refused before any work.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import InvalidManifest, UnreadableSource
from imgsearch.shards import Shard
from imgsearch.sources.feed import Feed, FeedOptions, ManifestFormat
from imgsearch.sources.http.pictures import HttpPicture
from imgsearch.sources.port import Source
from imgsearch.types import AddPicture, DeletePictures, Operation, Refused
from imgsearch.values import Attributes, Key, PictureOptions, Region
from tests.pictures import write_catalogue


def read(
    data: bytes | str, *, named: ManifestFormat = "auto", by_group: bool = False, told: list[str] | None = None
) -> list[Operation]:
    """The operations of a manifest on standard input."""
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    with ExitStack() as stack:
        options = FeedOptions(1, 1.0, named, by_group)
        feed = Feed(None, stack, options, (told if told is not None else []).append, stream)
        feed.check()
        return list(feed.operations(lambda _key: False))


def table(rows: list[list[str]], delimiter: str = ",") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue()


def facts(operation: Operation) -> Any:
    """What an operation asks for, wherever it is from."""
    match operation:
        case AddPicture(key=key, options=options, attributes=attributes, picture=picture):
            return key, options, attributes, picture.link.url if isinstance(picture, HttpPicture) else None
        case DeletePictures(product_id=product_id, pic_name=pic_name):
            return product_id, pic_name
        case Refused(error=error):
            return error.code


DOCUMENTS: list[dict[str, Any]] = [
    {"OperationType": "ADD", "ProductId": "p1", "PicName": "a.jpg"},
    {
        "OperationType": "ADD", "ProductId": "p2", "PicName": "b/b.jpg", "CategoryId": 3, "Crop": False,
        "CustomContent": 'a "b", c\nd', "IntAttr": -5, "IntAttr4": 2147483647, "StrAttr": "red", "StrAttr3": "ü漢",
    },
    {"OperationType": "ADD", "ProductId": "p3", "PicName": "c.jpg", "Region": "1,2,3,4", "CategoryId": 88888888},
    {"OperationType": "ADD", "ProductId": "p4", "PicName": "https://shop.example/ü.jpg"},
    {"OperationType": "ADD", "ProductId": "p5", "PicName": "5", "Url": "http://shop.example/5"},
    {"OperationType": "DELETE", "ProductId": "p6"},
    {"OperationType": "DELETE", "ProductId": "p7", "PicName": "a.jpg"},
    {"OperationType": "ADD", "ProductId": "p8", "PicName": "a.jpg", "IntAttr": 2147483648},
    {"OperationType": "ADD", "PicName": "a.jpg"},
    {"OperationType": "ADD", "ProductId": "p9"},
    {"OperationType": "UPDATE", "ProductId": "p10", "PicName": "a.jpg"},
    {"OperationType": "ADD", "ProductId": "p11", "PicName": "ftp://shop.example/a.jpg"},
]  # fmt: skip
FIELDS = list(dict.fromkeys(name for document in DOCUMENTS for name in document))


def as_table(delimiter: str) -> str:
    def cell(value: Any) -> str:
        return "" if value is None else str(value)

    return table([FIELDS, *([cell(document.get(name)) for name in FIELDS] for document in DOCUMENTS)], delimiter)


FORMATS: dict[str, str] = {
    "JSON lines": "\n".join(map(json.dumps, DOCUMENTS)),
    "JSON array": json.dumps(DOCUMENTS),
    "JSON array, indented": json.dumps(DOCUMENTS, indent=2),
    **{f"table with {delimiter!r}": as_table(delimiter) for delimiter in ",\t;|"},
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "encoded",
    [str.encode, lambda text: text.encode("utf-8-sig"), lambda text: text.encode("utf-16"),
     lambda text: gzip.compress(text.encode())],
    ids=["UTF-8", "with a mark", "UTF-16", "gzip"],
)  # fmt: skip
def test_the_same_in_every_format(name: str, encoded: Callable[[str], bytes]) -> None:
    found = read(encoded(FORMATS[name]))
    expected: list[Any] = [
        (Key("p1", "a.jpg"), PictureOptions(), Attributes(), None),
        (
            Key("p2", "b/b.jpg"),
            PictureOptions(3, crop=False),
            Attributes('a "b", c\nd', -5, None, None, 2147483647, "red", None, "ü漢"),
            None,
        ),
        (Key("p3", "c.jpg"), PictureOptions(88888888, region=Region(1, 2, 3, 4)), Attributes(), None),
        (
            Key("p4", "https://shop.example/ü.jpg"),
            PictureOptions(),
            Attributes(),
            "https://shop.example/%C3%BC.jpg",
        ),
        (Key("p5", "5"), PictureOptions(), Attributes(), "http://shop.example/5"),
        ("p6", None),
        ("p7", "a.jpg"),
        "InvalidIntAttr",
        "NoSpecifiedProductId",
        "NoSpecifiedPicName",
        "InvalidMetaItem",
        "InvalidPicName",
    ]
    assert [facts(operation) for operation in found] == expected


def test_line_numbers() -> None:
    """Those of an editor, in every format."""
    assert [one.source for one in read("\n" + FORMATS["JSON lines"])][:3] == ["-:2", "-:3", "-:4"]
    assert [one.source for one in read('[\n{"a":1},\n\n{"b":\n2}, 3]')] == ["-:2", "-:4", "-:5"]
    numbers = [int(one.source.removeprefix("-:")) for one in read(FORMATS["table with ','"])]
    assert numbers == [2, 3, *range(5, 15)]  # the third row has two lines


# Product feeds

MERCHANT = ["id", "title", "link", "image_link", "additional_image_link", "product_type", "price", "item_group_id"]
SHOP = "https://cdn.example/"


def feed_row(**cells: str) -> list[str]:
    return [cells.get(name, "") for name in MERCHANT]


def test_a_product_feed() -> None:
    """A picture for each link, the title as CustomContent, the category by its name, and the rest told once."""
    told: list[str] = []
    rows = [
        MERCHANT,
        feed_row(id="1", title="Red shoe", image_link=f"{SHOP}1.jpg", product_type="Apparel > Shoes", price="5"),
        feed_row(
            id="2", title="Mug", image_link=f"{SHOP}2.jpg", item_group_id="mugs", product_type="Home > Mugs",
            additional_image_link=f"{SHOP}2b.jpg, {SHOP}2,c.jpg,{SHOP}2.jpg",
        ),
        feed_row(id="3"),
    ]  # fmt: skip
    found = read(table(rows, "\t"), told=told)
    assert [facts(operation) for operation in found] == [
        (Key("1", f"{SHOP}1.jpg"), PictureOptions(4), Attributes("Red shoe"), f"{SHOP}1.jpg"),
        (Key("2", f"{SHOP}2.jpg"), PictureOptions(), Attributes("Mug"), f"{SHOP}2.jpg"),
        (Key("2", f"{SHOP}2b.jpg"), PictureOptions(), Attributes("Mug"), f"{SHOP}2b.jpg"),
        (Key("2", f"{SHOP}2,c.jpg"), PictureOptions(), Attributes("Mug"), f"{SHOP}2,c.jpg"),
        "NoSpecifiedPicName",
    ]
    assert len(told) == 1
    assert "'link', 'price'" in told[0]
    grouped = read(table(rows, "\t"), by_group=True)
    assert [facts(operation)[0].product_id for operation in grouped[:-1]] == ["1", "mugs", "mugs", "mugs"]


@pytest.mark.parametrize(
    "header",
    ["g:id,g:image_link", "ID,Image Link", "id,image-link", "offerId,imageLink", " id , IMAGE_LINK "],
)
def test_spellings_of_columns(header: str) -> None:
    (operation,) = read(f"{header}\n1,{SHOP}1.jpg\n")
    assert facts(operation)[0] == Key("1", f"{SHOP}1.jpg")


def test_repeated_columns_of_pictures() -> None:
    """Some programs give each its own column."""
    header = "id,image_link,additional_image_link,additional_image_link,additional_image_link_3"
    found = read(f"{header}\n1,{SHOP}1,{SHOP}2,,{SHOP}3\n")
    assert [facts(operation)[3] for operation in found] == [f"{SHOP}{number}" for number in (1, 2, 3)]


def test_both_vocabularies_in_one_table() -> None:
    """The service's names win: a feed may name its pictures, set attributes and delete."""
    header = "id,image_link,title,product_type,PicName,CategoryId,CustomContent,IntAttr,Operator"
    found = read(f"{header}\n1,{SHOP}1,Mug,Bag,main,Toy,note,7,\n2,{SHOP}2,,,,,,,delete\n3,,,,,,,,DELETE\n")
    assert [facts(operation) for operation in found] == [
        (Key("1", "main"), PictureOptions(20), Attributes("note", 7), f"{SHOP}1"),
        ("2", f"{SHOP}2"),
        ("3", None),
    ]


def test_a_product_feed_in_json() -> None:
    told: list[str] = []
    lines = [
        {"id": "1", "imageLink": f"{SHOP}1", "additionalImageLinks": [f"{SHOP}2"], "productTypes": ["a > Bag"], "b": 1},
        {"id": "2", "image_link": [5]},
        {"id": 3, "image_link": f"{SHOP}3", "b": 2},
    ]
    found = read(json.dumps(lines), told=told)
    assert [facts(operation) for operation in found] == [
        (Key("1", f"{SHOP}1"), PictureOptions(3), Attributes(), f"{SHOP}1"),
        (Key("1", f"{SHOP}2"), PictureOptions(3), Attributes(), f"{SHOP}2"),
        "InvalidPicName",
        "InvalidProductId",
    ]
    assert len(told) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Apparel & Accessories > Shoes > Sneakers", 4),
        ("Apparel > Dress", 1),
        ("Bag", 3),
        ("bottle drink", 8),
        ("Electronics > Digital device > Phones", 22),
        ("Apparel > Shoe", None),
        ("3", None),
        ("", None),
        ("> > ,", None),
    ],
)
def test_categories_of_product_types(text: str, expected: int | None) -> None:
    """Only by the service's names, and never by a number, which means something else there."""
    (operation,) = read(f'id,image_link,product_type\n1,{SHOP}1,"{text}"\n')
    assert facts(operation)[1].category_id == expected


# What is told before any work


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"ProductId,File\n1,a.jpg\n", "none of the columns PicName, Url, image_link"),
        ("a.csv", b"PicName,Colour\na.jpg,red\n", "none of the columns ProductId, id"),
        ("a.tsv.gz", b"1\ta.jpg\n", "none of the columns ProductId, id"),
        ("a.csv", b"id,ProductId,id,image_link\n", "several columns id"),
        ("a.csv", b'id,"image_link\n', "a quoted field"),
        ("a.csv", b"\n" + "\u00fc;id\n".encode("latin-1"), "none of the columns PicName"),
        ("a.xlsx", b"PK\x03\x04", "save the sheet as CSV"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "a JPEG picture"),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with ExitStack() as stack, pytest.raises(InvalidManifest) as caught:
        Feed(path, stack, FeedOptions(1, 1.0)).check()
    assert message in caught.value.message
    assert caught.value.message.isprintable()


def test_a_manifest_is_opened_before_any_work(tmp_path: Path) -> None:
    with ExitStack() as stack:
        source: Source = Feed(tmp_path / "increment.meta", stack, FeedOptions(1, 1.0))
        with pytest.raises(UnreadableSource, match=r"increment\.meta cannot be read"):
            source.check()


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"\xef\xbb\xbf", b"[]", b" [ ] \n", b"id,image_link\n", b"id,image_link"]
)
def test_nothing_in_it(data: bytes) -> None:
    assert read(data) == []


def test_a_format_can_be_named() -> None:
    """For what cannot be told from the first line."""
    assert [type(one) for one in read("id,image_link\n", named="json")] == [Refused]
    with pytest.raises(InvalidManifest, match="no header"):
        read('{"ProductId":"p"}', named="csv")
    with pytest.raises(InvalidManifest, match="none of the columns"):
        read("id,image_link\n", named="tsv")


# Rows that fail alone


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (f"1,{SHOP}1", "InvalidMetaItem"),
        (f"1,{SHOP}1,,,,more", "InvalidMetaItem"),
        (f"1,{SHOP}1,a,b,c,d", "InvalidMetaItem"),
        (f'1,{SHOP}1,"a,,', "InvalidMetaItem"),
        (f"1,{SHOP}1,a\0b,,", "InvalidCustomContent"),
        (f"a\0b,{SHOP}1,,,", "InvalidProductId"),
        (f"1,{SHOP}1,{'x' * 5000},,", "InvalidCustomContent"),
        (f"1,{SHOP}1,{'x' * 200_000},,", "InvalidMetaItem"),
        (f"{'1' * 513},{SHOP}1,,,", "InvalidProductId"),
        (f"1,{SHOP}{'1' * 513},,,", "InvalidPicName"),
        (f"1,{SHOP}{'1' * 9000},,,", "InvalidPicName"),
        ("1,http://user:secret@shop.example/a.jpg,,,", "InvalidPicName"),
        ("1,file:///etc/passwd,,,", "InvalidPicName"),
        ("1,a.jpg,,,", "InvalidPicName"),
        (f"1,{SHOP}1,,1.5,", "InvalidIntAttr"),
        (f"1,{SHOP}1,,99999999999,", "InvalidIntAttr"),
        (f"1,{SHOP}1,,,maybe", "InvalidMetaItem"),
        (f",{SHOP}1,,,", "NoSpecifiedProductId"),
        ("1,,,,", "NoSpecifiedPicName"),
    ],
    ids=range(19),
)
def test_a_row_that_fails(row: str, code: str) -> None:
    """Is told with its line; the rows around it are read; a password is not repeated."""
    data = f"id,image_link,title,IntAttr,Crop\n0,{SHOP}0,,,\n{row}\n2,{SHOP}2,t,-1,no\n"
    before, refused, after = read(data)
    assert isinstance(before, AddPicture)
    assert isinstance(refused, Refused)
    assert (refused.source, refused.error.code) == ("-:3", code)
    assert isinstance(after, AddPicture)
    assert (after.options.crop, after.attributes.int_attr) == (False, -1)
    for text in (refused.error.message, refused.product_id or "", refused.pic_name or ""):
        assert "secret" not in text
        text.encode()


def test_latin_1_fails_where_it_is_used() -> None:
    """Not silently with other letters."""
    data = f"id,image_link,title,note\n1,{SHOP}1,ü,\n2,{SHOP}2,,ü\n".encode("latin-1")
    first, second = read(data)
    assert isinstance(first, Refused)
    assert "title is not UTF-8" in first.error.message
    assert isinstance(second, AddPicture)


def test_a_file_that_is_cut_off_gives_what_was_there() -> None:
    rows = [["id", "image_link"], *([str(number), f"{SHOP}{number}?{number * 7919 % 10007}"] for number in range(5000))]
    data = gzip.compress(table(rows).encode())[:-2000]
    with ExitStack() as stack:
        feed = Feed(None, stack, FeedOptions(1, 1.0), stream=io.BytesIO(data))
        feed.check()
        operations = feed.operations(lambda _key: False)
        assert all(isinstance(operation, AddPicture) for operation in islice(operations, 1000))
        with pytest.raises(InvalidManifest, match="cut off"):
            list(operations)


# Files beside it


def test_a_dry_run_looks_files_up(tmp_path: Path) -> None:
    write_catalogue(tmp_path, 1)
    (tmp_path / "large.jpg").write_bytes(bytes(10_000))
    path = tmp_path / "list.csv"
    path.write_text("Operator;ProductId;PicName\n;p;0000.jpg\n;p;large.jpg\n;p;none.jpg\nDELETE;q;\n")
    with ExitStack() as stack:
        feed = Feed(path, stack, FeedOptions(1, 1.0))
        feed.check()
        found, large, missing, deletion = feed.dry_run(10_000)
    assert isinstance(found, AddPicture)
    assert isinstance(large, Refused)
    assert large.error.code == "InvalidPicContent"
    assert isinstance(missing, Refused)
    assert missing.error.code == "PictureError"
    assert deletion == DeletePictures(f"{path}:5", "q")


# Size


def endless(count: int) -> Iterator[bytes]:
    yield b"id,image_link,title,price\n"
    for number in range(count):
        yield b'%d,https://cdn.example/%d.jpg,"A title, with a comma",5 EUR\n' % (number, number)


class Stream(io.RawIOBase):
    """Bytes that are made when they are read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = next(self._pieces, b"")
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.extended
@pytest.mark.parametrize("count", [5_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_memory_does_not_grow_with_the_rows(count: int) -> None:
    with ExitStack() as stack:
        feed = Feed(None, stack, FeedOptions(4, 1.0), stream=io.BufferedReader(Stream(endless(count))))  # type: ignore[arg-type]
        feed.check()
        operations = feed.operations(lambda _key: False)
        next(operations)
        tracemalloc.start()
        try:
            assert sum(isinstance(operation, AddPicture) for operation in operations) == count - 1
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 2**20


def test_rows_are_read_when_they_are_wanted() -> None:
    taken = []

    def pieces() -> Iterator[bytes]:
        for piece in endless(100_000):
            taken.append(piece)
            yield piece

    with ExitStack() as stack:
        feed = Feed(None, stack, FeedOptions(4, 1.0), stream=Stream(pieces()))  # type: ignore[arg-type]
        feed.check()
        next(feed.operations(lambda _key: False))
    assert len(taken) < 2000


# Whatever the bytes


@given(
    st.sampled_from(
        [b"", b"id,image_link\n", b"ProductId\tPicName\tUrl\n", b"[", b'{"id":"1","image_link":', b"\xef\xbb\xbf"]
    ),
    st.binary(max_size=200),
)
def test_any_bytes(begin: bytes, data: bytes) -> None:
    """Become operations and refusals in the order of their lines, or one refusal of the whole."""
    try:
        found = read(begin + data)
    except InvalidManifest:
        return
    numbers = [int(operation.source.rpartition(":")[2]) for operation in found]
    assert numbers == sorted(numbers)
    for operation in found:
        if isinstance(operation, Refused):
            assert operation.error.code
            operation.error.message.encode()


def test_the_shards_of_a_manifest_make_up_the_whole() -> None:
    """Each line is of one shard, in the old order; a broken one is told by the first."""
    lines = [json.dumps({"OperationType": "ADD", "ProductId": f"p{n % 9}", "PicName": f"{n}.jpg"}) for n in range(40)]
    lines += [json.dumps({"OperationType": "DELETE", "ProductId": "p4"}), "no JSON"]
    whole = [one.source for one in read("\n".join(lines))]
    found: list[list[Operation]] = []
    for index in range(3):
        shard, stream = Shard(index, 3), io.BytesIO("\n".join(lines).encode())
        with ExitStack() as stack:
            feed = Feed(None, stack, FeedOptions(1, 1.0), stream=stream, shard=shard)
            feed.check()
            found.append(list(feed.operations(lambda _key: False)))
        assert shard.others == len(whole) - len(found[-1])
    assert sorted(one.source for some in found for one in some) == sorted(whole)
    assert isinstance(found[0][-1], Refused)
    assert all([one.source for one in some] == sorted((one.source for one in some), key=whole.index) for some in found)
