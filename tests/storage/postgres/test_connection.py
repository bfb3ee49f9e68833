"""Connections that are lost, clients that are killed, servers that are restarted: nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from imgsearch.errors import ImgsearchError, InstanceLocked, RemoteUnavailable, StorageUnwritable
from imgsearch.filters.tree import EVERYTHING
from tests import postgres_server
from tests.postgres_server import PASSWORD, PostgresServer
from tests.storage.builders import at_work, change, child, finished, scattered
from tests.storage.postgres.conftest import PATIENCE, SETTINGS, Opener

if TYPE_CHECKING:
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.engine import PostgresEngine

FEATURES = scattered(8)


def cut(engine: PostgresEngine, server: PostgresServer) -> None:
    """The server ends the connection."""
    with server.administrator() as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", (engine.store.link.connection.info.backend_pid,))


def test_reading_goes_on_by_itself(engine: PostgresEngine, server: PostgresServer) -> None:
    """Outside of a block, and where one begins."""
    cut(engine, server)
    assert engine.store.count() == 0
    cut(engine, server)
    with engine.store.reading():
        assert engine.store.count() == 0
    cut(engine, server)
    with engine.committing(["p"]) as store:
        store.insert([change("p", "1", FEATURES[0])])
    assert engine.store.count() == 1


def test_a_lost_block_is_an_error_and_leaves_nothing(engine: PostgresEngine, server: PostgresServer) -> None:
    def write() -> None:
        with engine.committing(["p"]) as store:
            store.insert([change("p", "1", FEATURES[0])])
            cut(engine, server)

    with pytest.raises(RemoteUnavailable) as lost:
        write()
    assert (lost.value.exit_code, lost.value.code) == (7, "NetworkException")
    assert engine.store.count() == 0

    def read() -> None:
        with engine.store.reading():
            cut(engine, server)
            engine.store.count()

    with pytest.raises(RemoteUnavailable):
        read()
    assert engine.store.count() == 0


def test_locks_are_taken_again(opener: Opener, server: PostgresServer) -> None:
    """A writer that has lost its connection and finds another one alone is told; so is one that finds new features."""
    writer = opener()
    cut(writer, server)
    alone = opener(alone=True, timeout=PATIENCE)
    with pytest.raises(InstanceLocked):
        writer.store.count()
    with alone.committing() as store:
        store.set_setting("model", {"name": "other"})
    alone.close()
    with pytest.raises(InstanceLocked, match=r"all features .* were changed"):
        writer.store.count()


@pytest.mark.parametrize(
    ("find", "put", "code"),
    [
        (f":{PASSWORD}@", ":wrong@", "AccessDenied"),
        ("/shop?", "/nothing?", "AccessDenied"),
        ("//shop:", "//nobody:", "AccessDenied"),
        ("@127.0.0.1:", "@127.0.0.1:1", "NetworkException"),
    ],
)
def test_what_cannot_be_reached_or_refuses(server: PostgresServer, find: str, put: str, code: str) -> None:
    """Exit code 7, and no password in the message."""
    from imgsearch.storage.postgres import tables
    from imgsearch.storage.postgres.address import Address

    url = server.url()
    assert find in url
    if put.endswith(":1"):
        url, find, put = url.replace(f":{server.port}", ":1"), "x", "x"
    with pytest.raises(RemoteUnavailable) as refused:
        tables.exists(Address.parse(url.replace(find, put)))
    assert (refused.value.exit_code, refused.value.code) == (7, code)
    assert PASSWORD not in refused.value.message
    assert "wrong" not in refused.value.message


def test_a_role_without_rights_is_told(server: PostgresServer, address: Address) -> None:
    """One that may read may read; writing is refused."""
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.engine import PostgresEngine

    with server.administrator(postgres_server.DATABASE) as connection:
        connection.execute(f"DROP ROLE IF EXISTS guest_{address.schema}")
        connection.execute(f"CREATE ROLE guest_{address.schema} LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(f"GRANT USAGE ON SCHEMA {address.schema} TO guest_{address.schema}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {address.schema} TO guest_{address.schema}")
    guest = Address.parse(server.url(address.schema).replace("//shop:", f"//guest_{address.schema}:"))
    reading = PostgresEngine(guest.place, guest)
    assert reading.store.count() == 0
    reading.close()
    writing = PostgresEngine(guest.place, guest, write=True)
    with pytest.raises(StorageUnwritable, match="permission denied"), writing.committing(["p"]) as store:
        store.insert([change("p", "1", FEATURES[0])])
    writing.close()


WRITER = """
import os, signal, sys
from imgsearch.storage.postgres.address import Address
from imgsearch.storage.postgres.connection import Link
from imgsearch.storage.postgres.engine import PostgresEngine
from tests.storage.builders import change, scattered
step, url = int(sys.argv[1]), sys.argv[2]
steps = 0
def counted(method):
    def run(self, *arguments):
        global steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(self, *arguments)
    return run
