"""Connections: heads have a size and a time, and what is no HTTP is refused; other connections go on."""

from __future__ import annotations

import socket

import pytest

from imgsearch.server import protocol
from imgsearch.server.protocol import MAX_HEAD_BYTES
from tests.server.serving import PATIENCE, Service

GOOD = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


def connected(service: Service) -> socket.socket:
    host, port = service.open_url.partition("://")[2].split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def until_closed(connection: socket.socket) -> bytes:
    """All that comes; a connection that the server resets has ended, too."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def answer(connection: socket.socket) -> bytes:
    """One answer of a connection that stays open."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += connection.recv(65536)
    head, _, body = found.partition(b"\r\n\r\n")
    (length,) = [int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: ")]
    while len(body) < length:
        body += connection.recv(65536)
    return head


def test_a_head_may_be_long_and_not_longer(service: Service) -> None:
    with connected(service) as connection:
        connection.sendall(GOOD[:-2] + b"X-Long: " + b"x" * (MAX_HEAD_BYTES // 2) + b"\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 200 ")
    with connected(service) as connection:
        try:
            connection.sendall(GOOD[:-2])
            for _ in range(1024):
                connection.sendall(b"X-Long: " + b"x" * 16_000 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # before all 16 MB were sent
        else:
            pytest.fail("the server took a head of 16 MB")


def test_the_head_of_a_later_request_is_bounded_too(service: Service) -> None:
    with connected(service) as connection:
        for _ in range(3):
            connection.sendall(GOOD)
            assert answer(connection).startswith(b"HTTP/1.1 200 ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 16_000_000)


def test_many_requests_of_one_connection_are_not_one_head(service: Service) -> None:
    """What counts is the head of each."""
    count = 3 * MAX_HEAD_BYTES // 2 // len(GOOD)
    with connected(service) as connection:
        for _ in range(0, count, 50):
            connection.sendall(GOOD * 50)
            found = b""
            while found.count(b"HTTP/1.1 200 ") < 50:
                found += connection.recv(65536)


@pytest.mark.parametrize("begun", [b"", b"POST /", GOOD[:-2]])
def test_a_slow_head_is_closed(service: Service, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    """From the connection on, whether or not anything has come; another connection is served meanwhile."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    with connected(service) as slow:
        slow.sendall(begun)
        assert service.http.get(service.open_url + "/healthz").status_code == 200
        assert until_closed(slow) == b""


def test_a_slow_later_head_is_closed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    with connected(service) as slow:
        slow.sendall(GOOD)
        answer(slow)
        slow.sendall(GOOD[:-2])
        assert until_closed(slow) == b""


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"HELO there\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA\x00B: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n continued\x00\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(service: Service, text: bytes) -> None:
    """With status 400 or 404, and nobody else notices."""
    with connected(service) as connection:
        connection.sendall(text)
        found = until_closed(connection)
    assert found.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ")), found
    assert b"Traceback" not in found
    assert service.http.get(service.open_url + "/healthz").status_code == 200


def test_a_request_in_absolute_form_is_answered_and_never_sent_on(service: Service) -> None:
    """As SDKs behind a proxy send it."""
    for target in (b"http://imagesearch.cn-shanghai.aliyuncs.com/healthz", b"http://127.0.0.1:1/healthz?x=1"):
        with connected(service) as connection:
            connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: other.example\r\n\r\n")
            assert answer(connection).startswith(b"HTTP/1.1 200 ")


def test_an_upgrade_is_not_made(service: Service) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with connected(service) as connection:
        connection.sendall(head)
        assert answer(connection).startswith(b"HTTP/1.1 200 ")
