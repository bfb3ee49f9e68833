"""What comes over the wire: limits, answers that clients can read whatever happens, and what watches the server."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from imgsearch.server import app as application
from imgsearch.server.api import Answer, Api, Request
from imgsearch.server.forms import MAX_FORM_BYTES, MAX_UPLOAD_BYTES
from imgsearch.service.operations import OPERATIONS
from tests.server.serving import KEEPER, PATIENCE, VISITOR, Service

FORM = "application/x-www-form-urlencoded"
ERROR_FIELDS = {"RequestId", "HostId", "Code", "Message", "Recommend"}


def is_error(answer: httpx.Response, status: int, code: str) -> bool:
    """Whether it is the document that SDKs make an exception of."""
    document = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert set(document) == ERROR_FIELDS
    assert document["Message"]
    return (answer.status_code, document["Code"]) == (status, code)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/nothing", "/v2/image/other", "/v2", "/files", "/files/", "/%2e%2e/keys.toml", "//"])
def test_each_path_answers_with_a_document(service: Service, method: str, path: str) -> None:
    answer = service.http.request(method, service.open_url + path, headers={"x-acs-action": "Detail"})
    assert is_error(answer, 404, "InvalidAction.NotFound")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/files/a"])
def test_another_method_is_a_document_too(service: Service, path: str) -> None:
    assert is_error(service.http.post(service.open_url + path), 404, "InvalidAction.NotFound")


@pytest.mark.parametrize(
    ("headers", "query", "code"),
    [
        ({}, {}, "MissingAction"),
        ({"x-acs-action": "DropInstance", "x-acs-version": "2020-12-14"}, {}, "InvalidAction.NotFound"),
        ({"x-acs-action": "Detail", "x-acs-version": "2018-01-20"}, {}, "InvalidAction.NotFound"),
        ({"x-acs-action": "Detail"}, {}, "InvalidAction.NotFound"),
        ({"x-acs-action": "AuthorizeFileUpload", "x-acs-version": "2020-12-14"}, {}, "InvalidAction.NotFound"),
        ({"x-acs-action": "Detail", "x-acs-version": "2020-12-14"}, {}, "MissingInstanceName"),
        ({}, {"Action": "Detail", "Version": "2020-12-14"}, "MissingInstanceName"),
    ],
)
def test_an_operation_is_named(service: Service, headers: dict[str, str], query: dict[str, str], code: str) -> None:
    answer = service.http.post(service.open_url + "/", headers=headers, params=query)
    assert answer.json()["Code"] == code


def test_the_name_of_the_host_may_have_a_scheme(service: Service) -> None:
    """The Python SDK sends one where it was told to use plain HTTP."""
    host = service.url.partition("://")[2]
    answer = service.http.post(
        f"{service.url}/", **KEEPER.request("Detail", {"InstanceName": "shop"}, host=f"http://{host}")
    )
    assert answer.status_code == 200
    wrong = service.http.post(f"{service.url}/", **KEEPER.request("Detail", {}, host=f"http://{host}"))
    assert wrong.json()["HostId"] == host


# Limits of bodies


def pieces(count: int, size: int = 256 * 1024) -> Iterator[bytes]:
    for _ in range(count):
        yield b"A" * size


@pytest.mark.parametrize("has_length", [True, False])
def test_a_body_of_9_megabytes_is_refused_with_a_document(service: Service, has_length: bool) -> None:
    """The client has sent all of it before it reads: the connection is not cut off under it."""
    size = 9 * 1024 * 1024
    content: Any = b"PicContent=" + b"A" * size if has_length else pieces(36)
    with httpx.Client() as client:
        answer = client.post(service.open_url + "/", content=content, headers={"content-type": FORM})
        assert is_error(answer, 413, "RequestEntityTooLarge")


def test_an_upload_may_be_a_little_larger(service: Service) -> None:
    """It is refused for its ticket then, and behind its own limit for its size."""
    for size, code in ((MAX_FORM_BYTES, "AccessDenied"), (MAX_UPLOAD_BYTES, "RequestEntityTooLarge")):
        answer = service.http.post(service.url + "/", files={"file": ("a.jpg", b"A" * size)})
        assert answer.json()["Code"] == code


def test_a_body_that_goes_on_and_on_is_cut_off(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read to let the client see the answer has a limit, too."""
    monkeypatch.setattr(application, "DRAINED_BYTES", 10 * 1024 * 1024)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for piece in pieces(4096):
            sent += len(piece)
            yield piece

    try:
        answer = service.http.post(service.open_url + "/", content=endless(), headers={"content-type": FORM})
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # it was cut off while it sent
    assert sent < 64 * 1024 * 1024