Link.run = counted(Link.run)
Link.run_many = counted(Link.run_many)
Link._end = counted(Link._end)
address = Address.parse(url)
engine = PostgresEngine(address.place, address, write=True)
features = scattered(8)
if step == 0:
    steps = 0
with engine.committing(["a", "b"]) as store:
    store.insert([change("a", "1", features[0], category=5), change("b", "1", features[1], category=6)])
    store.remove([change("old", "1", features[2]).key])
print(steps)
"""


@pytest.mark.extended
def test_a_killed_writer_leaves_all_or_nothing(server: PostgresServer) -> None:
    """Killed before each of its statements; whoever comes next finds whole commits and no lock."""
    from imgsearch.storage.postgres import tables
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.checking import check
    from imgsearch.storage.postgres.engine import PostgresEngine

    def made() -> Address:
        address = Address.parse(server.url())
        tables.create(address, SETTINGS)
        engine = PostgresEngine(address.place, address, write=True)
        with engine.committing() as store:
            store.insert([change("old", "1", FEATURES[2])])
        engine.close()
        return address

    url = server.url
    steps = int(finished(child(WRITER, 0, url(made().schema))))
    assert steps > 8
    for step in range(4, steps + 8, 3):
        address = made()
        process = child(WRITER, step, url(address.schema))
        process.communicate(timeout=60)
        engine = PostgresEngine(address.place, address, write=True, alone=True, timeout=30)
        names = {key.product_id for key in engine.store.keys(EVERYTHING)}
        assert names in ({"old"}, {"a", "b"}), step
        assert check(engine, read_data=True, settings=()) == []
        engine.close()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """One that may be killed."""
    if not postgres_server.is_installed():
        pytest.skip(postgres_server.MISSING)
    server = PostgresServer()
    yield server
    server.remove()


ENDLESS = """
import json, sys
from imgsearch.errors import RemoteUnavailable
from imgsearch.storage.postgres.address import Address
from imgsearch.storage.postgres.engine import PostgresEngine
from tests.storage.builders import change, scattered
address = Address.parse(sys.argv[1])
engine = PostgresEngine(address.place, address, write=True)
features = scattered(8)
print("ready", flush=True)
number = 0
try:
    while True:
        with engine.committing([f"p{number}"]) as store:
            store.insert([change(f"p{number}", "1", features[number % 8])])
        print(json.dumps(number), flush=True)
        number += 1
except RemoteUnavailable as error:
    print(json.dumps({"exit": error.exit_code}), flush=True)
"""


@pytest.mark.extended
def test_a_killed_server_keeps_what_was_acknowledged(own_server: PostgresServer) -> None:
    """Every process of it at once, in the middle of commits; started again, it has them, and is whole."""
    from imgsearch.storage.postgres import tables
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.checking import check
    from imgsearch.storage.postgres.engine import PostgresEngine

    url = own_server.url("shop")
    address = Address.parse(url)
    tables.create(address, SETTINGS)
    with at_work(ENDLESS, url, told="ready") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line) == 20:
                own_server.kill()
                break
        told = [json.loads(line) for line in process.stdout]
    acknowledged = [20, *(number for number in told if isinstance(number, int))]
    assert told[-1] == {"exit": 7}
    own_server.start()
    engine = PostgresEngine(address.place, address, write=True)
    stored = {int(key.product_id[1:]) for key in engine.store.keys(EVERYTHING)}
    assert stored.issuperset(range(acknowledged[-1] + 1))
    assert len(stored) <= acknowledged[-1] + 2  # the last commit may have come about without a word
    assert check(engine, read_data=True, settings=()) == []
    engine.close()


@pytest.mark.extended
def test_a_restart_is_waited_for(own_server: PostgresServer) -> None:
    """A reader notices nothing of a server that is started anew, if it is quick."""
    from imgsearch.storage.postgres import tables
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.engine import PostgresEngine

    address = Address.parse(own_server.url("shop"))
    tables.create(address, SETTINGS)
    engine = PostgresEngine(address.place, address)
    own_server.stop()
    with pytest.raises(ImgsearchError) as down:
        engine.store.count()
    assert down.value.exit_code == 7
    own_server.start()
    assert engine.store.count() == 0
    engine.close()


def test_others_see_who_is_connected(engine: PostgresEngine) -> None:
    """By a name that tells process and machine, and nothing of the command's arguments."""
    row = engine.store.link.row("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()")
    assert row is not None
    assert f" {os.getpid()}@" in row[0]
