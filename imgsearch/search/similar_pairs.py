"""Pairs of pictures whose features are near: each with each where they are few, else with the index's candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.all_cores import all_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.search.picture_classes import PictureClasses
    from imgsearch.search.score import Calibration
    from imgsearch.storage.port import Storage, Truth

    Ids = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.int64]
    Features = npt.NDArray[np.float32]
    Cosines = npt.NDArray[np.float32]

__all__ = ["cosines_of_pairs", "similar_pairs"]

EXACT_UP_TO: Final = 40_000
"""So many pictures are compared each with each; of more, only those newer than the index."""
NEIGHBOURS: Final = 20
"""Candidates of each picture from the index."""
PARTNERS: Final = 64
"""A picture keeps so many pairs with those behind it, the nearest: a thousand that are alike need not all be paired."""


def cosines_of_pairs(store: Truth, pairs: Ids) -> Cosines:
    """The cosines of items' features.

    Args:
        store: inside its ``reading`` block.
        pairs: ids, shape (n, 2).

    Returns:
        Shape (n,).
    """
    if not len(pairs):
        return np.zeros(0, np.float32)
    unique, places = np.unique(pairs, return_inverse=True)
    ids, features = store.features_of(unique.tolist())
    features = features[np.argsort(ids)]
    first, second = places.reshape(-1, 2).T
    found: Cosines = np.einsum("ij,ij->i", features[first], features[second])
    return found


def similar_pairs(
    storage: Storage,
    condition: Condition,
    pictures: PictureClasses,
    left: Numbers,
    calibration: Calibration,
    min_score: float,
) -> Numbers:
    """Pairs with at least a Score.

    Args:
        storage: inside the ``reading`` block of its truth.
        condition: that the pictures meet.
        pictures: all of them.
        left: the classes to compare.
        calibration: from cosines to Score.
        min_score: 0 to 1.

    Returns:
        Pairs of classes, shape (n, 2), without duplicates.
    """
    class_at = np.full(len(pictures.ids), -1, np.int64)
    class_at[pictures.first[left]] = left
    store, generation = storage.store, storage.store.generation()
    approximate = generation is not None and not generation.is_exact and len(left) > EXACT_UP_TO
    pairs: list[Numbers] = [np.zeros((0, 2), np.int64)]

    def keep(found: Numbers, near: Cosines) -> None:
        pairs.append(np.sort(found[calibration.scores(near) >= min_score], axis=1))

    def chunks() -> Iterator[tuple[Numbers, Features]]:
        return _features(store, condition, pictures, class_at, unindexed=approximate)

    def two_chunks() -> Iterator[tuple[Numbers, Features, Numbers, Features]]:
        for classes, features in chunks():
            for others, theirs in chunks():
                if pictures.first[others[-1]] > pictures.first[classes[0]]:
                    yield classes, features, others, theirs

    with all_cores() as mapped:
        for nearest in mapped(lambda both: _each_with_each(pictures, *both), two_chunks()):
            keep(*nearest)
    if approximate and generation is not None:
        index, removed = storage.index(generation), store.removed_ids()
        for classes, features in _features(store, condition, pictures, class_at):
            near = index.shortlists(features, NEIGHBOURS, [None] * len(classes), removed)
            owners = np.repeat(classes, [len(one) for one in near])
            candidates = np.concatenate(near)
            places = np.minimum(np.searchsorted(pictures.ids, candidates), len(pictures.ids) - 1)
            others = np.where(pictures.ids[places] == candidates, class_at[places], -1)
            found = np.stack([owners, others], axis=1)[(others >= 0) & (others != owners)]
            keep(found, cosines_of_pairs(store, pictures.first_ids(found)))
    return np.unique(np.concatenate(pairs), axis=0)


def _features(
    store: Truth, condition: Condition, pictures: PictureClasses, class_at: Numbers, *, unindexed: bool = False
) -> Iterator[tuple[Numbers, Features]]:
    """Yield the classes to compare, in the order of their first items, with features; non-empty chunks."""
    for ids, stored in store.scan(condition, unindexed=unindexed):
        classes = class_at[np.searchsorted(pictures.ids, ids)]
        compared = classes >= 0
        if compared.any():
            yield classes[compared], stored[compared].astype(np.float32)


def _each_with_each(
    pictures: PictureClasses, classes: Numbers, features: Features, others: Numbers, theirs: Features
) -> tuple[Numbers, Cosines]:
    """The nearest pairs of two chunks, each pair once."""
    cosines = features @ theirs.T
    cosines[pictures.first[classes][:, None] >= pictures.first[others][None, :]] = -1.0
    if len(others) > PARTNERS:
        columns = np.argpartition(cosines, -PARTNERS, axis=1)[:, -PARTNERS:]
    else:
        columns = np.broadcast_to(np.arange(len(others)), cosines.shape)
    rows = np.arange(len(classes))[:, None]
    found = np.stack(np.broadcast_arrays(classes[rows], others[columns]), axis=-1).reshape(-1, 2)
    near = cosines[rows, columns].ravel()
    return found[near > -1.0], near[near > -1.0]
