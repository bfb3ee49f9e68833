"""Looking for damage: what an instance's files say of each other, and whether each is what was written.

A check reads one snapshot, takes no lock and writes nothing, so it runs on a read-only medium and beside a writer. The
fast one looks at structure, counts and references; with ``read_data`` every byte that holds something is read and held
against its checksum.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from imgsearch.durable_fs import TEMPORARY_SUFFIX
from imgsearch.errors import ImgsearchError, InstanceDamaged
from imgsearch.storage.faiss.index_file import checksum_of
from imgsearch.storage.faiss.index_reader import IndexReader
from imgsearch.storage.lock import HOLDER_NAME, writer_at_work
from imgsearch.storage.sqlite.checksum import feature_checksum, is_valid
from imgsearch.storage.sqlite.database import FrozenConnection, is_refusal, storage_errors
from imgsearch.storage.sqlite.generations import Generation
from imgsearch.storage.sqlite.rows import FEATURE_TYPE
from imgsearch.storage.sqlite.schema import GENERATION_ROW, ITEM_ROW, ROOT_ROW, SETTING_ROW, expected_schema, schema_of
from imgsearch.storage.sqlite.settings import SETTING_TABLES
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store
from imgsearch.storage.sqlite.wal import is_corrupted, log_of
from imgsearch.storage.successor import home, is_leftover

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

__all__ = [
    "REPAIR_NAME",
    "Damage",
    "Problem",
    "check",
    "feature_fault",
    "leftovers",
    "readable_text",
    "stored_dimension",
]

REPAIR_NAME: Final = f"{DATABASE_NAME}.repair{TEMPORARY_SUFFIX}"
"""Where a repair gathers what is sound before it takes the place of what is not."""
LEFTOVER_NAMES: Final = ("index-*.faiss*", f"{DATABASE_NAME}{TEMPORARY_SUFFIX}*", f"{REPAIR_NAME}*")
LENGTH_TOLERANCE: Final = 2e-3
"""How far the length of a stored feature may be from 1: half precision makes it 5e-4 at most."""
SELF_SEARCH_ITEMS: Final = 200
"""Items that are searched for themselves in the index."""
MAX_FINDINGS: Final = 100
"""Findings of SQLite's own check, which names no more by default."""
SNAPSHOT_ATTEMPTS: Final = 50
NEAR: Final = 0.01
"""Cosines so near to 1 are told apart by no code of one bit for a dimension."""
REPAIR_ADVICE: Final = "run 'imgsearch check --repair'"
REBUILD_ADVICE: Final = f"the items are safe in the database, {REPAIR_ADVICE} or 'imgsearch rebuild'"

T = TypeVar("T")


class Damage(StrEnum):
    """What can be wrong with an instance."""

    DATABASE = "DatabaseDamaged"
    """SQLite finds the file inconsistent or cannot read it."""
    LOG = "LogDamaged"
    """What was committed last, and not yet moved into the database, is not what was written."""
    SCHEMA = "SchemaAltered"
    SETTINGS = "SettingsDamaged"
    ITEM = "ItemDamaged"
    """An item's row is not what was written."""
    FEATURE = "FeatureDamaged"
    """Not what was written, of another dimension, not finite or not of unit length."""
    FEATURE_MISSING = "FeatureMissing"
    FEATURE_ORPHANED = "FeatureOrphaned"
    """A feature without an item."""
    LOCATION = "LocationDamaged"
    """The folder that pictures lay in is not what was written; items only name it for previews."""
    COUNTS = "CountsWrong"
    REMOVED = "RemovedWrong"
    """The list of what the index holds and the items do not."""
    GENERATION = "GenerationDamaged"
    """The database's own record of the published index."""
    INDEX_MISSING = "IndexMissing"
    INDEX_LENGTH = "IndexLengthWrong"
    INDEX = "IndexDamaged"
    """The index file is not what was written."""
    SELF_SEARCH = "SelfSearchFailed"
    """The index does not find an item by its own feature."""
    LEFTOVER = "Leftover"
    """What a killed writer left behind: harmless, and removed by the next writer."""

    @property
    def affects_index(self) -> bool:
        """Whether a rebuild mends it."""
        return self in (Damage.INDEX_MISSING, Damage.INDEX_LENGTH, Damage.INDEX, Damage.SELF_SEARCH)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    damage: Damage
    file: Path
    message: str
    """What is wrong with what, and what to do, on one line."""
    product_id: str | None = None
    pic_name: str | None = None
    """Of the item, where it is one and can be told. Not a Key: what is damaged may be none."""


