"""The log of unattended runs: each run appends timestamped lines to a file."""

from __future__ import annotations

import logging
import re
import shlex
import sys
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

import typer

from imgsearch.cli.errors import tell
from imgsearch.cli.output import safe
from imgsearch.durable_fs import file_errors, private_opener
from imgsearch.errors import ImgsearchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

__all__ = ["opened_text", "run_log"]

log: Final = logging.getLogger("imgsearch")
USER_INFO: Final = re.compile(r"://[^/@\s]*@")
"""The part of a URL that may hold a password."""


class _OneLine(logging.Formatter):
    """Time with zone, level, message; always one line, even with control characters in names."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s [%(process)d] %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


class _Handler(logging.StreamHandler["IO[str]"]):
    """Remembers that a line could not be written: what a command does must not end because of its log."""

    failure: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # its name in logging
        error = sys.exception()
        if self.failure is None and isinstance(error, OSError):
            self.failure = error
        elif self.failure is None:
            super().handleError(record)


@contextmanager
def opened_text(path: Path, mode: str, option: str) -> Iterator[IO[str]]:
    """Open a file given by an option, line-buffered; a new file is readable only by its owner.

    Raises:
        UsageError: its folder does not exist, or it is a folder itself.
        StorageFull, StorageUnwritable
    """
    with file_errors(path):
        try:
            file = open(  # noqa: SIM115  # closed below; only errors of opening are translated
                path, mode, encoding="utf-8", errors="backslashreplace", buffering=1, opener=private_opener
            )
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise UsageError(f"{option} {str(path)!r} cannot be written: {error.strerror}") from None
    with file:
        yield file


@contextmanager
def run_log(path: Path | None) -> Iterator[None]:
    """Log a run from its command to its exit code; does nothing without a file.

    Raises:
        UsageError, StorageFull, StorageUnwritable
    """
    if path is None:
        yield
        return
    with ExitStack() as stack:
        file = stack.enter_context(opened_text(path, "a", "--log-file"))
        handler = _Handler(file)
        handler.setFormatter(_OneLine())
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        try:
            log.info("started: imgsearch %s", USER_INFO.sub("://…@", shlex.join(sys.argv[1:])))
            if handler.failure is not None:
                with suppress(OSError):
                    file.close()
                with file_errors(path):
                    raise handler.failure
            yield
        except ImgsearchError as error:
            log.error("ended with exit code %d: %s (%s)", error.exit_code, error.message, error.code)
            raise
        except typer.Exit as end:
            log.warning("ended with exit code %d", end.exit_code)
            raise
        except KeyboardInterrupt:
            log.warning("interrupted")
            raise
        except BaseException as error:
            log.error("ended by %s", type(error).__name__)  # the trace goes to the common log
            raise
        else:
            log.info("ended with exit code 0")
        finally:
            log.removeHandler(handler)
            if handler.failure is not None and not file.closed:
                tell(f"imgsearch: --log-file {safe(str(path))} is incomplete: {handler.failure.strerror}")
                with suppress(OSError):
                    file.close()
