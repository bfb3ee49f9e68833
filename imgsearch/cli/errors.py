"""Converting errors to messages and exit codes."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from contextlib import nullcontext, suppress
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import typer

from imgsearch.cli.advice import complete
from imgsearch.cli.output import FORMAT_VARIABLE, Format, print_document, resolve_format, safe
from imgsearch.cli.words import command_of
from imgsearch.durable_fs import file_errors, make_private_folder, private_opener
from imgsearch.errors import ImgsearchError, MemoryRefused, StorageError, UsageError
from imgsearch.service.documents import error_document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = [
    "BROKEN_PIPE",
    "BUG",
    "INTERRUPTED",
    "exit_code_of",
    "print_error",
    "report_bug",
    "reporting",
    "tell",
    "warn",
]

BUG = 70
INTERRUPTED = 130
SPEAK_A_PROTOCOL: Final = frozenset({"mcp"})
"""Commands whose stdout belongs to a protocol."""
BROKEN_PIPE = 141
"""The reader of stdout has exited, as in ``imgsearch search … | head -1``; the code is that of shells."""


def reporting(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: report its errors on stderr, for JSON formats also on stdout, and set the exit code."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            _check_working_folder()
            with (
                file_errors("a file that the command reads or writes"),  # if the error names no file
                _logged(options.get("log_file")),
            ):
                command(*args, **options)
                sys.stdout.flush()
        except ImgsearchError as error:
            print_error(error, _format_of(options))
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None
        except KeyboardInterrupt:
            interrupted = ImgsearchError(
                "interrupted; acknowledged changes are kept, run the command again to continue"
            )
            interrupted.code = "Interrupted"
            print_error(interrupted, _format_of(options))
            raise typer.Exit(INTERRUPTED) from None
        except typer.Exit:
            raise
        except Exception as error:
            if not _is_of_memory(error):
                raise typer.Exit(report_bug()) from None
            refused = MemoryRefused(
                "the system gives this process no more memory or threads; nothing acknowledged is lost: end other "
                "programs, raise the limit or use fewer --workers, then run the command again"
            )
            print_error(refused, _format_of(options))
            raise typer.Exit(refused.exit_code) from None

    return run


def _logged(file: Path | None) -> AbstractContextManager[None]:
    if file is None:
        return nullcontext()
    from imgsearch.cli.run_log import run_log

    return run_log(file)


_USAGE_ERRORS: Any = typer.BadParameter.__mro__[2]
"""``ClickException``; typer may bring its own copy of click."""


def exit_code_of(app: Callable[..., Any], words: Sequence[str]) -> int:
    """Run an application; a command line that it cannot parse is reported like every other error."""
    if not words:  # that prints the help
        app([], prog_name="imgsearch")
    try:
        code: int | None = app(list(words), prog_name="imgsearch", standalone_mode=False)
    except _USAGE_ERRORS as error:
        message = " ".join(error.format_message().split()).removesuffix(".")
        context = getattr(error, "ctx", None)
        command = "imgsearch" if context is None else context.command_path
        end = "" if message.endswith("?") else "."
        usage = UsageError(f"{message}{end} See '{command} --help'")
        print_error(usage, _format_in(words))
        return usage.exit_code
    return code or 0


def _format_of(options: Mapping[str, Any]) -> Format:
    return resolve_format(options["output_format"]) if "output_format" in options else _format_in(sys.argv[1:])


def _format_in(words: Sequence[str]) -> Format:
    """The output format that a command line asks for, if only that much of it can be understood."""
    if command_of(words) in SPEAK_A_PROTOCOL:
        return Format.TABLE  # on stdout, a document would be taken for a message
    given = os.environ.get(FORMAT_VARIABLE)
    for word, following in pairwise((*words, "")):
        if word == "--format":
            given = following
        elif word.startswith("--format="):
            given = word.partition("=")[2]
    return Format(given) if given in set(Format) else resolve_format(None)


def _is_of_memory(error: BaseException) -> bool:
    """Whether the system refused memory or a thread, also in a library written in C++."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(word in str(error) for word in ("bad_alloc", "bad allocation", "can't start new thread"))
    )


def _check_working_folder() -> None:
    """Raise if the working directory is gone: relative paths would cause misleading errors.

    Raises:
        UsageError
    """
    try:
        os.getcwd()  # noqa: PTH109  # called to see whether it fails
    except OSError as error:
        raise UsageError(
            f"the working directory cannot be determined ({error.strerror}); it may have been deleted: "
            "change to another one with 'cd', then run the command again"
        ) from None


def print_error(error: ImgsearchError, output_format: Format) -> None:
    """Print one line for people, and for JSON formats a document."""
    message = complete(error.message)
    if output_format.is_json:
        with suppress(OSError, StorageError):  # stdout itself may be unwritable or closed
            print_document(error_document(error) | {"Message": message})
    warn(message)


def warn(message: str) -> None:
    """Print one line of the program to stderr."""
    tell(f"imgsearch: {safe(complete(message))}")


def tell(line: str) -> None:
    """Print a line to stderr, above a progress bar if there is one."""
    tqdm: Any = sys.modules.get("tqdm")
    with nullcontext() if tqdm is None else tqdm.tqdm.external_write_mode(file=sys.stderr):
        typer.echo(line, err=True)


def report_bug() -> int:
    """Write the trace to the log and ask for a report."""
    from imgsearch import __version__
    from imgsearch.locations import log_file

    trace = traceback.format_exc()
    try:
        path = log_file()
        make_private_folder(path.parent)
        with open(path, "a", encoding="utf-8", errors="backslashreplace", opener=private_opener) as log:
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            log.write(f"{now} imgsearch {__version__} {sys.argv[1:2]}\n{trace}\n")
        where = f"the trace is in {path}"
    except (OSError, UsageError):
        typer.echo(trace, err=True)
        where = "the trace is above"
    warn(f"this is a bug: {trace.strip().splitlines()[-1][:200]}; {where}, please report it")
    return BUG
