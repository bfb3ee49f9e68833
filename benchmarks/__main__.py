"""``python -m benchmarks [NAME…]``: run all benchmarks, or the named ones; ``--record`` keeps the figures."""

from __future__ import annotations

import argparse

from imgsearch import own_process

own_process.claim(())  # before NumPy is loaded, as the command line does

from benchmarks import (  # noqa: E402
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
    results,
    robustness,
    serving,
    setting,
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
    parser.add_argument("--record", action="store_true", help="keep the figures, and make RESULTS.md anew")
    parser.add_argument("--write", action="store_true", help="run nothing, only make RESULTS.md anew")
    words = parser.parse_args()
    for name in [] if words.write else words.names or [name for name in BENCHMARKS if name != "models"]:
        setting.recorder = results.Recorder(name)
        BENCHMARKS[name].main()
        if words.record and setting.recorder.tables:
            setting.recorder.record().write(results.FOLDER)
    if words.record or words.write:
        results.PAGE.write_text(results.page(MODULES, results.records(results.FOLDER)), encoding="utf-8")


if __name__ == "__main__":
    main()
