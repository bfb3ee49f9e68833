"""``imgsearch mcp``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from imgsearch.cli.errors import report_bug
from imgsearch.cli.opening import announcer, named_instances, warn_of_shared_storage
from imgsearch.cli.options import PICTURES, LockTimeout, Quiet, SeveralInstances
from imgsearch.errors import UsageError
from imgsearch.vision.extras import MCP_EXTRA, is_installed, pip_install

__all__ = ["mcp"]

LOCK_TIMEOUT = 30.0
MESSAGE_BYTES = 2**20
"""Of a request, besides two pictures in base64."""


def mcp(
    instance: SeveralInstances = None,
    pictures: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="A folder whose pictures may be read; repeatable. Without it, agents can only send pictures.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails",
            help="Answer with small pictures of results whose files lie in --pictures.",
            rich_help_panel=PICTURES,
        ),
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Let agents add, update and delete; without it, they can only read.")
    ] = False,
    lock_timeout: LockTimeout = LOCK_TIMEOUT,
    quiet: Quiet = False,
) -> None:
    """Serve agents over standard input and output, as a server of the Model Context Protocol (MCP)."""
    if thumbnails and not pictures:
        raise UsageError("--thumbnails shows pictures from folders that may be read: name them with --pictures DIR")
    if not is_installed("mcp_types"):
        raise UsageError(f'imgsearch mcp needs the package mcp, version 2 or later: run "{pip_install(MCP_EXTRA)}"')
    from imgsearch.agents.context import Context
    from imgsearch.agents.server import make_server
    from imgsearch.agents.stdio import serve_stdio
    from imgsearch.instance import Instance
    from imgsearch.server.served import Instances
    from imgsearch.sources.picture_folders import PictureFolders

    announce = announcer(quiet=quiet)
    folders = PictureFolders(pictures or [])
    with ExitStack() as stack:
        instances = stack.enter_context(
            Instances(
                named_instances(instance),
                None,
                lambda folder: Instance.open(folder, announce=announce),
                lock_timeout=lock_timeout,
            )
        )
        opened = [instances.get(name) for name in instances.names()]
        for served in opened:
            if write:
                warn_of_shared_storage(served.instance.folder)
        context = Context(
            instances,
            folders,
            may_write=write,
            shows_pictures=thumbnails,
            lock_timeout=lock_timeout,
            announce=announce,
        )
        largest = max(served.instance.limits.max_bytes for served in opened)
        ended_by = serve_stdio(make_server(context, report_bug), MESSAGE_BYTES + 4 * largest)
    if ended_by is not None:
        raise typer.Exit(128 + ended_by)
