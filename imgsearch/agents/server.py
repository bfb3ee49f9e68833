"""The server of the Model Context Protocol: the tools over any transport that the SDK has."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import anyio.from_thread
import anyio.to_thread
from mcp.server.lowlevel import Server
from mcp.types import CallToolResult, ListToolsResult, TextContent
from pydantic import BaseModel, ValidationError

from imgsearch import __version__
from imgsearch.agents.arguments import SHOWN
from imgsearch.agents.thumbnails import check_number, thumbnails
from imgsearch.agents.tools import TOOLS
from imgsearch.durable_fs import file_errors
from imgsearch.errors import ImgsearchError, UsageError
from imgsearch.service.documents import error_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server import ServerRequestContext
    from mcp.types import CallToolRequestParams, ContentBlock, PaginatedRequestParams, Tool
    from starlette.applications import Starlette

    from imgsearch.agents.context import Answer, Context
    from imgsearch.agents.tools import AgentTool

__all__ = ["http_app", "make_server"]

log: Final = logging.getLogger("imgsearch")
QUOTED_CHARS: Final = 80


def _log_bug() -> None:
    log.exception("a tool failed")


def make_server(context: Context, on_bug: Callable[[], object] = _log_bug) -> Server[Any]:
    """The server with all tools that the context allows.

    It holds no state of its own: one may serve any number of connections.

    Args:
        context: what the tools work with; its instances are closed by whoever opened them.
        on_bug: called while an unexpected exception is handled; the client learns only that there was one.
    """
    tools = {tool.name: tool for tool in TOOLS if context.may_write or not tool.writes}

    async def list_tools(
        _request: ServerRequestContext[Any], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=[_described(tool, context) for tool in tools.values()])

    async def call_tool(request: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        reports = count(1)  # they must rise, and each step begins anew

        def go_on(step: str, done: int, total: int) -> None:
            anyio.from_thread.check_cancelled()
            message = f"{step}: {done} of {total}"
            anyio.from_thread.run(request.session.report_progress, next(reports), None, message)

        try:
            tool = tools.get(params.name)
            if tool is None:
                known = f"there are: {', '.join(tools)}{_why(context)}"
                raise UsageError(f"there is no tool {params.name[:QUOTED_CHARS]!r} here; {known}")
            given = _validated(tool, params.arguments or {}, context)
            # A thread that has begun is waited for: what it writes must be committed before the instances are closed.
            return await anyio.to_thread.run_sync(_called, tool, replace(context, go_on=go_on), given)
        except ImgsearchError as error:
            return _refusal(error)
        except Exception:
            on_bug()
            return _refusal(ImgsearchError("this is a bug of imgsearch; the log of the server has the trace"))

    return Server(
        "imgsearch",
        version=__version__,
        title="imgsearch",
        instructions=_instructions(context),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def http_app(server: Server[Any], path: str = "/mcp", **options: Any) -> Starlette:
    """The same tools as streamable HTTP: an ASGI application, to be mounted, whose lifespan must be run.

    Args:
        server: from ``make_server``.
        path: of the endpoint.
        options: of the SDK's ``streamable_http_app``, such as ``host`` and ``transport_security``. By default only
            requests to a loopback name are answered, which keeps out pages that rebind a name of theirs.
    """
    return server.streamable_http_app(streamable_http_path=path, stateless_http=True, json_response=True, **options)


def _why(context: Context) -> str:
    return "" if context.may_write else "; this server changes nothing: its operator can allow it with --write"


def _instructions(context: Context) -> str:
    """What an agent should know before it looks at the tools."""
    names = context.instances.names()
    folders = ", ".join(map(str, context.folders.folders))
    return " ".join(
        (
            "Image search over a catalogue of pictures: find products by picture, look up and filter what is stored.",
            f"Instances: {', '.join(names)}." if len(names) > 1 else "There is one instance, which need not be named.",
            f"Pictures can be given as paths below: {folders}." if folders else "Pictures can be given as data only.",
            "Items can be added, changed and deleted." if context.may_write else "Nothing can be changed.",
            "A failed call answers with Code and Message.",
        )
    )


def _described(tool: AgentTool, context: Context) -> Tool:
    return tool.described(context.instances.names(), thumbnails=context.shows_pictures)


def _validated(tool: AgentTool, given: dict[str, Any], context: Context) -> BaseModel:
    """The arguments as the tool takes them.

    Raises:
        UsageError: names or types are wrong.
    """
    if SHOWN in given and not context.shows_pictures:
        raise UsageError("this server shows no pictures: its operator can allow it with --thumbnails")
    try:
        return tool.arguments.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "arguments"
        if first["type"] == "extra_forbidden":
            known = ", ".join(_described(tool, context).input_schema["properties"])
            raise UsageError(f"{tool.name} has no argument {place[:QUOTED_CHARS]!r}; it has: {known}") from None
        raise UsageError(f"{tool.name}, {place[:QUOTED_CHARS]}: {first['msg']}") from None


def _called(tool: AgentTool, context: Context, given: BaseModel) -> CallToolResult:
    """The answer of a tool; runs in a thread."""
    number = getattr(given, "thumbnails", 0) if context.shows_pictures else 0
    check_number(number)
    with file_errors("a file that the tool reads or writes"):
        answer = tool.run(context, given)
        text, document = _as_text(answer)
        content: list[ContentBlock] = [TextContent(type="text", text=text)]
        if number and answer.items:
            instance = context.served(getattr(given, "instance", None)).instance
            content += thumbnails(answer.items[:number], instance, context.folders)
    return CallToolResult(content=content, structured_content=document)


def _as_text(answer: Answer) -> tuple[str, dict[str, Any]]:
    """The document as JSON, and itself; bytes of names that are not text become question marks in both."""
    text = json.dumps(answer.document, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode(errors="replace").decode()
        return text, json.loads(text)
    return text, answer.document


def _refusal(error: ImgsearchError) -> CallToolResult:
    """A failed call. The document is text only: clients hold structured content against the tool's schema."""
    text = json.dumps(error_document(error), ensure_ascii=False).encode(errors="replace").decode()
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)
