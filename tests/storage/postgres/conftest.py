"""Fixtures of the tests of instances in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests import postgres_server
from tests.postgres_server import PostgresServer

if TYPE_CHECKING:
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.engine import PostgresEngine

SETTINGS = {"kind": "product", "created": 1, "model": {"name": "tiny"}}


@pytest.fixture(scope="session")
def server() -> PostgresServer:
    """The server that all tests of a process share; each has a schema of its own."""
    if not postgres_server.is_installed():
        pytest.skip(postgres_server.MISSING)
    return postgres_server.shared_server()


@pytest.fixture
def free_address(server: PostgresServer) -> Address:
    """Where an instance can be made."""
    from imgsearch.storage.postgres.address import Address

    return Address.parse(server.url())


@pytest.fixture
def address(free_address: Address) -> Address:
    """Of an empty instance."""
    from imgsearch.storage.postgres import tables

    tables.create(free_address, dict(SETTINGS))
    return free_address


Opener = Callable[..., "PostgresEngine"]


PATIENCE = 30
"""Seconds until the server has noticed that a connection is closed, and gives its locks back."""


@pytest.fixture
def opener(address: Address) -> Iterator[Opener]:
    """Opens the instance, as often as is asked; closes all at the end."""
    from imgsearch.storage.postgres.engine import PostgresEngine

    opened: list[PostgresEngine] = []

    def open_one(**options: object) -> PostgresEngine:
        engine = PostgresEngine(address.place, address, **{"write": True, **options})  # type: ignore[arg-type]
        opened.append(engine)
        return engine

    yield open_one
    for engine in opened:
        engine.close()


@pytest.fixture
def engine(opener: Opener) -> PostgresEngine:
    """The instance, open for writing."""
    return opener()
