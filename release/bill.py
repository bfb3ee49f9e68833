"""Write what a release consists of, as CycloneDX: ``python -m release.bill DIR``, with the wheel in DIR.

The list is of a new environment with that wheel and all extras in the versions of ``requirements/runtime.txt``, and
tells each package's version and licence. torch, of the extras ``models`` and ``cuda``, is in no lock, so not here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Final

from imgsearch import __version__
from release.lock import FOLDER

__all__ = ["main"]

ROOT: Final = Path(__file__).resolve().parent.parent
SCHEMA: Final = "1.6"


def main(folder: Path) -> None:
    """Install, and write the list beside the wheel, under its name and version."""
    (wheel,) = folder.glob(f"*-{__version__}-*.whl")
    target = folder / f"{wheel.name.partition('-')[0]}-{__version__}.cdx.json"
    commit_time = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    with tempfile.TemporaryDirectory() as base:
        venv.create(base, with_pip=True)
        python = str(Path(base, "Scripts" if os.name == "nt" else "bin", "python"))
        install = [python, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*install, "--require-hashes", "-r", str(FOLDER / "runtime.txt")], check=True)
        subprocess.run([*install, str(wheel)], check=True)
        subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "pip"], check=True)
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml")]
        command += [
            "--spec-version",
            SCHEMA,
            "--output-reproducible",
            "--validate",
            "--output-file",
            str(target),
            python,
        ]
        subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": commit_time.stdout.strip()})
    print(f"What the release consists of: {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
