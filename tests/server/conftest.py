"""Fixtures for tests of the server: one service with a small instance of the sample catalogue."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgsearch.server.running import Address
from imgsearch.server.start import Settings
from tests.server.serving import Service, make_other, make_template, serving, write_keys


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product instance of 24 items, not to be changed."""
    folder = tmp_path_factory.mktemp("template") / "shop"
    make_template(folder)
    return folder


@pytest.fixture(scope="session")
def other_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generic instance of one item, not to be changed."""
    folder = tmp_path_factory.mktemp("template") / "other"
    make_other(folder)
    return folder


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, template: Path, other_template: Path) -> Iterator[Service]:
    """A server of both; what a test adds, it deletes again."""
    base = tmp_path_factory.mktemp("service")
    named = {"shop": base / "shop", "other": base / "other"}
    shutil.copytree(template, named["shop"])
    shutil.copytree(other_template, named["other"])
    settings = Settings(Address("127.0.0.1", 0), base / "state", named, keys=write_keys(base))
    with serving(settings, base) as running:
        yield running
