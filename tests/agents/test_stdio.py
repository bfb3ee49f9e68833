"""The process: what stands on its standard output, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from imgsearch.instance import Instance
from imgsearch.values import Key
from tests.agents.conftest import SAMPLES
from tests.conftest import COMMAND_SECONDS, ROOT, command

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Process:
    """``imgsearch mcp`` after the handshake of an older client, line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.send(INITIALIZE)
        assert self.answer()["result"]["serverInfo"]["name"] == "imgsearch"
        self.send(INITIALIZED)

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def call(self, number: int, name: str, **arguments: Any) -> None:
        params = {"name": name, "arguments": arguments, "_meta": {"progressToken": number}}
        self.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        message: dict[str, Any] = json.loads(self.process.stdout.readline())
        return message

    def end(self) -> tuple[int, list[dict[str, Any]], str]:
        """Exit code, the messages left on stdout, stderr."""
        out, err = self.process.communicate(timeout=COMMAND_SECONDS)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


@contextmanager
def running(folder: Path, *options: object) -> Iterator[Process]:
    words = command("mcp", "-i", folder, *options)
    pipe = subprocess.PIPE
    # bufsize: communicate() passes over what readline() has read ahead
    with subprocess.Popen(words, cwd=ROOT, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield Process(process)
        finally:
            process.kill()  # of no effect after its end


@pytest.fixture
def empty(folder: Path, cache: Path) -> Path:
    Instance.create(folder)
    return folder


@pytest.mark.extended
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_while_it_waits(empty: Path, number: signal.Signals) -> None:
    """Though its input is open."""
    with running(empty) as server:
        server.process.send_signal(number)
        assert server.process.wait(COMMAND_SECONDS) == 128 + number
        assert server.end()[1:] == ([], "")


@pytest.mark.extended
@pytest.mark.networks
def test_a_signal_while_pictures_are_added(empty: Path) -> None:
    """All that has been told as done is stored, and the index is whole."""
    files = sorted((SAMPLES / "catalogue").rglob("*.jpg"))[:20]
    pictures = [{"path": str(file), "product_id": "p", "pic_name": str(n)} for n, file in enumerate(files)]
    with running(empty, "--pictures", SAMPLES, "--write") as server:
        server.call(2, "add", pictures=pictures)
        while (message := server.answer()).get("method") == "notifications/progress":
            if message["params"]["progress"] >= 3:
                break
        server.process.terminate()
        code, _messages, errors = server.end()
    assert code == 128 + signal.SIGTERM
    assert "Traceback" not in errors
    with Instance.open(empty) as instance:
        assert instance.count() >= 3
        assert instance.has_item(Key("p", "0"))
    assert Instance.check(empty, read_data=True) == []


@pytest.mark.extended
def test_the_end_of_input_ends_it(empty: Path) -> None:
    """With 0; and whatever comes before in between, such as lines that are no messages, is passed over."""
    with running(empty) as server:
        assert server.process.stdin is not None
        server.process.stdin.write(b"no message\n\xff\xfe\n{}\n[]\n\n")
        server.call(2, "info")
        assert server.answer()["result"]["structuredContent"]["TotalCount"] == 0
        assert server.end()[0] == 0


@pytest.mark.extended
def test_a_message_without_end_is_not_kept_in_memory(empty: Path) -> None:
    """The connection ends, and stderr says why."""
    with running(empty) as server:
        assert server.process.stdin is not None
        with pytest.raises(BrokenPipeError):  # noqa: PT012
            for _ in range(1_000):
                os.write(server.process.stdin.fileno(), b"A" * 2**17)
        code, messages, errors = server.end()
    assert (code, messages) == (2, [])
    assert "bytes came" in errors


@pytest.mark.extended
@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["-i", "missing"], 4, "missing"),
        (["--thumbnails"], 2, "--pictures"),
        (["--pictures", "missing"], 2, "not a folder"),
        (["--nonsense"], 2, "--nonsense"),
        (["-i", "", "--write"], 2, "empty"),
        (["-i", "a/shop", "-i", "b/shop"], 2, "'shop'"),
    ],
)
def test_nothing_but_messages_on_standard_output(empty: Path, options: list[str], code: int, said: str) -> None:
    """Also where it cannot start."""
    words = command(*(() if "-i" in options else ("-i", empty)), "mcp", *options)
    result = subprocess.run(
        words, capture_output=True, cwd=empty.parent, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert (result.returncode, result.stdout) == (code, "")
    assert said in result.stderr
