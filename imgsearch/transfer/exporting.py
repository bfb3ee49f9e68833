"""Exporting an instance's items to a folder (``file_format.py``)."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from imgsearch.durable_fs import TEMPORARY_SUFFIX, file_errors, make_private_folder, private_opener, sync, sync_folder
from imgsearch.errors import InstanceExists
from imgsearch.transfer.file_format import (
    FEATURES_NAME,
    ITEMS_NAME,
    STAMP_NAME,
    TUNING_NAME,
    item_document,
    own_stamp,
    tuned_stamp,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imgsearch.opened import Opened
    from imgsearch.storage.port import Truth
    from imgsearch.values import Key

__all__ = ["export", "export_stream"]


def export_stream(opened: Opened, folder: Path) -> Iterator[Key]:
    """Write all items of an instance; see ``Instance.export_stream``."""
    with opened.reading() as engine, engine.store.reading():
        opened.refresh(engine.store)
        yield from export(engine.store, folder, own_stamp(opened.kind, opened.model))


def export(store: Truth, folder: Path, stamp: dict[str, Any]) -> Iterator[Key]:
    """Write all items of one snapshot; ``stamp.json`` is written last and marks a complete export.

    Args:
        store: inside its ``reading`` block.
        folder: missing or empty.
        stamp: describes the model of the features, including ``dimension``; a tuning is added to it.

    Yields:
        The key of each item once it is written.

    Raises:
        InstanceExists: the folder is not empty.
        InstanceDamaged, StorageFull, StorageUnwritable
    """
    with file_errors(folder):
        _make(folder)
        with ExitStack() as stack:
            items, features = (
                stack.enter_context(open(_temporary(folder, name), "xb", opener=private_opener))
                for name in (ITEMS_NAME, FEATURES_NAME)
            )
            count = store.count()
            _write_header(features, (count, stamp["dimension"]))
            for item in store.all_stored_records():
                items.write(json.dumps(item_document(item), ensure_ascii=False).encode() + b"\n")
                features.write(item.extracted.feature.astype("<f2").tobytes())
                yield item.key
        tuning = store.tuning()
        if tuning is not None:
            with open(_temporary(folder, TUNING_NAME), "xb", opener=private_opener) as file:
                np.save(file, tuning.matrix, allow_pickle=False)
        with open(_temporary(folder, STAMP_NAME), "xb", opener=private_opener) as file:
            file.write(json.dumps({**tuned_stamp(stamp, tuning), "items": count}, indent=2).encode() + b"\n")
        for name in (ITEMS_NAME, FEATURES_NAME, *([] if tuning is None else [TUNING_NAME]), STAMP_NAME):
            sync(_temporary(folder, name))
            _temporary(folder, name).replace(folder / name)
        sync_folder(folder)


def _temporary(folder: Path, name: str) -> Path:
    return folder / f"{name}{TEMPORARY_SUFFIX}"


def _make(folder: Path) -> None:
    """Create the folder, and remove what a killed export left there."""
    make_private_folder(folder)
    names = {f"{name}{TEMPORARY_SUFFIX}" for name in (ITEMS_NAME, FEATURES_NAME, TUNING_NAME, STAMP_NAME)}
    if not (folder / STAMP_NAME).exists():
        names |= {ITEMS_NAME, FEATURES_NAME, TUNING_NAME}
    present = {path.name for path in folder.iterdir()}
    if present and not (present <= names and any(name.endswith(TEMPORARY_SUFFIX) for name in present)):
        raise InstanceExists(f"{folder} is not an empty folder: choose another one for the export")
    for name in present:
        (folder / name).unlink()


def _write_header(file: Any, shape: tuple[int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
