"""The operations that read an instance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from imgsearch.search.options import SearchOptions
from imgsearch.server.errors import RequestRefused
from imgsearch.service.categories import check_category
from imgsearch.service.documents import compared_document, exists_document, filtered_document, search_document
from imgsearch.values import PictureOptions

if TYPE_CHECKING:
    from imgsearch.server.calls import Call
    from imgsearch.server.served import Served

__all__ = ["by_filter", "by_name", "by_picture", "by_text", "compare", "exists", "filter_of", "picture_options"]

MAX_FILTER_CHARS = 4096
MAX_TEXT_CHARS = 512


def picture_options(call: Call) -> PictureOptions:
    """CategoryId, Crop and Region.

    Raises:
        InvalidCategory, InvalidRegion, RequestRefused
    """
    category = call.integer("CategoryId")
    check_category(category)
    return PictureOptions(category, call.boolean("Crop", default=True), call.region())


def filter_of(call: Call) -> str | None:
    """The parameter Filter; an empty one is none.

    Raises:
        RequestRefused: it is too long.
    """
    expression = call.text("Filter") or None
    if expression is not None and len(expression) > MAX_FILTER_CHARS:
        raise RequestRefused(
            f"the filter has {len(expression)} characters; the limit is {MAX_FILTER_CHARS}", code="InvalidFilterClause"
        )
    return expression


def _page(call: Call) -> SearchOptions:
    num, start = call.integer("Num"), call.integer("Start")
    return SearchOptions(num=10 if num is None else num, start=start or 0)


def _options(call: Call) -> SearchOptions:
    return replace(
        _page(call),
        filter=filter_of(call),
        distinct_product=call.boolean("DistinctProductId", default=False),
        min_score=call.number("ScoreThreshold") or 0.0,
    )


def by_picture(served: Served, call: Call) -> dict[str, Any]:
    """SearchImageByPic."""
    result = served.searcher.by_picture(call.picture("PicContent"), picture_options(call), _options(call))
    return search_document(result, served.instance.kind, located=False)


def by_name(served: Served, call: Call) -> dict[str, Any]:
    """SearchImageByName."""
    result = served.searcher.by_name(call.key(), call.integer("CategoryId"), _options(call))
    return search_document(result, served.instance.kind, located=False)


def by_text(served: Served, call: Call) -> dict[str, Any]:
    """SearchImageByText; its hits have no SortExprValues, and its PicInfo has the categories only."""
    text = call.required("Text")
    if len(text) > MAX_TEXT_CHARS:
        raise RequestRefused(f"Text has {len(text)} characters; the limit is {MAX_TEXT_CHARS}", code="InvalidParameter")
    if served.instance.model.text_curve is None:
        raise RequestRefused(
            f"the model of {served.name} has no text side", code="UnsupportedOperationType", status=500
        )
    document = search_document(served.searcher.by_text(text, None, _options(call)), served.instance.kind, located=False)
    document["PicInfo"] = {"AllCategories": document["PicInfo"]["AllCategories"]}
    for auction in document["Auctions"]:
        del auction["SortExprValues"]
    return document


def by_filter(served: Served, call: Call) -> dict[str, Any]:
    """SearchImageByFilter; items in the order of (ProductId, PicName)."""
    page = _page(call)
    with served.instance.listing(filter_of(call), start=page.start, num=page.num) as found:
        return filtered_document(found.items)


def exists(served: Served, call: Call) -> dict[str, Any]:
    """CheckImageExists."""
    return exists_document(served.instance.find(call.key()))


def compare(served: Served, call: Call) -> dict[str, Any]:
    """CompareSimilarByImage."""
    pictures = call.picture("PrimaryPicContent"), call.picture("SecondaryPicContent")
    return compared_document(served.searcher.compare(*pictures))
