"""What the fuzzers begin with, made on the spot."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from imgsearch.projection import Projection
from tests.hostile import corpus

__all__ = ["SEEDS"]

LARGEST_PICTURE: Final = 20_000
XMP: Final = "XML:com.adobe.xmp"
XMP_TEXT: Final = '<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


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
        "A\u030a,u\u0308.jpg",
        "p,",
        "p,\n",
        "p" * 600 + ",a",
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
        add | {"CategoryId": " 88888888"},
        add | {"CategoryId": "Bottle_Drink"},
        add | {"CategoryId": "12345"},
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
    """Whole ones of every kind, what is made by hand to be wrong, and texts in a PNG that may turn it."""
    for add in (
        lambda texts: texts.add_itxt(XMP, XMP_TEXT),
        lambda texts: texts.add_itxt(XMP, XMP_TEXT, zip=True),
        lambda texts: texts.add_text("Raw profile type exif", "no", zip=True),
        lambda texts: texts.add_text("Raw profile type exif", "no"),
        lambda texts: texts.add(b"zTXt", b"Raw profile type exif\0\0no zlib"),
        lambda texts: texts.add(b"zTXt", b"Raw profile type exif\0\1"),
        lambda texts: texts.add(b"iTXt", XMP.encode() + b"\0\0\0"),
        lambda texts: texts.add(b"eXIf", b"MM\0*"),
    ):
        texts, file = PngInfo(), io.BytesIO()
        add(texts)
        Image.new("RGB", (3, 2)).save(file, "PNG", pnginfo=texts)
        yield file.getvalue()
    for file in corpus():
        if not file.name.startswith(("cut ", "flip ", "splice ")) and len(file.data) <= LARGEST_PICTURE:
            yield file.data


def _addresses() -> Iterator[bytes]:
    for text in (
        "https://b\u00fccher.example:8443/\u00fc?a=b#c",
        "http://[::1]/a b",
        "http://a.example/1 ../2",
        "http://a.example/1 //[",
        "http://u:p@a.example/",
        "http://a.example:99999999999/",
        "ftp://a.example/",
        "https:///a",
        "http://a.example/\x01",
        "http://" + "a" * 9_000,
        "oss://bucket/a/b/",
        "oss://bucket",
        "oss://B/a",
        "oss://k@b/a",
        "oss://bucket/a/../b",
        "oss://bucket/increment.meta",
        "cn-shanghai",
        "oss-cn-shanghai-internal.aliyuncs.com",
        "http://127.0.0.1:80/",
        "k@host",
        "acs:ram::1234567890123456:role/name",
        "milvus://host:1/database?collection=c&timeout=2.5&replicas=3",
        "milvus+tls://[::1]?ca=/etc/ca.pem",
        "milvus://host?ca=/etc/ca.pem",
        "milvus://host?timeout=0",
        "milvus://host?replicas=0",
        "milvus+tls://host?ca=ca.pem",
        "milvus://host?collection=1",
        "milvus://host?collection=a&collection=b",
        "milvus://host?x=1",
        "milvus://u:p@host",
        "milvus://host/1",
        "milvus://host:x",
        "milvus://",
        "postgresql://user:secret@host:5432/database?schema=shop&sslmode=require",
        "postgresql://a:1,b:2/d?password=x",
        "postgresql:///d?host=/run/pg",
        "postgresql://[::1]/",
        "postgresql:/host/d?schema=pg_x",
        "postgresql://h?bad=1",
    ):
        yield text.encode()


def _requests() -> Iterator[bytes]:
    """Signed ones, and the same with each line changed or left out."""
    from fuzz import authorization

    for request in authorization.seeds():
        yield request
        head, _, body = request.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        for place, line in enumerate(lines):
            for changed in ([], [line[:-1] + b"!"], [line.replace(b"fuzz", b"another")]):
                yield b"\r\n".join([*lines[:place], *changed, *lines[place + 1 :]]) + b"\r\n\r\n" + body
        for more in (b"x-acs-security-token: t", b"content-md5: x", b"origin: null", b"authorization: Basic x"):
            yield head + b"\r\n" + more + b"\r\n\r\n" + body
        for old, new in (
            (b"2026-05-04", b"2026-06-04"),
            (b"04 May", b"04 June"),
            (b"04 May 2026", b"04 May 2025"),
            (b"GMT", b""),
            (b"2026 03", b"99999999999999999999 03"),
            (b"Nonce=n", b"Nonce=" + b"n" * 200),
            (b"HMAC-SHA1", b"HMAC-MD5"),
            (b";x-acs-date", b""),
            (b";x-acs-date", b";x-acs-date;x"),
        ):
            yield request.replace(old, new)


def _tables_of_truth() -> Iterator[bytes]:
    for text in (
        'file,product,category\na.jpg,p,Bag\n"b/c.jpg", q ,\n\n',
        "\ufefffile,product,other\na.jpg,p,x\n",
        "file,product\na.jpg,p\n./a.jpg,p\n",
        "file,product\n../a.jpg,p\n",
        "file,product\na.jpg\n",
        'file,product\n"a.jpg,p\n',
        "file,file,product\n",
        "file\n",
        "file,product\n",
        "",
    ):
        yield text.encode()
    yield b"file,product\n\xff,p\n"


def _names() -> Iterator[bytes]:
    for text in ("a.jpg\nb c.jpg\r\n\n", "a\0\0 \0b", '["a", "b"]', '{"a": 1}', "/" + "x" * 200 + "\n"):
        for encoding in ("utf-8", "utf-16"):
            yield text.encode(encoding)
        yield gzip.compress(text.encode())
    yield b"PK\x03\x04"
    yield b"\xff\n"


def _configurations() -> Iterator[bytes]:
    for text in (
        'instance = "shop"\ncache = "~/c"\nformat = "json"\nworkers = 2\nlock-timeout = 1.5\n[instances]\ns = "a/b"\n',
        '[instances]\nremote = "postgresql://h/d"\nhome = "~"\n',
        "workers = true\n",
        'workers = "2"\n',
        "lock-timeout = 3\nworkers = 0x10\n",
        "nothing = 1\n",
        "instances = 1\n",
        "[instances]\nshop = 1\n",
        "[instances.shop]\na = 1\n",
        "instance = \n",
        'cache = "~nobody-here/c"\n',
        f"workers = {'[' * 2_000}\n",
        f"workers = 0x{'f' * 5_000}\n",
        f"workers = {'9' * 5_000}\n",
        '"a\\nb" = 1\n',
        '[instances]\n"a\\nb" = 1\n',
    ):
        yield text.encode()
    yield b"\xff"


def _key_files() -> Iterator[bytes]:
    key = '[[key]]\nid = "a"\nsecret = "0123456789abcdef"\ninstances = ["*"]\nrights = "write"\n'
    yield (key + key.replace('"a"', '"b"').replace('"*"', '"x", "y"')).encode()
    yield (key * 2).encode()
    for old, new in (
        ('"a"', '"a b"'),
        ('"a"', "1"),
        ('"0123456789abcdef"', '"short"'),
        ('["*"]', "[]"),
        ('["*"]', "[1]"),
        ('"write"', '"all"'),
        ("rights", "right"),
        ("[[key]]", "[key]"),
        ("[[key]]", "[[keys]]"),
        ("[[key]]", "key = [1]"),
        ("[[key]]", "[["),
    ):
        yield key.replace(old, new).encode()
    yield b"key = [1]\n"
    yield f"key = {'9' * 5_000}\n".encode()
    yield f"key = {'[' * 2_000}\n".encode()
    yield b"\xff"


def _forms() -> Iterator[bytes]:
    for text in (
        (
            "AddImage?InstanceName=shop\nProductId=p&PicName=a%2bb.jpg&PicContent=aGk%3D&CategoryId=3&Crop=true"
            "&Region=1,2,3,4&IntAttr=-5&StrAttr=%C3%BC+x"
        ),
        "AddImage?InstanceName=shop\nProductId=p&PicName=a&PicContent=http%3A%2F%2Fh%2Fx&CategoryId=x&Crop=maybe&IntAttr=1e9",
        "AddImage?InstanceName=shop\nProductId=&PicName=&PicContent=&CategoryId=&Crop=&Region=",
        "AddImage?InstanceName=a&InstanceName=b\n",
        "AddImage?\n",
        "SearchImageByPic?InstanceName=s&ScoreThreshold=0.75&unknown=1\nPicContent=%%%&Num=10&Start=0&DistinctProductId=FALSE",
        "SearchImageByName?InstanceName=s&ScoreThreshold=\nProductId=p&PicName=a&ScoreThreshold=x",
        "SearchImageByName?InstanceName=s&ScoreThreshold=.5\nProductId=p&PicName=a",
        "SEARCH?instance=s&num=3&start=x&min_score=0.5&crop=true&region=1,2,3,4\n",
        "SEARCH?instance=&num=&min_score=nan&crop=1\n",
        "ITEMS?instance=s&nothing=1\n",
        "ITEMS?instance=s&instance=s\n",
        "&".join("a=b" for _ in range(70)),
        "?%FF=1\n",
        "?" + "a" * 200 + "=1\n",
        "?a=" + "b" * 50_000,
    ):
        yield text.encode()


def _exports() -> Iterator[bytes]:
    from fuzz.export import BETWEEN

    item = {"ProductId": "p", "PicName": "a.jpg", "CategoryId": 3, "Region": "1,2,3,4", "ContentHash": "00" * 16}
    more = {
        "CategoryGiven": True, "RegionMode": "subject", "MultiRegion": ["1,2,3,4"], "PictureHash": "11" * 32,
        "Token": "aa", "Folder": "/f", "File": "a.jpg", "CustomContent": "x", "IntAttr": 1, "StrAttr4": "y",
    }  # fmt: skip
    wrong: dict[str, object] = {
        "ProductId": "", "PicName": 1, "CategoryId": [], "Region": "x", "ContentHash": "0", "CategoryGiven": 1,
        "RegionMode": "x", "MultiRegion": [1], "PictureHash": 1, "Token": "", "Folder": "\n", "File": 1, "nothing": 1,
    }  # fmt: skip
    lines = [item, item | more, *(item | {name: value} for name, value in wrong.items())]
    lines += [{name: value for name, value in item.items() if name != left_out} for left_out in item]
    text = b"\n".join([*(json.dumps(line).encode() for line in lines), b"no", b"[]", b"{} {}", b"\xff", b"1" * 5_000])
    features = _npy(np.eye(4, dtype=np.float16)[np.arange(len(lines) + 5) % 4])
    stamps = [b'{"kind": "product", "model": "m"}', b'{"kind": "generic", "model": "m", "tuning": "tuned %s"}', b"no"]
    tuning = np.eye(2, dtype=np.float16)
    stamps[1] %= Projection(tuning).name.encode()
    first = json.dumps(item).encode()
    yield BETWEEN.join((text, features, stamps[0]))
    yield BETWEEN.join((first, _npy(np.eye(4, dtype=np.float32)[:1]), stamps[1], _npy(tuning)))
    yield BETWEEN.join((first, _npy(2 * np.eye(4, dtype=np.float64)[:1]), stamps[1], _npy(np.eye(3, dtype=np.float16))))
    packed = io.BytesIO()
    np.savez(packed, tuning)
    one = _npy(np.eye(4, dtype=np.float16)[:1])
    for other in (packed.getvalue(), b"", b"PK\x03\x04", b"\x80pickle", _npy(2 * tuning), _npy(0 * tuning)):
        yield BETWEEN.join((first, one, stamps[1], other))
    for wrong_rows in (one[:-1], one[:40], b"", one + one[-8:], _npy(np.eye(5)), _npy(np.eye(4)), _npy(np.zeros(()))):
        yield BETWEEN.join((first, wrong_rows, stamps[2]))
    for header in (
        b"{" * 4,
        b"(" * 300,
        b"{'descr': '<f2', 'fortran_order': False, 'shape': (9" + b"9" * 30 + b", 4)}",
    ):
        yield BETWEEN.join((first, b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header, b"[" * 9_000))
    yield first


def _npy(array: npt.NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _logs() -> Iterator[bytes]:
    """Of a small database, whole, cut off, and with bits flipped in its header, a frame's header and a page."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(f"{folder}/a.db")
        connection.executescript("PRAGMA page_size = 512; PRAGMA journal_mode = WAL; CREATE TABLE a (b);")
        for number in range(3):
            connection.execute("INSERT INTO a VALUES (?)", (number,))
            connection.commit()
        whole = Path(f"{folder}/a.db-wal").read_bytes()
        connection.close()
    yield whole
    yield from (whole[:length] for length in (0, 20, 32, 600, len(whole) - 1))
    for place in (0, 9, 25, 33, 36, 40, 48, 60, 700, len(whole) - 530, len(whole) - 1):
        for bit in (1, 128):
            data = bytearray(whole)
            data[place] ^= bit
            yield bytes(data)