def check(
    folder: Path, *, read_data: bool = False, locked: bool = False, settings: Sequence[str] = ()
) -> list[Problem]:
    """Look for damage in an instance; equal instances give equal lists.

    Args:
        folder: with an instance in it.
        read_data: read and verify everything, not only what is quickly told.
        locked: the caller holds the writer lock, so nobody else writes.
        settings: names of those that must be there.

    Raises:
        NewerFormat, OlderFormat: it cannot be judged by this release.
        StorageUnwritable: the medium cannot be read.
    """
    path = folder / DATABASE_NAME
    for _ in range(SNAPSHOT_ATTEMPTS):
        try:
            store = Store.open(path, write=False, verify=False)
        except InstanceDamaged as error:
            return [Problem(Damage.DATABASE, path, error.message)]
        with closing(store):
            found = _Check(folder, store, read_data=read_data, locked=locked, settings=settings).run()
        if found is not None:
            return found
    raise InstanceDamaged(f"{folder} changes faster than it can be checked: run 'imgsearch check' again")


class _Check:
    """One look at one snapshot."""

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
        """All that is wrong; None if the index, or what was read of the database, was replaced meanwhile."""
        with storage_errors(self._folder):
            if is_corrupted(self._store.path):
                log = log_of(self._store.path)
                self._report(Damage.LOG, f"{log} is not what was written: {REPAIR_ADVICE}", log)
            self._connection.execute("BEGIN")  # and no end: of a damaged database, SQLite may not even commit nothing
            # The index first, as long as a rebuild has not replaced it.
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
            self._report(Damage.LEFTOVER, f"{path} was left by a writer that was killed: {REPAIR_ADVICE}", path)
        return self._problems

    def _report(
        self, damage: Damage, message: str, path: Path | None = None, key: tuple[Any, Any] = (None, None)
    ) -> None:
        product_id, pic_name = (None if part is None else str(part) for part in key)
        self._problems.append(Problem(damage, path or self._store.path, message, product_id, pic_name))

    def _guarded(self, step: Callable[[], T]) -> T | None:
        """What a step gives; None where the database cannot even be read, which is told once for all steps.

        Raises:
            sqlite3.Error: the system refused what it takes to look.
        """
        try:
            return step()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if is_refusal(error):
                raise  # it says nothing about the instance
            if not any(problem.damage is Damage.DATABASE for problem in self._problems):
                self._report(Damage.DATABASE, f"{self._store.path} cannot be read ({error}): {REPAIR_ADVICE}")
            return None

    def _check_structure(self) -> None:
        pragma = "integrity_check" if self._read_data else "quick_check"
        findings = [row[0] for row in self._connection.execute(f"PRAGMA {pragma}({MAX_FINDINGS})")]
        if findings != ["ok"]:
            more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
            self._report(Damage.DATABASE, f"{self._store.path} is inconsistent ({findings[0]}{more}): {REPAIR_ADVICE}")

    def _check_schema(self) -> None:
        for entry in sorted(set(expected_schema()).difference(schema_of(self._connection)), key=lambda e: e.position):
            self._report(
                Damage.SCHEMA, f"the {entry.type} {entry.name} in {self._store.path} is altered: {REPAIR_ADVICE}"
            )

    def _check_settings(self) -> None:
        for table in SETTING_TABLES:
            rows = self._connection.execute(f"SELECT {', '.join(SETTING_ROW)}, seal FROM {table}").fetchall()
            for row in rows:
                if not is_valid(row):
                    self._report(
                        Damage.SETTINGS,
                        f"the setting {row[0]!r} ({table}) in {self._store.path} is not what was written: "
                        f"{REPAIR_ADVICE}",
                    )
        names = [{row[0] for row in self._connection.execute(f"SELECT name FROM {table}")} for table in SETTING_TABLES]
        for name in sorted(names[0] ^ names[1], key=str):
            self._report(
                Damage.SETTINGS, f"of the setting {name!r} in {self._store.path} a copy is missing: {REPAIR_ADVICE}"
            )
        for name in self._settings:
            if name not in names[0] | names[1]:
                self._report(
                    Damage.SETTINGS,
                    f"the setting {name!r} in {self._store.path} is missing, and its copy too: "
                    "restore it from a backup",
                )
        try:
            if not any(problem.damage is Damage.SETTINGS for problem in self._problems):
                self._store.tuning()
        except InstanceDamaged:
            self._report(
                Damage.SETTINGS,
                f"the tuning that all features in {self._store.path} have been through is not what was written: "
                f"{REPAIR_ADVICE}",
            )

    def _check_references(self) -> None:
        where = self._store.path
        for item_id, *key in self._connection.execute(
            "SELECT id, product_id, pic_name FROM items NOT INDEXED "
            "WHERE id NOT IN (SELECT id FROM features) ORDER BY id"
        ):
            self._report(
                Damage.FEATURE_MISSING,
                f"item {item_id} in {where} has lost its feature: {REPAIR_ADVICE}, then add the picture again",
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
                f"item {item_id} in {where} names a folder that is not there: {REPAIR_ADVICE}",
                key=(key[0], key[1]),
            )

    def _check_counts(self) -> None:
        told = dict(self._connection.execute("SELECT category_id, items FROM counts WHERE items <> 0"))
        counted = dict(self._connection.execute("SELECT category_id, count(*) FROM items NOT INDEXED GROUP BY 1"))
        for category in sorted({*told, *counted}, key=str):
            if told.get(category, 0) != counted.get(category, 0):
                self._report(
                    Damage.COUNTS,
                    f"{self._store.path} counts {told.get(category, 0)} items of category {category} and holds "
                    f"{counted.get(category, 0)}: {REPAIR_ADVICE}",
                )

    def _check_locations(self) -> None:
        for row in self._connection.execute(f"SELECT {', '.join(ROOT_ROW)}, seal FROM roots ORDER BY id"):
            if not is_valid(row):
                self._report(
                    Damage.LOCATION,
                    f"folder {row[0]} of pictures in {self._store.path} is not what was written: {REPAIR_ADVICE}",
                )

    def _check_items(self) -> None:
        for row in self._connection.execute(f"SELECT {', '.join(ITEM_ROW)}, seal FROM items NOT INDEXED ORDER BY id"):
            if not is_valid(row):
                self._report(
                    Damage.ITEM,
                    f"item {row[0]} in {self._store.path} is not what was written: {REPAIR_ADVICE}, "
                    "then add the picture again",
                    key=(row[1], row[2]),
                )

    def _check_features(self) -> None:
        dimension = stored_dimension(self._connection)
        for item_id, feature, seal, *key in self._connection.execute(
            "SELECT features.id, feature, features.seal, product_id, pic_name "
            "FROM features LEFT JOIN items ON items.id = features.id ORDER BY features.id"
        ):
            fault = feature_fault(item_id, feature, seal, dimension)
            if fault is not None:
                self._report(
                    Damage.FEATURE,
                    f"the feature of item {item_id} in {self._store.path} {fault}: {REPAIR_ADVICE}, "
                    "then add the picture again",
                    key=(key[0], key[1]),
                )

    def _check_generation(self) -> Generation | None:
        """The published generation, if its record can be believed."""
        where = self._store.path
        row = self._connection.execute(
            f"SELECT {', '.join(GENERATION_ROW)}, seal FROM generations ORDER BY number DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        if not is_valid(row):
            self._report(
                Damage.GENERATION, f"the record of the index in {where} is not what was written: {REPAIR_ADVICE}"
            )
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
                f"index {generation.number} holds {generation.items} items, of which {removed} are listed as removed "
                f"({wrong} of them wrongly) in {where}, which has {indexed} of them: {REPAIR_ADVICE}",
            )
        return generation

    def _check_index(self, generation: Generation, path: Path) -> None:
        """Look at the index file.

        Raises:
            FileNotFoundError
        """
        size = path.stat().st_size
        if size != generation.bytes:
            self._report(
                Damage.INDEX_LENGTH, f"{path} has {size} bytes instead of {generation.bytes}: {REBUILD_ADVICE}", path
            )
        elif self._read_data:
            if checksum_of(path) != generation.checksum:
                self._report(Damage.INDEX, f"{path} is not what was written: {REBUILD_ADVICE}", path)
                return
            try:
                reader = IndexReader.open(self._folder, generation)
            except InstanceDamaged:
                self._report(Damage.INDEX, f"{path} cannot be read: {REBUILD_ADVICE}", path)
                return
            self._guarded(lambda: self._search_selves(generation, reader, path))

    def _search_selves(self, generation: Generation, reader: IndexReader, path: Path) -> None:
        """Search a sample of the items for themselves; always the same ones of the same generation."""
        ids = [
            row[0]
            for row in self._connection.execute(
                "SELECT id FROM items NOT INDEXED WHERE id <= ? ORDER BY id", (generation.max_id,)
            )
        ]
        removed = np.fromiter((row[0] for row in self._connection.execute("SELECT id FROM removed")), dtype=np.int64)
        size = min(SELF_SEARCH_ITEMS, len(ids))
        chosen = sorted(np.random.default_rng(generation.number).choice(ids, size, replace=False).tolist())
        for item_id in chosen:
            feature = self._sound_feature(item_id)
            if feature is None:
                continue  # told by itself
            found = reader.shortlist(feature, 1, without=removed).tolist()
            if item_id in found:
                continue
            others = [other for other in map(self._sound_feature, found) if other is not None]
            # Of copies of one picture, any may stand for the others.
            if not any(float(other @ feature) >= float(feature @ feature) - NEAR for other in others):
                self._report(
                    Damage.SELF_SEARCH, f"{path} does not find item {item_id} by its feature: {REBUILD_ADVICE}", path
                )

    def _sound_feature(self, item_id: int) -> npt.NDArray[np.float32] | None:
        row = self._connection.execute("SELECT feature, seal FROM features WHERE id = ?", (item_id,)).fetchone()
        if row is None or feature_fault(item_id, row[0], row[1], None) is not None:
            return None
        return np.frombuffer(row[0], FEATURE_TYPE).astype(np.float32)

    def _published_now(self) -> int | None:
        """The number of the generation that is published by now, outside of the snapshot; None if it is unreadable."""
        try:
            with closing(Store.open(self._store.path, write=False, verify=False)) as store:
                return _published(store.connection)
        except (ImgsearchError, sqlite3.Error):
            return None


