"""Searches of the shell, from the server's side: what the process beside it says, and what its copies ask."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from imgsearch.server.served import Instances
from imgsearch.server.shell import Shell
from tests.storage.arithmetic import ArithmeticInstance

ASKING = """
import json, os, socket, sys
from multiprocessing.connection import Connection
from imgsearch.errors import ImgsearchError
from imgsearch.search.options import SearchOptions
from imgsearch.server.shell_link import NEW, ByName, Find, networks
from imgsearch.values import Key
control = socket.socket(fileno=os.dup(0))
folder, created, target = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def asked(request, raw=False):
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(control, [NEW], [theirs.fileno()])
    connection = Connection(ours.detach())
    try:
        (connection.send_bytes if raw else connection.send)(request)
        answer = connection.recv()
    except (EOFError, ConnectionError):
        return "hung up"
    if isinstance(answer, tuple):
        return [answer[0], type(answer[1]).__name__ if isinstance(answer[1], ImgsearchError) else "a result"]
    return answer
wanted = SearchOptions(num=1)
answers = [
    asked(Find(folder, networks())),
    asked(Find(folder, ("other", *networks()[1:]))),
    asked(Find(folder + "x", networks())),
    asked(ByName(folder, created, Key("p", "none"), None, wanted)),
    asked(ByName(folder, created + 1, Key("p", "none"), None, wanted)),
    asked(ByName(folder + "x", created, Key("p", "none"), None, wanted)),
    asked(b"nonsense", raw=True),
    asked(Find(folder, networks())),
]
with open(target, "w") as file:
    json.dump(answers, file)
control.recv(1)
"""


SAYING = """
import os, socket, sys
from imgsearch.server import shell_link
control = socket.socket(fileno=os.dup(0))
control.send(getattr(shell_link, sys.argv[1]) + b"what is so")
control.recv(1)
"""


class Prepared(ArithmeticInstance):
    """One whose networks need not be made first."""

    model_is_at_hand = True


@pytest.fixture
def instances(tmp_path: Path) -> Iterator[Instances]:
    """In service, with one instance."""
    Prepared.create(tmp_path / "shop")
    with Instances({"shop": tmp_path / "shop"}, None, Prepared.open) as opened:
        yield opened


class Told(logging.Handler):
    """Messages, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: SimpleQueue[str] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.put(record.getMessage())


@pytest.fixture
def told() -> Iterator[Told]:
    """What the server announces and logs."""
    handler = Told()
    logger = logging.getLogger("imgsearch.server")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def with_process(instances: Instances, told: Told, wait: Callable[[], str], *command: object) -> str:
    """What ``wait`` returns while a server has that process beside it."""

    async def run() -> str:
        shell = Shell(instances, [sys.executable, "-c", *map(str, command)], told.messages.put)
        assert shell.routes() == []
        async with shell.running():
            return await asyncio.to_thread(wait)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ((SAYING, "LISTENING"), "searches of this user's shell are answered, too (what is so)"),
        ((SAYING, "REFUSED"), "searches of the shell load their own networks: what is so"),
        (("",), "searches of the shell load their own networks: the process that takes them has ended"),
    ],
    ids=["listening", "refused", "ended"],
)
def test_what_the_process_beside_says_is_told(
    instances: Instances, told: Told, command: tuple[str, ...], message: str
) -> None:
    """Where searches are taken, or why not; the server goes on in any case, and ends the process with itself."""
    assert with_process(instances, told, lambda: told.messages.get(timeout=120), *command) == message


def test_what_copies_ask(instances: Instances, told: Told, tmp_path: Path) -> None:
    """Only of instances in service, as they are now, with the same networks; nonsense harms nobody else."""
    answers = tmp_path / "answers"
    os.mkfifo(answers)
    shop = instances.get("shop").instance
    folder = os.path.realpath(shop.folder)
    found = with_process(instances, told, answers.read_text, ASKING, folder, shop.created, answers)
    assert json.loads(found) == [
        True,
        False,
        False,
        [False, "ItemNotFound"],
        "hung up",
        "hung up",
        "hung up",
        True,
    ]


def test_a_program_that_is_missing_does_not_stop_the_server(instances: Instances, told: Told) -> None:
    async def run() -> None:
        async with Shell(instances, ["/nonexistent/program"], told.messages.put).running():
            pass

    asyncio.run(run())
    assert told.messages.get_nowait().startswith("searches of the shell load their own networks: ")
