"""The tables of an instance in PostgreSQL, and their ordered migrations.

An instance is a schema of the database. ``imgsearch_format`` holds the format version. A migration is a script from one
version to the next; they run in one transaction, under an advisory lock. A format newer than this release knows is
refused.

Text is compared by code point (``COLLATE "C"``), whatever the database's locale. A feature has no fixed length, as the
first item tells it; an index is one of an expression that names it.
"""

from __future__ import annotations

from typing import Final

from imgsearch.storage.records import ITEM_ROW

__all__ = [
    "CODED_VERSION",
    "FORMAT_VERSION",
    "GENERATION_ROW",
    "MIGRATIONS",
    "SLOTS",
    "TABLES",
]

SLOTS: Final = 16
"""Rows per category in ``counts``: writers that commit at the same time do not wait for one row."""

GENERATION_ROW: Final = (
    *("number", "structure", "items", "dimension", "probes", "recall", "recall_500", "created", "bytes", "lists"),
)

ATTRIBUTES: Final = tuple(name for name in ITEM_ROW if "_attr" in name)

_INDEXES_OF_ATTRIBUTES: Final = "\n".join(
    f"CREATE INDEX items_{name} ON items (category_id, {name}) WHERE {name} IS NOT NULL;" for name in ATTRIBUTES
)

MIGRATIONS: Final[tuple[str, ...]] = (
    # 0 -> 1
    f"""
    CREATE TABLE imgsearch_format (version int NOT NULL);
    INSERT INTO imgsearch_format VALUES (0);

    CREATE TABLE settings (
        name text COLLATE "C" PRIMARY KEY,
        value text NOT NULL,
        seal bigint NOT NULL
    );

    CREATE TABLE roots (
        id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        path text COLLATE "C" NOT NULL,
        seal bigint
    );
    -- A path may be too long for an index.
    CREATE UNIQUE INDEX roots_path ON roots (md5(path));

    -- An id is never given twice, so what an index holds under it can never come back as something else.
    CREATE SEQUENCE item_ids;
    CREATE TABLE items (
        id bigint PRIMARY KEY,
        product_id text COLLATE "C" NOT NULL,
        pic_name text COLLATE "C" NOT NULL,
        category_id int NOT NULL,
        category_given int NOT NULL,
        region_mode int NOT NULL,
        x1 int NOT NULL,
        x2 int NOT NULL,
        y1 int NOT NULL,
        y2 int NOT NULL,
        subjects text,
        content_hash bytea NOT NULL,
        token bytea,
        root_id int REFERENCES roots (id),
        relative_path text COLLATE "C",
        custom_content text COLLATE "C",
        int_attr int,
        int_attr2 int,
        int_attr3 int,
        int_attr4 int,
        str_attr text COLLATE "C",
        str_attr2 text COLLATE "C",
        str_attr3 text COLLATE "C",
        str_attr4 text COLLATE "C",
        picture_hash bytea,
        seal bigint NOT NULL,
        CONSTRAINT items_key UNIQUE (product_id, pic_name)
    );
    CREATE INDEX items_category ON items (category_id, id);
    CREATE INDEX items_content ON items (substr(content_hash, 1, 8));
    CREATE INDEX items_root ON items (root_id) WHERE root_id IS NOT NULL;
    {_INDEXES_OF_ATTRIBUTES}

    -- Apart from the items, so that a change of attributes moves no feature. One partition per category, each with an
    -- index of its own; made when the first item of the category comes.
    CREATE TABLE features (
        id bigint NOT NULL,
        category_id int NOT NULL,
        feature halfvec NOT NULL,
        seal bigint NOT NULL,
        PRIMARY KEY (id, category_id)
    ) PARTITION BY LIST (category_id);

    CREATE TABLE counts (
        category_id int NOT NULL,
        slot int NOT NULL,
        items bigint NOT NULL,
        PRIMARY KEY (category_id, slot)
    );

    CREATE TABLE generations (
        number int PRIMARY KEY,
        structure text NOT NULL,
        items bigint NOT NULL,
        dimension int NOT NULL,
        probes int,
        recall double precision,
        recall_500 double precision,
        created bigint NOT NULL,
        bytes bigint NOT NULL,
        lists text
    );
    CREATE SEQUENCE generation_numbers AS int;

    -- For an index outside of the database: items that it does not show yet, and ids that are to be deleted from it.
    CREATE TABLE pending (
        id bigint PRIMARY KEY,
        category_id int NOT NULL,
        since timestamptz NOT NULL DEFAULT now(),
        acknowledged timestamptz
    );
    CREATE TABLE removed (
        id bigint PRIMARY KEY,
        since timestamptz NOT NULL DEFAULT now()
    );

    -- Where that index is; no row: the index is pgvector's, in this database.
    CREATE TABLE external_index (address text NOT NULL);

    -- Who holds a lock of the instance as a whole, for the message to whoever has to wait.
    CREATE TABLE holders (
        lock int PRIMARY KEY,
        host text NOT NULL,
        pid int NOT NULL,
        command text NOT NULL,
        since timestamptz NOT NULL DEFAULT now()
    );

    -- What a repair found broken: whatever could still be read of an item.
    CREATE TABLE quarantine AS TABLE items WITH NO DATA;
    ALTER TABLE quarantine ADD COLUMN location text, ADD COLUMN reason text,
        ADD COLUMN quarantined timestamptz NOT NULL DEFAULT now();
    CREATE INDEX quarantine_product ON quarantine (product_id);
    """,
)

FORMAT_VERSION: Final = len(MIGRATIONS)
"""Of features at half precision. Older formats are migrated to it."""
CODED_VERSION: Final = FORMAT_VERSION + 1
"""The same tables with features that are codes, which releases before it would not make."""

TABLES: Final = (
    *("imgsearch_format", "settings", "roots", "items", "features", "counts", "generations", "pending", "removed"),
    *("external_index", "holders", "quarantine"),
)
"""All tables of an instance, the partitions of ``features`` left out."""
