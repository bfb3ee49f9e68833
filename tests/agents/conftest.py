"""Agents: the SDK's own client, which checks each call and answer against the schemas that the server tells."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import CallToolResult, Tool

from tests.conftest import ROOT, command

SAMPLES = ROOT / "sample_data"


def strict(schema: Any) -> Any:
    """The schema with no other fields allowed than those named: documents and schemas must not part."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(value) for name, value in schema.items()}
    return closed | {"additionalProperties": False} if "properties" in closed else closed


class Agent:
    """A connected client, for calls one after the other."""

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self._portal = portal
        self._client = client
        self.tools: dict[str, Tool] = {tool.name: tool for tool in portal.call(client.list_tools).tools}
        self.instructions = client.session.instructions or ""

    def raw(self, name: str, **arguments: Any) -> CallToolResult:
        """What the server answers, to whatever arguments."""
        return self._portal.call(self._client.call_tool, name, arguments)

    def progress(self, name: str, **arguments: Any) -> list[tuple[float, str]]:
        """What the server reports while it answers a call."""
        told = []

        async def note(done: float, _total: float | None, message: str | None) -> None:
            told.append((done, message or ""))

        async def call() -> None:
            await self._client.call_tool(name, arguments, progress_callback=note)

        self._portal.call(call)
        return told

    def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The document of a call that its schema allows."""
        tool = self.tools[name]
        jsonschema.validate(arguments, tool.input_schema)
        result = self.raw(name, **arguments)
        assert not result.is_error, result.content
        assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
        jsonschema.validate(result.structured_content, strict(tool.output_schema))
        document: dict[str, Any] = result.structured_content
        return document

    def refused(self, name: str, **arguments: Any) -> tuple[str, str]:
        """Code and message of a call that is answered with an error."""
        result = self.raw(name, **arguments)
        assert result.is_error, result.structured_content
        assert result.structured_content is None
        document = json.loads(result.content[0].text)  # type: ignore[union-attr]
        assert set(document) == {"Success", "Code", "Message"}
        assert document["Success"] is False
        assert "Traceback" not in document["Message"]
        return document["Code"], document["Message"]


@contextmanager
def connected(server: Any) -> Iterator[Agent]:
    """A client of a server: a ``Server`` in this process, or a transport."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Client(server)) as client:
        yield Agent(portal, client)


Serve = Callable[..., Any]


@contextmanager
def served(log: Path, *options: object) -> Iterator[Agent]:
    """A client of ``imgsearch mcp`` as a process of its own, which must say nothing of an error and end by itself."""
    with log.open("w") as errors:
        words = command("mcp", *options)[1:]
        process = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ), cwd=ROOT)
        with connected(stdio_client(process, errlog=errors)) as agent:
            yield agent
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="session")
def sample_shop(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A product instance with the sample catalogue, not to be changed."""
    folder = tmp_path_factory.mktemp("agents") / "shop"
    words = command("add", "-i", folder, "--manifest", SAMPLES / "increment.meta", "-q")
    subprocess.run(words, check=True, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def shop(sample_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it, to be changed."""
    folder = tmp_path_factory.mktemp("changed") / "shop"
    shutil.copytree(sample_shop, folder)
    return folder
