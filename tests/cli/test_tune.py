"""``tune`` through real processes: its documents, its table, its exit codes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from imgsearch import Instance, Kind
from imgsearch.service.categories import OTHER
from imgsearch.storage.engine import Engine
from tests.conftest import Run
from tests.storage.builders import Features, change, of_products, scattered


def make(folder: Path, features: Features) -> None:
    """An instance with three pictures of each product."""
    Instance.create(folder, Kind.GENERIC)
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        for number, feature in enumerate(features):
            content = number.to_bytes(16, "big")
            store.upsert(change(f"p{number // 3}", f"{number}.jpg", feature, content=content, category=OTHER))


def test_tune_and_reset(run: Run, folder: Path) -> None:
    """Figures before and after with their intervals; ``info`` and ``export`` name the tuning until it is reset."""
    make(folder, of_products(14, 3, view=0.5))
    tuned = run("tune")
    assert (tuned.returncode, tuned.stderr) == (0, "")
    document = tuned.document
    assert set(document) == {
        *("Success", "Kept", "Changed", "Tuning", "Products", "Pictures", "Queries"),
        *("Before", "After", "Gain", "Generation", "Seconds"),
    }
    assert (document["Kept"], document["Changed"], document["Products"], document["Pictures"]) == (True, True, 14, 42)
    for part in ("Before", "After", "Gain"):
        for name in ("Hit@1", "mAP"):
            estimate = document[part][name]
            assert estimate["Low"] <= estimate["Mean"] <= estimate["High"]
    assert document["Gain"]["mAP"]["Low"] > 0
    assert run("info").document["Stamp"]["tuning"] == f"tuned {document['Tuning']}"
    assert f"tuned {document['Tuning']}" in run("info", "--format", "table").stdout
    exported = run("export", folder.parent / "out").document
    assert [Path(file).name for file in exported["Files"]] == [
        "items.jsonl",
        "features.npy",
        "tuning.npy",
        "stamp.json",
    ]

    again = run("tune", "--format", "table").stdout
    assert "nothing has changed" in again
    assert {"before", "after", "gain"} <= set(again.split())
    assert run("tune", "--reset").document["Reset"] is True
    assert run("tune", "--reset").document["Reset"] is False
    assert "tuning" not in run("info").document["Stamp"]
    refused = run("import", folder.parent / "out")
    assert (refused.returncode, refused.document["Code"]) == (6, "UnsupportedInstanceType")


@pytest.mark.extended
def test_not_kept(run: Run, folder: Path) -> None:
    """That nothing is gained is no failure."""
    make(folder, scattered(60, dimension=256))
    result = run("tune")
    assert result.returncode == 0
    document = result.document
    assert (document["Kept"], document["Changed"], document["Tuning"], document["Generation"]) == (
        *(False, False),
        *(None, None),
    )
    assert "Not kept" in run("tune", "--format", "table").stdout
    assert run("tune", "--format", "paths").stdout == ""


@pytest.mark.parametrize(
    ("count", "exit_code", "words"), [(0, 4, "add pictures first"), (12, 2, "has 4 products"), (1, 2, "has 0 products")]
)
def test_refused(run: Run, folder: Path, count: int, exit_code: int, words: str) -> None:
    """What there is too little of is told."""
    make(folder, scattered(max(count, 1), dimension=256)[:count])
    result = run("tune")
    assert (result.returncode, result.document["Code"]) == (exit_code, "InstanceStatusError")
    assert words in result.document["Message"]
