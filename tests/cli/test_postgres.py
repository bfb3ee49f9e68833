"""The commands on an instance in PostgreSQL: what they print is what they print of a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import postgres_server
from tests.conftest import Result, Run
from tests.pictures import jpeg, write_catalogue
from tests.postgres_server import PASSWORD, PostgresServer
from tests.storage.arithmetic import ArithmeticInstance

pytestmark = pytest.mark.skipif(not postgres_server.is_installed(), reason=postgres_server.MISSING)

On = Callable[..., Result]


@pytest.fixture(scope="module")
def database() -> PostgresServer:
    return postgres_server.shared_server()


@pytest.fixture
def url(database: PostgresServer) -> str:
    """Without a password, which is in the environment."""
    return database.url(password=None)


@pytest.fixture
def on(run: Run) -> On:
    """Run a command on an instance, with the password in the environment."""

    def start(instance: object, *words: object, stdin: bytes = b"") -> Result:
        return run(*words, "-i", instance, stdin=stdin, env={"PGPASSWORD": PASSWORD})

    return start


def told(result: Result, *places: object) -> Any:
    """What a command printed, without times and without the places that differ."""
    text = result.stdout
    for place in places:
        text = text.replace(str(place), "PLACE")
    lines = [json.loads(line) for line in text.splitlines()] if text.startswith("{") else text
    if isinstance(lines, str):
        return lines
    return [_timeless(document) for document in lines]


TIMES = {
    "Seconds",
    "SearchTime",
    "UtcCreate",
    "Elapsed",
    "RequestId",
    "DiskBytes",
    "Storage",
    "Name",
    "Index",
    "Unindexed",
    "Bytes",
}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(one) for name, one in value.items() if name not in TIMES and "Second" not in name}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


@pytest.mark.extended
@pytest.mark.networks
def test_commands_say_the_same(tmp_path: Path, on: On, url: str) -> None:
    """From the first addition to the last deletion."""
    pictures = write_catalogue(tmp_path / "catalogue", 8)
    catalogue = tmp_path / "catalogue"
    local, remote = tmp_path / "local", tmp_path / "remote"
    assert on(local, "init").returncode == 0
    made = on(remote, "init", "--engine", url)
    assert made.returncode == 0, made.stderr
    place = json.loads((remote / "instance.json").read_text())
    assert place == {"engine": url}
    assert [path.name for path in remote.iterdir()] == ["instance.json"]

    def both(*words: object, code: int = 0) -> None:
        results = [on(instance, *words) for instance in (local, remote)]
        assert [one.returncode for one in results] == [code, code], [one.stderr for one in results]
        assert told(results[0], local) == told(results[1], remote), words

    both("add", catalogue, "--int-attr", "1")
    both("add", catalogue, "--int-attr", "1")
    both("list")
    both("show", pictures[0].stem)
    both("search", pictures[1], "-n", "5")
    both("search", pictures[1], "--filter", "int_attr=1", "-n", "3", "--distinct-product")
    both("search", "-n", "3", "--format", "jsonl", pictures[1], pictures[2])
    both("search", "--product-id", pictures[3].stem, "--pic-name", pictures[3].name)
    both("update", pictures[0].stem, "--category", "Bag")
    both("update", "--filter", "int_attr=1", "--str-attr", "red")
    both("duplicates")
    (catalogue / "new.jpg").write_bytes(pictures[2].read_bytes())
    pictures[5].rename(catalogue / "renamed.jpg")
    pictures[6].unlink()
    both("sync", catalogue, "--dry-run")
    both("sync", catalogue)
    both("list")
    both("list", "--filter", 'str_attr="red"')
    both("check", "--read-data")
    both("info")
    both("delete", pictures[1].stem)
    both("delete", "--filter", "int_attr=1")
    both("rebuild")
    both("show", "nothing", code=4)
    both("search", tmp_path / "missing.jpg", code=3)


@pytest.mark.extended
@pytest.mark.networks
def test_an_evaluation_leaves_nothing(tmp_path: Path, run: Run, filled: str, database: PostgresServer) -> None:
    """Its figures are those of a folder; an instance that is there is not touched."""
    for product in ("mug", "cup"):
        write_catalogue(tmp_path / "labelled" / product, 3, first=len(product) + ord(product[0]))
    url = database.url(password=None)
    asked = ("eval", tmp_path / "labelled")
    figures = run(*asked).document["Retrieval"]
    for _ in range(2):
        result = run(*asked, "--engine", url)
        assert result.returncode == 0, result.stderr
        assert result.document["Retrieval"] == figures
    refused = run(*asked, "--engine", filled)
    assert (refused.returncode, refused.document["Code"]) == (2, "InstanceStatusError")
    assert run("info", "-i", filled).document["TotalCount"] == 9


@pytest.fixture
def filled(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An instance with items that no network has seen."""
    from tests.jobs.test_many_writers import add

    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    ArithmeticInstance.create(url)
    with ArithmeticInstance.open(url) as instance:
        instance.apply(add(f"p{n % 3}", f"{n}.jpg", n) for n in range(9))
    return url


