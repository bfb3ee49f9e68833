"""Recorded runs: a file for each benchmark below ``results``, and RESULTS.md, which is generated from them.

A record holds the tables of one run and what they depend on: release, commit, date, processor, load. No figure in
RESULTS.md is written by hand.
"""

from __future__ import annotations

import inspect
import json
import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

FOLDER = Path(__file__).resolve().parent / "results"
PAGE = FOLDER.parent / "RESULTS.md"
PACKAGES = ("faiss-cpu", "numpy", "openvino")
"""What figures depend on besides the project itself."""
INTRODUCTION = """# Results

`python -m benchmarks --write` generates this page from the records in [results](results); `--record` adds a new one.
[EARLIER.md](EARLIER.md) has older figures that were written down by hand.
"""


def processor() -> str:
    """The processor's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def shown(cell: object) -> str:
    """A cell as people read it: a float with three or four significant digits."""
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)
    size = abs(cell)
    return f"{cell:.3f}" if size < 10 else f"{cell:.1f}" if size < 1000 else f"{cell:,.0f}"


@dataclass(frozen=True)
class Table:
    """One table of a run."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Record:
    """The tables of one run of a benchmark."""

    benchmark: str
    release: str
    commit: str
    date: str
    processor: str
    packages: dict[str, str]
    load: float
    """Average number of processes ready to run in the minute before."""
    seconds: float
    tables: list[Table]

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read what ``write`` has written."""
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**content, "tables": [Table(**table) for table in content["tables"]]})

    def write(self, folder: Path) -> None:
        """Write it over an earlier one of the same benchmark."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
        (folder / f"{self.benchmark}.json").write_text(text, encoding="utf-8")


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(words, cwd=FOLDER, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@dataclass
class Recorder:
    """Takes the tables of one run."""

    benchmark: str
    tables: list[Table] = field(default_factory=list)
    commit: str = field(default_factory=_commit)
    """When the run began: what is committed meanwhile is not measured."""
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    begun: float = field(default_factory=time.monotonic)

    def take(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Take one table."""
        self.tables.append(Table(title, list(columns), [[shown(cell) for cell in row] for row in rows]))

    def record(self) -> Record:
        """What was taken so far."""
        return Record(
            self.benchmark,
            version("imgsearch-local"),
            self.commit,
            date.today().isoformat(),  # noqa: DTZ011
            processor(),
            {name: version(name) for name in PACKAGES},
            round(self.load, 1),
            round(time.monotonic() - self.begun, 1),
            self.tables,
        )


def records(folder: Path) -> dict[str, Record]:
    """All records by the name of their benchmark."""
    return {path.stem: Record.read(path) for path in sorted(folder.glob("*.json"))}


def page(modules: Iterable[ModuleType], taken: dict[str, Record]) -> str:
    """RESULTS.md: each benchmark that has a record, in order, with its module's own words."""
    sections = [INTRODUCTION]
    for module in modules:
        name = module.__name__.rpartition(".")[2]
        if (record := taken.get(name)) is None:
            continue
        first, _, rest = inspect.cleandoc(module.__doc__ or "").replace("``", "`").partition("\n")
        heading = first.rstrip(".")
        sections.append(f"## `{name}`: {heading[:1].lower() + heading[1:]}\n")
        if rest.strip():
            sections.append(rest.strip() + "\n")
        packages = ", ".join(f"{package} {number}" for package, number in record.packages.items())
        sections.append(
            f"{record.date}, {record.processor}, load {record.load:g} when it began, {record.seconds:,.0f} s; "
            f"release {record.release} ({record.commit}), {packages}.\n"
        )
        sections += [_markdown(table) for table in record.tables]
    return "\n".join(sections)


def _markdown(table: Table) -> str:
    lines = [table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    return "\n".join([f"{table.title}:", "", *("| " + " | ".join(map(_cell, line)) + " |" for line in lines), ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
