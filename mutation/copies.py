"""A copy of the project, in which one module at a time is another."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Copy"]

PATIENCE: Final = 3
"""A mutant may take this many times as long as the module itself; after that it is told."""
START_SECONDS: Final = 10.0
PASSED, FAILED, NOTHING_RUN = 0, 1, 5


@dataclass(frozen=True, slots=True)
class Copy:
    """The copy, which goes when the context ends."""

    root: Path
    _seconds: dict[tuple[str, ...], float] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def of(cls, project: Path) -> Iterator[Self]:
        """Copy all files that git knows, or would add."""
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=project, capture_output=True, text=True, check=True).stdout.split("\0")
        with tempfile.TemporaryDirectory(prefix="imgsearch-mutation-") as folder:
            root = Path(folder)
            for name in filter(None, names):
                if (project / name).is_file():
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(project / name, root / name)
            yield cls(root)

    def checked_seconds(self, tests: Sequence[str]) -> float:
        """How long tests take on the project as it is, which they must pass; they run once.

        Raises:
            RuntimeError: they fail.
        """
        if tuple(tests) not in self._seconds:
            begun = time.monotonic()
            status = self._run(tests, None, writes_bytecode=True)
            if status != PASSED:
                raise RuntimeError(f"without a change, {' '.join(tests)} ended with {status}")
            self._seconds[tuple(tests)] = time.monotonic() - begun
        return self._seconds[tuple(tests)]

    def is_told(self, module: Path, source: str, tests: Sequence[str], seconds: float) -> bool:
        """Whether a test fails, or does not end, with another source of a module.

        Args:
            module: below the root.
            source: of the mutant.
            tests: files and folders.
            seconds: that they take without it.
        """
        path = self.root / module
        original = path.read_bytes()
        path.write_text(source)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()  # it is told from another by whole seconds and its length only
        try:
            status = self._run(tests, PATIENCE * seconds + START_SECONDS, writes_bytecode=False)
        finally:
            path.write_bytes(original)
        if status == NOTHING_RUN:
            raise RuntimeError(f"{' '.join(tests)} has no tests")
        return status != PASSED

    def _run(self, tests: Sequence[str], seconds: float | None, *, writes_bytecode: bool) -> int:
        """The status of pytest; FAILED if it takes too long."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests]
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "PYTHONDONTWRITEBYTECODE": "" if writes_bytecode else "1",
        }
        process = subprocess.Popen(
            command, cwd=self.root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return FAILED
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with all that the tests have started
                process.wait()
