"""Downloads over http(s) from a server on loopback.

Contract: a picture comes complete, within its limits of size and time, or with words that say why not, and which never
repeat the link; what may pass is tried again; nothing is connected to but permitted addresses, whatever names,
redirects and spellings say; an unchanged picture has the same token, whether it was sent or only its headers.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from imgsearch.errors import ImgsearchError, InvalidValue, PictureTooLarge, UnreadableSource
from imgsearch.sources.http.fetcher import Fetcher
from imgsearch.sources.http.guard import is_any, is_public
from imgsearch.sources.http.hosts import FAILURES_IN_A_ROW, PER_HOST, asked_pause
from imgsearch.sources.http.link import Link
from imgsearch.types import Content
from tests.pictures import jpeg
from tests.web_server import Served, WebServer

PICTURE = jpeg(1)
LIMIT = 100_000


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer().running() as running:
        yield running


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    with Fetcher(downloads=16, timeout=5, is_permitted=is_any) as opened:
        yield opened


def get(fetcher: Fetcher, url: str, limit: int = LIMIT) -> Content:
    return fetcher.picture(Link.parse(url), limit)


def error_of(fetcher: Fetcher, url: str, limit: int = LIMIT) -> ImgsearchError:
    with pytest.raises(ImgsearchError) as caught:
        get(fetcher, url, limit)
    assert "\n" not in caught.value.message
    assert "secret" not in caught.value.message
    return caught.value


def test_a_picture(web: WebServer, fetcher: Fetcher) -> None:
    url = web.put("/a%20b.jpg?x=1", PICTURE)
    assert get(fetcher, f"{web.url}/a b.jpg?x=1#part").data == PICTURE
    assert get(fetcher, url).data == PICTURE
    assert web.counts["GET"] == 2
    for headers in web.headers:
        assert headers["Host"] == f"127.0.0.1:{web.port}"
        assert not {"Authorization", "Cookie", "Referer"} & set(headers)


def test_a_token_is_the_same_with_and_without_the_body(web: WebServer, fetcher: Fetcher) -> None:
    """From the ETag, else from a time of change that is some seconds old; and it changes with the picture."""
    old = time.time() - 1000
    served = [
        Served(PICTURE),
        Served(PICTURE, has_etag=False, changed=old),
        Served(jpeg(2)),
        Served(jpeg(2), has_etag=False, changed=old + 1),
    ]
    tokens = []
    for one in served:
        url = web.put("/a.jpg", one)
        token = get(fetcher, url).token
        head = fetcher.head(Link.parse(url))
        assert head is not None
        assert (head.token, head.size) == (token, len(one.data))
        tokens.append(token)
    assert None not in tokens
    assert len(set(tokens)) == len(tokens)
    other = get(fetcher, web.put("/b.jpg", PICTURE))
    assert other.token not in tokens


@pytest.mark.parametrize("changed", [0, None], ids=["changed just now", "no time"])
def test_no_token_if_nothing_tells_versions_apart(web: WebServer, fetcher: Fetcher, changed: float | None) -> None:
    url = web.put("/a.jpg", Served(PICTURE, has_etag=False, changed=None if changed is None else time.time()))
    assert get(fetcher, url).token is None


def test_a_server_that_does_not_know_head(web: WebServer, fetcher: Fetcher) -> None:
    web.knows_head = False
    url = web.put("/a.jpg", PICTURE)
    assert fetcher.head(Link.parse(url)) is None
    assert get(fetcher, url).data == PICTURE


@pytest.mark.parametrize(
    ("answers", "code", "message", "requests"),
    [
        ([Served(b"no", status=404)], "PictureError", "127.0.0.1 has no such picture (404)", 1),
        ([Served(b"no", status=410)], "PictureError", "no such picture (410)", 1),
        ([Served(b"no", status=403)], "AccessDenied", "refuses the picture (403)", 1),
        ([Served(b"no", status=401)], "AccessDenied", "refuses the picture (401)", 1),
        ([Served(b"no", status=418)], "PictureError", "status 418", 1),
        ([Served(b"", status=204)], "PictureError", "status 204", 1),
        ([Served(b"", status=301)], "PictureError", "status 301", 1),
        ([Served(b"<!DOCTYPE HTML><p>", content_type="image/jpeg")], "PictureError", "a web page, not a picture", 1),
        ([Served(b"\n<p>secret", content_type="text/html; charset=x")], "PictureError", "a web page", 1),
        ([Served(PICTURE, headers={"Content-Encoding": "br"})], "PictureError", "encoding 'br'", 1),
        ([Served(PICTURE, headers={"Content-Encoding": "gzip"})], "PictureError", "damaged", 1),
        ([Served(status=302, headers={"Location": "/a.jpg"})], "PictureError", "redirects in a circle", 1),
        ([Served(status=302, headers={"Location": "ftp://x/secret"})], "PictureError", "cannot be used", 1),
        ([Served(status=302, headers={"Location": "http://u:secret@x/"})], "PictureError", "a user name", 1),
        ([Served(status=302, headers={"Location": "http://[secret/"})], "PictureError", "malformed", 1),
        ([Served(PICTURE, headers={"Content-Length": str(LIMIT)})], "InvalidPicContent", "100,000", 1),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_had(
    web: WebServer, fetcher: Fetcher, answers: list[Served], code: str, message: str, requests: int
) -> None:
    """It is told in words, after one request."""
    error = error_of(fetcher, web.put("/a.jpg", *answers))
    assert error.code == code
    assert message in error.message
    assert web.counts["GET"] == requests


@pytest.mark.parametrize(
    "fault",
    [
        Served(b"no", status=500),
        Served(b"no", status=503),
        Served(b"no", status=429, headers={"Retry-After": "1"}),
        Served(PICTURE, cut=100),
        Served(PICTURE, cut=0),
        Served(resets=True),
    ],
    ids=["500", "503", "429", "cut", "no body", "reset"],
)
def test_what_passes_is_tried_again(web: WebServer, fetcher: Fetcher, fault: Served) -> None:
    """Then the picture is whole."""
    url = web.put("/a.jpg", fault, Served(PICTURE))
    assert get(fetcher, url).data == PICTURE
    assert web.counts["GET"] == 2


@pytest.mark.extended
def test_what_does_not_pass_ends_after_some_attempts(web: WebServer) -> None:
    with Fetcher(downloads=1, timeout=30, is_permitted=is_any) as fetcher:
        error = error_of(fetcher, web.put("/a.jpg", Served(b"no", status=500)))
        assert "failed every time (500)" in error.message
        assert web.counts["GET"] == 6
        error = error_of(fetcher, web.put("/b.jpg", Served(PICTURE, cut=100)))
        assert "cut off every time" in error.message
        assert web.counts["GET /b.jpg"] == 6


@pytest.mark.parametrize("served", [Served(PICTURE, pause=0.02), Served(slow_headers=True)], ids=["body", "headers"])
def test_what_trickles_ends_in_time(web: WebServer, served: Served) -> None:
    """However few bytes come at a time; each of them renews the time limit of a socket."""
    with Fetcher(downloads=1, timeout=1, is_permitted=is_any) as fetcher:
        error = error_of(fetcher, web.put("/a.jpg", served))
    assert error.code == "TimeoutForTransferImage"
    assert "in time" in error.message


def test_a_server_that_says_nothing(fetcher: Fetcher) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Fetcher(downloads=1, timeout=0.5, is_permitted=is_any) as hurried,
    ):
        error = error_of(hurried, f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg")
    assert error.code == "TimeoutForTransferImage"


@pytest.mark.extended
def test_no_server(fetcher: Fetcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
    error = error_of(fetcher, f"http://127.0.0.1:{port}/secret.jpg")
    assert error.code == "NetworkException"
    assert "connection to 127.0.0.1 failed" in error.message
    error = error_of(fetcher, "http://nowhere.invalid/secret.jpg")
    assert error.code == "NetworkException"
    assert "no host nowhere.invalid" in error.message


def test_sizes(web: WebServer, fetcher: Fetcher) -> None:
    """The limit itself is too large; of a body without a length, no more is read than the limit."""
    url = web.put("/a.jpg", PICTURE)
    assert get(fetcher, url, len(PICTURE) + 1).data == PICTURE
    with pytest.raises(PictureTooLarge):
        get(fetcher, url, len(PICTURE))
    bomb = gzip.compress(bytes(10**7))
    url = web.put("/b.jpg", Served(bomb, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(PictureTooLarge):
        get(fetcher, url)
    url = web.put("/c.jpg", Served(gzip.compress(PICTURE), headers={"Content-Encoding": "gzip"}))
    assert get(fetcher, url).data == PICTURE


# Redirects and addresses


def test_redirects_are_followed(web: WebServer, fetcher: Fetcher) -> None:
    """A few of them, relative ones too, and the token stays that of the link."""
    url = web.put("/1", Served(status=301, headers={"Location": "2?x"}))
    web.put("/2?x", Served(status=307, headers={"Location": f"//127.0.0.1:{web.port}/3"}))
    web.put("/3", PICTURE)
    found = get(fetcher, url)
    assert found.data == PICTURE
    head = fetcher.head(Link.parse(url))
    assert head is not None
    assert head.token == found.token
    for number in range(10, 17):
        web.put(f"/{number}", Served(status=302, headers={"Location": f"/{number + 1}"}))
    web.put("/17", PICTURE)
    assert "more than 5 times" in error_of(fetcher, f"{web.url}/10").message
    assert get(fetcher, f"{web.url}/12").data == PICTURE


def test_a_redirect_to_a_private_address(web: WebServer) -> None:
    """Is not followed: nothing arrives there."""
    with (
        WebServer("127.0.0.2").running() as inner,
        Fetcher(downloads=1, timeout=5, is_permitted=lambda address: address == "127.0.0.1") as fetcher,
    ):
        target = inner.put("/a.jpg", PICTURE)
        error = error_of(fetcher, web.put("/a.jpg", Served(status=302, headers={"Location": target})))
        assert error.code == "AccessDenied"
        assert "leads to 127.0.0.2" in error.message
        assert "--allow-private" in error.message
        assert not inner.counts


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]", "0"],
)
def test_loopback_in_any_spelling_is_refused(web: WebServer, host: str) -> None:
    """Nothing arrives at the server."""
    web.put("/a.jpg", PICTURE)
    with Fetcher(downloads=1, timeout=5, is_permitted=is_public) as fetcher:
        error = error_of(fetcher, f"http://{host}:{web.port}/a.jpg")
    assert error.code in ("AccessDenied", "NetworkException")
    assert not web.counts


def test_a_name_that_changes_its_address(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is resolved once for a connection, and the address that was checked is the one connected to."""
    answers = ["127.0.0.1", "127.0.0.2", "127.0.0.2"]
    real, asked = socket.getaddrinfo, []

    def resolve(host: Any, port: Any, *rest: Any) -> Any:
        asked.append(host)
        return real(answers[len(asked) - 1], port, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    web.put("/a.jpg", PICTURE)
    with Fetcher(downloads=1, timeout=5, is_permitted=lambda address: address == "127.0.0.1") as fetcher:
        assert get(fetcher, f"http://shop.test:{web.port}/a.jpg").data == PICTURE
        assert asked == ["shop.test"]
    with Fetcher(downloads=1, timeout=5, is_permitted=lambda address: address == "127.0.0.1") as fetcher:
        assert error_of(fetcher, f"http://shop.test:{web.port}/a.jpg").code == "AccessDenied"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
        ("2001::1", False),
    ],
)
def test_public_addresses(address: str, expected: bool) -> None:
    assert is_public(address) is expected


