"""Tools that change an instance; offered only where the operator allows it."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from imgsearch.agents.arguments import MAX_PICTURES
from imgsearch.agents.context import Answer, picture_options
from imgsearch.errors import ImgsearchError, InputError, UsageError
from imgsearch.pictures import addition
from imgsearch.service.command_documents import deletion_document, outcome_document, update_document
from imgsearch.service.documents import failure_document
from imgsearch.types import Refused, Status

if TYPE_CHECKING:
    from concurrent.futures import Future

    from imgsearch.agents.arguments import AddArguments, DeleteArguments, NewPicture, UpdateArguments
    from imgsearch.agents.context import Context
    from imgsearch.types import Operation, Outcome

__all__ = ["add", "delete", "update"]

COUNTED = (Status.ADDED, Status.REPLACED, Status.UNCHANGED, Status.FAILED)


def add(context: Context, given: AddArguments) -> Answer:
    """Add pictures, or replace those of the same names; all that did not fail are committed at return.

    A picture that cannot be used fails alone.
    """
    count = len(given.pictures)
    if not 1 <= count <= MAX_PICTURES:
        raise UsageError(f"{count} pictures were given; add takes 1 to {MAX_PICTURES} at a time")
    begun = time.perf_counter()
    writer = context.served(given.instance).writer
    futures = [(picture, writer.submit(_operation(context, picture))) for picture in given.pictures]
    outcomes = []
    for number, (picture, future) in enumerate(futures, 1):
        outcomes.append(_outcome(picture, future))
        context.go_on("adding", number, count)
    counts = Counter(outcome.status for outcome in outcomes)
    failures = [failure_document(outcome, outcome.error) for outcome in outcomes if outcome.error is not None]
    return Answer(
        {
            "Success": not failures,
            **{status.capitalize(): counts[status] for status in COUNTED},
            "Pictures": list(map(outcome_document, outcomes)),
            "Failures": failures,
            "Seconds": round(time.perf_counter() - begun, 3),
        }
    )


def _operation(context: Context, picture: NewPicture) -> Operation:
    """What adds a picture, or what refuses it."""
    try:
        options = picture_options(picture.category, picture.region, crop=picture.crop)
        return addition(
            context.folders.find(picture.path),
            picture.product_id,
            picture.pic_name,
            category=options.category_id,
            crop=options.crop,
            region=options.region,
            attributes=picture.attributes(),
        )
    except (InputError, UsageError) as error:
        return Refused(picture.path, error, picture.product_id, picture.pic_name)


def _outcome(picture: NewPicture, future: Future[Outcome]) -> Outcome:
    """What became of a picture. Where the instance fails, others may be committed all the same: the call goes on."""
    try:
        return future.result()
    except ImgsearchError as error:
        return Refused(picture.path, error, picture.product_id, picture.pic_name).outcome()


def update(context: Context, given: UpdateArguments) -> Answer:
    """Change attributes or category of stored items without their pictures."""
    changes: dict[str, int | str | None] = dict(given.given())
    for name in given.unset:
        if name in changes:
            raise UsageError(f"{name} is given, and named in unset: leave one of both out")
        changes[name] = None
    keys = context.served(given.instance).instance.update(
        given.filter,
        product_id=given.product_id,
        pic_name=given.pic_name,
        attributes=changes,
        category=given.category,
        dry_run=given.dry_run,
        lock_timeout=context.lock_timeout,
    )
    return Answer(update_document(keys, dry_run=given.dry_run))


def delete(context: Context, given: DeleteArguments) -> Answer:
    """Delete a product, one of its pictures, or all matches of a filter; what is not there is not an error."""
    if (given.product_id is None) == (given.filter is None) or (
        given.pic_name is not None and given.product_id is None
    ):
        raise UsageError("say what to delete: product_id, possibly with pic_name, or a filter")
    instance = context.served(given.instance).instance
    timeout = context.lock_timeout
    if given.product_id is not None:
        deleted = instance.delete(given.product_id, given.pic_name, dry_run=given.dry_run, lock_timeout=timeout)
    else:
        assert given.filter is not None
        deleted = instance.delete_matching(given.filter, dry_run=given.dry_run, lock_timeout=timeout)
    return Answer(deletion_document(deleted.keys, dry_run=given.dry_run))
