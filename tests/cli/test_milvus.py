"""The commands on an instance whose index is in Milvus, from its making to its end; started as people do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imgsearch.instance import Instance
from imgsearch.storage.engine import Engine
from imgsearch.storage.milvus.address import MilvusAddress
from imgsearch.storage.milvus.index import MilvusIndex
from tests import postgres_server
from tests.conftest import Result, Run, command
from tests.milvus_server import Cable
from tests.storage.builders import change, scattered

pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(not postgres_server.is_installed(), reason=postgres_server.MISSING),
]

COUNT = 1_050
"""Enough for an index."""
PASSWORD = {"PGPASSWORD": postgres_server.PASSWORD}
On = Callable[..., Result]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same items in a folder."""
    folder = tmp_path_factory.mktemp("local") / "instance"
    Instance.create(folder)
    engine = Engine.open(folder, write=True)
    features = scattered(COUNT, dimension=256)
    with engine.committing() as store:
        store.insert(
            [
                change(f"p{n}", "1.jpg", feature, category=n % 3, content=n.to_bytes(16, "big"))
                for n, feature in enumerate(features)
            ]
        )
    engine.rebuild()
    engine.close()
    return folder


@pytest.fixture
def index_url(cable: Cable) -> Iterator[str]:
    """Of an index that is dropped at the end."""
    address = MilvusAddress.parse(f"milvus://127.0.0.1:{cable.port}").named()
    yield str(address)
    cable.mend()
    index = MilvusIndex(address)
    for number in index.numbers():
        index.drop(number)
    index.close()


@pytest.fixture
def on(start: Run) -> On:
    """Run a command on an instance."""

    def run(instance: object, *words: object) -> Result:
        return start(*words, "-i", instance, "--format", "json", env=PASSWORD)

    return run


def hits(result: Result) -> list[Any]:
    assert result.returncode == 0, result.stdout + result.stderr
    return [(hit["ProductId"], hit["Score"], hit["SortExprValues"]) for hit in result.document["Auctions"]]


def ok(result: Result) -> dict[str, Any]:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.document


def test_commands_say_what_they_say_of_a_folder(
    tmp_path: Path, local: Path, on: On, index_url: str, cable: Cable
) -> None:
    remote, export = tmp_path / "remote", tmp_path / "export"
    server = postgres_server.shared_server()
    ok(on(remote, "init", "--engine", server.url(password=None), "--index", index_url))
    assert list(json.loads((remote / "instance.json").read_text())) == ["engine"]
    ok(on(local, "export", export))
    imported = ok(on(remote, "import", export))
    assert imported["Added"] == COUNT
    info = ok(on(remote, "info"))
    assert (info["TotalCount"], info["Unindexed"], info["Index"]["Items"]) == (COUNT, 0, COUNT)
    assert info["Storage"]["Index"].startswith("Milvus 2.")

    def search(instance: Path, *words: object) -> list[Any]:
        return hits(on(instance, "search", "--product-id", "p7", "--pic-name", "1.jpg", "-n", "20", *words))

    assert search(remote) == search(local)
    assert search(remote, "--any-category", "--start", "3") == search(local, "--any-category", "--start", "3")
    ok(on(remote, "delete", "p10"))
    assert ok(on(remote, "index"))["Indexed"] == 1
    assert "p10" not in [name for name, *_ in search(remote, "--any-category")]
    assert ok(on(remote, "rebuild"))["Items"] == COUNT - 1
    assert ok(on(remote, "check", "--read-data"))["Problems"] == []

    cable.pull()
    away = on(remote, "search", "--product-id", "p7", "--pic-name", "1.jpg", "-n", "5", "--any-category")
    assert [name for name, *_ in hits(away)] == [name for name, *_ in search(local, "--any-category")[:5]]
    assert "compared one by one instead" in away.stderr
    assert "Traceback" not in away.stderr
    deleted = on(remote, "delete", "p11")
    assert deleted.returncode == 0, deleted.stderr
    told = on(remote, "index")
    assert (told.returncode, told.document["Code"]) == (7, "NetworkException")
    assert "cannot be used" in ok(on(remote, "info"))["Storage"]["Index"]
    checked = on(remote, "check")
    assert checked.returncode == 6
    assert [problem["Code"] for problem in checked.document["Problems"]] == ["IndexMissing"]
    cable.mend()
    assert ok(on(remote, "index"))["Indexed"] == 1
    shutil.rmtree(export)
    ok(on(remote, "export", export))
    assert len((export / "items.jsonl").read_text().splitlines()) == COUNT - 2


def test_a_loop_follows_until_it_is_ended(tmp_path: Path, local: Path, on: On, index_url: str) -> None:
    """What another process adds or deletes is in the index with the next round."""
    remote, export = tmp_path / "remote", tmp_path / "export"
    ok(on(remote, "init", "--engine", postgres_server.shared_server().url(password=None), "--index", index_url))
    ok(on(local, "export", export))
    ok(on(remote, "import", export, "--no-rebuild"))
    words = command("index", "-i", remote, "--every", "0.2", "--format", "json")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, **PASSWORD})
    try:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert (first["Indexed"], first["Unindexed"], first["Generation"]) == (COUNT, 0, 1)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130


REFUSED = {
    "no engine": (["--index", "milvus://h"], 2, "give an engine"),
    "no such server": (["--engine", "URL", "--index", "faiss://h"], 2, "milvus://HOST:PORT"),
    "a password": (["--engine", "URL", "--index", "milvus://me:secret@h"], 2, "IMGSEARCH_MILVUS_TOKEN"),
    "nobody there": (["--engine", "URL", "--index", "milvus://127.0.0.1:1"], 7, "127.0.0.1:1 cannot be used"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_index_that_cannot_be_is_refused(name: str, tmp_path: Path, on: On) -> None:
    """Before anything is made."""
    words, code, why = REFUSED[name]
    url = postgres_server.shared_server().url(password=None)
    told = on(tmp_path / "new", "init", *[url if word == "URL" else word for word in words])
    assert told.returncode == code
    assert why in told.document["Message"]
    assert "secret" not in told.stdout + told.stderr
    assert on(url, "info").returncode == 4
