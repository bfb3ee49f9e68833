"""The storage port: the interfaces that a backend implements.

A storage has a truth and an index. The truth holds items, features and settings; committing to it is the
acknowledgement. The index is derived from the truth and only proposes candidates: it may return ids of deleted items
and miss new ones, so callers check every id against the truth. Ranking, paging and scoring (``imgsearch.search``)
depend on these interfaces only.

Ids are integers that are never reused, so a stale index is harmless. ``tests/storage/test_contract.py`` tests the
contract and accepts any implementation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from imgsearch.filters.tree import EVERYTHING
from imgsearch.storage.truth_writing import TruthWriting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from imgsearch.errors import InstanceDamaged
    from imgsearch.filters.tree import Condition
    from imgsearch.listed_ids import ListedIds
    from imgsearch.projection import Projection
    from imgsearch.types import Fingerprints, Item, StoredVersion, Upsert
    from imgsearch.values import Attributes, Key

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]
    Stored = npt.NDArray[np.floating]

__all__ = ["Generation", "Index", "IndexReplaced", "Pictures", "Storage", "StoredPicture", "Truth"]


class IndexReplaced(Exception):
    """A newer index has replaced the one of this snapshot: take a new snapshot."""


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """An item as a search returns it."""

    item: Item
    feature: Feature
    """Shape (dimension,), L2-normalised."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Items as a search ranks them, in columns."""

    ids: Ids
    """Shape (n,)."""
    groups: list[tuple[str, int]]
    """ProductId and category of each item."""
    features: Feature
    """Shape (n, dimension), L2-normalised; (0, 0) if there are none."""

    def take(self, positions: Ids) -> Pictures:
        """The items at these positions, in this order."""
        return Pictures(self.ids[positions], [self.groups[n] for n in positions.tolist()], self.features[positions])


class Generation(Protocol):
    """A published index, as recorded in the truth."""

    @property
    def number(self) -> int:
        """One more than the previous generation's."""

    @property
    def structure(self) -> str:
        """``flat``, or the name of an approximate structure."""

    @property
    def items(self) -> int:
        """How many ids it holds: of the items that it was built from, and of those that it has taken in since."""

    @property
    def is_exact(self) -> bool:
        """Whether it compares a query with every item."""

    @property
    def recall(self) -> float | None:
        """recall@10 against an exact search, measured when it was built; None for an exact index."""

    @property
    def nprobe(self) -> int | None:
        """How many inverted lists a search scans; None for an exact index."""

    @property
    def created(self) -> int:
        """Seconds since the epoch."""

    @property
    def bytes(self) -> int:
        """Its size in bytes."""

    @property
    def file_name(self) -> str:
        """Its name in the instance's folder; empty if it does not lie there."""


class Index(Protocol):
    """An opened generation, searched for the nearest items."""

    @property
    def is_best_first(self) -> bool:
        """Whether ids come by falling similarity."""

    def shortlist(
        self,
        query: Feature,
        size: int,
        *,
        categories: tuple[int, ...] | None = None,
        only: ListedIds | None = None,
        without: Ids | None = None,
    ) -> Ids:
        """Ids of the items nearest to a query: at least ``size``, or all there are.

        Raises:
            RemoteUnavailable: its server cannot be reached, and there are too many items to do without.

        Args:
            query: shape (dimension,), L2-normalised.
            size: how many are wanted.
            categories: items of other categories may be left out; None: all categories.
            only: return these ids only.
            without: leave these ids out.
        """

    def shortlists(
        self, queries: Feature, size: int, categories: Sequence[tuple[int, ...] | None], without: Ids
    ) -> list[Ids]:
        """``shortlist`` for each of many queries; ``queries`` has shape (n, dimension)."""


