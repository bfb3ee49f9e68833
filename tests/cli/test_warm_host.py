"""The process that takes searches: who is refused, and where it listens."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from imgsearch.cli import warm_host
from imgsearch.cli.warm_client import SUFFIX
from imgsearch.cli.warm_host import Host, Unavailable, listening


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Two folders where a server can listen."""
    with TemporaryDirectory(prefix="imgsearch-") as base:
        found = [Path(base, name) for name in ("first", "second")]
        monkeypatch.setattr(warm_host, "places", lambda: list(map(str, found)))
        yield found


def test_other_users_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is copied, and the server hears nothing of it."""
    control, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = socket.socketpair()
    with control, server, socket.socket(socket.AF_UNIX) as listener, ours:
        host = Host(control, listener, None)
        for uid in (os.geteuid() + 1, None):
            monkeypatch.setattr(warm_host, "peer_uid", lambda _connection, uid=uid: uid)
            monkeypatch.setattr(os, "fork", lambda: pytest.fail("a process was copied"))
            host._take(theirs)
        theirs.close()
        assert ours.recv(1) == b""
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(1)


def test_the_system_tells_who_asks() -> None:
    """A connection of this user is known as one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert warm_host.peer_uid(theirs) == os.geteuid()


def test_the_socket_is_private_and_removed(places: list[Path]) -> None:
    """Nobody else can connect; nothing is left but the folder and its lock."""
    with listening() as (listener, path):
        assert path.parent == places[0]
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(path))
            listener.accept()[0].close()
    assert [found.name for found in places[0].iterdir()] == ["lock"]


def test_leftovers_are_removed_and_others_are_not(places: list[Path]) -> None:
    """A socket that nobody listens to is one; one of another server stays, even if its queue is full."""
    places[0].mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(places[0] / f"1{SUFFIX}"))
    other = places[0] / f"2{SUFFIX}"
    with socket.socket(socket.AF_UNIX) as alive, socket.socket(socket.AF_UNIX) as waiting:
        alive.bind(str(other))
        alive.listen(0)
        waiting.connect(str(other))
        with listening() as (_listener, path):
            assert set(places[0].glob(f"*{SUFFIX}")) == {path, other}


def test_a_folder_that_is_not_private_is_passed_over(places: list[Path]) -> None:
    """The next one is taken; without any, the reason is told."""
    places[0].mkdir(mode=0o755)
    places[0].chmod(0o755)
    with listening() as (_listener, path):
        assert path.parent == places[1]
    places[1].chmod(0o755)
    with pytest.raises(Unavailable, match="not a folder of this user alone"), listening():
        pass
