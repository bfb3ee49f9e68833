"""Several processes write one instance in PostgreSQL: jobs decide on what is stored when they commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imgsearch.errors import InstanceLocked
from imgsearch.search.options import SearchOptions
from imgsearch.types import AddPicture, Content, DeletePictures, Operation, Status
from imgsearch.values import Attributes, Key
from tests import postgres_server
from tests.storage.arithmetic import ArithmeticInstance, Sight

pytestmark = pytest.mark.skipif(not postgres_server.is_installed(), reason=postgres_server.MISSING)


@pytest.fixture
def place() -> str:
    """An empty instance."""
    url = postgres_server.shared_server().url()
    ArithmeticInstance.create(url)
    return url


@pytest.fixture
def instances(place: str) -> Iterator[list[ArithmeticInstance]]:
    """Two of its users."""
    with ArithmeticInstance.open(place) as one, ArithmeticInstance.open(place) as other:
        yield [one, other]


def add(product: str, name: str = "a.jpg", number: int = 1, **options: object) -> AddPicture:
    return AddPicture(f"{product}/{name}", Key(product, name), Sight(number), **options)  # type: ignore[arg-type]


@dataclass
class Meddling:
    """A picture; whoever reads it causes something else to happen first, once."""

    number: int
    event: Callable[[], object]
    has_token: bool = False
    done: list[bool] = field(default_factory=list)

    def token(self) -> bytes | None:
        if self.has_token:
            self._happen()
        return Sight(self.number, self.has_token).token()

    def read(self, max_bytes: int) -> Content:
        self._happen()
        return Sight(self.number, self.has_token).read(max_bytes)

    def _happen(self) -> None:
        if not self.done:
            self.done.append(True)
            self.event()


@pytest.mark.parametrize("has_token", [False, True])
def test_a_picture_is_compared_again(instances: list[ArithmeticInstance], has_token: bool) -> None:
    """If another writer replaces it after it was found unchanged: the later commit has the last word."""
    one, other = instances
    key = Key("p", "a.jpg")
    one.apply([AddPicture("p", key, Sight(1, has_token))])
    meddling = Meddling(1, lambda: other.apply([AddPicture("p", key, Sight(2, has_token))]), has_token)
    (outcome,) = one.apply([AddPicture("p", key, meddling, attributes=Attributes(int_attr=5))])
    item = one.item(key)
    assert (outcome.status, item.attributes.int_attr) == (Status.REPLACED, 5)
    assert item.content_hash == _hash_of(one, 1)


@pytest.mark.parametrize("has_token", [False, True])
def test_one_that_another_has_deleted_is_added(instances: list[ArithmeticInstance], has_token: bool) -> None:
    one, other = instances
    key = Key("p", "a.jpg")
    one.apply([AddPicture("p", key, Sight(1, has_token))])
    meddling = Meddling(1, lambda: other.delete("p"), has_token)
    operations = [AddPicture("p", key, meddling), add("q", number=2), AddPicture("broken", Key("r", "1"), Sight(-1))]
    outcomes = one.apply(operations)
    assert [outcome.status for outcome in outcomes] == [Status.ADDED, Status.ADDED, Status.FAILED]
    assert one.count() == 2


def _hash_of(instance: ArithmeticInstance, number: int) -> bytes:
    instance.apply([AddPicture("probe", Key("probe", "1"), Sight(number))])
    return instance.item(Key("probe", "1")).content_hash


def test_many_at_once_end_with_one_of_their_states(instances: list[ArithmeticInstance], place: str) -> None:
    """Each adds, replaces and deletes the same keys in its own order; all is there once, and found."""

    def work(own: int) -> None:
        with ArithmeticInstance.open(place) as instance:
            operations: list[Operation] = []
            for turn in range(30):
                number = (own * 7 + turn * 3) % 10
                operations.append(add(f"p{number}", number=(own + turn) % 16))
                if turn % 5 == own:
                    operations.append(DeletePictures("gone", f"p{(number + 1) % 10}"))
            instance.apply(operations)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, range(3)))
    one = instances[0]
    assert ArithmeticInstance.check(place, read_data=True) == []
    with one.searching() as searcher:
        for item in one.items():
            result = searcher.by_name(item.key, search=SearchOptions(num=5))
            assert result.hits


def test_one_writer_streams_while_another_deletes(instances: list[ArithmeticInstance]) -> None:
    """A deletion by another process between two commits stands, unless its picture comes later."""
    one, other = instances
    with one.indexing() as writer:
        writer.submit(add("p", "a", 1)).result()
        other.delete("p")
        writer.submit(add("p", "b", 2)).result()
    assert [item.key.pic_name for item in one.items()] == ["b"]


def test_tuning_waits_for_writers(instances: list[ArithmeticInstance]) -> None:
    """And is refused while one writes, as it keeps the tuning in mind."""
    one, other = instances
    refused: list[InstanceLocked] = []

    def tune() -> None:
        try:
            other.reset_tuning()
        except InstanceLocked as error:
            refused.append(error)

    one.apply([AddPicture("p", Key("p", "1"), Meddling(1, tune))])
    assert len(refused) == 1
    assert "is being written by" in refused[0].message
    assert other.reset_tuning() is False


def test_export_goes_both_ways(place: str, tmp_path: Path) -> None:
    """From a folder to PostgreSQL and back: the same items, the same bytes of features."""
    folder, back = tmp_path / "folder", tmp_path / "back"
    ArithmeticInstance.create(folder)
    ArithmeticInstance.create(back)
    with ArithmeticInstance.open(folder) as source:
        source.apply(
            add(f"p{n % 4}", f"{n}.jpg", n % 16, attributes=Attributes(int_attr=n, str_attr2=f"ä{n}"))
            for n in range(20)
        )
        source.delete("p1")
        source.export(tmp_path / "one")
    with ArithmeticInstance.open(place) as remote:
        remote.import_items(tmp_path / "one")
        remote.export(tmp_path / "two")
        assert {outcome.status for outcome in remote.import_items(tmp_path / "one")} == {Status.UNCHANGED}
    with ArithmeticInstance.open(back) as target:
        target.import_items(tmp_path / "two")
        target.export(tmp_path / "three")
    for name in ("items.jsonl", "features.npy", "stamp.json"):
        first, *others = ((tmp_path / number / name).read_bytes() for number in ("one", "two", "three"))
        assert all(other == first for other in others), name
