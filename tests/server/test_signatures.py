"""What is signed is what the SDKs' own signers sign; what is malformed is refused with a code.

The oracle: ``Utils`` of alibabacloud_tea_openapi (ACS3, RPC, ROA) and the composers of aliyun-python-sdk-core.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from alibabacloud_tea_openapi.utils import Utils
from aliyunsdkcore.auth.composer import roa_signature_composer, rpc_signature_composer
from hypothesis import example, given
from hypothesis import strategies as st

from imgsearch.server.errors import RequestRefused
from imgsearch.server.forms import parse_pairs
from imgsearch.server.signatures import Received, Signature, quoted, read_signature

KEY_ID, SECRET = "web", "0123456789abcdefghij"
DATE = "2026-11-26T16:08:42Z"
HTTP_DATE = "Thu, 26 Nov 2026 16:11:46 GMT"
ACS3 = "ACS3-HMAC-SHA256"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
PAIRS = st.dictionaries(NAMES.filter(lambda name: name != "Signature"), TEXT, max_size=6)
HEADER_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(str.strip)
OWN_HEADERS = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12).map("x-acs-extra-{}".format),
    HEADER_VALUES,
    max_size=3,
)


def sent(pairs: dict[str, str]) -> list[tuple[str, str]]:
    """What a server reads of what an SDK sends."""
    return parse_pairs(urlencode(pairs).encode())


def is_accepted(signature: Signature, secret: str = SECRET) -> bool:
    return signature.is_valid(secret, signature.text())


def acs3(query: dict[str, str], extra: dict[str, str], body: bytes = b"", path: str = "/") -> Received:
    """A request that the SDK's signer has signed."""
    headers = {
        "host": "127.0.0.1:8080",
        "x-acs-action": "AddImage",
        "x-acs-version": "2020-12-14",
        "x-acs-date": DATE,
        "x-acs-signature-nonce": "n1",
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        **extra,
    }
    request = SimpleNamespace(method="POST", pathname=path, query=query, headers=headers)
    authorization = Utils.get_authorization(request, ACS3, headers["x-acs-content-sha256"], KEY_ID, SECRET)
    return Received("POST", path, sent(query), {**headers, "authorization": authorization}, [], body)


OF_RPC = {
    "Action": "AddImage",
    "Version": "2020-12-14",
    "Timestamp": DATE,
    "SignatureNonce": "n1",
    "SignatureMethod": "HMAC-SHA1",
    "SignatureVersion": "1.0",
    "AccessKeyId": KEY_ID,
}
"""Parameters of every request."""
OF_OLDER_SDK = {"Timestamp", "SignatureType", "Format"}
"""What it sets by itself, whatever it is given."""


def rpc(query: dict[str, str], form: dict[str, str]) -> Received:
    query = {**query, **OF_RPC}
    query["Signature"] = Utils.get_rpcsignature({**query, **form}, "POST", SECRET)
    return Received("POST", "/", sent(query), {}, sent(form), urlencode(form).encode())


def roa(query: dict[str, str], extra: dict[str, str], body: bytes = b"") -> Received:
    headers = {
        "accept": "application/json",
        "content-type": "application/x-www-form-urlencoded",
        "content-md5": base64.b64encode(hashlib.md5(body).digest()).decode(),
        "date": HTTP_DATE,
        "x-acs-signature-method": "HMAC-SHA1",
        **extra,
    }
    request = SimpleNamespace(method="POST", pathname="/v2/image/add", query=query, headers=headers)
    signature = Utils.get_roasignature(Utils.get_string_to_sign(request), SECRET)
    headers["authorization"] = f"acs {KEY_ID}:{signature}"
    return Received("POST", "/v2/image/add", sent(query), headers, [], body)


@given(query=PAIRS, extra=OWN_HEADERS, body=st.binary(max_size=50))
def test_acs3_is_what_the_sdk_signs(query: dict[str, str], extra: dict[str, str], body: bytes) -> None:
    """With any query, header and body; another secret, query, header or body is not accepted."""
    # The SDK leaves names as they are; it has none that would need quoting.
    query = {name: value for name, value in query.items() if quote(name, safe="~") == name}
    request = acs3(query, extra, body)
    signature = read_signature(request)
    assert is_accepted(signature)
    assert (signature.key_id, signature.nonce) == (KEY_ID, "n1")
    assert signature.date == datetime(2026, 11, 26, 16, 8, 42, tzinfo=UTC)
    assert not is_accepted(signature, "another secret of the length")
    others = [
        replace(request, query=[*request.query, ("More", "1")]),
        replace(request, method="PUT"),
        replace(request, path="/v2/image/delete"),
        *(
            replace(request, headers={**request.headers, name: f"{request.headers[name]}1"})
            for name in ("host", "x-acs-action", *extra)
        ),
    ]
    assert not any(is_accepted(read_signature(other)) for other in others)
    with pytest.raises(RequestRefused, match="digest"):
        read_signature(replace(request, body=body + b"x"))


