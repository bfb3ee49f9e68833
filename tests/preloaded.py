"""What commands import, imported once, in the process from which the commands of tests are forked.

Without alibabacloud_credentials, which reads the environment when it is imported.
"""

from __future__ import annotations

import multiprocessing.synchronize
from importlib import import_module

import faiss
import lark
import numpy.random
import oss2
import PIL.Image
import platformdirs.unix
import psutil
import rich.console
import rich.table
import tqdm

from imgsearch.cli.app import COMMANDS
from imgsearch.vision.openvino_compat import load_openvino

for place in COMMANDS.values():
    import_module(f"imgsearch.cli.{place.partition(':')[0]}")
for name in (
    "cli.early_search",
    "evaluation.evaluate",
    "instance",
    "jobs.creation",
    "jobs.deleting",
    "jobs.dry_run",
    "jobs.indexing",
    "jobs.reading",
    "jobs.reindexing",
    "jobs.sync",
    "jobs.tuning",
    "jobs.updating",
    "search.searcher",
    "sources.feed",
    "sources.http.fetcher",
    "sources.http.link",
    "sources.local",
    "sources.manifest",
    "sources.oss.source",
    "sources.stdin",
    "storage.engine",
    "storage.filesystem",
    "storage.integrity.repair",
    "transfer.exporting",
    "transfer.importing",
    "vision.decoder_worker",
    "vision.pipeline",
    "vision.runtime",
):
    import_module(f"imgsearch.{name}")
load_openvino()

__all__ = ["PIL", "faiss", "lark", "multiprocessing", "numpy", "oss2", "platformdirs", "psutil", "rich", "tqdm"]
