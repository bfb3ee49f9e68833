"""Memory: the peak of ``add`` in a process of its own, for 500 and for 5,000 pictures."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.photos import make_photos
from benchmarks.setting import show

COUNTS = (500, 5000)
KIBIBYTES_PER_MEBIBYTE = 1024

# VmHWM, not ru_maxrss: the latter begins with the size of the process that started this one.
PROGRAM = """
import re, sys
from pathlib import Path
from imgsearch.__main__ import main
try:
    main()
finally:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
    sys.stderr.write(f"peak {peak}\\n")
"""


def _peak(folder: Path, target: Path) -> float:
    """Peak resident memory of one ``add``, in MiB."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, "add", "-i", str(target), str(folder), "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("peak ")]
    return int(line.removeprefix("peak ")) / KIBIBYTES_PER_MEBIBYTE


def main() -> None:
    peaks = []
    with tempfile.TemporaryDirectory() as temporary:
        for count in COUNTS:
            folder = Path(temporary) / f"photos-{count}"
            make_photos(folder, count)
            peaks.append(_peak(folder, Path(temporary) / f"instance-{count}"))
    rows = [(f"{count} pictures", peak, peak / peaks[0]) for count, peak in zip(COUNTS, peaks, strict=True)]
    show("Peak resident memory of add", ("what", "MiB", "ratio to the first"), rows)


if __name__ == "__main__":
    main()
