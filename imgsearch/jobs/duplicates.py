"""Finding an instance's duplicates, and which files of copies are to spare."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from imgsearch.errors import InputError, InvalidValue
from imgsearch.search.duplicates import Level, Products, find_groups
from imgsearch.search.score import Calibration, cosines
from imgsearch.sources.files import FilePicture
from imgsearch.storage.port import IndexReplaced
from imgsearch.vision.thumbnail import dimensions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.opened import Opened
    from imgsearch.search.duplicates import Group
    from imgsearch.storage.port import Truth
    from imgsearch.types import Item
    from imgsearch.vision.limits import Limits

__all__ = ["Duplicate", "DuplicateGroup", "Duplicates", "duplicates", "spare_files"]

Choice = TypeVar("Choice", Level, Products)
ITEMS_AT_ONCE: Final = 1_024
NO_FILE: Final = -1
BYTES_COUNTED: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A picture of a group."""

    item: Item
    score: float
    """Towards the first picture of the group; 1 for the same bytes."""


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Pictures that show the same as the first of them, or resemble it."""

    level: Level
    pictures: list[Duplicate]
    """At least two: the one with the most pixels, of these the largest file, and of these the first added; then the
    others by falling Score."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found, in one snapshot."""

    compared: int
    """How many items were compared."""
    unhashed: int
    """How many of them have no perceptual hash, so that only equal bytes make them ``same``."""
    same: int
    """How many groups of that level there are."""
    similar: int
    pictures: int
    """How many pictures are in all groups."""
    groups: Iterator[DuplicateGroup]
    """``same`` before ``similar``; read as they are iterated."""


@contextmanager
def duplicates(
    opened: Opened,
    condition: Condition,
    *,
    level: str,
    min_score: float,
    products: str,
) -> Iterator[Duplicates]:
    """Find the duplicates among the items that meet a condition; see ``Instance.duplicates``.

    Raises:
        InvalidValue
    """
    wanted = _member(Level, level)
    counting = _member(Products, products)
    if not 0 <= min_score <= 1:
        raise InvalidValue(f"min_score {min_score} is not between 0 and 1")
    with opened.reading() as engine:
        while True:
            with engine.store.reading():
                opened.refresh(engine.store)
                try:
                    found = find_groups(
                        engine,
                        condition,
                        Calibration(*opened.model.score_curve),
                        lambda ids: _preference(engine.store, ids, opened.limits),
                        min_score=min_score if wanted is Level.SIMILAR else None,
                        products=counting,
                    )
                except IndexReplaced:
                    continue
                calibration = Calibration(*opened.model.score_curve)
                same = sum(group.level is Level.SAME for group in found.groups)
                yield Duplicates(
                    found.compared,
                    found.unhashed,
                    same,
                    len(found.groups) - same,
                    sum(len(group.ids) for group in found.groups),
                    _read(engine.store, found.groups, calibration),
                )
                return


def _member(kind: type[Choice], value: str) -> Choice:
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(kind)
        raise InvalidValue(f"{value!r} is not one of {names}") from None


def _preference(store: Truth, ids: npt.NDArray[np.int64], limits: Limits) -> npt.NDArray[np.int64]:
    """What the files of items are worth now: the most pixels first, then the most bytes; NO_FILE without one.

    Copies are smaller than their original, or cropped, or more strongly compressed.
    """
    worth = np.full(len(ids), NO_FILE, np.int64)
    places = {number: place for place, number in enumerate(ids.tolist())}
    for start in range(0, len(ids), ITEMS_AT_ONCE):
        for picture in store.pictures(ids[start : start + ITEMS_AT_ONCE].tolist()):
            path = picture.item.location
            if path is not None:
                with suppress(OSError, ValueError, InputError):
                    size = min(path.stat().st_size, BYTES_COUNTED)
                    width, height = dimensions(FilePicture(path), limits)
                    worth[places[picture.item.id]] = width * height * (BYTES_COUNTED + 1) + size
    return worth


def _read(store: Truth, groups: list[Group], calibration: Calibration) -> Iterator[DuplicateGroup]:
    """Yield the groups with their items, about ITEMS_AT_ONCE items at a time."""
    waiting: list[Group] = []
    count = 0
    for group in groups:
        waiting.append(group)
        count += len(group.ids)
        if count >= ITEMS_AT_ONCE:
            yield from _with_items(store, waiting, calibration)
            waiting, count = [], 0
    yield from _with_items(store, waiting, calibration)


def _with_items(store: Truth, groups: list[Group], calibration: Calibration) -> Iterator[DuplicateGroup]:
    ids = {number for group in groups for number in group.ids.tolist()}
    stored = {picture.item.id: picture for picture in store.pictures(sorted(ids))}
    for group in groups:
        pictures = [stored[number] for number in group.ids.tolist()]
        first = pictures[0]
        scores = calibration.scores(cosines(first.feature, np.stack([one.feature for one in pictures]))).tolist()
        listed = [
            Duplicate(one.item, 1.0 if one.item.content_hash == first.item.content_hash else score)
            for one, score in zip(pictures, scores, strict=True)
        ]
        yield DuplicateGroup(group.level, [listed[0], *sorted(listed[1:], key=lambda one: -one.score)])


def spare_files(group: DuplicateGroup, max_bytes: int) -> tuple[list[Path], int]:
    """The files that can go while a picture of a ``same`` group stays, and how many of its pictures are left out.

    The first file stays. Each file must be what it was when it was added: one that has changed may show something else.
    Other names of a file that stays, and of one that is listed, are left out.

    Args:
        group: of any level; of a ``similar`` one, no file is to spare.
        max_bytes: of a picture, according to the limits of the instance.
    """
    if group.level is not Level.SAME:
        return [], 0
    files: list[Path] = []
    known: set[tuple[int, int]] = set()
    left_out = 0
    for number, picture in enumerate(group.pictures):
        path, identity = picture.item.location, _identity(picture.item, max_bytes)
        if identity is None and number == 0:
            return [], len(group.pictures) - 1  # nothing is known to stay
        if path is None or identity is None or identity in known:
            left_out += 1
        elif number:
            files.append(path)
        if identity is not None:
            known.add(identity)
    return files, left_out


def _identity(item: Item, max_bytes: int) -> tuple[int, int] | None:
    """Device and inode of an item's file; None if there is none, or if it has changed since it was added."""
    from imgsearch.vision.pipeline import content_hash

    if item.location is None:
        return None
    picture = FilePicture(item.location)
    try:
        status = item.location.stat()
        unchanged = item.token is not None and picture.token() == item.token
        if not unchanged and content_hash(picture.read(max_bytes).data) != item.content_hash:
            return None
    except (OSError, ValueError, InputError):
        return None
    return status.st_dev, status.st_ino
