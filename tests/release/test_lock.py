"""The locks fit pyproject.toml, as far as can be told without an index; ``noxfile.py lock -- --check`` asks one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.lock import FOLDER, LEFT_OUT, LOCKS, pins, without
from tests.conftest import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = PYPROJECT["dependency-groups"]


def wanted(lock: str) -> Iterator[str]:
    """What pyproject.toml says that is in a lock."""
    arguments = LOCKS[lock]
    for word, following in zip(arguments, (*arguments[1:], ""), strict=True):
        if word == "--group":
            yield from GROUPS[following]
        elif word == "--all-extras":
            yield from PYPROJECT["project"]["dependencies"]
            for extra in PYPROJECT["project"]["optional-dependencies"].values():
                yield from extra


def locked(lock: str) -> dict[str, list[str]]:
    """The versions of each package; several, if they depend on the Python."""
    versions: dict[str, list[str]] = {}
    for line in pins((FOLDER / lock).read_text(encoding="utf-8")):
        pin = Requirement(line)
        (version,) = pin.specifier
        versions.setdefault(canonicalize_name(pin.name), []).append(version.version)
    return versions


@pytest.mark.parametrize("lock", LOCKS)
def test_each_requirement_is_locked_in_a_version_that_fits(lock: str) -> None:
    """After a change of pyproject.toml, 'python3 noxfile.py lock' makes the lock anew."""
    versions = locked(lock)
    for text in wanted(lock):
        requirement = Requirement(text)
        if requirement.name.startswith(LEFT_OUT):
            continue
        found = versions.get(canonicalize_name(requirement.name), [])
        assert found, f"{text} is not in requirements/{lock}: run 'python3 noxfile.py lock'"
        assert all(requirement.specifier.contains(one, prereleases=True) for one in found), (text, found)


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_every_file_has_digests_and_names_no_index(path: Path) -> None:
    """A pin without a digest would end '--require-hashes'; where files come from is the machine's business."""
    text = path.read_text(encoding="utf-8")
    blocks = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins(text))
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert not [pin for pin in pins(text) if pin.startswith(LEFT_OUT)]


def test_builds_that_differ_between_indexes_are_left_out() -> None:
    """The whole entry goes, with its digests, and no other."""
    lock = "a==1 \\\n    --hash=sha256:1\ntorch==2 \\\n    --hash=sha256:2\nz==3 \\\n    --hash=sha256:3\n"
    assert without(lock, ("torch",)) == "a==1 \\\n    --hash=sha256:1\nz==3 \\\n    --hash=sha256:3\n"
