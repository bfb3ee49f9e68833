"""Contract: only what leads to this machine itself, whatever a name server says, counts as loopback."""

from __future__ import annotations

import pytest

from imgsearch.server.loopback import host_name, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST", "localhost."])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com", "127.1", "[::1]"]
)
def test_everything_else(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("localhost:8080", "localhost"),
        ("localhost", "localhost"),
        ("[::1]:8080", "::1"),
        ("[::1]", "::1"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("::1", ""),
        ("[::1", ""),
        ("", ""),
    ],
)
def test_the_host_of_a_header(authority: str, host: str) -> None:
    assert host_name(authority) == host
