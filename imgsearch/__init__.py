"""Image search that people run themselves: index a catalogue of pictures, find by picture.

The names below are the public Python API; each is imported when it is first used, so that ``import imgsearch`` costs
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgsearch.categories import Kind
    from imgsearch.errors import ImgsearchError
    from imgsearch.evaluation.evaluate import Evaluation, evaluate
    from imgsearch.instance import Instance
    from imgsearch.records import AddPicture, Attributes, DeletePictures, Key, Outcome, PictureOptions, Region, Status
    from imgsearch.searching import SearchOptions, SearchResult
    from imgsearch.sources.files import FilePicture
    from imgsearch.tuning import TuningReport

__version__ = "0.1.0"

_HOMES = {
    "AddPicture": "records",
    "Attributes": "records",
    "DeletePictures": "records",
    "Evaluation": "evaluation.evaluate",
    "FilePicture": "sources.files",
    "ImgsearchError": "errors",
    "Instance": "instance",
    "Key": "records",
    "Kind": "categories",
    "Outcome": "records",
    "PictureOptions": "records",
    "Region": "records",
    "SearchOptions": "searching",
    "SearchResult": "searching",
    "Status": "records",
    "TuningReport": "tuning",
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
