"""Planted bugs: mistakes that somebody could make in imgsearch, each of which the simulation must find.

Each is a patch of named functions, in force while a run is made.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from imgsearch import durable_fs
from imgsearch.filters.tree import EVERYTHING, And, Compare
from imgsearch.search import candidates, family, ranking, searcher
from imgsearch.storage import engine, lock, records
from imgsearch.storage.faiss import index_reader, index_writer
from imgsearch.storage.integrity import check, repair
from imgsearch.storage.sqlite import database, generations, reader, rows, store
from imgsearch.transfer import exporting
from tests.simulation.run import Report, run

__all__ = ["PLANTED", "operations_until_found"]

Patch = Callable[[], AbstractContextManager[Any]]


def _nothing(*_arguments: Any, **_options: Any) -> None:
    """Left out."""


def commits_are_not_synced() -> AbstractContextManager[Any]:
    def unsynced(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    return patch.object(database, "sync_commits", unsynced)


def a_file_is_renamed_before_it_is_synced() -> AbstractContextManager[Any]:
    return patch.object(durable_fs, "sync", _nothing)


def a_folder_is_not_synced_after_a_rename() -> AbstractContextManager[Any]:
    return patch.object(durable_fs, "sync_folder", _nothing)


def an_export_is_not_synced() -> AbstractContextManager[Any]:
    return patch.object(exporting, "sync", _nothing)


def checksums_of_features_are_not_verified() -> AbstractContextManager[Any]:
    return patch.object(records.Records, "_check_features", _nothing)


def checksums_of_rows_are_not_verified() -> AbstractContextManager[Any]:
    return patch.object(records.Records, "_verify_rows", _nothing)


def damage_of_the_log_is_taken_for_its_end() -> AbstractContextManager[Any]:
    stack = ExitStack()
    for module in (store, check):
        stack.enter_context(patch.object(module, "is_corrupted", lambda _path: False))
    return stack


def a_batch_gives_the_answers_of_its_neighbours() -> AbstractContextManager[Any]:
    def rank(self: Any, *arguments: Any) -> list[Any]:
        rankings = original(self, *arguments)
        return rankings[1:] + rankings[:1]

    original = searcher.Searcher._rank
    return patch.object(searcher.Searcher, "_rank", rank)


def the_last_siblings_of_many_have_no_say() -> AbstractContextManager[Any]:
    def siblings(self: Any, *arguments: Any) -> list[Any]:
        return original(self, *arguments)[:1]

    original = family.Family.siblings
    return patch.object(family.Family, "siblings", siblings)


def removed_items_stay_in_the_shortlist() -> AbstractContextManager[Any]:
    return patch.object(index_reader, "_outside", _nothing)


def items_newer_than_the_index_are_not_searched() -> AbstractContextManager[Any]:
    def best(self: Any, size: int) -> Any:
        return self._indexed(size)

    return patch.object(candidates._IndexAndTail, "best", best)


def an_index_forgets_what_was_removed_before_it() -> AbstractContextManager[Any]:
    def publish(self: Any, generation: Any) -> None:
        kept = self.removed_ids().tolist()
        original(self, generation)
        self.connection.executemany("INSERT INTO removed VALUES (?)", [(one,) for one in kept])

    original = generations.Generations.publish
    return patch.object(generations.Generations, "publish", publish)


def the_filter_is_dropped_at_the_second_page() -> AbstractContextManager[Any]:
    def condition(self: Any, search: Any) -> Any:
        return EVERYTHING if search.start else original(self, search)

    original = searcher.Searcher._filter
    return patch.object(searcher.Searcher, "_filter", condition)


def pages_of_the_list_begin_one_too_late() -> AbstractContextManager[Any]:
    def items_by_key(self: Any, condition: Any, *, start: int = 0, limit: int | None = None) -> Any:
        return original(self, condition, start=start and start + 1, limit=limit)

    original = reader.Reader.items_by_key
    return patch.object(reader.Reader, "items_by_key", items_by_key)


def the_lock_is_released_early() -> AbstractContextManager[Any]:
    @contextmanager
    def released(folder: Path, timeout: float = 0.0) -> Iterator[None]:
        with original(folder, timeout):
            pass
        with database.storage_errors(folder):
            (folder / lock.HOLDER_NAME).write_text("{}")
        yield
        (folder / lock.HOLDER_NAME).unlink(missing_ok=True)

    original = lock.writer_lock
    return patch.object(lock, "writer_lock", released)


def an_index_is_published_before_its_file_is_there() -> AbstractContextManager[Any]:
    late: list[tuple[Path, Path]] = []

    @contextmanager
    def later(target: Path) -> Iterator[Path]:
        temporary = target.with_name(f"late-{target.name}")
        yield temporary
        late[:] = [(temporary, target)]

    def publish(self: Any, *arguments: Any) -> Any:
        leftovers = self._remove_leftovers

        def both() -> None:
            move()
            leftovers()

        self._remove_leftovers = both
        try:
            return published(self, *arguments)
        finally:
            del self._remove_leftovers

    def move() -> None:
        while late:
            temporary, target = late.pop()
            durable_fs.sync(temporary)
            temporary.replace(target)
            durable_fs.sync_folder(target.parent)

    published = engine.Engine._published
    stack = ExitStack()
    stack.enter_context(patch.object(index_writer, "atomic_file", later))
    stack.enter_context(patch.object(engine.Engine, "_published", publish))
    return stack


def the_old_index_stays_in_use_after_a_rebuild() -> AbstractContextManager[Any]:
    def index(self: Any, generation: Any) -> Any:
        return original(self, generation) if self._reader is None else self._reader

    original = engine.Engine.index
    return patch.object(engine.Engine, "index", index)


def an_index_that_was_replaced_is_not_asked_for_again() -> AbstractContextManager[Any]:
    return patch.object(ranking, "REOPEN_ATTEMPTS", 1)


def counts_are_kept_from_one_snapshot_to_the_next() -> AbstractContextManager[Any]:
    def counts(self: Any) -> dict[int, int]:
        if not hasattr(self, "_kept"):
            self._kept = original(self)
        return dict(self._kept)

    original = reader.Reader.counts
    return patch.object(reader.Reader, "counts", counts)


def ids_are_given_again() -> AbstractContextManager[Any]:
    def insert(self: Any, changes: Any) -> Any:
        self.connection.execute(
            "UPDATE sqlite_sequence SET seq = (SELECT coalesce(max(id), 0) FROM items) WHERE name = 'items'"
        )
        return original(self, changes)

    original = store.Store.insert
    return patch.object(store.Store, "insert", insert)


def a_rollback_keeps_what_was_done() -> AbstractContextManager[Any]:
    @contextmanager
    def transaction(connection: sqlite3.Connection, *, write: bool = False) -> Iterator[None]:
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
        finally:
            if connection.in_transaction:
                connection.execute("COMMIT")

    return patch.object(store, "transaction", transaction)


def a_reader_mixes_two_snapshots() -> AbstractContextManager[Any]:
    return patch.object(rows.Rows, "reading", lambda _self: nullcontext())


def features_of_deleted_items_stay() -> AbstractContextManager[Any]:
    def writing(self: Any) -> Any:
        self.connection.execute("PRAGMA foreign_keys = OFF")
        return original(self)

    original = store.Store.writing
    return patch.object(store.Store, "writing", writing)


def a_changed_row_keeps_its_old_checksum() -> AbstractContextManager[Any]:
    return patch.object(store.Store, "_update_checksum", _nothing)


def the_last_ids_of_a_long_list_are_not_read() -> AbstractContextManager[Any]:
    def by_id(self: Any, select: str, ids: Any, *arguments: Any, **options: Any) -> Any:
        wanted = list(ids)
        whole = len(wanted) - len(wanted) % rows.MAX_PARAMETERS
        return original(self, select, wanted[: whole or len(wanted)], *arguments, **options)

    original = rows.Rows._by_id
    return patch.object(rows.Rows, "_by_id", by_id)


def a_replaced_picture_keeps_its_old_row() -> AbstractContextManager[Any]:
    def insert(self: Any, changes: Any) -> Any:
        stored = self.stored_records([change.key for change in changes])
        fresh = original(self, [change for change in changes if change.key not in stored])
        return fresh or [self.item(change.key).id for change in changes]

    def delete(self: Any, condition: Any) -> Any:
        replaced = isinstance(condition, And) and len(condition.parts) == 2
        return [] if replaced and all(isinstance(part, Compare) for part in condition.parts) else erase(self, condition)

    original, erase = store.Store.insert, store.Store.delete
    stack = ExitStack()
    stack.enter_context(patch.object(store.Store, "insert", insert))
    stack.enter_context(patch.object(store.Store, "delete", delete))
    return stack


def a_repair_does_not_name_what_is_lost() -> AbstractContextManager[Any]:
    def told(folder: Path) -> list[Any]:
        original(folder)
        return []

    original = repair._told
    return patch.object(repair, "_told", told)


def a_repair_reads_a_damaged_log_up_to_the_damage() -> AbstractContextManager[Any]:
    return patch.object(repair, "_replace_log", _nothing)


def a_read_that_fails_is_taken_for_an_empty_list() -> AbstractContextManager[Any]:
    def ids(self: Any, *arguments: Any) -> Any:
        try:
            return original(self, *arguments)
        except sqlite3.OperationalError:
            return rows.numbers(None)

    original = rows.Rows._ids
    return patch.object(rows.Rows, "_ids", ids)


def a_writer_leaves_the_files_of_killed_ones() -> AbstractContextManager[Any]:
    return patch.object(engine.Engine, "_remove_leftovers", _nothing)


PLANTED: Final[dict[str, Patch]] = {
    function.__name__.replace("_", " "): function
    for function in (
        commits_are_not_synced,
        a_file_is_renamed_before_it_is_synced,
        a_folder_is_not_synced_after_a_rename,
        an_export_is_not_synced,
        checksums_of_features_are_not_verified,
        checksums_of_rows_are_not_verified,
        damage_of_the_log_is_taken_for_its_end,
        a_batch_gives_the_answers_of_its_neighbours,
        the_last_siblings_of_many_have_no_say,
        removed_items_stay_in_the_shortlist,
        items_newer_than_the_index_are_not_searched,
        an_index_forgets_what_was_removed_before_it,
        the_filter_is_dropped_at_the_second_page,
        pages_of_the_list_begin_one_too_late,
        the_lock_is_released_early,
        an_index_is_published_before_its_file_is_there,
        the_old_index_stays_in_use_after_a_rebuild,
        an_index_that_was_replaced_is_not_asked_for_again,
        counts_are_kept_from_one_snapshot_to_the_next,
        ids_are_given_again,
        a_rollback_keeps_what_was_done,
        a_reader_mixes_two_snapshots,
        features_of_deleted_items_stay,
        a_changed_row_keeps_its_old_checksum,
        the_last_ids_of_a_long_list_are_not_read,
        a_replaced_picture_keeps_its_old_row,
        a_repair_does_not_name_what_is_lost,
        a_repair_reads_a_damaged_log_up_to_the_damage,
        a_read_that_fails_is_taken_for_an_empty_list,
        a_writer_leaves_the_files_of_killed_ones,
    )
}
"""By what is wrong."""


def operations_until_found(name: str, seed: int, most: int) -> tuple[int, str] | None:
    """After how many operations a run finds a planted bug, and what it says; None: not within so many."""
    report = Report(seed)
    with PLANTED[name]():
        try:
            run(seed, most, report=report)
        except Exception as error:
            return report.operations, f"{type(error).__name__}: {error}"
    return None
