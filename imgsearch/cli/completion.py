"""``imgsearch completion``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]  # it is documented there

from imgsearch.cli.words import COMPLETE_VARIABLE

__all__ = ["completion"]


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="The shell to complete in.")],
) -> None:
    """Print the completion script for a shell.

    It completes commands, options, categories, models and configured instances.
    """
    typer.echo(get_completion_script(prog_name="imgsearch", complete_var=COMPLETE_VARIABLE, shell=shell))
