"""Where an agent may have pictures read: below the folders that the operator names, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.errors import UnreadableSource, UsageError
from imgsearch.sources.picture_folders import PictureFolders


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
