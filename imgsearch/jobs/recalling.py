"""Recalling what is stored of a picture's bytes under another key, so that no network runs for them again."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InstanceDamaged, InvalidValue
from imgsearch.filters.tree import EVERYTHING, picture_condition
from imgsearch.jobs.comparison import category_in_use, same_request
from imgsearch.types import Extracted, Recalled

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgsearch.opened import Opened
    from imgsearch.types import AddPicture, Item
    from imgsearch.values import PictureOptions

__all__ = ["LookUp", "Recall"]

COPIES: Final = 16
"""How many items of the same bytes are looked at; those beyond have hardly other options."""


class Recall:
    """Looks up what is stored of a picture; called in worker threads.

    Args:
        opened: the instance. What is committed counts.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._lock = Lock()
        """One connection is enough: reading a picture takes longer than looking it up."""

    def __call__(self, content_hash: bytes, options: PictureOptions) -> Recalled | None:
        """What extracting these bytes with these options would give, if it is stored; with its stored feature."""
        same = picture_condition(content_hash, options.given_region)
        kind = self._opened.kind
        try:
            with self._lock, self._opened.reading() as engine, engine.store.reading():
                ids = engine.store.identical_ids(same, EVERYTHING, COPIES)
                for picture in engine.store.pictures(ids.tolist()):
                    if same_request(picture.item, options, kind):
                        category_id, _ = category_in_use(picture.item, options, kind)
                        item: Item = picture.item
                        return Recalled(
                            Extracted(
                                content_hash=item.content_hash,
                                token=None,
                                region=item.region,
                                subjects=item.subjects,
                                category_id=category_id,
                                chances=(),
                                feature=picture.feature,
                                picture_hash=item.picture_hash,
                            )
                        )
        except InstanceDamaged:  # of another item, which 'check' tells; this picture is extracted
            return None
        return None


@dataclass(frozen=True, slots=True)
class LookUp:
    """What the pipeline asks about the bytes of a picture, in a worker thread, before it extracts them."""

    operation: AddPicture
    reusable: Item | None
    """The item under the same key, if it was made with the same options."""
    taken: Item | None
    """The item under the same key, if the same run has made it: another picture is refused."""
    recall: Callable[[bytes, PictureOptions], Recalled | None] | None

    def __call__(self, content_hash: bytes) -> Recalled | bool:
        """True if the item has these bytes; what is stored of them elsewhere; False if they are new.

        Raises:
            InvalidValue: another picture of this run has the key.
        """
        if self.taken is not None and content_hash != self.taken.content_hash:
            raise self._refusal(self.taken)
        if self.reusable is not None and content_hash == self.reusable.content_hash:
            return True
        return (None if self.recall is None else self.recall(content_hash, self.operation.options)) or False

    def _refusal(self, taken: Item) -> InvalidValue:
        key, other = self.operation.key, taken.location or "another picture of this run"
        return InvalidValue(
            f"{other} has the same key (product {key.product_id!r}, picture {key.pic_name!r}) and is another picture: "
            "give the common parent folder, or tell them apart with --product-from parent or --product-id",
            code="DuplicateKey",
        )
