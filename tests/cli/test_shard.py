"""``--shard I/N`` of ``add``, ``sync`` and ``oss-import`` (docs/sharding.md).

Contract: the shards make up what one command would do, and their summaries add up; an empty share is a success, an
empty folder is none; what is no shard is refused before anything is made.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from imgsearch import Instance, shard_of
from tests.oss_shop import ADDRESS, copy_samples, line
from tests.storage.arithmetic import ArithmeticInstance

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from tests.oss_shop import Shop

COUNTED = ("Added", "Replaced", "Unchanged", "Deleted", "Failed")


def summed(documents: list[dict[str, Any]]) -> dict[str, int]:
    return {name: sum(one[name] for one in documents) for name in COUNTED}


@pytest.fixture
def manifest(catalogue: Path, tmp_path: Path) -> Path:
    """Of the pictures, with a deletion, a missing picture and a line that is broken."""
    folder = tmp_path / "manifest"
    shutil.copytree(catalogue, folder)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.jpg"))]
    lines = [
        json.dumps({"OperationType": "ADD", "ProductId": f"p{number % 5}", "PicName": name})
        for number, name in enumerate([*names, "missing.jpg"])
    ]
    path = folder / "increment.meta"
    path.write_text("\n".join([*lines, '{"OperationType": "DELETE", "ProductId": "p9"}', "broken"]))
    return path


def test_the_summaries_of_the_shards_add_up(run: Run, catalogue: Path, manifest: Path, tmp_path: Path) -> None:
    """For folders, for a list of paths and for a manifest; each failure is told once, in the reports, too."""
    paths = [*sorted(catalogue.rglob("*.jpg")), tmp_path / "missing.jpg"]
    listed = "\n".join(map(str, paths)).encode()
    for arguments, operations in (((catalogue,), 12), (("-",), 13), (("--manifest", manifest), 15)):
        command = ("add", *arguments, "--dry-run", "--format", "json")
        whole = run(*command, stdin=listed)
        shards, reported = [], []
        for index in range(3):
            report = tmp_path / f"{index}.jsonl"
            result = run(*command, "--shard", f"{index}/3", "--report", report, stdin=listed)
            shards.append(result.document)
            assert result.returncode == (1 if result.document["Failed"] else 0), result.stderr
            reported += report.read_text().splitlines()
        assert summed(shards) == {name: whole.document[name] for name in COUNTED}
        assert sum(one["OtherShards"] for one in shards) == 2 * operations
        assert sorted(json.loads(one)["Source"] for one in reported) == sorted(
            one["Source"] for one in whole.document["Failures"]
        )
        assert "OtherShards" not in whole.document


def test_an_empty_share_is_a_success_and_an_empty_folder_is_none(run: Run, catalogue: Path, tmp_path: Path) -> None:
    path = next(catalogue.rglob("*.jpg"))
    other = 1 - shard_of(path.stem, 2)
    result = run("add", path, "--shard", f"{other}/2", "--dry-run", "--format", "json")
    assert (result.returncode, result.document["OtherShards"]) == (0, 1)
    (tmp_path / "empty").mkdir()
    for index in range(2):
        for command in ("add", "sync"):
            result = run(command, tmp_path / "empty", "--shard", f"{index}/2", "--format", "json")
            assert result.returncode == 3, result.stderr


def test_what_is_no_shard_makes_no_instance(run: Run, catalogue: Path, folder: Path) -> None:
    for shard, told in (("2/2", "counted from 0"), ("x", "not I/N")):
        for command in (("add", catalogue), ("sync", catalogue), ("oss-import", ADDRESS)):
            result = run(*command, "--shard", shard)
            assert result.returncode == 2
            assert told in " ".join(result.stderr.split())
    assert run("add", "--reindex", "--shard", "0/2").returncode == 2
    assert not folder.exists()


@pytest.mark.extended
@pytest.mark.networks
def test_shards_in_instances_of_their_own_make_up_the_catalogue(run: Run, catalogue: Path, tmp_path: Path) -> None:
    """Each holds the products of its shard, and nothing is to do in a second run."""
    keys = []
    for index in range(2):
        for expected in ("Added", "Unchanged"):
            command = ("sync", "-i", tmp_path / str(index), catalogue, "--shard", f"{index}/2", "--format", "json")
            result = run(*command)
            assert result.returncode == 0, result.stderr
            assert result.document[expected] + result.document["OtherShards"] == 12
        with Instance.open(tmp_path / str(index)) as shard:
            found = [item.key for item in shard.items()]
            assert {shard_of(key.product_id, 2) for key in found} == {index}
            keys += found
    assert len(set(keys)) == 12


@pytest.mark.extended
def test_the_shards_of_an_import_add_up(shop: Shop, folder: Path) -> None:
    names = copy_samples(shop.folder, 12)
    shop.write([line(name) for name in names])
    documents = [
        shop.run(folder, "--dry-run", "--shard", f"{index}/2", "--format", "json").document for index in range(2)
    ]
    assert sum(one["Added"] for one in documents) == len(names)
    assert [one["OtherShards"] for one in documents] == [len(names) - one["Added"] for one in documents]


def test_items_of_other_shards_are_problems(run: Run, folder: Path, tmp_path: Path) -> None:
    """``check --shard`` lists them, and changes nothing."""
    with ArithmeticInstance.open(make(folder)) as instance, instance.indexing() as writer:
        for number in range(6):
            writer.add(b"picture %d" % number, f"p{number}", "a.jpg")
    wrong = [f"p{number}" for number in range(6) if shard_of(f"p{number}", 2) != 0]
    result = run("check", "--shard", "0/2", "--format", "json")
    assert result.returncode == 6
    problems = result.document["Problems"]
    assert [(one["Code"], one["ProductId"], one["PicName"]) for one in problems] == [
        ("WrongShard", product, "a.jpg") for product in wrong
    ]
    assert "is of shard 1/2" in problems[0]["Message"]
    assert run("check", "--shard", "0/1", "--format", "json").returncode == 0
    assert run("check", "--shard", "0/2", "--repair").returncode == 2


def test_an_export_is_split(run: Run, folder: Path, tmp_path: Path) -> None:
    """``import --shard`` takes what is of the shard; what the shards take adds up."""
    with ArithmeticInstance.open(make(folder)) as instance, instance.indexing() as writer:
        for number in range(12):
            writer.add(b"picture %d" % number, f"p{number}", "a.jpg")
    assert run("export", tmp_path / "export").returncode == 0
    found: list[str] = []
    for index in range(2):
        shard = make(tmp_path / str(index))
        result = run("import", "-i", shard, tmp_path / "export", "--shard", f"{index}/2", "--format", "json")
        assert result.document["Added"] + result.document["OtherShards"] == 12
        with ArithmeticInstance.open(shard) as opened:
            products = [item.key.product_id for item in opened.items()]
        assert {shard_of(product, 2) for product in products} == {index}
        found += products
    assert sorted(found) == sorted(f"p{number}" for number in range(12))


@pytest.mark.extended
def test_what_cannot_be_served_as_shards(run: Run, tmp_path: Path) -> None:
    """Told before anything is listened to."""
    first, second = make(tmp_path / "0"), make(tmp_path / "1")
    with ArithmeticInstance.open(first) as shard:
        product = next(f"p{n}" for n in range(9) if shard_of(f"p{n}", 2) == 0)
        shard.add(b"picture 1", product, "a")
    for arguments, code, told in (
        (("--shards", f"shop={second}", "--shards", f"shop={first}"), 2, "in their order"),
        (("--shards", f"shop={first}", "--shards", f"shop={first}"), 2, "given twice"),
        (("--shards", f"shop={first}", "--shards", f"shop={tmp_path}/none"), 4, "no instance"),
        (("--shards", f"{first}"), 2, "NAME=INSTANCE"),
        ((f"shop={second}", "--shards", f"shop={first}"), 2, "given twice"),
    ):
        result = run("serve", "--no-auth", "--port", "0", "--state", tmp_path / "state", *arguments)
        assert result.returncode == code, result.stderr
        assert told in " ".join(result.stderr.split())


def make(folder: Path) -> Path:
    ArithmeticInstance.create(folder)
    return folder
