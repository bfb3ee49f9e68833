"""Checking an instance for damage: consistency of its files, and checksums of their content.

A check reads one snapshot, takes no lock and writes nothing, so it works on a read-only medium and beside a writer. The
fast check covers structure, counts and references; ``read_data`` also verifies every checksum.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from imgsearch.errors import ImgsearchError, InstanceDamaged
from imgsearch.storage.checksum import is_valid
from imgsearch.storage.faiss.index_file import checksum_of, unreadable_is_damage
from imgsearch.storage.faiss.index_reader import IndexReader
from imgsearch.storage.integrity.features import feature_fault, stored_coding
from imgsearch.storage.integrity.problems import Damage, Problem, leftovers
from imgsearch.storage.records import ITEM_ROW, ROOT_ROW, SETTING_ROW
from imgsearch.storage.sqlite.database import FrozenConnection, inconsistencies, is_refusal, storage_errors
from imgsearch.storage.sqlite.generations import Generation
from imgsearch.storage.sqlite.schema import GENERATION_ROW, REORDERED, has_everything, missing_entries, schema_of
from imgsearch.storage.sqlite.settings import SETTING_TABLES
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store
from imgsearch.storage.sqlite.wal import is_corrupted, log_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

__all__ = [
    "check",
    "log_problems",
    "readable_text",
]

SELF_SEARCH_ITEMS: Final = 200
"""Number of items that the index must find by their own features."""
SELF_SEARCH_HITS: Final = 500
"""As many as a search ranks, of an approximate index: for a few, it may pass over an item among many as near."""
MAX_FINDINGS: Final = 100
"""Maximum number of findings of SQLite's own check, its default."""
SNAPSHOT_ATTEMPTS: Final = 50
NEAR: Final = 0.01
"""One-bit codes cannot distinguish cosines this close to 1."""
REPAIR_ADVICE: Final = "run 'imgsearch check --repair'"
REBUILD_ADVICE: Final = f"the items are safe in the database, {REPAIR_ADVICE} or 'imgsearch rebuild'"

T = TypeVar("T")


def check(
    folder: Path, *, read_data: bool = False, locked: bool = False, settings: Sequence[str] = ()
) -> list[Problem]:
    """Check an instance for damage; equal instances give equal lists.

    Args:
        folder: with an instance in it.
        read_data: read and verify all data, not only what can be checked quickly.
        locked: the caller holds the writer lock, so nobody else writes.
        settings: names of required settings.

    Raises:
        NewerFormat, OlderFormat: this release cannot check it.
        StorageUnwritable: the medium cannot be read.
    """
    path = folder / DATABASE_NAME
    for _ in range(SNAPSHOT_ATTEMPTS):
        try:
            store = Store.open(path, write=False, verify=False)
        except InstanceDamaged as error:
            # The database may have what the log holds already. If SQLite reads less of the log, the two do not match.
            return [*log_problems(path), Problem(Damage.DATABASE, path, error.message)]
        with closing(store):
            found = _Check(folder, store, read_data=read_data, locked=locked, settings=settings).run()
        if found is not None:
            return found
    raise InstanceDamaged(f"{folder} changes faster than it can be checked: run 'imgsearch check' again")


