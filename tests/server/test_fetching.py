"""Pictures are read before a writer gets them: in order, side by side, and only those that have changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgsearch import Instance, Key
from imgsearch.errors import RemoteError, UnreadableSource
from imgsearch.server.fetching import DOWNLOADS, fetched
from imgsearch.types import AddPicture, Content, DeletePictures, Operation, Status
from imgsearch.values import PictureOptions
from tests.storage.arithmetic import ArithmeticInstance

PATIENCE = 60


class Remote:
    """A picture that can be held back, and counts how often it is read."""

    def __init__(self, number: int, error: Exception | None = None, *, held: bool = False) -> None:
        self.number, self.error, self.reads = number, error, 0
        self.go_on = threading.Event()
        if not held:
            self.go_on.set()

    def token(self) -> bytes:
        return b"token %d" % self.number

    def read(self, max_bytes: int) -> Content:
        self.reads += 1
        assert max_bytes > 0
        assert self.go_on.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return Content(b"picture %d" % self.number, self.token())


def addition(picture: Remote, name: str | None = None) -> AddPicture:
    return AddPicture("remote", Key("p", name or f"{picture.number}.jpg"), picture, PictureOptions())


@pytest.fixture
def instance(folder: Path) -> Iterator[Instance]:
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as opened:
        yield opened


def test_the_order_is_kept(instance: Instance) -> None:
    """Deletions included; each picture is read once, whoever reads it again."""
    pictures = [Remote(number) for number in range(3 * DOWNLOADS)]
    operations: list[Operation] = [addition(picture) for picture in pictures]
    operations.insert(5, DeletePictures("remote", "p"))
    given = list(fetched(operations, instance))
    assert [type(one) for one in given] == [type(one) for one in operations]
    assert given[5] is operations[5]
    outcomes = list(instance.apply(given))
    assert [outcome.status for outcome in outcomes].count(Status.ADDED) == len(pictures)
    assert {picture.reads for picture in pictures} == {1}


def test_what_has_not_changed_is_not_read(instance: Instance) -> None:
    list(instance.apply(fetched([addition(Remote(1))], instance)))
    unchanged, changed = Remote(1), Remote(2)
    outcomes = list(instance.apply(fetched([addition(unchanged), addition(changed, "1.jpg")], instance)))
    assert (unchanged.reads, changed.reads) == (0, 1)
    assert [outcome.status for outcome in outcomes] == [Status.UNCHANGED, Status.REPLACED]


def test_as_many_are_read_at_once(instance: Instance) -> None:
    """And no more are in memory: the next one begins when the first is taken."""
    pictures = [Remote(number, held=True) for number in range(2 * DOWNLOADS)]
    stream = fetched([addition(picture) for picture in pictures], instance)
    for picture in pictures[1:]:
        picture.go_on.set()
    taken: list[Operation] = []
    taking = threading.Thread(target=lambda: taken.append(next(stream)))
    taking.start()
    assert not taken, "the first is not there yet"
    pictures[0].go_on.set()
    taking.join(PATIENCE)
    assert [one.key for one in taken if isinstance(one, AddPicture)] == [Key("p", "0.jpg")]
    assert sum(picture.reads for picture in pictures) <= DOWNLOADS
    assert len(list(stream)) == 2 * DOWNLOADS - 1


def test_a_picture_that_cannot_be_read_fails_alone(instance: Instance) -> None:
    """It is given, so that its outcome has its place."""
    broken = Remote(2, UnreadableSource("gone"))
    outcomes = list(instance.apply(fetched([addition(Remote(1)), addition(broken), addition(Remote(3))], instance)))
    assert [outcome.status for outcome in outcomes] == [Status.ADDED, Status.FAILED, Status.ADDED]


def test_what_is_not_the_pictures_own_ends_the_stream(instance: Instance) -> None:
    """Before a writer gets it, which would fail what others have given it, too."""
    stream = fetched([addition(Remote(1)), addition(Remote(2, RemoteError("no network")))], instance)
    next(stream)
    with pytest.raises(RemoteError, match="no network"):
        next(stream)


def test_who_stops_early_leaves_no_thread(instance: Instance) -> None:
    before = threading.active_count()
    stream = fetched([addition(Remote(number)) for number in range(100)], instance)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