@given(query=PAIRS, form=PAIRS)
@example({}, {"Action": "", "Format": "", "Signature": ""})
def test_rpc_is_what_both_sdks_sign(query: dict[str, str], form: dict[str, str]) -> None:
    """Query and form together, in any characters; both generations of SDKs agree."""
    form = {name: value for name, value in form.items() if name not in {*query, *OF_RPC, "Signature"}}
    request = rpc(query, form)
    signature = read_signature(request)
    assert is_accepted(signature)
    assert not is_accepted(signature, "another secret of the length")
    assert not is_accepted(read_signature(replace(request, form=[*request.form, ("More", "1")])))
    url, _ = rpc_signature_composer.get_signed_url(
        {**query, "Action": "AddImage", "Version": "2020-12-14"}, KEY_ID, SECRET, "JSON", "POST", form
    )
    old = Received("POST", "/", parse_pairs(url.partition("?")[2].encode()), {}, sent(form), b"")
    if not OF_OLDER_SDK & {*query, *form}:
        assert is_accepted(read_signature(old))


@given(query=PAIRS, extra=OWN_HEADERS, body=st.binary(max_size=50))
def test_roa_is_what_the_sdk_signs(query: dict[str, str], extra: dict[str, str], body: bytes) -> None:
    """The path, the query as it is, and all x-acs headers; a body with another digest is refused."""
    request = roa(query, extra, body)
    signature = read_signature(request)
    assert is_accepted(signature)
    assert signature.date == datetime(2026, 11, 26, 16, 11, 46, tzinfo=UTC)
    assert not is_accepted(signature, "another secret of the length")
    assert not is_accepted(read_signature(replace(request, path="/v2/image/delete")))
    with pytest.raises(RequestRefused, match="digest"):
        read_signature(replace(request, body=body + b"x"))


@given(query=st.dictionaries(st.sampled_from(["RegionId", "A", "b"]), TEXT), extra=OWN_HEADERS)
def test_roa_is_what_the_core_sdk_composes(query: dict[str, str], extra: dict[str, str]) -> None:
    """aliyun-python-sdk-core, of which requests have no nonce."""
    given_query = {name: value for name, value in query.items() if value}
    headers, text = roa_signature_composer.get_signature_headers(
        dict(given_query), KEY_ID, SECRET, "JSON", dict(extra), "/v2/image/add", None, "POST"
    )
    received = {name.lower(): value for name, value in headers.items()}
    signature = read_signature(Received("POST", "/v2/image/add", sent(given_query), received, [], b""))
    assert signature.text() == text
    assert is_accepted(signature)
    assert signature.nonce is None


def test_rpc_signs_no_path_and_holds_at_one_only() -> None:
    """Somebody between client and server could turn an addition into a deletion else."""
    with pytest.raises(RequestRefused, match="path") as refusal:
        read_signature(replace(rpc({}, {}), path="/v2/image/delete"))
    assert refusal.value.code == "IncompleteSignature"


def unsigned(name: str) -> Received:
    """A request whose signer has left out a header."""
    request = acs3({}, {})
    signed = {key: value for key, value in request.headers.items() if key not in (name, "authorization")}
    own = SimpleNamespace(method="POST", pathname="/", query={}, headers=signed)
    authorization = Utils.get_authorization(own, ACS3, request.headers["x-acs-content-sha256"], KEY_ID, SECRET)
    return replace(request, headers={**request.headers, "authorization": authorization})


@pytest.mark.parametrize(
    "name", ["host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"]
)
def test_what_must_be_signed_is_signed(name: str) -> None:
    with pytest.raises(RequestRefused, match=f"{name} is not among SignedHeaders") as refusal:
        read_signature(unsigned(name))
    assert refusal.value.code == "IncompleteSignature"


