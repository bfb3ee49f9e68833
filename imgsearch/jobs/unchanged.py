"""Telling unchanged files from others, many at a time: one look-up for a batch, and one call of the system per file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from imgsearch.service.categories import Kind
from imgsearch.sources.files import FileBatch, file_token
from imgsearch.types import Outcome, Status
from imgsearch.values import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imgsearch.sources.files import FileRequest
    from imgsearch.storage.port import Truth
    from imgsearch.types import AddPicture, DeletePictures, Refused, StoredVersion

    Given: TypeAlias = "FileBatch | AddPicture | DeletePictures | Refused"

__all__ = ["Unchanged", "told_apart", "unbatched"]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A file that is stored as it is, by its token, with the same options, attributes and place."""

    outcome: Outcome
    item_id: int
    operation: Callable[[], AddPicture | Refused]
    """Makes the operation, for when the item has been changed since it was looked up."""


def unbatched(
    store: Truth, operations: Iterable[Given], kind: Kind
) -> Iterator[Unchanged | AddPicture | DeletePictures | Refused]:
    """The operations, with those of batches told apart."""
    for operation in operations:
        if isinstance(operation, FileBatch):
            for _, found, _ in told_apart(store, operation, kind):
                yield found
        else:
            yield operation


def told_apart(
    store: Truth, batch: FileBatch, kind: Kind
) -> Iterator[tuple[str, Unchanged | AddPicture | Refused, int | None]]:
    """The files of a batch, in order.

    Yields:
        The name, the operation or that there is none, and the id of the item that is stored under the key.
    """
    request, root, prefix = batch.request, batch.root, batch.prefix
    keys = [request.names(root, name) for name in batch.names]
    stored = _stored(store, keys, batch)
    for name, key in zip(batch.names, keys, strict=True):
        version = stored.get(key)
        if version is not None and _is_unchanged(version, name, prefix + name, request, kind):
            region = Region(version.x1, version.x2, version.y1, version.y2)
            outcome = Outcome(Status.UNCHANGED, prefix + name, key[0], key[1], version.category_id, region)
            yield name, Unchanged(outcome, version.id, partial(batch.operation, name)), version.id
        else:
            yield name, batch.operation(name), None if version is None else version.id


def _stored(store: Truth, keys: list[tuple[str, str]], batch: FileBatch) -> dict[tuple[str, str], StoredVersion]:
    try:
        found = store.versions(keys, batch.root, batch.request.attributes)
        return {version[:2]: version for version in found}
    except UnicodeEncodeError:  # a name that is not valid UTF-8; its operation is refused
        valid = [key for key in keys if _is_valid(key)]
        if not _is_valid((batch.root, "")):
            return {}
        return {version[:2]: version for version in store.versions(valid, batch.root, batch.request.attributes)}


def _is_valid(names: tuple[str, str]) -> bool:
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_unchanged(version: StoredVersion, name: str, path: str, request: FileRequest, kind: Kind) -> bool:
    """Whether there is nothing to do for a file; ``comparison`` has the same rules for items."""
    if not (version.is_of_folder and version.has_attributes and version.token is not None):
        return False
    options = request.options
    if version.relative != name or version.region_mode != options.region_mode:
        return False
    if options.given_region is not None and options.given_region.bounds != version[8:12]:
        return False
    if kind is Kind.PRODUCT and (
        bool(version.category_given) != (options.category_id is not None)
        or options.category_id not in (None, version.category_id)
    ):
        return False
    try:
        return file_token(path) == version.token
    except (OSError, ValueError):
        return False
