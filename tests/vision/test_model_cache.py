"""The cache of networks: what was used lately stays, what nobody uses goes.

Contract: an entry goes 90 days after its last use, one of other versions after 7; what another process is about to load
stays; a cache that cannot be written is used as it is. Nothing else in the folder is touched. What is compiled is there
whole or not at all.
"""

from __future__ import annotations

import json
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from imgsearch.vision.model_cache import RECORD_NAME, mark_used, models_folder, prune, versions, whole_folder

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400
OTHER = {"graph": 0, "openvino": "2020.1"}


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def entry(cache: Path, name: str, days: float, made_by: object = None) -> Path:
    """An entry of the cache that was last used so many days ago."""
    folder = models_folder(cache) / name
    (folder / "compiled").mkdir(parents=True)
    (folder / "compiled" / "1.blob").write_bytes(b"1")
    (folder / RECORD_NAME).write_text(json.dumps({"versions": versions() if made_by is None else made_by}))
    age(folder / RECORD_NAME, days)
    age(folder, days)
    return folder


@pytest.mark.parametrize(
    ("days", "made_by", "stays"),
    [
        (0, None, True),
        (89, None, True),
        (91, None, False),
        (6, OTHER, True),
        (8, OTHER, False),
        (8, "garbage", False),
    ],
)
def test_what_nobody_uses_goes(days: float, made_by: object, stays: bool, tmp_path: Path) -> None:
    folder = entry(tmp_path, "model", days, made_by)
    prune(tmp_path)
    assert folder.exists() == stays
    assert not list(models_folder(tmp_path).glob("*.tmp")), "nor is it somewhere else"


def test_an_entry_without_a_note_is_of_an_earlier_version(tmp_path: Path) -> None:
    for days, stays in ((6, True), (8, False)):
        folder = entry(tmp_path, f"model{days}", days)
        (folder / RECORD_NAME).unlink()
        age(folder, days)
        prune(tmp_path)
        assert folder.exists() == stays


def test_leftovers_go(tmp_path: Path) -> None:
    """Of killed processes, links to what is gone, and what an earlier version kept elsewhere."""
    models = models_folder(tmp_path)
    kept = entry(tmp_path, "kept", 1)
    for name, days in (("new.tmp", 1), ("old.tmp", 8)):
        (models / name).mkdir()
        age(models / name, days)
    for name, target in (("good", "kept"), ("dangling", "gone")):
        (models / name).symlink_to(target)
    for name, days in (("compiled", 8), ("compiled-f32", 1)):
        (tmp_path / name).mkdir()
        age(tmp_path / name, days)
    for name, days in (("compiled-a", 91), ("compiled-b", 89), ("compiled-c.1.tmp", 8), ("compiled-d.1.tmp", 6)):
        (kept / name).mkdir()
        age(kept / name, days)
    (kept / "compiled.2.1.done").touch()  # of an earlier version
    age(kept / "compiled.2.1.done", 91)
    (tmp_path / "agreement").mkdir()
    for name, days in (("new.json", 1), ("old.json", 91)):
        (tmp_path / "agreement" / name).write_text("{}")
        age(tmp_path / "agreement" / name, days)
    (tmp_path / "somebody's").write_text("file")
    age(tmp_path / "somebody's", 1000)
    prune(tmp_path)
    assert {path.name for path in models.iterdir()} - {"use.lock"} == {"kept", "good", "new.tmp"}
    assert {path.name for path in kept.iterdir()} == {RECORD_NAME, "compiled", "compiled-b", "compiled-d.1.tmp"}
    assert {path.name for path in tmp_path.iterdir()} == {"models", "compiled-f32", "agreement", "somebody's"}
    assert [path.name for path in (tmp_path / "agreement").iterdir()] == ["new.json"]


def test_whoever_loads_an_entry_keeps_it(tmp_path: Path) -> None:
    note = entry(tmp_path, "model", 91) / RECORD_NAME
    assert not mark_used(note), "it might have gone in this moment"
    assert mark_used(note)
    prune(tmp_path)
    assert note.exists()


@pytest.mark.extended
def test_no_entry_goes_between_marking_and_loading(tmp_path: Path) -> None:
    """Of many that mark and many that prune at once: what is there after it was marked stays."""
    for number in range(20):
        note = entry(tmp_path, f"model{number}", 91) / RECORD_NAME

        def use(note: Path = note) -> bool:
            mark_used(note)
            found = note.exists()
            prune(tmp_path)
            return found == note.exists()

        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(lambda _number, use=use: use(), range(4)))


def test_a_cache_that_cannot_be_written_is_used_as_it_is(tmp_path: Path) -> None:
    note = entry(tmp_path, "model", 91) / RECORD_NAME
    (models_folder(tmp_path) / "use.lock").mkdir()  # no lock can be had
    assert not mark_used(note)
    prune(tmp_path)
    assert note.exists()


def test_a_missing_cache_is_none_to_prune(tmp_path: Path) -> None:
    prune(tmp_path / "none")
    assert not (tmp_path / "none").exists()


# What is there whole or not at all


def test_nobody_finds_a_part(tmp_path: Path) -> None:
    target = tmp_path / "compiled"
    with whole_folder(target) as folder:
        (folder / "1.blob").write_bytes(b"1")
        assert not target.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["compiled", "1.blob"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_folder(tmp_path / "compiled") as folder:
            (folder / "1.blob").write_bytes(b"1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


def test_the_first_one_stays(tmp_path: Path) -> None:
    """Others may have mapped its files."""
    target = tmp_path / "compiled"
    with whole_folder(target) as slower:
        with whole_folder(target) as faster:
            (faster / "1.blob").write_bytes(b"1")
        (slower / "1.blob").write_bytes(b"2")
    assert (target / "1.blob").read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [target]


def test_an_empty_one_is_none(tmp_path: Path) -> None:
    """OpenVINO has kept nothing."""
    with whole_folder(tmp_path / "compiled"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("permissions", [0o755, 0o750, 0o700])
def test_those_who_can_read_the_entry_can_read_it(tmp_path: Path, permissions: int) -> None:
    """A cache that root has prepared is read by others."""
    entry = tmp_path / "entry"
    entry.mkdir(mode=permissions)
    with whole_folder(entry / "compiled") as folder:
        (folder / "1.blob").write_bytes(b"1")
        (folder / "1.blob").chmod(0o440)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (entry / "compiled", entry / "compiled" / "1.blob")]
    assert modes == [permissions, permissions & 0o444]


def test_where_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), whole_folder(tmp_path / "file" / "compiled"):
        raise AssertionError
