"""Parameters of a call: merged, typed, and refused with the service's codes."""

from __future__ import annotations

import base64

import pytest

from imgsearch.errors import EmptyPicture, ImgsearchError
from imgsearch.server.calls import Call
from imgsearch.server.errors import RequestRefused
from imgsearch.service.operations import OPERATIONS, ParameterType
from imgsearch.values import Key, Region

KEY = {"InstanceName": "shop", "ProductId": "p", "PicName": "a.jpg"}


def call(action: str = "AddImage", pairs: list[tuple[str, str]] | None = None, **values: str) -> Call:
    """A call with what it needs, and those values."""
    given = {parameter.name: "x" for parameter in OPERATIONS[action].parameters if parameter.required} | values
    return Call(OPERATIONS[action], [*given.items(), *(pairs or [])], lambda link: link.encode())


def code_of(read: object) -> str:
    assert callable(read)
    with pytest.raises(ImgsearchError) as refusal:
        read()
    return refusal.value.code


@pytest.mark.parametrize("action", OPERATIONS)
def test_what_an_operation_needs_is_asked_for(action: str) -> None:
    """Each of it by name."""
    needed = {parameter.name: "x" for parameter in OPERATIONS[action].parameters if parameter.required}
    assert "InstanceName" in needed
    Call(OPERATIONS[action], needed.items(), lambda _link: b"")
    for name in needed:
        others = [pair for pair in needed.items() if pair[0] != name]
        assert code_of(lambda: Call(OPERATIONS[action], others, lambda _link: b"")) == f"Missing{name}"  # noqa: B023


def test_nothing_is_there_twice() -> None:
    """Be it in the query and in the form."""
    with pytest.raises(RequestRefused, match="Num is there twice") as refusal:
        call("SearchImageByPic", [("Num", "1"), ("Num", "1")])
    assert refusal.value.code == "InvalidParameter"


def test_what_an_operation_does_not_have_is_ignored() -> None:
    """Older SDKs send Type with searches, and their query has RegionId; be it twice."""
    assert call("SearchImageByPic", [("Type", "1"), ("Type", "2"), ("RegionId", "cn-shanghai")]).text("Num") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("7", 7), ("-7", -7), ("+7", 7), ("007", 7), ("", None), ("9223372036854775807", 2**63 - 1)],
)
def test_whole_numbers(text: str, value: int | None) -> None:
    assert call(IntAttr=text).integer("IntAttr") == value


@pytest.mark.parametrize(
    "text", ["x", "1.5", "1e3", " 1", "1\n", "0x10", "--1", "٣", "1_000", "9223372036854775808", "9" * 20, "NaN"]
)
@pytest.mark.parametrize(
    ("action", "name", "code"),
    [
        ("AddImage", "IntAttr", "InvalidIntAttr"),
        ("UpdateImage", "IntAttr4", "InvalidIntAttr"),
        ("AddImage", "CategoryId", "InvalidCategory"),
        ("SearchImageByPic", "Num", "InvalidNumParameter"),
        ("SearchImageByFilter", "Start", "InvalidStartParameter"),
        ("DumpMetaList", "PageSize", "InvalidParameter"),
    ],
)
def test_what_is_no_whole_number(action: str, name: str, code: str, text: str) -> None:
    """Each parameter has its code, as the service has."""
    assert code_of(lambda: call(action, **{name: text}).integer(name)) == code


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("1", 1.0), ("0.", 0.0), ("", None), ("1.000", 1.0)])
def test_decimal_numbers(text: str, value: float | None) -> None:
    assert call("SearchImageByPic", ScoreThreshold=text).number("ScoreThreshold") == value


@pytest.mark.parametrize("text", ["x", "-0.5", "nan", "inf", "1e-3", ".5", "0,5", "1" * 4, "0.5\n", "0." + "1" * 13])
def test_what_is_no_decimal_number(text: str) -> None:
    asked = call("SearchImageByPic", ScoreThreshold=text)
    assert code_of(lambda: asked.number("ScoreThreshold")) == "InvalidParameter"


@pytest.mark.parametrize(
    ("text", "value"), [("True", True), ("true", True), ("FALSE", False), ("false", False), ("", True)]
)
def test_truth_in_any_letter_case(text: str, value: bool) -> None:
    assert call(Crop=text).boolean("Crop", default=True) is value


@pytest.mark.parametrize("text", ["1", "0", "yes", "True ", "ｔrue"])
def test_what_is_neither_true_nor_false(text: str) -> None:
    assert code_of(lambda: call(Crop=text).boolean("Crop", default=True)) == "InvalidParameter"


def test_keys_and_regions_are_those_of_the_library() -> None:
    asked = call(ProductId=" p/ü", PicName="a", Region="1,2,3,4")
    assert asked.key() == Key(" p/ü", "a")
    assert asked.region() == Region(1, 2, 3, 4)
    assert call(Region="").region() is None
    assert code_of(lambda: call(Region="1,2,3").region()) == "InvalidRegion"
    assert code_of(lambda: call(ProductId="").key()) == "NoSpecifiedProductId"
    assert code_of(lambda: call(PicName="x" * 2000).key()) == "InvalidPicName"


def test_pictures_are_base64_or_uploaded() -> None:
    data = bytes(range(256))
    assert call(PicContent=base64.b64encode(data).decode()).picture("PicContent") == data
    assert call(PicContent="http://127.0.0.1/K").picture("PicContent") == b"http://127.0.0.1/K"
    assert call(PicContent="http://http://127.0.0.1/K").picture("PicContent") == b"http://http://127.0.0.1/K"
    with pytest.raises(EmptyPicture):
        call(PicContent="").picture("PicContent")
    for text in ("A", "AAA", "A A=", "AAAA\n", "_-__", "ÄÄÄÄ", "=AAA", "A" * 40 + "://"):
        assert code_of(lambda: call(PicContent=text).picture("PicContent")) == "InvalidPicContent"  # noqa: B023


def test_given_parameters_are_told_by_type() -> None:
    asked = call("UpdateImage", **KEY, IntAttr2="1", StrAttr="", CustomContent="x")
    assert asked.given(ParameterType.INTEGER) == ["IntAttr2"]
    assert set(asked.given(ParameterType.TEXT)) == {*KEY, "StrAttr", "CustomContent"}
