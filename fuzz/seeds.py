"""What the fuzzers begin with, made on the spot."""

from __future__ import annotations

import gzip
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


def _feeds() -> Iterator[bytes]:
    tables = [
        'ProductId,PicName,CategoryId,Crop,Region,IntAttr,StrAttr4,Operator\np,a.jpg,Bag,no,"1,2,3,4",-5,ü,\nq,,,,,,,DELETE\n',
        (
            "id\ttitle\timage_link\tadditional_image_link\tproduct_type\tprice\n"
            '1\t"A ""b""\nc"\thttps://a.example/1.jpg\thttp://b.example/2,https://[::1]:8/3\ta > Shoes\t5 EUR\n'
        ),
        "sep=;\nid;g:image link;item_group_id\n1;https://bücher.example/ü?a=b#c;g\n2;http://u:p@a.example/;\n",
        (
            '[{"id":"1","imageLink":"https://a.example/1","productTypes":["Bag"]},\n{"OperationType":"ADD","ProductId":"p",'
            '"PicName":"a","Url":"http://a.example"}]'
        ),
    ]
    for table in tables:
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            yield table.encode(encoding)
        yield gzip.compress(table.encode())
    yield from _manifests()


def _pictures() -> Iterator[bytes]:
    """Whole ones of every kind, and what is made by hand to be wrong."""
    for file in corpus():
        if not file.name.startswith(("cut ", "flip ", "splice ")) and len(file.data) <= LARGEST_PICTURE:
            yield file.data


SEEDS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "region": _regions,
    "filter": _filters,
    "manifest": _manifests,
    "feed": _feeds,
    "picture": _pictures,
}
