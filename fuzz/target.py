"""What all targets share: running, and what holds for every error."""

from __future__ import annotations

import sys
from collections.abc import Callable

import atheris

from imgsearch.errors import ImgsearchError

__all__ = ["check_error", "run"]


def run(target: Callable[[bytes], None]) -> None:
    """Fuzz with the arguments of this process, which are libFuzzer's; does not return."""
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


def check_error(error: ImgsearchError) -> None:
    """It has a code of its own, and says something, on one line, in text that any document can hold."""
    assert error.exit_code == 3
    assert error.code
    assert error.message.strip()
    assert "\n" not in error.message
    error.message.encode()
