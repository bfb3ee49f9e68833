"""The SQLite schema of an instance, and its ordered migrations.

``PRAGMA user_version`` is the format version. A migration is a script from one version to the next; they run in one
transaction. A newer format than this release knows is refused, never guessed at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from imgsearch.errors import InstanceDamaged, NewerFormat

if TYPE_CHECKING:
    import sqlite3

__all__ = ["FORMAT_VERSION", "check_version", "migrate"]

APPLICATION_ID: Final = 0x696D6773  # "imgs"

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
)

FORMAT_VERSION: Final = len(MIGRATIONS)


def check_version(connection: sqlite3.Connection, where: str) -> int:
    """Return the format version of an instance's database.

    Raises:
        InstanceDamaged: it is not an instance's database.
        NewerFormat: a later release wrote it.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID or version < 1:
        raise InstanceDamaged(f"{where} is not the database of an imgsearch instance")
    if version > FORMAT_VERSION:
        raise NewerFormat(
            f"{where} has format {version}; this release knows up to {FORMAT_VERSION}: install a newer imgsearch"
        )
    return int(version)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database (an empty one included) to ``FORMAT_VERSION``, in one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == FORMAT_VERSION:
        return
    steps = "".join(MIGRATIONS[version:])
    connection.executescript(
        f"BEGIN IMMEDIATE; {steps} PRAGMA application_id = {APPLICATION_ID}; "
        f"PRAGMA user_version = {FORMAT_VERSION}; COMMIT;"
    )
