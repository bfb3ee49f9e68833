"""The upload detour: tickets that nobody else can make, and pictures that only their key finds, in bounded memory."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from imgsearch.server.errors import RequestRefused
from imgsearch.server.forms import Upload
from imgsearch.server.uploads import Uploads, received_document, split_host

HOST = "127.0.0.1:8080"


class Clock:
    """Seconds that a test sets."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def form(uploads: Uploads, key_id: str = "web", file: bytes = b"PICTURE") -> Upload:
    """What an SDK makes of a new ticket."""
    ticket = uploads.ticket(key_id, HOST, plain=False)
    fields = {
        "OSSAccessKeyId": ticket["AccessKeyId"],
        "policy": ticket["EncodedPolicy"],
        "Signature": ticket["Signature"],
        "key": ticket["ObjectKey"],
        "success_action_status": "201",
    }
    return Upload(fields, file)


def link(name: str) -> str:
    return f"http://{HOST}/{name}"


def is_refused(uploads: Uploads, upload: Upload) -> bool:
    with pytest.raises(RequestRefused) as refusal:
        uploads.receive(upload)
    return (refusal.value.code, refusal.value.status) == ("AccessDenied", 403)


def is_unknown(uploads: Uploads, address: str, key_id: str = "web") -> bool:
    with pytest.raises(RequestRefused) as refusal:
        uploads.find(address, key_id)
    return (refusal.value.code, refusal.value.status) == ("InvalidPicContent", 400)


def test_a_picture_is_found_by_its_key_only() -> None:
    """More than once, as a client that repeats its request sends the same link."""
    uploads = Uploads()
    name = uploads.receive(form(uploads))
    for _ in range(2):
        for address in (link(name), f"http://http://{HOST}/{name}", f"{link(name)}?x=/y"):
            assert uploads.find(address, "web") == b"PICTURE"
    assert is_unknown(uploads, link(name), "other")


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "http://127.0.0.1:8080/",
        "http://127.0.0.1:8080/../keys.toml",
        "://",
        "http://[::1",
        "http://\x00",
    ],
)
def test_links_are_not_followed(address: str) -> None:
    assert is_unknown(Uploads(), address)


def test_tickets_cannot_be_made_or_changed() -> None:
    uploads = Uploads()
    good = form(uploads)
    policy = json.loads(base64.b64decode(good.fields["policy"]))
    forged = base64.b64encode(json.dumps(policy | {"id": "other"}).encode()).decode()
    for changes in (
        {"policy": forged},
        {"policy": ""},
        {"Signature": ""},
        {"Signature": "ü"},
        {"Signature": good.fields["Signature"][:-2]},
        {"key": "another"},
        {"key": ""},
    ):
        assert is_refused(uploads, replace(good, fields=good.fields | changes))
    assert is_refused(uploads, Upload({}, b"PICTURE"))
    assert is_refused(Uploads(), good), "another server's"
    assert uploads.kept_bytes == 0
    uploads.receive(good)


def test_tickets_and_pictures_expire() -> None:
    clock = Clock()
    uploads = Uploads(clock)
    late, kept = form(uploads), form(uploads)
    name = uploads.receive(kept)
    clock.now += 299
    assert uploads.find(link(name), "web") == b"PICTURE"
    clock.now += 2
    assert is_refused(uploads, late)
    assert is_unknown(uploads, link(name))
    assert uploads.kept_bytes == 0


def test_memory_is_bounded() -> None:
    """The oldest go first; one that comes again is counted once."""
    uploads = Uploads(max_bytes=1000)
    names = [uploads.receive(form(uploads, file=bytes([number]) * 300)) for number in range(5)]
    assert uploads.kept_bytes == 900
    assert [is_unknown(uploads, link(name)) for name in names[:2]] == [True, True]
    assert [uploads.find(link(name), "web")[0] for name in names[2:]] == [2, 3, 4]
    again = form(uploads, file=b"x" * 100)
    for _ in range(3):
        uploads.receive(again)
    assert uploads.kept_bytes == 1000
    assert is_unknown(uploads, link(uploads.receive(form(uploads, file=b"x" * 1001)))), "larger than all memory"
    assert uploads.kept_bytes == 0


@pytest.mark.parametrize(
    ("host", "plain", "bucket", "endpoint"),
    [
        ("127.0.0.1:8080", False, "127", "0.0.1:8080"),
        ("imgsearch.example.com", False, "imgsearch", "example.com"),
        ("127.0.0.1:8080", True, "http://127", "0.0.1:8080"),
        ("localhost:8080", False, "127", "0.0.1:8080"),
        ("localhost", True, "http://127", "0.0.1"),
        ("", False, "127", "0.0.1"),
    ],
)
def test_the_host_is_cut_at_its_first_dot(host: str, plain: bool, bucket: str, endpoint: str) -> None:
    """The SDKs put it together again; a name without a dot cannot be cut."""
    assert split_host(host, plain=plain) == (bucket, endpoint)
    ticket = Uploads().ticket("web", host, plain=plain)
    assert (ticket["Bucket"], ticket["Endpoint"], ticket["UseAccelerate"]) == (bucket, endpoint, False)


def test_each_ticket_is_for_another_name() -> None:
    uploads = Uploads()
    assert len({uploads.ticket("web", HOST, plain=False)["ObjectKey"] for _ in range(100)}) == 100


def test_the_answer_is_that_of_oss() -> None:
    """XML with the fields that its clients read, whatever the host is said to be."""
    document = ET.fromstring(received_document('a"<b>&.c', "K", b"PICTURE"))  # our own
    fields = {child.tag: child.text for child in document}
    assert document.tag == "PostResponse"
    assert fields["Key"] == "K"
    assert fields["ETag"] == f'"{hashlib.md5(b"PICTURE").hexdigest().upper()}"'
    assert fields["Bucket"] == 'a"<b>&'
    assert fields["Location"] == 'http://a"<b>&.c/K'