class Truth(TruthWriting, Protocol):
    """Items, features and settings.

    Call reading methods at any time; inside ``reading`` they see one snapshot. Call writing methods only inside
    ``Storage.committing``.

    Raises:
        InstanceDamaged: stored data is corrupted.
        StorageFull, StorageUnwritable
    """

    @property
    def compares_itself(self) -> bool:
        """Whether ``nearest`` is to be asked, as the features lie elsewhere; if not, callers compare what they scan."""

    def reading(self) -> AbstractContextManager[None]:
        """Return a context manager; reads inside it see one snapshot."""

    def damage(self, what: str) -> InstanceDamaged:
        """Return the error to raise when stored data is inconsistent."""

    # Settings

    def settings(self) -> dict[str, Any]:
        """All settings, given at creation or set since."""

    def set_setting(self, name: str, value: Any) -> None:
        """Set a value that JSON can represent."""

    def made_by(self) -> dict[str, Any]:
        """The setting ``model``: the model that computed the features."""

    def tuning(self) -> Projection | None:
        """The projection applied to all stored features; None without one."""

    def set_tuning(self, tuning: Projection | None) -> None:
        """Record the projection applied to all stored features."""

    # Counting

    def counts(self) -> dict[int, int]:
        """The exact number of items per category, empty categories left out."""

    def count(self, condition: Condition = EVERYTHING) -> int:
        """The exact number of items that meet a condition."""

    def count_products(self) -> int:
        """The number of distinct ProductIds."""

    def count_unindexed(self) -> int:
        """How many items are not in the published index."""

    def count_removed(self) -> int:
        """How many ids in the published index belong to deleted items."""

    def products_with_several(self) -> list[tuple[str, int]]:
        """ProductIds with more than one picture, and their number of pictures, sorted by ProductId."""

    def generation(self) -> Generation | None:
        """The published index; None if there is none and searches scan all items."""

    # Reading

    def item(self, key: Key) -> Item | None:
        """The item with this key."""

    def items(self, condition: Condition) -> Iterator[Item]:
        """The items that meet a condition, in the order they were added."""

    def items_by_key(self, condition: Condition, *, start: int = 0, limit: int | None = None) -> Iterator[Item]:
        """The items that meet a condition, in the order of their keys (by code point), with flat memory.

        Args:
            condition: to be met.
            start: how many to skip.
            limit: the maximum number; None: all.
        """

    def versions(
        self, keys: Sequence[tuple[str, str]], folder: str, attributes: Attributes
    ) -> dict[int, StoredVersion]:
        """The items with these keys (ProductId, PicName), by the key's position; checksums are not verified.

        Args:
            keys: each once or more.
            folder: what ``is_of_folder`` is about.
            attributes: what ``has_attributes`` is about.
        """

    def ids_below(self, folder: str) -> Ids:
        """Ids of the items whose files lie below an absolute folder, whichever folder was given, ascending."""

    def has(self, item_id: int) -> bool:
        """Whether there is an item with that id."""

    def keys(self, condition: Condition) -> list[Key]:
        """The keys of the items that meet a condition, sorted."""

    def asked(self, condition: Condition) -> int:
        """How often a condition has been counted since the items last changed, as far as that is known; at least 1."""

    def matching_ids(self, condition: Condition) -> Ids:
        """Ids of the items that meet a condition, in ascending order."""

    def listed(self, condition: Condition) -> ListedIds:
        """The same ids, in little memory."""

    def matching(self, ids: Iterable[int], condition: Condition) -> Ids:
        """The given ids that are items and meet a condition, in no particular order."""

    def identical_ids(self, same: Condition, condition: Condition, limit: int) -> Ids:
        """The first ``limit`` ids of items that meet a ``picture_condition`` and another one, ascending."""

    def removed_ids(self) -> Ids:
        """Ids in the published index that belong to deleted items."""

    def pictures(self, ids: Iterable[int]) -> Iterator[StoredPicture]:
        """The items among these ids, in no particular order."""

    def feature(self, item_id: int) -> Feature:
        """The stored feature of an item, shape (dimension,)."""

    def features_of(self, ids: Iterable[int]) -> tuple[Ids, Feature]:
        """The features of items, each of which is given once: ids, shape (n,), in any order; shape (n, dimension)."""

    def scan(self, condition: Condition, *, unindexed: bool = False) -> Iterator[tuple[Ids, Stored]]:
        """Yield ids and features of the items that meet a condition, in chunks, by ascending id.

        Args:
            condition: to be met.
            unindexed: only items outside the published index.

        Yields:
            Ids of shape (n,) and features of shape (n, dimension): float16, or float32 of packed ones.
        """

    def nearest(self, query: Feature, condition: Condition, size: int, *, unindexed: bool = False) -> Ids:
        """Ids of the ``size`` items nearest to a query, shape (dimension,), among those that meet a condition.

        All are compared; of equal ones, those added first come. Only for a truth that ``compares_itself``. With
        ``unindexed``, only items that are not in the published index count.
        """

    def candidates(
        self, ids: Ids, features: Feature, marked: Condition, condition: Condition = EVERYTHING
    ) -> tuple[Pictures, npt.NDArray[np.bool_]]:
        """Return items whose features the caller has, in the given order, and which of them meet ``marked``.

        Args:
            ids: without duplicates; shape (n,).
            features: of these items; shape (n, dimension). Rows are not verified.
            marked: the condition that marks an item.
            condition: one that all of the items are known to meet.
        """

    def first_of_products(self, product_ids: Iterable[str], limit: int) -> tuple[Ids, Ids]:
        """The first ``limit`` pictures of each product, by PicName: ids, and positions of their products."""

    def siblings(self, ids: Iterable[int], condition: Condition = EVERYTHING) -> Iterator[Pictures]:
        """Yield the items among these ids that meet a condition, in non-empty chunks; only features are verified."""

    def verify(self, ids: Iterable[int]) -> None:
        """Hold items, without their features, against their checksums; raises InstanceDamaged."""

    def stored_records(self, keys: Sequence[Key]) -> dict[Key, Upsert]:
        """The stored items among these keys, as the upserts that would write them again."""

    def all_stored_records(self, *, chunk: int = 1024) -> Iterator[Upsert]:
        """Yield every item as the upsert that would write it again, in the order of addition."""

    def fingerprints(self, condition: Condition) -> Iterator[Fingerprints]:
        """Yield what copies are recognised by, of the items that meet a condition, in chunks, by ascending id."""


