"""What the fuzzers begin with, made on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Final

from tests.hostile import corpus

__all__ = ["SEEDS"]

LARGEST_PICTURE: Final = 20_000


def _regions() -> Iterator[bytes]:
    for text in (
        "60,410,35,380",
        " 0 , 1,0,1 ",
        "1,0,1,0",
        "0,999999999,0,999999999",
        "-1,2,3,4",
        "1.5,2,3,4",
        "",
        "٣,4,5,6",
    ):
        yield text.encode()


def _filters() -> Iterator[bytes]:
    for text in (
        'int_attr>=10 AND (str_attr="red" OR str_attr2 in ("wool", "linen"))',
        "intAttr2 not in (1, -2, +3)",
        'strAttr4!="a\\"b\\\\c"',
        "((int_attr<2147483647))",
        "int_attr3=-2147483648 or int_attr4<=0 and int_attr>1",
        'str_attr3 NOT IN ("%", "_", "\'")',
    ):
        yield text.encode()


def _manifests() -> Iterator[bytes]:
    add = {"OperationType": "ADD", "ProductId": "p", "PicName": "a.jpg"}
    lines = [
        add,
        add
        | {"CategoryId": 3, "Crop": False, "Region": "1,2,3,4", "CustomContent": "x", "IntAttr": 1, "StrAttr4": "y"},
        {"OperationType": "DELETE", "ProductId": "p"},
        {"OperationType": "DELETE", "ProductId": "p", "PicName": "a.jpg"},
        {"operator": "ADD", "item_id": "p", "pic_list": ["a.jpg"], "cat_id": 0, "cust_content": "x", "int_attr": 1},
        add | {"PicName": "../a.jpg"},
        add | {"ProductId": "\ud800"},
    ]
    documents = [json.dumps(line).encode() for line in lines]
    yield from documents
    yield b"\xef\xbb\xbf" + b"\r\n".join(documents) + b"\n"


def _pictures() -> Iterator[bytes]:
    """Whole ones of every kind, and what is made by hand to be wrong."""
    for file in corpus():
        if not file.name.startswith(("cut ", "flip ", "splice ")) and len(file.data) <= LARGEST_PICTURE:
            yield file.data


SEEDS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "region": _regions,
    "filter": _filters,
    "manifest": _manifests,
    "picture": _pictures,
}
