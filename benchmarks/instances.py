"""Instances of synthetic catalogues, made once and kept for all benchmarks that need one of their size."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from benchmarks.catalogue import Catalogue
from benchmarks.setting import ROOT
from imgsearch import Instance, Kind

FOLDER = Path(os.environ.get("IMGSEARCH_BENCHMARK_DATA", ROOT / "benchmarks" / "data"))
"""Where they are kept: some 0.8 GB per million items, and as much again for the export that they are made of."""


def catalogue(size: int) -> Catalogue:
    """The pictures of the instance of that size."""
    return Catalogue(size, _dimension())


def export(size: int) -> Path:
    """The folder of an export with so many items."""
    folder = FOLDER / f"export-{size}"
    if not folder.exists():
        with Instance.open(_empty()) as instance:
            stamp = {"kind": str(instance.kind), **instance.model.stamp()}
        temporary = folder.with_suffix(".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        catalogue(size).write(temporary, stamp)
        temporary.rename(folder)
    return folder


def instance(size: int) -> Path:
    """The folder of an instance with so many items and a fresh index; nobody changes it."""
    folder = FOLDER / f"instance-{size}"
    if not folder.exists():
        print(f"making an instance of {size:,} items in {folder}", flush=True)
        temporary = folder.with_suffix(".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        Instance.create(temporary)
        with Instance.open(temporary) as made:
            for outcome in made.import_stream(export(size), rebuild=False):
                if outcome.error is not None:
                    raise RuntimeError(outcome.error)
            made.rebuild()
        temporary.rename(folder)
    return folder


def _empty() -> Path:
    folder = FOLDER / "empty"
    if not folder.exists():
        Instance.create(folder, Kind.PRODUCT)
    return folder


def _dimension() -> int:
    with Instance.open(_empty()) as instance:
        return instance.model.dimension


if __name__ == "__main__":
    instance(int(sys.argv[1]))
