"""Repairing an instance: derived data is rebuilt, damaged items are quarantined and named.

A damaged database is rewritten from every row with a valid checksum and replaces the old one in a single SQLite
transaction: a repair killed before it changes nothing, and readers see either the old or the new one. Items that cannot
be verified go to the table ``quarantine`` with all that could be read of them.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final

from imgsearch.durable_fs import TEMPORARY_SUFFIX, atomic_file
from imgsearch.errors import InstanceDamaged, InstanceLocked, OlderFormat
from imgsearch.projection import Projection
from imgsearch.storage.checksum import is_valid, register, row_checksum
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.check import check, log_problems, readable_text
from imgsearch.storage.integrity.features import feature_fault, stored_coding
from imgsearch.storage.integrity.problems import REPAIR_NAME, Loss, Repair
from imgsearch.storage.integrity.quarantine import QUARANTINE_ROW, put_aside, take_untold, untold
from imgsearch.storage.integrity.readable_rows import ReadableRows, readable_row, readable_rows
from imgsearch.storage.records import ITEM_ROW, PROJECTION, ROOT_ROW, SETTING_ROW, TUNED
from imgsearch.storage.sqlite.database import is_refusal, replace_content, storage_errors, sync_commits, transaction
from imgsearch.storage.sqlite.exclusive import alone
from imgsearch.storage.sqlite.header import has_log, repair_header
from imgsearch.storage.sqlite.pages import overwrite_unreadable, recover_rows
from imgsearch.storage.sqlite.schema import check_version
from imgsearch.storage.sqlite.schema_repair import has_all_tables, repair_schema_pages, restore_schema
from imgsearch.storage.sqlite.settings import SETTING_TABLES
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store
from imgsearch.storage.sqlite.wal import committed_pages, log_of, write_repaired

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from imgsearch.quantization import Coding

__all__ = ["repair"]

MAX_GAPS: Final = 1_000_000
"""If ids are missing from all lists, gaps are searched id by id, up to this many."""


def repair(folder: Path, *, settings: Sequence[str] = ()) -> Repair:
    """Repair an instance; the caller holds the writer lock. Leaves an undamaged one unchanged.

    Args:
        folder: with an instance in it.
        settings: names of required settings.

    Raises:
        InstanceDamaged: too little of the database is left; restore it from a backup.
        InstanceLocked: the schema or the log is damaged, and cannot be corrected until other readers have ended.
        NewerFormat, StorageFull, StorageUnwritable
    """
    path = folder / DATABASE_NAME
    log = log_problems(path)
    if log:
        with storage_errors(folder):
            _replace_log(path)  # first of all: whatever else is written would cut it off
    try:
        found = check(folder, read_data=True, locked=True, settings=settings)
    except OlderFormat:
        Store.open(path, write=True, verify=False).close()
        found = check(folder, read_data=True, locked=True, settings=settings)
    if not found:
        return Repair(log, _told(folder), [])
    lost: list[Loss] = []
    kinds = {problem.damage for problem in found}
    broken = any(not kind.affects_index and not kind.is_harmless for kind in kinds)
    if broken:
        with storage_errors(folder):
            lost = _Salvage(path, required=settings).run()
    with closing(Engine.open(folder, write=True)) as engine:  # removes leftovers
        if broken or any(kind.affects_index for kind in kinds):
            if engine.store.count():
                engine.rebuild()
            else:
                engine.drop_index_if_empty()
    left = check(folder, read_data=True, locked=True, settings=settings)
    repaired = [*log, *(problem for problem in found if problem not in left)]
    return Repair(repaired, lost + _told(folder), left)


def _replace_log(database: Path) -> None:
    """Replace a corrupted log, in one step and durably, by one with its bits corrected.

    SQLite itself would end the log at the first wrong checksum: whoever opens the database for writing and closes it
    again cuts off all commits behind it.

    Raises:
        InstanceLocked: others have the database open; they would go on with the old file.
        StorageUnwritable, OSError
    """
    log = log_of(database)
    with alone(database) as is_alone:
        if not is_alone:
            raise InstanceLocked(
                f"{log} is corrupted and cannot be repaired while other programs have the instance open: end them and "
                "run 'imgsearch check --repair' again"
            )
        # If this fails midway, the next writer finds this leftover, and syncs the folder before removing it.
        unsynced = log.with_name(f"{log.name}.unsynced{TEMPORARY_SUFFIX}")
        unsynced.touch(0o600)
        with atomic_file(log) as temporary:
            write_repaired(database, temporary)
        unsynced.unlink()


def _told(folder: Path) -> list[Loss]:
    """The lost items that no repair has told, put aside by this one or by one that did not end; now they are told."""
    with closing(Store.open(folder / DATABASE_NAME, write=False, verify=False)) as reader, storage_errors(folder):
        if not untold(reader.connection):
            return []
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        return take_untold(store.connection)


class _Salvage:
    """Builds a valid database from a damaged one.

    Args:
        path: of the database.
        required: names of required settings.
    """

    def __init__(self, path: Path, *, required: Sequence[str]) -> None:
        self._required = required
        self._path = path
        self._temporary = path.with_name(REPAIR_NAME)
        self._lost: list[Loss] = []
        self._now = int(time.time())

    def run(self) -> list[Loss]:
        """Replace the damaged database by a valid one; return what was lost but items, which are in the quarantine."""
        self._discard()
        repair_header(self._path, committed_pages(self._path))
        try:
            self._empty_log()
            repair_schema_pages(self._path)
            with closing(self._open()) as old:
                restore_schema(old)
            with closing(self._open()) as old:
                check_version(old, str(self._path))
                self._check_tables(old)
                (page_bytes,) = old.execute("PRAGMA page_size").fetchone()  # must be equal
                Store.create(self._temporary, self._settings(old), page_bytes)
                with closing(sqlite3.connect(self._temporary, isolation_level=None)) as new:
                    register(new)
                    new.execute("PRAGMA synchronous = OFF")  # it is not used before it is copied
                    with transaction(new, write=True):
                        self._copy(old, new)
                    self._replace(old, new)
        finally:
            self._discard()
        return self._lost

    def _replace(self, old: sqlite3.Connection, new: sqlite3.Connection) -> None:
        """Put the new content into the old database; SQLite reads each page before it writes it."""
        try:
            replace_content(new, old)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_IOERR_READ":
                raise
            overwrite_unreadable(self._path)
            replace_content(new, old)

    def _empty_log(self) -> None:
        """Move commits from the log into the database, as the schema's pages can be corrected only there.

        SQLite does that when the last connection is closed, even if the schema is malformed.
        """
        if has_log(self._path):
            with suppress(InstanceDamaged):
                self._open().close()

    def _check_tables(self, old: sqlite3.Connection) -> None:
        """Raise if SQLite does not know all tables: whatever is in the others would look as if it were not there."""
        if not has_all_tables(old):
            if has_log(self._path):
                raise InstanceLocked(
                    f"the schema of {self._path} is damaged and cannot be repaired while other programs read it: "
                    "end them and run 'imgsearch check --repair' again"
                )
            raise InstanceDamaged(
                f"the schema of {self._path} cannot be restored, so its items cannot be reached; "
                "nothing was changed: restore it from a backup"
            )

    def _discard(self) -> None:
        for leftover in self._path.parent.glob(f"{REPAIR_NAME}*"):
            leftover.unlink()

    def _open(self) -> sqlite3.Connection:
        """Open the damaged database the way SQLite's own recovery does."""
        connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        connection.text_factory = readable_text
        try:
            connection.execute("PRAGMA writable_schema = ON")
            sync_commits(connection)
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            connection.close()
            if is_refusal(error):
                raise
            raise InstanceDamaged(f"{self._path} cannot be read at all ({error}): restore it from a backup") from error
        return connection

    def _settings(self, old: sqlite3.Connection) -> dict[str, Any]:
        valid: dict[str, Any] = {}
        for table in SETTING_TABLES:
            for row in readable_rows(old, f"SELECT {', '.join(SETTING_ROW)}, seal FROM {table}"):
                if is_valid(row):
                    valid[row[0]] = json.loads(row[1])
        if not valid:
            raise InstanceDamaged(f"{self._path} has lost both copies of its settings: restore it from a backup")
        for name in self._required:
            if name not in valid:
                raise InstanceDamaged(
                    f"{self._path} has lost both copies of the setting {name!r}: restore it from a backup"
                )
        if PROJECTION in valid:
            valid[TUNED] = Projection.from_text(valid[PROJECTION]).name
        elif TUNED in valid:
            raise InstanceDamaged(
                f"{self._path} has lost both copies of its tuning, without which its features cannot be searched: "
                "restore it from a backup, or create a new instance and add the pictures again"
            )
        return valid

    def _copy(self, old: sqlite3.Connection, new: sqlite3.Connection) -> None:
        roots = self._copy_roots(old, new)
        for quarantined in readable_rows(old, f"SELECT {', '.join(QUARANTINE_ROW)} FROM quarantine"):
            _insert(new, "quarantine", QUARANTINE_ROW, quarantined)
        coding = stored_coding(old)
        known = _keys_by_index(old)
        incomplete: dict[int, tuple[tuple[Any, ...] | None, tuple[Any, ...] | None]] = {}
        for item_id in _ids(old, known):
            row = readable_row(old, f"SELECT {', '.join(ITEM_ROW)}, seal FROM items NOT INDEXED WHERE id = ?", item_id)
            feature = readable_row(old, "SELECT feature, seal FROM features WHERE id = ?", item_id)
            if row is None and feature is None and item_id not in known:
                continue  # an id that was not in use
            if row is None or feature is None:
                incomplete[item_id] = row, feature
            else:
                self._copy_item(new, item_id, row, feature, known.get(item_id), roots, coding)
        if incomplete:
            self._copy_unreached(old, new, incomplete, known, roots, coding)
        new.execute("DELETE FROM counts")
        new.execute("INSERT INTO counts SELECT category_id, count(*) FROM items GROUP BY category_id")
        self._keep_ids_unused(old, new)

    def _copy_unreached(
        self,
        old: sqlite3.Connection,
        new: sqlite3.Connection,
        incomplete: dict[int, tuple[tuple[Any, ...] | None, tuple[Any, ...] | None]],
        known: dict[int, tuple[str, str]],
        roots: dict[int, str],
        coding: Coding,
    ) -> None:
        """Copy items of which SQLite cannot reach the row or the feature; these may still be in the file.

        A feature never changes under its id. An item's row may, so it is accepted only if there is a single version
        and the index of keys has it: otherwise it may have been deleted.
        """
        with suppress(sqlite3.Error):
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        (page_size,) = old.execute("PRAGMA page_size").fetchone()
        rows, features = recover_rows(self._path, page_size, set(incomplete))
        for item_id, (reached, feature) in incomplete.items():
            versions = rows.get(item_id, [])
            accepted = len(versions) == 1 and versions[0][1:3] == known.get(item_id)
            row = versions[0] if reached is None and accepted else reached
            self._copy_item(new, item_id, row, feature or features.get(item_id), known.get(item_id), roots, coding)

    def _copy_roots(self, old: sqlite3.Connection, new: sqlite3.Connection) -> dict[int, str]:
        roots = {}
        for row in readable_rows(old, f"SELECT {', '.join(ROOT_ROW)}, seal FROM roots ORDER BY id"):
            if is_valid(row):
                roots[row[0]] = row[1]
                _insert(new, "roots", (*ROOT_ROW, "seal"), row)
        return roots

    def _copy_item(
        self,
        new: sqlite3.Connection,
        item_id: int,
        row: tuple[Any, ...] | None,
        feature: tuple[Any, ...] | None,
        key: tuple[str, str] | None,
        roots: dict[int, str],
        coding: Coding,
    ) -> None:
        valid = row is not None and is_valid(row)
        fault = "is missing" if feature is None else feature_fault(item_id, feature[0], feature[1], coding)
        if row is None or not valid:
            self._quarantine(
                new, item_id, row, key, roots, "its row is missing" if row is None else "its row is damaged"
            )
            return
        if fault is not None or feature is None:
            self._quarantine(new, item_id, row, key, roots, f"its feature {fault}")
            return
        values = dict(zip(ITEM_ROW, row, strict=False))
        if values["root_id"] is not None and values["root_id"] not in roots:
            values["root_id"] = values["relative_path"] = None
            self._lost.append(
                Loss(
                    values["product_id"],
                    values["pic_name"],
                    f"item {item_id} has lost the location of its picture, needed for previews only: "
                    "add the picture again to restore it",
                )
            )
        # Two items with one key are possible only if the index was damaged; the later one wins.
        pair = values["product_id"], values["pic_name"]
        if new.execute(
            "SELECT 1 FROM items WHERE product_id = ? AND pic_name = ? AND id > ?", (*pair, item_id)
        ).fetchone():
            return
        new.execute("DELETE FROM items WHERE product_id = ? AND pic_name = ?", pair)
        checked = (*values.values(), row_checksum(*values.values()))
        _insert(new, "items", (*ITEM_ROW, "seal"), checked)
        _insert(new, "features", ("id", "feature", "seal"), (item_id, *feature))

    def _quarantine(
        self,
        new: sqlite3.Connection,
        item_id: int,
        row: tuple[Any, ...] | None,
        key: tuple[str, str] | None,
        roots: dict[int, str],
        reason: str,
    ) -> None:
        """Quarantine an item with all that is known; its key is from the index of keys if its row is damaged."""
        values = dict(zip(ITEM_ROW, row, strict=False)) if row is not None else dict.fromkeys(ITEM_ROW)
        values["id"] = item_id
        if key is not None and reason.startswith("its row"):
            values["product_id"], values["pic_name"] = key
        location = roots.get(values["root_id"]) if isinstance(values["root_id"], int) else None
        put_aside(new, [*values.values()], location, reason, self._now)

    def _keep_ids_unused(self, old: sqlite3.Connection, new: sqlite3.Connection) -> None:
        """Prevent reuse of ids, including those of deleted items."""
        last = readable_row(old, "SELECT seq FROM sqlite_sequence WHERE name = ?", "items")
        (highest,) = new.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'items'").fetchone()
        if last is not None and isinstance(last[0], int) and highest < last[0] < highest + MAX_GAPS:
            new.execute("DELETE FROM sqlite_sequence WHERE name = 'items'")
            new.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('items', ?)", last)


