"""The SQLite schema of an instance, and its ordered migrations.

``PRAGMA user_version`` is the format version. A migration is a script from one version to the next; they run in one
transaction. A format newer than this release knows is refused.
"""

from __future__ import annotations

import functools
import sqlite3
from contextlib import closing
from typing import Final, NamedTuple

from imgsearch.errors import InstanceDamaged, NewerFormat
from imgsearch.storage.checksum import FUNCTION, register
from imgsearch.storage.records import ITEM_ROW, ROOT_ROW, SETTING_ROW

__all__ = [
    "FORMAT_VERSION",
    "GENERATION_ROW",
    "PACKED_VERSION",
    "PAGE_BYTES",
    "REORDERED",
    "STORED_ITEM_ROW",
    "SchemaEntry",
    "check_schema",
    "check_version",
    "content_prefix",
    "expected_schema",
    "has_everything",
    "migrate",
    "missing_entries",
    "schema_of",
]

APPLICATION_ID: Final = 0x696D6773  # "imgs"
PAGE_BYTES: Final = 8192
"""Holds fifteen features of 256 numbers and wastes 3 %; a page of 4096 bytes holds seven and wastes 10 %."""

STORED_ITEM_ROW: Final = (*ITEM_ROW[:-1], "seal", "picture_hash")
"""The order of the columns in the table: format 4 added the last one behind the checksum."""
GENERATION_ROW: Final = (
    *("number", "structure", "bytes", "checksum", "items", "max_id", "nprobe", "recall", "created", "trained", "lists"),
)

ATTRIBUTES: Final = tuple(name for name in ITEM_ROW if "_attr" in name)


def content_prefix(content_hash: str) -> str:
    """The indexed prefix of a content hash (a column or a parameter)."""
    return f"substr({content_hash}, 1, 8)"


_ITEM_ROW_3: Final = ", ".join(ITEM_ROW[:-1])
"""The columns that a checksum of an item covered in formats 2 and 3."""


def _index_within_categories(name: str) -> str:
    # Partial, so that an unused attribute costs nothing.
    return f"""
    DROP INDEX items_{name};
    CREATE INDEX items_{name} ON items (category_id, {name}) WHERE {name} IS NOT NULL;
    """


