"""JSON schemas of the tools' answers: the documents of ``service``, told to clients.

They name the fields, and allow others: a client must not fail because a newer release tells more.
"""

from __future__ import annotations

from typing import Any, Final

from imgsearch.values import SERVICE_NAMES

__all__ = ["ADD", "COMPARE", "DELETE", "DUPLICATES", "EVAL", "INFO", "LIST", "SEARCH", "SHOW", "UPDATE"]

Schema = dict[str, Any]

BOOLEAN: Final[Schema] = {"type": "boolean"}
INTEGER: Final[Schema] = {"type": "integer"}
NUMBER: Final[Schema] = {"type": "number"}
TEXT: Final[Schema] = {"type": "string"}
OBJECT: Final[Schema] = {"type": "object"}
NAMES: Final[Schema] = {"type": "array", "items": TEXT}


def _or_null(schema: Schema) -> Schema:
    return schema | {"type": [schema["type"], "null"]}


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _told(schema: Schema, description: str) -> Schema:
    return schema | {"description": description}


def _object(fields: Schema, optional: Schema | None = None) -> Schema:
    """An object with these fields, and possibly the optional ones."""
    return {"type": "object", "properties": fields | (optional or {}), "required": list(fields)}


def _document(fields: Schema, optional: Schema | None = None) -> Schema:
    return _object({"Success": BOOLEAN, **fields}, optional)


REGION: Final = _told(TEXT, "x1,x2,y1,y2 in pixels of the upright picture")
ATTRIBUTES: Final[Schema] = {
    service_name: _or_null(INTEGER if name.startswith("int") else TEXT)
    for name, service_name in SERVICE_NAMES.items()
    if name != "custom_content"
}
ITEM: Final[Schema] = {
    "ProductId": TEXT,
    "PicName": TEXT,
    "CategoryId": INTEGER,
    "CustomContent": _or_null(TEXT),
    **ATTRIBUTES,
    "Path": _told(_or_null(TEXT), "where the picture lay when it was added"),
}
STORED: Final[Schema] = ITEM | {"Region": REGION}
DRY_RUN: Final[Schema] = {"DryRun": BOOLEAN}
FAILURE: Final[Schema] = {"Source": TEXT, "Code": TEXT, "Message": TEXT}

