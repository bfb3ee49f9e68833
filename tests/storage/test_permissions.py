"""File modes: an instance is its owner's alone, whatever the umask; what is open to others is told, never changed."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from imgsearch.instance import Instance
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.repair import repair
from imgsearch.storage.lock import writer_lock
from imgsearch.storage.permissions import exposures
from imgsearch.storage.sqlite.store import DATABASE_NAME
from tests.storage.builders import fill, scattered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="this system's files have no such modes")


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=lambda mask: f"umask {mask:03o}")
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def filled(engine: Engine) -> Path:
    """An instance with items and an index, closed."""
    fill(engine, scattered(20))
    engine.rebuild()
    engine.close()
    return engine.folder


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}


@pytest.mark.usefixtures("umask")
def test_whatever_the_umask(tmp_path: Path) -> None:
    """The folder, those made above it, and every file in any state of work: for the owner alone."""
    above = tmp_path / "above"
    folder = above / "instance"
    Instance.create(folder)
    seen: dict[str, int] = {}
    with writer_lock(folder), closing(Engine.open(folder, write=True)) as engine, closing(Engine.open(folder)):
        fill(engine, scattered(20, dimension=256))
        seen |= modes(above)
        engine.rebuild()
        seen |= modes(above)
        engine.store.connection.execute("UPDATE features SET feature = zeroblob(512) WHERE id = 3")
    assert len(repair(folder).lost) == 1
    seen |= modes(above)
    private = {name: 0o700 if name in ("above", "instance") else 0o600 for name in seen}
    assert seen == private
    assert {
        DATABASE_NAME,
        f"{DATABASE_NAME}-wal",
        f"{DATABASE_NAME}-shm",
        "writer.lock",
        "writer.json",
        "index-1.faiss",
    } <= set(seen)
    assert exposures(folder) == []


@pytest.mark.usefixtures("umask")
def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    """Its owner made it so; what is written into it is private all the same, so nothing is told."""
    folder = tmp_path / "mine"
    folder.mkdir()
    folder.chmod(0o755)
    Instance.create(folder)
    assert modes(folder) == {"mine": 0o755, DATABASE_NAME: 0o600, "writer.lock": 0o600}
    assert exposures(folder) == []


@pytest.mark.parametrize(
    ("of_folder", "of_database", "told"),
    [
        (0o700, 0o600, None),
        (0o700, 0o666, None),  # nobody gets to it
        (0o755, 0o600, None),
        (0o744, 0o644, None),  # its name is seen, and no more
        (0o755, 0o644, "the group and everybody may read"),
        (0o755, 0o604, "everybody may read"),
        (0o750, 0o660, "the group may modify"),
        (0o711, 0o602, "everybody may modify"),
    ],
    ids=lambda value: f"{value:04o}" if isinstance(value, int) else None,
)
def test_a_file_that_others_get_at(filled: Path, of_folder: int, of_database: int, told: str | None) -> None:
    """It is named with its mode and what others may do; nothing is changed."""
    (filled / DATABASE_NAME).chmod(of_database)
    filled.chmod(of_folder)
    before = modes(filled)
    found = exposures(filled)
    filled.chmod(of_folder)
    assert modes(filled) == before
    if told is None:
        assert found == []
    else:
        (one,) = found
        assert (one.path, one.mode) == (filled / DATABASE_NAME, of_database)
        assert one.message.startswith(f"{told} {filled / DATABASE_NAME} (mode {of_database:04o})")
        assert f"chmod -R go= {filled}" in one.message


def test_a_folder_in_which_others_may_replace_files(filled: Path) -> None:
    filled.chmod(0o773)
    (one,) = exposures(filled)
    assert (one.path, one.mode) == (filled, 0o773)
    assert one.message.startswith("the group and everybody may replace files in")


def test_the_way_out_is_one(filled: Path) -> None:
    """What the message says ends it."""
    for path in (filled, *filled.iterdir()):
        path.chmod(0o777)
    found = exposures(filled)
    assert {one.path for one in found} == {filled, *filled.iterdir()}
    for path in (filled, *filled.iterdir()):  # chmod -R go=
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    assert exposures(filled) == []
