"""The table of pictures that failed, as people see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgsearch.cli.output import console, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["print_failures"]

FAILURES_SHOWN = 20


def print_failures(failures: Sequence[Mapping[str, Any]]) -> None:
    """Print the first failures of a document with their Source, Code and Message; nothing where there are none."""
    if not failures:
        return
    from rich.table import Table

    where = console()
    table = Table(title="Failed", title_justify="left")
    for name in ("Source", "Code", "Message"):
        table.add_column(name, overflow="fold")
    for failure in failures[:FAILURES_SHOWN]:
        table.add_row(text(failure["Source"]), text(failure["Code"], "red"), text(failure["Message"]))
    where.print(table)
    if len(failures) > FAILURES_SHOWN:
        where.print(f"and {len(failures) - FAILURES_SHOWN} more; --format json lists all")