# Hosts


def test_few_requests_at_once(web: WebServer, fetcher: Fetcher) -> None:
    web.latency = 0.05
    urls = [web.put(f"/{number}.jpg", PICTURE) for number in range(40)]
    with ThreadPoolExecutor(16) as pool:
        assert {content.data for content in pool.map(lambda url: get(fetcher, url), urls)} == {PICTURE}
    assert 1 < web.most_at_once <= PER_HOST


def test_a_pause_that_is_asked_for_counts_for_all(web: WebServer, fetcher: Fetcher) -> None:
    """The next request waits, too."""
    moments: list[float] = []
    web.on_request = lambda _path: moments.append(time.monotonic())
    url = web.put("/a.jpg", Served(b"", status=503, headers={"Retry-After": "1"}), Served(PICTURE))
    assert get(fetcher, url).data == PICTURE
    assert moments[1] - moments[0] >= 1


def test_a_pause_beyond_the_time_limit(web: WebServer, fetcher: Fetcher) -> None:
    """Is told at once, and nothing more is asked of the host until then."""
    url = web.put("/a.jpg", Served(b"", status=429, headers={"Retry-After": "600"}))
    assert "asks for a pause of 600 s" in error_of(fetcher, url).message
    assert "asks for a pause" in error_of(fetcher, web.put("/b.jpg", PICTURE)).message
    assert web.counts["GET"] == 1


