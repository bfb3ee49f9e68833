"""What the rest of the program asks of a storage: the port that another backend implements.

A storage has a truth and an index. The truth holds items, features and settings; a commit of it is the acknowledgement.
The index is derived from the truth and says only what is near: it may name ids that are gone and lack those that are
new, and nothing is believed of it that the truth does not confirm. What ranks, pages and scores lies above
(``imgsearch.search``) and knows these interfaces only.

Ids are whole numbers that are never given twice, so that an index that is behind is harmless.

The contract is tested by ``tests/storage/test_contract.py``, to which any implementation can be handed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from imgsearch.filters.tree import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from imgsearch.errors import InstanceDamaged
    from imgsearch.filters.tree import Condition
    from imgsearch.projection import Projection
    from imgsearch.storage.integrity.check import Problem
    from imgsearch.storage.integrity.repair import Repair
    from imgsearch.storage.permissions import Exposure
    from imgsearch.types import Item, Upsert
    from imgsearch.values import Attributes, Key, Location

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]
    Stored = npt.NDArray[np.float16]

__all__ = ["Backend", "Generation", "Index", "IndexReplaced", "Pictures", "Storage", "StoredPicture", "Truth"]


class IndexReplaced(Exception):
    """The index of a snapshot is no longer there, as a newer one has been published: take a new snapshot."""


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """An item as a search returns it."""

    item: Item
    feature: Feature
    """Shape (dimension,), L2-normalised."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Some items as a search ranks them, column by column."""

    ids: Ids
    """Shape (n,)."""
    groups: list[tuple[str, int]]
    """ProductId and category of each."""
    features: Feature
    """Shape (n, dimension), L2-normalised; (0, 0) if there are none."""

    def take(self, positions: Ids) -> Pictures:
        """Those at the positions, in their order."""
        return Pictures(self.ids[positions], [self.groups[n] for n in positions.tolist()], self.features[positions])


class Generation(Protocol):
    """A published index, as the truth describes it."""

    @property
    def number(self) -> int:
        """One more than that of the generation before."""

    @property
    def structure(self) -> str:
        """What people call it: ``flat``, or the name of an approximate structure."""

    @property
    def items(self) -> int:
        """How many items it was built of."""

    @property
    def is_exact(self) -> bool:
        """Whether it compares a query with every item."""

    @property
    def recall(self) -> float | None:
        """recall@10 against an exact search, measured when it was built; None of an exact one."""

    @property
    def nprobe(self) -> int | None:
        """How many lists a search looks at; None of an exact one."""

    @property
    def created(self) -> int:
        """Seconds since the epoch."""

    @property
    def bytes(self) -> int:
        """How much room it takes."""

    @property
    def file_name(self) -> str:
        """What it is called below the instance's folder."""


class Index(Protocol):
    """What is near to a query, opened for one generation."""

    def shortlist(
        self,
        query: Feature,
        size: int,
        *,
        categories: tuple[int, ...] | None = None,
        only: Ids | None = None,
        without: Ids | None = None,
    ) -> Ids:
        """Ids of the nearest items of a query, at least ``size`` of them or all there are, in no particular order.

        Args:
            query: shape (dimension,), L2-normalised.
            size: how many are wanted.
            categories: those of these categories suffice; None: of all.
            only: if given, only these ids count.
            without: likewise, ids that do not count.
        """

    def shortlists(
        self, queries: Feature, size: int, categories: Sequence[tuple[int, ...] | None], without: Ids
    ) -> list[Ids]:
        """What ``shortlist`` gives for each of many queries; shape of ``queries`` (n, dimension)."""