def test_the_address_stands_for_the_folder(filled: str, on: On, tmp_path: Path) -> None:
    """As the option, the variable, a name in the configuration; or in a folder's file that was copied."""
    assert on(filled, "info").document["TotalCount"] == 9
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "instance.json").write_text(json.dumps({"engine": filled}))
    assert on(tmp_path / "copy", "info").document["TotalCount"] == 9
    (tmp_path / "config.toml").write_text(f'[instances]\nshop = "{filled}"\n')
    os.environ["IMGSEARCH_CONFIG"] = str(tmp_path / "config.toml")
    try:
        assert on("shop", "info").document["TotalCount"] == 9
    finally:
        del os.environ["IMGSEARCH_CONFIG"]


def test_the_variable_may_hold_it(filled: str, run: Run) -> None:
    result = run("info", env={"IMGSEARCH_INSTANCE": filled, "PGPASSWORD": PASSWORD})
    assert result.document["Storage"]["Engine"] == filled
    assert result.document["Path"] == filled


def test_a_password_is_never_printed_or_stored(database: PostgresServer, run: Run, tmp_path: Path) -> None:
    """One in the address is used, and told to be lost."""
    url = database.url()
    made = run("init", "-i", tmp_path / "shop", "--engine", url, "--log-file", tmp_path / "log")
    if made.returncode == 2:  # it has no log
        made = run("init", "-i", tmp_path / "shop", "--engine", url)
    assert made.returncode == 0, made.stderr
    assert "the password in --engine is not stored" in made.stderr
    refused = run("info", "-i", tmp_path / "shop")
    assert (refused.returncode, refused.document["Code"]) == (7, "AccessDenied")
    shown = run("info", "-i", url)
    assert shown.document["TotalCount"] == 0
    checked = run("check", "-i", url, "--format", "table", "--log-file", tmp_path / "log")
    named = run("config", env={"IMGSEARCH_INSTANCE": url})
    for result in (made, refused, shown, checked, named):
        assert result.returncode in (0, 7)
        assert PASSWORD not in result.stdout + result.stderr
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_what_init_refuses(filled: str, on: On, tmp_path: Path) -> None:
    """A database that holds an instance, an engine that is none, an address that is broken."""
    again = on(tmp_path / "again", "init", "--engine", filled)
    assert (again.returncode, again.document["Code"]) == (2, "InstanceStatusError")
    assert "use it as it is" in again.stderr
    assert not (tmp_path / "again" / "instance.json").exists()
    for engine in ("mysql://u:secret@h/db", "postgresql://h/db?schema=WRONG", "postgresql://h:5/db?nonsense=1"):
        refused = on(tmp_path / "other", "init", "--engine", engine)
        assert refused.returncode == 2, engine
        assert "secret" not in refused.stderr
    assert on("postgresql://h/db?schema=WRONG", "info").returncode == 2
    (tmp_path / "broken").mkdir()
    for content in ("", "[]", '{"engine": 5}', '{"engine": "sqlite:///x"}', "[" * 10_000):
        (tmp_path / "broken" / "instance.json").write_text(content)
        assert on(tmp_path / "broken", "info").returncode == 6, content


@pytest.mark.extended
def test_a_server_that_is_not_there(on: On, tmp_path: Path) -> None:
    """Exit code 7 for each command, and nothing changed."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "instance.json").write_text('{"engine": "postgresql://shop@127.0.0.1:1/shop"}')
    (tmp_path / "x.jpg").write_bytes(jpeg(1))
    for words in (("info",), ("list",), ("check",), ("delete", "p"), ("search", tmp_path / "x.jpg")):
        result = on(tmp_path / "shop", *words)
        assert (result.returncode, result.document["Code"]) == (7, "NetworkException"), words


def test_check_and_repair(filled: str, on: On, database: PostgresServer) -> None:
    assert on(filled, "check", "--read-data").document == {"Success": True, "Problems": []}
    schema = filled.rpartition("=")[2]
    with database.administrator(postgres_server.DATABASE) as connection:
        connection.execute(f"UPDATE {schema}.items SET x1 = x1 + 1 WHERE pic_name = '4.jpg'")
    found = on(filled, "check", "--read-data")
    assert (found.returncode, found.document["Problems"][0]["Code"]) == (6, "ItemDamaged")
    repaired = on(filled, "check", "--repair")
    assert repaired.returncode == 0
    assert [loss["PicName"] for loss in repaired.document["Lost"]] == ["4.jpg"]
    assert on(filled, "info").document["TotalCount"] == 8


def test_a_missing_extra_is_named(tmp_path: Path, start: Run) -> None:
    """Where psycopg is not installed; and nothing of it is loaded for a folder."""
    (tmp_path / "psycopg.py").write_text("raise ImportError('not installed')")
    hidden = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    refused = start("info", "-i", "postgresql://h/db", env=hidden)
    assert refused.returncode == 2
    assert "pip install 'imgsearch-local[postgres]'" in refused.stderr
    assert start("init", "-i", tmp_path / "local", env=hidden).returncode == 0
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "instance.json").write_text('{"engine": "postgresql://h/db"}')
    again = start("info", "-i", tmp_path / "shop", env=hidden)
    assert again.returncode == 2
    assert "imgsearch-local[postgres]" in again.stderr
