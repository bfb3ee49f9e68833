"""Items that a repair has put aside, and which of them nobody has been told of yet.

A repair commits its valid database before it has done all else, and may then fail or be killed. So the commit itself
notes that its losses are still to be told: their times are negative until a repair returns them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from imgsearch.storage.integrity.problems import Loss
from imgsearch.storage.records import ITEM_ROW

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

__all__ = ["QUARANTINE_ROW", "put_aside", "take_untold", "untold"]

QUARANTINE_ROW: Final = (*ITEM_ROW, "location", "reason", "quarantined")
"""``quarantined`` is a time in seconds since the epoch, negative as long as the loss is untold."""
UNTOLD: Final = "typeof(quarantined) = 'integer' AND quarantined < 0"


def put_aside(connection: sqlite3.Connection, row: Sequence[Any], location: str | None, reason: str, now: int) -> None:
    """Insert an item into the quarantine, untold.

    Args:
        connection: in a transaction for writing.
        row: ITEM_ROW as far as it could be read.
        location: of its picture.
        reason: what was wrong.
        now: seconds since the epoch, whatever the clock says.
    """
    marks = ", ".join("?" * len(QUARANTINE_ROW))
    connection.execute(
        f"INSERT INTO quarantine ({', '.join(QUARANTINE_ROW)}) VALUES ({marks})", (*row, location, reason, -max(now, 1))
    )


def untold(connection: sqlite3.Connection) -> list[Loss]:
    """The items in the quarantine that nobody has been told of, by id."""
    rows = connection.execute(
        f"SELECT id, product_id, pic_name, reason FROM quarantine WHERE {UNTOLD} ORDER BY id"
    ).fetchall()
    return [_loss(*row) for row in rows]


def take_untold(connection: sqlite3.Connection) -> list[Loss]:
    """The same, who count as told once the transaction is committed."""
    losses = untold(connection)
    connection.execute(f"UPDATE quarantine SET quarantined = -quarantined WHERE {UNTOLD}")
    return losses


def _loss(item_id: int, product_id: Any, pic_name: Any, reason: str) -> Loss:
    product_id, pic_name = (None if part is None else str(part) for part in (product_id, pic_name))
    whose = "a picture whose name is also lost" if product_id is None else f"{product_id!r}, {pic_name!r}"
    return Loss(product_id, pic_name, f"item {item_id} ({whose}) is lost because {reason}: add the picture again")
