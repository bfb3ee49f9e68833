"""Serving one client over standard input and output, until it goes or a signal comes."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import anyio
import anyio.to_thread
from mcp.server.stdio import stdio_server

from imgsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.server.lowlevel import Server

__all__ = ["serve_stdio"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Messages:
    """The lines of standard input, each a message; waiting for one can be given up, unlike in the SDK's own reader.

    Args:
        source: binary.
        max_bytes: of a message. At a longer one, the lines end.
    """

    def __init__(self, source: BinaryIO, max_bytes: int) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self.is_too_long = False

    async def __aiter__(self) -> AsyncIterator[str]:
        while line := await anyio.to_thread.run_sync(
            self._source.readline, self._max_bytes + 1, abandon_on_cancel=True
        ):
            if len(line) > self._max_bytes:
                self.is_too_long = True
                return
            yield line.decode(errors="replace")


def serve_stdio(server: Server[Any], max_message_bytes: int) -> int | None:
    """Answer until standard input ends; calls that have begun are finished first.

    Standard output carries the protocol only: while this runs, whatever else is printed goes to standard error.

    Args:
        server: from ``make_server``.
        max_message_bytes: of a request.

    Returns:
        The signal that ended it; None at the end of input.

    Raises:
        UsageError: a message was longer; the connection has ended.
    """
    # Not closed: after a signal, a thread still waits for its next line.
    source = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    # Whatever reads standard input besides, such as a child, finds it empty.
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    messages = _Messages(source, max_message_bytes)
    ended_by = anyio.run(_serve, server, messages)
    if messages.is_too_long:
        raise UsageError(
            f"a message of more than {max_message_bytes:,} bytes came, so the connection was ended: no picture that "
            "this server takes needs as many"
        )
    return ended_by


async def _serve(server: Server[Any], messages: Any) -> int | None:
    ended_by: int | None = None

    async def wait_for_signal(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        nonlocal ended_by
        with anyio.open_signal_receiver(*SIGNALS) as received:
            task_status.started()
            async for number in received:
                ended_by = int(number)
                group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            await group.start(wait_for_signal)
            async with stdio_server(stdin=messages) as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())
            group.cancel_scope.cancel()
    except* BrokenPipeError:  # the client has gone without closing our standard input
        pass
    return ended_by
