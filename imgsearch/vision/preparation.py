"""Preparing all that a machine needs for a model before anybody waits for it: for container images and cron."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from imgsearch.vision.models import CATEGORISER, EMBEDDER, LOCATOR
from imgsearch.vision.openvino_export import prepared_models
from imgsearch.vision.runtime import Network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from imgsearch.vision.models import ModelRecord

__all__ = ["prepare"]


def prepare(record: ModelRecord, cache: Path, announce: Callable[[str], None] = lambda _message: None) -> None:
    """Fill the cache with a model's networks, compiled for ``add`` and for a single search.

    Args:
        record: as ``find_model`` gives it, or an instance's.
        cache: folder of converted and compiled models.
        announce: told in lines for people what is made.

    Raises:
        InvalidModel, StorageFull, StorageUnwritable: as for ``prepared_models``.
    """
    model = prepared_models(record, cache, announce)
    for parallel in (True, False):
        with closing(Network(model, cache, parallel=parallel, announce=announce)) as network:
            for purpose in (EMBEDDER, LOCATOR, CATEGORISER):
                network.load(purpose)
