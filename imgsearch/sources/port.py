"""What a source of pictures is: the port behind which files, manifests and buckets look the same.

One pass over a source is a stream of operations. What cannot become one is a ``Refused`` in its place; only what makes
all the rest impossible is raised.
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
    """Where operations come from."""

    @property
    def countable(self) -> list[Path] | None:
        """Files and folders whose pictures are worth counting for a progress bar; None: the number is not known."""

    def check(self) -> None:
        """Find out what would make every operation fail, before any work begins.

        Raises:
            ImgsearchError: one class or code for each cause.
        """

    def operations(self, is_stored: Callable[[Key], bool]) -> Iterator[Operation]:
        """The operations, in their order; called once, after ``check``.

        Args:
            is_stored: whether an item has that key, so that its picture may be unchanged. A source that has to ask for
                tokens asks for those only.

        Raises:
            ImgsearchError: the source fails in the middle; what it gave before stands.
        """

    def dry_run(self, max_bytes: int) -> Iterator[Operation]:
        """The same to tell what would be done: every picture is looked up, and none is read.

        Args:
            max_bytes: pictures of so many bytes or more would be refused.
        """
