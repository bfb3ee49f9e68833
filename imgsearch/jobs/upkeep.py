"""Bringing the index up to date when a writer's own work is done."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from imgsearch.errors import RemoteUnavailable

if TYPE_CHECKING:
    from imgsearch.opened import Opened
    from imgsearch.storage.port import Storage

__all__ = ["index_waiting", "refresh_if_due"]

log: Final = logging.getLogger("imgsearch.storage")


def refresh_if_due(engine: Storage) -> bool:
    """Refresh the index if that is due; also returns whether it was.

    All that was written is acknowledged already and found without the index, so a server of the index that cannot be
    reached is no failure of the writer.

    Raises:
        StorageFull, StorageUnwritable
    """
    if not engine.is_index_due():
        return False
    try:
        engine.refresh()
    except RemoteUnavailable as error:
        log.warning("%s; items wait for it: run 'imgsearch index' when it is back", error.message)
    return True


def index_waiting(opened: Opened, lock_timeout: float) -> int:
    """Bring the index up to date; see ``Instance.index``."""
    with opened.writing(lock_timeout) as engine:
        before = _waiting(engine)
        if engine.is_index_due():
            engine.refresh()
        return max(0, before - _waiting(engine))


def _waiting(engine: Storage) -> int:
    return engine.store.count_unindexed() + engine.store.count_removed()
