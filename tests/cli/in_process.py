"""The command line in the process of the tests, for what needs none of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

from imgsearch.cli.app import app_for
from tests.conftest import Result, checked

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["invoke"]


def invoke(*arguments: object, env: Mapping[str, str] | None = None) -> Result:
    """Run one command, as ``python -m imgsearch`` does: only that one is made, as all take longer than most do."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(app_for(words), words, env=env)
    return checked(words, Result(result.exit_code, result.stdout, result.stderr))