def _published(connection: sqlite3.Connection) -> int | None:
    """The number of the published generation; None without one."""
    number: int | None = connection.execute("SELECT max(number) FROM generations").fetchone()[0]
    return number


def stored_dimension(connection: sqlite3.Connection) -> int | None:
    """Of the stamp, else (where that is unreadable) of most of the features; None without any."""
    for table in SETTING_TABLES:
        for row in connection.execute(f"SELECT {', '.join(SETTING_ROW)}, seal FROM {table} WHERE name = 'model'"):
            if is_valid(row):
                return int(json.loads(row[1])["dimension"])
    row = connection.execute(
        "SELECT length(feature) FROM features GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
    ).fetchone()
    return None if row is None else int(row[0]) // FEATURE_TYPE.itemsize


def feature_fault(item_id: int, feature: object, seal: object, dimension: int | None) -> str | None:
    """What is wrong with a stored feature; None if nothing is.

    Args:
        item_id: under which it is stored.
        feature: as it is stored.
        seal: its checksum, as stored.
        dimension: that it must have; None: not looked at.
    """
    if not isinstance(feature, bytes) or not isinstance(seal, int) or feature_checksum(item_id, feature) != seal:
        return "is not what was written"
    if len(feature) % FEATURE_TYPE.itemsize or not feature:
        return f"has {len(feature)} bytes"
    values = np.frombuffer(feature, FEATURE_TYPE).astype(np.float64)
    if dimension is not None and len(values) != dimension:
        return f"has {len(values)} dimensions instead of {dimension}"
    if not np.isfinite(values).all():
        return "is not finite"
    length = float(np.sqrt(values @ values))
    return None if abs(length - 1) <= LENGTH_TOLERANCE else f"has length {length:.4g} instead of 1"


def leftovers(folder: Path, *, locked: bool = False) -> list[Path]:
    """What a killed writer left behind: files, and the folder of a successor that has become the instance.

    Nothing while a writer is at work, whose files they may be.

    Args:
        folder: with an instance in it.
        locked: the caller holds the writer lock.
    """
    names = LEFTOVER_NAMES if locked else (*LEFTOVER_NAMES, HOLDER_NAME)
    found = sorted(path for name in names for path in folder.glob(name))
    if not locked and writer_at_work(folder):
        return []
    # In this order: what a writer published before it ended is seen as published here.
    try:
        with closing(Store.open(folder / DATABASE_NAME, write=False, verify=False)) as store:
            published = {f"index-{row[0]}.faiss" for row in store.connection.execute("SELECT number FROM generations")}
            if is_leftover(home(folder), store):
                found.append(home(folder))
    except (ImgsearchError, sqlite3.Error):
        return []  # nobody can say what is published
    return [path for path in found if path.name not in published and path.exists()]


def readable_text(data: bytes) -> str:
    """Text that is no longer UTF-8 is to be told, not to end the check."""
    return data.decode("utf-8", "replace")
