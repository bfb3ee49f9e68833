"""``check_header``: bytes are an index that FAISS reads as what was published, or are told as damage before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from fuzz.checks import check_error
from fuzz.files import folder, replaced
from imgsearch.errors import InstanceDamaged
from imgsearch.storage.faiss.index_file import read_parts
from imgsearch.storage.faiss.index_header import check_header
from imgsearch.storage.faiss.index_writer import empty_index
from imgsearch.storage.sqlite.generations import Generation
from tests.storage.builders import make_index, scattered, without_items

FOLDER = folder()
DAMAGED = 6
ITEMS = 100
LENGTHS = (b"full", b"sprs")


def _made() -> dict[bytes, Generation]:
    """A generation of each layout, by what its file has in it: both kinds of lists, and none."""
    features, ids = scattered(ITEMS, dimension=8), np.arange(1, ITEMS + 1)
    lists = make_index(FOLDER, features, ids, 2, flat_limit=1)
    few = without_items(FOLDER, make_index(FOLDER, features, ids, 3, flat_limit=1), ids[2:])
    return {b"": make_index(FOLDER, features[:9], ids[:9]), b"full": lists, b"sprs": few}


GENERATIONS = _made()


def seeds() -> list[bytes]:
    """The files as they were written."""
    return [(FOLDER / generation.file_name).read_bytes() for generation in GENERATIONS.values()]


def target(data: bytes) -> None:
    path = replaced(FOLDER / "fuzzed", data)
    if data.startswith(b"IxM2"):
        _check(path, GENERATIONS[b""])
    else:
        _check(path, GENERATIONS[b"sprs" if b"sprs" in data else b"full"])


def _check(path: Path, generation: Generation) -> None:
    parts = read_parts(generation.lists or "{}")
    lists = parts[-1].end if parts else 0
    try:
        check_header(path, generation, lists, 8 * (lists + len(parts)))
    except InstanceDamaged as error:
        check_error(error, DAMAGED)
        return
    index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    assert index.ntotal == generation.items
    if lists:
        assert _is_as_made(index, lists, generation.items)
        found = [index.invlists.list_size(number) for number in range(lists)]
        assert sum(found) == generation.items
    else:
        assert isinstance(index, faiss.IndexIDMap2)


def _is_as_made(index: Any, lists: int, items: int) -> bool:
    """Whether FAISS has read the header fields of an index as they are written."""
    made = empty_index(np.zeros((1, index.d), np.float32))
    return bool(
        (index.nlist, index.invlists.nlist, index.quantizer.ntotal, index.quantizer.d) == (lists, lists, lists, index.d)
        and index.ntotal == items
        and index.code_size == index.invlists.code_size == made.code_size
        and (index.metric_type, index.quantizer.metric_type) == (made.metric_type, made.quantizer.metric_type)
        and (index.is_trained, index.by_residual, index.qb) == (True, made.by_residual, made.qb)
    )
