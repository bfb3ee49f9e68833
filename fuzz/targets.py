"""The fuzzers, and the parsers that each of them is for.

``fuzz/NAME.py`` has the function ``target``, which takes bytes and fails if the parsers do anything but what they
promise. It knows nothing of the fuzzer, so tests call it as well.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A fuzzer."""

    parsers: tuple[str, ...]
    """Modules of imgsearch that read foreign bytes; coverage is measured of these."""
    libraries: tuple[str, ...] = ()
    """More packages and modules whose branches guide the fuzzer."""

    def load(self, name: str) -> Callable[[bytes], None]:
        """Its function."""
        module = importlib.import_module(f"fuzz.{name}")
        function: Callable[[bytes], None] = module.target
        return function


MANIFEST: Final = ("imgsearch.sources.jsonl", "imgsearch.sources.manifest")

TARGETS: Final = {
    "address": Target(
        (
            "imgsearch.sources.http.link",
            "imgsearch.sources.oss.address",
            "imgsearch.storage.milvus.address",
            "imgsearch.storage.postgres.address",
        )
    ),
    "authorization": Target(
        ("imgsearch.server.authentication", "imgsearch.server.replay", "imgsearch.server.signatures")
    ),
    "configuration": Target(("imgsearch.cli.configuration",), ("tomllib",)),
    "export": Target(("imgsearch.transfer.file_format", "imgsearch.transfer.reading", *MANIFEST[:1])),
    "feed": Target(
        (
            "imgsearch.sources.columns",
            "imgsearch.sources.feed",
            "imgsearch.sources.json_array",
            "imgsearch.sources.tables",
            "imgsearch.sources.text_input",
        ),
        ("imgsearch.sources.http.link",),
    ),
    "filter": Target(("imgsearch.filters.parser",), ("imgsearch.filters.tree", "lark")),
    "form": Target(
        ("imgsearch.server.calls", "imgsearch.server.forms", "imgsearch.server.pages.parameters"),
    ),
    "index": Target(("imgsearch.storage.faiss.index_header",)),
    "keys": Target(("imgsearch.server.keys",), ("tomllib",)),
    "log": Target(("imgsearch.storage.sqlite.wal",)),
    "manifest": Target((*MANIFEST, "imgsearch.service.categories", "imgsearch.values"), ("imgsearch.types",)),
    "names": Target(("imgsearch.sources.stdin",), ("imgsearch.sources.text_input",)),
    "picture": Target(
        (
            "imgsearch.vision.cut_off",
            "imgsearch.vision.file_kinds",
            "imgsearch.vision.orientation",
            "imgsearch.vision.picture",
            "imgsearch.vision.png_chunks",
        ),
        ("imgsearch.vision", "PIL"),
    ),
    "region": Target(("imgsearch.values",)),
    "table": Target(("imgsearch.evaluation.tables",)),
    "upload": Target(("imgsearch.server.forms", "imgsearch.server.uploads"), ("python_multipart",)),
}
"""By name."""
