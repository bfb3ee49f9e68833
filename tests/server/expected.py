"""What the answers to ``sdk_checks`` must be: the documents that the library gives for the same questions."""

from __future__ import annotations

from typing import Any

import pytest

from imgsearch import Key, PictureOptions, SearchOptions
from imgsearch.service.documents import compared_document, exists_document, filtered_document, search_document
from tests.server.sdk_checks import NAME, PRODUCT
from tests.server.serving import ITEMS, SAMPLES, Service

__all__ = ["OTHER", "PICTURE", "check_answers", "forget", "is_part"]

PICTURE = SAMPLES / "queries" / "mug-red.jpg"
OTHER = SAMPLES / "queries" / "ball.jpg"
OWN_OF_EACH = {"RequestId", "SearchTime"}
"""Fields that differ from answer to answer."""


def is_part(found: Any, whole: Any, where: str = "") -> None:
    """Check that all of an answer that an SDK knows is in the library's document, with the same types."""
    if isinstance(found, dict):
        assert isinstance(whole, dict), where
        for name, value in found.items():
            if name not in OWN_OF_EACH:
                assert name in whole, f"{where}.{name}"
                is_part(value, whole[name], f"{where}.{name}")
    elif isinstance(found, list):
        assert isinstance(whole, list), where
        assert len(found) == len(whole), where
        for place, (one, other) in enumerate(zip(found, whole, strict=True)):
            is_part(one, other, f"{where}[{place}]")
    elif isinstance(whole, float):  # which JavaScript writes without a point where there is no fraction
        assert not isinstance(found, bool), where
        assert found == pytest.approx(whole, abs=2e-3), where
    else:
        assert (found, type(found)) == (whole, type(whole)), where


def forget(service: Service) -> None:
    """Delete what the checks leave."""
    service.parts.instances.get("shop").writer.delete(PRODUCT).result()
    assert service.shop.count() == ITEMS


def check_answers(found: dict[str, Any], service: Service, *, attributes: bool = True, threshold: bool = True) -> None:
    """Compare the answers of all steps, as far as an SDK has them.

    Args:
        found: by the names of steps.
        service: where the item of PRODUCT and NAME still is.
        attributes: the SDK has all eight, otherwise one of each type.
        threshold: the SDK has ScoreThreshold.
    """
    _check_searches(found, service, threshold=threshold)
    item = service.shop.item(Key(PRODUCT, NAME))
    assert (item.attributes.int_attr, item.attributes.str_attr) == (5, "rot & grün")
    assert item.attributes.custom_content == '{"a": "ü"}'
    if attributes:
        own = item.attributes
        assert (own.int_attr2, own.int_attr3, own.int_attr4) == (2, -3, 4)
        assert (own.str_attr2, own.str_attr3, own.str_attr4) == ("2", "3", "=+~*")
    for name in ("added", "again"):
        answer = found[name]
        assert (answer["Success"], answer["Code"], answer["Message"]) == (True, 0, "success")
        assert answer["PicInfo"]["Region"] == str(item.region)
        assert answer["PicInfo"]["CategoryId"] == item.category_id
        assert len(answer["RequestId"]) == 36
    _check_changes(found)
    if "by_filter" in found:
        assert [one["ProductId"] for one in found["by_filter"]["Auctions"]] == [PRODUCT]
        is_part(found["by_filter"], filtered_document([item]))
        is_part(found["exists"], exists_document(item))
        assert found["exists"]["Exists"] is True
        assert found["exists"]["Auctions"]["PicName"] == NAME
    if "compared" in found:
        comparison = service.parts.instances.get("shop").searcher.compare(PICTURE.read_bytes(), OTHER.read_bytes())
        is_part(found["compared"], compared_document(comparison))
        assert 0 <= found["compared"]["Score"] < 1
    if "detail" in found:
        detail = found["detail"]["Instance"]
        assert (detail["Name"], detail["TotalCount"], detail["ServiceType"]) == ("shop", ITEMS + 1, 0)
        assert int(detail["UtcCreate"]) > 1_700_000_000_000
        (dump,) = found["dumps"]["Data"]["DumpMetaList"]
        assert (dump["Status"], dump["Id"]) == ("SUCCESS", int(found["dump"]["Data"]["Id"]))
        lines = service.http.get(dump["MetaUrl"].replace(dump["MetaUrl"].partition("/files/")[0], service.open_url))
        assert len(lines.text.splitlines()) == ITEMS + 1
        assert found["imports"]["Data"]["TotalCount"] == 0
    if "text" in found:
        assert found["text"][:2] == ["UnsupportedOperationType", 500]


def _check_searches(found: dict[str, Any], service: Service, *, threshold: bool) -> None:
    searcher, kind = service.parts.instances.get("shop").searcher, service.shop.kind
    content = PICTURE.read_bytes()
    condition = 'int_attr>=3 AND str_attr="rot & grün"'
    key = Key(PRODUCT, NAME)
    results = {
        "found": searcher.by_picture(content, PictureOptions(), SearchOptions(3)),
        "above": searcher.by_picture(
            content, PictureOptions(crop=False), SearchOptions(9, min_score=0.9 if threshold else 0.0)
        ),
        "filtered": searcher.by_picture(
            content, PictureOptions(), SearchOptions(9, filter=condition, distinct_product=True)
        ),
        "by_name": searcher.by_name(key, None, SearchOptions(2, 1)),
    }
    for name, result in results.items():
        is_part(found[name], search_document(result, kind, located=False), name)
        assert {"Auctions", "Head", "PicInfo", "Success", "Code", "Msg", "RequestId"} <= set(found[name])
    best = found["found"]["Auctions"][0]
    assert (best["ProductId"], best["PicName"], best["Score"]) == (PRODUCT, NAME, 1.0)
    assert len(found["found"]["Auctions"]) == 3
    assert [hit["ProductId"] for hit in found["filtered"]["Auctions"]] == [PRODUCT]
    assert len(found["by_name"]["Auctions"]) == 2


def _check_changes(found: dict[str, Any]) -> None:
    if "base64" in found:
        assert found["base64"]["PicInfo"]["CategoryId"] == 3
    if "updated" in found:
        assert (found["updated"]["Success"], found["updated"]["Message"]) == (True, "success")
    if "after update" in found:
        fields = found["after update"]["Auctions"]
        numbers, texts = (10, 20, 30, 40), ("t", "t2", "t3", "t4")
        assert tuple(fields[f"IntAttr{number}"] for number in ("", 2, 3, 4)) == numbers
        assert tuple(fields[f"StrAttr{number}"] for number in ("", 2, 3, 4)) == texts
        assert fields["CustomContent"] == "c"
        assert found["after deletion"]["Exists"] is False
    assert found["deleted"]["Success"] is True
    if "Data" in found["deleted"]:  # since 4.0.0
        assert found["deleted"]["Data"]["PicNames"] == [NAME]
        assert found["deleted again"]["Data"]["PicNames"] == []
    assert found["absent"][:2] == ["PicNotExist", 400]
