"""``imgsearch schema``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from imgsearch.cli.output import print_line
from imgsearch.errors import UsageError
from imgsearch.service.output_schemas import output_schema, schema_names

__all__ = ["schema"]


def schema(
    command: Annotated[
        str | None,
        typer.Argument(
            show_default=False,
            help="Whose documents; without it, a line for each that has a schema.",
            metavar="COMMAND",
        ),
    ] = None,
) -> None:
    """Print the JSON schema of what a command prints with --format json or jsonl."""
    if command is None:
        for name in schema_names():
            print_line(name)
        return
    if command not in schema_names():
        raise UsageError(f"there is no schema {command[:40]!r}; it is one of: {', '.join(schema_names())}")
    print_line(json.dumps(output_schema(command), indent=2, ensure_ascii=False))
