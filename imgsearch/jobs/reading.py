"""Reading an instance: its facts, and its items."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgsearch.errors import InvalidPaging
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING, category_condition, named_condition
from imgsearch.jobs.devices import devices_of
from imgsearch.jobs.reindexing import count_reindexed
from imgsearch.service.categories import parse_category
from imgsearch.storage.backends import backend_of
from imgsearch.transfer.file_format import tuned_stamp
from imgsearch.values import Key, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imgsearch.filters.tree import Condition
    from imgsearch.opened import Opened
    from imgsearch.service.categories import Kind
    from imgsearch.shards import Shard
    from imgsearch.storage.port import Generation
    from imgsearch.types import Item
    from imgsearch.vision.limits import Limits

__all__ = ["IndexState", "InstanceInfo", "Listing", "index_state", "info", "items", "listing", "misplaced", "selection"]


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    """Facts about an instance."""

    folder: Path
    kind: Kind
    region_id: str | None
    created: int
    """Seconds since the epoch."""
    items: int
    products: int
    categories: dict[int, int]
    """Items per category, empty categories left out."""
    limits: Limits
    stamp: dict[str, Any]
    needs_reindex: bool
    """Its features are of an older version than this release makes."""
    reindexed: int | None
    """Items done by an unfinished reindex; None without one."""
    devices: list[str]
    """The devices of its features; not part of the stamp."""
    generation: Generation | None
    unindexed: int
    """Items newer than the index, which are scanned exactly."""
    disk_bytes: int
    storage: dict[str, str | int]
    """What else there is to say about where the items lie; empty for a folder."""


def info(opened: Opened) -> InstanceInfo:
    """The facts in one snapshot."""
    with opened.reading() as engine, engine.store.reading():
        store = engine.store
        opened.refresh(store)
        counts = store.counts()
        generation = store.generation()
        return InstanceInfo(
            folder=opened.folder,
            kind=opened.kind,
            region_id=opened.region_id,
            created=opened.created,
            items=sum(counts.values()),
            products=store.count_products(),
            categories=counts,
            limits=opened.limits,
            stamp=tuned_stamp(opened.model.stamp(), store.tuning()),
            needs_reindex=opened.needs_reindex,
            reindexed=count_reindexed(opened),
            devices=devices_of(store),
            generation=generation,
            unindexed=store.count_unindexed(),
            disk_bytes=backend_of(opened.folder).disk_bytes(opened.folder),
            storage=engine.about(),
        )


@dataclass(frozen=True, slots=True)
class IndexState:
    """How far the index follows the items; cheap to look up."""

    items: int
    unindexed: int
    """Items newer than the index, which are scanned exactly."""
    generation: int
    """Number of the index; 0 without one."""


def index_state(opened: Opened) -> IndexState:
    """The state in one snapshot."""
    with opened.reading() as engine, engine.store.reading():
        generation = engine.store.generation()
        return IndexState(
            engine.store.count(), engine.store.count_unindexed(), 0 if generation is None else generation.number
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of the items that meet a condition; both fields are of one snapshot."""

    total: int
    """How many items meet the condition, on all pages."""
    items: Iterator[Item]
    """Those of the page, in the order of (ProductId, PicName); read as they are iterated."""


def selection(expression: str | None, category: int | str | None, product_id: str | None = None) -> Condition:
    """The condition of a filter, a category and a product together; each None for all.

    Raises:
        InvalidFilter, InvalidCategory, InvalidValue
    """
    parts = []
    if product_id is not None:
        Key(product_id, "any")  # refuses what no item can be called
        parts.append(named_condition(product_id))
    if category is not None:
        parts.append(category_condition((parse_category(category),)))
    if expression is not None:
        parts.append(parse_filter(expression))
    return parts[0].joined(*parts[1:]) if parts else EVERYTHING


def items(opened: Opened, condition: Condition) -> Iterator[Item]:
    """Yield items that meet a condition, in the order of addition; see ``Instance.items``."""
    with opened.reading() as engine, engine.store.reading():
        yield from engine.store.items(condition)


@contextmanager
def listing(opened: Opened, condition: Condition, *, start: int = 0, num: int | None = None) -> Iterator[Listing]:
    """A page of the items that meet a condition, by key; see ``Instance.listing``.

    Raises:
        InvalidPaging
    """
    for name, value in (("start", start), ("num", num)):
        if value is not None and (whole_number(value) is None or value < 0):
            raise InvalidPaging(f"{name} {value!r} is no whole number", code=f"Invalid{name.capitalize()}Parameter")
    with opened.reading() as engine, engine.store.reading():
        found = engine.store.items_by_key(condition, start=start, limit=num)
        yield Listing(engine.store.count(condition), found)


def misplaced(opened: Opened, shard: Shard, *, at_most: int | None = None) -> Iterator[Key]:
    """Yield the keys of the items that are not of a shard, in order; see ``Instance.misplaced``.

    Args:
        opened: the instance that holds the shard.
        shard: which one it is.
        at_most: how many items are looked at; None: all.
    """
    with opened.reading() as engine, engine.store.reading():
        for item in engine.store.items_by_key(EVERYTHING, limit=at_most):
            if not shard.owns(item.key.product_id):
                yield item.key
