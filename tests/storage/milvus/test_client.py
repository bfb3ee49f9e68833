"""Calls of a server: what happens when it is not there, does not answer, refuses, or is a moment late."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from imgsearch.errors import RemoteUnavailable, UsageError
from imgsearch.storage.milvus import client
from imgsearch.storage.milvus.address import TOKEN_VARIABLE, MilvusAddress
from imgsearch.storage.milvus.client import CollectionMissing, Server
from tests.milvus_server import Cable


@pytest.fixture
def cabled(cable: Cable) -> Iterator[Server]:
    server = Server(MilvusAddress.parse(f"milvus://127.0.0.1:{cable.port}"))
    yield server
    server.close()


def test_nobody_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With exit code 7, the server's name and the reason; after the time that connecting may take."""
    monkeypatch.setattr(client, "CONNECT_S", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets this port
        server = Server(MilvusAddress.parse(f"milvus://127.0.0.1:{taken.getsockname()[1]}"))
        with pytest.raises(RemoteUnavailable, match=rf"127\.0\.0\.1:{server.address.port} cannot be used") as told:
            server.call("list_collections", timeout=2)
    assert told.value.exit_code == 7


def test_a_missing_package_is_told() -> None:
    """With the command that brings it."""
    code = (
        "import sys; sys.modules['pymilvus'] = None\n"
        "from imgsearch.errors import UsageError\n"
        "from imgsearch.storage.milvus.index import MilvusIndex\n"
        "from imgsearch.storage.milvus.address import MilvusAddress\n"
        "try: MilvusIndex(MilvusAddress.parse('milvus://h').named()).numbers()\n"
        "except UsageError as error: print(error)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'imgsearch-local[milvus]'" in printed


def test_the_modules_can_be_imported_without_the_package() -> None:
    """Nothing of it is loaded before a server is called."""
    code = (
        "import sys, imgsearch.storage.milvus.index\n"
        "print({'pymilvus', 'grpc', 'pandas'} & {name.partition('.')[0] for name in sys.modules})"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"


@pytest.mark.extended
def test_a_missing_collection_is_told_apart(cabled: Server) -> None:
    with pytest.raises(CollectionMissing):
        cabled.call("describe_collection", "none")


@pytest.mark.extended
def test_a_cut_connection_is_told_and_made_again(cabled: Server, cable: Cable) -> None:
    assert isinstance(cabled.call("list_collections"), list)
    cable.pull()
    with pytest.raises(RemoteUnavailable, match="cannot be used"):
        cabled.call("list_collections", timeout=1)
    cable.mend()
    assert isinstance(cabled.call("list_collections"), list)


@pytest.mark.extended
def test_a_server_that_does_not_answer_is_told(cabled: Server, cable: Cable) -> None:
    """After the time that a call may take."""
    cabled.call("list_collections")
    cable.freeze()
    with pytest.raises(RemoteUnavailable, match="cannot be used: it did not answer in time"):
        cabled.call("list_collections", timeout=1)


@pytest.mark.extended
def test_a_database_that_is_missing_is_told(cabled: Server) -> None:
    server = Server(replace(cabled.address, database="none"))
    with pytest.raises(RemoteUnavailable, match="none"):
        server.call("list_collections")
    server.close()


def test_the_token_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in what the address prints."""
    monkeypatch.setenv(TOKEN_VARIABLE, "me:secret")
    server = Server(MilvusAddress.parse("milvus://h"))

    class Refused(Exception):
        code = 1
        message = "auth check failure, please check username and password are correct: secret"

    told = server._translated(Refused())
    assert isinstance(told, RemoteUnavailable)
    assert TOKEN_VARIABLE in str(told)
    assert "secret" not in f"{told}{server.address}{server.address!r}"


def test_arguments_that_are_wrong_are_no_failure_of_the_server() -> None:
    """A mistake of ours is not translated away."""
    with pytest.raises(UsageError):
        MilvusAddress.parse("milvus://")


def test_who_can_do_without_does_not_wait_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a server has failed, such calls fail at once, without asking it, for a while."""
    monkeypatch.setattr(client, "CONNECT_S", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = Server(MilvusAddress.parse(f"milvus://127.0.0.1:{taken.getsockname()[1]}"))
        with pytest.raises(RemoteUnavailable) as first:
            server.call("list_collections", timeout=1, hasty=True)
        asked: list[str] = []
        monkeypatch.setattr(server, "_connected", lambda: asked.append("asked"))
        with pytest.raises(RemoteUnavailable) as second:
            server.call("list_collections", timeout=1, hasty=True)
        assert (str(second.value), asked) == (str(first.value), [])


@pytest.mark.extended
@pytest.mark.parametrize("token", ["root:wrong", "nobody:Milvus", None])
def test_a_refused_token_is_told(cabled: Server, token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable to set, and not with what is in it."""
    if token is None:
        monkeypatch.delenv(TOKEN_VARIABLE)
    else:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
    with pytest.raises(RemoteUnavailable, match=TOKEN_VARIABLE) as told:
        cabled.call("list_collections")
    assert told.value.code == "AccessDenied"
    assert token is None or token not in str(told.value)
