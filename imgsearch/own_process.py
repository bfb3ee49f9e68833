"""Whether this process belongs to imgsearch, or to a program that uses the library.

The library changes no process-wide settings of a host program. Only our own processes (the command line, decoders) may
do so.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["claim", "command_line", "is_ours"]

_words: list[str] | None = None


def claim(words: Sequence[str]) -> None:
    """Mark the process as ours, and record its arguments."""
    global _words  # noqa: PLW0603  # there is one process
    _words = list(words)


def is_ours() -> bool:
    """Whether the process has been claimed."""
    return _words is not None


def command_line() -> str | None:
    """The command line; None in a host program, whose arguments are not ours to record."""
    return None if _words is None else shlex.join(["imgsearch", *_words])
