"""The operations of the page's API: each takes what was asked for and returns a document, in a thread of its own."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from imgsearch.search.options import SearchOptions
from imgsearch.server.errors import RequestRefused
from imgsearch.server.pages.thumbnails import SIDES
from imgsearch.service.categories import parse_category
from imgsearch.service.documents import (
    duplicates_document,
    group_document,
    info_document,
    item_document,
    search_document,
    whole_item_document,
)
from imgsearch.values import Key, PictureOptions, Region

if TYPE_CHECKING:
    from imgsearch.search.options import SearchResult
    from imgsearch.server.pages.page import Asked
    from imgsearch.server.pages.parameters import Parameters

__all__ = [
    "DUPLICATES",
    "FACTS",
    "ITEM",
    "ITEMS",
    "SEARCH",
    "SIMILAR",
    "THUMBNAIL",
    "duplicates",
    "facts",
    "item",
    "items",
    "search",
    "similar",
    "thumbnail",
]

OF_INSTANCE: Final = frozenset({"instance"})
OF_ITEM: Final = OF_INSTANCE | {"product_id", "pic_name"}
OF_SELECTION: Final = OF_INSTANCE | {"category", "filter"}
OF_SEARCH: Final = OF_SELECTION | {
    "any_category", "distinct_product", "exclude_self", "min_score", "num", "start"
}  # fmt: skip
FACTS: Final = OF_INSTANCE
ITEM: Final = OF_ITEM
ITEMS: Final = OF_SELECTION | {"product_id", "num", "start"}
SEARCH: Final = OF_SEARCH | {"crop", "region"}
SIMILAR: Final = OF_SEARCH | OF_ITEM
THUMBNAIL: Final = OF_ITEM | {"size"}
DUPLICATES: Final = OF_SELECTION | {"product_id", "level", "min_score", "products", "num"}

PAGE: Final = 24
MAX_PAGE: Final = 100
MAX_GROUPS: Final = 500
MAX_GROUP: Final = 100
"""Pictures told of one group."""


def facts(asked: Asked) -> dict[str, Any]:
    """An instance's facts, and the categories that its items can have."""
    served = asked.served
    document = info_document(served.instance.info())
    if asked.page.keys is not None:
        del document["Path"], document["Stamp"]  # a model may be a folder
    return {
        **document,
        "Name": served.name,
        "AllCategories": [
            {"Id": number, "Name": name} for number, name in served.instance.kind.category_table().items()
        ],
    }


def search(asked: Asked) -> dict[str, Any]:
    """Search with the picture in the body."""
    options = _picture_options(asked.parameters)
    return _found(asked, asked.served.searcher.by_picture(asked.body, options, _search_options(asked.parameters)))


def similar(asked: Asked) -> dict[str, Any]:
    """Search with a stored item."""
    key, category = _key(asked.parameters), _category(asked.parameters)
    return _found(asked, asked.served.searcher.by_name(key, category, _search_options(asked.parameters)))


def items(asked: Asked) -> dict[str, Any]:
    """A page of stored items."""
    given = asked.parameters
    num = _page_size(given)
    with asked.served.instance.listing(
        given.text("filter"),
        category=given.text("category"),
        product_id=given.text("product_id"),
        start=given.integer("start", 0),
        num=num,
    ) as listing:
        told = [asked.shown(item_document(one), one) for one in listing.items]
        return {"Success": True, "TotalCount": listing.total, "Items": told}


def item(asked: Asked) -> dict[str, Any]:
    """All that is stored of an item but its feature."""
    found = asked.served.instance.item(_key(asked.parameters))
    return {"Success": True, **asked.shown(whole_item_document(found), found)}


def thumbnail(asked: Asked) -> Response:
    """A small JPEG of an item's picture, with the size of the picture itself."""
    size = asked.parameters.text("size") or "small"
    if size not in SIDES:
        raise RequestRefused(f"size {size[:40]!r} is not one of {', '.join(SIDES)}", code="InvalidParameter")
    instance = asked.served.instance
    made = asked.page.thumbnails.get(instance, instance.item(_key(asked.parameters)), size)
    headers = {
        "X-Picture-Width": str(made.width),
        "X-Picture-Height": str(made.height),
        "X-Picture-Changed": str(made.is_changed).lower(),
    }
    return Response(made.jpeg, media_type="image/jpeg", headers=headers)


def duplicates(asked: Asked) -> dict[str, Any]:
    """Groups of pictures that show the same."""
    given = asked.parameters
    num = given.integer("num", MAX_GROUPS)
    if not 1 <= num <= MAX_GROUPS:
        raise RequestRefused(f"num {num} is not between 1 and {MAX_GROUPS}", code="InvalidNumParameter")
    if not asked.page.comparing.acquire(blocking=False):
        raise RequestRefused(
            "duplicates are being searched for already: try again in a moment",
            code="Throttling",
            status=503,
            retry_after=2_000,
        )
    try:
        with asked.served.instance.duplicates(
            given.text("filter"),
            category=given.text("category"),
            product_id=given.text("product_id"),
            level=given.text("level") or "same",
            min_score=given.number("min_score", 0.9),
            products=given.text("products") or "any",
        ) as found:
            groups = []
            for group in islice(found.groups, num):
                document = group_document(group)
                told = zip(document["Pictures"][:MAX_GROUP], group.pictures, strict=False)
                pictures = [asked.shown(picture, one.item) for picture, one in told]
                groups.append({**document, "Pictures": pictures, "TotalCount": len(group.pictures)})
            return {**duplicates_document(found), "Groups": groups}
    finally:
        asked.page.comparing.release()


def _found(asked: Asked, result: SearchResult) -> dict[str, Any]:
    document = search_document(result, asked.served.instance.kind)
    document["Auctions"] = [
        {**asked.shown(auction, hit.item), "Identical": hit.identical}
        for auction, hit in zip(document["Auctions"], result.hits, strict=True)
    ]
    return document


def _search_options(given: Parameters) -> SearchOptions:
    """What to return.

    Raises:
        InvalidPaging, UsageError, RequestRefused
    """
    return SearchOptions(
        num=given.integer("num", PAGE),
        start=given.integer("start", 0),
        any_category=given.flag("any_category"),
        filter=given.text("filter"),
        distinct_product=given.flag("distinct_product"),
        min_score=given.number("min_score", 0.0),
        exclude_self=given.flag("exclude_self"),
    )


def _picture_options(given: Parameters) -> PictureOptions:
    region = given.text("region")
    return PictureOptions(
        category_id=_category(given),
        crop=given.flag("crop", default=True),
        region=None if region is None else Region.parse(region),
    )


def _category(given: Parameters) -> int | None:
    category = given.text("category")
    return None if category is None else parse_category(category)


def _key(given: Parameters) -> Key:
    return Key(given.needed("product_id"), given.needed("pic_name"))


def _page_size(given: Parameters) -> int:
    num = given.integer("num", PAGE)
    if not 1 <= num <= MAX_PAGE:
        raise RequestRefused(f"num {num} is not between 1 and {MAX_PAGE}", code="InvalidNumParameter")
    return num