def test_pauses() -> None:
    """As a number of seconds or as a date; anything else is none."""
    later = datetime.now(UTC) + timedelta(seconds=100)
    assert 95 < asked_pause(later.strftime("%a, %d %b %Y %H:%M:%S GMT")) <= 100
    assert asked_pause(" 7 ") == 7
    for text in (None, "", "soon", "-1", "1e9", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Foo 1970"):
        assert asked_pause(text) == 0


def test_a_host_that_only_fails_is_given_up(fetcher: Fetcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
    hurried = Fetcher(downloads=1, timeout=0.01, is_permitted=is_any)
    messages = [error_of(hurried, f"http://127.0.0.1:{port}/a.jpg").message for _ in range(FAILURES_IN_A_ROW + 1)]
    assert sum("not asked any more" in message for message in messages) == 1
    hurried.close()


# Links


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://Shop.Example/A b.jpg#x", "http://shop.example/A%20b.jpg"),
        ("https://shop.example:443", "https://shop.example/"),
        ("HTTPS://shop.example:8443/a?b=c", "https://shop.example:8443/a?b=c"),
        ("http://bücher.example/ä.jpg", "http://xn--bcher-kva.example/%C3%A4.jpg"),
        ("http://shop.example/a/../b.jpg", "http://shop.example/b.jpg"),
        (" http://[::1]:80/a ", "http://[::1]/a"),
    ],
)
def test_links(text: str, url: str) -> None:
    assert Link.parse(text).url == url


