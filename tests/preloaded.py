"""What commands import, imported once, in the process from which the commands of tests are forked.

Without alibabacloud_credentials, which reads the environment when it is imported.
"""

from __future__ import annotations

from importlib import import_module

import faiss
import lark
import oss2
import PIL.Image
import rich.console
import rich.table
import tqdm

from imgsearch.cli.app import COMMANDS
from imgsearch.vision.openvino_compat import load_openvino

for place in COMMANDS.values():
    import_module(f"imgsearch.cli.{place.partition(':')[0]}")
for name in (
    "evaluation.evaluate",
    "instance",
    "jobs.dry_run",
    "jobs.indexing",
    "jobs.reindexing",
    "jobs.tuning",
    "search.searcher",
    "sources.feed",
    "sources.http.fetcher",
    "sources.http.link",
    "sources.local",
    "sources.manifest",
    "sources.oss.source",
    "sources.stdin",
    "storage.engine",
    "storage.integrity.repair",
    "transfer.exporting",
    "transfer.importing",
    "vision.pipeline",
    "vision.runtime",
):
    import_module(f"imgsearch.{name}")
load_openvino()

__all__ = ["PIL", "faiss", "lark", "oss2", "rich", "tqdm"]
