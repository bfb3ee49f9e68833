"""Instances in service: opened once, under names that are never paths, with networks that are loaded once."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imgsearch.errors import InstanceDamaged, InstanceNotFound, StampMismatch, UsageError
from imgsearch.instance import Instance
from imgsearch.server.served import Instances, Served
from imgsearch.types import Status
from tests.storage.arithmetic import ArithmeticInstance


def made(folder: Path) -> Path:
    ArithmeticInstance.create(folder)
    return folder


def picture(number: int) -> bytes:
    """The bytes of a picture of such an instance."""
    return b"picture %d" % number


def test_names_are_those_given_and_those_below_a_root(tmp_path: Path) -> None:
    """Instances that are made later included; what is no instance, or hidden, is none."""
    root = tmp_path / "root"
    made(root / "b")
    made(root / ".hidden")
    (root / "empty").mkdir()
    (root / "file").write_text("")
    with Instances({"a": made(tmp_path / "elsewhere")}, root, ArithmeticInstance.open) as instances:
        assert instances.names() == ["a", "b"]
        made(root / "c")
        assert instances.names() == ["a", "b", "c"]
        assert instances.get("c").instance.folder == root / "c"
        assert [one.name for one in instances.opened()] == ["c"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../elsewhere", "b/", "/", "b/../b", "./b", ".hidden", "b\0", "b\n", "B", "ü" * 5000]
)
def test_a_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    made(root / "b")
    made(root / ".hidden")
    made(tmp_path / "elsewhere")
    with Instances({}, root, ArithmeticInstance.open) as instances:
        with pytest.raises(InstanceNotFound) as refusal:
            instances.get(name)
        assert refusal.value.code == "InvalidInstance"
        assert str(tmp_path) not in refusal.value.message
        assert len(refusal.value.message) < 500
        assert not instances.opened()


@pytest.mark.parametrize("name", ["", "a/b", "a\\b", ".a", "/a"])
def test_a_name_that_cannot_be_given(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        Instances({name: tmp_path}, None, ArithmeticInstance.open)


def test_each_is_opened_once(tmp_path: Path) -> None:
    """From many threads at once, too."""
    opened: list[Path] = []

    def open_counted(folder: Path) -> Instance:
        opened.append(folder)
        return ArithmeticInstance.open(folder)

    with Instances({"a": made(tmp_path / "a")}, None, open_counted) as instances, ThreadPoolExecutor(8) as threads:
        served = list(threads.map(lambda _: instances.get("a"), range(64)))
        searchers = list(threads.map(lambda one: one.searcher, served))
        writers = list(threads.map(lambda one: one.writer, served))
    assert (len(opened), len(set(served)), len(set(searchers)), len(set(writers))) == (1, 1, 1, 1)


def test_one_that_cannot_be_opened_is_told_and_tried_again(tmp_path: Path) -> None:
    folder = made(tmp_path / "a")
    database = next(path for path in folder.iterdir() if path.suffix in (".db", ".sqlite"))
    kept = database.read_bytes()
    database.write_bytes(b"rubbish" * 1000)
    with Instances({"a": folder}, None, ArithmeticInstance.open) as instances:
        for _ in range(2):
            with pytest.raises(InstanceDamaged):
                instances.get("a")
        database.write_bytes(kept)
        assert instances.get("a").instance.count() == 0


def test_closing_finishes_what_was_taken(tmp_path: Path) -> None:
    """Searches and additions from threads; what was submitted is stored."""
    folder = made(tmp_path / "a")
    with Instances({"a": folder}, None, ArithmeticInstance.open) as instances:
        served = instances.get("a")
        futures = [served.writer.add(picture(number), "p", f"{number}.jpg") for number in range(16)]
        assert served.queued >= 0
    assert [future.result(0).status for future in futures] == [Status.ADDED] * 16
    with ArithmeticInstance.open(folder) as again:
        assert again.count() == 16


def test_a_searcher_is_renewed_when_the_model_has_changed(tmp_path: Path) -> None:
    """By a reindex of another process; who holds the one of before is told to search again."""
    folder = made(tmp_path / "a")
    served = Served("a", ArithmeticInstance.open(folder), lock_timeout=1.0)
    served.writer.add(picture(1), "p", "1.jpg").result()
    before = served.searcher
    assert served.searcher is before
    with ArithmeticInstance.open(folder) as other:
        record = other.model.as_dict() | {"feature_version": 1}
        with other._opened.writing(60) as engine, engine.committing() as store:
            store.set_setting("model", record)
    assert served.searcher is not before
    assert len(served.searcher.by_picture(picture(1)).hits) == 1
    with pytest.raises(StampMismatch, match="search again"):
        before.by_picture(picture(1))
    served.close()


def test_an_instance_that_is_gone_does_not_end_the_others(tmp_path: Path) -> None:
    """Its folder has been deleted below a root."""
    root = tmp_path / "root"
    made(root / "a")
    made(root / "b")
    with Instances({}, root, ArithmeticInstance.open) as instances:
        shutil.rmtree(root / "a")
        assert instances.names() == ["b"]
        with pytest.raises(InstanceNotFound):
            instances.get("a")
        assert instances.get("b").instance.count() == 0


def test_an_instance_is_found_by_its_folder(tmp_path: Path) -> None:
    """However the folder was named; one that is not in service, or cannot be opened, is none."""
    root = tmp_path / "root"
    made(root / "b")
    made(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with Instances({"a": tmp_path / "link"}, root, ArithmeticInstance.open) as instances:
        for name, folder in (("a", tmp_path / "elsewhere"), ("b", root / "b")):
            for _ in range(2):  # opened by the first
                found = instances.in_folder(str(folder.resolve()))
                assert found is not None
                assert found is instances.get(name)
        assert instances.in_folder(str(tmp_path)) is None
        next(made(root / "c").glob("*.db")).write_bytes(b"damaged")
        assert instances.in_folder(str((root / "c").resolve())) is None


def test_two_ways_to_answer(tmp_path: Path) -> None:
    """Side by side and one by one, each with networks that are loaded once."""
    with Instances({"a": made(tmp_path / "a")}, None, ArithmeticInstance.open) as instances:
        served = instances.get("a")
        assert served.searcher is served.searcher
        assert served.lone_searcher is served.lone_searcher
        assert served.searcher is not served.lone_searcher
