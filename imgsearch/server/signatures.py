"""The three signature schemes of the vendor's SDKs: ACS3-HMAC-SHA256, RPC with HMAC-SHA1, ROA with HMAC-SHA1.

Each is read from a request in two steps: ``read_signature`` finds who claims to have signed, when, and the signature;
``Signature.is_valid`` computes what a secret would give. The SDKs' own signers are the oracle of the tests.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from imgsearch.server.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Received", "Signature", "read_signature"]

ACS3: Final = "ACS3-HMAC-SHA256"
MUST_BE_SIGNED: Final = frozenset(
    {"host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"}
)
ACS3_PATTERN: Final = re.compile(
    rf"{ACS3} Credential=([^,\s]{{1,128}}),\s*SignedHeaders=([a-z0-9;-]{{1,1000}}),\s*Signature=([0-9a-f]{{64}})"
)
RPC_PATH: Final = "/"
ROA_PATTERN: Final = re.compile(r"acs ([^:\s]{1,128}):([A-Za-z0-9+/]{27}=)")
BASE64_TEXT: Final = re.compile(r"[A-Za-z0-9+/=_.~%&-]*")
"""Text that five replacements quote: ``quote`` takes most of a second for the picture of a form, holding the GIL."""

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it was signed."""

    method: str
    path: str
    """As sent, without scheme, host and query."""
    query: Pairs
    headers: Mapping[str, str]
    """By lower-case name."""
    form: Pairs
    body: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """What a request says about its signature."""

    key_id: str
    date: datetime
    nonce: str | None
    """None with ROA-SHA1, whose core SDK sends none."""
    given: str
    text: Callable[[], str]
    """The string to sign; computed when it is needed, as it may have megabytes."""
    digest: Callable[[str, str], str]
    """Maps the secret and the string to the signature."""

    def is_valid(self, secret: str, text: str) -> bool:
        """Whether it was made with this secret, of this text."""
        return hmac.compare_digest(self.digest(secret, text).encode(), self.given.encode())


def read_signature(request: Received) -> Signature:
    """Find the signature of a request.

    Raises:
        RequestRefused: there is none, it is malformed, or it leaves out what must be signed.
    """
    authorization = request.headers.get("authorization", "")
    if authorization.startswith(ACS3):
        return _acs3(request, authorization)
    if authorization.startswith("acs "):
        return _roa(request, authorization)
    query = dict(request.query)
    if "Signature" in query:
        return _rpc(request, query)
    raise _missing("Authorization", "the request is not signed")


def _missing(name: str, message: str) -> RequestRefused:
    return RequestRefused(f"{message}; {name} is required", code=f"Missing{name}")


def _refused(message: str) -> RequestRefused:
    return RequestRefused(message, code="IncompleteSignature")


# ACS3


def _acs3(request: Received, authorization: str) -> Signature:
    parts = ACS3_PATTERN.fullmatch(authorization)
    if parts is None:
        raise _refused("the Authorization header is malformed")
    key_id, signed, given = parts.groups()
    names = signed.split(";")
    unsigned = sorted(MUST_BE_SIGNED.difference(names))
    if unsigned:
        raise _refused(f"the header {unsigned[0]} is not among SignedHeaders")
    absent = sorted(set(names).difference(request.headers))
    if absent:
        raise _refused(f"the header {absent[0]} is signed, but absent")
    digest = hashlib.sha256(request.body).hexdigest()
    if request.headers["x-acs-content-sha256"] != digest:
        raise RequestRefused("x-acs-content-sha256 is not the body's digest", code="SignatureDoesNotMatch")

    def text() -> str:
        headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in sorted(names))
        canonical = "\n".join(
            (request.method, request.path, _canonical(request.query), headers, ";".join(sorted(names)), digest)
        )
        return f"{ACS3}\n{hashlib.sha256(canonical.encode()).hexdigest()}"

    return Signature(
        key_id,
        _iso_date(request.headers["x-acs-date"]),
        request.headers["x-acs-signature-nonce"],
        given,
        text,
        lambda secret, signed_text: hmac.new(secret.encode(), signed_text.encode(), hashlib.sha256).hexdigest(),
    )


# RPC-SHA1


def _rpc(request: Received, query: Mapping[str, str]) -> Signature:
    if request.path != RPC_PATH:  # it is not signed: an addition could be turned into a deletion on the way
        raise _refused(f"the signature is for the path {RPC_PATH}")
    for name in ("AccessKeyId", "Timestamp", "SignatureNonce", "Action", "Version"):
        if not query.get(name):
            raise _missing(name, "the signature is incomplete")
    if query.get("SignatureMethod", "HMAC-SHA1") != "HMAC-SHA1":
        raise _refused("SignatureMethod is not HMAC-SHA1")

    def text() -> str:
        pairs = [pair for pair in (*request.query, *request.form) if pair[0] != "Signature"]
        return f"{request.method}&{quoted(RPC_PATH)}&{quoted(_canonical(pairs))}"

    return Signature(
        query["AccessKeyId"],
        _iso_date(query["Timestamp"]),
        query["SignatureNonce"],
        query["Signature"],
        text,
        lambda secret, signed: _sha1(f"{secret}&", signed),
    )


# ROA-SHA1


def _roa(request: Received, authorization: str) -> Signature:
    parts = ROA_PATTERN.fullmatch(authorization)
    if parts is None:
        raise _refused("the Authorization header is malformed")
    headers = request.headers
    md5 = headers.get("content-md5", "")
    if md5 and md5 != base64.b64encode(hashlib.md5(request.body, usedforsecurity=False).digest()).decode():
        raise RequestRefused("Content-MD5 is not the body's digest", code="SignatureDoesNotMatch")
    if "date" not in headers:
        raise _missing("Date", "the signature is incomplete")

    def text() -> str:
        own = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-acs-"))
        query = "&".join(f"{name}={value}" if value else name for name, value in sorted(request.query))
        resource = f"{request.path}?{query}" if query else request.path
        fields = (request.method, headers.get("accept", ""), md5, headers.get("content-type", ""), headers["date"])
        return "\n".join((*fields, own + resource))

    return Signature(parts[1], _http_date(headers["date"]), headers.get("x-acs-signature-nonce"), parts[2], text, _sha1)


# What they share


def quoted(text: str) -> str:
    """A text as signatures quote it (RFC 3986, ``~`` left alone); in a fraction of the time for base64."""
    if not BASE64_TEXT.fullmatch(text):
        return quote(text, safe="~")
    for plain, code in (("%", "%25"), ("+", "%2B"), ("/", "%2F"), ("=", "%3D"), ("&", "%26")):
        text = text.replace(plain, code)
    return text


def _canonical(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(f"{quoted(name)}={quoted(value)}" for name, value in sorted(pairs))


def _sha1(secret: str, text: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def _iso_date(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _invalid_date(text) from None


def _http_date(text: str) -> datetime:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # of a number of many digits
        raise _invalid_date(text) from None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date


def _invalid_date(text: str) -> RequestRefused:
    return RequestRefused(f"the date {text[:40]!r} is not one of the signature's form", code="InvalidTimeStamp.Format")
