"""The side that asks a running server: where it looks, when it asks, and what it does if nobody answers well."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest

from imgsearch.cli.warm_client import BEGUN, ENDED, GO, SUFFIX, TAKEN, answered, is_private, places
from tests.cli.warm_server import Client, client, environment_in

WORDS = ("search", "-i", "none", "a.jpg")
"""Without a server, that ends with 4 before anything large is imported."""


@pytest.fixture
def place() -> Iterator[Path]:
    """Where clients look; its path is short, as those of sockets must be."""
    with TemporaryDirectory(prefix="imgsearch-") as folder:
        (Path(folder) / "imgsearch").mkdir(mode=0o700)
        yield Path(folder)


def asked(place: Path, behave: Callable[[socket.socket], None], **variables: str) -> Client:
    """What a client does with a server that behaves so."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "imgsearch" / f"1{SUFFIX}"))
        listener.listen()
        listener.settimeout(60)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                behave(connection)

        thread = Thread(target=serve)
        thread.start()
        found = client(environment_in(place), *WORDS, cwd=place, **variables)
        thread.join()
    return found


def take(connection: socket.socket) -> None:
    """Be asked, and take the search."""
    assert connection.recv(1)
    connection.sendall(TAKEN)
    while not connection.recv(65536).endswith(GO):
        pass


def test_an_exit_code_is_that_of_the_server(place: Path) -> None:
    def behave(connection: socket.socket) -> None:
        take(connection)
        connection.sendall(BEGUN + ENDED + bytes([7]))

    found = asked(place, behave)
    assert (found.returncode, found.stdout, found.stderr, found.is_warm) == (7, "", "", True)


@pytest.mark.parametrize("said", [b"", b"?", TAKEN], ids=["hangs up", "another protocol", "ends before it begins"])
def test_a_server_that_does_not_answer(place: Path, said: bytes) -> None:
    """The search goes on without it, as if there were none."""

    def behave(connection: socket.socket) -> None:
        if said == TAKEN:
            take(connection)
        else:
            connection.sendall(said)

    found = asked(place, behave)
    assert (found.returncode, found.is_warm) == (4, False)
    assert found.stderr.startswith("imgsearch: no instance") or "none" in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_server_that_hangs(place: Path) -> None:
    """It is not waited for; a client that has given up does not say so to it, which then must not begin."""
    heard = []

    def behave(connection: socket.socket) -> None:
        received = b""
        while part := connection.recv(65536):
            received += part
        heard.append(received)

    found = asked(place, behave, SECONDS="0.2")
    assert (found.returncode, found.is_warm) == (4, False)
    assert heard[0]
    assert not heard[0].endswith(b"\0" + GO)


def test_a_server_that_ends_after_it_began(place: Path) -> None:
    """What is printed cannot be taken back, so the client says that it may be incomplete."""

    def behave(connection: socket.socket) -> None:
        take(connection)
        connection.sendall(BEGUN)

    found = asked(place, behave)
    assert (found.returncode, found.stdout) == (70, "")
    assert found.stderr.startswith("imgsearch: the running server ended while it answered")
    assert "--no-server" in found.stderr


def test_a_leftover_socket(place: Path) -> None:
    """Nobody listens there any more."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "imgsearch" / f"1{SUFFIX}"))
    found = client(environment_in(place), *WORDS, cwd=place)
    assert (found.returncode, found.is_warm) == (4, False)


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (["list"], {}),
        (["--config", "search", "list"], {}),
        (["search", "--no-server", "a.jpg"], {}),
        (["search", "--help"], {}),
        (["search", "/dev/fd/63"], {}),
        (["search", "/proc/self/fd/63"], {}),
        (["search", "a.jpg"], {"IMGSEARCH_NO_SERVER": "1"}),
        (["search", "a.jpg"], {"IMGSEARCH_NO_SERVER": "perhaps"}),
        (["search", "a.jpg"], {"_IMGSEARCH_COMPLETE": "complete_bash"}),
    ],
    ids=str,
)
def test_what_is_never_asked(
    place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], variables: dict[str, str]
) -> None:
    """Other commands, what a server would do differently, and what the user forbids: nobody is connected to."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    for name, value in {"IMGSEARCH_NO_SERVER": "", **variables}.items():
        monkeypatch.setenv(name, value)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "imgsearch" / f"1{SUFFIX}"))
        listener.listen()
        listener.setblocking(False)
        assert answered(words) is None
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_folder_of_others_is_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever could put a socket there could answer in the name of this user's server."""
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    assert is_private(str(mine))
    (tmp_path / "link").symlink_to(mine)
    assert not is_private(str(tmp_path / "link"))
    assert not is_private(str(tmp_path / "none"))
    for mode in (0o701, 0o710, 0o770, 0o777):
        mine.chmod(mode)
        assert not is_private(str(mine))
    mine.chmod(0o700)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert not is_private(str(mine))


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was started without the variables of a login is found from one, and the other way round."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/own")
    monkeypatch.setenv("TMPDIR", "/var/tmp/own")
    user = os.geteuid()
    inside = places()
    assert inside[0] == "/run/own/imgsearch"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.delenv("TMPDIR")
    assert places() == [f"/run/user/{user}/imgsearch", f"/tmp/imgsearch-{user}"]
    assert set(places()) < set(inside)
