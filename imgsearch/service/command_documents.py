"""JSON documents of commands, for what the service answers in another form or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgsearch.service.documents import SCORE_DIGITS, failure_document, whole_item_document
from imgsearch.types import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imgsearch.jobs.reading import Listing
    from imgsearch.search.compare import Comparison
    from imgsearch.types import Item, Outcome
    from imgsearch.values import Key

__all__ = [
    "comparison_document",
    "deletion_document",
    "listing_document",
    "outcome_document",
    "shown_document",
    "update_document",
]


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """What became of one picture, as ``add`` acknowledges it."""
    document: dict[str, Any] = {
        "ProductId": outcome.product_id,
        "PicName": outcome.pic_name,
        "Status": str(outcome.status),
    }
    if outcome.error is not None:
        document |= failure_document(outcome, outcome.error)
    elif outcome.status is not Status.DELETED:
        document |= {
            "CategoryId": outcome.category_id,
            "Region": None if outcome.region is None else str(outcome.region),
        }
    if outcome.renamed_from is not None:
        former = outcome.renamed_from
        document["From"] = {"ProductId": former.product_id, "PicName": former.pic_name}
    if outcome.warning is not None:
        document["Warning"] = outcome.warning
    return document


def comparison_document(result: Comparison) -> dict[str, Any]:
    """The result of ``compare``."""
    return {"Success": True, "Score": round(result.score, SCORE_DIGITS), "Distance": result.distance}


def listing_document(listing: Listing) -> dict[str, Any]:
    """A page of ``list``, without its items."""
    return {"Success": True, "TotalCount": listing.total}


def shown_document(items: Iterable[Item]) -> dict[str, Any]:
    """The items of a product, or one of them, as ``show`` prints them."""
    documents = list(map(whole_item_document, items))
    return {"Success": True, "Exists": bool(documents), "Auctions": documents}


def deletion_document(keys: Sequence[Key], *, dry_run: bool) -> dict[str, Any]:
    """What ``delete`` deleted, or would have."""
    return _changed("Deleted", keys, dry_run=dry_run)


def update_document(keys: Sequence[Key], *, dry_run: bool) -> dict[str, Any]:
    """What ``update`` changed, or would have."""
    return _changed("Updated", keys, dry_run=dry_run)


def _changed(what: str, keys: Sequence[Key], *, dry_run: bool) -> dict[str, Any]:
    return {
        "Success": True,
        what: 0 if dry_run else len(keys),
        "PicNames": [key.pic_name for key in keys],
        **({"DryRun": True} if dry_run else {}),
    }
