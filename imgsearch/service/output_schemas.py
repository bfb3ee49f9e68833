"""JSON schemas of the documents that commands print: ``schemas/NAME.json``, in the dialect 2020-12.

Each ``$id`` has the version of the documents. A release may add fields, so the schemas are those of its own documents;
the version rises when a field goes or changes its meaning.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

__all__ = ["COMMON", "output_schema", "schema_names"]

FOLDER: Final = Path(__file__).parent / "schemas"
COMMON: Final = "common"
"""What the others refer to."""


@cache
def schema_names() -> tuple[str, ...]:
    """The commands that print documents, and ``error``."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != COMMON))


def output_schema(name: str) -> dict[str, Any]:
    """The schema of a command's documents, complete: with all that it refers to.

    Args:
        name: one of ``schema_names``.

    Raises:
        FileNotFoundError: there is none of that name.
    """
    schema, common = _read(name), _read(COMMON)
    return {**schema, "$defs": {**schema.get("$defs", {}), COMMON: common}}


def _read(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return schema
