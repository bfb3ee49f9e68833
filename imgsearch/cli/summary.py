"""Output of ``add``, ``sync`` and ``oss-import``: outcomes, progress, summary."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, Final

from imgsearch.cli.errors import warn
from imgsearch.cli.failure_table import print_failures
from imgsearch.cli.output import Format, console, print_document, print_line, print_streamed, safe
from imgsearch.durable_fs import file_errors, temporary_folder
from imgsearch.errors import NothingFound
from imgsearch.service import documents
from imgsearch.service.command_documents import outcome_document
from imgsearch.types import AddPicture, Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from imgsearch.errors import ImgsearchError
    from imgsearch.instance import Instance
    from imgsearch.shards import Shard
    from imgsearch.sources.port import Source
    from imgsearch.types import Operation

__all__ = ["Summary", "dry_run_of", "failure_document", "print_outcome", "warning_of_ignored_regions", "with_progress"]

log: Final = logging.getLogger("imgsearch")
log.addHandler(logging.NullHandler())  # without a log file, Python would print warnings to stderr
IN_MEMORY_BYTES: Final = 4 * 2**20
"""About 20,000 failures."""


def warning_of_ignored_regions(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Pass on the operations, and warn once at the end, as a manifest may have millions of lines."""
    first, count = "", 0
    for operation in operations:
        if isinstance(operation, AddPicture) and operation.options.region != operation.options.given_region:
            first = first or operation.source
            count += 1
        yield operation
    if count:
        lines = f"{count} line{'s' if count > 1 else ''}"
        warn(f"Crop false uses the whole picture, so the Region of {lines} is ignored, first {first}")


def dry_run_of(source: Source, target: Instance | None) -> Iterator[Outcome]:
    """The outcomes of a dry run on an instance, or on one that does not exist yet."""
    from imgsearch.jobs.dry_run import dry_run_for_new
    from imgsearch.vision.limits import LIMIT_PROFILES

    if target is None:
        return dry_run_for_new(source.dry_run(LIMIT_PROFILES["local"].max_bytes))
    return target.dry_run(source.dry_run(target.limits.max_bytes))


def with_progress(
    outcomes: Iterable[Outcome], paths: list[Path] | None, *, quiet: bool, total: int | None = None
) -> Iterable[Outcome]:
    """Show a progress bar on a terminal; if the total is unknown, files are counted in a thread."""
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
    """A failed operation, for summary and reports."""
    return documents.failure_document(outcome, error) | {"Source": safe(outcome.source)}


def print_outcome(outcome: Outcome, chosen: Format, *, quiet: bool) -> None:
    """Print an outcome: acknowledgements for jsonl, written files for paths, else failures to stderr."""
    if chosen is Format.JSONL:
        line = outcome_document(outcome)
        if outcome.error is not None:
            line["Source"] = safe(outcome.source)
        if not (quiet and outcome.status is not Status.FAILED and outcome.warning is None):
            print_document(line, one_line=True)
    elif chosen is Format.PATHS and outcome.status in (Status.ADDED, Status.REPLACED, Status.RENAMED):
        print_line(outcome.source)
    shown_at_the_end = chosen.is_json or (chosen is Format.TABLE and sys.stdout.isatty())
    if outcome.error is not None and not shown_at_the_end:
        warn(f"{outcome.source}: {outcome.error.message} ({outcome.error.code})")
    if outcome.warning is not None and chosen is not Format.JSONL:
        warn(f"{outcome.source}: {outcome.warning}")


