"""Searching with the networks of a running server, in a process that answers for a client (``warm_command``).

In all other processes this does nothing: the instance is searched here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

    from imgsearch.instance import Instance
    from imgsearch.server.shell_link import RemoteSearcher

__all__ = ["answer_with", "check_served", "give_up", "is_copy", "remote_searcher"]

_server: Connection | None = None
_take: Callable[[], None] | None = None


def answer_with(server: Connection, take: Callable[[], None]) -> None:
    """Make this process one that answers for a client.

    Args:
        server: that is asked.
        take: called when it is certain that the search can be answered.
    """
    global _server, _take  # there is one command line
    _server, _take = server, take


def is_copy() -> bool:
    """Whether this process answers for a client."""
    return _server is not None


def give_up() -> NoReturn:
    """End this process; its client goes on without it, or says what is missing if something was printed."""
    os._exit(1)


def check_served(folder: Path) -> None:
    """Go on only if the server has that instance open, with the networks that this command would load.

    To be called before anything is printed or read.
    """
    if _server is None or _take is None:
        return
    from imgsearch.server.shell_link import is_served

    if not is_served(_server, folder):
        give_up()
    _take()


def remote_searcher(target: Instance) -> RemoteSearcher | None:
    """What searches an instance through the server; None: it is to be searched here."""
    if _server is None:
        return None
    from imgsearch.server.shell_link import RemoteSearcher

    return RemoteSearcher(_server, target.folder, target.created, target.limits.max_bytes, give_up)
