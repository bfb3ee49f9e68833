"""A real Milvus of this test run: the packaged server, in namespaces of its own, and a cable that leads there.

Milvus listens on every interface, and on a dozen ports. So it runs in a network of its own that has loopback only, and
that keeps the servers of several workers apart. A Unix socket leads into it; a ``Cable`` gives it a port on 127.0.0.1.
All processes in there end with the first of them, and that ends when its standard input does, as when the tests are
killed.

Run as a program, this module is that first process.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from imgsearch.storage.milvus.address import TOKEN_VARIABLE

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # other tests fork this process, and speak to no server then

ROOT = Path(__file__).resolve().parents[1]
READY = "ready"
TOKEN = "root:Milvus"
"""The user that a new server has; it refuses all others."""
PORT = 19530
START_SECONDS = 300
PIECE = 1 << 16
SETTINGS = {
    "QUOTAANDLIMITS_LIMITWRITING_MEMPROTECTION_ENABLED": "false",  # other processes may need the machine's memory
    # Loading is looked after more often.
    "QUERYCOORD_CHECKINTERVAL": "100",
    "QUERYCOORD_DISTPULLINTERVAL": "100",
    "QUERYCOORD_CHECKHANDOFFINTERVAL": "100",
    "QUERYCOORD_CHECKSEGMENTINTERVAL": "100",
    "QUERYCOORD_CHECKCHANNELINTERVAL": "100",
    "QUERYCOORD_CHECKINDEXINTERVAL": "100",
    "QUERYCOORD_UPDATENEXTTARGETINTERVAL": "1",
    "QUERYCOORD_LEADERVIEWUPDATEINTERVAL": "1",
    "QUERYCOORD_COLLECTIONOBSERVERINTERVAL": "100",
    "COMMON_SECURITY_AUTHORIZATIONENABLED": "true",
    # What was written can be sealed after that many milliseconds.
    "DATACOORD_SEGMENT_ASSIGNMENTEXPIRATION": "100",
}


@cache
def why_not() -> str | None:
    """Why no Milvus can be had here; None if it can."""
    if find_spec("milvus") is None or find_spec("pymilvus") is None:
        return "the packages milvus and pymilvus are not installed"
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "Milvus comes as a package for Linux on x86-64 only"
    if (
        shutil.which("unshare") is None
        or subprocess.run(_namespaces("true"), check=False, capture_output=True).returncode
    ):
        return "this user may make no network of its own, in which Milvus would be alone"
    return None


def _namespaces(*command: str) -> list[str]:
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *own, "--net", "--pid", "--fork", "--kill-child", "--mount-proc", *command]


class MilvusServer:
    """A server with its own data; ``socket`` leads to it.

    Args:
        folder: for its data and its socket; its path must be short.
    """

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "socket"
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, on the data that are there, and wait until it answers."""
        command = _namespaces(sys.executable, "-m", "tests.milvus_server", str(self._folder))
        with (self._folder / "errors").open("a") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT
            )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said == f"{READY}\n", f"Milvus did not start: {said}{(self._folder / 'errors').read_text()[-2000:]}"

    def stop(self) -> None:
        """Kill it with all that belongs to it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


_shared: list[tuple[MilvusServer, Cable]] = []


def shared_server() -> tuple[MilvusServer, Cable]:
    """The server of this process, started when it is first asked for and removed at the end; and a cable to it."""
    if not _shared:
        folder = Path(tempfile.mkdtemp(prefix="imgsearch-milvus-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        server = MilvusServer(folder)
        atexit.register(server.stop)
        server.start()
        os.environ[TOKEN_VARIABLE] = TOKEN
        _shared.append((server, Cable(server.socket)))
    return _shared[0]


class Cable:
    """A port on 127.0.0.1 that leads to a socket, and that can be pulled out.

    Args:
        target: a Unix socket.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_in = True
        self._thread = threading.Thread(target=self._loop.run_forever, name="cable", daemon=True)
        self._thread.start()
        server = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(server, self._loop).result()
        self.port: int = self._server.sockets[0].getsockname()[1]

    def pull(self) -> None:
        """End all connections, and refuse new ones."""
        self._is_in = False
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()

    def freeze(self) -> None:
        """Carry nothing any more; connections stay."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def mend(self) -> None:
        """Carry all again."""
        self._is_in = True
        self._loop.call_soon_threadsafe(self._open.set)

    def close(self) -> None:
        """End it for ever."""
        self._is_in = False
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _finish(self) -> None:
        self._server.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(others, timeout=0.1)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            far = await asyncio.open_unix_connection(str(self._target))
        except OSError:
            await closed(writer)
            return
        self._tasks.add(task)  # from here on, whoever cancels it leaves nothing open
        try:
            if self._is_in:
                await joined((reader, writer), far, self._open)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            await closed(writer)
            await closed(far[1])


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def joined(near: Ends, far: Ends, is_open: asyncio.Event | None = None) -> None:
    """Carry bytes both ways until one end closes."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            if is_open is not None:
                await is_open.wait()
            writer.write(piece)
            await writer.drain()

    both = [asyncio.ensure_future(carry(near[0], far[1])), asyncio.ensure_future(carry(far[0], near[1]))]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in both:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and wait until it is."""
    writer.close()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


def _loopback_up() -> None:
    """Bring up the only interface of a new network, by the ioctl that ``ip link set lo up`` uses."""
    import fcntl

    get_flags, set_flags, up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, get_flags, request), 16)
        fcntl.ioctl(control, set_flags, struct.pack("16sh14x", b"lo", flags | up))


async def _serve_socket(path: Path) -> None:
    """Carry what comes through the Unix socket to Milvus, until standard input ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await asyncio.open_connection("127.0.0.1", PORT)
        except OSError:
            writer.close()
            return
        try:
            await joined((reader, writer), far)
        finally:
            await closed(writer)
            await closed(far[1])

    path.unlink(missing_ok=True)
    async with await asyncio.start_unix_server(serve, str(path)):
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


def main(folder: Path) -> None:
    """The first process of the namespaces: start Milvus there, and lead to it."""
    _loopback_up()
    import milvus

    server = milvus.MilvusServer(milvus.MilvusServerConfig(), wait_for_started=False)
    server.set_base_dir(str(folder / "data"))
    os.environ.update(SETTINGS)
    server.start()
    server.wait_started(START_SECONDS * 1000)
    asyncio.run(_serve_socket(folder / "socket"))
    server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
