"""The batch manifest ``increment.meta`` (service.md, section 9), in both dialects.

Contract: one JSON object a line, in order; each line that says something becomes exactly one operation or one refusal
that names its number, a code and what to do, and the rest goes on. Nothing that a line holds can raise, escape the
manifest's folder, or take memory beyond the line limit.
"""

from __future__ import annotations

import io
import json
import sys
import tracemalloc
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imgsearch.errors import UnreadableSource
from imgsearch.service.categories import OTHER
from imgsearch.sources.feed import Feed, FeedOptions
from imgsearch.sources.files import FilePicture
from imgsearch.sources.jsonl import MAX_LINE_BYTES
from imgsearch.sources.manifest import MANIFEST_NAME, read_manifest
from imgsearch.types import AddPicture, Content, DeletePictures, Refused
from imgsearch.values import Attributes, Key, Location, PictureOptions, Region

Operations = list[AddPicture | DeletePictures | Refused]


def locate(name: str) -> tuple[FilePicture, Location | None]:
    return FilePicture(Path("/catalogue", name)), Location("/catalogue")


def read(data: bytes) -> Operations:
    return list(read_manifest(io.BytesIO(data), "m", locate))


def of_file(path: Path) -> list[Any]:
    with ExitStack() as stack:
        feed = Feed(path, stack, FeedOptions(downloads=1, timeout=1))
        feed.check()
        return list(feed.operations(lambda _key: False))


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def add(**fields: Any) -> bytes:
    """An ADD line with what it needs, unless the fields say otherwise."""
    return line(**{"OperationType": "ADD", "ProductId": "p", "PicName": "a.jpg", **fields})


def only(data: bytes) -> AddPicture | DeletePictures | Refused:
    (operation,) = read(data)
    return operation


def added(data: bytes) -> AddPicture:
    operation = only(data)
    assert isinstance(operation, AddPicture), operation
    return operation


def refused(data: bytes) -> Refused:
    operation = only(data)
    assert isinstance(operation, Refused), operation
    return operation


# What a line can say

ATTRIBUTES = {
    "CustomContent": "k1:v1,k2:v2",
    **{f"IntAttr{number}": value for number, value in {"": 10, "2": -(2**31), "3": 2**31 - 1, "4": 0}.items()},
    **{f"StrAttr{number}": value for number, value in {"": "red", "2": "", "3": "漢字", "4": "x" * 128}.items()},
}


def test_add_with_everything() -> None:
    operation = added(add(PicName="shoes/a.jpg", CategoryId=4, Region="20,200,30,260", **ATTRIBUTES))
    assert operation.source == "m:1"
    assert operation.key == Key("p", "shoes/a.jpg")
    assert operation.options == PictureOptions(4, True, Region(20, 200, 30, 260))
    assert operation.attributes.service_fields() == ATTRIBUTES
    assert operation.picture == FilePicture(Path("/catalogue/shoes/a.jpg"))
    assert operation.location == Location("/catalogue")


def test_add_with_nothing_more_than_it_needs() -> None:
    """A field of null is a field that is not set."""
    empty = dict.fromkeys([*ATTRIBUTES, "CategoryId", "Region", "Crop"])
    for data in (add(), add(**empty)):
        operation = added(data)
        assert operation.options == PictureOptions()
        assert operation.attributes == Attributes()


def test_the_documented_samples() -> None:
    """service.md, 9.2 and 9.3, to the letter."""
    data = (
        b'{"OperationType":"ADD","ProductId":"sku-1","PicName":"shoes/a.jpg","CategoryId":4,"IntAttr":10,'
        b'"StrAttr":"red","CustomContent":"note","Region":"20,200,30,260"}\n'
        b'{"OperationType":"DELETE","ProductId":"sku-9","PicName":"shoes/old.jpg"}\n'
        b'{"operator":"ADD","item_id":"sku-1","cat_id":4,"cust_content":"k1:v1","pic_list":["a.jpg"]}\n'
    )
    first, second, third = read(data)
    assert isinstance(first, AddPicture)
    assert first.key == Key("sku-1", "shoes/a.jpg")
    assert first.attributes == Attributes(custom_content="note", int_attr=10, str_attr="red")
    assert second == DeletePictures("m:2", "sku-9", "shoes/old.jpg")
    assert isinstance(third, AddPicture)
    assert third.key == Key("sku-1", "a.jpg")
    assert third.options.category_id == 4
    assert third.attributes == Attributes(custom_content="k1:v1")


