"""Duplicates: groups of pictures that show the same, and of those that merely resemble each other.

``same``: equal bytes, or perceptual hashes and features that are near: re-encoded, resized, strongly compressed or
slightly cropped. ``similar``: at least a given Score. A group is a picture and those that match it, so what is in it
resembles its first picture and not merely a neighbour: no chain leads from one picture to quite another.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.search.near_hashes import distances, near_pairs
from imgsearch.search.picture_classes import HASH_WORDS, PictureClasses, equal_rows
from imgsearch.search.similar_pairs import cosines_of_pairs, similar_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.search.score import Calibration
    from imgsearch.storage.port import Storage, Truth

    Ids = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.int64]
    Cosines = npt.NDArray[np.float32]

__all__ = ["Group", "Groups", "Level", "Products", "find_groups", "is_same"]

LARGEST_DISTANCE: Final = 58
COSINE_WEIGHT: Final = 200.0
"""A cosine of 0.99 counts like two differing bits. Both are chosen on half of the evaluation photos."""
PAIRS_AT_ONCE: Final = 8_192


class Level(StrEnum):
    """How alike the pictures of a group are."""

    SAME = "same"
    SIMILAR = "similar"


class Products(StrEnum):
    """Which groups count."""

    ANY = "any"
    WITHIN = "within"
    """Pictures of one product."""
    ACROSS = "across"
    """Pictures of at least two products."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group by the ids of its items."""

    level: Level
    ids: Ids
    """At least two, the first picture first."""


@dataclass(frozen=True, slots=True)
class Groups:
    """What was found."""

    groups: list[Group]
    """``same`` before ``similar``, each by the oldest first picture."""
    compared: int
    """How many items were compared."""
    unhashed: int
    """How many of them have no perceptual hash, so that only equal bytes make them ``same``."""


def is_same(differing: Numbers, cosines: Cosines) -> npt.NDArray[np.bool_]:
    """Whether pictures show the same.

    Args:
        differing: bits of their perceptual hashes; shape (n,).
        cosines: of their features; shape (n,).
    """
    same: npt.NDArray[np.bool_] = differing + COSINE_WEIGHT * (1.0 - cosines) <= LARGEST_DISTANCE
    return same


def find_groups(
    storage: Storage,
    condition: Condition,
    calibration: Calibration,
    preference: Callable[[Ids], Numbers],
    *,
    min_score: float | None = None,
    products: Products = Products.ANY,
) -> Groups:
    """Find the groups among the items that meet a condition.

    Args:
        storage: inside the ``reading`` block of its truth.
        condition: to be met.
        calibration: from cosines to Score.
        preference: gives each of some ids a number; the item with the largest one, and of these the first added, is the
            first picture of its group.
        min_score: of ``similar`` pictures; None: only ``same`` ones are looked for.
        products: which groups count.

    Raises:
        IndexReplaced: take a new snapshot.
        InstanceDamaged
    """
    within = products is Products.WITHIN
    pictures = PictureClasses.read(storage.store, condition, within_products=within)
    pictures = _with_equal_hashes(storage.store, pictures, within=within)
    stars = _Stars(pictures, preference)
    found = stars.grouped(Level.SAME, _near_pairs(storage.store, pictures, within=within), doubles=True)
    if min_score is not None:
        pairs = similar_pairs(storage, condition, pictures, stars.left(), calibration, min_score)
        found += stars.grouped(Level.SIMILAR, _allowed(pictures, pairs, within=within))
    if products is Products.ACROSS:
        found = [group for group in found if len(set(_products(pictures, group.ids))) > 1]
    return Groups(found, len(pictures.ids), pictures.unhashed)


def _products(pictures: PictureClasses, ids: Ids) -> list[int]:
    found: list[int] = pictures.products[np.searchsorted(pictures.ids, ids)].tolist()
    return found


def _allowed(pictures: PictureClasses, pairs: Numbers, *, within: bool) -> Numbers:
    """The pairs of classes that may be in one group."""
    if not within:
        return pairs
    both = pictures.product_of(pairs)
    allowed: Numbers = pairs[both[:, 0] == both[:, 1]]
    return allowed


