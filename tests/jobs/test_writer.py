"""Writing from a program that goes on: futures, order, batches, the lock, and what fails."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import pytest

from imgsearch.errors import InstanceLocked, InvalidFilter, ItemNotFound, StorageFull, UsageError
from imgsearch.filters.tree import Condition
from imgsearch.jobs import indexing
from imgsearch.jobs import writer as writing
from imgsearch.jobs.updating import Changes
from imgsearch.jobs.writer import Writer
from imgsearch.storage.engine import Engine
from imgsearch.storage.lock import HOLDER_NAME, writer_lock
from imgsearch.types import AddPicture, DeletePictures, Outcome, Refused, Status
from imgsearch.values import Attributes, Key, PictureOptions
from tests.storage.arithmetic import ArithmeticInstance, ArithmeticOpened, Sight
from tests.storage.builders import child

PATIENCE = 120
"""Seconds after which a test fails that would hang else."""


def addition(number: int, product: str = "p", name: str | None = None, **attributes: int) -> AddPicture:
    key = Key(product, f"{number}.jpg" if name is None else name)
    return AddPicture("here", key, Sight(number), PictureOptions(), Attributes(**attributes))


def result(future: Future[Outcome]) -> Outcome:
    return future.result(timeout=PATIENCE)


@pytest.fixture
def instance(folder: Path) -> Iterator[ArithmeticInstance]:
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as opened:
        yield opened


def test_what_a_future_gives_is_found_by_another_process(instance: ArithmeticInstance, folder: Path) -> None:
    """Without ``flush`` or ``close``: a single operation is committed when nothing more comes."""
    code = "import sys; from imgsearch import Instance; print(len(Instance.open(sys.argv[1])))"
    with instance.indexing() as writer:
        assert result(writer.submit(addition(1))).status is Status.ADDED
        reader = child(code, folder)
        assert reader.communicate(timeout=PATIENCE)[0] == "1\n"


def test_threads_submit_side_by_side_and_the_order_of_a_key_is_kept(instance: ArithmeticInstance) -> None:
    """Of several operations on one key, the last that its thread submitted counts, and each has its own outcome."""

    def work(thread: int) -> list[Future[Outcome]]:
        futures = []
        for number in range(60):
            futures.append(writer.submit(addition(number % 16, f"p{thread}", f"{number % 7}.jpg", int_attr=number)))
            if number % 20 == 19:
                futures.append(writer.submit(DeletePictures("here", f"p{thread}", f"{number % 7}.jpg")))
        return futures

    with instance.indexing() as writer, ThreadPoolExecutor(8) as threads:
        outcomes = [[result(one) for one in futures] for futures in threads.map(work, range(8))]
    for thread, own in enumerate(outcomes):
        assert [outcome.product_id for outcome in own] == [f"p{thread}"] * 63
        assert [outcome.status for outcome in own[:7]] == [Status.ADDED] * 7
        assert own[7].status is Status.REPLACED
        kept = {
            item.key.pic_name: item.attributes.int_attr
            for item in instance.items()
            if item.key.product_id == f"p{thread}"
        }
        last = {f"{number % 7}.jpg": number for number in range(60)}
        assert kept == {name: number for name, number in last.items() if number != 59}
    assert len(instance) == 8 * 6


def test_operations_that_come_together_are_committed_together(
    instance: ArithmeticInstance, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to 256 at once; what waits for its turn is taken into one batch."""
    commits = []
    committing = Engine.committing

    @contextmanager
    def counted(self: Engine, products: Collection[str] | None = None) -> Iterator[object]:
        with committing(self, products) as store:
            before = store.count()
            yield store
            commits.append(store.count() - before)

    monkeypatch.setattr(Engine, "committing", counted)
    monkeypatch.setattr(indexing, "COMMIT_SECONDS", 1e9)
    with instance.indexing(lock_timeout=PATIENCE) as writer:
        with writer_lock(folder):
            futures = [writer.submit(addition(number % 16, name=f"{number}.jpg")) for number in range(200)]
        writer.flush()
    assert {result(future).status for future in futures} == {Status.ADDED}
    assert max(commits) == 200


def test_the_lock_is_given_back(instance: ArithmeticInstance, folder: Path) -> None:
    """Behind ``flush`` others may write, and what they changed is seen when the writer goes on."""
    code = """
import sys
from imgsearch import Instance
with Instance.open(sys.argv[1]) as instance:
    print(instance.delete("p").keys)
"""
    with instance.indexing() as writer:
        first = writer.submit(addition(1))
        writer.flush()
        assert first.done()
        assert not (folder / HOLDER_NAME).exists()
        other = child(code, folder)
        assert other.communicate(timeout=PATIENCE)[0] == "[Key(product_id='p', pic_name='1.jpg')]\n"
        assert result(writer.submit(addition(1))).status is Status.ADDED
        assert result(writer.submit(addition(1))).status is Status.UNCHANGED