def test_the_dialect_of_2018_says_the_same() -> None:
    today = added(add(CategoryId=4, CustomContent="c", IntAttr=1, StrAttr="s"))
    then = line(
        operator="ADD", item_id="p", pic_list=["a.jpg"], cat_id=4, cust_content="c", int_attr=1, str_attr="s"
    )  # fmt: skip
    assert added(then) == today


@pytest.mark.parametrize(
    ("fields", "pic_name"),
    [
        ({"OperationType": "DELETE", "ProductId": "p", "PicName": "a.jpg"}, "a.jpg"),
        ({"OperationType": "DELETE", "ProductId": "p"}, None),
        ({"OperationType": "DELETE", "ProductId": "p", "PicName": None}, None),
        ({"operator": "DELETE", "item_id": "p", "pic_list": ["a.jpg"]}, "a.jpg"),
        ({"operator": "DELETE", "item_id": "p"}, None),
    ],
    ids=str,
)
def test_delete(fields: dict[str, Any], pic_name: str | None) -> None:
    """Without a PicName all pictures of the product go."""
    assert only(line(**fields)) == DeletePictures("m:1", "p", pic_name)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [(0, 0), (22, 22), (88888888, OTHER), ("3", 3), ("Bag", 3), ("bag", 3), (None, None)],
    ids=repr,
)
def test_categories(given_: object, expected: int | None) -> None:
    assert added(add(CategoryId=given_)).options.category_id == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"Region": "0,1,0,1"}, PictureOptions(region=Region(0, 1, 0, 1))),
        ({"Region": " 0, 1, 0, 1 "}, PictureOptions(region=Region(0, 1, 0, 1))),
        ({"Region": ""}, PictureOptions()),
        ({"Crop": True}, PictureOptions()),
        ({"Crop": False}, PictureOptions(crop=False)),
        ({"Crop": None}, PictureOptions()),
        ({"Crop": False, "Region": "0,1,0,1"}, PictureOptions(crop=False, region=Region(0, 1, 0, 1))),
    ],
    ids=str,
)
def test_crop_and_region(fields: dict[str, Any], expected: PictureOptions) -> None:
    assert added(add(**fields)).options == expected


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg",
        "a.b/c.jpg",
        "x" * 508 + ".jpg",
        "..a.jpg",
        "a..b.jpg",
        ".../a.jpg",
        "ä 漢字.jpg",
        "a.anything",
        "a\nb.png",
    ],
)
def test_names_that_pass(name: str) -> None:
    assert added(add(PicName=name)).key.pic_name == name


# How lines are told apart


@pytest.mark.parametrize(
    "data",
    [
        b"%s\n%s\n",
        b"%s\n%s",
        b"%s\r\n%s\r\n",
        b"\n%s\n\n \t\r\n%s\n\n",
        b"\xef\xbb\xbf%s\n%s\n",
        b" %s \n\t%s",
    ],
    ids=["plain", "no last newline", "CRLF", "blank lines", "byte order mark", "blanks around"],
)
def test_any_editor_can_write_it(data: bytes) -> None:
    operations = read(data % (add(ProductId="1"), add(ProductId="2")))
    assert [item.key.product_id for item in operations if isinstance(item, AddPicture)] == ["1", "2"]
    assert len(operations) == 2


def test_a_byte_order_mark_within_is_not_blank() -> None:
    assert refused(b"\n\xef\xbb\xbf" + add()).error.code == "InvalidMetaItem"


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n \n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_nothing_in_it(data: bytes) -> None:
    assert read(data) == []


