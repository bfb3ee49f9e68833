"""The service's JSON documents for search results, instances and errors.

The command line prints them, and a server can return them. They contain additional fields of ours.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from imgsearch.service.categories import CATEGORIES, Kind
from imgsearch.values import RegionMode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgsearch.errors import ImgsearchError
    from imgsearch.jobs.duplicates import DuplicateGroup, Duplicates
    from imgsearch.jobs.reading import InstanceInfo
    from imgsearch.search.compare import Comparison
    from imgsearch.search.options import SearchResult
    from imgsearch.search.ranking import Hit
    from imgsearch.types import Item, Outcome
    from imgsearch.values import Key, Region

__all__ = [
    "added_document",
    "compared_document",
    "deleted_document",
    "detail_document",
    "duplicates_document",
    "error_document",
    "exists_document",
    "failure_document",
    "filtered_document",
    "group_document",
    "info_document",
    "item_document",
    "new_request_id",
    "search_document",
    "updated_document",
    "whole_item_document",
]

SCORE_DIGITS: Final = 6
CONFIDENCE_DIGITS: Final = 4


def error_document(error: ImgsearchError) -> dict[str, Any]:
    """An error: Success, Code and Message."""
    return {"Success": False, "Code": error.code, "Message": error.message}


def duplicates_document(found: Duplicates) -> dict[str, Any]:
    """The result of ``duplicates``, without its groups."""
    return {
        "Success": True,
        "TotalGroups": found.same + found.similar,
        "TotalPictures": found.pictures,
        "Compared": found.compared,
        "Unhashed": found.unhashed,
    }


def group_document(group: DuplicateGroup) -> dict[str, Any]:
    """One group of ``duplicates``; File is left out where it is unknown."""
    return {
        "Level": str(group.level),
        "Pictures": [
            {
                "ProductId": one.item.key.product_id,
                "PicName": one.item.key.pic_name,
                "Score": round(one.score, SCORE_DIGITS),
                **({} if one.item.location is None else {"File": str(one.item.location)}),
            }
            for one in group.pictures
        ],
    }


def new_request_id() -> str:
    """An id of a request, in the service's form."""
    return str(uuid.uuid4()).upper()


def search_document(result: SearchResult, kind: Kind, *, located: bool = True) -> dict[str, Any]:
    """The response of SearchImageByPic and SearchImageByName.

    Args:
        result: of one query.
        kind: of the instance, whose categories are listed.
        located: tell where pictures lie; only to somebody on the same machine.
    """
    return {
        "RequestId": new_request_id(),
        "Success": True,
        "Code": 0,
        "Msg": "success",
        "Head": {
            "DocsReturn": len(result.hits),
            "DocsFound": result.found,
            "SearchTime": round(result.seconds * 1000),
            **({"LeftOut": result.left_out} if result.left_out else {}),
        },
        "PicInfo": {
            **({} if result.category_id is None else {"CategoryId": result.category_id}),
            **({} if result.confidence is None else {"Confidence": round(result.confidence, CONFIDENCE_DIGITS)}),
            "SearchedCategories": list(result.searched_categories),
            **({} if result.region is None else {"Region": str(result.region)}),
            "MultiRegion": [{"Region": str(region)} for region in result.subjects],
            "AllCategories": _categories(kind),
        },
        "Auctions": [_auction(hit, located=located) for hit in result.hits],
        **({} if result.warning is None else {"Warning": result.warning}),
    }


def _categories(kind: Kind) -> list[dict[str, Any]]:
    return [{"Id": number, "Name": name} for number, name in kind.category_table().items()]


def _auction(hit: Hit, *, located: bool) -> dict[str, Any]:
    return {
        **_identity(hit.item),
        "Score": round(hit.score, SCORE_DIGITS),
        "SortExprValues": hit.sort_expr_values,
        **_rest(hit.item, located=located),
    }


def _identity(item: Item) -> dict[str, Any]:
    return {
        "ProductId": item.key.product_id,
        "PicName": item.key.pic_name,
        "CategoryId": item.category_id,
        "CustomContent": item.attributes.custom_content,
    }


def _rest(item: Item, *, located: bool = True) -> dict[str, Any]:
    attributes = item.attributes.service_fields()
    del attributes["CustomContent"]
    return {**attributes, **({"Path": None if item.location is None else str(item.location)} if located else {})}


def item_document(item: Item, *, located: bool = True) -> dict[str, Any]:
    """A stored item, as ``list`` prints it."""
    return {**_identity(item), "Region": str(item.region), **_rest(item, located=located)}


