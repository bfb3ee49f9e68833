"""A second backend behind the port of storages: plain dictionaries and NumPy, to hold the port and the first one to it.

Nothing of it is on a disk. It is as simple as its contract allows: conditions are evaluated item by item, an index is a
copy of what was there when it was built.
"""

from __future__ import annotations

import json
import operator
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from imgsearch.errors import InstanceDamaged, InstanceEmpty
from imgsearch.filters.tree import EVERYTHING, And, Compare, Everything, Not, OneOf, Or, product_condition
from imgsearch.listed_ids import ListedIds
from imgsearch.storage.port import Generation, IndexReplaced, Pictures, StoredPicture
from imgsearch.types import Fingerprints, Item, StoredVersion, Upsert
from imgsearch.values import Attributes, Key, Location

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.projection import Projection

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]
    Stored = npt.NDArray[np.float16]

COMPARISONS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def meets(change: Upsert, condition: Condition) -> bool | None:
    """Whether an item meets a condition; None, as in SQL, where that hangs on a field that is not set."""
    match condition:
        case Everything():
            return True
        case Compare(field=name, operator=sign, value=value):
            own = _value(change, name)
            return None if own is None else bool(COMPARISONS[sign](own, value))
        case OneOf(field=name, values=values, is_negated=is_negated):
            own = _value(change, name)
            return None if own is None else (own in values) is not is_negated
        case And(parts=parts):
            answers = [meets(change, part) for part in parts]
            return False if False in answers else None if None in answers else True
        case Or(parts=parts):
            answers = [meets(change, part) for part in parts]
            return True if True in answers else None if None in answers else False
        case Not(part=part):
            answer = meets(change, part)
            return None if answer is None else not answer
        case _:
            raise TypeError(condition)


def _value(change: Upsert, name: str) -> Any:
    match name:
        case "product_id" | "pic_name":
            return getattr(change.key, name)
        case "category_id" | "content_hash" | "region":
            return getattr(change.extracted, name)
        case "root":
            return None if change.location is None else change.location.root
        case "relative":
            return None if change.location is None else change.location.relative or change.key.pic_name
        case _:
            return change.attributes.columns()[name]


@dataclass(frozen=True, eq=False)
class MemoryGeneration:
    """What was indexed."""

    number: int
    ids: tuple[int, ...]
    features: Feature
    created: int
    structure: str = "a copy"
    recall: float | None = None
    nprobe: int | None = None
    is_exact: bool = True
    file_name: str = ""

    @property
    def items(self) -> int:
        """How many."""
        return len(self.ids)

    @property
    def bytes(self) -> int:
        """Of the features."""
        return self.features.nbytes


@dataclass(frozen=True)
class MemoryIndex:
    """An exact search over what was indexed."""

    generation: MemoryGeneration
    is_best_first: ClassVar[bool] = False

    def shortlist(
        self,
        query: Feature,
        size: int,
        *,
        categories: tuple[int, ...] | None = None,  # an index may know of none
        only: ListedIds | None = None,
        without: Ids | None = None,
    ) -> Ids:
        ids = np.array(self.generation.ids, np.int64)
        counting = np.ones(len(ids), bool) if only is None else np.isin(ids, only.ids())
        if without is not None:
            counting &= ~np.isin(ids, without)
        near = self.generation.features[counting] @ query
        least = np.sort(near)[::-1][:size][-1] if len(near) else 0.0
        found: Ids = ids[counting][near >= least - 1e-6]
        return found

    def shortlists(
        self, queries: Feature, size: int, categories: Sequence[tuple[int, ...] | None], without: Ids
    ) -> list[Ids]:
        return [
            self.shortlist(query, size, categories=some, without=without)
            for query, some in zip(queries, categories, strict=True)
        ]


@dataclass
class _State:
    settings: dict[str, Any]
    items: dict[int, Upsert] = field(default_factory=dict)
    last_id: int = 0
    tuning: Projection | None = None
    generation: MemoryGeneration | None = None