def test_a_lock_that_is_not_given_is_told_by_the_futures(instance: ArithmeticInstance, folder: Path) -> None:
    """Those that wait then fail; later ones are tried again."""
    with instance.indexing(lock_timeout=0.0) as writer:
        with writer_lock(folder):
            futures = [writer.submit(addition(number)) for number in range(5)]
            for future in futures:
                with pytest.raises(InstanceLocked):
                    result(future)
        assert result(writer.submit(addition(1))).status is Status.ADDED
    assert len(instance) == 1


def test_a_picture_that_cannot_be_used_fails_alone(instance: ArithmeticInstance) -> None:
    """It is an outcome, in its place; so are what a source refused and a category that does not exist."""
    with instance.indexing() as writer:
        bad_category = AddPicture("here", Key("p", "c"), Sight(1), PictureOptions(category_id=12))
        operations = [addition(1), addition(-1), Refused("line 3", UsageError("no")), bad_category, addition(2)]
        outcomes = [result(future) for future in [writer.submit(operation) for operation in operations]]
    assert [outcome.status.value for outcome in outcomes] == ["added", "failed", "failed", "failed", "added"]
    assert [outcome.error and outcome.error.code for outcome in outcomes] == [
        *(None, "PictureError", "BadRequest", "InvalidCategory", None)
    ]


def test_a_deletion_has_one_outcome(instance: ArithmeticInstance) -> None:
    """With the number of pictures that were there, be it none."""
    with instance.indexing() as writer:
        for number in range(3):
            writer.submit(addition(number))
        whole, nothing = writer.delete("p"), writer.delete("p", "0.jpg")
    assert (result(whole).status, result(whole).count, result(whole).pic_name) == (Status.DELETED, 3, None)
    assert (result(nothing).status, result(nothing).count, result(nothing).pic_name) == (Status.DELETED, 0, "0.jpg")


def test_a_full_disk_fails_what_it_concerns(instance: ArithmeticInstance) -> None:
    """SQLite itself is told to take no more pages; when it may again, the writer goes on."""
    opened = instance._opened
    assert isinstance(opened, ArithmeticOpened)
    limits = ["1", "1073741823"]
    writing_of = opened.writing

    @contextmanager
    def limited(lock_timeout: float) -> Iterator[Engine]:
        with writing_of(lock_timeout) as engine:
            engine.store.connection.execute(f"PRAGMA max_page_count = {limits[0]}")
            yield engine

    opened.writing = limited  # type: ignore[method-assign]
    with instance.indexing() as writer:
        futures = [writer.submit(addition(number % 16, "p" * 400, f"{number}" * 100)) for number in range(100)]
        for future in futures:
            with pytest.raises(StorageFull):
                result(future)
        limits.pop(0)
        assert result(writer.submit(addition(1))).status is Status.ADDED
    assert len(instance) == 1


def test_closing_finishes_what_was_submitted(instance: ArithmeticInstance) -> None:
    """And takes nothing more; the index is there."""
    with instance.indexing() as writer:
        futures = [writer.submit(addition(number)) for number in range(16)]
    assert all(future.done() for future in futures)
    generation = instance.info().generation
    assert generation is not None
    assert generation.items == 16
    with pytest.raises(UsageError, match="closed"):
        writer.submit(addition(1))
    writer.close()


def test_what_is_no_operation_is_refused(instance: ArithmeticInstance) -> None:
    with instance.indexing() as writer, pytest.raises(UsageError, match="str is not an operation"):
        writer.submit("picture.jpg")  # type: ignore[arg-type]


def test_submit_waits_while_too_many_wait(instance: ArithmeticInstance, folder: Path) -> None:
    """Nothing is lost, and nothing piles up."""
    futures: list[Future[Outcome]] = []

    def submit_many(writer: Writer) -> None:
        futures.extend(
            writer.submit(addition(number % 16, name=f"{number}.jpg")) for number in range(2 * writing.MAX_WAITING)
        )

    with instance.indexing(lock_timeout=PATIENCE) as writer:
        with writer_lock(folder):
            submitting = threading.Thread(target=submit_many, args=(writer,))
            submitting.start()
            submitting.join(1.0)
            assert submitting.is_alive()
            assert len(writer._waiting) <= writing.MAX_WAITING
        submitting.join(PATIENCE)
        assert {result(future).status for future in futures} == {Status.ADDED}
    assert len(instance) == 2 * writing.MAX_WAITING


