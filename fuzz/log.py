"""Repairing SQLite's log: whatever is in it, the repaired log has no damage any more and the same length."""

from __future__ import annotations

from fuzz.files import folder, replaced
from imgsearch.storage.sqlite.wal import committed_pages, is_corrupted, log_of, write_repaired

FOLDER = folder()


def target(data: bytes) -> None:
    database, repaired = FOLDER / "damaged.db", FOLDER / "repaired.db"
    replaced(log_of(database), data)
    was_corrupted = is_corrupted(database)
    write_repaired(database, log_of(repaired))
    assert log_of(repaired).stat().st_size == len(data)
    assert (log_of(repaired).read_bytes() == data) is not was_corrupted
    assert not is_corrupted(repaired)
    assert committed_pages(repaired) != 0
