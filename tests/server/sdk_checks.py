"""What a program does with the vendor's Python SDK of version 2020-12-14, whichever is installed beside this file.

It stands on nothing but the SDK, so that it runs in the environment of an old one:
``python sdk_checks.py '{"way": "B", …}'`` prints what came back, step by step, as JSON. Steps that an SDK has no
operation for are left out.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import sys
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

from alibabacloud_imagesearch20201214 import models
from alibabacloud_imagesearch20201214.client import Client
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_util.models import RuntimeOptions

PRODUCT = "p 1/ü&=+~*"
NAME = "a ü.jpg"
SECOND = "other & 2"
TIMEOUT_MS = 120_000
PATIENCE = 120


class Program:
    """A client and the calls of one program.

    Args:
        way: of the upload: ``A`` (TLS), ``B`` (forward proxy, named by the environment), ``C`` (plain HTTP).
        address: host and port of the server.
        key_id, secret: of the caller.
        algorithm: of signatures; None: the SDK's own.
        ca: certificate of the authority, for way A.
        is_async: use the methods for coroutines.
    """

    def __init__(
        self,
        way: str,
        address: str,
        key_id: str,
        secret: str,
        *,
        algorithm: str | None = None,
        ca: str | None = None,
        is_async: bool = False,
    ) -> None:
        endpoint = "imagesearch.cn-shanghai.aliyuncs.com" if way == "B" else address
        options = {"signature_algorithm": algorithm, "ca": ca}
        self.client = Client(
            Config(
                access_key_id=key_id,
                access_key_secret=secret,
                endpoint=endpoint,
                protocol="https" if way == "A" else "http",
                region_id="cn-shanghai",
                **{name: value for name, value in options.items() if value is not None},
            )
        )
        if way != "B":
            self.client._open_platform_endpoint = address
        self.runtime = RuntimeOptions(read_timeout=TIMEOUT_MS, connect_timeout=TIMEOUT_MS)
        if ca is not None:
            self.runtime.ca = ca
        self.is_async = is_async

    def has(self, method: str) -> bool:
        return hasattr(self.client, method)

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Call an operation with those of the parameters that this version has."""
        name = "".join(part.capitalize() for part in method.split("_")) + "Request"
        kind = getattr(models, name)
        known = set(inspect.signature(kind.__init__).parameters)
        request = kind(**{name: value for name, value in values.items() if name in known})
        full = method if method.endswith("_advance") else f"{method}_with_options"
        if self.is_async:
            response = asyncio.run(getattr(self.client, f"{full}_async")(request, self.runtime))
        else:
            response = getattr(self.client, full)(request, self.runtime)
        document: dict[str, Any] = response.body.to_map()
        return document

    def failure(self, method: str, **values: Any) -> list[Any]:
        """The code and the status of the exception that a call raises, and its class."""
        try:
            self.call(method, **values)
        except Exception as error:
            data = getattr(error, "data", None) or {}
            status = getattr(error, "status_code", None) or data.get("statusCode")
            return [getattr(error, "code", None), status, type(error).__name__]
        return []


def check(program: Program, picture: Path, other: Path) -> dict[str, Any]:
    """Run all steps; one item is left, under PRODUCT and NAME."""
    content, found = picture.read_bytes(), {}
    shop: dict[str, Any] = {"instance_name": "shop"}
    key = {**shop, "product_id": PRODUCT, "pic_name": NAME}
    attributes = {
        "custom_content": '{"a": "ü"}',
        "int_attr": 5,
        "int_attr_2": 2,
        "int_attr_3": -3,
        "int_attr_4": 4,
        "str_attr": "rot & grün",
        "str_attr_2": "2",
        "str_attr_3": "3",
        "str_attr_4": "=+~*",
    }

    def stream() -> io.BytesIO:
        return io.BytesIO(content)

    def by_picture(**values: Any) -> dict[str, Any]:
        return program.call("search_image_by_pic_advance", **shop, pic_content_object=stream(), **values)

    found["added"] = program.call("add_image_advance", **key, pic_content_object=stream(), crop=True, **attributes)
    found["found"] = by_picture(num=3)
    found["above"] = by_picture(num=9, score_threshold="0.900000", crop=False)
    found["filtered"] = by_picture(num=9, filter='int_attr>=3 AND str_attr="rot & grün"', distinct_product_id=True)
    found["by_name"] = program.call("search_image_by_name", **key, num=2, start=1)
    found["again"] = program.call("add_image_advance", **key, pic_content_object=stream(), crop=True, **attributes)
    if program.has("search_image_by_filter"):
        found["by_filter"] = program.call("search_image_by_filter", **shop, filter="int_attr=5")
    if program.has("check_image_exists"):
        found["exists"] = program.call("check_image_exists", **key)
    if program.has("compare_similar_by_image"):
        pictures = {
            "primary_pic_content_object": stream(),
            "secondary_pic_content_object": io.BytesIO(other.read_bytes()),
        }
        found["compared"] = program.call("compare_similar_by_image_advance", **shop, **pictures)
    found |= _changes(program, other)
    if program.has("detail"):
        found["detail"] = program.call("detail", **shop)
        found |= _tasks(program)
    if program.has("search_image_by_text"):
        found["text"] = program.failure("search_image_by_text", **shop, text="a red mug")
    return found


def _changes(program: Program, picture: Path) -> dict[str, Any]:
    """Of an item that is gone in the end."""
    found: dict[str, Any] = {}
    shop: dict[str, Any] = {"instance_name": "shop"}
    key = {**shop, "product_id": SECOND, "pic_name": NAME}
    if "pic_content" in inspect.signature(models.AddImageRequest.__init__).parameters:
        base64 = b64encode(picture.read_bytes()).decode()
        found["base64"] = program.call("add_image", **key, pic_content=base64, int_attr=1, category_id=3)
    else:
        content = io.BytesIO(picture.read_bytes())
        program.call("add_image_advance", **key, pic_content_object=content, int_attr=1, category_id=3)
    if program.has("update_image"):
        numbers = {"int_attr": 10, "int_attr_2": 20, "int_attr_3": 30, "int_attr_4": 40}
        texts = {"str_attr": "t", "str_attr_2": "t2", "str_attr_3": "t3", "str_attr_4": "t4", "custom_content": "c"}
        found["updated"] = program.call("update_image", **key, **numbers, **texts)
    if program.has("check_image_exists"):
        found["after update"] = program.call("check_image_exists", **key)
    found["deleted"] = program.call("delete_image", **key)
    if program.has("check_image_exists"):
        found["after deletion"] = program.call("check_image_exists", **key)
    found["deleted again"] = program.call("delete_image", **shop, product_id=SECOND)
    found["absent"] = program.failure("search_image_by_name", **key)
    return found


def _tasks(program: Program) -> dict[str, Any]:
    """An export, until it has ended; and the list of imports."""
    found: dict[str, Any] = {"dump": program.call("dump_meta", instance_name="shop")}
    wanted = {"instance_name": "shop", "id": int(found["dump"]["Data"]["Id"]), "page_number": 1, "page_size": 5}
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found["dumps"] = program.call("dump_meta_list", **wanted)
        if found["dumps"]["Data"]["DumpMetaList"][0]["Status"] != "PROCESSING":
            break
    found["imports"] = program.call("increase_list", instance_name="shop", page_number=1, page_size=5)
    return found


def main() -> None:
    """Print what came back."""
    place = json.loads(sys.argv[1])
    picture, other = Path(place.pop("picture")), Path(place.pop("other"))
    json.dump(check(Program(**place), picture, other), sys.stdout)


if __name__ == "__main__":
    main()
