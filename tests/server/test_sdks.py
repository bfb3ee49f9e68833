"""The vendor's SDKs as they are: every operation, both signatures, all ways of an upload, and what they make of errors.

Older versions, and npm, need environments of their own: ``python3 noxfile.py sdks``.
"""

from __future__ import annotations

import base64
import gc
import io
import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from alibabacloud_imagesearch20190325 import models as models_2019
from alibabacloud_imagesearch20190325.client import Client as Client2019
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_util.models import RuntimeOptions
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkimagesearch.request.v20190325.AddImageRequest import AddImageRequest
from aliyunsdkimagesearch.request.v20190325.DeleteImageRequest import DeleteImageRequest
from aliyunsdkimagesearch.request.v20190325.SearchImageRequest import SearchImageRequest
from darabonba.core import DaraCore
from darabonba.policy.retry import RetryCondition, RetryOptions

from imgsearch import Key, PictureOptions, SearchOptions
from imgsearch.server.throttling import Limits, Throttle
from imgsearch.service.documents import search_document
from tests.server.expected import OTHER, PICTURE, check_answers, forget, is_part
from tests.server.sdk_checks import NAME, PRODUCT, Program, check
from tests.server.serving import ACCESS, ITEMS, KEEPER, NEIGHBOUR, PATIENCE, VISITOR, Service, Signer, write_keys

pytestmark = [pytest.mark.networks, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]
NODE_MODULES = "IMGSEARCH_NODE_MODULES"
"""Variable with the folder of the npm package."""
INTERPRETERS = "IMGSEARCH_SDK_INTERPRETERS"
"""Variable with the interpreters of older SDKs: a JSON object, by version."""
HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    """The SDKs leave connections open; nothing of that is told behind the last test."""
    yield
    for session in DaraCore._sessions.values():
        session.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(autouse=True)
def _as_before(service: Service) -> Iterator[None]:
    """Each test finds the same items."""
    yield
    forget(service)


def program(service: Service, way: str, signer: Signer = KEEPER, **options: Any) -> Program:
    """A program that uploads in one of the ways."""
    address = urlsplit(service.tls_url if way == "A" else service.url).netloc
    ca = str(service.authority) if way == "A" else None
    return Program(way, address, signer.key_id, signer.secret, ca=ca, **options)


