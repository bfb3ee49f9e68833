"""Who sends a request: checked in an order that tells nothing to those who may not know, and keeps nothing of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imgsearch.server.authentication import Authentication
from imgsearch.server.errors import RequestRefused
from imgsearch.server.forms import parse_pairs
from imgsearch.server.keys import ANYBODY, KeyRing
from imgsearch.server.signatures import Received
from tests.server.serving import KEEPER, Signer, write_keys


@pytest.fixture
def authentication(tmp_path: Path) -> Authentication:
    return Authentication(KeyRing(write_keys(tmp_path)))


def received(signer: Signer = KEEPER, **options: Any) -> Received:
    arguments = signer.request("Detail", {"InstanceName": "shop"}, **options)
    body = arguments["content"]
    return Received("POST", "/", [], arguments["headers"], parse_pairs(body), body)


def code_of(authentication: Authentication, request: Received) -> str:
    with pytest.raises(RequestRefused) as refusal:
        authentication.check(request)
    assert KEEPER.secret not in refusal.value.message
    return refusal.value.code


def test_a_key_is_told_by_its_signature(authentication: Authentication) -> None:
    key = authentication.check(received())
    assert (key.id, key.may_write) == ("shopkeeper", True)


def test_without_keys_anybody_may_ask() -> None:
    request = Received("POST", "/", [], {}, [], b"")
    assert Authentication(None).check(request) is ANYBODY


@pytest.mark.parametrize("header", ["origin", "sec-fetch-site"])
@pytest.mark.parametrize("value", ["null", "http://127.0.0.1:8080", "same-origin", "cross-site"])
def test_without_keys_no_page_in_a_browser_may_ask(header: str, value: str) -> None:
    """Any page can post a form to this machine; with keys, it could not sign it."""
    request = received()
    request = replace(request, headers={**request.headers, header: value})
    with pytest.raises(RequestRefused) as refused:
        Authentication(None).check(request)
    assert (refused.value.code, refused.value.status) == ("CrossSiteRequest", 403)


def test_each_check_has_its_code(authentication: Authentication) -> None:
    """The date before the key, the key before the signature."""
    unknown, wrong = Signer("nobody", "x" * 16), Signer("shopkeeper", "x" * 16)
    assert code_of(authentication, received(unknown, ahead=2000)) == "InvalidTimeStamp.Expired"
    assert code_of(authentication, received(unknown)) == "InvalidAccessKeyId.NotFound"
    assert code_of(authentication, received(wrong)) == "SignatureDoesNotMatch"
    assert code_of(authentication, replace(received(), headers={})) == "MissingAuthorization"
    request = received()
    token = replace(request, headers={**request.headers, "x-acs-security-token": "t"})
    assert code_of(authentication, token) == "InvalidSecurityToken"


def test_what_was_signed_is_told_to_who_signed_it_wrongly(authentication: Authentication) -> None:
    """Which helps to find out why; it is short, however long the request is."""
    request = received(Signer("shopkeeper", "x" * 16))
    with pytest.raises(RequestRefused, match=r"server string to sign is:ACS3-HMAC-SHA256\n[0-9a-f]{64}$"):
        authentication.check(request)


def test_a_nonce_is_remembered_of_a_valid_request_only(authentication: Authentication) -> None:
    """Nobody else can use up the nonces of a key, or fill the memory."""
    for signer in (Signer("nobody", "x" * 16), Signer("shopkeeper", "x" * 16)):
        for _ in range(2):
            assert code_of(authentication, received(signer, nonce="n1")) != "SignatureNonceUsed"
    assert len(authentication._nonces._seen) == 0
    authentication.check(received(nonce="n1"))
    assert code_of(authentication, received(nonce="n1")) == "SignatureNonceUsed"


def test_nothing_can_be_changed_on_the_way(authentication: Authentication) -> None:
    """Neither operation, instance, date nor host."""
    request = received()
    for name in ("x-acs-action", "x-acs-version", "host", "x-acs-signature-nonce"):
        changed = replace(request, headers={**request.headers, name: "Other"})
        assert code_of(authentication, changed) == "SignatureDoesNotMatch"
    assert code_of(authentication, replace(request, body=b"InstanceName=other")) == "SignatureDoesNotMatch"
    assert code_of(authentication, replace(request, query=[("Num", "1")])) == "SignatureDoesNotMatch"
    authentication.check(request)
