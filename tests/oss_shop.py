"""A catalogue with an ``increment.meta`` that lies on the disk and in a bucket alike; what is compared of instances."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from imgsearch.filters.tree import EVERYTHING
from imgsearch.instance import Instance
from imgsearch.sources.oss.address import OssAddress
from imgsearch.sources.oss.bucket import BucketReader
from imgsearch.sources.oss.credentials import Access
from imgsearch.storage.engine import Engine
from imgsearch.types import Content, Extracted, Upsert
from imgsearch.values import Attributes, Key, PictureOptions, RegionMode
from tests.conftest import ROOT, Result, command
from tests.oss_server import OssServer
from tests.pictures import jpeg

BUCKET, FOLDER = "my-catalogue", "shop/pictures"
ADDRESS = f"oss://{BUCKET}/{FOLDER}"
SAMPLES = ROOT / "sample_data" / "catalogue"


@dataclass
class Shop:
    """A folder, and the server that has the same."""

    folder: Path
    server: OssServer
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, lines: Iterable[dict[str, Any] | str]) -> None:
        """Make a manifest of documents, or of lines as they are."""
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (self.folder / "increment.meta").write_text(text)
        self.upload()

    def upload(self) -> None:
        """Put what is in the folder into the bucket, and nothing else."""
        self.server.buckets[BUCKET] = {}
        for path in self.folder.rglob("*"):
            if path.is_file():
                self.server.put(BUCKET, f"{FOLDER}/{path.relative_to(self.folder).as_posix()}", path.read_bytes())

    def pictures(self) -> list[bytes]:
        return [path.read_bytes() for path in self.folder.rglob("*.jpg")]

    def start(self, instance: Path, *arguments: object, **env: str) -> subprocess.Popen[bytes]:
        """An import in a process of its own."""
        return subprocess.Popen(
            command("oss-import", ADDRESS, "-i", instance, *arguments),
            env={**os.environ, **self.server.environment(), **self.environment, **env},
            bufsize=0,  # communicate() passes over what readline() has read ahead
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, instance: Path, *arguments: object, **env: str) -> Result:
        """An import from its start to its end."""
        process = self.start(instance, *arguments, **env)
        try:
            stdout, stderr = process.communicate(timeout=300)
        finally:
            process.kill()
        return Result(process.returncode, stdout.decode(), stderr.decode())

    def downloads(self) -> int:
        """Bodies of pictures that were sent so far."""
        return sum(not key.endswith("increment.meta") for key in self.server.fetched)


def copy_samples(folder: Path, count: int) -> list[str]:
    """Put ``count`` real pictures into sub-folders and return their names; each file has bytes of its own."""
    sources = sorted(SAMPLES.rglob("*.jpg"))
    names = []
    for number in range(count):
        source = sources[number % len(sources)]
        name = f"{source.parent.name}/{number // len(sources)}/{source.name}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Bytes behind the end of a JPEG mean nothing to a decoder, and make another file of it.
        path.write_bytes(source.read_bytes() + number.to_bytes(4, "big"))
        names.append(name)
    return names


def line(name: str, **fields: Any) -> dict[str, Any]:
    """An ADD line."""
    return {"OperationType": "ADD", "ProductId": name.partition("/")[0], "PicName": name, **fields}


def content(folder: Path) -> dict[tuple[str, str], Any]:
    """All that an instance holds of its items, but where they came from."""
    with Instance.open(folder) as instance:
        store = instance._opened.engine.store
        pictures = store.pictures(store.matching_ids(EVERYTHING).tolist())
        return {
            (item.key.product_id, item.key.pic_name): (
                item.category_id,
                item.region,
                item.region_mode,
                item.category_given,
                item.content_hash,
                item.attributes,
                np.asarray(feature).tobytes(),
            )
            for item, feature in ((picture.item, picture.feature) for picture in pictures)
        }


def put_alike(server: OssServer, count: int) -> None:
    """Put so many objects with one small picture into the bucket, each with an ETag of its own, and their manifest."""
    picture = jpeg(1)
    names = [f"{number // 1000:04}/{number:07}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        server.put(BUCKET, f"{FOLDER}/{name}", picture, etag=f"{number:032X}")
    if names:
        text = "\n".join(json.dumps(line(name, CategoryId=3)) for name in names)
        server.put(BUCKET, f"{FOLDER}/increment.meta", text.encode())


def remember_alike(folder: Path, count: int, endpoint: str) -> None:
    """Make the instance that an import of ``put_alike`` would leave, without extracting each picture.

    The tokens are those that the listing shows; the features are all the same one. Keys are taken from ``OSS_*``.
    """
    Instance.create(folder)
    with Instance.open(folder) as instance:
        (found,) = instance.analyse([(_Alike(), PictureOptions(category_id=3))])
    assert isinstance(found, Extracted)
    bucket = BucketReader(OssAddress.parse(ADDRESS), endpoint, Access(), None, connections=1, timeout=60)
    engine = Engine.open(folder, write=True)
    behind, complete, stored = "", False, 0
    while not complete:
        page = bucket.page(behind)
        behind, complete = page.objects[-1].key, page.complete
        with engine.committing() as store:
            for listed in page.objects:
                name = listed.key.removeprefix(f"{FOLDER}/")
                if name.endswith(".jpg"):
                    key = Key(name.partition("/")[0], name)
                    extracted = replace(found, token=listed.token)
                    store.upsert(Upsert(key, extracted, RegionMode.SUBJECT, True, Attributes(), None))
                    stored += 1
    engine.rebuild()
    engine.close()
    assert stored == count


class _Alike:
    def token(self) -> None:
        """None that counts."""

    def read(self, _max_bytes: int) -> Content:
        return Content(jpeg(1))
