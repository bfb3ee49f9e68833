"""The application with all commands."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

import imgsearch
from imgsearch.cli.errors import reporting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["COMMANDS", "app_for"]

COMMANDS: Final = {
    "init": "init:init",
    "add": "add:add",
    "search": "search:search",
    "list": "list:list_",
    "show": "show:show",
    "update": "update:update",
    "delete": "delete:delete",
    "rebuild": "rebuild:rebuild",
    "tune": "tune:tune",
    "info": "info:info",
    "models": "models:models",
    "check": "check:check",
    "export": "export_import:export",
    "import": "export_import:import_",
    "oss-import": "oss_import:oss_import",
    "eval": "evaluate:evaluate",
}
"""Module below ``imgsearch.cli`` and function of each command."""


def app_for(words: Sequence[str]) -> typer.Typer:
    """The application for a command line.

    If its first word is a command, only that one is loaded: importing all commands takes as long as opening an
    instance.
    """
    return _made(words[:1] if words and words[0] in COMMANDS else COMMANDS)


def _made(names: Iterable[str]) -> typer.Typer:
    app = typer.Typer(
        name="imgsearch",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 done, 1 some items failed, 2 usage, 3 bad input, 4 not found, 5 locked, 6 damaged, "
        "7 remote storage, 8 disk full, 70 bug, 130 interrupted.",
    )
    app.callback()(_imgsearch)
    for name in names:
        module, _, function = COMMANDS[name].partition(":")
        app.command(name)(reporting(getattr(import_module(f"imgsearch.cli.{module}"), function)))
    return app


def _version(value: bool) -> None:
    if value:
        typer.echo(f"imgsearch {imgsearch.__version__}")
        raise typer.Exit


def _imgsearch(
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Index a catalogue of pictures and search it by picture, locally: no picture leaves this machine."""


@cache
def _whole() -> typer.Typer:
    return _made(COMMANDS)


def __getattr__(name: str) -> Any:
    if name == "app":  # with every command
        return _whole()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
