"""Self-hosted image search: index a catalogue of pictures and search it by picture.

The names below are the public Python API; each is imported on first use, so that ``import imgsearch`` is
cheap.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes longer than a search that a running server answers has to spare
if TYPE_CHECKING:
    from imgsearch.errors import ImgsearchError
    from imgsearch.evaluation.evaluate import Evaluation, evaluate
    from imgsearch.instance import Instance
    from imgsearch.jobs.deleting import Deletion
    from imgsearch.jobs.duplicates import Duplicate, DuplicateGroup, Duplicates
    from imgsearch.jobs.reading import InstanceInfo, Listing
    from imgsearch.jobs.tuning import TuningReport
    from imgsearch.jobs.writer import Writer
    from imgsearch.pictures import PictureLike, as_picture
    from imgsearch.search.compare import Comparison, compare
    from imgsearch.search.options import SearchOptions, SearchResult
    from imgsearch.search.ranking import Hit
    from imgsearch.search.searcher import Searcher
    from imgsearch.service.categories import CATEGORIES, Kind
    from imgsearch.sharding.instance import ShardedInstance
    from imgsearch.shards import Shard, shard_of
    from imgsearch.sources.files import FilePicture, FileRequest
    from imgsearch.types import AddPicture, DeletePictures, Item, Outcome, PictureSource, Status
    from imgsearch.values import Attributes, Key, PictureOptions, Region
    from imgsearch.vision.limits import Limits

__version__ = "0.1.0"

_HOMES = {
    "AddPicture": "types",
    "Attributes": "values",
    "CATEGORIES": "service.categories",
    "Comparison": "search.compare",
    "Deletion": "jobs.deleting",
    "DeletePictures": "types",
    "Duplicate": "jobs.duplicates",
    "DuplicateGroup": "jobs.duplicates",
    "Duplicates": "jobs.duplicates",
    "Evaluation": "evaluation.evaluate",
    "FilePicture": "sources.files",
    "FileRequest": "sources.files",
    "Hit": "search.ranking",
    "ImgsearchError": "errors",
    "Instance": "instance",
    "InstanceInfo": "jobs.reading",
    "Item": "types",
    "Key": "values",
    "Kind": "service.categories",
    "Limits": "vision.limits",
    "Listing": "jobs.reading",
    "Outcome": "types",
    "PictureLike": "pictures",
    "PictureOptions": "values",
    "PictureSource": "types",
    "Region": "values",
    "SearchOptions": "search.options",
    "SearchResult": "search.options",
    "Searcher": "search.searcher",
    "Shard": "shards",
    "ShardedInstance": "sharding.instance",
    "Status": "types",
    "TuningReport": "jobs.tuning",
    "Writer": "jobs.writer",
    "as_picture": "pictures",
    "compare": "search.compare",
    "evaluate": "evaluation.evaluate",
    "shard_of": "shards",
}

__all__ = [
    "CATEGORIES",
    "AddPicture",
    "Attributes",
    "Comparison",
    "DeletePictures",
    "Deletion",
    "Duplicate",
    "DuplicateGroup",
    "Duplicates",
    "Evaluation",
    "FilePicture",
    "FileRequest",
    "Hit",
    "ImgsearchError",
    "Instance",
    "InstanceInfo",
    "Item",
    "Key",
    "Kind",
    "Limits",
    "Listing",
    "Outcome",
    "PictureLike",
    "PictureOptions",
    "PictureSource",
    "Region",
    "SearchOptions",
    "SearchResult",
    "Searcher",
    "Shard",
    "ShardedInstance",
    "Status",
    "TuningReport",
    "Writer",
    "__version__",
    "as_picture",
    "compare",
    "evaluate",
    "shard_of",
]


if not TYPE_CHECKING:  # mypy would accept any name

    def __getattr__(name: str) -> object:
        from importlib import import_module

        try:
            home = _HOMES[name]
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
