"""The words of a command line, as far as they are understood before a command is loaded."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes longer than all that is done here
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

__all__ = ["COMPLETE_VARIABLE", "HELP", "command_of"]

COMPLETE_VARIABLE: Final = "_IMGSEARCH_COMPLETE"
"""Set if a shell asks what could come next."""
HELP: Final = frozenset({"-h", "--help"})

WITH_VALUE: Final = frozenset({"-i", "--instance", "--config"})
"""Options before the command whose value is a word of its own."""


def command_of(words: Sequence[str]) -> str | None:
    """The first word of a command line that is neither an option nor the value of one."""
    left = iter(words)
    for word in left:
        if word in WITH_VALUE:
            next(left, None)
        elif not word.startswith("-"):
            return word
    return None
