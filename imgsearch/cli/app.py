"""The application with all commands."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]  # it is documented there

import imgsearch
from imgsearch.cli import rich_help
from imgsearch.cli.configuration import load
from imgsearch.cli.errors import reporting
from imgsearch.cli.examples import EXAMPLES
from imgsearch.cli.options import GlobalInstance
from imgsearch.cli.words import COMPLETE_VARIABLE, command_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["COMMANDS", "app_for"]

COMMANDS: Final = {
    "init": "init:init",
    "add": "add:add",
    "sync": "sync:sync",
    "search": "search:search",
    "compare": "compare:compare",
    "list": "list:list_",
    "show": "show:show",
    "duplicates": "duplicates:duplicates",
    "update": "update:update",
    "delete": "delete:delete",
    "rebuild": "rebuild:rebuild",
    "index": "index:index",
    "tune": "tune:tune",
    "info": "info:info",
    "models": "models:models",
    "check": "check:check",
    "export": "export_import:export",
    "import": "export_import:import_",
    "oss-import": "oss_import:oss_import",
    "eval": "evaluate:evaluate",
    "serve": "serve:serve",
    "mcp": "mcp:mcp",
    "config": "config:config",
    "schema": "schema:schema",
    "completion": "completion:completion",
    "man": "man:man",
}
"""Module below ``imgsearch.cli`` and function of each command."""


def app_for(words: Sequence[str]) -> typer.Typer:
    """The application for a command line.

    If it names a command, only that one is loaded: importing all commands takes as long as opening an instance. If it
    names none, help or an error follows, and that only needs their names and descriptions.
    """
    rich_help.prepare(words)
    command = command_of(words)
    if command in COMMANDS:
        return _made([command])
    if COMPLETE_VARIABLE in os.environ:
        return _made(COMMANDS)
    return _made(COMMANDS, _described)


def _loaded(name: str) -> Callable[..., None]:
    module, _, function = COMMANDS[name].partition(":")
    command: Callable[..., None] = getattr(import_module(f"imgsearch.cli.{module}"), function)
    return command


def _described(name: str) -> Callable[..., None]:
    """A function with the description of a command, whose module is read but not run."""
    module, _, function = COMMANDS[name].partition(":")
    spec = find_spec(f"imgsearch.cli.{module}")
    code = None if spec is None else getattr(spec.loader, "get_code", lambda _name: None)(spec.name)
    own = [one for one in getattr(code, "co_consts", ()) if getattr(one, "co_name", None) == function]
    if not own:
        return _loaded(name)

    def command() -> None:
        raise NotImplementedError(name)  # a command line that names a command loads it

    command.__doc__ = next((one for one in own[0].co_consts[:1] if isinstance(one, str)), None)
    return command


def _made(names: Iterable[str], found: Callable[[str], Callable[..., None]] = _loaded) -> typer.Typer:
    if COMPLETE_VARIABLE in os.environ:  # a shell asks what could come next
        completion_init()
    app = typer.Typer(
        name="imgsearch",
        no_args_is_help=True,
        add_completion=False,  # the command does it
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 done, 1 some items failed, 2 usage, 3 bad input, 4 not found, 5 locked, 6 damaged, "
        "7 remote storage, 8 disk full, 70 bug, 130 interrupted.",
    )
    app.callback()(reporting(_imgsearch))
    for name in names:
        app.command(name, epilog="\n\n".join(("Examples:", *EXAMPLES[name])))(reporting(found(name)))
    return app


def _version(value: bool) -> None:
    if value:
        typer.echo(f"imgsearch {imgsearch.__version__}")
        raise typer.Exit


def _imgsearch(
    instance: GlobalInstance = None,  # noqa: ARG001  # each command takes it from here
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="The configuration file; by default 'config.toml' of this user."
        ),
    ] = None,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Index a catalogue of pictures and search it by picture, locally: no picture leaves this machine."""
    load(config).apply()


@cache
def _whole() -> typer.Typer:
    return _made(COMMANDS)


def __getattr__(name: str) -> Any:
    if name == "app":  # with every command
        return _whole()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