MIGRATIONS: Final[tuple[str, ...]] = (
    # 0 -> 1
    """
    CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE roots (
        id INTEGER PRIMARY KEY,
        path TEXT NOT NULL UNIQUE
    ) STRICT;

    -- AUTOINCREMENT: an id is never given twice, so what an index generation holds under it can never come back as
    -- something else.
    CREATE TABLE items (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        product_id TEXT NOT NULL,
        pic_name TEXT NOT NULL,
        category_id INTEGER NOT NULL,
        category_given INTEGER NOT NULL,
        region_mode INTEGER NOT NULL,
        x1 INTEGER NOT NULL,
        x2 INTEGER NOT NULL,
        y1 INTEGER NOT NULL,
        y2 INTEGER NOT NULL,
        subjects TEXT,
        content_hash BLOB NOT NULL,
        token BLOB,
        root_id INTEGER REFERENCES roots (id),
        relative_path TEXT,
        custom_content TEXT,
        int_attr INTEGER,
        int_attr2 INTEGER,
        int_attr3 INTEGER,
        int_attr4 INTEGER,
        str_attr TEXT,
        str_attr2 TEXT,
        str_attr3 TEXT,
        str_attr4 TEXT
    ) STRICT;
    CREATE UNIQUE INDEX items_key ON items (product_id, pic_name);
    CREATE INDEX items_category ON items (category_id);
    CREATE INDEX items_content ON items (content_hash);
    -- Partial, so that an attribute that nobody uses costs nothing.
    CREATE INDEX items_int_attr ON items (int_attr) WHERE int_attr IS NOT NULL;
    CREATE INDEX items_int_attr2 ON items (int_attr2) WHERE int_attr2 IS NOT NULL;
    CREATE INDEX items_int_attr3 ON items (int_attr3) WHERE int_attr3 IS NOT NULL;
    CREATE INDEX items_int_attr4 ON items (int_attr4) WHERE int_attr4 IS NOT NULL;
    CREATE INDEX items_str_attr ON items (str_attr) WHERE str_attr IS NOT NULL;
    CREATE INDEX items_str_attr2 ON items (str_attr2) WHERE str_attr2 IS NOT NULL;
    CREATE INDEX items_str_attr3 ON items (str_attr3) WHERE str_attr3 IS NOT NULL;
    CREATE INDEX items_str_attr4 ON items (str_attr4) WHERE str_attr4 IS NOT NULL;

    -- Apart from the items, so that exact scans read features only and attribute updates do not move them.
    CREATE TABLE features (
        id INTEGER PRIMARY KEY REFERENCES items (id) ON DELETE CASCADE,
        feature BLOB NOT NULL
    ) STRICT;

    CREATE TABLE generations (
        number INTEGER PRIMARY KEY,
        structure TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        checksum TEXT NOT NULL,
        items INTEGER NOT NULL,
        max_id INTEGER NOT NULL,
        nprobe INTEGER,
        recall REAL,
        created INTEGER NOT NULL
    ) STRICT;

    -- Ids that the published generation holds and that are no longer items.
    CREATE TABLE removed (id INTEGER PRIMARY KEY) STRICT;

    CREATE TABLE counts (
        category_id INTEGER PRIMARY KEY,
        items INTEGER NOT NULL
    ) STRICT;

    CREATE TRIGGER items_inserted AFTER INSERT ON items BEGIN
        INSERT INTO counts VALUES (NEW.category_id, 1)
            ON CONFLICT (category_id) DO UPDATE SET items = items + 1;
    END;
    CREATE TRIGGER items_deleted AFTER DELETE ON items BEGIN
        UPDATE counts SET items = items - 1 WHERE category_id = OLD.category_id;
        INSERT INTO removed SELECT OLD.id FROM generations WHERE OLD.id <= max_id LIMIT 1;
    END;
    CREATE TRIGGER items_moved AFTER UPDATE OF category_id ON items WHEN OLD.category_id <> NEW.category_id BEGIN
        UPDATE counts SET items = items - 1 WHERE category_id = OLD.category_id;
        INSERT INTO counts VALUES (NEW.category_id, 1)
            ON CONFLICT (category_id) DO UPDATE SET items = items + 1;
    END;
    """,
    # 1 -> 2: a seal (checksum) for every row that holds truth, and a place for what is broken.
    f"""
    ALTER TABLE settings ADD COLUMN seal INTEGER;
    ALTER TABLE roots ADD COLUMN seal INTEGER;
    ALTER TABLE items ADD COLUMN seal INTEGER;
    ALTER TABLE features ADD COLUMN seal INTEGER;
    ALTER TABLE generations ADD COLUMN seal INTEGER;
    UPDATE settings SET seal = {FUNCTION}({", ".join(SETTING_ROW)});
    UPDATE roots SET seal = {FUNCTION}({", ".join(ROOT_ROW)});
    UPDATE items SET seal = {FUNCTION}({_ITEM_ROW_3});
    UPDATE features SET seal = feature_checksum(id, feature);
    UPDATE generations
        SET seal = {FUNCTION}(number, structure, bytes, checksum, items, max_id, nprobe, recall, created);

    -- Without its settings, an instance's items are of no use: so these are there twice, on pages of their own.
    CREATE TABLE settings_copy (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        seal INTEGER
    ) STRICT, WITHOUT ROWID;
    INSERT INTO settings_copy SELECT name, value, seal FROM settings;

    -- What a repair found broken: whatever could still be read of an item. No type is enforced, as none can be trusted.
    CREATE TABLE quarantine (
        {_ITEM_ROW_3}, location, reason, quarantined
    );
    CREATE INDEX quarantine_key ON quarantine (product_id, pic_name);
    """,
    # 2 -> 3: what inserts items counts them, batch by batch: the trigger took longer than all the rest of an insertion.
    f"""
    DROP TRIGGER items_inserted;

    -- An index now says which of its lists belong to which category; one with lists that does not is made again.
    DELETE FROM generations WHERE structure <> 'flat';
    DELETE FROM removed WHERE NOT EXISTS (SELECT * FROM generations);
    ALTER TABLE generations ADD COLUMN trained INTEGER;
    ALTER TABLE generations ADD COLUMN lists TEXT;
    UPDATE generations SET seal = {FUNCTION}({", ".join(GENERATION_ROW)});

    -- A filter is looked up within categories, so that both select and nothing but the index is read.
    {"".join(_index_within_categories(name) for name in ATTRIBUTES)}
    -- Half of a hash tells pictures apart as well, and a third of the index is saved.
    DROP INDEX items_content;
    CREATE INDEX items_content ON items ({content_prefix("content_hash")});
    """,
    # 3 -> 4: the perceptual hash of a picture, which older items do not have. What is corrupted stays so.
    f"""
    ALTER TABLE items ADD COLUMN picture_hash BLOB;
    ALTER TABLE quarantine ADD COLUMN picture_hash;
    UPDATE items SET seal = {FUNCTION}({", ".join(ITEM_ROW)}) WHERE seal = {FUNCTION}({_ITEM_ROW_3});
    """,
)

