"""The parameters of a request to the page's API: each is known, given once, and of the right type."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from imgsearch.server.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Parameters"]

FLAGS = {"true": True, "false": False}


class Parameters:
    """Names with values; an empty value is like none.

    Args:
        pairs: of a query string, decoded.
        known: the names that this operation has.

    Raises:
        RequestRefused: an unknown name, or one that is there twice.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], known: frozenset[str]) -> None:
        self._values: dict[str, str] = {}
        for name, value in pairs:
            if name not in known:
                raise _refused(f"there is no parameter {name[:40]!r} here; there are: {', '.join(sorted(known))}")
            if name in self._values:
                raise _refused(f"the parameter {name!r} is there twice")
            self._values[name] = value

    def text(self, name: str) -> str | None:
        """A text; None if it is not given."""
        return self._values.get(name) or None

    def needed(self, name: str) -> str:
        """A text that must be given.

        Raises:
            RequestRefused
        """
        value = self.text(name)
        if value is None:
            raise _refused(f"the parameter {name!r} is missing")
        return value

    def integer(self, name: str, default: int) -> int:
        """A whole number.

        Raises:
            RequestRefused
        """
        value = self.text(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit() and len(value) <= 12):
            raise _refused(f"{name} {value[:40]!r} is no whole number")
        return int(value)

    def number(self, name: str, default: float) -> float:
        """A number.

        Raises:
            RequestRefused
        """
        value = self.text(name)
        if value is None:
            return default
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise _refused(f"{name} {value[:40]!r} is no number")
        return number

    def flag(self, name: str, *, default: bool = False) -> bool:
        """``true`` or ``false``.

        Raises:
            RequestRefused
        """
        value = self.text(name)
        if value is None:
            return default
        if value not in FLAGS:
            raise _refused(f"{name} {value[:40]!r} is neither true nor false")
        return FLAGS[value]


def _refused(message: str) -> RequestRefused:
    return RequestRefused(message, code="InvalidParameter")