def test_the_order_is_kept_and_duplicates_stay() -> None:
    """The last one wins, so that none may be lost or moved."""
    lines = [add(IntAttr=1), line(OperationType="DELETE", ProductId="p"), add(IntAttr=2), add(IntAttr=2), b"broken"]
    found = read(b"\n".join(lines))
    assert [type(item) for item in found] == [AddPicture, DeletePictures, AddPicture, AddPicture, Refused]
    assert [item.attributes.int_attr for item in found if isinstance(item, AddPicture)] == [1, 2, 2]


def test_line_numbers_are_those_of_the_editor() -> None:
    """Blank and broken lines count."""
    data = b"\n".join([b"", add(), b"broken", b"", b"x" * (MAX_LINE_BYTES + 5), add()])
    assert [item.source for item in read(data)] == ["m:2", "m:3", "m:5", "m:6"]


def test_lines_are_read_when_they_are_wanted() -> None:
    """A manifest of millions starts at once."""
    stream = io.BytesIO((add() + b"\n") * 100_000)
    next(read_manifest(stream, "m", locate))
    assert stream.tell() < 1000


# Refusals

WRONG_CATEGORIES = (10, 19, -1, 8888888, 2**70, "Hat", "", 3.5, True, [3])
WRONG_REGIONS = (
    5, [0, 1, 0, 1], "1,2,3", "0,1,0,1,0", "a,b,c,d", "0.5,1,0,1",
    "5,5,0,1", "0,1,9,2", "-1,2,0,3", "0,1,0,\u0663", "0,1,0,9999999999",
)  # fmt: skip
WRONG_INTEGERS = (-(2**31) - 1, 2**31, 10**4000, 1.0, float("nan"), "1", True, [], {})
REFUSED: list[tuple[bytes, str, str]] = [
    # JSON
    (b"broken", "InvalidMetaItem", "not a JSON object"),
    (add()[:-1], "InvalidMetaItem", "not a JSON object"),
    (b"[]", "InvalidMetaItem", "not a JSON object"),
    (b'"text"', "InvalidMetaItem", "not a JSON object"),
    (b"null", "InvalidMetaItem", "not a JSON object"),
    (b"5", "InvalidMetaItem", "not a JSON object"),
    (b"\xe3\x80\x80", "InvalidMetaItem", "not a JSON object"),
    (b"{'OperationType': 'ADD'}", "InvalidMetaItem", "not a JSON object"),
    (b'{"OperationType": "ADD",}', "InvalidMetaItem", "not a JSON object"),
    (add() + add(), "InvalidMetaItem", "more than one object"),
    (add() + b", " + add(), "InvalidMetaItem", "more than one object"),
    (add() + b" // note", "InvalidMetaItem", "more than one object"),
    (add(PicName="ä.jpg").replace(b"\\u00e4", b"\xe4"), "InvalidMetaItem", "not UTF-8"),
    (b"\xff\xfe{\0}\0", "InvalidMetaItem", "not UTF-8"),
    (b"[" * 100_000, "InvalidMetaItem", "not a JSON object"),
    (b'{"a":' * 100_000, "InvalidMetaItem", "not a JSON object"),
    (add(IntAttr=1)[:-2] + b"1" * 5000 + b"}", "InvalidMetaItem", "not a JSON object"),
    # Fields
    (b"{}", "NoSpecifiedProductId", "ProductId"),
    (add(Colour="red"), "InvalidMetaItem", "unknown field 'Colour'"),
    (add(productId="p"), "InvalidMetaItem", "unknown field 'productId'"),
    (add(IntAttr5=1), "InvalidMetaItem", "unknown field 'IntAttr5'"),
    (add(item_id="p"), "InvalidMetaItem", "unknown field 'item_id'"),
    # OperationType
    (add(OperationType=None), "InvalidMetaItem", "must be ADD or DELETE"),
    (line(ProductId="p", PicName="a.jpg"), "InvalidMetaItem", "must be ADD or DELETE"),
    (add(OperationType="add"), "InvalidMetaItem", "'add' is not ADD or DELETE"),
    (add(OperationType="UPDATE"), "InvalidMetaItem", "'UPDATE' is not ADD or DELETE"),
    (add(OperationType=["ADD"]), "InvalidMetaItem", "is not ADD or DELETE"),
    (add(OperationType=1), "InvalidMetaItem", "is not ADD or DELETE"),
    # ProductId
    (add(ProductId=None), "NoSpecifiedProductId", "no ProductId"),
    (add(ProductId=""), "NoSpecifiedProductId", "no ProductId"),
    (add(ProductId=5), "InvalidProductId", "'5' is not text"),
    (add(ProductId=["p"]), "InvalidProductId", "is not text"),
    (add(ProductId="x" * 513), "InvalidProductId", "513 characters; the limit is 512"),
    (add(ProductId="a\0b"), "InvalidProductId", "NUL"),
    (add(ProductId="\ud800"), "InvalidProductId", "not valid UTF-8"),
    (line(OperationType="DELETE", ProductId="x" * 513), "InvalidProductId", "the limit is 512"),
    (line(OperationType="DELETE"), "NoSpecifiedProductId", "no ProductId"),
    # PicName
    (add(PicName=None), "NoSpecifiedPicName", "no PicName"),
    (add(PicName=""), "NoSpecifiedPicName", "no PicName"),
    (line(OperationType="DELETE", ProductId="p", PicName=""), "NoSpecifiedPicName", "PicName is empty"),
    (add(PicName=5), "InvalidPicName", "'5' is not text"),
    (add(PicName="x" * 509 + ".jpg"), "InvalidPicName", "the limit is 512"),
    (add(PicName="\udfff.jpg"), "InvalidPicName", "not valid UTF-8"),
    (add(PicName="a\0.jpg"), "InvalidPicName", "NUL"),
    (line(OperationType="DELETE", ProductId="p", PicName="x" * 513), "InvalidPicName", "the limit is 512"),
    (add(PicName="girl_cloth10"), "InvalidPicName", "file extension"),
    (add(PicName="a.b/c"), "InvalidPicName", "file extension"),
    (add(PicName=".jpg"), "InvalidPicName", "file extension"),
    (add(PicName="/a.jpg"), "InvalidPicName", "relative"),
    (add(PicName="//a.jpg"), "InvalidPicName", "relative"),
    (add(PicName="a.jpg/"), "InvalidPicName", "relative"),
    (add(PicName="../a.jpg"), "InvalidPicName", "relative"),
    (add(PicName="a/../../b.jpg"), "InvalidPicName", "relative"),
    (add(PicName="a/.."), "InvalidPicName", "relative"),
    (add(PicName="./../a.jpg"), "InvalidPicName", "relative"),
    (add(PicName="..\\a.jpg"), "InvalidPicName", "backslash"),
    # The dialect of 2018
    (line(operator="ADD", item_id="p", pic_list=[]), "InvalidPicList", "exactly one name, not 0"),
    (line(operator="ADD", item_id="p", pic_list=["a.jpg", "b.jpg"]), "InvalidPicList", "exactly one name, not 2"),
    (line(operator="ADD", item_id="p", pic_list=[5]), "InvalidPicName", "is not text"),
    (line(operator="ADD", item_id="p", pic_list={"a": 1}), "InvalidPicName", "is not text"),
    (line(operator="ADD", item_id="p"), "NoSpecifiedPicName", "no PicName"),
    (line(operator="ADD", item_id="p", pic_list=["/a.jpg"]), "InvalidPicName", "relative"),
    (line(operator="NOTHING", item_id="p", pic_list=["a.jpg"]), "InvalidMetaItem", "is not ADD or DELETE"),
    # Options
    *((add(CategoryId=value), "InvalidCategory", "") for value in WRONG_CATEGORIES),
    *((add(Region=value), "InvalidRegion", "") for value in WRONG_REGIONS),
    *((add(Crop=value), "InvalidMetaItem", "true or false") for value in (1, "true", "", [])),
    # Attributes
    *((add(**{f"IntAttr{number}": 2**31}), "InvalidIntAttr", f"IntAttr{number} 2147") for number in ("", 2, 3, 4)),
    *((add(**{f"StrAttr{number}": "x" * 129}), "InvalidStrAttr", f"StrAttr{number} has") for number in ("", 2, 3, 4)),
    *((add(IntAttr=value), "InvalidIntAttr", "32-bit") for value in WRONG_INTEGERS),
    *((add(StrAttr=value), "InvalidStrAttr", "") for value in (1, 1.5, False, ["red"], "a\0b", "\ud800")),
    *((add(CustomContent=value), "InvalidCustomContent", "") for value in ("x" * 4097, 5, {"k": "v"}, "\0", "\udc00")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "code", "message"), REFUSED, ids=[f"{number}-{code}" for number, (_, code, _) in enumerate(REFUSED)]
)
def test_a_line_that_cannot_be_used(data: bytes, code: str, message: str) -> None:
    """It fails alone, under the service's code, with one short line for people that can be printed."""
    before, item, after = read(b"\n".join([add(), data, add()]))
    assert isinstance(before, AddPicture)
    assert isinstance(after, AddPicture)
    assert isinstance(item, Refused)
    assert item.source == "m:2"
    assert item.error.code == code
    assert message in item.error.message
    check_printable(item)


