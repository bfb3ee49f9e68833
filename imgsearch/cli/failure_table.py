"""The table of failed pictures, for people."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from imgsearch.cli.output import console, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["print_failures"]

FAILURES_SHOWN = 20


def print_failures(failures: Iterable[Mapping[str, Any]], count: int) -> None:
    """Print the first failures of a document with Source, Code and Message; nothing if there are none.

    Args:
        failures: all, or at least the first ones.
        count: their total number.
    """
    if not count:
        return
    from rich.table import Table

    where = console()
    table = Table(title="Failed", title_justify="left")
    for name in ("Source", "Code", "Message"):
        table.add_column(name, overflow="fold")
    for failure in islice(failures, FAILURES_SHOWN):
        table.add_row(text(failure["Source"]), text(failure["Code"], "red"), text(failure["Message"]))
    where.print(table)
    if count > FAILURES_SHOWN:
        where.print(f"and {count - FAILURES_SHOWN} more; --format json lists all")