class _Check:
    """One check of one snapshot."""

    def __init__(self, folder: Path, store: Store, *, read_data: bool, locked: bool, settings: Sequence[str]) -> None:
        self._folder = folder
        self._store = store
        self._connection = store.connection
        self._connection.text_factory = readable_text
        self._read_data = read_data
        self._locked = locked
        self._settings = settings
        self._problems: list[Problem] = []

    def run(self) -> list[Problem] | None:
        """All problems; None if the index or the database was replaced meanwhile."""
        with storage_errors(self._folder):
            self._problems += log_problems(self._store.path)
            self._connection.execute("BEGIN")  # never committed: on a damaged database, even an empty commit may fail
            # The index first, before a rebuild can replace it.
            published = self._guarded(lambda: _published(self._connection))
            generation = self._guarded(self._check_generation)
            if generation is not None:
                path = self._folder / generation.file_name
                try:
                    self._check_index(generation, path)
                except FileNotFoundError:
                    if self._published_now() not in (None, published):
                        return None
                    self._report(Damage.INDEX_MISSING, f"the published index {path} is missing: {REBUILD_ADVICE}", path)
            self._guarded(self._check_structure)
            self._guarded(self._check_schema)
            self._guarded(self._check_settings)
            self._guarded(self._check_references)
            self._guarded(self._check_counts)
            if self._read_data:
                self._guarded(self._check_locations)
                self._guarded(self._check_items)
                self._guarded(self._check_features)
        if isinstance(self._connection, FrozenConnection) and self._connection.is_outdated:
            return None
        left = leftovers(self._folder, locked=self._locked)
        for path in left:
            self._report(Damage.LEFTOVER, f"{path} was left by a killed writer; the next writer removes it", path)
        return self._problems

    def _report(
        self, damage: Damage, message: str, path: Path | None = None, key: tuple[Any, Any] = (None, None)
    ) -> None:
        product_id, pic_name = (None if part is None else str(part) for part in key)
        self._problems.append(Problem(damage, path or self._store.path, message, product_id, pic_name))

    def _guarded(self, step: Callable[[], T]) -> T | None:
        """The result of a step; None if the database is unreadable, which is reported once for all steps.

        Raises:
            sqlite3.Error: the system refused access or resources.
        """
        try:
            return step()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if is_refusal(error):
                raise  # this is no finding about the instance
            if not any(problem.damage is Damage.DATABASE for problem in self._problems):
                self._report(Damage.DATABASE, f"{self._store.path} cannot be read ({error}): {REPAIR_ADVICE}")
            return None

    def _check_structure(self) -> None:
        pragma = "integrity_check" if self._read_data else "quick_check"
        findings = inconsistencies(self._connection, pragma, MAX_FINDINGS)
        if findings:
            more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
            self._report(Damage.DATABASE, f"{self._store.path} is inconsistent ({findings[0]}{more}): {REPAIR_ADVICE}")

    def _check_schema(self) -> None:
        present = schema_of(self._connection)
        missing = missing_entries(present)
        if missing and has_everything(present):
            self._report(Damage.SCHEMA, f"{self._store.path} {REORDERED}: {REPAIR_ADVICE}")
            return
        for entry in missing:
            self._report(
                Damage.SCHEMA, f"the {entry.type} {entry.name} in {self._store.path} is corrupted: {REPAIR_ADVICE}"
            )

    def _check_settings(self) -> None:
        for table in SETTING_TABLES:
            rows = self._connection.execute(f"SELECT {', '.join(SETTING_ROW)}, seal FROM {table}").fetchall()
            for row in rows:
                if not is_valid(row):
                    self._report(
                        Damage.SETTINGS,
                        f"the setting {row[0]!r} ({table}) in {self._store.path} is corrupted: {REPAIR_ADVICE}",
                    )
        names = [{row[0] for row in self._connection.execute(f"SELECT name FROM {table}")} for table in SETTING_TABLES]
        for name in sorted(names[0] ^ names[1], key=str):
            self._report(
                Damage.SETTINGS, f"a copy of the setting {name!r} in {self._store.path} is missing: {REPAIR_ADVICE}"
            )
        for name in self._settings:
            if name not in names[0] | names[1]:
                self._report(
                    Damage.SETTINGS,
                    f"the setting {name!r} in {self._store.path} and its copy are missing: restore it from a backup",
                )
        try:
            if not any(problem.damage is Damage.SETTINGS for problem in self._problems):
                self._store.tuning()
        except InstanceDamaged:
            self._report(
                Damage.SETTINGS,
                f"the tuning applied to all features in {self._store.path} is corrupted: {REPAIR_ADVICE}",
            )

    def _check_references(self) -> None:
        where = self._store.path
        for item_id, *key in self._connection.execute(
            "SELECT id, product_id, pic_name FROM items NOT INDEXED "
            "WHERE id NOT IN (SELECT id FROM features) ORDER BY id"
        ):
            self._report(
                Damage.FEATURE_MISSING,
                f"item {item_id} in {where} has no feature: {REPAIR_ADVICE}, then add the picture again",
                key=(key[0], key[1]),
            )
        for (item_id,) in self._connection.execute(
            "SELECT id FROM features WHERE id NOT IN (SELECT id FROM items NOT INDEXED) ORDER BY id"
        ):
            self._report(Damage.FEATURE_ORPHANED, f"feature {item_id} in {where} belongs to no item: {REPAIR_ADVICE}")
        for item_id, *key in self._connection.execute(
            "SELECT id, product_id, pic_name FROM items NOT INDEXED "
            "WHERE root_id IS NOT NULL AND root_id NOT IN (SELECT id FROM roots) ORDER BY id"
        ):
            self._report(
                Damage.LOCATION,
                f"item {item_id} in {where} refers to a missing folder record: {REPAIR_ADVICE}",
                key=(key[0], key[1]),
            )

    def _check_counts(self) -> None:
        recorded = dict(self._connection.execute("SELECT category_id, items FROM counts WHERE items <> 0"))
        counted = dict(self._connection.execute("SELECT category_id, count(*) FROM items NOT INDEXED GROUP BY 1"))
        for category in sorted({*recorded, *counted}, key=str):
            if recorded.get(category, 0) != counted.get(category, 0):
                self._report(
                    Damage.COUNTS,
                    f"{self._store.path} counts {recorded.get(category, 0)} items of category {category} and holds "
                    f"{counted.get(category, 0)}: {REPAIR_ADVICE}",
                )

    def _check_locations(self) -> None:
        for row in self._connection.execute(f"SELECT {', '.join(ROOT_ROW)}, seal FROM roots ORDER BY id"):
            if not is_valid(row):
                self._report(
                    Damage.LOCATION,
                    f"the pictures' folder {row[0]} in {self._store.path} is corrupted: {REPAIR_ADVICE}",
                )

    def _check_items(self) -> None:
        for row in self._connection.execute(f"SELECT {', '.join(ITEM_ROW)}, seal FROM items NOT INDEXED ORDER BY id"):
            if not is_valid(row):
                self._report(
                    Damage.ITEM,
                    f"item {row[0]} in {self._store.path} is corrupted: {REPAIR_ADVICE}, then add the picture again",
                    key=(row[1], row[2]),
                )

    def _check_features(self) -> None:
        coding = stored_coding(self._connection)
        for item_id, feature, checksum, *key in self._connection.execute(
            "SELECT features.id, feature, features.seal, product_id, pic_name "
            "FROM features LEFT JOIN items ON items.id = features.id ORDER BY features.id"
        ):
            fault = feature_fault(item_id, feature, checksum, coding)
            if fault is not None:
                self._report(
                    Damage.FEATURE,
                    f"the feature of item {item_id} in {self._store.path} {fault}: {REPAIR_ADVICE}, "
                    "then add the picture again",
                    key=(key[0], key[1]),
                )

    def _check_generation(self) -> Generation | None:
        """The published generation, if its record is valid."""
        where = self._store.path
        row = self._connection.execute(
            f"SELECT {', '.join(GENERATION_ROW)}, seal FROM generations ORDER BY number DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        if not is_valid(row):
            self._report(Damage.GENERATION, f"the record of the index in {where} is corrupted: {REPAIR_ADVICE}")
            return None
        generation = Generation(*row[:-1])
        (wrong, removed) = self._connection.execute(
            "SELECT coalesce(sum(id > ? OR id IN (SELECT id FROM items)), 0), count(*) FROM removed",
            (generation.max_id,),
        ).fetchone()
        (indexed,) = self._connection.execute(
            "SELECT count(*) FROM items NOT INDEXED WHERE id <= ?", (generation.max_id,)
        ).fetchone()
        if wrong or indexed != generation.items - removed:
            self._report(
                Damage.REMOVED,
                f"index {generation.number} was built from {generation.items} items; {where} lists {removed} as "
                f"removed ({wrong} wrongly) and has {indexed} of them: {REPAIR_ADVICE}",
            )
        return generation

    def _check_index(self, generation: Generation, path: Path) -> None:
        """Check the index file.

        Raises:
            FileNotFoundError
        """
        size = path.stat().st_size
        if size != generation.bytes:
            self._report(
                Damage.INDEX_LENGTH, f"{path} has {size} bytes instead of {generation.bytes}: {REBUILD_ADVICE}", path
            )
        elif self._read_data:
            try:
                with unreadable_is_damage(path):
                    checksum = checksum_of(path)
                if checksum != generation.checksum:
                    self._report(Damage.INDEX, f"{path} is corrupted: {REBUILD_ADVICE}", path)
                    return
                reader = IndexReader.open(self._folder, generation)
            except InstanceDamaged:
                self._report(Damage.INDEX, f"{path} cannot be read: {REBUILD_ADVICE}", path)
                return
            self._guarded(lambda: self._search_selves(generation, reader, path))

    def _search_selves(self, generation: Generation, reader: IndexReader, path: Path) -> None:
        """Search a sample of items by their own features; a generation always has the same sample."""
        indexed = "SELECT id FROM items NOT INDEXED WHERE id <= ? ORDER BY id"
        ids = [row[0] for row in self._connection.execute(indexed, (generation.max_id,))]
        removed = np.fromiter((row[0] for row in self._connection.execute("SELECT id FROM removed")), dtype=np.int64)
        size = min(SELF_SEARCH_ITEMS, len(ids))
        hits = 1 if generation.lists is None else SELF_SEARCH_HITS
        chosen = sorted(np.random.default_rng(generation.number).choice(ids, size, replace=False).tolist())
        stored = [(item_id, self._valid_feature(item_id)) for item_id in chosen]
        # What is not valid, or has another dimension, is reported separately.
        asked = [(number, one) for number, one in stored if one is not None and len(one) == reader.dimension]
        queries = np.array([feature for _, feature in asked], np.float32)
        shortlists = reader.shortlists(queries, hits, [None] * len(asked), removed) if asked else []
        for (item_id, feature), shortlist in zip(asked, shortlists, strict=True):
            found = shortlist.tolist()
            if item_id in found:
                continue
            others = [other for other in map(self._valid_feature, found) if other is not None]
            # A copy of the same picture may take its place.
            if not any(float(other @ feature) >= float(feature @ feature) - NEAR for other in others):
                self._report(
                    Damage.SELF_SEARCH, f"{path} does not find item {item_id} by its feature: {REBUILD_ADVICE}", path
                )

    def _valid_feature(self, item_id: int) -> npt.NDArray[np.float32] | None:
        row = self._connection.execute("SELECT feature, seal FROM features WHERE id = ?", (item_id,)).fetchone()
        coding = stored_coding(self._connection)
        if row is None or feature_fault(item_id, row[0], row[1], coding) is not None:
            return None
        feature: npt.NDArray[np.float32] = coding.unpacked(row[0], 1)[0].astype(np.float32)
        return feature

    def _published_now(self) -> int | None:
        """The currently published generation, outside the snapshot; None if unreadable."""
        try:
            with closing(Store.open(self._store.path, write=False, verify=False)) as store:
                return _published(store.connection)
        except (ImgsearchError, sqlite3.Error):
            return None


def log_problems(database: Path) -> list[Problem]:
    """Whether the write-ahead log is corrupted: one problem, or none."""
    with storage_errors(database.parent):
        if not is_corrupted(database):
            return []
    log = log_of(database)
    return [Problem(Damage.LOG, log, f"{log} is corrupted: {REPAIR_ADVICE}")]


def _published(connection: sqlite3.Connection) -> int | None:
    """The number of the published generation; None without one."""
    number: int | None = connection.execute("SELECT max(number) FROM generations").fetchone()[0]
    return number


def readable_text(data: bytes) -> str:
    """Decode text leniently: invalid UTF-8 is to be reported, not to end the check."""
    return data.decode("utf-8", "replace")