def _ids(old: sqlite3.Connection, known: dict[int, tuple[str, str]]) -> list[int]:
    """All ids found anywhere, ascending; if a page is unreadable, also those in between."""
    ids = set(known)
    complete = True
    for select in (
        "SELECT id FROM items NOT INDEXED ORDER BY id",
        "SELECT id FROM features ORDER BY id",
        "SELECT id FROM items INDEXED BY items_category ORDER BY category_id",
    ):
        for direction in ("ASC", "DESC"):
            reading = ReadableRows(old, f"{select} {direction}")
            ids.update(row[0] for row in reading if isinstance(row[0], int))
            complete = complete and reading.complete
            if reading.complete:
                break
    if not complete and ids:
        span = range(max(1, min(ids)), max(ids) + 1)
        if len(span) - len(ids) <= MAX_GAPS:
            ids.update(span)
    return sorted(ids)


def _keys_by_index(old: sqlite3.Connection) -> dict[int, tuple[str, str]]:
    """The keys of all ids, from the index of keys."""
    known: dict[int, tuple[str, str]] = {}
    for direction in ("ASC", "DESC"):
        reading = ReadableRows(
            old,
            "SELECT id, product_id, pic_name FROM items INDEXED BY items_key "
            f"ORDER BY product_id {direction}, pic_name {direction}",
        )
        for item_id, product_id, pic_name in reading:
            known.setdefault(item_id, (product_id, pic_name))
        if reading.complete:
            break
    return known


def _insert(new: sqlite3.Connection, table: str, names: tuple[str, ...], values: tuple[Any, ...]) -> None:
    new.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", values)
