"""The application: every command, under its name."""

from __future__ import annotations

from typing import Annotated

import typer

import imgsearch
from imgsearch.cli import add, check, delete, evaluate, info, init, oss_import, portable, rebuild, search
from imgsearch.cli.report import reporting

__all__ = ["app"]

app = typer.Typer(
    name="imgsearch",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 some items failed, 2 usage, 3 bad input, 4 not there, 5 locked, 6 damaged, "
    "7 remote storage, 8 disk full, 70 a bug, 130 interrupted.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"imgsearch {imgsearch.__version__}")
        raise typer.Exit


@app.callback()
def _imgsearch(
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Index a catalogue of pictures and find by picture, on this machine, with nobody else seeing one."""


for _command in (init.init, add.add, search.search, delete.delete, rebuild.rebuild, info.info, check.check):
    app.command()(reporting(_command))
app.command()(reporting(portable.export))
app.command("import")(reporting(portable.import_))
app.command("oss-import")(reporting(oss_import.oss_import))
app.command("eval")(reporting(evaluate.evaluate))  # a function of that name would hide Python's own
