"""Telling what operations would do, and what the gateway does for sources behind a network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import numpy as np
import pytest

from imgsearch import AddPicture, Attributes, DeletePictures, Instance, Key, Outcome, PictureOptions, Region, Status
from imgsearch.errors import InstanceEmpty, StorageUnwritable, UnreadableSource
from imgsearch.jobs.dry_run import dry_run_for_new
from imgsearch.types import Content, Operation, Refused
from tests.pictures import jpeg


class Slow:
    """A picture that takes its time to come; it remembers how many came at once."""

    under_way = most = 0
    lock = Lock()

    def __init__(self, number: int, seconds: float = 0.05, error: Exception | None = None) -> None:
        self.number, self.seconds, self.error = number, seconds, error

    def token(self) -> bytes:
        return b"token %d" % self.number

    def read(self, max_bytes: int) -> Content:
        with Slow.lock:
            Slow.under_way += 1
            Slow.most = max(Slow.most, Slow.under_way)
        time.sleep(self.seconds)
        with Slow.lock:
            Slow.under_way -= 1
        if self.error is not None:
            raise self.error
        return Content(jpeg(self.number), self.token())


class Unread(Slow):
    def read(self, max_bytes: int) -> Content:
        raise AssertionError("no picture may be read")


def add(number: int, picture: Slow, options: PictureOptions | None = None, text: str | None = None) -> AddPicture:
    name = f"{number:03}.jpg"
    return AddPicture(name, Key("p", name), picture, options or PictureOptions(), Attributes(str_attr=text))


def statuses(outcomes: list[Outcome]) -> list[str]:
    return [f"{outcome.pic_name}: {outcome.status}" for outcome in outcomes]


@pytest.mark.extended
def test_what_is_foreseen_is_what_happens(instance: Instance) -> None:
    """Every kind of operation, dry_run without reading and then done."""
    list(instance.apply([add(number, Slow(number, 0)) for number in range(5)]))

    def operations(picture: type[Slow]) -> list[Operation]:
        return [
            add(0, picture(0)),
            add(1, picture(9, 0)),
            add(2, picture(2), text="red"),
            add(3, picture(3, 0), PictureOptions(region=Region(0, 100, 0, 100))),
            add(7, picture(7, 0)),
            DeletePictures("4", "p", "004.jpg"),
            DeletePictures("5", "none"),
            Refused("6", UnreadableSource("no"), "p", "n.jpg"),
        ]

    dry_run = list(instance.dry_run(operations(Unread)))
    assert instance.info().items == 5
    done = list(instance.apply(operations(Slow)))
    assert statuses(dry_run) == statuses(done)
    assert statuses(done) == [
        "000.jpg: unchanged",
        "001.jpg: replaced",
        "002.jpg: replaced",
        "003.jpg: replaced",
        "007.jpg: added",
        "004.jpg: deleted",
        "n.jpg: failed",
    ]


def test_of_an_instance_that_is_not_there_all_is_foreseen_as_new() -> None:
    given: list[Operation] = [add(1, Unread(1)), DeletePictures("2", "p"), Refused("3", UnreadableSource("no"))]
    assert [outcome.status for outcome in dry_run_for_new(given)] == [Status.ADDED, Status.FAILED]


@pytest.mark.extended
def test_readers_read_more_at_once_and_change_nothing(folder: Path, tmp_path: Path) -> None:
    """Order, features and outcomes are those of an instance that reads picture by picture."""
    stored = []
    for name, readers in (("one", 0), ("many", 12)):
        Instance.create(tmp_path / name)
        Slow.most = 0
        with Instance.open(tmp_path / name) as instance:
            outcomes = list(instance.apply([add(n, Slow(n)) for n in range(30)], workers=2, readers=readers))
            assert [outcome.pic_name for outcome in outcomes] == [f"{n:03}.jpg" for n in range(30)]
            stored.append([instance._opened.engine.store.feature(n) for n in range(1, 31)])
        assert Slow.most <= max(readers, 2)
        assert (Slow.most > 2) == (readers > 2)
    np.testing.assert_array_equal(*stored)


def test_what_ends_the_run_loses_nothing_before_it(instance: Instance) -> None:
    """Pictures before the one whose source went away are committed and told; those behind it are not."""
    gone = StorageUnwritable("planted")
    outcomes: list[Outcome] = []
    given = [add(n, Slow(n, 0.01, gone if n == 7 else None)) for n in range(12)]
    with pytest.raises(StorageUnwritable, match="planted"):
        outcomes.extend(instance.apply_stream(given, readers=4))
    assert [outcome.pic_name for outcome in outcomes] == [f"{n:03}.jpg" for n in range(7)]
    assert instance.info().items == 7


def test_a_source_that_fails_loses_nothing_it_gave_before(instance: Instance) -> None:
    """As when the listing of a bucket is refused in the middle of a manifest."""

    def source() -> Iterator[Operation]:
        yield from (add(n, Slow(n, 0.01)) for n in range(7))
        raise StorageUnwritable("planted")

    outcomes: list[Outcome] = []
    with pytest.raises(StorageUnwritable, match="planted"):
        outcomes.extend(instance.apply_stream(source(), readers=4))
    assert len(outcomes) == instance.info().items == 7


def test_rebuild_at_the_end(instance: Instance) -> None:
    """Refused before any work without items; else a new generation with all of them, whether or not one is due."""
    with pytest.raises(InstanceEmpty):
        list(instance.apply([add(1, Unread(1))], rebuild=True))
    list(instance.apply([add(1, Slow(1))]))
    first = instance.info().generation
    list(instance.apply([add(2, Slow(2))], rebuild=True))
    second = instance.info().generation
    assert first is not None
    assert second is not None
    assert (second.number, second.items) == (first.number + 1, 2)
    list(instance.apply([DeletePictures("all", "p")], rebuild=True))
    assert instance.info().items == 0
