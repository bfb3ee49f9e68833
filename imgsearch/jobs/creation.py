"""Creating instances."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from imgsearch.durable_fs import file_errors, make_private_folder
from imgsearch.errors import InstanceExists, InstanceLocked, UsageError
from imgsearch.storage.backends import backend_for, backend_of, is_remote
from imgsearch.vision.models import ModelRecord, find_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from imgsearch.opened import Opened
    from imgsearch.service.categories import Kind
    from imgsearch.vision.limits import Limits

__all__ = ["create", "create_alike", "make", "remove_if_empty"]


def create(
    folder: Path,
    kind: Kind,
    model: str,
    weights: Path | None,
    limits: Limits,
    region_id: str | None,
    *,
    bits: int,
    engine: str | None,
    index: str | None,
    cache: Path,
    announce: Callable[[str], None],
    lock_timeout: float,
) -> None:
    """Create an empty instance; see ``Instance.create``."""
    _check_free(folder, engine, index)
    record = find_model(model, weights)
    if not record.dimension:  # known only after conversion
        from imgsearch.vision.openvino_export import prepared_models

        record = prepared_models(record, cache, announce).record
    make(folder, kind, limits, region_id, replace(record, bits=bits), lock_timeout, engine, index)


def create_alike(opened: Opened, folder: Path) -> None:
    """Create an empty instance like another one; see ``Instance.create_alike``."""
    _check_free(folder)
    record = opened.converted.record  # report problems with the model for that instance, not the new one
    make(folder, opened.kind, opened.limits, opened.region_id, record)


def make(
    folder: Path,
    kind: Kind,
    limits: Limits,
    region_id: str | None,
    record: ModelRecord,
    lock_timeout: float = 0.0,
    engine: str | None = None,
    index: str | None = None,
) -> None:
    """Create an empty instance for a complete model record.

    Raises:
        InstanceExists, InstanceLocked, RemoteUnavailable, StorageFull, StorageUnwritable
    """
    backend = backend_for(folder, engine, index)
    if not is_remote(folder):
        with file_errors(folder):
            make_private_folder(folder)
    with backend.writing(folder, lock_timeout):
        if backend.exists(folder):
            raise InstanceExists(f"there is an instance in {folder} already")
        backend.create(
            folder,
            {
                "kind": kind,
                "limits": limits.as_dict(),
                "region_id": region_id,
                "model": record.as_dict(),
                "created": int(time.time()),
            },
        )


def _check_free(folder: Path, engine: str | None = None, index: str | None = None) -> None:
    """Raise if a folder contains anything but leftovers of a killed ``create``.

    Raises:
        InstanceExists
        UsageError: an address in place of the folder, and another engine as well.
    """
    backend = backend_for(folder, engine, index)
    if engine is not None and is_remote(folder):
        raise UsageError(f"{folder} says where the instance lies: leave the engine out, or name a folder")
    if backend.exists(folder):
        raise InstanceExists(f"there is an instance in {folder} already")
    if folder.exists() and not (folder.is_dir() and all(backend.is_leftover(path) for path in folder.iterdir())):
        raise InstanceExists(f"{folder} is not an empty folder: choose another one for the instance")


def remove_if_empty(folder: Path) -> bool:
    """Remove an instance without items, unless somebody else writes to it; see ``Instance.remove_if_empty``."""
    backend = backend_of(folder)
    if not backend.exists(folder):
        return False
    try:
        with backend.writing(folder, 0):
            with closing(backend.open(folder)) as engine:
                if engine.store.count():
                    return False
            backend.remove(folder)
    except InstanceLocked:
        return False
    return True