class Truth(Protocol):
    """Items, features and settings.

    Methods that read may be called at any time, and see one snapshot inside of ``reading``. Methods that write are
    called inside of ``Storage.committing`` only.

    Raises:
        InstanceDamaged: what was read is not what was written.
        StorageFull, StorageUnwritable
    """

    def reading(self) -> AbstractContextManager[None]:
        """A block that sees one snapshot."""

    def damage(self, what: str) -> InstanceDamaged:
        """The error to raise when what was read contradicts itself."""

    # Settings

    def settings(self) -> dict[str, Any]:
        """Everything that was given when the storage was made, and set since."""

    def set_setting(self, name: str, value: Any) -> None:
        """Add a setting that JSON can hold, or change it."""

    def made_by(self) -> dict[str, Any]:
        """The setting ``model``: what made the features."""

    def tuning(self) -> Projection | None:
        """The projection that all stored features have been through; None without one."""

    def set_tuning(self, tuning: Projection | None) -> None:
        """Say what all stored features have been through."""

    # Counting

    def counts(self) -> dict[int, int]:
        """Items per category, without the empty ones; exact."""

    def count(self, condition: Condition = EVERYTHING) -> int:
        """How many items meet a condition; exact."""

    def count_products(self) -> int:
        """How many different ProductIds there are."""

    def count_unindexed(self) -> int:
        """How many items the published index does not have."""

    def count_removed(self) -> int:
        """How many ids of the published index are no longer items."""

    def products_with_several(self) -> list[tuple[str, int]]:
        """ProductIds with more than one picture, and how many each has, in the order of the ProductIds."""

    def generation(self) -> Generation | None:
        """The published index; None: there is none, and everything is scanned."""

    # Reading

    def item(self, key: Key) -> Item | None:
        """The item with this key."""

    def items(self, condition: Condition) -> Iterator[Item]:
        """The items that meet a condition, in the order they were added."""

    def has(self, item_id: int) -> bool:
        """Whether there is an item with that id."""

    def keys(self, condition: Condition) -> list[Key]:
        """The keys of the items that meet a condition, sorted."""

    def matching_ids(self, condition: Condition) -> Ids:
        """Ids of the items that meet a condition, rising."""

    def matching(self, ids: Iterable[int], condition: Condition) -> Ids:
        """Those of the ids that are items and meet a condition, in no particular order."""

    def identical_ids(self, same: Condition, condition: Condition, limit: int) -> Ids:
        """The first ``limit`` ids of items that meet a ``picture_condition`` and another condition, rising."""

    def removed_ids(self) -> Ids:
        """Ids that the published index has and that are no longer items."""

    def pictures(self, ids: Iterable[int]) -> Iterator[StoredPicture]:
        """Those of the ids that are items, in no particular order."""

    def feature(self, item_id: int) -> Feature:
        """The stored feature of an item, shape (dimension,)."""

    def features_of(self, ids: Iterable[int]) -> tuple[Ids, Feature]:
        """The features of some items, each given once.

        Returns:
            Ids of shape (n,) in no particular order, and features of shape (n, dimension).
        """

    def scan(self, condition: Condition, *, unindexed: bool = False) -> Iterator[tuple[Ids, Stored]]:
        """Ids and features of what meets a condition, by rising id, piece by piece.

        Args:
            condition: what they meet.
            unindexed: only what the published index does not have.

        Yields:
            Ids of shape (n,) and float16 features of shape (n, dimension).
        """

    def candidates(
        self, ids: Ids, features: Feature, marked: Condition, condition: Condition = EVERYTHING
    ) -> tuple[Pictures, npt.NDArray[np.bool_]]:
        """Items whose features are known, in the order given, and which of them meet ``marked``.

        Args:
            ids: each once; shape (n,).
            features: theirs; shape (n, dimension).
            marked: what an item meets to be marked.
            condition: what all of them are known to meet.
        """

    def first_of_products(self, product_ids: Iterable[str], limit: int) -> Ids:
        """Ids of pictures of some products, of each the first ``limit`` by PicName (by code points)."""

    def siblings(self, ids: Iterable[int], condition: Condition = EVERYTHING) -> Iterator[Pictures]:
        """Those of the ids that are items and meet a condition, some at a time, at least one."""

    def stored_records(self, keys: Sequence[Key]) -> dict[Key, Upsert]:
        """Those of the keys that are items, as they would be written again."""

    def all_stored_records(self, *, chunk: int = 1024) -> Iterator[Upsert]:
        """Every item as it would be written again, in the order they were added."""

    # Writing

    def upsert(self, change: Upsert) -> bool:
        """Write an item under a new id; return whether it takes the place of one with the same key."""

    def insert(self, changes: Sequence[Upsert]) -> Sequence[int]:
        """Write items, none of whose keys is stored, under new ids that rise in their order; return these."""

    def update(
        self, item: Item, attributes: Attributes, category_id: int, category_given: bool, location: Location | None
    ) -> int:
        """Change what can be changed without the picture; return the item's id from now on."""

    def set_tokens(self, tokens: Sequence[tuple[int, bytes | None]]) -> None:
        """Remember the sources' tokens for items: pairs of id and token."""

    def remove(self, keys: Iterable[Key]) -> None:
        """Delete items by their keys."""

    def delete(self, condition: Condition) -> list[Key]:
        """Delete all items that meet a condition; return their keys, sorted."""


