"""Write what CI and releases install, each file with its digests: ``python -m release.lock [--check | --upgrade]``.

The files in ``requirements`` hold for every system and every Python that the project supports. torch is not in them,
nor what only its builds with CUDA need: indexes serve different builds of the same version.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["LEFT_OUT", "LOCKS", "pins", "without"]

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "requirements"
LOCKS: Final = {
    "ci.txt": ("--all-extras", "--group", "test", "--group", "lint", "--group", "types", "pyproject.toml"),
    "runtime.txt": ("--all-extras", "--constraint", "requirements/ci.txt", "pyproject.toml"),
    "release.txt": ("--group", "release"),
}
"""Each file, and what it is made from: for tests, for users, for builds."""
LEFT_OUT: Final = ("cuda-", "nvidia-", "torch", "triton")
"""How the names of torch, torchvision, and of what their builds with CUDA bring begin."""
OLDEST: Final = "3.11"
HEAD: Final = "# Written by 'python3 noxfile.py lock'; see CONTRIBUTING.md.\n"


def compiled(name: str, *, upgrade: bool) -> str:
    """The text of a lock, as of now: what it holds stays where it can, unless it is to be upgraded."""
    present = FOLDER / name
    with tempfile.TemporaryDirectory() as base:
        target = Path(base, name)
        if present.exists():
            target.write_bytes(present.read_bytes())
        command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", OLDEST, "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--output-file", str(target), *LOCKS[name]]
        subprocess.run([*command, *(["--upgrade"] if upgrade else [])], cwd=ROOT, check=True)
        return HEAD + without(target.read_text(encoding="utf-8"), LEFT_OUT)


def without(lock: str, prefixes: tuple[str, ...]) -> str:
    """A lock without the packages whose names begin so."""
    blocks = re.split(r"^(?=\w)", lock, flags=re.MULTILINE)
    return "".join(block for block in blocks if not block.startswith(prefixes))


def pins(lock: str) -> list[str]:
    """The lines that name a version, without digests: these may grow when more files of it appear."""
    return [line.removesuffix("\\").strip() for line in lock.splitlines() if re.match(r"\w", line)]


def main() -> int:
    """Write the locks, or check that they are current; 1 if one is not."""
    parser = argparse.ArgumentParser()
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--check", action="store_true", help="write nothing; fail if a lock does not fit pyproject.toml")
    way.add_argument("--upgrade", action="store_true", help="take the newest versions instead of those locked")
    given = parser.parse_args()
    stale = 0
    for name in LOCKS:
        path = FOLDER / name
        text = compiled(name, upgrade=given.upgrade)
        if not given.check:
            path.write_text(text, encoding="utf-8")
        elif pins(text) != pins(path.read_text(encoding="utf-8")):
            stale += 1
            changed = set(pins(text)) ^ set(pins(path.read_text(encoding="utf-8")))
            print(f"requirements/{name} is not current: {', '.join(sorted(changed))}", file=sys.stderr)
    return min(stale, 1)


if __name__ == "__main__":
    sys.exit(main())
