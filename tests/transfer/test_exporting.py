"""Exporting is a stream: whoever takes it may use the same instance between two items."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from imgsearch.instance import Instance
from imgsearch.storage.engine import Engine
from imgsearch.values import Key
from tests.storage.builders import fill, scattered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from imgsearch.search.searcher import Searcher

ITEMS = 12
DIMENSION = 256


def _delete(instance: Instance, _searcher: Searcher) -> int:
    instance.delete("p3")
    return instance.info().items


USES: dict[str, tuple[Callable[[Instance, Searcher], int], int]] = {
    "info": (lambda instance, _: instance.info().items, ITEMS),
    "by_name": (lambda _, searcher: searcher.by_name(Key("p3", "1.jpg")).found, ITEMS // 3),
    "delete": (_delete, ITEMS - 1),
    "dry run": (lambda instance, _: len(instance.delete("p3", dry_run=True).keys), 1),
}


@pytest.mark.parametrize("use", USES)
def test_the_instance_is_of_use_while_it_is_exported(folder: Path, tmp_path: Path, use: str) -> None:
    """What the export writes is of the moment that it began; what is asked between is of now."""
    Instance.create(folder)
    with closing(Engine.open(folder, write=True)) as engine:
        fill(engine, scattered(ITEMS, dimension=DIMENSION))
    work, answer = USES[use]
    with Instance.open(folder) as instance, instance.searching() as searcher:
        stream = instance.export_stream(tmp_path / "exported")
        keys = [next(stream)]
        assert work(instance, searcher) == answer
        keys += stream
    assert keys == [Key(f"p{number}", "1.jpg") for number in range(ITEMS)]
    lines = (tmp_path / "exported" / "items.jsonl").read_text().splitlines()
    assert [json.loads(line)["ProductId"] for line in lines] == [key.product_id for key in keys]
