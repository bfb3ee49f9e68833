"""Cold search: a new process that answers one query, against the bare imports, a plain script, and small instances.

``IMGSEARCH_BENCHMARK_SIZES`` names the sizes of the synthetic catalogues, ``1000,1000000`` unless told. Bytecode of our
modules is written first, as pip does on installation. The bare imports include OpenVINO's Python package, which
searches after the first one do without.
"""

from __future__ import annotations

import compileall
import sys

from benchmarks import instances
from benchmarks.process import BARE, BARE_IMPORTS, IMGSEARCH, run, side_by_side
from benchmarks.setting import ROOT, SIZES, show
from imgsearch.transfer.file_format import FEATURES_NAME

ROUNDS = 15
QUERY = str(ROOT / "sample_data" / "queries" / "mug-red.jpg")
PLAIN = "plain script"


def _search(size: int, *options: str) -> list[str]:
    return [*IMGSEARCH, "search", "-i", str(instances.instance(size)), *options, "--format", "json"]


def main() -> None:
    least = min(SIZES)
    compileall.compile_dir(ROOT / "imgsearch", quiet=1)
    for size in SIZES:  # in processes of their own: what a child has at its peak includes its parent's size
        run([sys.executable, "-m", "benchmarks.instances", str(size)])
    features = str(instances.export(least) / FEATURES_NAME)
    commands = {
        BARE: BARE_IMPORTS,
        PLAIN: [sys.executable, "-m", "benchmarks.plain_script", features, QUERY],
        **{f"search, {size:,} items": _search(size, QUERY) for size in SIZES},
        **{f"the same, any category, {size:,}": _search(size, QUERY, "--any-category") for size in SIZES},
        "search by an indexed picture": _search(least, "--product-id", "p0000001", "--pic-name", "0.jpg"),
        "info": [*IMGSEARCH, "info", "-i", str(instances.instance(least))],
        "--help": [*IMGSEARCH, "--help"],
    }
    runs = side_by_side(commands, ROUNDS)
    bare, plain, small = (runs[name] for name in (BARE, PLAIN, f"search, {least:,} items"))
    rows = [
        (name, run.median, run.ratio(bare), run.ratio(small), f"1/{1 / run.ratio(plain):.1f}", round(run.peak))
        for name, run in runs.items()
    ]
    columns = ("a new process", "seconds", "to imports", f"to {least:,}", "to plain", "peak MB")
    show(f"Cold search, medians of {ROUNDS}; ratios of runs next to each other", columns, rows)


if __name__ == "__main__":
    main()
