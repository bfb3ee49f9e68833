"""Reading an instance: its facts, and its items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING, category_condition
from imgsearch.jobs.indexing import devices_of
from imgsearch.jobs.reindexing import count_reindexed
from imgsearch.service.categories import parse_category
from imgsearch.storage.backends import backend_of
from imgsearch.transfer.file_format import tuned_stamp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imgsearch.filters.tree import Condition
    from imgsearch.opened import Opened
    from imgsearch.service.categories import Kind
    from imgsearch.storage.port import Generation
    from imgsearch.types import Item
    from imgsearch.vision.limits import Limits

__all__ = ["InstanceInfo", "info", "items"]


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
        )


def items(opened: Opened, expression: str | None, category: int | str | None) -> Iterator[Item]:
    """Yield items that match filter and category, in the order of addition; see ``Instance.items``."""
    condition = EVERYTHING if expression is None else parse_filter(expression)
    if category is not None:
        condition = category_condition((parse_category(category),)).joined(condition)
    return _items(opened, condition)


def _items(opened: Opened, condition: Condition) -> Iterator[Item]:
    with opened.reading() as engine, engine.errors(), engine.store.reading():
        yield from engine.store.items(condition)
