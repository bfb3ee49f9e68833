"""What makes two builds the same, and what tells that they are not. The session ``release`` builds twice itself."""

from __future__ import annotations

import tarfile
from io import BytesIO

from release.reproduce import differences, repacked


def archive(modified: int, user: str, names: list[str]) -> bytes:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as target:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname, member.uid = len(name), modified, user, modified % 1000
            target.addfile(member, BytesIO(name.encode()))
    return packed.getvalue()


def test_archives_do_not_tell_when_and_by_whom() -> None:
    """Two that differ in times, users and order are the same afterwards, and hold what they held."""
    first, second = archive(1_700_000_000, "ann", ["p/a", "p/b"]), archive(1_800_000_001, "bob", ["p/b", "p/a"])
    assert first != second
    assert repacked(first, 1_600_000_000) == repacked(second, 1_600_000_000)
    with tarfile.open(fileobj=BytesIO(repacked(first, 1_600_000_000))) as read:
        assert {one.name: read.extractfile(one).read() for one in read} == {"p/a": b"p/a", "p/b": b"p/b"}  # type: ignore[union-attr]
        assert {(one.mtime, one.uid, one.uname) for one in read} == {(1_600_000_000, 0, "")}


def test_other_content_makes_another_archive() -> None:
    """Only times and users are evened out."""
    assert repacked(archive(1, "ann", ["p/a"]), 5) != repacked(archive(1, "ann", ["p/c"]), 5)


def test_differences_are_named() -> None:
    """Other bytes, and files that only one build has."""
    assert differences({"a": b"1", "b": b"2"}, {"a": b"1", "b": b"3", "c": b""}) == ["b", "c"]
    assert differences({"a": b"1"}, {"a": b"1"}) == []