def raw(service: Service, text: bytes) -> socket.socket:
    """A connection that has sent so much."""
    host, port = service.open_url.partition("://")[2].split(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
    connection.sendall(text)
    return connection


def received(connection: socket.socket) -> bytes:
    """All until the server closes."""
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


def test_a_slow_body_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "BODY_SECONDS", 0.2)
    with raw(service, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nInstanceName") as connection:
        answer = received(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["Code"] == "RequestTimeout"


def test_a_client_that_goes_away_leaves_no_trace(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """In the middle of its body; the server has nothing to tell, and its place is free."""
    for _ in range(5):
        raw(service, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nInstanceName").close()
    for _ in range(100):
        if "imgsearch_active_requests 0.0" in service.http.get(service.open_url + "/metrics").text:
            break
    else:
        pytest.fail("the requests are still counted")
    assert not [record for record in caplog.records if record.exc_info]


def test_too_many_requests_at_once_are_told_to_wait(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those under way are answered; others learn when to ask again. Searches do not keep writing waiting."""
    entered, go_on = threading.Semaphore(0), threading.Event()
    carried_out = Api.answer

    def held(self: Api, request: Request) -> Answer:
        if request.headers.get("x-acs-action") == "Detail":
            entered.release()
            assert go_on.wait(PATIENCE)
        return carried_out(self, request)

    monkeypatch.setattr(application, "MAX_READING", 3)
    monkeypatch.setattr(Api, "answer", held)
    with ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(service.call, "Detail") for _ in range(3)]
        for _ in futures:
            assert entered.acquire(timeout=PATIENCE)
        refused = service.http.post(service.open_url + "/", headers={"x-acs-action": "Detail"})
        assert is_error(refused, 503, "ServiceUnavailable")
        assert int(refused.headers["x-acs-retry-after"]) > 0
        assert service.call("DeleteImage", {"ProductId": "nothing"})["Success"]
        go_on.set()
        assert all(future.result(PATIENCE)["Success"] for future in futures)


def test_a_fault_is_a_document_without_its_trace(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the trace, under the id that the client gets."""

    def fail(*_arguments: object) -> None:
        raise ValueError("secret detail")

    monkeypatch.setattr("imgsearch.server.api.detail_document", fail)
    document = service.call("Detail")
    assert (document["Code"], "secret detail" in str(document)) == ("InternalError", False)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert document["RequestId"] in record.getMessage()


def test_a_fault_of_the_application_itself_is_a_document(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens: a client cannot read plain text."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise ValueError("secret detail")

    monkeypatch.setattr(application, "_request", fail)
    monkeypatch.setattr(application, "openapi_document", fail)
    for answer in (service.http.post(service.open_url + "/"), service.http.get(service.open_url + "/openapi.json")):
        assert is_error(answer, 500, "InternalError")
        assert "secret detail" not in answer.text


def test_folders_are_not_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of an instance names it as requests do."""
    folder = service.settings.named["shop"]
    form = {"ProductId": "nothing", "PicName": "nothing.jpg", "StrAttr": "x"}
    document = service.call("UpdateImage", form)
    assert document["Code"] == "PicNotExist"
    assert str(folder) not in document["Message"]
    assert "shop" in document["Message"]


# What watches the server


def test_health_and_readiness(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service.http.get(service.open_url + "/healthz").json() == {"Status": "ok"}
    assert service.http.get(service.open_url + "/readyz").json() == {"Status": "ok", "Instances": 2}

    def fail(*_arguments: object) -> None:
        raise OSError("no disk")

    monkeypatch.setattr("imgsearch.instance.Instance.count", fail)
    answer = service.http.get(service.open_url + "/readyz")
    assert (answer.status_code, answer.json()["Status"]) == (503, "failed")


def test_metrics_count_what_happens(service: Service) -> None:
    """By operation, status and code; instances by their items; in Prometheus' format."""

    def value(name: str) -> float:
        text = service.http.get(service.open_url + "/metrics").text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    done = 'imgsearch_requests_total{action="Detail",code="",status="200"}'
    refused = 'imgsearch_requests_total{action="Detail",code="MissingInstanceName",status="400"}'
    unknown = 'imgsearch_requests_total{action="unknown",code="InvalidAction.NotFound",status="404"}'
    before = [value(name) for name in (done, refused, unknown)]
    service.call("Detail")
    service.http.post(service.open_url + "/?Action=Detail&Version=2020-12-14")
    service.http.post(service.open_url + "/?Action=Whatever&Version=2020-12-14")
    assert [value(name) for name in (done, refused, unknown)] == [count + 1 for count in before]
    assert value('imgsearch_items{instance="shop"}') == service.shop.count()
    assert value('imgsearch_request_seconds_count{action="Detail"}') > 0
    assert value('imgsearch_write_queue{instance="shop"}') == 0


def test_metrics_are_for_this_machine(service: Service) -> None:
    """Another one finds nothing there, unless that is wanted; neither learns it what is wrong."""
    parts = service.parts
    for is_public, metrics_status in ((False, 404), (True, 200)):
        app = application.make_app(parts.api, parts.instances, parts.files, watched_by_all=is_public)
        with ThreadPoolExecutor(1) as thread:
            answers = thread.submit(asyncio.run, _asked_from_elsewhere(app)).result(PATIENCE)
        assert [answer.status_code for answer in answers] == [metrics_status, 200]


async def _asked_from_elsewhere(app: Any) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 5))
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        return [await client.get(path) for path in ("/metrics", "/healthz")]


def test_each_request_is_logged_without_its_content(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """Who, what, when, how long and how much; no values."""
    caplog.set_level("INFO", "imgsearch.access")
    form = {"InstanceName": "shop", "Filter": 'str_attr="hidden words"'}
    answer = service.ask(VISITOR, "SearchImageByFilter", form)
    (record,) = [record for record in caplog.records if record.name == "imgsearch.access"]
    facts = record.facts  # type: ignore[attr-defined]
    assert facts["KeyId"] == "visitor"
    assert (facts["Action"], facts["Instance"], facts["Status"]) == ("SearchImageByFilter", "shop", 200)
    assert facts["RequestId"] == answer.json()["RequestId"]
    assert "hidden" not in f"{record.getMessage()} {facts}"


def test_the_description_is_valid_openapi(service: Service) -> None:
    """With every operation and every parameter; the forms of requests fit their schemas."""
    document = service.http.get(service.open_url + "/openapi.json").json()
    assert document["openapi"].startswith("3.1.")
    assert set(document["info"]) >= {"title", "version"}
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all(operation["responses"] for operation in operations)
    references = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document))
    assert set(references) == set(document["components"]["schemas"])
    assert document["servers"] == [{"url": service.open_url}]
    schemas = document["components"]["schemas"]
    action = document["paths"]["/"]["post"]["parameters"][0]
    assert action["schema"]["enum"] == list(OPERATIONS)
    for name, operation in OPERATIONS.items():
        assert set(schemas[name]["properties"]) == {parameter.name for parameter in operation.parameters}
        Draft202012Validator.check_schema(schemas[name])
        validator = Draft202012Validator(schemas[name])
        required = {parameter.name: "x" for parameter in operation.parameters if parameter.required}
        assert validator.is_valid(required)
        assert not validator.is_valid({}), name


def test_state_is_private(service: Service) -> None:
    """Nobody else can read tasks and their results."""
    for path in (service.settings.state, *service.settings.state.rglob("*")):
        assert not Path(path).stat().st_mode & 0o077, path
