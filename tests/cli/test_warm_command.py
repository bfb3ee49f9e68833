"""What a copy understands of a client's request."""

from __future__ import annotations

import os
import sys

import pytest

from imgsearch.cli import warm_client
from imgsearch.cli.warm_command import Request


class _Stream:
    encoding, errors, line_buffering, write_through = "utf-8", "surrogateescape", True, False


@pytest.fixture
def body(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A request with words and variables that are not UTF-8."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, _Stream)
    monkeypatch.setitem(os.environb, b"ODD", b"a=b\xff\n")
    return warm_client._request(["search", "\udcff.jpg", "", "--filter", "a=1"])


def test_a_request_survives(body: bytes) -> None:
    """Words, streams, mask and environment arrive as they were, whatever bytes they have."""
    request = Request.parsed(body)
    assert request is not None
    assert request.words == ["search", "\udcff.jpg", "", "--filter", "a=1"]
    assert request.environment[b"ODD"] == b"a=b\xff\n"
    assert request.environment.keys() == os.environb.keys()
    assert [(one.encoding, one.errors, one.line_buffering, one.write_through) for one in request.streams] == [
        ("utf-8", "surrogateescape", True, False)
    ] * 3
    before = os.umask(request.umask)
    os.umask(before)
    assert request.umask == before


@pytest.mark.parametrize("number", range(len(warm_client.setting())))
def test_another_setting_is_refused(body: bytes, number: int) -> None:
    """Another version, place, interpreter, user, group or view of the files: each alone is reason enough."""
    fields = body.split(b"\0")
    fields[1 + number] += b"x"
    assert Request.parsed(b"\0".join(fields)) is None


@pytest.mark.parametrize("length", [0, 1, 2, 10, 14, 20])
def test_a_request_that_is_cut_off_is_refused(body: bytes, length: int) -> None:
    assert Request.parsed(b"\0".join(body.split(b"\0")[:length])) is None


@pytest.mark.parametrize("odd", [b"", b"nonsense", b"-1", b"9" * 30, b"\xff"])
def test_nonsense_is_refused(body: bytes, odd: bytes) -> None:
    """In the place of any number or encoding."""
    facts = len(warm_client.setting())
    for place in (0, 1 + facts, 2 + facts, 4 + facts, 11 + facts):
        fields = body.split(b"\0")
        fields[place] = odd
        assert Request.parsed(b"\0".join(fields)) is None, place
