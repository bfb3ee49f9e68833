"""Dry runs: reporting what operations would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgsearch.errors import ImgsearchError
from imgsearch.filters.tree import named_condition
from imgsearch.jobs.comparison import is_changed, is_unchanged, same_request
from imgsearch.sources.files import FilePicture
from imgsearch.types import AddPicture, DeletePictures, Outcome, Refused, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgsearch.service.categories import Kind
    from imgsearch.storage.port import Truth
    from imgsearch.types import Item, Operation

__all__ = ["dry_run", "dry_run_for_new", "dry_run_of_one"]


def dry_run(store: Truth, operations: Iterable[Operation], kind: Kind, max_bytes: int) -> Iterator[Outcome]:
    """The outcomes of operations compared with the current items; decodes no pictures.

    Of files on this machine, those are read whose times have changed since they were added.
    """
    for operation in operations:
        match operation:
            case Refused():
                yield operation.outcome()
            case DeletePictures(source=source, product_id=product_id, pic_name=pic_name):
                for key in store.keys(named_condition(product_id, pic_name)):
                    yield Outcome(Status.DELETED, source, key.product_id, key.pic_name)
            case AddPicture():
                yield dry_run_of_one(store, operation, kind, max_bytes)


def dry_run_for_new(operations: Iterable[Operation]) -> Iterator[Outcome]:
    """The outcomes of operations on an instance that does not exist yet."""
    for operation in operations:
        match operation:
            case Refused():
                yield operation.outcome()
            case AddPicture(source=source, key=key):
                yield Outcome(Status.ADDED, source, key.product_id, key.pic_name)


def dry_run_of_one(store: Truth, operation: AddPicture, kind: Kind, max_bytes: int) -> Outcome:
    """The outcome of one addition."""
    key = operation.key
    item = next((found for spelled in key.spellings() if (found := store.item(spelled)) is not None), None)
    if item is None:
        status = Status.ADDED
    elif item.key != key or not same_request(item, operation.options, kind):
        status = Status.REPLACED
    elif is_unchanged(item, operation) or _has_the_bytes(item, operation, max_bytes):
        status = Status.REPLACED if is_changed(item, operation, kind) else Status.UNCHANGED
    else:
        status = Status.REPLACED
    return Outcome(status, operation.source, key.product_id, key.pic_name)


def _has_the_bytes(item: Item, operation: AddPicture, max_bytes: int) -> bool:
    """Whether a file on this machine, of another time than when it was added, has the same content."""
    if not isinstance(operation.picture, FilePicture):  # others would have to be downloaded
        return False
    from imgsearch.vision.pipeline import content_hash

    try:
        return content_hash(operation.picture.read(max_bytes).data) == item.content_hash
    except ImgsearchError:  # the run itself will tell
        return False
