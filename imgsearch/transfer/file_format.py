"""The export format: an instance's items in files that any program can read.

``items.jsonl`` has one item per line with the service's field names, ``features.npy`` one row per line in the same
order (float16, L2-normalised), and ``stamp.json`` describes the model. For a tuned instance, ``tuning.npy`` has the
matrix applied to the features; the stamp names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from imgsearch.errors import InputError, InvalidManifest, InvalidRegion
from imgsearch.service.categories import OTHER, Kind, parse_category
from imgsearch.sources.jsonl import optional_region, optional_text
from imgsearch.types import Extracted, Upsert
from imgsearch.values import SERVICE_NAMES, Attributes, Key, Location, Region, RegionMode, check_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from imgsearch.projection import Projection
    from imgsearch.vision.models import ModelRecord

__all__ = [
    "FEATURES_NAME",
    "ITEMS_NAME",
    "STAMP_NAME",
    "TUNING",
    "TUNING_NAME",
    "item_document",
    "own_stamp",
    "parse_item",
    "tuned_stamp",
]

ITEMS_NAME: Final = "items.jsonl"
FEATURES_NAME: Final = "features.npy"
STAMP_NAME: Final = "stamp.json"
TUNING_NAME: Final = "tuning.npy"
TUNING: Final = "tuning"
"""The stamp's field that names a tuning."""

MODES: Final = {RegionMode.SUBJECT: "subject", RegionMode.GIVEN: "given", RegionMode.WHOLE: "whole"}
_MODES_BY_NAME: Final = {name: mode for mode, name in MODES.items()}
FIELDS: Final = frozenset(
    {
        *("ProductId", "PicName", "CategoryId", "CategoryGiven", "Region", "RegionMode", "MultiRegion"),
        *("ContentHash", "PictureHash", "Token", "Folder", "File", *SERVICE_NAMES.values()),
    }
)
MAX_PATH_CHARS: Final = 32_768
MAX_SUBJECTS: Final = 1_000
HASH_BYTES: Final = 16
PICTURE_HASH_BYTES: Final = 32
MAX_TOKEN_BYTES: Final = 1_024

T = TypeVar("T")


def own_stamp(kind: Kind, model: ModelRecord) -> dict[str, Any]:
    """What an instance's features have to agree with."""
    return {"kind": str(kind), **model.stamp()}


def tuned_stamp(stamp: dict[str, Any], tuning: Projection | None) -> dict[str, Any]:
    """The stamp of features with a tuning, if any."""
    return stamp if tuning is None else {**stamp, TUNING: f"tuned {tuning.name}"}


def item_document(item: Upsert) -> dict[str, Any]:
    """One line of ``items.jsonl``; leaves out unset fields."""
    extracted, location = item.extracted, item.location
    fields = {
        "ProductId": item.key.product_id,
        "PicName": item.key.pic_name,
        "CategoryId": extracted.category_id,
        "CategoryGiven": item.category_given,
        "Region": str(extracted.region),
        "RegionMode": MODES[item.region_mode],
        "MultiRegion": [str(subject) for subject in extracted.subjects] or None,
        "ContentHash": extracted.content_hash.hex(),
        "PictureHash": None if extracted.picture_hash is None else extracted.picture_hash.hex(),
        "Token": None if extracted.token is None else extracted.token.hex(),
        "Folder": None if location is None else location.root,
        "File": None if location is None else location.relative,
        **item.attributes.service_fields(),
    }
    return {name: value for name, value in fields.items() if value is not None}


def parse_item(document: dict[str, Any], feature: npt.NDArray[np.float32], kind: Kind) -> Upsert:
    """The item of one line.

    ProductId, PicName, Region and ContentHash are required, in a product instance also CategoryId. CategoryGiven and
    RegionMode default to true and "given", as the author of a line without them knows both.

    Args:
        document: the line.
        feature: its row, shape (dimension,), L2-normalised.
        kind: of the target instance.

    Raises:
        InputError: a field is missing, unknown or invalid.
    """
    if not FIELDS.issuperset(document):
        unknown = min(document.keys() - FIELDS)
        raise InvalidManifest(f"unknown field {unknown[:40]!r}; known fields are: {', '.join(sorted(FIELDS))}")
    key = Key(
        _required(optional_text(document, "ProductId", "InvalidProductId"), "ProductId"),
        _required(optional_text(document, "PicName", "InvalidPicName"), "PicName"),
    )
    region = _required(optional_region(document), "Region")
    extracted = Extracted(
        _required(_bytes(document, "ContentHash", range(HASH_BYTES, HASH_BYTES + 1)), "ContentHash"),
        _bytes(document, "Token", range(MAX_TOKEN_BYTES + 1)),
        region,
        _subjects(document),
        _category(document, kind),
        (),
        feature,
        _bytes(document, "PictureHash", range(PICTURE_HASH_BYTES, PICTURE_HASH_BYTES + 1)),
    )
    given = _flag(document, "CategoryGiven", default=True) and kind is Kind.PRODUCT
    attributes = Attributes.from_service_fields(document)
    return Upsert(key, extracted, _mode(document), given, attributes, _location(document))


def _required(value: T | None, field: str) -> T:
    if value is None:
        code = f"NoSpecified{field}" if field in ("ProductId", "PicName") else InvalidManifest.code
        raise InvalidManifest(f"the line has no {field}", code=code)
    return value


def _bytes(document: dict[str, Any], field: str, sizes: range) -> bytes | None:
    value = document.get(field)
    if value is None:
        return None
    try:
        data = bytes.fromhex(value)
    except (TypeError, ValueError):
        data = None
    if data is None or len(data) not in sizes:
        size = f"{sizes[0]}" if len(sizes) == 1 else f"up to {sizes[-1]}"
        raise InvalidManifest(f"{field} {str(value)[:40]!r} is not {size} bytes in hexadecimal")
    return data


def _flag(document: dict[str, Any], field: str, *, default: bool) -> bool:
    value = document.get(field, default)
    if not isinstance(value, bool):
        raise InvalidManifest(f"{field} {str(value)[:40]!r} is not true or false")
    return value


def _mode(document: dict[str, Any]) -> RegionMode:
    value = document.get("RegionMode", MODES[RegionMode.GIVEN])
    mode = _MODES_BY_NAME.get(value) if isinstance(value, str) else None
    if mode is not None:
        return mode
    raise InvalidManifest(f"RegionMode {str(value)[:40]!r} is not one of {', '.join(MODES.values())}")


def _category(document: dict[str, Any], kind: Kind) -> int:
    if kind is Kind.GENERIC:
        return OTHER
    value = _required(document.get("CategoryId"), "CategoryId")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"CategoryId {str(value)[:40]!r} is not a number", code="InvalidCategory")
    return parse_category(value)


def _subjects(document: dict[str, Any]) -> tuple[Region, ...]:
    value = document.get("MultiRegion", [])
    if not isinstance(value, list) or len(value) > MAX_SUBJECTS or not all(isinstance(one, str) for one in value):
        raise InvalidRegion("MultiRegion is not a list of texts 'x1,x2,y1,y2'")
    return tuple(map(Region.parse, value))


def _location(document: dict[str, Any]) -> Location | None:
    folder, file = (optional_text(document, field, InvalidManifest.code) for field in ("Folder", "File"))
    for field, value in (("Folder", folder), ("File", file)):
        if value is not None:
            check_text(value, InvalidManifest.code, field, MAX_PATH_CHARS)
    if folder is None:
        return None
    return Location(folder, file)
