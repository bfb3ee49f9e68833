"""The service's JSON documents for search results, instances and errors.

The command line prints them, and a server can return them. They contain additional fields of ours.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from imgsearch.service.categories import CATEGORIES, Kind
from imgsearch.values import RegionMode

if TYPE_CHECKING:
    from imgsearch.errors import ImgsearchError
    from imgsearch.jobs.duplicates import DuplicateGroup, Duplicates
    from imgsearch.jobs.reading import InstanceInfo
    from imgsearch.search.options import SearchResult
    from imgsearch.search.ranking import Hit
    from imgsearch.types import Item

__all__ = [
    "duplicates_document",
    "error_document",
    "group_document",
    "info_document",
    "item_document",
    "search_document",
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


def search_document(result: SearchResult, kind: Kind) -> dict[str, Any]:
    """The response of SearchImageByPic and SearchImageByName.

    Args:
        result: of one query.
        kind: of the instance, whose categories are listed.
    """
    return {
        "RequestId": str(uuid.uuid4()).upper(),
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
            "AllCategories": [{"Id": number, "Name": name} for number, name in kind.category_table().items()],
        },
        "Auctions": [_auction(hit) for hit in result.hits],
        **({} if result.warning is None else {"Warning": result.warning}),
    }


def _auction(hit: Hit) -> dict[str, Any]:
    return {
        **_identity(hit.item),
        "Score": round(hit.score, SCORE_DIGITS),
        "SortExprValues": hit.sort_expr_values,
        **_rest(hit.item),
    }


def _identity(item: Item) -> dict[str, Any]:
    return {
        "ProductId": item.key.product_id,
        "PicName": item.key.pic_name,
        "CategoryId": item.category_id,
        "CustomContent": item.attributes.custom_content,
    }


def _rest(item: Item) -> dict[str, Any]:
    attributes = item.attributes.service_fields()
    del attributes["CustomContent"]
    return {**attributes, "Path": None if item.location is None else str(item.location)}


def item_document(item: Item) -> dict[str, Any]:
    """A stored item, as ``list`` prints it."""
    return {**_identity(item), "Region": str(item.region), **_rest(item)}


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


def info_document(facts: InstanceInfo) -> dict[str, Any]:
    """The fields of the service's Detail, and ours."""
    generation = facts.generation
    return {
        "Success": True,
        "Name": facts.folder.name,
        "Path": str(facts.folder),
        "Kind": facts.kind,
        "ServiceType": 0 if facts.kind is Kind.PRODUCT else 1,
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
    }
