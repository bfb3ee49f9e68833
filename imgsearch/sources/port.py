"""The source port: a common interface to files, manifests and buckets.

A source yields a stream of operations. An invalid entry becomes a ``Refused`` in its place; only an error that prevents
all further operations is raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imgsearch.types import Operation
    from imgsearch.values import Key

__all__ = ["Source"]


class Source(Protocol):
    """A source of operations."""

    @property
    def countable(self) -> list[Path] | None:
        """Files and folders to count for a progress bar; None if the number is unknown."""

    def check(self) -> None:
        """Detect problems that would make every operation fail, before any work begins.

        Raises:
            ImgsearchError: with its own class or code for each cause.
        """

    def operations(self, is_stored: Callable[[Key], bool]) -> Iterator[Operation]:
        """The operations, in order; called once, after ``check``.

        Args:
            is_stored: whether an item has that key, so that its picture may be unchanged. A source that must request
                tokens requests them only for these.

        Raises:
            ImgsearchError: the source fails midway; earlier operations remain valid.
        """

    def dry_run(self, max_bytes: int) -> Iterator[Operation]:
        """The operations for a dry run: checks that every picture exists, and reads none.

        Args:
            max_bytes: the smallest refused size.
        """
