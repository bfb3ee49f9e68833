"""Pictures come from the folders that the operator names, and from nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsearch.errors import PictureTooLarge, UnreadableSource, UsageError
from imgsearch.sources import picture_folders
from imgsearch.sources.picture_folders import PictureFolders

LIMIT = 1000


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """A folder that may be shown, with a picture two levels below it; beside it lie things that may not."""
    folder = tmp_path / "shown"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "one.jpg").write_bytes(b"one")
    (tmp_path / "shown-not").mkdir()
    (tmp_path / "shown-not" / "secret.jpg").write_bytes(b"secret")
    return folder


def test_a_file_below_a_folder_is_read(shown: Path) -> None:
    """At any depth, and under any name of it that links give it."""
    pictures = PictureFolders([shown])
    (shown.parent / "link").symlink_to(shown / "a")
    for path in (shown / "a/b/one.jpg", shown / "a/../a/b/one.jpg", shown.parent / "link/b/one.jpg"):
        assert pictures.has(path)
        assert pictures.read(path, LIMIT) == b"one"


def test_a_folder_may_be_named_by_a_link(shown: Path) -> None:
    """What counts is where it leads."""
    (shown.parent / "link").symlink_to(shown)
    assert PictureFolders([shown.parent / "link"]).read(shown / "a/b/one.jpg", LIMIT) == b"one"


@pytest.mark.parametrize(
    "path",
    [
        "../shown-not/secret.jpg",
        "out.jpg",
        "out/secret.jpg",
        "round.jpg",
        "missing.jpg",
        "a\0b.jpg",
        "",
        "/etc/passwd",
    ],
)
def test_nothing_outside_is_read(shown: Path, path: str) -> None:
    """By no name: a longer name of the folder, dots, links to files and folders, circles; all get the same answer."""
    secret = shown.parent / "shown-not" / "secret.jpg"
    (shown / "out.jpg").symlink_to(secret)
    (shown / "out").symlink_to(secret.parent)
    (shown / "round.jpg").symlink_to(shown / "round.jpg")
    pictures = PictureFolders([shown])
    assert not pictures.has(shown / path)
    with pytest.raises(UnreadableSource, match="not there, or not below a folder") as caught:
        pictures.read(shown / path, LIMIT)
    assert caught.value.code == "NotShown"


def test_what_is_put_in_the_way_after_the_check_leads_nowhere(shown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the way, or the file itself, that has become a link meanwhile is not followed."""
    pictures = PictureFolders([shown])
    place = PictureFolders._place

    def then_replaced(self: PictureFolders, path: Path) -> object:
        found = place(self, path)
        (shown / "a" / "b").rename(shown / "moved")
        (shown / "a" / "b").symlink_to(shown.parent / "shown-not")
        return found

    (shown.parent / "shown-not" / "one.jpg").write_bytes(b"another")
    monkeypatch.setattr(PictureFolders, "_place", then_replaced)
    with pytest.raises(UnreadableSource, match="cannot be read"):
        pictures.read(shown / "a" / "b" / "one.jpg", LIMIT)
    monkeypatch.undo()
    (shown / "leaf.jpg").symlink_to(shown.parent / "shown-not" / "one.jpg")
    with pytest.raises(OSError, match="symbolic links"):
        picture_folders._descriptor(shown.resolve(), ("leaf.jpg",))


def test_only_regular_files_are_read(shown: Path) -> None:
    """A pipe without a writer keeps nobody waiting, and a folder is no picture."""
    os.mkfifo(shown / "pipe.jpg")
    pictures = PictureFolders([shown])
    for path in (shown / "pipe.jpg", shown / "a"):
        with pytest.raises(UnreadableSource):
            pictures.read(path, LIMIT)


def test_too_large_a_file_is_refused(shown: Path) -> None:
    """As an instance's limit says."""
    with pytest.raises(PictureTooLarge):
        PictureFolders([shown]).read(shown / "a/b/one.jpg", 3)


def test_without_folders_nothing_is_shown(shown: Path) -> None:
    """Which is what a server does by default."""
    assert not PictureFolders().has(shown / "a/b/one.jpg")
    assert not PictureFolders([shown]).has(None)


@pytest.mark.parametrize("name", ["missing", "a/b/one.jpg", "a\0b"])
def test_what_is_no_folder_is_refused(shown: Path, name: str) -> None:
    """When the server starts, not when somebody looks."""
    with pytest.raises(UsageError, match="it is not a folder"):
        PictureFolders([shown / name])
