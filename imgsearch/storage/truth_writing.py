"""The part of the storage port that changes items; called inside ``Storage.committing`` only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from imgsearch.filters.tree import Condition
    from imgsearch.types import Item, Upsert
    from imgsearch.values import Attributes, Key, Location

__all__ = ["TruthWriting"]


class TruthWriting(Protocol):
    """Changes of items.

    Raises:
        InstanceDamaged: stored data is corrupted.
        StorageFull, StorageUnwritable
    """

    def check_key(self, key: Key) -> None:
        """Raise if this storage cannot hold an item with this key.

        Raises:
            InvalidValue
        """

    def upsert(self, change: Upsert) -> bool:
        """Write an item under a new id; return whether it replaces one with the same key."""

    def insert(self, changes: Sequence[Upsert]) -> Sequence[int]:
        """Write items under new ascending ids; return the ids.

        Their keys are not stored yet, as far as the caller can know: where several write at once, an item that another
        one has stored meanwhile is replaced.
        """

    def update(
        self, item: Item, attributes: Attributes, category_id: int, category_given: bool, location: Location | None
    ) -> int:
        """Change metadata, which needs no picture; return the item's id after the change."""

    def set_attributes(self, ids: Iterable[int], values: Mapping[str, Any]) -> None:
        """Set attributes of items; attributes that are not named keep their values.

        Args:
            ids: of the items.
            values: by the names in ``ATTRIBUTE_COLUMNS``; valid, None to unset.
        """

    def set_tokens(self, tokens: Sequence[tuple[int, bytes | None]]) -> None:
        """Store the sources' change tokens: pairs of item id and token."""

    def set_picture_hashes(self, hashes: Sequence[tuple[int, bytes]]) -> None:
        """Store perceptual hashes of items that had none: pairs of item id and hash."""

    def remove(self, keys: Iterable[Key]) -> None:
        """Delete items by their keys."""

    def delete(self, condition: Condition) -> list[Key]:
        """Delete all items that meet a condition; return their keys, sorted."""