def changed(request: Received, **headers: str | None) -> Received:
    kept = {**request.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return replace(request, headers={name: value for name, value in kept.items() if value is not None})


def without(request: Received, name: str) -> Received:
    return replace(request, query=[pair for pair in request.query if pair[0] != name])


A_ACS3, A_RPC, A_ROA = acs3({}, {}), rpc({}, {}), roa({}, {})
WHOLE = A_ACS3.headers["authorization"]
MALFORMED: dict[str, tuple[Received, str]] = {
    "nothing": (changed(A_ACS3, authorization=None), "MissingAuthorization"),
    "empty": (changed(A_ACS3, authorization=""), "MissingAuthorization"),
    "another scheme": (changed(A_ACS3, authorization="Basic d2ViOnNlY3JldA=="), "MissingAuthorization"),
    "another hash": (changed(A_ACS3, authorization=WHOLE.replace("SHA256", "SM3")), "MissingAuthorization"),
    "scheme only": (changed(A_ACS3, authorization=ACS3), "IncompleteSignature"),
    "no key": (changed(A_ACS3, authorization=WHOLE.replace(f"={KEY_ID},", "=,")), "IncompleteSignature"),
    "cut off": (changed(A_ACS3, authorization=WHOLE[:-1]), "IncompleteSignature"),
    "too long": (changed(A_ACS3, authorization=WHOLE + "0"), "IncompleteSignature"),
    "upper case": (changed(A_ACS3, authorization=WHOLE[:-64] + WHOLE[-64:].upper()), "IncompleteSignature"),
    "a line break": (changed(A_ACS3, authorization=WHOLE + "\n"), "IncompleteSignature"),
    "long key": (changed(A_ACS3, authorization=WHOLE.replace(KEY_ID, "k" * 129)), "IncompleteSignature"),
    "absent header": (changed(A_ACS3, x_acs_date=None), "IncompleteSignature"),
    "wrong digest": (changed(A_ACS3, x_acs_content_sha256="0" * 64), "SignatureDoesNotMatch"),
    "no date": (changed(A_ACS3, x_acs_date="yesterday"), "InvalidTimeStamp.Format"),
    "roa cut off": (changed(A_ROA, authorization="acs web:short="), "IncompleteSignature"),
    "roa without colon": (changed(A_ROA, authorization="acs web"), "IncompleteSignature"),
    "roa digest": (changed(A_ROA, content_md5="xxxx"), "SignatureDoesNotMatch"),
    "roa undated": (changed(A_ROA, date=None), "MissingDate"),
    "roa bad date": (changed(A_ROA, date="yesterday"), "InvalidTimeStamp.Format"),
    "roa zone": (changed(A_ROA, date="Thu, 26 Nov 2026 16:11:46 +99999999999"), "InvalidTimeStamp.Format"),
    "roa year": (changed(A_ROA, date="Thu, 26 Nov 99999 16:11:46 GMT"), "InvalidTimeStamp.Format"),
    "rpc method": (replace(A_RPC, query=[*without(A_RPC, "SignatureMethod").query, ("SignatureMethod", "MD5")]),
                   "IncompleteSignature"),
    "rpc date": (replace(A_RPC, query=[*without(A_RPC, "Timestamp").query, ("Timestamp", "1")]),
                 "InvalidTimeStamp.Format"),
    **{
        f"rpc without {name}": (without(A_RPC, name), f"Missing{name}")
        for name in ("AccessKeyId", "Timestamp", "SignatureNonce", "Action", "Version")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_signature_is_refused_with_a_code(name: str) -> None:
    request, code = MALFORMED[name]
    with pytest.raises(RequestRefused) as refusal:
        read_signature(request)
    assert (refusal.value.code, refusal.value.status) == (code, 400)


@given(st.text("ABCxyz019+/=_.~%&-", max_size=200) | TEXT)
def test_quoting_is_that_of_the_standard_library(text: str) -> None:
    assert quoted(text) == quote(text, safe="~")


def test_a_picture_is_quoted_as_the_standard_library_does() -> None:
    """All characters of base64, by replacement, once and twice as RPC does it."""
    picture = base64.b64encode(bytes(range(256)) * 4096).decode()
    once = quoted(picture)
    assert once == quote(picture, safe="~")
    assert quoted(once) == quote(once, safe="~")


def test_a_large_rpc_form_is_signed_as_the_sdk_does() -> None:
    form: dict[str, Any] = {"PicContent": base64.b64encode(bytes(range(256)) * 4096).decode(), "ProductId": "ü &=+~*"}
    assert is_accepted(read_signature(rpc({"IntAttr3": "1"}, form)))
