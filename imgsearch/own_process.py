"""Whether this process is imgsearch's own, or a program that uses the library.

A program's settings are its own: the library changes none. In a process of ours (the command line, a decoder) there is
nobody else whose settings they could be.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["claim", "command_line", "is_ours"]

_words: list[str] | None = None


def claim(words: Sequence[str]) -> None:
    """Say that the process is ours, and with which arguments it runs."""
    global _words  # noqa: PLW0603  # there is one process
    _words = list(words)


def is_ours() -> bool:
    """Whether somebody has claimed it."""
    return _words is not None


def command_line() -> str | None:
    """How the process was called; None in a program of somebody else, whose arguments are not ours to write down."""
    return None if _words is None else shlex.join(["imgsearch", *_words])
