"""Eight processes add with ``--shard`` to one instance in PostgreSQL, while four search and one rebuilds.

Contract: together they add each picture once, no command fails, and ``check`` finds nothing afterwards.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests import milvus_server, postgres_server
from tests.conftest import Run
from tests.pictures import write_catalogue

pytestmark = [
    pytest.mark.extended,
    pytest.mark.networks,
    pytest.mark.skipif(not postgres_server.is_installed(), reason=postgres_server.MISSING),
]

PICTURES, SHARDS, SEARCHERS = 64, 8, 4


@pytest.mark.parametrize("index", ["pgvector", "milvus"])
def test_eight_shards_add_up_in_one_instance(run: Run, folder: Path, tmp_path: Path, index: str) -> None:
    words: list[object] = ["init", "--engine", postgres_server.shared_server().url(password=None)]
    if index == "milvus":
        if (reason := milvus_server.why_not()) is not None:
            pytest.skip(f"no Milvus: {reason}")
        words += ["--index", f"milvus://127.0.0.1:{milvus_server.shared_server()[1].port}"]
    catalogue = tmp_path / "catalogue"
    first, *_ = write_catalogue(catalogue, PICTURES)
    over = Event()

    def document(*arguments: object) -> dict[str, Any]:
        result = run(*arguments, "--format", "json", env={"PGPASSWORD": postgres_server.PASSWORD})
        assert result.returncode == 0, (arguments, result.stderr)
        return result.document

    def until_over(*arguments: object) -> int:
        """Run a command again and again; how often."""
        count = 0
        while not over.is_set():
            shown = document(*arguments)
            assert arguments[0] != "search" or shown["Auctions"][0]["ProductId"] == first.stem
            count += 1
        return count

    document(*words)
    document("add", first)
    search = ("search", "--product-id", first.stem, "--pic-name", first.name)
    with ThreadPoolExecutor(SHARDS + SEARCHERS + 1) as threads:
        adding = [threads.submit(document, "add", catalogue, "--shard", f"{n}/{SHARDS}") for n in range(SHARDS)]
        others = [threads.submit(until_over, *search) for _ in range(SEARCHERS)]
        others.append(threads.submit(until_over, "rebuild", "--lock-timeout", 60))
        try:
            summaries = [one.result() for one in adding]
        finally:
            over.set()
        assert all(one.result() > 0 for one in others)
    assert sum(one["Added"] for one in summaries) == PICTURES - 1
    assert sum(one["Unchanged"] for one in summaries) == 1
    assert sum(one["OtherShards"] for one in summaries) == (SHARDS - 1) * PICTURES
    listed = run("list", "--format", "jsonl", env={"PGPASSWORD": postgres_server.PASSWORD}).stdout.splitlines()
    assert [json.loads(line)["PicName"] for line in listed] == sorted(path.name for path in catalogue.iterdir())
    assert document("check", "--read-data")["Success"]
    assert document("add", catalogue)["Unchanged"] == PICTURES
