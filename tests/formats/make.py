"""Make the instance that stands for a format, with the code of the release that writes that format.

An instance of a format is made once, when the format is released, and never again: what must open tomorrow is what was
written then. So this file stands on nothing but numpy and the engine's own methods, which the release has to have:

    git worktree add ../release COMMIT
    PYTHONPATH=../release python tests/formats/make.py tests/formats/NUMBER [BITS]
    git worktree remove ../release

For format 1 the commit was 43a7a65, the last one before rows were sealed; for format 2 it was d76144d, for format 3
7d239f4, for format 4 f07d678. Format 5, the first one with packed features, has the tables of format 4 and was made
with BITS = 8 by the commit that adds it.

Beside the folder ``instance``, ``truth.json`` says what was put into it: each item that is left, with its feature.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import product_condition
from imgsearch.storage.engine import Engine
from imgsearch.types import Extracted, Upsert
from imgsearch.values import Attributes, Key, Location, Region, RegionMode
from imgsearch.vision.limits import LIMIT_PROFILES
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS

CREATED = 1_750_000_000
TEXTS = (None, "red", 'a"b\\c', "naïve 紅 🟥", "")


def features(count: int, dimension: int) -> np.ndarray:
    """Unit vectors in six clusters, shape (count, dimension), float32."""
    generator = np.random.default_rng(5)
    centres = generator.standard_normal((6, dimension))
    vectors = centres[np.arange(count) % 6] + 0.7 * generator.standard_normal((count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def hashed(number: int) -> dict[str, Any]:
    """The perceptual hash of every other item, in releases that have one."""
    if "picture_hash" not in {field.name for field in dataclasses.fields(Extracted)}:
        return {}
    return {
        "picture_hash": hashlib.blake2b(b"hash %d" % (number // 4), digest_size=32).digest() if number % 2 else None
    }


def upsert(number: int, key: Key, feature: np.ndarray) -> Upsert:
    """One item; every column has its turn at being set and at not being set."""
    mode = RegionMode(number % 3)
    region = Region(number, 60 + number, 5, 50)
    return Upsert(
        key,
        Extracted(
            content_hash=hashlib.blake2b(b"picture %d" % (number // 2), digest_size=16).digest(),
            token=b"token %d" % number if number % 4 else None,
            region=region,
            subjects=(region, Region(0, 9, 0, 9)) if mode is RegionMode.SUBJECT else (),
            category_id=(0, 3, 88888888)[number % 3],
            chances=(),
            feature=feature,
            **hashed(number),
        ),
        mode,
        number % 2 == 0,
        Attributes(
            custom_content=TEXTS[number % 5],
            int_attr=number,
            int_attr2=None if number % 3 else -(2**31) + number,
            int_attr4=2**31 - 1 - number if number % 2 else None,
            str_attr=TEXTS[number % 5],
            str_attr3=TEXTS[(number + 2) % 5],
        ),
        (None, Location("/pictures/shop"), Location("/pictures/ü", f"folder/{number}.jpg"))[number % 3],
    )


def described(change: Upsert, item_id: int, feature: np.ndarray) -> dict[str, Any]:
    """An item for ``truth.json``."""
    found = change.extracted
    location = change.location
    return {
        "id": item_id,
        "product_id": change.key.product_id,
        "pic_name": change.key.pic_name,
        "category_id": found.category_id,
        "category_given": change.category_given,
        "region_mode": int(change.region_mode),
        "region": dataclasses.astuple(found.region),
        "content_hash": found.content_hash.hex(),
        "token": None if found.token is None else found.token.hex(),
        "attributes": change.attributes.columns(),
        "location": None if location is None else str(location.path(change.key.pic_name)),
        **({"picture_hash": found.picture_hash.hex()} if getattr(found, "picture_hash", None) else {}),
        "feature": feature.astype("<f2").tobytes().hex(),
    }


def make(folder: Path, **coding: int) -> None:
    """An instance with an index, items newer than it, and items that it holds and that are gone."""
    instance = folder / "instance"
    instance.mkdir(parents=True)
    record = dataclasses.replace(EMBEDDED_MODELS[DEFAULT_MODEL], **coding)
    Engine.create(
        instance,
        {
            "kind": "product",
            "limits": LIMIT_PROFILES["local"].as_dict(),
            "region_id": "cn-shanghai",
            "model": record.as_dict(),
            "created": CREATED,
        },
    )
    keys = [Key(f"p{number % 8}", f"{number}.jpg" if number % 5 else f"ü/{number} '\"%.jpg") for number in range(30)]
    vectors = features(36, record.dimension)
    engine = Engine.open(instance, write=True)
    put: dict[Key, tuple[Upsert, int]] = {}

    def commit(numbers: range, places: list[int]) -> None:
        with engine.committing() as store:
            for number, place in zip(numbers, places, strict=True):
                change = upsert(number, keys[place], vectors[number])
                store.upsert(change)
                item = store.item(keys[place])
                assert item is not None
                put[keys[place]] = change, item.id

    commit(range(20), list(range(20)))
    engine.rebuild()
    commit(range(20, 30), list(range(20, 30)))
    commit(range(30, 36), [0, 3, 19, 20, 21, 29])  # some are in the index, some are newer
    with engine.committing() as store:
        gone = store.delete(product_condition("p7")) + store.delete(parse_filter("int_attr in (4, 25)"))
    left = [one for key, one in put.items() if key not in gone]
    items = [described(change, item_id, engine.store.feature(item_id)) for change, item_id in left]
    engine.close()
    (folder / "truth.json").write_text(json.dumps(items, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]), **({"bits": int(sys.argv[2])} if len(sys.argv) > 2 else {}))
