"""The tools over HTTP: each key has its own instances and rights, and nobody else gets in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette

from imgsearch.agents.http import AgentsOverHttp
from imgsearch.instance import Instance
from imgsearch.server.keys import KeyRing
from imgsearch.server.served import Instances
from imgsearch.sources.picture_folders import PictureFolders

HOST = "http://shop.example.com"
KEYS = """
[[key]]
id = "reader"
secret = "a secret of a reader"
instances = ["shop"]
[[key]]
id = "writer"
secret = "a secret of a writer"
instances = ["*"]
rights = "write"
"""
READER, WRITER = "reader:a secret of a reader", "writer:a secret of a writer"


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    """One that reads one instance, and one that writes all."""
    file = tmp_path / "keys.toml"
    file.write_text(KEYS)
    file.chmod(0o600)
    return KeyRing(file)


@pytest.fixture
def instances(tmp_path: Path) -> Iterator[Instances]:
    """Two empty instances in service."""
    places = {name: tmp_path / name for name in ("shop", "other")}
    for place in places.values():
        Instance.create(place)
    with Instances(places, None, Instance.open) as opened:
        yield opened


@asynccontextmanager
async def asking(agents: AgentsOverHttp, token: str | None, host: str = HOST) -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client of a server with the tools."""
    app = Starlette(routes=agents.routes())
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    transport = httpx2.ASGITransport(app=app)
    async with agents.running(), httpx2.AsyncClient(transport=transport, base_url=host, headers=headers) as http:
        yield http


async def facts(http: httpx2.AsyncClient, host: str = HOST) -> tuple[set[str], Any]:
    """The names of the tools, and what ``info`` of the shop answers."""
    async with Client(streamable_http_client(f"{host}/mcp", http_client=http)) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        return tools, await client.call_tool("info", {"instance": "shop"})


def test_a_key_says_what_its_agents_may(instances: Instances, keys: KeyRing) -> None:
    """A reader is offered no tool that writes, and does not learn of other instances."""

    async def ask() -> None:
        agents = AgentsOverHttp(instances, keys, PictureFolders(), thumbnails=False)
        async with asking(agents, READER) as http:
            tools, info = await facts(http)
            assert "search" in tools
            assert not tools & {"add", "update", "delete"}
            assert info.structured_content["Name"] == "shop"
            async with Client(streamable_http_client(f"{HOST}/mcp", http_client=http)) as client:
                other = await client.call_tool("info", {"instance": "other"})
                assert other.is_error
                assert "there are: shop" in other.content[0].text

    async def write() -> None:
        async with asking(AgentsOverHttp(instances, keys, PictureFolders(), thumbnails=False), WRITER) as http:
            assert {"add", "update", "delete"} <= (await facts(http))[0]

    anyio.run(ask)
    anyio.run(write)


@pytest.mark.parametrize("token", [None, "", "reader", "reader:wrong", "nobody:a secret of a reader", f"{READER} x"])
def test_nobody_else_gets_in(instances: Instances, keys: KeyRing, token: str | None) -> None:
    """The answer is the same for an unknown key and a wrong secret."""

    async def ask() -> None:
        agents = AgentsOverHttp(instances, keys, PictureFolders(), thumbnails=False)
        async with asking(agents, token) as http:
            answer = await http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            assert answer.status_code == 401
            assert answer.json()["Code"] == "InvalidAccessKeyId.NotFound"

    anyio.run(ask)


def test_a_key_that_is_removed_is_refused_at_once(instances: Instances, keys: KeyRing) -> None:
    """Without a new start of the server."""

    async def ask() -> None:
        agents = AgentsOverHttp(instances, keys, PictureFolders(), thumbnails=False)
        async with asking(agents, WRITER) as http:
            await facts(http)
            keys.path.write_text(KEYS.replace('"a secret of a writer"', '"another secret of it"'))
            keys.reload()
            answer = await http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            assert answer.status_code == 401

    anyio.run(ask)


def test_without_keys_only_this_machine_may_ask(instances: Instances) -> None:
    """A page whose name leads here does not reach the tools."""

    async def ask() -> None:
        agents = AgentsOverHttp(instances, None, PictureFolders(), thumbnails=False)
        async with asking(agents, None, "http://127.0.0.1:8080") as http:
            tools, _ = await facts(http, "http://127.0.0.1:8080")
            assert "add" in tools

    async def ask_from_afar() -> None:
        agents = AgentsOverHttp(instances, None, PictureFolders(), thumbnails=False)
        async with asking(agents, None) as http:
            answer = await http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            assert answer.status_code == 421

    anyio.run(ask)
    anyio.run(ask_from_afar)