class MemoryTruth:
    """Items in a dictionary by their ids."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.state = _State(settings)

    compares_itself = False

    def nearest(self, query: Feature, condition: Condition, size: int, *, unindexed: bool = False) -> Ids:
        raise NotImplementedError

    def reading(self) -> AbstractContextManager[None]:
        return nullcontext()

    def damage(self, what: str) -> InstanceDamaged:
        return InstanceDamaged(what)

    def settings(self) -> dict[str, Any]:
        return dict(self.state.settings)

    def set_setting(self, name: str, value: Any) -> None:
        self.state.settings = self.state.settings | {name: json.loads(json.dumps(value))}

    def made_by(self) -> dict[str, Any]:
        made_by: dict[str, Any] = self.state.settings["model"]
        return made_by

    def tuning(self) -> Projection | None:
        return self.state.tuning

    def set_tuning(self, tuning: Projection | None) -> None:
        self.state.tuning = tuning

    def counts(self) -> dict[int, int]:
        categories = [change.extracted.category_id for change in self.state.items.values()]
        return {category: categories.count(category) for category in set(categories)}

    def count(self, condition: Condition = EVERYTHING) -> int:
        return len(self._chosen(condition))

    def count_products(self) -> int:
        return len({change.key.product_id for change in self.state.items.values()})

    def count_unindexed(self) -> int:
        return len(self.state.items.keys() - self._indexed())

    def count_removed(self) -> int:
        return len(self.removed_ids())

    def products_with_several(self) -> list[tuple[str, int]]:
        names = [change.key.product_id for change in self.state.items.values()]
        return [(name, names.count(name)) for name in sorted(set(names)) if names.count(name) > 1]

    def generation(self) -> MemoryGeneration | None:
        return self.state.generation

    def item(self, key: Key) -> Item | None:
        return next((self._item(number) for number, one in self.state.items.items() if one.key == key), None)

    def items(self, condition: Condition) -> Iterator[Item]:
        return map(self._item, self._chosen(condition))

    def items_by_key(self, condition: Condition, *, start: int = 0, limit: int | None = None) -> Iterator[Item]:
        found = sorted(self.items(condition), key=lambda item: item.key)
        yield from found[start : None if limit is None else start + limit]

    def versions(
        self, keys: Sequence[tuple[str, str]], folder: str, attributes: Attributes
    ) -> dict[int, StoredVersion]:
        found: dict[int, StoredVersion] = {}
        for number, change in self.state.items.items():
            place, extracted = change.location, change.extracted
            own = (change.key.product_id, change.key.pic_name)
            for position in (position for position, key in enumerate(keys) if key == own):
                found[position] = StoredVersion(
                    *(position, number, extracted.token, None if place is None else place.relative),
                    *(extracted.category_id, change.category_given, change.region_mode, *extracted.region.bounds),
                    *(place is not None and place.root == folder, change.attributes == attributes),
                )
        return found

    def ids_below(self, folder: str) -> Ids:
        below = [
            number
            for number, change in self.state.items.items()
            if change.location is not None and change.location.path(change.key.pic_name).is_relative_to(folder)
        ]
        return np.array(below, np.int64)

    def has(self, item_id: int) -> bool:
        return item_id in self.state.items

    def keys(self, condition: Condition) -> list[Key]:
        return sorted(self.state.items[number].key for number in self._chosen(condition))

    def asked(self, _condition: Condition) -> int:
        return 1

    def matching_ids(self, condition: Condition) -> Ids:
        return np.array(self._chosen(condition), np.int64)

    def listed(self, condition: Condition) -> ListedIds:
        return ListedIds(self.matching_ids(condition))

    def matching(self, ids: Iterable[int], condition: Condition) -> Ids:
        return np.array([number for number in ids if number in set(self._chosen(condition))], np.int64)

    def identical_ids(self, same: Condition, condition: Condition, limit: int) -> Ids:
        return self.matching_ids(same.joined(condition))[:limit]

    def removed_ids(self) -> Ids:
        return np.array(sorted(self._indexed() - self.state.items.keys()), np.int64)

    def pictures(self, ids: Iterable[int]) -> Iterator[StoredPicture]:
        for number in ids:
            if number in self.state.items:
                yield StoredPicture(self._item(number), self.feature(number))

    def feature(self, item_id: int) -> Feature:
        return self.state.items[item_id].extracted.feature

    def features_of(self, ids: Iterable[int]) -> tuple[Ids, Feature]:
        wanted = list(ids)
        if not wanted:
            return np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
        return np.array(wanted, np.int64), np.stack([self.feature(number) for number in wanted])

    def scan(self, condition: Condition, *, unindexed: bool = False) -> Iterator[tuple[Ids, Stored]]:
        skipped = self._indexed() if unindexed else frozenset[int]()
        chosen = [number for number in self._chosen(condition) if number not in skipped]
        if chosen:
            yield self.features_of(chosen)[0], self.features_of(chosen)[1].astype(np.float16)

    def candidates(
        self, ids: Ids, features: Feature, marked: Condition, condition: Condition = EVERYTHING
    ) -> tuple[Pictures, npt.NDArray[np.bool_]]:
        changes = [self.state.items.get(number) for number in ids.tolist()]
        if not all(change is not None and meets(change, condition) for change in changes):
            raise self.damage("an index of items")
        known = [change for change in changes if change is not None]
        return self._pictures(ids, features), np.array([bool(meets(change, marked)) for change in known], np.bool_)

    def first_of_products(self, product_ids: Iterable[str], limit: int) -> tuple[Ids, Ids]:
        found: list[tuple[int, int]] = []
        for place, name in enumerate(product_ids):
            own = [number for number, change in self.state.items.items() if change.key.product_id == name]
            first = sorted(own, key=lambda number: self.state.items[number].key.pic_name.encode())[:limit]
            found += [(number, place) for number in first]
        ids, of = np.array(found, np.int64).reshape(-1, 2).T
        return ids, of

    def siblings(self, ids: Iterable[int], condition: Condition = EVERYTHING) -> Iterator[Pictures]:
        found = self.matching([number for number in ids if number in self.state.items], condition)
        if len(found):
            yield self._pictures(found, self.features_of(found.tolist())[1])

    def verify(self, ids: Iterable[int]) -> None:
        if not self.state.items.keys() >= set(ids):
            raise self.damage("an index of items")

    def fingerprints(self, condition: Condition) -> Iterator[Fingerprints]:
        chosen = self._chosen(condition)
        found = [self.state.items[number] for number in chosen]
        yield Fingerprints(
            np.array(chosen, np.int64),
            [one.key.product_id for one in found],
            [one.extracted.content_hash for one in found],
            [one.extracted.picture_hash for one in found],
        )

    def stored_records(self, keys: Sequence[Key]) -> dict[Key, Upsert]:
        return {change.key: change for change in self.state.items.values() if change.key in keys}

    def all_stored_records(self, *, chunk: int = 1024) -> Iterator[Upsert]:  # all are at hand
        yield from self.state.items.values()

    def check_key(self, key: Key) -> None:
        pass

    def upsert(self, change: Upsert) -> bool:
        replaced = bool(self.delete(product_condition(change.key.product_id, change.key.pic_name)))
        self.insert([change])
        return replaced

    def insert(self, changes: Sequence[Upsert]) -> Sequence[int]:
        ids = range(self.state.last_id + 1, self.state.last_id + 1 + len(changes))
        for number, change in zip(ids, changes, strict=True):
            feature = change.extracted.feature.astype(np.float16).astype(np.float32)
            kept = replace(change.extracted, feature=feature, chances=())
            self.state.items = self.state.items | {number: replace(change, extracted=kept)}
        self.state.last_id += len(changes)
        return ids

    def update(
        self, item: Item, attributes: Attributes, category_id: int, category_given: bool, location: Location | None
    ) -> int:
        before = self.state.items[item.id]
        after = replace(
            before,
            extracted=replace(before.extracted, category_id=category_id),
            category_given=category_given,
            attributes=attributes,
            location=location or before.location,
        )
        if category_id == item.category_id:
            self.state.items = self.state.items | {item.id: after}
            return item.id
        self.upsert(after)
        return self.state.last_id

    def set_attributes(self, ids: Iterable[int], values: Mapping[str, Any]) -> None:
        for number in ids:
            change = self.state.items[number]
            changed = replace(change, attributes=replace(change.attributes, **values))
            self.state.items = self.state.items | {number: changed}

    def set_tokens(self, tokens: Sequence[tuple[int, bytes | None]]) -> None:
        for number, token in tokens:
            change = self.state.items[number]
            known = replace(change, extracted=replace(change.extracted, token=token))
            self.state.items = self.state.items | {number: known}

    def set_picture_hashes(self, hashes: Sequence[tuple[int, bytes]]) -> None:
        for number, one in hashes:
            change = self.state.items[number]
            known = replace(change, extracted=replace(change.extracted, picture_hash=one))
            self.state.items = self.state.items | {number: known}

    def remove(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.delete(product_condition(key.product_id, key.pic_name))

    def delete(self, condition: Condition) -> list[Key]:
        doomed = self._chosen(condition)
        keys = sorted(self.state.items[number].key for number in doomed)
        self.state.items = {number: one for number, one in self.state.items.items() if number not in doomed}
        return keys

    def _chosen(self, condition: Condition) -> list[int]:
        return sorted(number for number, change in self.state.items.items() if meets(change, condition))

    def _indexed(self) -> frozenset[int]:
        return frozenset(() if self.state.generation is None else self.state.generation.ids)

    def _item(self, number: int) -> Item:
        change = self.state.items[number]
        extracted, location = change.extracted, change.location
        return Item(
            number,
            change.key,
            extracted.category_id,
            extracted.region,
            change.region_mode,
            change.category_given,
            extracted.content_hash,
            extracted.token,
            change.attributes,
            None if location is None else location.path(change.key.pic_name),
            extracted.subjects,
            extracted.picture_hash,
        )

    def _pictures(self, ids: Ids, features: Feature) -> Pictures:
        changes = [self.state.items[number] for number in ids.tolist()]
        return Pictures(ids, [(one.key.product_id, one.extracted.category_id) for one in changes], features)


class MemoryStorage:
    """One instance, for as long as it is open."""

    is_shared = False
    is_replaced = False

    def __init__(self, settings: dict[str, Any]) -> None:
        self.folder = Path("in memory")
        self.store = MemoryTruth(settings)

    def close(self) -> None:
        pass

    def errors(self) -> AbstractContextManager[None]:
        return nullcontext()

    def about(self) -> dict[str, str | int]:
        return {}

    @contextmanager
    def committing(self, products: Collection[str] | None = None) -> Iterator[MemoryTruth]:  # there is one writer
        before = replace(self.store.state)
        try:
            yield self.store
        except BaseException:
            self.store.state = before
            raise

    def prepare(self) -> None:
        pass

    def index(self, generation: Generation) -> MemoryIndex:
        if self.store.state.generation != generation:
            raise IndexReplaced
        return MemoryIndex(self.store.state.generation)

    def is_index_due(self) -> bool:
        return self.store.count_unindexed() > 1_000

    def count_to_index(self) -> int:
        if not self.store.state.items:
            raise InstanceEmpty(f"{self.folder} has no items")
        return len(self.store.state.items)

    def refresh(self) -> MemoryGeneration:
        return self.rebuild()

    def rebuild(self) -> MemoryGeneration:
        self.count_to_index()
        old = self.store.state.generation
        ids, features = self.store.features_of(self.store.state.items)
        generation = MemoryGeneration(
            old.number + 1 if old else 1, tuple(ids.tolist()), features, created=int(time.time())
        )
        self.store.state.generation = generation
        return generation

    def retune(self, tuning: Projection | None) -> MemoryGeneration | None:
        present, state = self.store.state.tuning, self.store.state
        for number, change in state.items.items():
            stored = change.extracted.feature[None]
            plain = stored if present is None else present.undone(stored.astype(np.float16))
            feature = (plain if tuning is None else tuning.applied(plain))[0].astype(np.float16).astype(np.float32)
            known = replace(change, extracted=replace(change.extracted, feature=feature))
            state.items = state.items | {number: known}
        state.tuning = tuning
        return self.rebuild() if state.items else None

    def drop_index_if_empty(self) -> None:
        if not self.store.state.items:
            self.store.state.generation = None
