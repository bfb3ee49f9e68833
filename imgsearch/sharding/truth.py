"""The truth of several shards as one: ``storage.port.Truth`` for reading, asked of the shards that know."""

from __future__ import annotations

import heapq
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from imgsearch.errors import InstanceDamaged, StampMismatch
from imgsearch.filters.tree import EVERYTHING
from imgsearch.listed_ids import ListedIds
from imgsearch.sharding.generation import MergedGeneration
from imgsearch.sharding.ids import BITS, MASK, by_shard, global_id, global_ids, shard_and_id
from imgsearch.sharding.read_only import ReadOnlyTruth
from imgsearch.shards import shard_of
from imgsearch.storage.port import Pictures, StoredPicture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.projection import Projection
    from imgsearch.storage.port import Storage, Truth
    from imgsearch.types import Fingerprints, Item, StoredVersion, Upsert
    from imgsearch.values import Attributes, Key

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]
    Stored = npt.NDArray[np.floating]

__all__ = ["MergedTruth"]

Value = TypeVar("Value")
Given = TypeVar("Given")
NO_IDS: Final = np.zeros(0, np.int64)


class MergedTruth(ReadOnlyTruth):
    """The items of all shards, one snapshot of each; ids are those of ``sharding.ids``.

    Orders by addition are shard by shard; all others are those of one instance. Any error of a shard is raised: what is
    told is never a part without a word.

    Args:
        parts: the shards, in order.
        folder: named in errors.
    """

    compares_itself: Final = False

    def __init__(self, parts: Sequence[Storage], folder: Path) -> None:
        super().__init__(folder)
        self._parts = parts

    def nearest(self, query: Feature, condition: Condition, size: int, *, unindexed: bool = False) -> Ids:
        """Not asked for: each shard gives candidates of its own."""
        raise NotImplementedError

    # Asking the shards

    def _ask(self, shard: int, question: Callable[[Truth], Value]) -> Value:
        part = self._parts[shard]
        with part.errors():
            return question(part.store)

    def _ask_all(self, question: Callable[[Truth], Value]) -> list[Value]:
        return [self._ask(shard, question) for shard in range(len(self._parts))]

    def _ask_each(self, given: dict[int, Given], question: Callable[[Truth, Given], Value]) -> list[tuple[int, Value]]:
        """Ask shards, each something of its own."""
        return [(shard, self._ask(shard, partial(_swapped, question, own))) for shard, own in given.items()]

    def _stream(self, shard: int, question: Callable[[Truth], Iterable[Value]]) -> Iterator[Value]:
        part = self._parts[shard]
        with part.errors():
            yield from question(part.store)

    def _stream_all(self, question: Callable[[Truth], Iterable[Value]]) -> Iterator[tuple[int, Value]]:
        for shard in range(len(self._parts)):
            for value in self._stream(shard, question):
                yield shard, value

    def _stream_each(
        self, given: dict[int, Given], question: Callable[[Truth, Given], Iterable[Value]]
    ) -> Iterator[tuple[int, Value]]:
        for shard, own in given.items():
            for value in self._stream(shard, partial(_swapped, question, own)):
                yield shard, value

    def _by_product(self, values: Iterable[Value], product_of: Callable[[Value], str]) -> dict[int, list[Value]]:
        """The values of each shard that has any, in the order given."""
        found: dict[int, list[Value]] = {}
        for value in values:
            found.setdefault(shard_of(product_of(value), len(self._parts)), []).append(value)
        return found

    def _agreed(self, what: str, values: list[Value]) -> Value:
        """The one value of all shards.

        Raises:
            StampMismatch: they differ.
        """
        for part, value in zip(self._parts, values, strict=True):
            if value != values[0]:
                raise StampMismatch(
                    f"the shards {self._parts[0].folder} and {part.folder} differ in their {what}, so their results "
                    "cannot be merged: reindex or tune all of them alike"
                )
        return values[0]

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One snapshot of each shard, taken one after the other."""
        with ExitStack() as stack:
            for part in self._parts:
                with part.errors():
                    stack.enter_context(part.store.reading())
            yield

    def damage(self, what: str) -> InstanceDamaged:
        """The error to raise when the shards contradict themselves."""
        return InstanceDamaged(f"{self.folder}: {what} is damaged: run 'imgsearch check' on each shard")

    # Settings

    def settings(self) -> dict[str, Any]:
        """Those of the first shard, as far as shards agree (``sharding.agreement``)."""
        return self._ask(0, lambda store: store.settings())

    def made_by(self) -> dict[str, Any]:
        """The model of the features of all shards.

        Raises:
            StampMismatch
        """
        return self._agreed("model", self._ask_all(lambda store: store.made_by()))

    def tuning(self) -> Projection | None:
        """The tuning of all shards.

        Raises:
            StampMismatch
        """
        found = self._ask_all(lambda store: store.tuning())
        self._agreed("tuning", [None if one is None else one.name for one in found])
        return found[0]

    # Counting

    def counts(self) -> dict[int, int]:
        """The number of items per category."""
        total: Counter[int] = Counter()
        for counts in self._ask_all(lambda store: store.counts()):
            total.update(counts)
        return dict(total)

    def count(self, condition: Condition = EVERYTHING) -> int:
        """The number of items that meet a condition."""
        return sum(self._ask_all(lambda store: store.count(condition)))

    def count_products(self) -> int:
        """The number of products, none of which is in two shards."""
        return sum(self._ask_all(lambda store: store.count_products()))

    def count_unindexed(self) -> int:
        """How many items are in no published index."""
        return sum(self._ask_all(lambda store: store.count_unindexed()))

    def count_removed(self) -> int:
        """How many ids in the indexes belong to deleted items."""
        return sum(self._ask_all(lambda store: store.count_removed()))

    def products_with_several(self) -> list[tuple[str, int]]:
        """Products with more than one picture, sorted."""
        return list(heapq.merge(*self._ask_all(lambda store: store.products_with_several())))

    def generation(self) -> MergedGeneration | None:
        """The indexes of the shards, told as one; None if no shard has one."""
        return MergedGeneration.of(self._ask_all(lambda store: store.generation()))

    # Reading

    def item(self, key: Key) -> Item | None:
        """The item with this key."""
        shard = shard_of(key.product_id, len(self._parts))
        item = self._ask(shard, lambda store: store.item(key))
        return None if item is None else _told(shard, item)

    def items(self, condition: Condition) -> Iterator[Item]:
        """The items that meet a condition, in the order of addition, shard by shard."""
        for shard, item in self._stream_all(lambda store: store.items(condition)):
            yield _told(shard, item)

    def items_by_key(self, condition: Condition, *, start: int = 0, limit: int | None = None) -> Iterator[Item]:
        """The items that meet a condition, in the order of their keys."""
        needed = None if limit is None else start + limit

        def of(shard: int) -> Iterator[Item]:
            for item in self._stream(shard, lambda store: store.items_by_key(condition, limit=needed)):
                yield _told(shard, item)

        merged = heapq.merge(*map(of, range(len(self._parts))), key=lambda item: item.key)
        yield from islice(merged, start, needed)

    def versions(
        self, keys: Sequence[tuple[str, str]], folder: str, attributes: Attributes
    ) -> dict[int, StoredVersion]:
        """The items with these keys, by the key's position."""
        places = self._by_product(range(len(keys)), lambda place: keys[place][0])
        found = self._ask_each(
            places, lambda store, own: store.versions([keys[place] for place in own], folder, attributes)
        )
        return {
            place: version._replace(position=place, id=global_id(shard, version.id))
            for shard, versions in found
            for place, version in ((places[shard][position], version) for position, version in versions.items())
        }

    def ids_below(self, folder: str) -> Ids:
        """Ids of the items whose files lie below a folder, ascending."""
        return self._ids(lambda store: store.ids_below(folder))

    def _ids(self, question: Callable[[Truth], Ids]) -> Ids:
        return _joined(enumerate(self._ask_all(question)))

    def has(self, item_id: int) -> bool:
        """Whether there is an item with that id."""
        shard, own = shard_and_id(item_id)
        return self._ask(shard, lambda store: store.has(own))

    def keys(self, condition: Condition) -> list[Key]:
        """The keys of the items that meet a condition, sorted."""
        return list(heapq.merge(*self._ask_all(lambda store: store.keys(condition))))

    def asked(self, condition: Condition) -> int:
        """How often a condition was counted; see ``Truth.asked``."""
        return max(self._ask_all(lambda store: store.asked(condition)))

    def matching_ids(self, condition: Condition) -> Ids:
        """Ids of the items that meet a condition, ascending."""
        return self._ids(lambda store: store.matching_ids(condition))

    def listed(self, condition: Condition) -> ListedIds:
        """The same, in little memory."""
        return ListedIds(self.matching_ids(condition))

    def matching(self, ids: Iterable[int], condition: Condition) -> Ids:
        """The given ids that are items and meet a condition."""
        return _joined(self._ask_each(by_shard(ids), lambda store, own: store.matching(own, condition)))

    def identical_ids(self, same: Condition, condition: Condition, limit: int) -> Ids:
        """The first ``limit`` ids of items that meet both, ascending."""
        return self._ids(lambda store: store.identical_ids(same, condition, limit))[:limit]

    def removed_ids(self) -> Ids:
        """Ids in the indexes that belong to deleted items."""
        return self._ids(lambda store: store.removed_ids())

    def pictures(self, ids: Iterable[int]) -> Iterator[StoredPicture]:
        """The items among these ids, in no particular order."""
        for shard, picture in self._stream_each(by_shard(ids), lambda store, own: store.pictures(own)):
            yield StoredPicture(_told(shard, picture.item), picture.feature)

    def feature(self, item_id: int) -> Feature:
        """The stored feature of an item."""
        shard, own = shard_and_id(item_id)
        return self._ask(shard, lambda store: store.feature(own))

    def features_of(self, ids: Iterable[int]) -> tuple[Ids, Feature]:
        """The features of items, in no particular order."""
        found = self._ask_each(by_shard(ids), lambda store, own: store.features_of(own))
        if not found:
            return NO_IDS, np.zeros((0, 0), np.float32)
        own_ids = _joined((shard, own) for shard, (own, _) in found)
        return own_ids, np.concatenate([features for _, (_, features) in found])

    def scan(self, condition: Condition, *, unindexed: bool = False) -> Iterator[tuple[Ids, Stored]]:
        """Yield ids and features of the items that meet a condition, by ascending id."""
        for shard, (ids, features) in self._stream_all(lambda store: store.scan(condition, unindexed=unindexed)):
            yield global_ids(shard, ids), features

    def candidates(
        self, ids: Ids, features: Feature, marked: Condition, condition: Condition = EVERYTHING
    ) -> tuple[Pictures, npt.NDArray[np.bool_]]:
        """Items whose features the caller has, in the given order, and which of them meet ``marked``."""
        groups: list[tuple[str, int]] = [("", 0)] * len(ids)
        is_marked = np.zeros(len(ids), np.bool_)
        shards = ids >> BITS
        places = {shard: np.flatnonzero(shards == shard) for shard in np.unique(shards).tolist()}
        found = self._ask_each(
            places, lambda store, own: store.candidates(ids[own] & MASK, features[own], marked, condition)
        )
        for shard, (pictures, marks) in found:
            is_marked[places[shard]] = marks
            for place, group in zip(places[shard].tolist(), pictures.groups, strict=True):
                groups[place] = group
        return Pictures(ids, groups, features), is_marked

    def first_of_products(self, product_ids: Iterable[str], limit: int) -> tuple[Ids, Ids]:
        """The first ``limit`` pictures of each product, by PicName, and the positions of their products."""
        products = list(product_ids)
        places = self._by_product(range(len(products)), products.__getitem__)
        found = self._ask_each(
            places, lambda store, own: store.first_of_products([products[place] for place in own], limit)
        )
        ids = _joined((shard, own) for shard, (own, _) in found)
        return ids, np.concatenate([NO_IDS, *(np.array(places[shard])[position] for shard, (_, position) in found)])

    def siblings(self, ids: Iterable[int], condition: Condition = EVERYTHING) -> Iterator[Pictures]:
        """Yield the items among these ids that meet a condition, in chunks."""
        for shard, piece in self._stream_each(by_shard(ids), lambda store, own: store.siblings(own, condition)):
            yield Pictures(global_ids(shard, piece.ids), piece.groups, piece.features)

    def verify(self, ids: Iterable[int]) -> None:
        """Hold items against their checksums."""
        self._ask_each(by_shard(ids), lambda store, own: store.verify(own))

    def stored_records(self, keys: Sequence[Key]) -> dict[Key, Upsert]:
        """The stored items among these keys, as the upserts that would write them again."""
        wanted = self._by_product(keys, lambda key: key.product_id)
        found: dict[Key, Upsert] = {}
        for _, records in self._ask_each(wanted, lambda store, own: store.stored_records(own)):
            found |= records
        return found

    def all_stored_records(self, *, chunk: int = 1024) -> Iterator[Upsert]:
        """Yield every item as the upsert that would write it again, shard by shard."""
        for _, record in self._stream_all(lambda store: store.all_stored_records(chunk=chunk)):
            yield record

    def fingerprints(self, condition: Condition) -> Iterator[Fingerprints]:
        """Yield what copies are recognised by, by ascending id."""
        for shard, piece in self._stream_all(lambda store: store.fingerprints(condition)):
            yield replace(piece, ids=global_ids(shard, piece.ids))


def _told(shard: int, item: Item) -> Item:
    """An item with its id among all shards."""
    return replace(item, id=global_id(shard, item.id))


def _joined(found: Iterable[tuple[int, Ids]]) -> Ids:
    """Ids of several shards as ids among all."""
    return np.concatenate([NO_IDS, *(global_ids(shard, ids) for shard, ids in found)])


def _swapped(question: Callable[[Truth, Given], Value], given: Given, store: Truth) -> Value:
    return question(store, given)