FORMAT_VERSION: Final = len(MIGRATIONS)
"""Of features at half precision. Older formats are migrated to it."""
PACKED_VERSION: Final = FORMAT_VERSION + 1
"""The same schema with packed features, which releases before it cannot read."""


class SchemaEntry(NamedTuple):
    """A table, index or trigger as recorded in the database, without its root page."""

    position: int
    """The rowid in ``sqlite_schema``: the same in every instance, as all run the same migrations."""
    type: str
    name: str
    table: str
    sql: str | None

    @property
    def content(self) -> tuple[str, str, str, str | None]:
        """Without the position, which VACUUM changes."""
        return self.type, self.name, self.table, self.sql


def schema_of(connection: sqlite3.Connection) -> list[SchemaEntry]:
    """The schema of a database, without statistics tables that SQLite may add."""
    rows = connection.execute("SELECT rowid, type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid")
    return [SchemaEntry._make(row) for row in rows if not str(row[2]).startswith("sqlite_stat")]


@functools.lru_cache(maxsize=1)
def expected_schema() -> list[SchemaEntry]:
    """The schema of ``FORMAT_VERSION``."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        return schema_of(connection)


REORDERED: Final = "was rewritten by another program, as SQLite's VACUUM does, and must be put in order"


def has_everything(present: list[SchemaEntry]) -> bool:
    """Whether a schema has all that ``FORMAT_VERSION`` has, in whatever order."""
    return {entry.content for entry in expected_schema()} <= {entry.content for entry in present}


def missing_entries(present: list[SchemaEntry]) -> list[SchemaEntry]:
    """What ``FORMAT_VERSION`` has and a schema lacks at its position, by position."""
    known = set(present)
    return [entry for entry in expected_schema() if entry not in known]


def check_schema(connection: sqlite3.Connection, where: str) -> None:
    """Raise if a table, index or trigger of a database differs from the schema of ``FORMAT_VERSION``.

    Raises:
        InstanceDamaged
    """
    present = schema_of(connection)
    missing = missing_entries(present)
    if missing and has_everything(present):
        raise InstanceDamaged(f"{where} {REORDERED}: run 'imgsearch check --repair'")
    if missing:
        names = ", ".join(sorted(entry.name for entry in missing))
        raise InstanceDamaged(f"the schema of {where} is corrupted ({names}): run 'imgsearch check --repair'")


def check_version(connection: sqlite3.Connection, where: str) -> int:
    """Return the format version of an instance's database.

    Raises:
        InstanceDamaged: it is not an instance's database.
        NewerFormat: a newer release wrote it.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID or version < 1:
        raise InstanceDamaged(f"{where} is not the database of an imgsearch instance")
    if version > PACKED_VERSION:
        raise NewerFormat(
            f"{where} has format {version}; this release supports up to {PACKED_VERSION}: install a newer imgsearch"
        )
    return int(version)


def migrate(connection: sqlite3.Connection) -> None:
    """Migrate a database (or set up an empty one) to ``FORMAT_VERSION`` in one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version in (FORMAT_VERSION, PACKED_VERSION):
        return
    register(connection)
    steps = "".join(MIGRATIONS[version:])
    connection.executescript(
        f"BEGIN IMMEDIATE; {steps} PRAGMA application_id = {APPLICATION_ID}; "
        f"PRAGMA user_version = {FORMAT_VERSION}; COMMIT;"
    )
