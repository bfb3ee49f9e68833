"""Walking folders (docs/cli.md, "What is passed over").

Contract: every file and folder is taken, or passed over for one reason that is told; links in circles end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imgsearch.sources.walking import PassedOver, Reason, Selection, walk

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def tree(root: Path, *names: str, content: bytes = b"text") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def walked(root: Path, **options: object) -> tuple[list[object], dict[str, str]]:
    """What is taken, and the reasons by name for what is not."""
    told: dict[str, str] = {}
    passed_over = PassedOver(lambda path, reason: told.update({path.removeprefix(f"{root}/"): str(reason)}))
    taken: list[object] = list(walk(str(root), Selection(**options), passed_over))  # type: ignore[arg-type]
    assert sum(passed_over.counts.values()) == len(told)
    return taken, told


def test_each_reason_is_told(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "b.txt", "raw/c.CR2", "d.svg", ".hidden.jpg", ".git/e.jpg", "drafts/f.jpg")
    tree(tmp_path, "#recycle/g.jpg", "elsewhere/h.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    taken, told = walked(tmp_path, exclude=("drafts",))
    assert taken == ["a.jpg", "elsewhere/h.jpg"]
    assert told == {
        "b.txt": "NotAPicture",
        "raw/c.CR2": "UnsupportedFormat",
        "d.svg": "UnsupportedFormat",
        ".hidden.jpg": "Hidden",
        ".git": "Hidden",
        "drafts": "Excluded",
        "#recycle": "SystemFolder",
        "link": "LinkedFolder",
    }


SYSTEM = (
    *("$RECYCLE.BIN", ".Trash", ".Trash-1000", ".Trashes", "#recycle", "@Recycle", "#snapshot"),
    *("@Recently-Snapshot", ".snapshot", ".snapshots", ".zfs", "lost+found", "System Volume Information"),
    *("@eaDir", "__MACOSX"),
)


@pytest.mark.parametrize("hidden", [False, True])
def test_folders_of_systems_are_left_out(tmp_path: Path, hidden: bool) -> None:
    """Also those whose names are not hidden, and where hidden ones are wanted."""
    tree(tmp_path, *(f"{name}/a.jpg" for name in SYSTEM), *(f"deep/{name}/a.jpg" for name in SYSTEM))
    taken, told = walked(tmp_path, include_hidden=hidden)
    assert taken == []
    assert set(told.values()) == {str(Reason.SYSTEM_FOLDER)}
    assert len(told) == 2 * len(SYSTEM)


def test_attributes_of_files_are_no_pictures(tmp_path: Path) -> None:
    tree(tmp_path, "._a.jpg", ".DS_Store", ".b.jpg")
    assert walked(tmp_path)[1] == dict.fromkeys(("._a.jpg", ".DS_Store", ".b.jpg"), "Hidden")
    taken, told = walked(tmp_path, include_hidden=True)
    assert taken == [".b.jpg"]
    assert told == dict.fromkeys(("._a.jpg", ".DS_Store"), "NotAPicture")


@pytest.mark.parametrize(
    "head",
    [
        *(PNG, b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 ", b"II*\0", b"MM\0*", b"P6\n1 1"),
        b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0",
    ],
    ids=["png", "jpg", "gif", "webp", "tif", "tif of Motorola", "ppm", "bmp"],
)
def test_without_an_ordinary_suffix_the_first_bytes_decide(tmp_path: Path, head: bytes) -> None:
    odd = ["noext", "c.jpg!w800", "h.", "photo.2024", "x.jpg?size=2"]
    tree(tmp_path, *odd, "a.txt", "b.jpg~", content=head)
    taken, told = walked(tmp_path)
    assert taken == sorted(odd)
    assert told == {"a.txt": "NotAPicture", "b.jpg~": "NotAPicture"}


def test_other_files_without_suffix_are_no_pictures(tmp_path: Path) -> None:
    tree(tmp_path, "Makefile", "BMW", content=b"BM: a car maker")
    tree(tmp_path, "empty", content=b"")
    (tmp_path / "gone").symlink_to("nowhere")
    assert set(walked(tmp_path)[1].values()) == {"NotAPicture"}


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.png", ["a.jpg", "b/c.jpg", "b/d/e.jpg", "draft.jpg", "drafts/f.jpg"]),
        ("draft*", ["a.jpg", "a.png", "b/c.jpg", "b/d/e.jpg"]),
        ("draft*/", ["a.jpg", "a.png", "b/c.jpg", "b/d/e.jpg", "draft.jpg"]),
        ("b/*.jpg", ["a.jpg", "a.png", "draft.jpg", "drafts/f.jpg"]),
        ("/b", ["a.jpg", "a.png", "draft.jpg", "drafts/f.jpg"]),
        ("d", ["a.jpg", "a.png", "b/c.jpg", "draft.jpg", "drafts/f.jpg"]),
        ("c.jpg/", ["a.jpg", "a.png", "b/c.jpg", "b/d/e.jpg", "draft.jpg", "drafts/f.jpg"]),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, left: list[str]) -> None:
    tree(tmp_path, "a.jpg", "a.png", "b/c.jpg", "b/d/e.jpg", "draft.jpg", "drafts/f.jpg")
    assert walked(tmp_path, exclude=(pattern,))[0] == left


def test_patterns_do_not_care_how_accents_are_spelled(tmp_path: Path) -> None:
    tree(tmp_path, "cre\u0300me.jpg", "a.jpg")
    assert walked(tmp_path, exclude=("cr\u00e8me*",))[0] == ["a.jpg"]


def test_followed_links_end(tmp_path: Path) -> None:
    """Circles, links to each other, and a link to the folder itself; two links to one folder count once."""
    tree(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "other").symlink_to("../b")
    (tmp_path / "b" / "other").symlink_to("../a")
    (tmp_path / "z").symlink_to("b")
    taken, told = walked(tmp_path, follow_links=True)
    assert taken == ["a/1.jpg", "a/other/2.jpg", "b/2.jpg", "b/other/1.jpg"]
    assert set(told.values()) == {"LinkedFolder"}
    assert walked(tmp_path)[0] == ["a/1.jpg", "b/2.jpg"]
