"""A server whose shell searches are tested, and clients that tell whether it has answered them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.conftest import COMMAND_SECONDS, Result, command

__all__ = ["Client", "Warm", "alike", "client", "environment_in", "serving"]

CLIENT = """
import os, sys
from imgsearch.__main__ import main
from imgsearch.cli import warm_client
warm_client.SECONDS = float(os.environ.get("SECONDS", warm_client.SECONDS))
from imgsearch.own_process import exit_code
code = exit_code(main)
with open(os.environ["MODULES"], "w") as file:
    print(*sorted(sys.modules), file=file)
os._exit(code)
"""
ANNOUNCED = re.compile(r"searches of this user's shell are answered, too \((.*)\)")


@dataclass(frozen=True)
class Warm:
    """A server of instances."""

    process: subprocess.Popen[str]
    environment: dict[str, str]
    """Of clients that find it, and of no other server's."""
    socket: Path

    @property
    def host(self) -> int:
        """The process beside it, which takes the searches: its socket has that name."""
        return int(self.socket.stem)

    def ended(self) -> str:
        """End it, and wait; what it has printed since it began to serve."""
        self.process.terminate()
        assert self.process.stderr is not None
        told = self.process.stderr.read()
        assert self.process.wait(COMMAND_SECONDS) == 0
        return told


def environment_in(place: Path) -> dict[str, str]:
    """Variables of a server, and of clients, that meet in one place."""
    own = {"XDG_RUNTIME_DIR": str(place), "TMPDIR": str(place), "IMGSEARCH_NO_SERVER": ""}
    return {**os.environ, **own}


@contextmanager
def serving(folder: Path, state: Path, place: Path | None = None, **variables: str) -> Iterator[Warm]:
    """A server of the instance in ``folder``, which takes searches of the shell; it has ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="imgsearch-") as short:  # a socket's path must be
        environment = environment_in(place or Path(short))
        process = subprocess.Popen(
            command("serve", "-i", folder, "--no-auth", "--port", "0", "--state", state),
            env={**environment, **variables},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            yield Warm(process, environment, _address(process.stderr))
        finally:
            process.kill()
            process.wait()
            process.stderr.close()  # type: ignore[union-attr]


def _address(stderr: IO[str]) -> Path:
    told = []
    for line in stderr:
        told.append(line)
        if found := ANNOUNCED.search(line):
            return Path(found[1])
    raise AssertionError("".join(told))


@dataclass(frozen=True)
class Client(Result):
    """What a client left behind."""

    modules: frozenset[str]

    @property
    def is_warm(self) -> bool:
        """The server has answered: not even the command line was parsed here."""
        return "imgsearch.cli.app" not in self.modules


def client(
    environment: dict[str, str], *arguments: object, stdin: bytes = b"", cwd: Path | None = None, **variables: str
) -> Client:
    """Run a command line in an interpreter of its own."""
    with tempfile.NamedTemporaryFile("r") as modules:
        process = subprocess.run(
            [sys.executable, "-P", "-c", CLIENT, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            check=False,
            cwd=cwd,
            env={**environment, **variables, "MODULES": modules.name},
            timeout=COMMAND_SECONDS,
        )
        loaded = frozenset(modules.read().split())
    return Client(process.returncode, process.stdout.decode(), process.stderr.decode(), loaded)


def alike(text: str) -> str:
    """Output without what differs from run to run: request ids, times taken, and where a caption with one is broken."""
    text = re.sub(r'"RequestId": "[0-9A-F-]{36}"', '"RequestId": "…"', text)
    text = re.sub(r'"SearchTime": \d+', '"SearchTime": …', text)
    table, corner, caption = text.rpartition("┘")
    return table + corner + re.sub(r"\bin \d+ ms", "in … ms", " ".join(caption.split())) if corner else text
