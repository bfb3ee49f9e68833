"""The server as tests run it: real sockets in threads of this process, and requests that are signed as an SDK does."""

from __future__ import annotations

import faulthandler
import hashlib
import json
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import httpx
import trustme
from alibabacloud_tea_openapi.utils import Utils
from starlette.applications import Starlette

from imgsearch import AddPicture, Attributes, FilePicture, Instance, Key, Kind, PictureOptions
from imgsearch.server.api import Api
from imgsearch.server.app import make_app
from imgsearch.server.authentication import Authentication
from imgsearch.server.running import Address, bound_socket, make_server
from imgsearch.server.start import Parts, Settings, assembled
from imgsearch.server.throttling import Limits, Throttle
from tests.conftest import ROOT
from tests.pictures import jpeg

SAMPLES = ROOT / "sample_data"
ITEMS = 24
"""Of the template: the first of the sample catalogue."""
PATIENCE = 120
"""Seconds after which a test fails that would hang else."""
ACS3 = "ACS3-HMAC-SHA256"
ACCESS = """
[[key]]
id = "shopkeeper"
secret = "correct-horse-battery"
instances = ["shop"]
rights = "write"

[[key]]
id = "visitor"
secret = "staple-of-the-visitor"
instances = ["shop"]
rights = "read"

[[key]]
id = "neighbour"
secret = "secret-of-the-neighbour"
instances = ["other"]
rights = "write"
"""
"""The key file of the tests."""


@dataclass(frozen=True)
class Signer:
    """A key, and how its owner signs."""

    key_id: str
    secret: str

    def request(
        self,
        action: str,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        *,
        host: str = "127.0.0.1",
        version: str = "2020-12-14",
        nonce: str | None = None,
        ahead: float = 0.0,
    ) -> dict[str, Any]:
        """The arguments of ``httpx.Client.post``; the date is so many seconds ahead."""
        body = urlencode(form or {}).encode()
        headers = {
            "host": host,
            "x-acs-action": action,
            "x-acs-version": version,
            "x-acs-date": (datetime.now(UTC) + timedelta(seconds=ahead)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x-acs-signature-nonce": nonce or secrets.token_hex(16),
            "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
            "content-type": "application/x-www-form-urlencoded",
        }
        own = SimpleNamespace(method="POST", pathname="/", query=dict(query or {}), headers=headers)
        authorization = Utils.get_authorization(own, ACS3, headers["x-acs-content-sha256"], self.key_id, self.secret)
        return {"params": query, "content": body, "headers": {**headers, "authorization": authorization}}


KEEPER = Signer("shopkeeper", "correct-horse-battery")
VISITOR = Signer("visitor", "staple-of-the-visitor")
NEIGHBOUR = Signer("neighbour", "secret-of-the-neighbour")


def make_template(folder: Path) -> None:
    """A product instance with the first pictures of the sample catalogue."""
    Instance.create(folder)
    lines = (SAMPLES / "increment.meta").read_text().splitlines()[:ITEMS]
    with Instance.open(folder) as instance:
        outcomes = list(instance.apply(_addition(json.loads(line)) for line in lines))
        assert all(outcome.error is None for outcome in outcomes), outcomes
        assert instance.count() == ITEMS


def _addition(line: Mapping[str, Any]) -> AddPicture:
    return AddPicture(
        line["PicName"],
        Key(line["ProductId"], line["PicName"]),
        FilePicture(SAMPLES / line["PicName"]),
        PictureOptions(line["CategoryId"]),
        Attributes(
            int_attr=line["IntAttr"],
            str_attr=line.get("StrAttr"),
            str_attr2=line.get("StrAttr2"),
            custom_content=line["CustomContent"],
        ),
    )


def make_other(folder: Path) -> None:
    """A generic instance with one item."""
    Instance.create(folder, Kind.GENERIC)
    with Instance.open(folder) as instance:
        instance.add(jpeg(1), "neighbours", "one.jpg")


def write_keys(folder: Path, text: str = ACCESS) -> Path:
    """A key file of that text."""
    path = folder / "keys.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


@contextmanager
def listening(app: Starlette, address: Address) -> Iterator[str]:
    """Serve an application in a thread; its address."""
    bound = bound_socket(address)
    ready = threading.Event()
    server = make_server(app, address, ready.set, lambda: None)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield f"{address.scheme}://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        bound.close()
        if thread.is_alive():
            faulthandler.dump_traceback(sys.__stderr__)
        assert not thread.is_alive(), "the server does not end"


@dataclass
class Service:
    """A server at several addresses, all of one set of open instances."""

    parts: Parts
    settings: Settings
    url: str
    """Plain HTTP, with keys."""
    tls_url: str
    open_url: str
    """Plain HTTP, without keys."""
    authority: Path
    """Certificate of the authority that has issued the server's."""
    http: httpx.Client
    """For requests; made once, as it reads all certificates of this machine."""

    @property
    def shop(self) -> Instance:
        """The instance as this process has it open."""
        return self.parts.instances.get("shop").instance

    def ask(self, signer: Signer, action: str, form: Mapping[str, str] | None = None, **options: Any) -> httpx.Response:
        """Send a signed request."""
        host = self.url.partition("://")[2]
        return self.http.post(f"{self.url}/", **signer.request(action, form, host=host, **options))

    def call(self, action: str, form: Mapping[str, str] | None = None, **query: str) -> dict[str, Any]:
        """Have an operation carried out without a key; its document."""
        headers = {"x-acs-action": action, "x-acs-version": "2020-12-14"}
        answer = self.http.post(
            f"{self.open_url}/",
            params=query,
            data=dict({"InstanceName": "shop"} | dict(form or {})),
            headers=headers,
        )
        document: dict[str, Any] = answer.json()
        return document


@contextmanager
def serving(settings: Settings, certificates: Path) -> Iterator[Service]:
    """Run a server until the end of the block.

    Args:
        settings: of it; address and keys are for the addresses that have them.
        certificates: a folder for a new authority and its certificate for 127.0.0.1.
    """
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(certificates / "ca.pem"))
    issued.private_key_pem.write_to_path(str(certificates / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(certificates / "cert.pem"))
    secure = replace(settings.address, certificate=certificates / "cert.pem", key=certificates / "key.pem")
    with ExitStack() as stack:
        parts = stack.enter_context(assembled(settings, lambda _line: None))
        anybody = Api(parts.instances, Authentication(None), Throttle(Limits()), parts.api._tasks)
        urls = [
            stack.enter_context(listening(make_app(api, parts.instances, parts.files), address))
            for api, address in ((parts.api, settings.address), (parts.api, secure), (anybody, settings.address))
        ]
        http = stack.enter_context(httpx.Client(timeout=PATIENCE))
        yield Service(parts, settings, *urls, certificates / "ca.pem", http)
