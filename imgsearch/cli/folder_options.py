"""Options of the commands that take pictures from folders, and their report."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imgsearch.cli.options import OUTPUT, PICTURES
from imgsearch.cli.output import safe
from imgsearch.cli.run_log import opened_text
from imgsearch.cli.summary import failure_document
from imgsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from imgsearch.sources.walking import Reason
    from imgsearch.types import Outcome

__all__ = [
    "DryRun",
    "Exclude",
    "FollowLinks",
    "IncludeHidden",
    "ProductFrom",
    "ProductId",
    "Report",
    "ReportFile",
    "check_product",
    "patterns",
]

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only report what would be done; decodes no picture and stores nothing.")
]
ProductId = Annotated[
    str | None,
    typer.Option(
        "--product-id", metavar="ID", show_default=False, help="ProductId of all pictures.", rich_help_panel=PICTURES
    ),
]
ProductFrom = Annotated[
    Literal["name", "parent"],
    typer.Option(
        "--product-from",
        help="Derive ProductId from the PicName without suffix, or from the picture's folder.",
        rich_help_panel=PICTURES,
    ),
]
IncludeHidden = Annotated[
    bool, typer.Option("--include-hidden", help="Include hidden files and folders.", rich_help_panel=PICTURES)
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        show_default=False,
        help="Leave out files and folders of that name, or with a slash, of that path below PATH; repeatable.",
        rich_help_panel=PICTURES,
    ),
]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="Enter links to folders.", rich_help_panel=PICTURES)]
ReportFile = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        show_default=False,
        help="Write failures, and what is passed over, to this file, as JSON lines.",
        rich_help_panel=OUTPUT,
    ),
]


def check_product(product_id: str | None, product_from: str) -> None:
    """Refuse two ways to say what the ProductId is, of which one would be ignored.

    Raises:
        UsageError
    """
    if product_id is not None and product_from != "name":
        raise UsageError(f"--product-id and --product-from {product_from} contradict each other: use only one of them")


def patterns(given: list[str] | None) -> tuple[str, ...]:
    """The patterns of ``--exclude``.

    Raises:
        UsageError: one is empty.
    """
    if any(not pattern.strip("/") for pattern in given or []):
        raise UsageError("--exclude needs a pattern, such as '*.tmp.jpg' or 'drafts/'")
    return tuple(given or ())


class Report:
    """JSON lines of a run: failures, and what is passed over; nothing without a file."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file

    @classmethod
    @contextmanager
    def opened(cls, path: Path | None) -> Iterator[Report]:
        """Open the file of ``--report``.

        Raises:
            UsageError, StorageFull, StorageUnwritable
        """
        if path is None:
            yield cls(None)
            return
        with opened_text(path, "w", "--report") as file:
            yield cls(file)

    def count(self, outcome: Outcome) -> None:
        """Write an outcome if it is a failure."""
        if outcome.error is not None:
            self._write(failure_document(outcome, outcome.error))

    def skip(self, path: str, reason: Reason) -> None:
        """Write what is passed over."""
        self._write({"Source": safe(path), "Skipped": str(reason)})

    def _write(self, document: dict[str, object]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(document, ensure_ascii=False) + "\n")
