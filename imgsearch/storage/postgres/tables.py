"""Creating the tables of an instance, bringing them up to date, and removing them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from psycopg.sql import SQL, Identifier

from imgsearch.errors import InstanceExists, UsageError
from imgsearch.quantization import HALF, Coding
from imgsearch.storage.checksum import row_checksum
from imgsearch.storage.postgres.connection import connected
from imgsearch.storage.postgres.remote_errors import remote_errors
from imgsearch.storage.postgres.schema import CODED_VERSION, FORMAT_VERSION, MIGRATIONS, TABLES

if TYPE_CHECKING:
    from psycopg import Connection

    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.connection import Facts

__all__ = ["create", "exists", "migrate", "remove"]

SEQUENCES = ("item_ids", "generation_numbers")


def exists(address: Address) -> bool:
    """Whether there is an instance.

    Raises:
        RemoteUnavailable
    """
    connection, facts = connected(address)
    connection.close()
    return facts.exists


def create(address: Address, settings: dict[str, Any], index: str | None = None) -> None:
    """Create an empty instance, atomically; its schema too, if it is missing.

    Args:
        address: of the instance.
        settings: values that JSON can represent.
        index: address of an index outside of the database; None: pgvector.

    Raises:
        InstanceExists: there is one, or other tables are in its place.
        UsageError: the server is too old, or lacks pgvector.
        RemoteUnavailable, StorageFull, StorageUnwritable
    """
    connection, facts = connected(address)
    if facts.vector is None:
        with remote_errors(address), connection:
            _bring_vector(connection)
        connection, facts = connected(address)
    _checked(connection, facts, address)
    with remote_errors(address), connection, connection.transaction():
        _lock(connection, address)
        if facts.schema is None:
            connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(address.schema)))
        _check_free(connection, address)
        _run(connection, 0)
        if Coding.of(settings.get("model")).bits != HALF:
            connection.execute("UPDATE imgsearch_format SET version = %s", (CODED_VERSION,))
        connection.cursor().executemany(
            "INSERT INTO settings (name, value, seal) VALUES (%s, %s, %s)",
            [(name, text, row_checksum(name, text)) for name, text in _texts(settings)],
        )
        if index is not None:
            connection.execute("INSERT INTO external_index (address) VALUES (%s)", (index,))


def _checked(connection: Connection[tuple[Any, ...]], facts: Facts, address: Address) -> None:
    try:
        facts.check(address.url)
    except UsageError:
        connection.close()
        raise


def _texts(settings: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, json.dumps(value)) for name, value in settings.items()]


def _bring_vector(connection: Connection[tuple[Any, ...]]) -> None:
    """Install pgvector in the database, if this role may; the check that follows tells if not."""
    import psycopg

    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFile, psycopg.errors.FeatureNotSupported):
        return


def _check_free(connection: Connection[tuple[Any, ...]], address: Address) -> None:
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p', 'v', 'S') "
        "AND relname = ANY (%s) ORDER BY relname",
        (address.schema, [*TABLES, *SEQUENCES]),
    ).fetchall()
    names = [name for (name,) in rows]
    if "imgsearch_format" in names:
        raise InstanceExists(
            f"there is an instance in {address.url} already: use it as it is with '-i {address.url}', or give the new "
            "one another ?schema=NAME"
        )
    if names:
        raise InstanceExists(
            f"the schema {address.schema} in {address.url} has a table {names[0]} of another program: give another "
            "?schema=NAME"
        )


def _lock(connection: Connection[tuple[Any, ...]], address: Address) -> None:
    """Be the only one to change these tables, until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (f"imgsearch {address.schema}",))


def _run(connection: Connection[tuple[Any, ...]], version: int) -> None:
    connection.execute("".join(MIGRATIONS[version:]).encode())
    connection.execute("UPDATE imgsearch_format SET version = %s", (FORMAT_VERSION,))


def migrate(address: Address) -> None:
    """Bring the tables of an older format up to date, in one transaction; nothing if another process has done it."""
    connection, facts = connected(address)
    _checked(connection, facts, address)
    with remote_errors(address), connection, connection.transaction():
        _lock(connection, address)
        row = connection.execute("SELECT version FROM imgsearch_format").fetchone()
        if row is None:
            raise UsageError(f"{address.url} has no format: restore it from a backup")
        if row[0] < FORMAT_VERSION:
            _run(connection, row[0])


def remove(address: Address) -> None:
    """Remove the tables of an instance, and their schema if nothing else is in it."""
    import psycopg

    connection, _ = connected(address)
    with remote_errors(address), connection:
        with connection.transaction():
            _lock(connection, address)
            for table in reversed(TABLES):
                connection.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(address.schema, table)))
            for sequence in SEQUENCES:
                connection.execute(SQL("DROP SEQUENCE IF EXISTS {}").format(Identifier(address.schema, sequence)))
        try:
            connection.execute(SQL("DROP SCHEMA IF EXISTS {}").format(Identifier(address.schema)))
        except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.InsufficientPrivilege):
            return  # it holds other things, or was made by an administrator
