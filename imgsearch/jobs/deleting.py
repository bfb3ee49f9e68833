"""Deleting stored items."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InvalidValue
from imgsearch.filters.tree import Or, location_condition, named_condition
from imgsearch.ordered_futures import until_it_fails
from imgsearch.values import Key, spellings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from imgsearch.errors import ImgsearchError
    from imgsearch.filters.tree import Condition
    from imgsearch.opened import Opened
    from imgsearch.storage.port import Storage

__all__ = ["Deletion", "delete_matching", "delete_stream", "deleted", "of_files", "of_key"]

COMMIT_SELECTIONS: Final = 256


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion removed, or would remove."""

    keys: list[Key]


def of_key(product_id: str, pic_name: str | None) -> Condition:
    """The pictures of a product, or one of them.

    Raises:
        InvalidValue: no item can have this name.
    """
    Key(product_id, "any" if pic_name is None else pic_name)
    return named_condition(product_id, pic_name)


def of_files(paths: Iterable[Path]) -> Condition:
    """The items made from these files; links in the path to a file are followed, as ``add`` does.

    Args:
        paths: at least one.

    Raises:
        InvalidValue: no item can have been made from a file of that name.
    """
    resolved = [path.parent.resolve() / path.name for path in paths]
    for path in resolved:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InvalidValue(f"{str(path)!r} is not valid UTF-8, so nothing was added from it") from None
    places = tuple(map(location_condition, resolved))
    return Or(places) if len(places) > 1 else places[0]


def delete_matching(opened: Opened, condition: Condition, *, dry_run: bool, lock_timeout: float) -> Deletion:
    """Delete all items that meet a condition, in one commit; see ``Instance.delete``."""
    if dry_run:
        with opened.reading() as engine, engine.store.reading():
            return Deletion(engine.store.keys(condition))
    with opened.writing(lock_timeout) as engine:
        return deleted(engine, condition)


def deleted(engine: Storage, condition: Condition) -> Deletion:
    """Delete all items that meet a condition, in one commit.

    Args:
        engine: whose lock the caller holds.
        condition: selects the items.

    Raises:
        InstanceDamaged, StorageFull, StorageUnwritable
    """
    with engine.committing() as store:
        keys = store.delete(condition)
    engine.drop_index_if_empty()
    return Deletion(keys)


def delete_stream(
    opened: Opened, selections: Iterable[tuple[str, str | None]], *, dry_run: bool, lock_timeout: float
) -> Iterator[Deletion]:
    """Delete many products and pictures; see ``Instance.delete_stream``."""
    end: list[ImgsearchError] = []
    conditions = until_it_fails(((selection[0], of_key(*selection)) for selection in selections), end)
    if dry_run:
        with opened.reading() as engine, engine.store.reading():
            for _, condition in conditions:
                yield Deletion(engine.store.keys(condition))
        _raise_first(end)
        return
    with opened.writing(lock_timeout) as engine:
        while some := list(islice(conditions, COMMIT_SELECTIONS)):
            products = {name for product_id, _ in some for name in spellings(product_id)}
            with engine.committing(products) as store:
                deletions = [Deletion(store.delete(condition)) for _, condition in some]
            yield from deletions
        engine.drop_index_if_empty()
    _raise_first(end)


def _raise_first(errors: list[ImgsearchError]) -> None:
    if errors:
        raise errors[0]