def check_printable(item: Refused) -> None:
    assert "\n" not in item.error.message
    assert len(item.error.message) < 5000
    for text in (item.error.message, item.product_id or "", item.pic_name or ""):
        text.encode()
        assert len(text) <= 5000


def test_a_refusal_names_the_item_if_it_can() -> None:
    item = refused(add(ProductId="p", PicName="a.jpg", CategoryId=10))
    assert (item.product_id, item.pic_name) == ("p", "a.jpg")
    item = refused(add(ProductId=5, PicName="x" * 9999))
    assert (item.product_id, item.pic_name) == (None, None)
    item = refused(b"broken")
    assert (item.product_id, item.pic_name) == (None, None)


@pytest.mark.parametrize("field", ["IntAttr", "StrAttr", "CustomContent", "Region", "Crop", "CategoryId", "ProductId"])
def test_a_huge_value_of_a_wrong_type_is_not_quoted(field: str) -> None:
    check_printable(refused(add(**{field: list(range(100_000))})))


@pytest.mark.parametrize(
    "field", ["IntAttr", "StrAttr", "Region", "CategoryId", "ProductId", "OperationType", "Colour"]
)
def test_nesting_at_the_edge_of_what_python_can_follow(field: str) -> None:
    """JSON that just still parses can be too deep for everything that handles it afterwards."""
    for depth in range(sys.getrecursionlimit() - 150, sys.getrecursionlimit() + 20):
        check_printable(refused(add(**{field: "@"}).replace(b'"@"', b"[" * depth + b"]" * depth)))