def _with_equal_hashes(store: Truth, pictures: PictureClasses, *, within: bool) -> PictureClasses:
    """Join classes with equal hashes, if their features agree: however many these are, they are then one."""
    hashed = np.flatnonzero(pictures.hashed)
    columns = [pictures.hashes[hashed, word] for word in range(HASH_WORDS)]
    if within:
        columns.append(pictures.product_of(hashed).view(np.uint64))
    number, first = equal_rows(columns)
    others = np.flatnonzero(first[number] != np.arange(len(hashed)))
    return pictures.joined(_same(store, pictures, hashed[np.stack([first[number[others]], others], axis=1)]))


def _near_pairs(store: Truth, pictures: PictureClasses, *, within: bool) -> Numbers:
    """Pairs of classes that show the same though their hashes differ, shape (n, 2)."""
    hashed = np.flatnonzero(pictures.hashed)
    pairs = hashed[near_pairs(pictures.hashes[hashed], LARGEST_DISTANCE)]
    return _same(store, pictures, _allowed(pictures, pairs, within=within))


def _same(store: Truth, pictures: PictureClasses, pairs: Numbers) -> Numbers:
    """Those of some pairs of classes that show the same."""
    pairs = pairs[np.argsort(pictures.first[pairs[:, 0]], kind="stable")]  # so that neighbours are read together
    kept: list[Numbers] = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        some = pairs[start : start + PAIRS_AT_ONCE]
        cosines = cosines_of_pairs(store, pictures.first_ids(some))
        kept.append(some[is_same(distances(pictures.hashes[some[:, 0]], pictures.hashes[some[:, 1]]), cosines)])
    return np.concatenate(kept)


class _Stars:
    """Forms groups: a picture, and those that match it and are in no other group yet.

    Pictures are taken by falling preference, then in the order of addition.
    """

    def __init__(self, pictures: PictureClasses, preference: Callable[[Ids], Numbers]) -> None:
        self._pictures = pictures
        self._preference = preference
        self._is_taken = np.zeros(len(pictures.first), np.bool_)
        self._items = np.argsort(pictures.class_of, kind="stable")
        self._begins = np.searchsorted(pictures.class_of[self._items], np.arange(len(pictures.first) + 1))

    def left(self) -> Numbers:
        """The classes that are not a later picture of a group."""
        return np.flatnonzero(~self._is_taken)

    def grouped(self, level: Level, pairs: Numbers, *, doubles: bool = False) -> list[Group]:
        """The groups that the pairs make.

        Args:
            level: of the groups.
            pairs: of classes, shape (n, 2).
            doubles: classes of several items are groups, too, and all items of a class are members; else only the
                preferred one.
        """
        several = np.flatnonzero(np.diff(self._begins) > 1) if doubles else np.zeros(0, np.int64)
        classes = np.union1d(pairs, several)
        both = np.concatenate([pairs, pairs[:, ::-1]])
        both = both[np.argsort(both[:, 0], kind="stable")]
        begins, ends = (np.searchsorted(both[:, 0], classes, side) for side in ("left", "right"))
        members = self._members(classes)
        place_of = {number: place for place, number in enumerate(classes.tolist())}
        taken = self._is_taken[classes]
        found = []
        for place in sorted(range(len(classes)), key=lambda place: members[place][0]):
            if taken[place]:
                continue
            partners = [place_of[number] for number in both[begins[place] : ends[place], 1].tolist()]
            group = [place, *(partner for partner in partners if not taken[partner])]
            taken[group] = True
            self._is_taken[classes[group[1:]]] = True
            items = [item for one in group for _, item in (members[one] if doubles else members[one][:1])]
            if len(items) > 1:
                found.append(Group(level, self._pictures.ids[items]))
        return sorted(found, key=lambda group: int(group.ids[0]))

    def _members(self, classes: Numbers) -> list[list[tuple[int, int]]]:
        """The items of each class by falling preference, as pairs to sort by and their places."""
        items = [self._items[self._begins[number] : self._begins[number + 1]] for number in classes.tolist()]
        if not items:
            return []
        worth = iter(self._preference(self._pictures.ids[np.concatenate(items)]).tolist())
        return [sorted((-next(worth), item) for item in some.tolist()) for some in items]
