"""Build wheel and source archive twice and compare them, byte for byte: ``python -m release.reproduce DIR``.

Each build takes a clean checkout of its own, and they differ in what must not matter: folder, time zone, language and
the order of sets. All times are those of the commit. What comes out is put into DIR, with ``SHA256SUMS``.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Final

__all__ = ["build_once", "differences", "repacked"]

ROOT: Final = Path(__file__).resolve().parent.parent
SURROUNDINGS: Final = {
    "first": {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"},
    "second/below another folder": {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "2"},
}
"""Of each build: where its checkout lies, and its environment."""
UMASK: Final = 0o022
"""Archives hold the modes of files."""
SUMS: Final = "SHA256SUMS"


def build_once(checkout: Path, target: Path, epoch: int, environment: dict[str, str]) -> dict[str, bytes]:
    """Build from a checkout of the last commit; the wheel is made from the source archive.

    Args:
        checkout: where to put it.
        target: a folder for what is built.
        epoch: the time that archives tell, in seconds.
        environment: added to that of this process.

    Returns:
        The files by name.
    """
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True, umask=UMASK)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(checkout)]
    surroundings = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), **environment}
    subprocess.run(command, check=True, env=surroundings, stdout=subprocess.DEVNULL, umask=UMASK)
    (wheel,), (archive,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return {wheel.name: wheel.read_bytes(), archive.name: repacked(archive.read_bytes(), epoch)}


def repacked(archive: bytes, epoch: int) -> bytes:
    """A source archive without the time and the user of its build, which setuptools writes into it."""
    packed = BytesIO()
    with (
        tarfile.open(fileobj=BytesIO(archive)) as source,
        gzip.GzipFile("", "wb", fileobj=packed, mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for member in sorted(source.getmembers(), key=lambda one: one.name):
            content = source.extractfile(member)
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.pax_headers = {}
            target.addfile(member, content)
    return packed.getvalue()


def differences(first: dict[str, bytes], second: dict[str, bytes]) -> list[str]:
    """The names of files that are not in both, or not the same."""
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def main(folder: Path) -> int:
    """Build, compare, keep; 1 if the builds differ."""
    if _git("status", "--porcelain"):
        print("Note: what is not committed is not in these builds.", file=sys.stderr)
    epoch = int(_git("log", "-1", "--format=%ct"))
    builds = []
    with tempfile.TemporaryDirectory() as base:
        for number, (where, environment) in enumerate(SURROUNDINGS.items()):
            builds.append(build_once(Path(base, where), Path(base, f"built {number}"), epoch, environment))
    for files in builds:
        for name, content in sorted(files.items()):
            print(f"{hashlib.sha256(content).hexdigest()}  {name}")
    if differing := differences(*builds):
        print(f"The builds differ: {', '.join(differing)}", file=sys.stderr)
        return 1
    _keep(builds[0], folder)
    print(f"The builds of {_git('rev-parse', 'HEAD')} are the same; they are in {folder}")
    return 0


def _keep(files: dict[str, bytes], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    (folder / SUMS).write_text("".join(sums))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
