"""A folder names an instance in PostgreSQL by one small file."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from imgsearch.errors import InstanceExists, InstanceNotFound, UsageError
from imgsearch.instance import Instance
from imgsearch.storage.backends import LocalBackend, backend_for, backend_of, located
from tests.postgres_server import PASSWORD, PostgresServer


def test_the_folder_holds_the_address_only(server: PostgresServer, folder: Path) -> None:
    url = server.url()
    Instance.create(folder, engine=url)
    (place,) = folder.iterdir()
    assert place.name == "instance.json"
    assert json.loads(place.read_text()) == {"engine": url.replace(f":{PASSWORD}", "")}
    assert (stat.S_IMODE(place.stat().st_mode), stat.S_IMODE(folder.stat().st_mode)) == (0o600, 0o700)
    assert Instance.exists(folder)
    assert Instance.exposures(folder) == []
    assert Instance.shared_file_system(folder) is None
    with Instance.open(folder) as instance:
        assert instance.count() == 0
        assert instance.info().disk_bytes > 0
        assert instance.folder == folder
    with pytest.raises(InstanceExists):
        Instance.create(folder, engine=server.url())
    place.chmod(0o666)
    folder.chmod(0o755)
    assert [one.path.name for one in Instance.exposures(folder)] == ["instance.json"]


def test_an_address_stands_for_the_folder(server: PostgresServer, tmp_path: Path) -> None:
    url = server.url()
    assert not Instance.exists(url)
    with pytest.raises(InstanceNotFound):
        Instance.open(url)
    with pytest.raises(UsageError, match="leave the engine out"):
        Instance.create(url, engine=server.url())
    Instance.create(url)
    assert Instance.exists(url)
    with pytest.raises(InstanceExists):
        Instance.create(tmp_path / "other", engine=url)
    assert Instance.exposures(url) == []
    with Instance.open(Path(str(located(url)))) as instance:  # as a path that has lost a slash
        assert instance.info().storage["Engine"] == str(instance.folder)


def test_a_new_one_without_items_can_be_removed(server: PostgresServer, folder: Path) -> None:
    """One with items, or that somebody writes to, stays."""
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.engine import PostgresEngine

    url = server.url()
    Instance.create(folder, engine=url)
    address = Address.parse(url)
    writer = PostgresEngine(folder, address, write=True)
    assert not Instance.remove_if_empty(folder)
    writer.close()
    assert Instance.remove_if_empty(folder)
    assert list(folder.iterdir()) == []
    assert not Instance.exists(url)
    assert not Instance.remove_if_empty(url)


def test_what_a_killed_creation_leaves_is_no_hindrance(server: PostgresServer, folder: Path) -> None:
    folder.mkdir()
    (folder / "instance.json.tmp").write_text("{")
    Instance.create(folder, engine=server.url())
    (folder / "other").mkdir()
    (folder / "other" / "file").write_text("")
    with pytest.raises(InstanceExists):
        Instance.create(folder / "other", engine=server.url())


def test_other_engines_are_none(tmp_path: Path) -> None:
    assert isinstance(backend_of(tmp_path), LocalBackend)
    assert isinstance(backend_for(tmp_path, None), LocalBackend)
    with pytest.raises(UsageError, match="none that this release knows") as refused:
        backend_for(tmp_path, "mysql://me:secret@host/db")
    assert "secret" not in refused.value.message