def _of(name: str) -> Callable[[], Iterator[bytes]]:
    """The seeds that a target makes itself; loaded when they are asked for."""

    def seeds() -> Iterator[bytes]:
        yield from importlib.import_module(f"fuzz.{name}").seeds()

    return seeds


def _indexes() -> Iterator[bytes]:
    """Whole ones, cut off, and with each byte of their heads changed."""
    for whole in _of("index")():
        yield whole
        yield from (whole[:length] for length in (0, 5, 30, 100, len(whole) - 900, len(whole) - 1))
        yield whole + bytes(8)
        for place in range(0, 120, 3):
            data = bytearray(whole)
            data[place] ^= 0xFF
            yield bytes(data)
        for mark in (b"full", b"sprs"):
            at = whole.find(mark)
            for change in range(0, 40, 7) if at >= 0 else ():
                data = bytearray(whole)
                data[at + change] ^= 0x11
                yield bytes(data)


SEEDS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "address": _addresses,
    "authorization": _requests,
    "configuration": _configurations,
    "export": _exports,
    "feed": _feeds,
    "filter": _filters,
    "form": _forms,
    "index": _indexes,
    "keys": _key_files,
    "log": _logs,
    "manifest": _manifests,
    "names": _names,
    "picture": _pictures,
    "region": _regions,
    "table": _tables_of_truth,
    "upload": _of("upload"),
}
