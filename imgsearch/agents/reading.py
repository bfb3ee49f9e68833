"""Tools that change nothing."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from imgsearch.agents.arguments import MAX_ROWS
from imgsearch.agents.context import Answer, given_picture, picture_options
from imgsearch.errors import InvalidPaging, UsageError
from imgsearch.search.options import SearchOptions
from imgsearch.service.command_documents import comparison_document, listing_document, shown_document
from imgsearch.service.documents import (
    duplicates_document,
    group_document,
    info_document,
    item_document,
    search_document,
)
from imgsearch.values import Key

if TYPE_CHECKING:
    from imgsearch.agents.arguments import (
        CompareArguments,
        DuplicatesArguments,
        EvalArguments,
        InfoArguments,
        ListArguments,
        SearchArguments,
        ShowArguments,
    )
    from imgsearch.agents.context import Context
    from imgsearch.search.options import SearchResult
    from imgsearch.search.searcher import Searcher
    from imgsearch.server.served import Served

__all__ = ["compare", "duplicates", "evaluate", "info", "list_", "search", "show"]

LEAST_SCORE = 0.9


def search(context: Context, given: SearchArguments) -> Answer:
    """Similar pictures, best first."""
    _check_query(given)
    wanted = SearchOptions(
        given.num,
        given.start,
        given.any_category,
        given.filter,
        given.distinct_product,
        given.min_score,
        given.exclude_self,
    )
    served = context.served(given.instance)
    result = _found(context, served, served.searcher, given, wanted)
    return Answer(search_document(result, served.instance.kind), tuple(hit.item for hit in result.hits))


def _check_query(given: SearchArguments) -> None:
    """Refuse a call without exactly one query, or with options of which one would be ignored.

    Raises:
        UsageError
    """
    by_name = given.product_id is not None or given.pic_name is not None
    if sum((given.path is not None, given.data is not None, given.text is not None, by_name)) != 1:
        raise UsageError("give exactly one thing to search with: path, data, product_id with pic_name, or text")
    if by_name and (given.product_id is None or given.pic_name is None):
        raise UsageError("a stored picture has two names: give product_id and pic_name")
    if (by_name or given.text is not None) and (given.region is not None or not given.crop):
        raise UsageError("region and crop are for a picture given as path or data")
    if given.category is not None and given.any_category:
        raise UsageError("category and any_category cannot be used together")


def _found(
    context: Context, served: Served, searcher: Searcher, given: SearchArguments, wanted: SearchOptions
) -> SearchResult:
    options = picture_options(given.category, given.region, crop=given.crop)
    if given.text is not None:
        return searcher.by_text(given.text, options.category_id, wanted)
    if given.product_id is not None and given.pic_name is not None:
        return searcher.by_name(Key(given.product_id, given.pic_name), options.category_id, wanted)
    picture = given_picture(context.folders, given.path, given.data, served.instance.limits.max_bytes)
    return searcher.by_picture(picture, options, wanted)


def show(context: Context, given: ShowArguments) -> Answer:
    """All that is stored of a product's pictures, or of one."""
    instance = context.served(given.instance).instance
    if given.pic_name is None:
        with instance.listing(product_id=given.product_id, num=MAX_ROWS) as listing:
            if listing.total > MAX_ROWS:
                raise InvalidPaging(
                    f"product {given.product_id!r} has {listing.total} pictures, too many for one answer: page through "
                    "them with the tool 'list' and its product_id",
                    code="OverflowMaxResultNum",
                )
            items = list(listing.items)
    else:
        key = Key(given.product_id, given.pic_name)
        items = [instance.item(key)] if instance.has_item(key) else []
    return Answer(shown_document(items), tuple(items))


def list_(context: Context, given: ListArguments) -> Answer:
    """A page of the stored items."""
    _check_rows(given.num)
    if given.start < 0:
        raise InvalidPaging(f"start {given.start} is negative", code="InvalidStartParameter")
    with context.served(given.instance).instance.listing(
        given.filter, category=given.category, product_id=given.product_id, start=given.start, num=given.num
    ) as listing:
        items = list(listing.items)
        document = listing_document(listing) | {"Auctions": list(map(item_document, items))}
    return Answer(document, tuple(items))


def _check_rows(num: int) -> None:
    if not 1 <= num <= MAX_ROWS:
        raise InvalidPaging(f"num {num} is not between 1 and {MAX_ROWS}", code="InvalidNumParameter")


def duplicates(context: Context, given: DuplicatesArguments) -> Answer:
    """Groups of pictures that show the same."""
    _check_rows(given.num)
    if given.min_score is not None and given.level == "same":
        raise UsageError("min_score is for level 'similar': pictures that show the same are told by their hashes")
    with context.served(given.instance).instance.duplicates(
        given.filter,
        category=given.category,
        product_id=given.product_id,
        level=given.level,
        min_score=LEAST_SCORE if given.min_score is None else given.min_score,
        products=given.products,
    ) as found:
        groups = list(islice(found.groups, given.num))
        document = duplicates_document(found) | {"Groups": list(map(group_document, groups))}
    return Answer(document, tuple(one.item for group in groups for one in group.pictures))


def compare(context: Context, given: CompareArguments) -> Answer:
    """How alike two pictures are, to the model of an instance."""
    served = context.served(given.instance)
    max_bytes = served.instance.limits.max_bytes
    first, second = (
        (
            given_picture(context.folders, picture.path, picture.data, max_bytes),
            picture_options(None, picture.region, crop=picture.crop),
        )
        for picture in (given.first, given.second)
    )
    result = served.searcher.compare(first[0], second[0], first_options=first[1], second_options=second[1])
    return Answer(comparison_document(result) | ({"Warnings": list(result.warnings)} if result.warnings else {}))


def evaluate(context: Context, given: EvalArguments) -> Answer:
    """How good search is on labelled pictures, with the settings of an instance."""
    from imgsearch.evaluation.documents import evaluation_document
    from imgsearch.evaluation.evaluate import evaluate as measured
    from imgsearch.evaluation.ground_truth import Part

    folder = context.folders.find(given.folder)
    context.folders.check_tree(folder)
    result = measured(
        folder,
        tuple(map(Part, given.parts)) if given.parts else tuple(Part),
        alike=context.served(given.instance).instance,
        crop=given.crop,
        any_category=given.any_category,
        announce=context.announce,
        progress=context.go_on,
    )
    return Answer(evaluation_document(result))


def info(context: Context, given: InfoArguments) -> Answer:
    """Facts about an instance, and what may be read and written here."""
    served = context.served(given.instance)
    return Answer(
        info_document(served.instance.info())
        | {
            "Instance": served.name,
            "Text": served.instance.model.text_curve is not None,
            "PictureFolders": list(map(str, context.folders.folders)),
            "MayWrite": context.may_write,
        }
    )