def failure_document(outcome: Outcome, error: ImgsearchError) -> dict[str, Any]:
    """A failed operation of a batch."""
    return {
        "Source": outcome.source,
        "ProductId": outcome.product_id,
        "PicName": outcome.pic_name,
        "Code": error.code,
        "Message": error.message,
    }


def whole_item_document(item: Item) -> dict[str, Any]:
    """All that is stored of an item but its feature, as ``show`` prints it."""
    return {
        **item_document(item),
        "CategoryGiven": item.category_given,
        "Crop": item.region_mode is not RegionMode.WHOLE,
        "RegionGiven": item.region_mode is RegionMode.GIVEN,
        "MultiRegion": [{"Region": str(region)} for region in item.subjects],
        "ContentHash": item.content_hash.hex(),
    }


def _answer(message_field: str = "Msg") -> dict[str, Any]:
    return {"Success": True, "Code": 0, message_field: "success"}


def filtered_document(items: Iterable[Item]) -> dict[str, Any]:
    """The response of SearchImageByFilter."""
    return {**_answer(), "Auctions": [{**_identity(item), **_rest(item, located=False)} for item in items]}


def exists_document(item: Item | None) -> dict[str, Any]:
    """The response of CheckImageExists, whose Auctions is one object."""
    found = {} if item is None else {"Auctions": {**_identity(item), **_rest(item, located=False)}}
    return {**_answer(), "Exists": item is not None, **found}


def compared_document(comparison: Comparison) -> dict[str, Any]:
    """The response of CompareSimilarByImage."""
    return {**_answer(), "Score": round(comparison.score, SCORE_DIGITS)}


def added_document(outcome: Outcome, subjects: Iterable[Region], kind: Kind) -> dict[str, Any]:
    """The response of AddImage.

    Args:
        outcome: of the addition.
        subjects: all that were found in the picture; empty without detection.
        kind: of the instance, whose categories are listed.
    """
    return {
        **_answer("Message"),
        "PicInfo": {
            "CategoryId": outcome.category_id,
            "Region": str(outcome.region),
            "MultiRegion": [{"Region": str(region)} for region in tuple(subjects) or (outcome.region,)],
            "AllCategories": _categories(kind),
        },
    }


def updated_document() -> dict[str, Any]:
    """The response of UpdateImage."""
    return _answer("Message")


def deleted_document(keys: Iterable[Key]) -> dict[str, Any]:
    """The response of DeleteImage."""
    return {**_answer("Message"), "Data": {"PicNames": [key.pic_name for key in keys]}}


NO_LIMIT: Final = 2**31 - 1
"""Capacity and Qps of an instance that has no such limit."""
NEVER: Final = 253_402_300_799_000
"""The end of the year 9999, in milliseconds: when an instance expires."""


def detail_document(facts: InstanceInfo, name: str, qps: int | None) -> dict[str, Any]:
    """The response of Detail.

    Args:
        facts: of the instance.
        name: its InstanceName.
        qps: searches per second that a key may make; None: any number.
    """
    return {
        "Success": True,
        "Instance": {
            "Name": name,
            "Region": facts.region_id or "local",
            "ServiceType": _service_type(facts.kind),
            "Capacity": NO_LIMIT,
            "TotalCount": facts.items,
            "Qps": qps or NO_LIMIT,
            "UtcCreate": str(facts.created * 1000),
            "UtcExpireTime": str(NEVER),
        },
    }


def _service_type(kind: Kind) -> int:
    return 0 if kind is Kind.PRODUCT else 1


def info_document(facts: InstanceInfo) -> dict[str, Any]:
    """The fields of the service's Detail, and ours."""
    generation = facts.generation
    return {
        "Success": True,
        "Name": facts.folder.name,
        "Path": str(facts.folder),
        "Kind": facts.kind,
        "ServiceType": _service_type(facts.kind),
        "RegionId": facts.region_id,
        "UtcCreate": facts.created * 1000,
        "TotalCount": facts.items,
        "Products": facts.products,
        "Categories": [
            {"Id": number, "Name": CATEGORIES[number], "Count": count}
            for number, count in sorted(facts.categories.items())
        ],
        "Stamp": facts.stamp,
        "NeedsReindex": facts.needs_reindex,
        "Reindexed": facts.reindexed,
        "Devices": facts.devices,
        "Limits": facts.limits.as_dict(),
        "Index": None
        if generation is None
        else {
            "Generation": generation.number,
            "Structure": generation.structure,
            "Items": generation.items,
            "Recall": generation.recall,
            "Nprobe": generation.nprobe,
            "Bytes": generation.bytes,
            "UtcCreate": generation.created * 1000,
        },
        "Unindexed": facts.unindexed,
        "DiskBytes": facts.disk_bytes,
        "Storage": facts.storage or None,
    }