# Long lines


@pytest.mark.parametrize(("excess", "passes"), [(-1, True), (0, True), (1, False), (2, False), (1_000_000, False)])
@pytest.mark.parametrize("rest", [b"", b"\n", b"\n" + add()], ids=["at the end", "with newline", "with a next line"])
def test_lines_up_to_8_mebibytes(excess: int, passes: bool, rest: bytes) -> None:
    """With the newline, exactly 8 x 1024 x 1024 bytes still pass."""
    size = MAX_LINE_BYTES + excess - (1 if rest else 0)
    found = read(add().ljust(size) + rest)
    assert [type(item) for item in found] == [AddPicture if passes else Refused] + [AddPicture] * (len(rest) > 1)
    if not passes:
        assert isinstance(found[0], Refused)
        assert "longer than 8,388,608 bytes" in found[0].error.message


class Endless(io.RawIOBase):
    """``size`` times the letter x, without a newline, without holding them."""

    def __init__(self, size: int) -> None:
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), self._left)
        buffer[:count] = b"x" * count
        self._left -= count
        return count


def test_a_line_of_any_length_takes_no_more_memory_than_the_limit() -> None:
    """A disk image given by mistake is one refusal."""
    stream = io.BufferedReader(Endless(300 * 2**20), 2**20)
    tracemalloc.start()
    try:
        (item,) = read_manifest(stream, "m", locate)  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(item, Refused)
    assert peak < 5 * MAX_LINE_BYTES


# Whatever the bytes

