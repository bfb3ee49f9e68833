"""Requests made to break the server: each is answered with a document, none with a trace, and memory stays bounded.

Contract: whatever comes, the answer has a status and a code that the API knows and never ``InternalError``; the process
goes on, keeps no more in memory than its limits say, and writes no file. A seed makes the same requests again.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import socket
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

import pytest
from urllib3.filepost import encode_multipart_formdata

from imgsearch.server.api import Api, Request
from imgsearch.server.authentication import Authentication
from imgsearch.server.running import Address
from imgsearch.server.start import Settings
from imgsearch.server.tasks import OssAccess
from imgsearch.server.throttling import Limits, Throttle
from imgsearch.server.uploads import MAX_KEPT_BYTES
from imgsearch.service.operations import OPERATIONS, ParameterType
from tests import hostile
from tests.pictures import jpeg
from tests.server.serving import KEEPER, NEIGHBOUR, PATIENCE, VISITOR, Service, Signer, serving, write_keys

pytestmark = pytest.mark.networks
FORM: Final = "application/x-www-form-urlencoded"
STATUSES: Final = {200, 201, 400, 403, 404, 408, 409, 413, 500, 503}
GROWTH_BYTES: Final = 400 * 1024 * 1024
"""As much larger as the process may be behind all requests: networks, decoders and caches."""
TEXTS: Final = (
    *(
        "",
        " ",
        "shop",
        "other",
        "../other",
        "/etc/passwd",
        "p",
        "a.jpg",
        "%",
        "%00",
        "\x00",
        "\r\n",
        "\ud7ff",
        "\U0010ffff",
    ),
    *(
        "1",
        "0",
        "-1",
        "99999999999",
        "9" * 19,
        "1e9",
        "0.5",
        "NaN",
        "True",
        "FALSE",
        "null",
        "[]",
        "{}",
        "İ",
        "ﬀ",
        "ü" * 300,
    ),
    *(
        "int_attr=1",
        "int_attr>=0 AND (",
        "(" * 2000,
        "NOT " * 500 + "int_attr=1",
        'str_attr="' + "x" * 3000,
        "a" * 5000,
    ),
    *(
        "str_attr IN (" + ",".join(['"x"'] * 500) + ")",
        "' OR 1=1 --",
        "<script>",
        "1,2,3,4",
        "0,0,0,0",
        "1,9999999,1,9",
    ),
    *("http://169.254.169.254/", "file:///etc/passwd", "://", "AAAA", "====", "A", "data:image/png;base64,AAAA"),
)
METHODS: Final = ("GET", "POST", "POST", "POST", "PUT", "DELETE", "HEAD", "PATCH")
PATHS: Final = (
    "/",
    "/",
    "/",
    "/",
    "/v2/image/add",
    "/v2/image/search",
    "/v2/image/delete",
    "/v2/../",
    "//",
    "/%00",
    "/files/x",
)


class Attacker:
    """Makes requests.

    Args:
        seed: the same one makes the same requests.
        keyed: the server asks for signatures.
    """

    def __init__(self, seed: int, *, keyed: bool) -> None:
        self._random = random.Random(seed)
        self._keyed = keyed
        self._pictures = [one.data for one in hostile.sample(60, seed) if len(one.data) < 1_000_000] + [jpeg(1)]

    def request(self) -> Request:
        return self._random.choice([self._operation, self._operation, self._operation, self._upload, self._noise])()

    def _text(self) -> str:
        chance = self._random.random()
        if chance < 0.8:
            return self._random.choice(TEXTS)
        if chance < 0.9:
            return "".join(self._random.choices(string.printable, k=self._random.randrange(50)))
        return "".join(chr(self._random.randrange(1, 0xD7FF)) for _ in range(self._random.randrange(50)))

    def _value(self, kind: ParameterType, name: str) -> str:
        if kind is ParameterType.PICTURE and self._random.random() < 0.8:
            return base64.b64encode(self._random.choice(self._pictures)).decode()
        good = {"InstanceName": "shop", "ProductId": "p", "PicName": "a.jpg", "BucketName": "my-bucket", "Num": "3"}
        return good[name] if name in good and self._random.random() < 0.8 else self._text()

    def _operation(self) -> Request:
        """Parameters of an operation, most of them wrong, at any place."""
        action = self._random.choice([*OPERATIONS, "AuthorizeFileUpload", self._text()])
        pairs: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
        for parameter in OPERATIONS[action].parameters if action in OPERATIONS else ():
            if parameter.required or self._random.random() < 0.3:
                place = self._random.random() < 0.1 and parameter.type is not ParameterType.PICTURE
                pairs[place].append((parameter.name, self._value(parameter.type, parameter.name)))
        if self._random.random() < 0.1:
            pairs[self._random.randrange(2)].append((self._text(), self._text()))
        if self._keyed and self._random.random() < 0.7:
            return self._signed(action, dict(pairs[0]), dict(pairs[1]))
        form, query = ("&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in part) for part in pairs)
        headers = {"content-type": FORM, "x-acs-action": action, "x-acs-version": "2020-12-14"}
        return self._made(self._random.choice(PATHS), query, headers, form.encode())

    def _signed(self, action: str, form: dict[str, str], query: dict[str, str]) -> Request:
        """Well signed, but for something that was changed on the way."""
        signer = self._random.choice([KEEPER, KEEPER, VISITOR, NEIGHBOUR, Signer("nobody", "x" * 16)])
        arguments = signer.request(action, form, query, ahead=self._random.choice([0, 0, 0, 2000, -2000]))
        headers, body = arguments["headers"], arguments["content"]
        text = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in query.items())
        if self._random.random() < 0.5:
            name = self._random.choice(list(headers))
            headers[name] = self._random.choice([self._text(), headers[name][:-1], headers[name] * 2, ""])
        if self._random.random() < 0.1:
            body += b"&x=1"
        return Request("POST", "/", text.encode(), _as_sent(headers), body, secure=False)

    def _made(self, path: str, query: str, headers: dict[str, str], body: bytes) -> Request:
        if self._random.random() < 0.2:
            headers[self._random.choice(["host", "authorization", "content-type", "date", "user-agent"])] = self._text()
        if self._random.random() < 0.1:
            body = bytes(self._random.randbytes(1)) + body
        return Request(
            self._random.choice(METHODS),
            path,
            query.encode(),
            _as_sent(headers),
            body,
            secure=self._random.random() < 0.3,
        )

    def _upload(self) -> Request:
        """A multipart form with a piece exchanged."""
        fields: list[tuple[str, Any]] = [
            (name, self._text())
            for name in ("OSSAccessKeyId", "Signature", "key", "policy")
            if self._random.random() < 0.9
        ]
        fields.append(("file", ("x", self._random.choice(self._pictures))))
        body, content_type = encode_multipart_formdata(fields, "b0undary")
        if self._random.random() < 0.7:
            place = self._random.randrange(len(body))
            cut = place + self._random.randrange(200)
            body = body[:place] + self._random.randbytes(self._random.randrange(30)) + body[cut:]
        if self._random.random() < 0.1:
            content_type = self._text()
        return self._made("/", "", {"content-type": content_type}, body)

    def _noise(self) -> Request:
        """Bytes."""
        query = "".join(chr(self._random.randrange(33, 127)) for _ in range(self._random.randrange(200)))
        body = self._random.randbytes(self._random.randrange(500))
        return self._made(self._random.choice(PATHS), query, {"content-type": FORM, "x-acs-action": "Detail"}, body)


def _quoted(text: str) -> str:
    return quote_plus(text, errors="surrogatepass")


def _as_sent(headers: dict[str, str]) -> dict[str, str]:
    """Header values as a server reads them from the wire."""
    return {name: value.encode("utf-8", "replace").decode("latin-1") for name, value in headers.items()}


@pytest.fixture(scope="module")
def attacked(template: Path, other_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server of its own, as its items may be deleted; imports find no storage."""
    base = tmp_path_factory.mktemp("attacked")
    shutil.copytree(template, base / "shop")
    shutil.copytree(other_template, base / "other")
    named = {"shop": base / "shop", "other": base / "other"}
    access = OssAccess(endpoint="http://127.0.0.1:9")
    settings = Settings(Address("127.0.0.1", 0), base / "state", named, keys=write_keys(base), oss=access)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSS_ACCESS_KEY_ID", "none")
        patch.setenv("OSS_ACCESS_KEY_SECRET", "none")
        with serving(settings, base) as running:
            yield running


