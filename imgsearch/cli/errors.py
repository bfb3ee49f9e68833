"""The one place where errors become messages and exit codes."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from imgsearch.cli.output import Format, print_document, resolve_format, safe
from imgsearch.durable_fs import file_errors, make_private_folder, private_opener
from imgsearch.errors import ImgsearchError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BROKEN_PIPE", "BUG", "INTERRUPTED", "error_document", "print_error", "reporting", "warn"]

BUG = 70
INTERRUPTED = 130
BROKEN_PIPE = 141
"""Whoever read stdout has gone, as in ``imgsearch search … | head -1``; shells give this code for it."""


def reporting(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: what it raises is told on stderr, in a JSON format on stdout too, and decides the exit code."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            with file_errors(Path.cwd()):  # of what is not an instance's: a contact sheet, the output itself
                command(*args, **options)
                sys.stdout.flush()
        except ImgsearchError as error:
            print_error(error, resolve_format(options.get("output_format")))
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None
        except KeyboardInterrupt:
            warn("interrupted; what was acknowledged stays, run the command again to go on")
            raise typer.Exit(INTERRUPTED) from None
        except typer.Exit:
            raise
        except Exception:
            raise typer.Exit(_report_bug()) from None

    return run


def error_document(error: ImgsearchError) -> dict[str, Any]:
    """What a JSON format says of an error."""
    return {"Success": False, "Code": error.code, "Message": error.message}


def print_error(error: ImgsearchError, output_format: Format) -> None:
    """One line for people, and a document for programs that read one."""
    if output_format.is_json:
        print_document(error_document(error))
    warn(error.message)


def warn(message: str) -> None:
    """One line on stderr."""
    typer.echo(f"imgsearch: {safe(message)}", err=True)


def _report_bug() -> int:
    """Keep the trace in the log and ask for a report."""
    from imgsearch import __version__
    from imgsearch.locations import log_file

    trace = traceback.format_exc()
    path = log_file()
    try:
        make_private_folder(path.parent)
        with open(path, "a", encoding="utf-8", errors="backslashreplace", opener=private_opener) as log:
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            log.write(f"{now} imgsearch {__version__} {sys.argv[1:2]}\n{trace}\n")
        where = f"the trace is in {path}"
    except OSError:
        typer.echo(trace, err=True)
        where = "the trace is above"
    warn(f"this is a bug: {trace.strip().splitlines()[-1][:200]}; {where}, please report it")
    return BUG