class Storage(Protocol):
    """One instance's truth and index, opened for reading, or for writing by the one writer that there may be."""

    @property
    def folder(self) -> Path:
        """What people call the instance by."""

    @property
    def store(self) -> Truth:
        """The truth."""

    def close(self) -> None:
        """Release what is open."""

    def errors(self) -> AbstractContextManager[None]:
        """A block in which what the storage's libraries raise gets its name in ``imgsearch.errors``."""

    def committing(self) -> AbstractContextManager[Truth]:
        """A block of changes that is committed as a whole, durable at its end, or not at all.

        Raises:
            StorageFull, StorageUnwritable: nothing of the block is kept.
        """

    def prepare(self) -> None:
        """Begin to load what searches through an index need, while other work goes on."""

    def index(self) -> Index:
        """The index of the published generation, as the present snapshot names it.

        Raises:
            IndexReplaced: it is gone since.
            InstanceDamaged: it is not what was published.
        """

    def is_index_due(self) -> bool:
        """Whether searches would profit from an index that has the new items and lacks the removed ones."""

    def count_to_index(self) -> int:
        """How many items a rebuild would index.

        Raises:
            InstanceEmpty: none.
        """

    def refresh(self) -> Generation:
        """Bring the index up to date the cheapest way; raises what ``rebuild`` does."""

    def rebuild(self) -> Generation:
        """Build the index anew from the stored features and publish it; searches go on meanwhile.

        Raises:
            InstanceEmpty: there are no items.
            StorageFull, StorageUnwritable: the old one stays.
        """

    def retune(self, tuning: Projection | None) -> Generation | None:
        """Rewrite all features from the present tuning to another (None: to none), and the index, in one commit.

        Returns:
            The new generation; None in an instance without items.
        """

    def drop_index_if_empty(self) -> None:
        """Remove the index of an instance without items, which would keep what was deleted."""


class Backend(Protocol):
    """A kind of storage: what can be done with an instance by its folder, before it is opened."""

    def exists(self, folder: Path) -> bool:
        """Whether the folder names an instance."""

    def check_exists(self, folder: Path) -> None:
        """Refuse a folder that names none.

        Raises:
            InstanceNotFound, InstanceDamaged
        """

    def is_leftover(self, path: Path) -> bool:
        """Whether a killed ``create`` may have left a file in a folder that names no instance."""

    def create(self, folder: Path, settings: dict[str, Any]) -> None:
        """Make an empty instance, whole or not at all."""

    def open(self, folder: Path, *, write: bool = False) -> Storage:
        """Open an instance; for writing, inside of ``writing`` only.

        Raises:
            InstanceNotFound, InstanceDamaged, NewerFormat, StorageUnwritable
        """

    def writing(self, folder: Path, timeout: float) -> AbstractContextManager[None]:
        """Be the one writer inside of the block.

        Raises:
            InstanceLocked: another process writes for longer than ``timeout`` seconds.
        """

    def shared_file_system(self, folder: Path) -> str | None:
        """The type of a file system on which an instance is not safe, as other machines may use it too; else None."""

    def disk_bytes(self, folder: Path) -> int:
        """How much the instance takes on this machine's disk."""

    def check(self, folder: Path, *, read_data: bool, settings: Sequence[str]) -> list[Problem]:
        """Look for damage, without writing and without a lock.

        Args:
            folder: of the instance, which need not be fit for opening.
            read_data: read everything and compare it with its checksums.
            settings: names of those that must be there.

        Raises:
            InstanceNotFound, NewerFormat, OlderFormat, StorageUnwritable
        """

    def repair(self, folder: Path, *, settings: Sequence[str], lock_timeout: float) -> Repair:
        """Make what is derived anew, and put aside what is true and broken.

        Raises:
            InstanceDamaged: too little is left.
            InstanceNotFound, InstanceLocked, NewerFormat, StorageFull, StorageUnwritable
        """

    def exposures(self, folder: Path) -> list[Exposure]:
        """What others on this machine may read or change.

        Raises:
            InstanceNotFound, InstanceDamaged, StorageUnwritable
        """