class _Failures:
    """Failures of a run, in order; spooled to an unnamed temporary file beyond a few megabytes."""

    def __init__(self) -> None:
        self._spool: IO[bytes] | None = None
        self._count = 0

    def __del__(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def __len__(self) -> int:
        return self._count

    def append(self, failure: dict[str, Any]) -> None:
        """Add a failure.

        Raises:
            StorageFull, StorageUnwritable: there is no space for temporary files.
        """
        import tempfile

        with file_errors(temporary_folder()):
            if self._spool is None:
                self._spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  # closed with this
            self._spool.write(json.dumps(failure).encode() + b"\n")
        self._count += 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """From the first; must not run while appending."""
        if self._spool is not None:
            with file_errors(temporary_folder()):
                self._spool.seek(0)
                yield from map(json.loads, self._spool)


class Summary:
    """Counts the outcomes of a run.

    Args:
        is_batch: exit with 1 on failure even if there is only one operation.
        with_renamed: tell the number of renamed pictures, of which there are none otherwise.
        shard: of a run that has only a part to do; what it leaves to others is told.
    """

    def __init__(self, *, is_batch: bool = False, with_renamed: bool = False, shard: Shard | None = None) -> None:
        self._with_renamed = with_renamed
        self._shard = shard
        self._only_empty = True
        self._is_batch = is_batch
        self._counts: Counter[Status] = Counter()
        self._failures = _Failures()
        self._warnings = 0
        self._first_error: ImgsearchError | None = None
        self._facts: dict[str, Any] = {}

    def count(self, outcome: Outcome) -> None:
        """Count an outcome.

        Raises:
            StorageFull, StorageUnwritable: there is no space to spool failures.
        """
        self._counts[outcome.status] += 1
        self._warnings += outcome.warning is not None
        if outcome.error is not None:
            self._first_error = self._first_error or outcome.error
            self._only_empty = self._only_empty and isinstance(outcome.error, NothingFound)
            document = failure_document(outcome, outcome.error)
            self._failures.append(document)
            log.warning("failed: %(Source)s: %(Message)s (%(Code)s)", document)
        elif outcome.warning is not None:
            log.warning("%s: %s", outcome.source, outcome.warning)

    def add_facts(self, **facts: Any) -> None:
        """Add fields to the document."""
        self._facts |= facts

    @property
    def exit_code(self) -> int:
        """0; 1 if some failed; the exit code of the error for a single picture, or if nothing but it was found."""
        if self._first_error is None:
            return 0
        if self._only_empty:
            return self._first_error.exit_code
        given = self._counts.total() + (0 if self._shard is None else self._shard.others)
        return 1 if self._is_batch or given > 1 else self._first_error.exit_code

    def in_words(self) -> str:
        """The number of each status, and of what other shards do."""
        told = [f"{self._counts[status]} {status}" for status in Status if self._counts[status]] or ["nothing to do"]
        if self._shard is not None:
            told.append(f"{self._shard.others} left to other shards")
        return ", ".join(told)

    def show(self, chosen: Format, seconds: float, *, quiet: bool) -> None:
        """Print the summary, unless quiet and without failures; it goes into the log in any case."""
        log.info("%s in %.1f s", self.in_words(), seconds)
        if quiet and not self._failures:
            return
        told = [status for status in Status if self._with_renamed or status is not Status.RENAMED]
        counts = {status.capitalize(): self._counts[status] for status in told}
        if chosen.is_json:
            document = {"Success": not self._failures, **counts}
            rest = {"Seconds": round(seconds, 3), **self._facts}
            if self._shard is not None:
                rest["OtherShards"] = self._shard.others
            if self._warnings:
                rest["Warnings"] = self._warnings
            print_streamed(document, "Failures", self._failures, rest, one_line=chosen is Format.JSONL)
        elif chosen is Format.TABLE:
            self._print_table(seconds)

    def _print_table(self, seconds: float) -> None:
        rate = f", {self._counts.total() / seconds:.0f} pictures/s" if seconds > 1 else ""
        would = "would be: " if self._facts.get("DryRun") else ""
        console().print(f"{would}{self.in_words()} in {seconds:.1f} s{rate}")
        if self._facts.get("Skipped"):
            skipped = ", ".join(f"{count} {reason}" for reason, count in self._facts["Skipped"].items())
            console().print(f"passed over: {skipped}")
        print_failures(self._failures, len(self._failures))
