"""No dependency comes, and none changes its licence, without somebody having looked at it."""

from __future__ import annotations

from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

from release.licences import DATA, NOT_LOCKED, findings, installed, locked, told


def test_the_licences_of_what_is_installed_are_accepted() -> None:
    """What the packages here say is what their entries in licences.toml say."""
    here = installed()
    assert len(here) > 100
    assert findings(here) == []


def test_each_dependency_has_an_entry() -> None:
    """Each that all systems install, whether it is installed here or not; and an entry that nobody needs is gone."""
    assert {name for name, everywhere in locked().items() if everywhere} <= DATA["packages"].keys()
    assert DATA["packages"].keys() <= locked().keys() | NOT_LOCKED


def test_exceptions_are_explained() -> None:
    """An entry that says another thing than its package says why, and each licence why it may be used."""
    assert all(entry["why"] and entry["says"] for entry in DATA["packages"].values() if not isinstance(entry, str))
    assert all(DATA["accepted"].values())


KNOWN: dict[str, Any] = {
    "accepted": {"MIT": "permissive", "PSF-2.0": "permissive", "Apache-2.0": "permissive"},
    "spellings": {"The MIT": ["MIT"]},
    "packages": {
        "a": "MIT",
        "b": "MIT AND PSF-2.0",
        "c": "GPL-3.0-only",
        "d": {"licence": "Apache-2.0", "says": ["Apache-2.0 OR GPL-3.0-only"], "why": "a choice"},
    },
}


@pytest.mark.parametrize(
    ("name", "says", "finding"),
    [
        ("a", "MIT", None),
        ("a", "The MIT", None),
        ("a", "GPL-3.0-only", "a now says 'GPL-3.0-only', which is not MIT"),
        ("a", "", "a now says '', which is not MIT"),
        ("b", "MIT AND PSF-2.0", None),
        ("b", "MIT", "b now says 'MIT', which is not MIT AND PSF-2.0"),
        ("c", "GPL-3.0-only", "c: nobody has accepted GPL-3.0-only"),
        ("d", "Apache-2.0 OR GPL-3.0-only", None),
        ("d", "GPL-3.0-only", "d now says 'GPL-3.0-only', which is not Apache-2.0"),
        ("e", "MIT", "e has no entry in licences.toml; it says 'MIT'"),
    ],
)
def test_what_is_new_or_changed_is_found(name: str, says: str, finding: str | None) -> None:
    """A package without an entry, a licence that is another one now, and one that nobody has accepted."""
    assert findings({name: says}, KNOWN) == ([] if finding is None else [finding])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("License", "MIT"), ("License-Expression", "0BSD"), ("Classifier", "License :: X")], "0BSD"),
        ([("License", "MIT"), ("Classifier", "Topic :: Y"), ("Classifier", "License :: X")], "License :: X"),
        ([("Classifier", "License :: X"), ("Classifier", "License :: Y")], "License :: X; License :: Y"),
        ([("License", "The whole text\nof a licence")], "The whole text"),
        ([], ""),
    ],
)
def test_what_metadata_say(fields: list[tuple[str, str]], expected: str) -> None:
    """The most exact of the three forms that packages use."""
    message = Message()
    for name, value in fields:
        message[name] = value

    class Fake(Distribution):
        metadata = message  # type: ignore[assignment]

        def read_text(self, filename: str) -> str | None:
            return None

        def locate_file(self, path: Any) -> Path:
            return Path(path)

    assert told(Fake()) == expected
