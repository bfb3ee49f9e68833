"""The server in this process: what it keeps from a client, hostile pictures, and the tools over HTTP."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from imgsearch.agents.context import Context
from imgsearch.agents.server import http_app, make_server
from imgsearch.instance import Instance
from imgsearch.server.served import Instances
from imgsearch.sources.picture_folders import PictureFolders
from tests.agents.conftest import Agent, connected
from tests.pictures import write_catalogue


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instances]:
    """An empty generic instance, called demo."""
    folder = tmp_path_factory.mktemp("instances") / "demo"
    Instance.create(folder, "generic")
    with Instances({"demo": folder}, None, Instance.open) as opened:
        yield opened


@pytest.fixture(scope="module")
def agent(instances: Instances) -> Iterator[Agent]:
    with connected(make_server(Context(instances, PictureFolders([])))) as agent:
        yield agent


def test_a_bug_is_told_without_its_trace(instances: Instances, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator gets it, the client learns that there was one, and the server goes on."""
    told = []

    def fail(_self: Instance) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Instance, "info", fail)
    with connected(make_server(Context(instances, PictureFolders([])), lambda: told.append(1))) as agent:
        code, message = agent.refused("info")
        assert code == "InternalError"
        assert "secret" not in message
        assert agent.ask("list")["TotalCount"] == 0
    assert told == [1]


def png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.extended
def test_hostile_pictures_cost_their_own_call_only(agent: Agent) -> None:
    """A bomb by its header, a tiny picture, one cut off, bytes beyond the limit; then an answer again."""
    bomb = png(Image.new("1", (20_000, 20_000)))
    assert len(bomb) < 200_000
    whole = png(Image.effect_noise((200, 200), 50))
    for data, code in (
        (bomb, "UnsupportedPicPixels"),
        (png(Image.new("L", (3, 3))), "UnsupportedPicPixels"),
        (whole[: len(whole) // 8 * 4], "PictureError"),
        ("A" * 12 * 2**20, "InvalidPicContent"),
        ("", "NoSpecifiedPicContent"),
    ):
        assert agent.refused("search", data=data)[0] == code
    assert agent.ask("search", data=whole)["Auctions"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"product_id": ["list"]},
        {"product_id": {"$gt": ""}},
        {"product_id": "x" * 100_000},
        {"product_id": "\x00"},
        {"product_id": ""},
        {"instance": "../../etc"},
        {"product_id": "a", "__proto__": {}},
        {},
    ],
)
def test_odd_arguments_are_refused_in_a_line(agent: Agent, arguments: dict[str, Any]) -> None:
    _code, message = agent.refused("show", **arguments)
    assert "\n" not in message
    assert len(message) < 500


def test_small_pictures_only_of_files_that_may_be_read(tmp_path: Path) -> None:
    """What cannot be shown is named with the reason, in its place."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    write_catalogue(inside, 2)
    write_catalogue(outside, 1)
    files = [*sorted(inside.rglob("*.jpg")), *sorted(outside.rglob("*.jpg"))]
    Instance.create(tmp_path / "shop", "generic")
    with Instance.open(tmp_path / "shop") as instance:
        for number, file in enumerate(files):
            instance.add(file, f"p{number}", "a")
        instance.add(files[0].read_bytes(), "p3", "a")
    files[1].unlink()
    with Instances({"shop": tmp_path / "shop"}, None, Instance.open) as opened:
        context = Context(opened, PictureFolders([inside]), shows_pictures=True)
        with connected(make_server(context)) as agent:
            content = agent.raw("list", thumbnails=4).content
    assert [one.type for one in content] == ["text", "text", "image", "text", "text", "text"]
    texts = [one.text for one in content if one.type == "text"]
    assert texts[1] == "1: p0 a"
    assert "its file is gone" in texts[2]
    assert "may read" in texts[3]
    assert "not added from a file" in texts[4]


@asynccontextmanager
async def over_http(app: Any, host: str) -> AsyncIterator[Client]:
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url=host) as http,
        Client(streamable_http_client(f"{host}/mcp", http_client=http)) as client,
    ):
        yield client


def test_the_same_tools_over_http(instances: Instances) -> None:
    """As an application that any ASGI server can mount."""

    async def ask() -> None:
        app = http_app(make_server(Context(instances, PictureFolders([]))))
        async with over_http(app, "http://127.0.0.1:8000") as client:
            assert "search" in {tool.name for tool in (await client.list_tools()).tools}
            result = await client.call_tool("info", {})
            assert result.structured_content["Name"] == "demo"

    anyio.run(ask)


def test_a_foreign_host_name_is_refused_over_http(instances: Instances) -> None:
    """A page whose name leads to this machine does not reach the tools."""

    async def ask() -> None:
        app = http_app(make_server(Context(instances, PictureFolders([]))))
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://example.com") as http,
        ):
            answer = await http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            assert answer.status_code == 421

    anyio.run(ask)