@pytest.fixture
def proxy(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of way B."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, service.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


# 2020-12-14


@pytest.mark.extended
@pytest.mark.parametrize("is_async", [False, pytest.param(True, marks=pytest.mark.extended)], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("way", "algorithm"), [pytest.param("A", None, marks=pytest.mark.extended), ("C", None), ("C", "v2")]
)
def test_a_program_of_4_4_0(service: Service, way: str, algorithm: str | None, is_async: bool) -> None:
    """All operations, answered as the library and the command line answer."""
    running = program(service, way, algorithm=algorithm, is_async=is_async)
    check_answers(check(running, PICTURE, OTHER), service)


@pytest.mark.extended
@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("algorithm", [pytest.param(None, marks=pytest.mark.extended), "v2"])
def test_a_program_of_4_4_0_behind_the_proxy(service: Service, algorithm: str | None) -> None:
    """It names the vendor's own hosts; nothing is sent there."""
    check_answers(check(program(service, "B", algorithm=algorithm), PICTURE, OTHER), service)


def test_a_program_may_name_the_proxy_itself(service: Service) -> None:
    """Which spares its other libraries."""
    running = program(service, "B")
    running.runtime.http_proxy = service.url
    found = running.call(
        "search_image_by_pic_advance", instance_name="shop", pic_content_object=io.BytesIO(PICTURE.read_bytes()), num=1
    )
    assert found["Auctions"][0]["ProductId"] == "mug-red"


def test_a_picture_in_the_form_and_the_same_uploaded_are_one(service: Service) -> None:
    """Found as identical, whichever way it came."""
    running, content = program(service, "C"), PICTURE.read_bytes()
    key = {"instance_name": "shop", "product_id": PRODUCT, "pic_name": NAME}
    running.call("add_image", **key, pic_content=base64.b64encode(content).decode())
    for found in (
        running.call(
            "search_image_by_pic_advance", instance_name="shop", pic_content_object=io.BytesIO(content), num=1
        ),
        running.call(
            "search_image_by_pic", instance_name="shop", pic_content=base64.b64encode(content).decode(), num=1
        ),
    ):
        assert (found["Auctions"][0]["PicName"], found["Auctions"][0]["Score"]) == (NAME, 1.0)


def test_deleting_by_filter(service: Service) -> None:
    running, content = program(service, "C"), base64.b64encode(PICTURE.read_bytes()).decode()
    for number in range(3):
        key = {"instance_name": "shop", "product_id": f"{PRODUCT}{number}", "pic_name": f"{number}.jpg"}
        running.call("add_image", **key, pic_content=content, int_attr=-number - 1, str_attr="to go")
    gone = running.call(
        "delete_image", instance_name="shop", is_delete_by_filter=True, filter='str_attr="to go" AND int_attr<-1'
    )
    assert sorted(gone["Data"]["PicNames"]) == ["1.jpg", "2.jpg"]
    assert running.failure("delete_image", instance_name="shop", is_delete_by_filter=True)[:2] == [
        *("InvalidFilterClause", 400),
    ]
    assert running.call("delete_image", instance_name="shop", product_id=f"{PRODUCT}0")["Data"]["PicNames"] == ["0.jpg"]


# Errors


def test_who_may_not_is_refused_with_a_code(service: Service) -> None:
    """Wrong secret, unknown key, another's instance, one that is nowhere, a key that may only read."""
    detail = ("detail",)
    other = {"instance_name": "other"}
    assert program(service, "C", Signer("shopkeeper", "wrong" * 5)).failure(*detail, instance_name="shop") == [
        *("SignatureDoesNotMatch", 400, "ClientException"),
    ]
    assert program(service, "C", Signer("nobody", "wrong" * 5)).failure(*detail, instance_name="shop") == [
        *("InvalidAccessKeyId.NotFound", 404, "ClientException"),
    ]
    foreign = program(service, "C").failure(*detail, **other)
    nowhere = program(service, "C").failure(*detail, instance_name="nowhere")
    assert foreign == nowhere == ["InvalidInstance", 400, "ClientException"], "nobody learns which there are"
    visitor = program(service, "C", VISITOR)
    assert visitor.call("detail", instance_name="shop")["Instance"]["TotalCount"] == ITEMS
    key = {"instance_name": "shop", "product_id": "mug-red"}
    for method, values in (
        ("delete_image", key),
        ("update_image", {**key, "pic_name": "x", "str_attr": "x"}),
        ("add_image", {**key, "pic_name": "x", "pic_content": "AAAA"}),
        ("dump_meta", {"instance_name": "shop"}),
        ("increase_instance", {"instance_name": "shop", "bucket_name": "abc", "path": "/x"}),
    ):
        assert visitor.failure(method, **values) == ["NoPermission", 403, "ClientException"]
    assert program(service, "C", NEIGHBOUR).call("detail", **other)["Instance"]["ServiceType"] == 1


def test_one_key_does_not_find_what_another_has_uploaded(service: Service) -> None:
    """Though it knows the link."""
    links: list[str] = []
    original = service.parts.api.uploads.find
    running = program(service, "C")

    def noted(link: str, key_id: str) -> bytes:
        links.append(link)
        return original(link, key_id)

    service.parts.api.uploads.find = noted  # type: ignore[method-assign]
    try:
        running.call(
            "search_image_by_pic_advance", instance_name="shop", pic_content_object=io.BytesIO(PICTURE.read_bytes())
        )
        refused = program(service, "C", VISITOR).failure(
            "search_image_by_pic", instance_name="shop", pic_content=links[0]
        )
    finally:
        service.parts.api.uploads.find = original  # type: ignore[method-assign]
    assert refused == ["InvalidPicContent", 400, "ClientException"]


@pytest.mark.parametrize("algorithm", [None, "v2"])
def test_a_wrong_clock_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch, algorithm: str | None) -> None:
    """2,000 seconds, either way."""
    from alibabacloud_tea_openapi import utils

    for seconds in (-2000, 2000):

        class Clock(datetime):
            @classmethod
            def utcnow(cls) -> datetime:
                return datetime.utcnow() + timedelta(seconds=seconds)  # noqa: B023, DTZ003

        with monkeypatch.context() as patch:
            patch.setattr(utils, "datetime", Clock)
            failure = program(service, "C", algorithm=algorithm).failure("detail", instance_name="shop")
        assert failure == ["InvalidTimeStamp.Expired", 400, "ClientException"]


