"""``python -m benchmarks [NAME…]``: run all benchmarks, or the named ones."""

from __future__ import annotations

import argparse

from benchmarks import (
    adding,
    bulk,
    calibration,
    cold_search,
    device,
    duplicates,
    engines,
    filtered,
    indexing,
    inversion,
    isolation,
    listing,
    memory,
    models,
    nearest,
    oss_import,
    precision,
    quality,
    robustness,
    serving,
    shards,
    sync,
    tuning,
    warm_search,
)

MODULES = (
    quality,
    precision,
    robustness,
    calibration,
    tuning,
    inversion,
    duplicates,
    cold_search,
    warm_search,
    nearest,
    filtered,
    engines,
    bulk,
    adding,
    indexing,
    isolation,
    listing,
    device,
    memory,
    serving,
    shards,
    sync,
    oss_import,
    models,
)
BENCHMARKS = {module.__name__.rpartition(".")[2]: module for module in MODULES}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or [name for name in BENCHMARKS if name != "models"]
    for name in names:
        BENCHMARKS[name].main()


main()
