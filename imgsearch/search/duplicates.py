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

LARGEST_DISTANCE: Final = 26
COSINE_WEIGHT: Final = 100.0
"""A cosine of 0.99 counts like one differing bit. Both are chosen on half of the evaluation photos."""
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
    """At least two, the first picture first, the others by falling Score."""
    scores: npt.NDArray[np.float64]
    """Towards the first picture; 1 for the same bytes."""


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
    pictures = PictureClasses.read(storage.store, condition, within_products=products is Products.WITHIN)
    stars = _Stars(pictures, calibration, preference)
    found = stars.grouped(Level.SAME, *_same_pairs(storage.store, pictures, products), doubles=True)
    if min_score is not None:
        pairs, cosines = similar_pairs(storage, condition, pictures, stars.left(), calibration, min_score)
        wanted = _of_wanted_products(pictures, pairs, products)
        found += stars.grouped(Level.SIMILAR, pairs[wanted], cosines[wanted])
    if products is Products.ACROSS:
        found = [group for group in found if len(set(_products(pictures, group.ids))) > 1]
    return Groups(found, len(pictures.ids), pictures.unhashed)


def _products(pictures: PictureClasses, ids: Ids) -> list[int]:
    found: list[int] = pictures.products[np.searchsorted(pictures.ids, ids)].tolist()
    return found


def _of_wanted_products(pictures: PictureClasses, pairs: Numbers, products: Products) -> npt.NDArray[np.bool_]:
    """Which pairs of classes can be in a group that counts; shape (n,)."""
    if products is not Products.WITHIN:
        return np.ones(len(pairs), np.bool_)
    both = pictures.product_of(pairs)
    same: npt.NDArray[np.bool_] = both[:, 0] == both[:, 1]
    return same


def _same_pairs(store: Truth, pictures: PictureClasses, products: Products) -> tuple[Numbers, Cosines]:
    """Pairs of classes that show the same though their bytes differ, shape (n, 2), and their cosines."""
    hashed = np.flatnonzero(pictures.hashed)
    hashes = pictures.hashes[hashed]
    number, first = equal_rows([hashes[:, word] for word in range(HASH_WORDS)])
    # Of equal hashes, however many, each is paired with the first one only.
    others = np.flatnonzero(first[number] != np.arange(len(hashed)))
    equal = np.stack([first[number[others]], others], axis=1)
    pairs = hashed[np.concatenate([equal, first[near_pairs(hashes[first], LARGEST_DISTANCE)]])]
    pairs = pairs[_of_wanted_products(pictures, pairs, products)]
    pairs = pairs[np.argsort(pictures.first[pairs[:, 0]])]  # so that neighbours are read together
    kept: list[Numbers] = [np.zeros((0, 2), np.int64)]
    cosines: list[Cosines] = [np.zeros(0, np.float32)]
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        some = pairs[start : start + PAIRS_AT_ONCE]
        near = cosines_of_pairs(store, pictures.first_ids(some))
        same = is_same(distances(pictures.hashes[some[:, 0]], pictures.hashes[some[:, 1]]), near)
        kept.append(some[same])
        cosines.append(near[same])
    return np.concatenate(kept), np.concatenate(cosines)


class _Stars:
    """Forms groups: a picture, and those that match it and are in no other group yet.

    Pictures are taken by falling preference, then in the order of addition.
    """

    def __init__(
        self, pictures: PictureClasses, calibration: Calibration, preference: Callable[[Ids], Numbers]
    ) -> None:
        self._pictures = pictures
        self._calibration = calibration
        self._preference = preference
        self._is_taken = np.zeros(len(pictures.first), np.bool_)
        order = np.argsort(pictures.class_of, kind="stable")
        self._items = order
        self._begins = np.searchsorted(pictures.class_of[order], np.arange(len(pictures.first) + 1))

    def left(self) -> Numbers:
        """The classes that are not a later picture of a group."""
        return np.flatnonzero(~self._is_taken)

    def grouped(self, level: Level, pairs: Numbers, cosines: Cosines, *, doubles: bool = False) -> list[Group]:
        """The groups that the pairs make.

        Args:
            level: of the groups.
            pairs: of classes, shape (n, 2).
            cosines: of the pairs.
            doubles: classes of several items are groups, too, and all items of a class are members.
        """
        sizes = np.diff(self._begins)
        several = np.flatnonzero((sizes > 1) & ~self._is_taken) if doubles else np.zeros(0, np.int64)
        classes = np.union1d(pairs, several)
        both = np.concatenate([pairs, pairs[:, ::-1]])
        order = np.argsort(both[:, 0], kind="stable")
        owners, partners, near = both[order, 0], both[order, 1], np.concatenate([cosines, cosines])[order]
        begins, ends = (np.searchsorted(owners, classes, side) for side in ("left", "right"))
        items = [self._of_class(number, whole=doubles) for number in classes.tolist()]
        ranks = self._ranks(items)
        taken = self._is_taken.copy()
        found = []
        for place in sorted(range(len(classes)), key=lambda place: ranks[place]):
            number = int(classes[place])
            if taken[number]:
                continue
            mine = slice(int(begins[place]), int(ends[place]))
            free = ~taken[partners[mine]]
            others, scores = partners[mine][free], self._calibration.scores(near[mine][free])
            if not len(others) and len(items[place]) < 2:
                continue
            taken[number] = taken[others] = True
            self._is_taken[others] = True
            members, marks = [items[place]], [np.ones(len(items[place]))]
            for other, score in sorted(zip(others.tolist(), scores.tolist(), strict=True), key=lambda one: -one[1]):
                members.append(self._of_class(other, whole=doubles))
                marks.append(np.full(len(members[-1]), score))
            ids = self._pictures.ids[np.concatenate(members)]
            found.append(Group(level, ids, np.concatenate(marks)))
        return sorted(found, key=lambda group: int(group.ids[0]))

    def _of_class(self, number: int, *, whole: bool) -> Numbers:
        """The places of a class's items, the preferred one first; without ``whole``, only the first one's."""
        members = self._items[self._begins[number] : self._begins[number + 1]]
        return members if whole else members[:1]

    def _ranks(self, items: list[Numbers]) -> list[tuple[int, int]]:
        """What classes are ordered by; puts the preferred item of each class first."""
        if not items:
            return []
        places = np.concatenate(items)
        preferred = dict(zip(places.tolist(), self._preference(self._pictures.ids[places]).tolist(), strict=True))
        for number, members in enumerate(items):
            items[number] = np.array(sorted(members.tolist(), key=lambda place: (-preferred[place], place)), np.int64)
        return [(-preferred[int(members[0])], int(members[0])) for members in items]