TEXT = st.text(st.characters(), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXT, values, max_size=3),
    max_leaves=5,
)
FIELDS = (
    "OperationType",
    "ProductId",
    "PicName",
    "CategoryId",
    "Region",
    "Crop",
    "IntAttr",
    "StrAttr4",
    "CustomContent",
)
OLD_FIELDS = ("operator", "item_id", "pic_list", "cat_id", "cust_content", "int_attr", "str_attr")
USUAL: dict[str, Any] = {
    "OperationType": "ADD", "ProductId": "p", "PicName": "a.jpg",
    "operator": "DELETE", "item_id": "p", "pic_list": ["a.jpg"],
}  # fmt: skip
DOCUMENTS = st.one_of(
    *(
        st.fixed_dictionaries(
            {},
            optional={name: VALUES | st.just(USUAL.get(name)) | st.sampled_from(["ADD", "DELETE"]) for name in names},
        )
        for names in (FIELDS, OLD_FIELDS)
    )
)


def expected_lines(data: bytes) -> list[int]:
    """Numbers of the lines that say something."""
    lines = data.split(b"\n")
    lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
    return [number for number, content in enumerate(lines, start=1) if content.strip()]


def check_anything(data: bytes) -> None:
    found = read(data)
    assert [item.source for item in found] == [f"m:{number}" for number in expected_lines(data)]
    for item in found:
        if isinstance(item, Refused):
            assert item.error.code
            check_printable(item)
        elif isinstance(item, AddPicture):
            parts = Path(item.key.pic_name).parts
            assert not Path(item.key.pic_name).is_absolute()
            assert ".." not in parts


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf\n{}")
@example(b"\x1c\n\x85\n\xc2\x85\n\xe2\x80\xa8")
def test_any_bytes(data: bytes) -> None:
    check_anything(data)


@pytest.mark.extended
@settings(deadline=None, max_examples=300)
@given(st.lists(DOCUMENTS, max_size=4), st.booleans())
def test_any_objects(documents: list[dict[str, Any]], ascii_only: bool) -> None:
    lines = (json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") for document in documents)
    check_anything(b"\n".join(lines))


@settings(deadline=None)
@given(st.text("./\\ab", max_size=12))
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    operation = only(add(PicName=name))
    if isinstance(operation, AddPicture):
        assert isinstance(operation.picture, FilePicture)
        assert operation.picture.path.resolve().is_relative_to("/catalogue")
        assert operation.picture.path.suffix


# Local manifests


@pytest.fixture
def catalogue_(tmp_path: Path) -> Path:
    """A folder with a manifest of three lines and two of its pictures."""
    (tmp_path / "shoes").mkdir()
    (tmp_path / "shoes" / "a.jpg").write_bytes(b"one")
    (tmp_path / "b.jpg").write_bytes(b"two")
    lines = (add(PicName="shoes/a.jpg"), add(PicName="b.jpg"), add(PicName="missing.jpg"))
    (tmp_path / MANIFEST_NAME).write_bytes(b"\n".join(lines))
    return tmp_path


@pytest.mark.parametrize("relative", [False, True])
def test_pictures_lie_beside_the_manifest(catalogue_: Path, relative: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command is run; one that is missing fails when it is read, under its own key."""
    monkeypatch.chdir(catalogue_ / "shoes")
    path = Path("..", MANIFEST_NAME) if relative else catalogue_ / MANIFEST_NAME
    found = of_file(path)
    monkeypatch.chdir("/")
    assert [item.source for item in found] == [f"{path}:{number}" for number in (1, 2, 3)]
    contents = []
    for item in found:
        assert isinstance(item, AddPicture)
        assert item.location is not None
        assert item.location.path(item.key.pic_name) == catalogue_ / item.key.pic_name
        try:
            contents.append(item.picture.read(100))
        except UnreadableSource as error:
            contents.append(Content(error.message.encode()))
    assert [content.data[:3] for content in contents[:2]] == [b"one", b"two"]
    assert b"cannot be read" in contents[2].data


@pytest.mark.parametrize("name", ["missing.meta", "shoes"])
def test_a_manifest_that_cannot_be_read(catalogue_: Path, name: str) -> None:
    with pytest.raises(UnreadableSource, match=r"manifest .* cannot be read"):
        of_file(catalogue_ / name)