@pytest.mark.parametrize("algorithm", [None, "v2"])
def test_a_request_counts_once(service: Service, monkeypatch: pytest.MonkeyPatch, algorithm: str | None) -> None:
    """With a nonce that comes again it is refused."""
    from alibabacloud_tea_openapi.utils import Utils

    running = program(service, "C", algorithm=algorithm)
    monkeypatch.setattr(Utils, "get_nonce", staticmethod(lambda: f"always the same {algorithm}"))
    assert running.call("detail", instance_name="shop")["Success"]
    assert running.failure("detail", instance_name="shop") == ["SignatureNonceUsed", 400, "ClientException"]


def test_throttling_is_an_exception_of_its_own(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK knows when to ask again, and does so by itself if it is told to."""
    monkeypatch.setattr(service.parts.api, "_throttle", Throttle(Limits(search=5)))
    running = program(service, "C")
    failures = [running.failure("detail", instance_name="shop") for _ in range(12)]
    assert ["Throttling.User", 400, "ThrottlingException"] in failures
    condition = RetryCondition({"maxAttempts": 5, "exception": ["ThrottlingException"]})
    running.runtime.retry_options = RetryOptions({"retryable": True, "retryCondition": [condition]})
    running.client._retry_options = running.runtime.retry_options
    answers = [running.call("detail", instance_name="shop") for _ in range(8)]
    assert all(answer["Success"] for answer in answers)


@pytest.mark.parametrize(
    "name", ["../other", "/", "shop/", "./shop", "shop/../other", "..", "shop\x00", "SHOP", "", "*", "x" * 4000]
)
def test_the_name_of_an_instance_is_no_path(service: Service, name: str) -> None:
    assert program(service, "C").failure("detail", instance_name=name)[0] == "InvalidInstance"


@pytest.mark.parametrize(
    "name", ["../../a.jpg", "/etc/passwd", "a\nb", "'; DROP TABLE items; --", "<b>", "%00", "ü" * 99]
)
def test_names_of_pictures_are_only_names(service: Service, name: str) -> None:
    """They come back as they were, or are refused with a code."""
    running = program(service, "C")
    key = {"instance_name": "shop", "product_id": PRODUCT, "pic_name": name}
    content = base64.b64encode(PICTURE.read_bytes()).decode()
    failure = running.failure("add_image", **key, pic_content=content)
    if failure:
        assert failure == ["InvalidPicName", 400, "ClientException"]
    else:
        found = running.call("search_image_by_name", **key, num=1)
        assert found["Auctions"][0]["PicName"] == name


@pytest.mark.parametrize(
    ("method", "values", "code"),
    [
        ("search_image_by_pic", {"pic_content": "AAAA"}, {"UnsupportedPicFormat"}),
        ("search_image_by_pic", {"pic_content": ""}, {"NoSpecifiedPicContent"}),
        ("search_image_by_pic", {"pic_content": "no base64!"}, {"InvalidPicContent"}),
        ("search_image_by_pic", {"pic_content": "http://127.0.0.1/x"}, {"InvalidPicContent"}),
        ("search_image_by_name", {"product_id": "mug-red", "pic_name": "none"}, {"PicNotExist"}),
        ("search_image_by_filter", {"filter": "int_attr ="}, {"InvalidFilterClause"}),
        ("search_image_by_filter", {"filter": "int_attr=1", "num": 0}, {"InvalidNumParameter"}),
        ("search_image_by_filter", {"filter": "int_attr=1", "start": -1}, {"InvalidStartParameter"}),
        ("update_image", {"product_id": "mug-red", "pic_name": "none", "str_attr": "x"}, {"PicNotExist"}),
        ("add_image", {"product_id": "p", "pic_name": "x"}, {"MissingPicContent"}),
        ("increase_list", {"page_size": 101}, {"InvalidParameter"}),
        ("increase_list", {"id": 2**63}, {"InvalidParameter"}),
        ("increase_list", {"page_number": 10**18}, {"InvalidParameter"}),
        (
            "add_image",
            {"product_id": "p", "pic_name": "x", "pic_content": "AAAA", "category_id": 12},
            {"InvalidCategory"},
        ),
        (
            "add_image",
            {"product_id": "p", "pic_name": "x", "pic_content": "AAAA", "int_attr": 2**31},
            {"InvalidIntAttr"},
        ),
        ("add_image", {"product_id": "p", "pic_name": "x", "pic_content": "AAAA", "region": "1"}, {"InvalidRegion"}),
    ],
)
def test_wrong_values_have_the_codes_of_the_service(
    service: Service, method: str, values: dict[str, Any], code: set[str]
) -> None:
    failure = program(service, "C").failure(method, instance_name="shop", **values)
    assert failure[0] in code
    assert failure[1:] == [400, "ClientException"]


# 2019-03-25


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("algorithm", [None, "v2"])
@pytest.mark.parametrize("is_proxied", [False, True])
def test_a_program_of_2019(service: Service, algorithm: str | None, is_proxied: bool) -> None:
    """Three operations in their own paths, pictures in forms, both signatures."""
    endpoint = "imagesearch.cn-shanghai.aliyuncs.com" if is_proxied else urlsplit(service.url).netloc
    config = Config(
        access_key_id=KEEPER.key_id, access_key_secret=KEEPER.secret, endpoint=endpoint, protocol="http",
        region_id="cn-shanghai", **({} if algorithm is None else {"signature_algorithm": algorithm}),
    )  # fmt: skip
    client, runtime = Client2019(config), RuntimeOptions(read_timeout=PATIENCE * 1000, connect_timeout=PATIENCE * 1000)
    content = base64.b64encode(PICTURE.read_bytes()).decode()

    def call(method: str, kind: Any, **values: Any) -> dict[str, Any]:
        answer = getattr(client, f"{method}_with_options")(kind(instance_name="shop", **values), {}, runtime)
        document: dict[str, Any] = answer.body.to_map()
        return document

    key = {"product_id": PRODUCT, "pic_name": NAME}
    added = call("add_image", models_2019.AddImageRequest, **key, pic_content=content, int_attr=5, crop=True)
    assert (added["Success"], added["PicInfo"]["Region"]) == (True, str(service.shop.item(Key(PRODUCT, NAME)).region))
    searcher = service.parts.instances.get("shop").searcher
    search = models_2019.SearchImageRequest
    found = call("search_image", search, type="SearchByPic", pic_content=content, num=3)
    expected = searcher.by_picture(PICTURE.read_bytes(), PictureOptions(), SearchOptions(3))
    is_part(found, search_document(expected, service.shop.kind, located=False))
    assert found["Auctions"][0]["ProductId"] == PRODUCT
    named = call("search_image", search, type="SearchByName", **key, num=2)
    is_part(named, search_document(searcher.by_name(Key(PRODUCT, NAME), None, SearchOptions(2)), service.shop.kind,
                                   located=False))  # fmt: skip
    assert call("delete_image", models_2019.DeleteImageRequest, **key)["Success"] is True
    assert not service.shop.has_item(Key(PRODUCT, NAME))
    with pytest.raises(Exception, match="PicNotExist"):
        call("search_image", search, type="SearchByName", **key)
    with pytest.raises(Exception, match=r"InvalidAction\.NotFound"):
        call("search_image", search, type="SearchByMagic", **key)


def test_a_program_of_the_core_sdk(service: Service) -> None:
    """aliyun-python-sdk-imagesearch 2.0.0: what it gets, and what it raises."""
    content = base64.b64encode(PICTURE.read_bytes()).decode()

    def client(signer: Signer) -> AcsClient:
        made = AcsClient(signer.key_id, signer.secret, "cn-shanghai", timeout=PATIENCE)
        made.set_max_retry_num(0)
        return made

    def call(kind: Any, signer: Signer = KEEPER, **values: Any) -> dict[str, Any]:
        request = kind()
        request.set_endpoint(urlsplit(service.url).netloc)
        request.set_InstanceName("shop")
        for name, value in values.items():
            getattr(request, f"set_{name}")(value)
        document: dict[str, Any] = json.loads(client(signer).do_action_with_exception(request))
        return document

    key = {"ProductId": PRODUCT, "PicName": NAME}
    added = call(AddImageRequest, **key, PicContent=content, IntAttr=5, StrAttr="rot & grün", Crop=True)
    assert (added["Success"], added["Message"]) == (True, "success")
    found = call(SearchImageRequest, Type="SearchByPic", PicContent=content, Num=1, Filter="int_attr=5")
    assert (found["Auctions"][0]["ProductId"], found["Auctions"][0]["Score"]) == (PRODUCT, 1.0)
    named = call(SearchImageRequest, Type="SearchByName", **key, Num=3)
    assert len(named["Auctions"]) == 3
    deleted = call(DeleteImageRequest, **key)
    assert (deleted["Success"], "Data" in deleted) == (True, False)
    for signer, code, status in (
        (Signer("shopkeeper", "wrong" * 5), "SignatureDoesNotMatch", 400),
        (Signer("nobody", "wrong" * 5), "InvalidAccessKeyId.NotFound", 404),
        (VISITOR, "NoPermission", 403),
    ):
        with pytest.raises(ServerException) as refusal:
            call(DeleteImageRequest, signer, **key)
        assert (refusal.value.get_error_code(), refusal.value.get_http_status()) == (code, status)


# Other environments


def _place(service: Service, way: str) -> str:
    ca = {"ca": str(service.authority)} if way == "A" else {}
    address = urlsplit(service.tls_url if way == "A" else service.url).netloc
    return json.dumps(
        {"way": way, "address": address, "key_id": KEEPER.key_id, "secret": KEEPER.secret, **ca}
        | {"picture": str(PICTURE), "other": str(OTHER)}
    )


def test_npm(service: Service) -> None:
    """@alicloud/imagesearch20201214 by TLS; its malformed upload is the picture, byte for byte."""
    modules = os.environ.get(NODE_MODULES)
    node = shutil.which("node")
    if node is None or modules is None:
        pytest.skip(f"{NODE_MODULES} names no folder with the package, or node is missing: 'python3 noxfile.py sdks'")
    program = HERE / "sdk_checks.cjs"
    done = subprocess.run(
        [node, program, _place(service, "A")],
        env={**os.environ, "NODE_PATH": modules},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    check_answers(json.loads(done.stdout), service)


OLD = json.loads((HERE / "sdks.json").read_text())["python"]
"""Older versions, and the ways of upload that they know."""


@pytest.mark.parametrize(("version", "way"), [(version, way) for version, sdk in OLD.items() for way in sdk["ways"]])
def test_an_older_version(service: Service, version: str, way: str) -> None:
    """In an environment of its own, whose interpreter a variable names."""
    interpreters = os.environ.get(INTERPRETERS)
    if interpreters is None:
        pytest.skip(f"{INTERPRETERS} names no interpreters with older SDKs: 'python3 noxfile.py sdks'")
    python = json.loads(interpreters)[version]
    proxy = {"HTTP_PROXY": service.url, "http_proxy": service.url} if way == "B" else {}
    done = subprocess.run(
        [python, HERE / "sdk_checks.py", _place(service, way)],
        env={**os.environ, **proxy},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    check_answers(found, service, attributes=False, threshold=False)
    if version == "4.2.2":
        assert {"detail", "compared", "updated", "text"} <= set(found)


def test_keys_are_those_of_the_file(service: Service) -> None:
    """A key that has gone from it is unknown as soon as it is read again; a new one counts."""
    running, keys = program(service, "C"), service.parts.keys
    assert keys is not None
    try:
        write_keys(keys.path.parent, ACCESS.replace('"shopkeeper"', '"another"'))
        keys.reload()
        assert running.failure("detail", instance_name="shop")[0] == "InvalidAccessKeyId.NotFound"
        assert program(service, "C", Signer("another", KEEPER.secret)).call("detail", instance_name="shop")["Success"]
    finally:
        write_keys(keys.path.parent)
        keys.reload()
    assert running.call("detail", instance_name="shop")["Success"]
