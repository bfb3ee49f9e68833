"""A truth that is only read: writing goes to the shards, each under its own lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from imgsearch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ReadOnlyTruth", "refuse_writing"]


def refuse_writing(folder: Path) -> NoReturn:
    """Refuse what would change several shards in one commit.

    Raises:
        UsageError
    """
    raise UsageError(f"{folder} are several shards, each with its own lock: run this on each of them")


class ReadOnlyTruth:
    """The writing methods of ``storage.port.Truth``, refused.

    Args:
        folder: named in refusals.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _refused(self, *_given: Any) -> NoReturn:
        refuse_writing(self.folder)

    check_key = _refused
    set_setting = _refused
    set_tuning = _refused
    upsert = _refused
    insert = _refused
    update = _refused
    set_attributes = _refused
    set_tokens = _refused
    set_picture_hashes = _refused
    remove = _refused
    delete = _refused