def test_a_callback_may_submit_and_not_wait(instance: ArithmeticInstance) -> None:
    """It runs in the writer's own thread."""
    later: Future[Future[Outcome]] = Future()
    refused: Future[str] = Future()

    def called(_future: Future[Outcome]) -> None:
        later.set_result(writer.submit(addition(2)))
        try:
            writer.flush()
        except UsageError as error:
            refused.set_result(error.message)

    with instance.indexing() as writer:
        writer.submit(addition(1)).add_done_callback(called)
        assert result(later.result(timeout=PATIENCE)).status is Status.ADDED
        assert "callback" in refused.result(timeout=PATIENCE)


def test_what_waits_can_be_cancelled(instance: ArithmeticInstance, folder: Path) -> None:
    with instance.indexing(lock_timeout=PATIENCE) as writer:
        with writer_lock(folder):
            futures = [writer.submit(addition(number)) for number in range(4)]
            assert futures[2].cancel()
        writer.flush()
        assert not wait(futures, timeout=0).not_done
    assert {item.key.pic_name for item in instance.items()} == {"0.jpg", "1.jpg", "3.jpg"}


def test_two_writers_of_one_program_take_turns(instance: ArithmeticInstance) -> None:
    """The lock keeps them apart as it does processes."""
    with instance.indexing(lock_timeout=PATIENCE) as one, instance.indexing(lock_timeout=PATIENCE) as other:
        futures = [(one, other)[number % 2].submit(addition(number)) for number in range(16)]
        assert {result(future).status for future in futures} == {Status.ADDED}
    assert len(instance) == 16


def test_changes_come_after_what_was_submitted_before(instance: ArithmeticInstance) -> None:
    """An update, and a deletion by filter, see the additions before them; their futures tell what they changed."""
    with instance.indexing() as writer:
        for number in range(4):
            writer.submit(addition(number, int_attr=number))
        changed = writer.update("int_attr >= 2", attributes={"str_attr": "late"})
        deleted = writer.delete_matching('str_attr = "late" AND int_attr = 3')
        gone = writer.delete("p", "0.jpg")
        assert changed.result(PATIENCE) == [Key("p", "2.jpg"), Key("p", "3.jpg")]
        assert deleted.result(PATIENCE).keys == [Key("p", "3.jpg")]
        assert (result(gone).count, result(gone).keys) == (1, (Key("p", "0.jpg"),))
        assert writer.pending == 0
    assert {item.key.pic_name: item.attributes.str_attr for item in instance.items()} == {
        "1.jpg": None,
        "2.jpg": "late",
    }


def test_a_change_that_cannot_be_made_is_refused_and_others_go_on(instance: ArithmeticInstance) -> None:
    """At once, where it is wrong in itself; by its own future, where it fails."""
    with instance.indexing() as writer:
        assert result(writer.submit(addition(1))).status is Status.ADDED
        with pytest.raises(InvalidFilter):
            writer.delete_matching("int_attr >")
        with pytest.raises(ItemNotFound):
            writer.update(product_id="nobody", attributes={"int_attr": 1})
        with pytest.raises(UsageError, match="nothing to change"):
            writer.update(product_id="p")
        assert writer.update(product_id="p", attributes={"int_attr": 7}).result(PATIENCE) == [Key("p", "1.jpg")]


def test_a_change_that_fails_is_undone_and_fails_alone(
    instance: ArithmeticInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of its commit; what was submitted before and after it is stored."""
    made = writing.updated

    def update_half(engine: Engine, condition: Condition, changes: Changes) -> list[Key]:
        with engine.committing() as store:
            store.delete(condition)
            raise StorageFull("no space left")

    with instance.indexing() as writer:
        before = writer.submit(addition(1))
        monkeypatch.setattr(writing, "updated", update_half)
        result(before)
        failing = writer.update(product_id="p", attributes={"int_attr": 1})
        with pytest.raises(StorageFull):
            failing.result(PATIENCE)
        monkeypatch.setattr(writing, "updated", made)
        after = writer.update(product_id="p", attributes={"int_attr": 2})
        assert result(writer.submit(addition(2))).status is Status.ADDED
        assert after.result(PATIENCE) == [Key("p", "1.jpg")]
    assert {item.key.pic_name: item.attributes.int_attr for item in instance.items()} == {"1.jpg": 2, "2.jpg": None}


def test_a_change_can_be_cancelled_and_a_lock_fails_it(instance: ArithmeticInstance, folder: Path) -> None:
    """As operations."""
    with instance.indexing(lock_timeout=PATIENCE) as writer:
        result(writer.submit(addition(1, int_attr=1)))
        writer.flush()
        with writer_lock(folder):
            first = writer.delete_matching("int_attr = 5")
            cancelled = writer.delete_matching("int_attr = 1")
            assert cancelled.cancel()
        assert first.result(PATIENCE).keys == []
    with instance.indexing(lock_timeout=0.0) as writer, writer_lock(folder):
        refused = writer.delete_matching("int_attr = 5")
        with pytest.raises(InstanceLocked):
            refused.result(PATIENCE)
    assert len(instance) == 1
