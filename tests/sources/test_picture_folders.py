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


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """A folder that may be read, beside one that may not; links lead from one to the other."""
    folder, outside = tmp_path / "allowed", tmp_path / "allowed-not"
    (folder / "below").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"secret")
    (folder / "below" / "a.jpg").write_bytes(b"picture")
    (folder / "inner.jpg").symlink_to("below/a.jpg")
    (folder / "out.jpg").symlink_to(outside / "secret.jpg")
    (folder / "out").symlink_to(outside)
    (folder / "nowhere.jpg").symlink_to(outside / "missing.jpg")
    (folder / "circle").symlink_to("circle")
    return folder


@pytest.mark.parametrize("given", ["below/a.jpg", "inner.jpg", "below/../below/a.jpg", "out/../allowed/below/a.jpg"])
def test_what_leads_into_a_folder_is_found(allowed: Path, given: str) -> None:
    """In full or from the folder; also by a link that stays inside, and by a way that comes back."""
    folders = PictureFolders([allowed])
    for path in (given, str(allowed / given)):
        assert folders.find(path) == allowed / "below" / "a.jpg"
    assert folders.has(allowed / given)


@pytest.mark.parametrize(
    "given",
    [
        *("/etc/passwd", "/etc/nothing", "../allowed-not/secret.jpg", "below/../../allowed-not/secret.jpg"),
        *("out.jpg", "out/secret.jpg", "out/missing.jpg", "nowhere.jpg", "/", "..", "", "~/a.jpg/../../../x"),
        *("/proc/self/root/etc/passwd", "/dev/stdin", "\x00", "a\x00.jpg"),
    ],
)
def test_what_leads_outside_is_refused(allowed: Path, given: str) -> None:
    """With one and the same message, whether something is there or not: nobody learns what exists."""
    folders = PictureFolders([allowed])
    with pytest.raises(UnreadableSource) as refused:
        folders.find(given)
    assert refused.value.code == "AccessDenied"
    assert refused.value.message == f"{given!r} does not lie in a folder that this server may read: {allowed}"
    assert not folders.has(allowed / given) or given == ""


def test_names_that_no_file_can_have(allowed: Path) -> None:
    """A circle of links and a name that is too long are refused as well, or lead to nothing."""
    folders = PictureFolders([allowed])
    for given in ("circle/a.jpg", "x" * 5_000):
        try:
            assert folders.find(given).is_relative_to(allowed)
        except UnreadableSource as error:
            assert len(error.message) < 500  # noqa: PT017  # either is right
    with pytest.raises(UnreadableSource) as refused:
        folders.find("/" + "y" * 5_000)
    assert len(refused.value.message) < 500


def test_a_neighbour_with_a_longer_name_is_outside(allowed: Path) -> None:
    folders = PictureFolders([allowed])
    assert not folders.has(allowed.parent / "allowed-not" / "secret.jpg")


def test_a_folder_that_is_a_link_stands_for_where_it_leads(allowed: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(allowed)
    folders = PictureFolders([tmp_path / "link"])
    assert folders.find(str(tmp_path / "link" / "inner.jpg")) == allowed / "below" / "a.jpg"


def test_the_first_of_several_folders_that_has_it(allowed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.jpg").write_bytes(b"picture")
    folders = PictureFolders([allowed, other])
    assert folders.find("b.jpg") == other / "b.jpg"
    assert folders.find("missing.jpg") == allowed / "missing.jpg"


def test_a_tree_with_a_way_out_is_not_read(allowed: Path) -> None:
    folders = PictureFolders([allowed])
    folders.check_tree(allowed / "below")
    with pytest.raises(UnreadableSource, match="leads out"):
        folders.check_tree(allowed)


def test_without_folders_nothing_is_read() -> None:
    folders = PictureFolders([])
    with pytest.raises(UnreadableSource, match="--pictures"):
        folders.find("/etc/passwd")
    assert not folders.has(Path("/etc/passwd"))


def test_what_is_no_folder_is_refused_at_once(allowed: Path) -> None:
    for path in (allowed / "missing", allowed / "below" / "a.jpg"):
        with pytest.raises(UsageError, match="not a folder"):
            PictureFolders([path])
