"""``imgsearch serve`` as a process of its own, for what only a process can show: signals, kills, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conftest import command
from tests.server.serving import PATIENCE

__all__ = ["ServerProcess", "serving_process"]


class ServerProcess:
    """A running server.

    Args:
        words: that start it.
        environment: more variables.
    """

    def __init__(self, words: Sequence[str], environment: dict[str, str]) -> None:
        self._popen = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self._changed = threading.Condition()
        self.lines: list[str] = []
        """Of stderr."""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.url = self.line("listening on ").rpartition(" ")[2]

    def _read(self) -> None:
        assert self._popen.stderr is not None
        for line in self._popen.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.lines.append("")  # nothing more comes
            self._changed.notify_all()

    def line(self, part: str) -> str:
        """The first line of stderr with that in it; waits for it."""

        def found() -> list[str]:
            return [line for line in self.lines if part in line]

        with self._changed:
            self._changed.wait_for(lambda: found() or self.lines[-1:] == [""], PATIENCE)
            assert found(), self.lines
            return found()[0]

    @property
    def pid(self) -> int:
        return self._popen.pid

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def end(self) -> int:
        """Wait for the end; the exit code."""
        code = self._popen.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def close(self) -> None:
        """End it, whatever it does."""
        self._popen.kill()
        self.end()
        assert self._popen.stdout is not None
        self.stdout = self._popen.stdout.read()
        self._popen.stdout.close()
        assert self._popen.stderr is not None
        self._popen.stderr.close()

    def call(self, action: str, query: dict[str, str] | None = None, **form: str) -> httpx.Response:
        """Have an operation on ``shop`` carried out without a key."""
        headers = {"x-acs-action": action, "x-acs-version": "2020-12-14"}
        data = {"InstanceName": "shop", **form}
        return httpx.post(
            f"{self.url}/", params=query, data=data, headers=headers, timeout=PATIENCE, verify=False, trust_env=False
        )


@contextmanager
def serving_process(
    instance: Path, state: Path, *arguments: object, code: str | None = None, **environment: str
) -> Iterator[ServerProcess]:
    """Run a server of one instance, named ``shop``, at a free port, without keys unless they are given.

    Args:
        instance: its folder.
        state: of tasks.
        arguments: more of them.
        code: Python that is run in the process before the command.
        environment: more variables.
    """
    keys = [] if "--keys" in arguments else ["--no-auth"]
    words = command("serve", f"shop={instance}", "--port", 0, "--state", state, *keys, *arguments)
    if code is not None:
        python, _, _, *rest = words
        words = [python, "-c", f"{code}\nfrom imgsearch.__main__ import run\nrun()", *rest]
    server = ServerProcess(words, environment)
    try:
        yield server
    finally:
        server.close()
