"""The licences of all dependencies, against ``licences.toml``: ``python -m release.licences``.

What a package says of its licence is turned into an SPDX expression. A package that has no entry, or now says another
licence than its entry, is a finding, as is a licence that nobody has accepted.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.lock import FOLDER, pins

__all__ = ["DATA", "NOT_LOCKED", "findings", "installed", "locked", "told"]

NOT_LOCKED: Final = frozenset({"torch", "torchvision"})
"""Dependencies that are in no lock, see ``release.lock``."""
DATA: Final = tomllib.loads((Path(__file__).parent / "licences.toml").read_text(encoding="utf-8"))


def told(distribution: Distribution) -> str:
    """What its metadata says: an expression, else classifiers, else the first line of its text; empty for nothing."""
    fields: Any = distribution.metadata
    classifiers = [one for one in fields.get_all("Classifier") or [] if one.startswith("License ::")]
    text = (fields.get("License") or "").strip().splitlines()
    return str(fields.get("License-Expression") or "; ".join(classifiers) or (text[0] if text else ""))


def locked() -> dict[str, bool]:
    """Each package that the project, its extras and its tests depend on: whether every system and Python has it."""
    requirements = map(Requirement, pins((FOLDER / "ci.txt").read_text(encoding="utf-8")))
    return {canonicalize_name(one.name): one.marker is None for one in requirements}


def installed() -> dict[str, str]:
    """Those of them that this environment has, torch included, and what each says.

    What builds of torch bring for GPUs is the business of who installs such a build.
    """
    found = {canonicalize_name(one.metadata["Name"]): told(one) for one in distributions()}
    wanted = locked()
    return {name: said for name, said in found.items() if name in wanted or name in NOT_LOCKED}


def findings(said: dict[str, str], data: dict[str, Any] = DATA) -> list[str]:
    """What is wrong with the licences that packages tell, a line each.

    Args:
        said: of each package.
        data: entries, spellings and what is accepted.
    """
    wrong = []
    for name, words in sorted(said.items()):
        entry = data["packages"].get(name)
        if entry is None:
            wrong.append(f"{name} has no entry in licences.toml; it says {words!r}")
            continue
        licence = entry if isinstance(entry, str) else entry["licence"]
        wrong += [f"{name}: nobody has accepted {one}" for one in _ids(licence) if one not in data["accepted"]]
        meant = data["spellings"].get(words, [words])
        if licence not in meant and (isinstance(entry, str) or words not in entry["says"]):
            wrong.append(f"{name} now says {words!r}, which is not {licence}")
    return wrong


def _ids(expression: str) -> list[str]:
    """All licences of an expression; of a choice, the entry names the one chosen."""
    return [one for one in re.split(r" AND |[()]", expression) if one]


if __name__ == "__main__":
    told_here = installed()
    found = findings(told_here)
    print(*found, f"{len(told_here)} packages, {len(found)} findings", sep="\n")
    sys.exit(bool(found))
