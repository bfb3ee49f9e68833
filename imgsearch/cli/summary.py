"""What ``add`` and ``oss-import`` say of their operations: each outcome, progress, the summary."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from imgsearch.cli.errors import warn
from imgsearch.cli.failure_table import print_failures
from imgsearch.cli.output import Format, console, print_document, print_line, safe
from imgsearch.types import AddPicture, Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from imgsearch.errors import ImgsearchError
    from imgsearch.types import Operation

__all__ = ["Summary", "failure_document", "print_outcome", "telling_of_ignored_regions", "with_progress"]


def telling_of_ignored_regions(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Hand on the operations, and warn at the end: once, for a manifest may have millions of lines."""
    first, count = "", 0
    for operation in operations:
        if isinstance(operation, AddPicture) and operation.options.region != operation.options.given_region:
            first = first or operation.source
            count += 1
        yield operation
    if count:
        lines = f"{count} line{'s' if count > 1 else ''}"
        warn(f"Crop false takes the whole picture, so the Region of {lines} is ignored, first {first}")


def with_progress(
    outcomes: Iterable[Outcome], paths: list[Path] | None, *, quiet: bool, total: int | None = None
) -> Iterable[Outcome]:
    """Show a bar on a terminal; the total is counted beside, where it is not known and there are files to count."""
    if quiet or not sys.stderr.isatty():
        return outcomes
    from threading import Thread

    from tqdm import tqdm

    from imgsearch.sources.files import find_pictures

    bar: Any = tqdm(outcomes, total=total, unit=" pictures", dynamic_ncols=True, smoothing=0.05)

    def count() -> None:
        bar.total = sum(1 for _ in find_pictures(paths or []))
        bar.refresh()

    if paths is not None:
        Thread(target=count, daemon=True).start()
    counted: Iterable[Outcome] = bar
    return counted


def failure_document(outcome: Outcome, error: ImgsearchError) -> dict[str, Any]:
    """What the summary and reports say of an operation that failed."""
    return {
        "Source": safe(outcome.source),
        "ProductId": outcome.product_id,
        "PicName": outcome.pic_name,
        "Code": error.code,
        "Message": error.message,
    }


def print_outcome(outcome: Outcome, chosen: Format, *, quiet: bool) -> None:
    """With jsonl, the acknowledgement; with paths, what was written; else only failures, on stderr."""
    if chosen is Format.JSONL:
        line: dict[str, Any] = {
            "ProductId": outcome.product_id,
            "PicName": outcome.pic_name,
            "Status": outcome.status,
        }
        if outcome.error is not None:
            line |= failure_document(outcome, outcome.error)
        elif outcome.status is not Status.DELETED:
            line |= {"CategoryId": outcome.category_id, "Region": str(outcome.region)}
        if not (quiet and outcome.status is not Status.FAILED):
            print_document(line, one_line=True)
    elif chosen is Format.PATHS and outcome.status in (Status.ADDED, Status.REPLACED):
        print_line(outcome.source)
    if outcome.error is not None and not chosen.is_json:
        warn(f"{outcome.source}: {outcome.error.message} ({outcome.error.code})")


class Summary:
    """Counts what came of a run.

    Args:
        is_batch: of lines that are one task: it ends with 1 for failures also when it has one line only.
    """

    def __init__(self, *, is_batch: bool = False) -> None:
        self._is_batch = is_batch
        self._counts: Counter[Status] = Counter()
        self._failures: list[dict[str, Any]] = []
        self._first_error: ImgsearchError | None = None
        self._facts: dict[str, Any] = {}

    def count(self, outcome: Outcome) -> None:
        """Take note of one outcome."""
        self._counts[outcome.status] += 1
        if outcome.error is not None:
            self._first_error = self._first_error or outcome.error
            self._failures.append(failure_document(outcome, outcome.error))

    def add_facts(self, **facts: Any) -> None:
        """Further fields of the document."""
        self._facts |= facts

    @property
    def exit_code(self) -> int:
        """0, 1 when some failed; a single picture ends with its own error's code."""
        if self._first_error is None:
            return 0
        return 1 if self._is_batch or self._counts.total() > 1 else self._first_error.exit_code

    def in_words(self) -> str:
        """How many of each status."""
        return ", ".join(f"{self._counts[status]} {status}" for status in Status if self._counts[status]) or (
            "nothing to do"
        )

    def show(self, chosen: Format, seconds: float, *, quiet: bool) -> None:
        """Print the summary, unless quiet was asked for and all is well."""
        if quiet and not self._failures:
            return
        counts = {status.capitalize(): self._counts[status] for status in Status}
        if chosen.is_json:
            document = {
                "Success": not self._failures,
                **counts,
                "Failures": self._failures,
                "Seconds": round(seconds, 3),
                **self._facts,
            }
            print_document(document, one_line=chosen is Format.JSONL)
        elif chosen is Format.TABLE:
            self._print_table(seconds)

    def _print_table(self, seconds: float) -> None:
        rate = f", {self._counts.total() / seconds:.0f} pictures/s" if seconds > 1 else ""
        would = "would be: " if self._facts.get("DryRun") else ""
        console().print(f"{would}{self.in_words()} in {seconds:.1f} s{rate}")
        print_failures(self._failures)
