"""A served instance that is made of shards (docs/sharding.md).

Contract: every operation answers what one instance with all items answers; what is written is in the shard of its
product; clients see no folder.
"""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imgsearch import Instance, Shard, ShardedInstance, shard_of
from imgsearch.errors import InstanceDamaged
from imgsearch.server.running import Address
from imgsearch.server.start import Settings, assembled
from imgsearch.storage.sqlite.store import DATABASE_NAME
from tests.pictures import jpeg
from tests.server.expected import PICTURE
from tests.server.serving import ITEMS, PATIENCE, Service, serving, write_keys

pytestmark = pytest.mark.networks

SHARDS = 3
OWN_OF_EACH = ("RequestId", "SearchTime")
"""Fields that differ from answer to answer."""


def split(template: Path, base: Path) -> list[Path]:
    """The items of an instance, in shards: exported, and imported into each."""
    folders = [base / f"shard-{index}" for index in range(SHARDS)]
    with Instance.open(template) as whole:
        whole.export(base / "export")
        for index, folder in enumerate(folders):
            whole.create_alike(folder)
            with Instance.open(folder) as shard:
                mine = Shard(index, SHARDS)
                outcomes = shard.import_items(base / "export", shard=mine)
                assert len(outcomes) + mine.others == ITEMS
    return folders


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Service]:
    """A server of one catalogue twice: ``shop`` is one instance, ``parts`` are shards."""
    base = tmp_path_factory.mktemp("sharded")
    shutil.copytree(template, base / "shop")
    settings = Settings(
        Address("127.0.0.1", 0),
        base / "state",
        {"shop": base / "shop"},
        sharded={"parts": split(template, base)},
        keys=write_keys(base),
    )
    with serving(settings, base) as running:
        yield running


def told(document: Any) -> Any:
    """A document without what differs from answer to answer."""
    if isinstance(document, dict):
        return {name: told(value) for name, value in document.items() if name not in OWN_OF_EACH}
    return [told(one) for one in document] if isinstance(document, list) else document


def both(service: Service, action: str, **form: str) -> tuple[Any, Any]:
    """The answers of the instance and of the shards."""
    return tuple(told(service.call(action, {"InstanceName": name, **form})) for name in ("shop", "parts"))  # type: ignore[return-value]


def test_operations_that_read_answer_the_same(service: Service) -> None:
    picture = base64.b64encode(PICTURE.read_bytes()).decode()
    with Instance.open(service.settings.named["shop"]) as whole:
        first = next(whole.items()).key
    name = {"ProductId": first.product_id, "PicName": first.pic_name}
    for action, form in (
        ("SearchImageByPic", {"PicContent": picture}),
        ("SearchImageByPic", {"PicContent": picture, "Num": "5", "Start": "3", "DistinctProductId": "true"}),
        ("SearchImageByPic", {"PicContent": picture, "Filter": "int_attr < 5000", "ScoreThreshold": "0.1"}),
        ("SearchImageByName", name),
        ("SearchImageByName", {**name, "ProductId": "none"}),
        ("SearchImageByFilter", {"Filter": "int_attr < 5000", "Num": "7", "Start": "2"}),
        ("CheckImageExists", name),
        ("CompareSimilarByImage", {"PrimaryPicContent": picture, "SecondaryPicContent": picture}),
        ("SearchImageByText", {"Text": "red"}),
    ):
        expected, found = both(service, action, **form)
        if "Message" in found:  # names the instance
            expected["Message"] = found["Message"] = ""
        assert found == expected, action
    expected, found = both(service, "Detail")
    assert found["Instance"]["TotalCount"] == expected["Instance"]["TotalCount"] == ITEMS


def test_what_is_written_is_in_the_shard_of_its_product(service: Service) -> None:
    shards = service.parts.instances.get("parts").instance
    assert isinstance(shards, ShardedInstance)
    for number in range(4):
        name = {"InstanceName": "parts", "ProductId": f"new-{number}", "PicName": "a.jpg"}
        content = base64.b64encode(jpeg(number + 1)).decode()
        assert service.call("AddImage", {**name, "PicContent": content, "IntAttr": "77"})["Success"]
        place = shards.shards[shard_of(f"new-{number}", SHARDS)]
        assert place.find(next(item.key for item in place.items("int_attr = 77"))) is not None
        assert service.call("UpdateImage", {**name, "IntAttr": "78"})["Success"]
        found = service.call("SearchImageByPic", {"InstanceName": "parts", "PicContent": content, "Num": "1"})
        assert found["Auctions"][0]["ProductId"] == f"new-{number}"
    deleted = service.call("DeleteImage", {"InstanceName": "parts", "ProductId": "new-0"})
    assert deleted["Data"]["PicNames"] == ["a.jpg"]
    deleted = service.call(
        "DeleteImage", {"InstanceName": "parts", "IsDeleteByFilter": "true", "Filter": "int_attr = 78"}
    )
    assert len(deleted["Data"]["PicNames"]) == 3
    assert shards.count() == ITEMS


def test_metadata_of_all_shards_is_dumped(service: Service) -> None:
    files = []
    for name in ("shop", "parts"):
        task = service.call("DumpMeta", {"InstanceName": name})["Data"]["Id"]
        until = time.monotonic() + PATIENCE
        while True:
            (listed,) = service.call("DumpMetaList", {"InstanceName": name, "Id": task})["Data"]["DumpMetaList"]
            if listed["Status"] != "PROCESSING":
                break
            assert time.monotonic() < until
        assert listed["Status"] == "SUCCESS", listed
        text = service.http.get(listed["MetaUrl"]).text
        files.append(sorted(json.dumps(json.loads(line)) for line in text.splitlines()))
    assert files[0] == files[1]
    assert len(files[0]) == ITEMS


def test_metrics_and_readiness_are_of_all_shards(service: Service) -> None:
    assert service.http.get(f"{service.open_url}/readyz").json() == {"Status": "ok", "Instances": 2}
    text = service.http.get(f"{service.open_url}/metrics").text
    assert f'imgsearch_items{{instance="parts"}} {float(ITEMS)}' in text


def test_a_damaged_shard_fails_and_shows_no_folder(tmp_path: Path, template: Path) -> None:
    """Neither at the start nor later is there an answer without it."""
    folders = split(template, tmp_path)
    settings = Settings(Address("127.0.0.1", 0), tmp_path / "state", sharded={"parts": folders})
    database = folders[1] / DATABASE_NAME
    with assembled(settings, lambda _line: None) as parts:
        served = parts.instances.get("parts")
        message = served.without_folders(f"{folders[1]}: damaged; {served.instance.folder}")
        assert message == "shard 1 of parts: damaged; parts"
    with database.open("r+b") as file:
        file.write(bytes(4096))
    with pytest.raises(InstanceDamaged, match=str(folders[1])), assembled(settings, lambda _line: None):
        pass