class Storage(Protocol):
    """An instance's truth and index, opened for reading or by a writer."""

    @property
    def folder(self) -> Path:
        """The folder that names the instance."""

    @property
    def store(self) -> Truth:
        """The truth."""

    @property
    def is_shared(self) -> bool:
        """Whether others may write at the same time: what was read before a commit may be outdated in it."""

    @property
    def is_replaced(self) -> bool:
        """Whether another instance has taken its place, or it was removed: reads give an old state."""

    def close(self) -> None:
        """Release open resources."""

    def errors(self) -> AbstractContextManager[None]:
        """Translate errors of the storage's libraries into those of ``imgsearch.errors``."""

    def about(self) -> dict[str, str | int]:
        """What else there is to say about where the items lie, by name; empty for a folder."""

    def committing(self, products: Collection[str] | None = None) -> AbstractContextManager[Truth]:
        """Commit the changes of a block atomically; they are durable when it ends.

        Where several write at once, blocks that change the same products wait for each other, so what a block reads of
        its products stays true until it ends.

        Args:
            products: ProductIds that the block changes; None: any.

        Raises:
            StorageFull, StorageUnwritable: no change of the block is kept.
        """

    def prepare(self) -> None:
        """Start loading in the background what index searches need."""

    def index(self, generation: Generation) -> Index:
        """The index of the generation that the current snapshot names.

        Args:
            generation: as ``store.generation()`` of this storage returned it.

        Raises:
            IndexReplaced: it has been replaced since.
            InstanceDamaged: it is corrupted.
        """

    def is_index_due(self) -> bool:
        """Whether enough items were added or removed to make a refresh worthwhile."""

    def count_to_index(self) -> int:
        """How many items a rebuild would index; raises InstanceEmpty if there are none."""

    def refresh(self) -> Generation | None:
        """Bring the index up to date the cheapest way; raises the same errors as ``rebuild``.

        Returns:
            The published index; None: another process is making the first one.
        """

    def rebuild(self) -> Generation:
        """Rebuild the index from the stored features and publish it; searches continue meanwhile.

        Raises:
            InstanceEmpty: there are no items.
            StorageFull, StorageUnwritable: the old index stays.
        """

    def retune(self, tuning: Projection | None) -> Generation | None:
        """Rewrite features and index for another tuning (None: none), in one commit; None: there are no items."""

    def drop_index_if_empty(self) -> None:
        """Remove the index of an empty instance: it still holds data of deleted items."""
