"""``imgsearch mcp``: what it needs, and which instances it serves under which names."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.cli import mcp as command
from imgsearch.cli.configuration import load
from imgsearch.cli.opening import named_instances
from imgsearch.errors import UsageError


def test_without_the_sdk_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "is_installed", lambda _name: False)
    with pytest.raises(UsageError, match=r"pip install 'imgsearch-local\[mcp\]'"):
        command.mcp()


def test_instances_are_named_as_configured_or_by_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text('[instances]\nphotos = "x/shop"\n')
    load(tmp_path / "config.toml")
    try:
        named = named_instances([Path("photos"), tmp_path / "y" / "shop"])
        assert named == {"photos": tmp_path / "x" / "shop", "shop": tmp_path / "y" / "shop"}
        with pytest.raises(UsageError, match="two instances are called 'shop'"):
            named_instances([tmp_path / "x" / "shop", tmp_path / "y" / "shop"])
        monkeypatch.setenv("IMGSEARCH_INSTANCE", "photos")
        assert named_instances([]) == {"photos": tmp_path / "x" / "shop"}
    finally:
        monkeypatch.setenv("IMGSEARCH_CONFIG", str(tmp_path / "none.toml"))
        (tmp_path / "none.toml").touch()
        load(None)
