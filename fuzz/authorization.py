"""``Authentication``: a request is refused, or it is one that was signed with a key of ours.

An input is the line of the request, its headers and its body, as HTTP has them. All are checked at one moment, so that
requests which were signed for it stay valid.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from email.utils import format_datetime
from hashlib import sha256
from typing import Any, Final
from unittest.mock import patch

from fuzz.checks import check_error
from fuzz.files import folder, replaced
from imgsearch.server import replay
from imgsearch.server.authentication import Authentication
from imgsearch.server.errors import RequestRefused
from imgsearch.server.forms import parse_pairs
from imgsearch.server.keys import ANYBODY, KeyRing, new_key
from imgsearch.server.signatures import ACS3, Received, quoted, read_signature

NOW: Final = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
KEYS: Final = KeyRing(replaced(folder() / "keys.toml", new_key("fuzz").encode()))
FORM: Final = b"InstanceName=shop&ProductId=p&PicName=a%2Bb.jpg"
DATE: Final = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"


class _Clock(datetime):
    """A clock that stands."""

    @classmethod
    def now(cls, _tz: tzinfo | None = None) -> datetime:
        return NOW


def read(data: bytes) -> Received:
    """The request of an input."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, _, target = first.partition(b" ")
    path, _, query = target.partition(b"?")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()
    return Received(
        method.decode("latin-1"), path.decode("latin-1"), parse_pairs(query), headers, parse_pairs(body), body
    )


def written(method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
    """An input."""
    lines = [f"{method} {target}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _signed(data: bytes, blank: bytes) -> bytes:
    """The same with the signature of our key in the place of a blank one; quoted, where it is in the query."""
    signature = read_signature(read(data))
    given = signature.digest(KEYS.all()[0].secret, signature.text())
    return data.replace(blank, (quoted(given) if b"&Signature=" in data else given).encode())


def seeds() -> list[bytes]:
    """A signed request of each scheme, with and without what may be left out."""
    found = []
    headers = {
        "host": "127.0.0.1:8080",
        "x-acs-action": "AddImage",
        "x-acs-version": "2020-12-14",
        "x-acs-date": DATE,
        "x-acs-signature-nonce": "n",
        "x-acs-content-sha256": sha256(FORM).hexdigest(),
    }
    blank = "0" * 64
    header = f"{ACS3} Credential=fuzz,SignedHeaders={';'.join(headers)},Signature={blank}"
    found.append(_signed(written("POST", "/", {**headers, "authorization": header}, FORM), blank.encode()))
    blank = "A" * 27 + "="
    roa = {"date": format_datetime(NOW, usegmt=True), "accept": "application/json", "x-acs-version": "2019-03-25"}
    for more in ({}, {"x-acs-signature-nonce": "n"}):
        asked = {**roa, **more, "authorization": f"acs fuzz:{blank}"}
        found.append(_signed(written("POST", "/v2/image/add?instanceName=shop&x", asked, FORM), blank.encode()))
    blank = "B" * 8
    query = f"AccessKeyId=fuzz&Timestamp={DATE}&SignatureNonce=n&Action=AddImage&Version=2020-12-14"
    for more_query in ("", "&SignatureMethod=HMAC-SHA1"):
        request = written("POST", f"/?{query}{more_query}&Signature={blank}", {}, FORM)
        found.append(_signed(request, blank.encode()))
    return found


def _meaning(request: Received, *, with_body: bool) -> tuple[Any, ...]:
    query = sorted(pair for pair in request.query if pair[0] != "Signature")
    return request.method, request.path, query, sorted(request.form) if with_body else []


_SIGNED: Final = [read(seed) for seed in seeds()]


def target(data: bytes) -> None:
    try:
        request = read(data)
    except RequestRefused as error:
        check_error(error)
        return
    with patch.object(replay, "datetime", _Clock):
        _check(request)


def _check(request: Received) -> None:
    try:
        key = Authentication(KEYS).check(request)
    except RequestRefused as error:
        # As the service does, it shows the lines of the text that was to be signed.
        check_error(error, has_lines=error.code == "SignatureDoesNotMatch")
    else:
        assert key.id == "fuzz"
        # The signature of ROA covers no body.
        with_body = not request.headers.get("authorization", "").startswith("acs ")
        meanings = [_meaning(signed, with_body=with_body) for signed in _SIGNED]
        assert _meaning(request, with_body=with_body) in meanings
    try:
        assert Authentication(None).check(request) is ANYBODY
    except RequestRefused as error:
        check_error(error)
        assert {"origin", "sec-fetch-site"} & set(request.headers)
