"""Compiled networks that the commands of tests share, as loading them takes longer than most of what is tested.

The process that runs the tests has them; commands in the same process use them as they are, forked ones ask over a
socket. They are the real ones and give the same numbers. Models in a cache of a test's own are loaded by each process
for itself, as without this; so is everything in interpreters that a test starts, or where a precision is asked for.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from threading import Lock, Thread, local
from typing import TYPE_CHECKING, Any, Final

from imgsearch.cores import available_cores
from imgsearch.vision import early_networks, runtime
from imgsearch.vision.precision import check_precision

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pytest

    Values = npt.NDArray[np.uint8] | npt.NDArray[np.int64]
    Outputs = list[npt.NDArray[np.float32]]

__all__ = ["ADDRESS", "ask_the_tests", "share", "share_no_longer"]

ADDRESS: Final = "IMGSEARCH_TESTS_NETWORKS"
"""Variable with the address where forked commands ask."""
CACHE: Final = "IMGSEARCH_CACHE"
OwnGraph: Final = runtime.Graph


def share(patch: pytest.MonkeyPatch, cache: Path) -> None:
    """Share the networks of this process with its own commands and with those forked from it.

    Args:
        patch: undoes it.
        cache: whose models are shared.
    """
    address = Path(tempfile.mkdtemp(prefix="imgsearch-"), "networks")
    listener = Listener(str(address), "AF_UNIX")
    atexit.register(address.parent.rmdir)
    atexit.register(listener.close)  # runs first, and removes the socket
    Thread(target=_listen, args=(listener,), name="networks", daemon=True).start()
    patch.setenv(ADDRESS, str(address))
    patch.setattr(runtime, "Graph", lambda path, *, parallel: _chosen(path, parallel, cache, _graph))


def share_no_longer(patch: pytest.MonkeyPatch) -> None:
    """Have this process and those forked from it load their own networks."""
    patch.setattr(runtime, "Graph", OwnGraph)
    patch.delenv(ADDRESS)


def ask_the_tests() -> None:
    """Have this process, which was forked for a test, ask for networks in the shared cache."""
    address, cache = os.environ.get(ADDRESS), os.environ.get(CACHE)
    if address and cache:
        early_networks.begin = lambda _folder: None  # they would be this process's own
        remote = _Remote.at(address)
        runtime.Graph = lambda path, *, parallel: _chosen(path, parallel, Path(cache), remote)  # type: ignore[assignment,misc]


def _chosen(path: Path, parallel: bool, cache: Path, shared: Any) -> Any:
    # The process that has them would load them in its own precision, whatever the one that asks is told.
    if check_precision() is None and path.is_file() and path.is_relative_to(cache):
        found = path.stat()
        return shared(path, parallel, (found.st_ino, found.st_mtime_ns, found.st_size), available_cores())
    return OwnGraph(path, parallel=parallel)


_locks: dict[object, Lock] = {}
_guard = Lock()


def _graph(path: Path, parallel: bool, identity: object, cores: int) -> Any:
    """One network, loaded by whoever asks first; others are loaded beside it."""
    facts = (path, parallel, identity, cores)
    with _guard:
        lock = _locks.setdefault(facts, Lock())
    with lock:
        return _loaded(*facts)


@cache
def _loaded(path: Path, parallel: bool, _identity: object, _cores: int) -> Any:
    return OwnGraph(path, parallel=parallel)


def _listen(listener: Listener) -> None:
    while True:
        Thread(target=_answer, args=(listener.accept(),), name="networks", daemon=True).start()


def _answer(connection: Connection) -> None:
    with connection, suppress(EOFError, OSError):
        while True:
            facts, values = connection.recv()
            try:
                connection.send(_graph(*facts)(values))
            except Exception as error:  # raised where it was asked
                connection.send(error)


class _Remote:
    """A network that the process of the tests has."""

    def __init__(self, address: str, facts: tuple[Any, ...]) -> None:
        self._address = address
        self._facts = facts
        self._own = local()

    @classmethod
    def at(cls, address: str) -> Any:
        return lambda *facts: cls(address, facts)

    def __call__(self, values: Values) -> Outputs:
        if not hasattr(self._own, "connection"):  # one for each thread, so that they run side by side
            self._own.connection = Client(self._address, "AF_UNIX")
        self._own.connection.send((self._facts, values))
        answer: Outputs | Exception = self._own.connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer
