"""Image search that people run themselves: index a catalogue of pictures, find by picture.

The names below are the public Python API; each is imported when it is first used, so that ``import imgsearch`` costs
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgsearch.errors import ImgsearchError
    from imgsearch.evaluation.evaluate import Evaluation, evaluate
    from imgsearch.instance import Instance
    from imgsearch.jobs.tuning import TuningReport
    from imgsearch.search.searcher import SearchOptions, SearchResult
    from imgsearch.service.categories import Kind
    from imgsearch.sources.files import FilePicture
    from imgsearch.types import AddPicture, Attributes, DeletePictures, Key, Outcome, PictureOptions, Region, Status

__version__ = "0.1.0"

_HOMES = {
    "AddPicture": "types",
    "Attributes": "types",
    "DeletePictures": "types",
    "Evaluation": "evaluation.evaluate",
    "FilePicture": "sources.files",
    "ImgsearchError": "errors",
    "Instance": "instance",
    "Key": "types",
    "Kind": "service.categories",
    "Outcome": "types",
    "PictureOptions": "types",
    "Region": "types",
    "SearchOptions": "search.searcher",
    "SearchResult": "search.searcher",
    "Status": "types",
    "TuningReport": "jobs.tuning",
    "evaluate": "evaluation.evaluate",
}

__all__ = [
    "AddPicture",
    "Attributes",
    "DeletePictures",
    "Evaluation",
    "FilePicture",
    "ImgsearchError",
    "Instance",
    "Key",
    "Kind",
    "Outcome",
    "PictureOptions",
    "Region",
    "SearchOptions",
    "SearchResult",
    "Status",
    "TuningReport",
    "__version__",
    "evaluate",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
