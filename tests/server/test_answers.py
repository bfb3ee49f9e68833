"""Documents of answers: with the fields and the JSON types of the service, and the values that the command line prints.

Clients in languages with static types read what they have declared: a number that is text there is text here.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.conftest import Run
from tests.server.serving import SAMPLES, Service

pytestmark = pytest.mark.networks
QUERY = SAMPLES / "queries" / "mug-red.jpg"
CONTENT = base64.b64encode(QUERY.read_bytes()).decode()
STORED = ("mug-red", "catalogue/mug-red/front.jpg")
KEY = dict(zip(("ProductId", "PicName"), STORED, strict=True))

AUCTION = {
    "ProductId": str,
    "PicName": str,
    "CategoryId": int,
    "CustomContent": str,
    "IntAttr": int,
    "StrAttr": str,
    "Score": float,
    "SortExprValues": str,
}
BRIEF = {name: kind for name, kind in AUCTION.items() if name not in ("Score", "SortExprValues")}
HEAD = {"DocsFound": int, "DocsReturn": int, "SearchTime": int}
PICTURE = {
    "CategoryId": int,
    "Region": str,
    "MultiRegion": [{"Region": str}],
    "AllCategories": [{"Id": int, "Name": str}],
}
DONE = {"RequestId": str, "Success": bool, "Code": int}
SEARCH = {**DONE, "Msg": str, "Head": HEAD, "PicInfo": PICTURE, "Auctions": [AUCTION]}
TASK = {"Id": int, "Status": str, "Code": str, "Msg": str, "UtcCreate": str, "UtcModified": int}
PAGE = {"PageNumber": int, "PageSize": int, "TotalCount": int}
INSTANCE = {
    "Name": str,
    "Region": str,
    "ServiceType": int,
    "Capacity": int,
    "TotalCount": int,
    "Qps": int,
    "UtcCreate": str,
    "UtcExpireTime": str,
}
NEW = {"ProductId": "new", "PicName": "a.jpg"}
ANSWERS: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("AddImage", {**NEW, "PicContent": CONTENT}, {**DONE, "Message": str, "PicInfo": PICTURE}),
    ("UpdateImage", {**NEW, "IntAttr": "1"}, {**DONE, "Message": str}),
    ("DeleteImage", NEW, {**DONE, "Message": str, "Data": {"PicNames": [str]}}),
    ("SearchImageByPic", {"PicContent": CONTENT}, SEARCH),
    ("SearchImageByName", KEY, {**SEARCH, "PicInfo": {"CategoryId": int, "AllCategories": PICTURE["AllCategories"]}}),
    ("SearchImageByFilter", {"Filter": "int_attr=790"}, {**DONE, "Msg": str, "Auctions": [BRIEF]}),
    ("CheckImageExists", KEY, {**DONE, "Msg": str, "Exists": bool, "Auctions": BRIEF}),
    (
        "CompareSimilarByImage",
        {"PrimaryPicContent": CONTENT, "SecondaryPicContent": CONTENT},
        {**DONE, "Msg": str, "Score": float},
    ),
    ("Detail", {}, {"RequestId": str, "Success": bool, "Instance": INSTANCE}),
    ("DumpMeta", {}, {"RequestId": str, "Success": bool, "Data": {"Id": str, "DumpMetaStatus": str}}),
    ("DumpMetaList", {}, {"RequestId": str, "Data": {"DumpMetaList": [{**TASK, "MetaUrl": str}], **PAGE}}),
    ("IncreaseList", {}, {"RequestId": str, "Data": {"Increments": {"Instance": []}, **PAGE}}),
]


def check_types(found: Any, expected: Any, where: str) -> None:
    """Each field is there, with just this type; more fields may be."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), where
        for name, kind in expected.items():
            assert name in found, f"{where}.{name}"
            check_types(found[name], kind, f"{where}.{name}")
    elif isinstance(expected, list):
        assert isinstance(found, list), where
        assert bool(found) is bool(expected), where
        for one in found:
            check_types(one, expected[0], f"{where}[]")
    else:
        assert type(found) is expected, f"{where}: {found!r}"


@pytest.mark.parametrize(("action", "form", "expected"), ANSWERS, ids=[action for action, _, _ in ANSWERS])
def test_fields_have_the_types_of_the_service(
    service: Service, action: str, form: dict[str, str], expected: dict[str, Any]
) -> None:
    if action in ("UpdateImage", "DeleteImage"):
        service.call("AddImage", {**NEW, "PicContent": CONTENT})
    if action == "DumpMetaList":
        service.call("DumpMeta")
    answer = service.call(action, form)
    service.call("DeleteImage", NEW)
    check_types(answer, expected, action)
    assert ("Success" in answer) is ("Success" in expected)
    if "Auctions" in expected and isinstance(expected["Auctions"], list):
        assert all("Path" not in auction for auction in answer["Auctions"]), "where pictures lie is nobody's business"


@pytest.fixture
def printed(run: Run, service: Service) -> Run:
    """The command line on the same instance."""
    folder = service.settings.named["shop"]

    def on_the_shop(*arguments: object, **options: Any) -> Any:
        return run(*arguments, "-i", folder, **options)

    return on_the_shop


def without(document: Any, *names: str) -> Any:
    """A document without fields that cannot be equal, or that are for this machine only."""
    if isinstance(document, dict):
        return {name: without(value, *names) for name, value in document.items() if name not in names}
    return [without(one, *names) for one in document] if isinstance(document, list) else document


def test_searches_give_what_the_command_line_prints(service: Service, printed: Run) -> None:
    """Field by field."""
    own = ("RequestId", "SearchTime", "Path", "Query", "Source")
    pairs = [
        (
            service.call("SearchImageByPic", {"PicContent": CONTENT, "Num": "4", "Filter": "int_attr>100"}),
            printed("search", QUERY, "-n", 4, "--filter", "int_attr>100", "--format", "json").document,
        ),
        (
            service.call("SearchImageByName", {**KEY, "Num": "3", "DistinctProductId": "true"}),
            printed(
                "search",
                "--product-id",
                STORED[0],
                "--pic-name",
                STORED[1],
                "-n",
                3,
                "--distinct-product",
                "--format",
                "json",
            ).document,
        ),
    ]
    for answer, document in pairs:
        assert len(answer["Auctions"]) in (3, 4)
        assert without(answer, *own) == without(document, *own)


def test_items_are_those_that_the_command_line_lists(service: Service, printed: Run) -> None:
    answer = service.call("SearchImageByFilter", {"Filter": 'str_attr="red"', "Num": "50"})
    lines = printed("list", "--filter", 'str_attr="red"', "--format", "jsonl").lines
    assert len(lines) > 2
    assert answer["Auctions"] == without(lines, "Path", "Region")
    exists = service.call("CheckImageExists", KEY)
    (shown,) = printed("show", *STORED, "--format", "json").document["Auctions"]
    assert all(shown[name] == value for name, value in exists["Auctions"].items())


def test_errors_are_those_of_the_command_line(service: Service, printed: Run) -> None:
    """The same code and words; folders are left out."""
    answer = service.call("SearchImageByFilter", {"Filter": "int_attr >"})
    document = printed("list", "--filter", "int_attr >", "--format", "json").document
    assert (answer["Code"], answer["Message"]) == (document["Code"], document["Message"])
    assert answer["Code"] == "InvalidFilterClause"