def resident() -> int:
    """Bytes of this process."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def check_attack(attacked: Service, caplog: pytest.LogCaptureFixture, count: int, seed: int) -> None:
    """Send so many requests, half of them to a server without keys."""
    anybody = Api(attacked.parts.instances, Authentication(None), Throttle(Limits()), attacked.parts.api._tasks)
    sides = [(attacked.parts.api, Attacker(seed, keyed=True)), (anybody, Attacker(seed + 1, keyed=False))]
    served = attacked.parts.instances.get("shop")
    served.searcher.by_picture(jpeg(1))
    served.writer.add(jpeg(1), "p", "a.jpg").result()
    before, codes = resident(), Counter[str]()
    for number in range(count):
        api, attacker = sides[number % 2]
        request = attacker.request()
        answer = api.answer(request)
        where = f"seed {seed}, request {number}: {str(request)[:2000]}"
        assert answer.status in STATUSES, where
        assert answer.code not in ("InternalError", "AccessEngineFailed"), where
        text = answer.document if isinstance(answer.document, str) else json.dumps(answer.document, ensure_ascii=False)
        assert text.encode(), where
        assert "Traceback" not in text, where
        assert str(attacked.settings.state.parent) not in text, where
        if answer.status >= 400:
            assert isinstance(answer.document, dict), where
            assert answer.document["Code"] == answer.code != "", where
        codes[answer.code] += 1
        assert api.uploads.kept_bytes <= MAX_KEPT_BYTES
    assert resident() - before < GROWTH_BYTES
    assert not [record for record in caplog.records if record.exc_info and record.name.startswith("imgsearch")]
    assert codes[""] > count // 50, "some must get through, or nothing behind the first check is attacked"
    assert len(codes) > 15


@pytest.mark.extended
def test_some_hostile_requests(attacked: Service, caplog: pytest.LogCaptureFixture) -> None:
    check_attack(attacked, caplog, 400, seed=1)


@pytest.mark.long
def test_many_hostile_requests(attacked: Service, caplog: pytest.LogCaptureFixture) -> None:
    check_attack(attacked, caplog, 10_000, seed=2)


def noise(generator: random.Random) -> bytes:
    """What is, or almost is, a request."""
    lines = [
        b"POST / HTTP/1.1",
        b"GET http://a/?Action=Detail&Version=2020-12-14&InstanceName=shop HTTP/1.1",
        b"Host: a",
        b"Content-Length: 5",
        b"Content-Length: 99",
        b"Transfer-Encoding: chunked",
        b"Connection: Upgrade",
        b"Upgrade: h2c",
        b"Expect: 100-continue",
        b"x-acs-action: Detail",
        b"content-type: multipart/form-data; boundary=b",
        b"",
        b"5\r\nhello\r\n0\r\n",
        b"--b",
        generator.randbytes(20),
    ]
    chosen = [generator.choice(lines[:2]), *generator.choices(lines[2:], k=generator.randrange(12))]
    text = b"\r\n".join(chosen) + b"\r\n\r\n"
    if generator.random() < 0.5:
        place = generator.randrange(len(text))
        text = text[:place] + generator.randbytes(generator.randrange(4)) + text[place + generator.randrange(4) :]
    return text


def check_noise(attacked: Service, count: int, seed: int) -> None:
    """Send bytes over real connections; whoever sends the next well-formed request is answered."""
    generator = random.Random(seed)
    host, port = attacked.open_url.partition("://")[2].split(":")
    answered = 0
    for _ in range(count):
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            connection.sendall(noise(generator))
            connection.shutdown(socket.SHUT_WR)
            found = b""
            try:
                while piece := connection.recv(65536):
                    found += piece
            except ConnectionResetError:
                pass
        assert b"Traceback" not in found
        assert not found or found.startswith(b"HTTP/1.1 ")
        assert b"HTTP/1.1 500" not in found
        answered += bool(found)
    assert answered > count // 20
    assert attacked.http.get(f"{attacked.open_url}/readyz").json()["Status"] == "ok"


def test_some_noise(attacked: Service) -> None:
    check_noise(attacked, 200, seed=1)


@pytest.mark.long
def test_much_noise(attacked: Service) -> None:
    check_noise(attacked, 10_000, seed=2)


@pytest.fixture(scope="module")
def bombs() -> dict[str, hostile.Hostile]:
    """Small files that would fill the memory, by name."""
    return {one.name: one for one in hostile.corpus() if "bomb" in one.name}


BOMBS = (
    "png compressed text bomb.png",
    "png international text bomb.png",
    "png profile bomb.png",
    "png orientation in a text bomb.png",
    "tiff deflate bomb.tif",
    "tiff deflate bomb of 9 megapixels.tif",
)
"""By name, as making them takes seconds, also for a run that needs none."""


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_with_their_code(attacked: Service, bombs: dict[str, hostile.Hostile], name: str) -> None:
    """By every operation that takes a picture."""
    assert tuple(bombs) == BOMBS
    one = bombs[name]
    content = base64.b64encode(one.data).decode()
    form = {"PicContent": content, "ProductId": "p", "PicName": "bomb"}
    pair = {"PrimaryPicContent": content, "SecondaryPicContent": base64.b64encode(jpeg(1)).decode()}
    for action, given in (("AddImage", form), ("SearchImageByPic", form), ("CompareSimilarByImage", pair)):
        document = attacked.call(action, given)
        assert document.get("Code", "") in {code or 0 for code in one.codes}, document
