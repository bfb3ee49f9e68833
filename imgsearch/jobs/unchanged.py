"""Telling unchanged files from others, many at a time: one look-up for a batch, and one call of the system per file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeAlias

from imgsearch.service.categories import Kind
from imgsearch.sources.files import FileBatch, file_token
from imgsearch.types import Outcome, Status
from imgsearch.values import Attributes, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imgsearch.sources.files import FileRequest
    from imgsearch.storage.port import Truth
    from imgsearch.types import AddPicture, DeletePictures, Refused, StoredVersion

    Given: TypeAlias = "FileBatch | AddPicture | DeletePictures | Refused"

__all__ = ["Unchanged", "told_apart", "unbatched"]


@dataclass(slots=True)
class Unchanged:
    """A file that is stored as it is, by its token, with the same options, attributes and place.

    Not frozen, for the same reason as ``Outcome``.
    """

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
    store: Truth, batch: FileBatch, kind: Kind, *, keeps: bool = False
) -> Iterator[tuple[str, Unchanged | AddPicture | Refused, int | None]]:
    """The files of a batch, in order.

    Args:
        store: of the instance.
        batch: of files.
        kind: of the instance.
        keeps: attributes and a given category of an item stay where the request names none (``comparison.keeping``).

    Yields:
        The name, the operation or that there is none, and the id of the item that is stored under the key.
    """
    request, prefix, operation = batch.request, batch.prefix, batch.operation
    keys = request.all_names(batch.root, batch.names)
    stored = _stored(store, keys, batch)
    is_as_requested = _comparison(request, kind, keeps=keeps)
    unchanged = Status.UNCHANGED
    now = time.time_ns()
    for position, name in enumerate(batch.names):
        version = stored.get(position)
        if version is None:
            yield name, operation(name), None
            continue
        path = prefix + name
        key = keys[position]
        is_in_place = (version.relative or key[1]) == name
        if is_in_place and is_as_requested(version) and _token(path, now) == version.token:
            region = _region(version.x1, version.x2, version.y1, version.y2)
            outcome = Outcome(unchanged, path, key[0], key[1], version.category_id, region)
            yield name, Unchanged(outcome, version.id, partial(operation, name)), version.id
        else:
            yield name, operation(name), version.id


@lru_cache(maxsize=4096)
def _region(x1: int, x2: int, y1: int, y2: int) -> Region:
    return Region(x1, x2, y1, y2)


def _stored(store: Truth, keys: list[tuple[str, str]], batch: FileBatch) -> dict[int, StoredVersion]:
    """What is stored under the keys, by position."""
    attributes = batch.request.attributes
    try:
        return store.versions(keys, batch.root, attributes)
    except UnicodeEncodeError:  # of a name that is not valid UTF-8, the operation is refused
        if not _is_valid((batch.root, "")):
            return {}
        valid = [position for position, key in enumerate(keys) if _is_valid(key)]
        found = store.versions([keys[position] for position in valid], batch.root, attributes)
        return {valid[position]: version for position, version in found.items()}


def _is_valid(names: tuple[str, str]) -> bool:
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        return False
    return True


def _comparison(request: FileRequest, kind: Kind, *, keeps: bool) -> Callable[[StoredVersion], bool]:
    """Whether an item is what a request asks for, but for its bytes; ``comparison`` has the same rules for items."""
    options = request.options
    mode, region = int(options.region_mode), options.given_region
    bounds = None if region is None else region.bounds
    category = options.category_id if kind is Kind.PRODUCT else None
    is_given = category is not None
    any_attributes = keeps and request.attributes == Attributes()
    any_category = keeps and category is None

    def is_as_requested(version: StoredVersion) -> bool:
        return bool(
            version.is_of_folder
            and (any_attributes or version.has_attributes)
            and version.token is not None
            and version.region_mode == mode
            and (any_category or version.category_given == is_given)
            and (category is None or version.category_id == category)
            and (bounds is None or version[7:11] == bounds)
        )

    return is_as_requested


def _token(path: str, now: int) -> bytes | None:
    try:
        return file_token(path, now)
    except (OSError, ValueError):
        return None