SEARCH: Final = _document(
    {
        "RequestId": TEXT,
        "Code": INTEGER,
        "Msg": TEXT,
        "Head": _object(
            {
                "DocsReturn": INTEGER,
                "DocsFound": _told(INTEGER, "items in the searched categories that match the filter"),
                "SearchTime": _told(INTEGER, "milliseconds"),
            },
            {"LeftOut": _told(INTEGER, "items with the bytes of the query, left out by exclude_self")},
        ),
        "PicInfo": _object(
            {
                "SearchedCategories": _told(_list_of(INTEGER), "empty: all"),
                "MultiRegion": _told(_list_of(_object({"Region": REGION})), "all subjects found in the query picture"),
                "AllCategories": _list_of(_object({"Id": INTEGER, "Name": TEXT})),
            },
            {
                "CategoryId": _told(INTEGER, "given or predicted"),
                "Confidence": _told(NUMBER, "probability of the predicted category"),
                "Region": _told(TEXT, "the part of the query picture that was compared"),
            },
        ),
        "Auctions": _told(
            _list_of(
                _object(
                    ITEM
                    | {
                        "Score": _told(NUMBER, "0 to 1: probability that the same product is shown; 1: identical"),
                        "SortExprValues": _told(TEXT, "relevance;distance"),
                    }
                )
            ),
            "the results, best first",
        ),
    },
    {"Warning": TEXT},
)
SHOW: Final = _document(
    {
        "Exists": BOOLEAN,
        "Auctions": _list_of(
            _object(
                STORED
                | {
                    "CategoryGiven": _told(BOOLEAN, "not predicted"),
                    "Crop": BOOLEAN,
                    "RegionGiven": BOOLEAN,
                    "MultiRegion": _list_of(_object({"Region": REGION})),
                    "ContentHash": TEXT,
                }
            )
        ),
    }
)
LIST: Final = _document({"TotalCount": _told(INTEGER, "matches on all pages"), "Auctions": _list_of(_object(STORED))})
DUPLICATES: Final = _document(
    {
        "TotalGroups": _told(INTEGER, "also those beyond num"),
        "TotalPictures": INTEGER,
        "Compared": INTEGER,
        "Unhashed": _told(INTEGER, "pictures of which only copies with the same bytes can be found"),
        "Groups": _list_of(
            _object(
                {
                    "Level": TEXT,
                    "Pictures": _told(
                        _list_of(_object({"ProductId": TEXT, "PicName": TEXT, "Score": NUMBER}, {"File": TEXT})),
                        "the first is the best one to keep; Score is towards it",
                    ),
                }
            )
        ),
    }
)
COMPARE: Final = _document(
    {"Score": _told(NUMBER, "0 to 1; 1: the same picture"), "Distance": _told(INTEGER, "bits of 512 that differ")},
    {"Warnings": NAMES},
)
EVAL: Final = _document(
    {
        "Model": TEXT,
        "Kind": TEXT,
        "Failures": _told(_list_of(_object(FAILURE)), "pictures that could not be used; each counts as missed"),
        "Seconds": NUMBER,
    },
    {
        "Retrieval": _told(OBJECT, "by source, 'all' for all: Queries, Hit@1, Hit@5, Hit@10, mAP, MRR@distinct, …"),
        "Categories": _told(OBJECT, "Pictures; Strict and Lenient: shares of right predictions; PerCategory"),
        "Subjects": _told(OBJECT, "by kind of picture: Pictures, MeanIoU, IoU@0.5, IoU@0.7"),
    },
)
INFO: Final = _document(
    {
        "Name": TEXT,
        "Path": TEXT,
        "Kind": _told(TEXT, "product: with categories; generic: without"),
        "ServiceType": INTEGER,
        "RegionId": _or_null(TEXT),
        "UtcCreate": _told(INTEGER, "milliseconds since 1970"),
        "TotalCount": _told(INTEGER, "stored pictures"),
        "Products": INTEGER,
        "Categories": _list_of(_object({"Id": INTEGER, "Name": TEXT, "Count": INTEGER})),
        "Stamp": _told(OBJECT, "model and version of the features"),
        "NeedsReindex": BOOLEAN,
        "Reindexed": _or_null(INTEGER),
        "Devices": NAMES,
        "Limits": _told(OBJECT, "of a picture: bytes, sides, pixels"),
        "Index": _or_null(OBJECT),
        "Unindexed": INTEGER,
        "DiskBytes": INTEGER,
        "Storage": _or_null(_told(OBJECT, "server, index and how far it follows, of an instance in a database")),
        "Instance": _told(TEXT, "its name here"),
        "Text": _told(BOOLEAN, "whether it can be searched with words"),
        "PictureFolders": _told(NAMES, "folders whose pictures may be given as paths"),
        "MayWrite": _told(BOOLEAN, "whether the tools add, update and delete are offered"),
    }
)
ADD: Final = _document(
    {
        "Added": INTEGER,
        "Replaced": INTEGER,
        "Unchanged": _told(INTEGER, "already stored as given"),
        "Failed": INTEGER,
        "Pictures": _told(
            _list_of(
                _object(
                    {"ProductId": _or_null(TEXT), "PicName": _or_null(TEXT), "Status": TEXT},
                    {"CategoryId": _or_null(INTEGER), "Region": _or_null(REGION), "Warning": TEXT, **FAILURE},
                )
            ),
            "what became of each picture, in the order given",
        ),
        "Failures": _list_of(_object({"ProductId": _or_null(TEXT), "PicName": _or_null(TEXT), **FAILURE})),
        "Seconds": NUMBER,
    }
)
UPDATE: Final = _document({"Updated": INTEGER, "PicNames": _told(NAMES, "of the items that differ")}, DRY_RUN)
DELETE: Final = _document({"Deleted": INTEGER, "PicNames": NAMES}, DRY_RUN)
