"""Fixtures for commands: a catalogue in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oss_server import OssServer
from tests.oss_shop import Shop


@pytest.fixture
def server() -> Iterator[OssServer]:
    """A storage service on loopback."""
    with OssServer().running() as running:
        yield running


@pytest.fixture
def shop(server: OssServer, tmp_path: Path) -> Shop:
    """An empty catalogue on it; its imports know no other keys and have a temporary folder of their own."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "home").mkdir()
    return Shop(tmp_path / "shop", server, {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home")})


@pytest.fixture
def cache_with_note(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the networks of all tests, and with a note of its own on what the last search used: none yet."""
    (cache / "models").mkdir(parents=True, exist_ok=True)
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "models").symlink_to(cache / "models")
    monkeypatch.setenv("IMGSEARCH_CACHE", str(folder))
    return folder
