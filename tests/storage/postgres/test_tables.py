"""Making, finding and removing the tables of an instance; several lie beside each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from imgsearch.errors import ImgsearchError, InstanceDamaged, InstanceExists, InstanceNotFound, NewerFormat, UsageError
from tests.postgres_server import ADMINISTRATOR, DATABASE, PASSWORD, PostgresServer

if TYPE_CHECKING:
    from imgsearch.storage.postgres.address import Address

SETTINGS = {"kind": "product", "created": 1, "model": {"name": "tiny"}}


def test_one_is_made_once(free_address: Address) -> None:
    """However many try at the same time; the others are told."""
    from imgsearch.storage.postgres import tables

    def make(number: int) -> bool:
        try:
            tables.create(free_address, {**SETTINGS, "created": number})
        except InstanceExists:
            return False
        return True

    assert not tables.exists(free_address)
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(make, range(4))) == 1
    assert tables.exists(free_address)
    with pytest.raises(InstanceExists, match="already: use it as it is"):
        tables.create(free_address, SETTINGS)


def test_several_lie_beside_each_other(server: PostgresServer) -> None:
    from imgsearch.storage.postgres import tables
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.connection import Link

    one, other = Address.parse(server.url()), Address.parse(server.url())
    tables.create(one, SETTINGS)
    tables.create(other, SETTINGS)
    tables.remove(one)
    assert not tables.exists(one)
    assert tables.exists(other)
    with pytest.raises(InstanceNotFound, match="imgsearch init --engine"):
        Link(one)


def test_tables_of_others_are_left_alone(server: PostgresServer, free_address: Address) -> None:
    from imgsearch.storage.postgres import tables

    with server.administrator(DATABASE) as connection:
        connection.execute(f"CREATE SCHEMA {free_address.schema} AUTHORIZATION shop")
        connection.execute(f"CREATE TABLE {free_address.schema}.items (id int)")
    with pytest.raises(InstanceExists, match="a table items of another program"):
        tables.create(free_address, SETTINGS)
    with server.administrator(DATABASE) as connection:
        connection.execute(f"DROP TABLE {free_address.schema}.items")
        connection.execute(f"CREATE TABLE {free_address.schema}.orders (id int)")
    tables.create(free_address, SETTINGS)
    tables.remove(free_address)
    with server.administrator(DATABASE) as connection:
        assert connection.execute(f"SELECT count(*) FROM {free_address.schema}.orders").fetchone() == (0,)


def test_a_newer_format_is_refused(server: PostgresServer, address: Address) -> None:
    from imgsearch.storage.postgres.connection import Link

    for value, error in (("99", NewerFormat), ("NULL", ImgsearchError)):
        with server.administrator(DATABASE) as connection:
            connection.execute(f"ALTER TABLE {address.schema}.imgsearch_format ALTER version DROP NOT NULL")
            connection.execute(f"UPDATE {address.schema}.imgsearch_format SET version = {value}")
        with pytest.raises(error):
            Link(address)


def test_a_missing_table_is_damage(server: PostgresServer, address: Address) -> None:
    from imgsearch.storage.postgres.engine import PostgresEngine

    with server.administrator(DATABASE) as connection:
        connection.execute(f"DROP TABLE {address.schema}.external_index")
    with pytest.raises(InstanceDamaged, match="external_index"):
        PostgresEngine(address.place, address)


def test_a_database_without_pgvector_is_refused(server: PostgresServer) -> None:
    """An ordinary role is told what to ask for; one that may brings it."""
    from imgsearch.storage.postgres import tables
    from imgsearch.storage.postgres.address import Address

    with server.administrator() as connection:
        connection.execute("CREATE DATABASE bare OWNER shop")
    bare = server.url("bare").replace(f"/{DATABASE}?", "/bare?")
    try:
        with server.administrator("bare") as connection:
            connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        administrator = bare.replace("shop:", f"{ADMINISTRATOR}:")
        with server.administrator() as connection:
            connection.execute("ALTER DATABASE bare OWNER TO admin")
            connection.execute("GRANT CONNECT ON DATABASE bare TO shop")
        with pytest.raises(UsageError, match="CREATE EXTENSION vector"):
            tables.create(Address.parse(bare), SETTINGS)
        assert PASSWORD in administrator
        tables.create(Address.parse(administrator), SETTINGS)
    finally:
        with server.administrator() as connection:
            connection.execute("DROP DATABASE bare WITH (FORCE)")
