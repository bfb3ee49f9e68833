"""Commands that messages advise, completed by the instance in use: the library does not know how it was named."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["complete", "instance_is"]

ADVISED: Final = re.compile(r"'imgsearch ((?:check|rebuild|add|init|list|delete)\b[^']*)'")
NEW_INSTANCE: Final = re.compile(r"(?:new instance with|or add the pictures|created with) 'imgsearch init")
"""Where the advice is about another instance."""

_given: str | None = None


def instance_is(given: Path | None) -> None:
    """Remember how the user named the instance; None: not at all, so advice needs no name either."""
    global _given  # noqa: PLW0603  # there is one command line
    _given = None if given is None else str(given)


def complete(message: str) -> str:
    """The message, with ``-i`` in each advised command that needs it."""
    if _given is None or NEW_INSTANCE.search(message):
        return message
    option = f" -i {shlex.quote(_given)}".replace("'", '"')

    def completed(match: re.Match[str]) -> str:
        words = match[1]
        if re.search(r"(?:^| )(?:-i|--instance)\b", words) or words.startswith("init --"):
            return match[0]
        command, space, rest = words.partition(" ")
        return f"'imgsearch {command}{option}{space}{rest}'"

    return ADVISED.sub(completed, message)
