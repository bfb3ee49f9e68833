"""The successor of an instance: nothing of it goes before it is known to have become the instance; then all does."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imgsearch.errors import InstanceDamaged
from imgsearch.search.ranking import Ranker
from imgsearch.storage.engine import Engine
from imgsearch.storage.lock import writer_lock
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.storage.successor import clear, forget, home, is_leftover, remove
from imgsearch.values import Key, Location
from tests.storage.builders import CALIBRATION, DIMENSION, change, fill, query, scattered, write

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = {"dimension": DIMENSION, "feature_version": 1}
LATER = {**MODEL, "feature_version": 2}


@pytest.fixture
def old(folder: Path) -> Iterator[Engine]:
    """An instance with items and an index, open for writing."""
    folder.mkdir()
    Engine.create(folder, {"model": MODEL})
    with closing(Engine.open(folder, write=True)) as engine:
        fill(engine, scattered(20))
        engine.rebuild()
        yield engine


@pytest.fixture
def new(old: Engine) -> Iterator[Engine]:
    """Its successor, with other features of the same items, open for writing."""
    home(old.folder).mkdir()
    Engine.create(home(old.folder), {"model": LATER})
    with closing(Engine.open(home(old.folder), write=True)) as engine:
        fill(engine, scattered(20, 1))
        yield engine


def content(folder: Path) -> dict[str, bytes]:
    """The database and its log, without the memory that all processes share."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_it_goes_when_it_has_become_the_instance(old: Engine, new: Engine) -> None:
    assert not is_leftover(new.folder, old.store)
    old.succeed_by(new)
    new.close()
    assert is_leftover(new.folder, old.store)
    assert "index-1.faiss" in names(old.folder)
    old.remove_predecessor()
    assert not new.folder.exists()
    assert {name for name in names(old.folder) if not name.startswith(DATABASE_NAME)} == {"index-2.faiss"}
    (hit,) = Ranker(old).search(query(scattered(20, 1)[7]), CALIBRATION, num=1).hits
    assert hit.item.key == Key("p7", "1.jpg")


def test_whoever_looks_writes_nothing_there(old: Engine, new: Engine) -> None:
    """Readers look, too, and no lock keeps them from a writer at work."""
    before = content(new.folder)
    assert before[f"{DATABASE_NAME}-wal"]
    assert not is_leftover(new.folder, old.store)
    assert content(new.folder) == before


def test_what_cannot_be_read_stays(old: Engine, new: Engine) -> None:
    """It may be all that was done."""
    new.close()
    (new.folder / DATABASE_NAME).write_bytes(b"no database" * 1000)
    assert not is_leftover(new.folder, old.store)
    old.close()
    with closing(Engine.open(old.folder, write=True)):
        assert (new.folder / DATABASE_NAME).exists()


def test_what_has_become_the_instance_goes_with_its_damage(old: Engine, new: Engine) -> None:
    """Nobody needs to know whether it is whole."""
    old.succeed_by(new)
    new.close()
    path, page = new.folder / DATABASE_NAME, old.store.page_bytes
    path.write_bytes(path.read_bytes()[:-page] + b"noise..." * (page // 8))
    with pytest.raises(InstanceDamaged):
        Engine.open(new.folder)
    assert is_leftover(new.folder, old.store)


def test_a_creation_that_was_cut_off_is_a_leftover(old: Engine) -> None:
    """Unless there is anything of somebody else; and where nothing is, nothing is left over."""
    folder = home(old.folder)
    assert not is_leftover(folder, old.store)
    folder.mkdir()
    with writer_lock(folder):
        (folder / f"{DATABASE_NAME}.tmp").touch()
        assert is_leftover(folder, old.store)
    (folder / "notes.txt").touch()
    assert not is_leftover(folder, old.store)


def test_what_is_not_ours_stays(old: Engine, new: Engine) -> None:
    """A successor that is cleared keeps its lock, as its writer goes on; one that is removed keeps nothing of ours."""
    new.rebuild()
    new.close()
    (new.folder / "notes.txt").touch()
    with writer_lock(new.folder):
        held = names(new.folder)
        clear(new.folder)
        assert names(new.folder) == {name for name in held if not name.startswith((DATABASE_NAME, "index-"))}
        assert len(names(new.folder)) > 1
    remove(new.folder)
    assert names(new.folder) == {"notes.txt"}
    (new.folder / "notes.txt").unlink()
    remove(new.folder)
    assert names(old.folder) >= {DATABASE_NAME, "index-1.faiss"}
    assert not new.folder.exists()


def test_what_is_deleted_or_replaced_here_is_forgotten_there(old: Engine, new: Engine) -> None:
    """With the folders in which its pictures lay, which may be nobody else's business."""
    for engine in (old, new):
        places = [Location("/kept"), Location("/of-the-deleted"), Location("/of-the-replaced")]
        write(engine.store, [change(f"q{n}", location=place) for n, place in enumerate(places)])
    with old.committing() as store:
        store.remove([Key("q1", "1.jpg")])
        store.upsert(change("q2", content=b"another picture", location=Location("/kept")))
    forget(new.store, old.store)
    assert [new.store.item(Key(f"q{n}", "1.jpg")) is not None for n in range(3)] == [True, False, False]
    assert new.store.count() == 21
    assert new.store.connection.execute("SELECT path FROM roots").fetchall() == [("/kept",)]
    new.close()
    assert b"/of-the-" not in (new.folder / DATABASE_NAME).read_bytes()


def test_a_rebuild_forgets_there_too(old: Engine, new: Engine) -> None:
    """And so does an instance that is left without items: nothing deleted waits in an unfinished successor."""
    with old.committing() as store:
        store.remove([Key("p3", "1.jpg")])
    old.rebuild()
    assert (new.store.count(), new.store.item(Key("p3", "1.jpg"))) == (19, None)
    with old.committing() as store:
        store.remove([Key(f"p{number}", "1.jpg") for number in range(20)])
    old.drop_index_if_empty()
    assert new.store.count() == 0


def test_folders_of_deleted_items_do_not_come_along(old: Engine, new: Engine) -> None:
    write(new.store, [change("gone", location=Location("/of-the-deleted")), change("kept", location=Location("/kept"))])
    with new.committing() as store:
        store.remove([Key("gone", "1.jpg")])
    old.succeed_by(new)
    assert old.store.connection.execute("SELECT path FROM roots").fetchall() == [("/kept",)]


def test_an_instance_whose_items_are_all_gone_has_no_index(old: Engine, new: Engine) -> None:
    """Also if the successor has an index of what it once held."""
    new.rebuild()
    with new.committing() as store:
        store.remove([Key(f"p{number}", "1.jpg") for number in range(20)])
    old.succeed_by(new)
    assert (old.store.count(), old.store.generation()) == (0, None)


def test_what_somebody_else_removes_meanwhile_is_no_failure(
    old: Engine, new: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite removes the log and the shared memory when the last one who reads has ended."""
    new.rebuild()
    new.close()
    unlink = Path.unlink

    def late(path: Path, *, missing_ok: bool = False) -> None:
        for other in new.folder.iterdir():
            unlink(other)
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", late)
        clear(new.folder)
    assert names(new.folder) == set()


def test_the_database_goes_first(old: Engine, new: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a successor after a crash must not look like one with items but without an index."""
    new.rebuild()
    new.close()
    removed: list[str] = []
    unlink = Path.unlink

    def recorded(path: Path, *, missing_ok: bool = False) -> None:
        removed.append(path.name)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", recorded)
    clear(new.folder)
    assert removed[0] == DATABASE_NAME
    assert len(removed) > 1