@pytest.mark.parametrize(
    "text",
    [
        "", "a.jpg", "//shop/secret.jpg", "ftp://shop/secret.jpg", "file:///secret", "javascript:secret", "http://",
        "http:///secret", "http://user:secret@shop/a.jpg", "http://secret@shop/", "http://shop:99999999/secret",
        "http://[secret/",
        "http://[secret#x", "http://shop/sec\nret", "http://shop/sec\0ret", "http://shop/" + "secret" * 2000, "http://:80/",
        "http://a b/secret", "http://shop/sec\ud800ret", "http://" + "x" * 300 + ".example/secret",
    ],
)  # fmt: skip
def test_links_that_are_none(text: str) -> None:
    """Are refused without being repeated, when they are parsed or when they are used."""
    with Fetcher(downloads=1, timeout=1, is_permitted=is_any) as fetcher:
        error = error_of(fetcher, text)
    assert isinstance(error, InvalidValue | UnreadableSource)
    assert error.message.isprintable()


# TLS


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for a host's name, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "certificate.pem", folder / "key.pem"
    public.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return public, private


def test_certificates_are_those_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of the address that is connected to; another name and an unknown issuer are refused."""
    public, private = certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    with WebServer().running(context) as web:
        web.put("/a.jpg", PICTURE)
        link = f"https://localhost:{web.port}/a.jpg"
        with Fetcher(downloads=1, timeout=5, is_permitted=is_any) as fetcher:
            assert "certificate of localhost cannot be verified" in error_of(fetcher, link).message
        monkeypatch.setenv("SSL_CERT_FILE", str(public))
        with Fetcher(downloads=1, timeout=5, is_permitted=is_any) as fetcher:
            assert get(fetcher, link).data == PICTURE
            assert "certificate of 127.0.0.1" in error_of(fetcher, f"{web.url}/a.jpg").message
        assert web.counts["GET"] == 1
