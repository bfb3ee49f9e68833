"""The server as a process: its address, signals, keys and certificates; what it has answered survives its end."""

from __future__ import annotations

import base64
import re
import shutil
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from imgsearch import Instance, Key
from tests.conftest import command
from tests.pictures import jpeg
from tests.server.serving import KEEPER, PATIENCE, VISITOR, write_keys

LISTENING = re.compile(r"listening on (https?://[\d.]+:\d+)")
VERSION = "2020-12-14"


@pytest.fixture
def shop(tmp_path: Path, template: Path) -> Path:
    """An instance of its own."""
    folder = tmp_path / "shop"
    shutil.copytree(template, folder)
    return folder


@contextmanager
def started(shop: Path, *options: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process, and its address."""
    words = command("serve", f"shop={shop}", "--port", "0", "--state", shop.parent / "state", *options)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines: list[str] = []
        try:
            while not (lines and (found := LISTENING.search(lines[-1]))):
                lines.append(process.stderr.readline())
                assert lines[-1], lines
            yield process, found[1]
        finally:
            process.kill()


def add(address: str, number: int) -> bool:
    """Add a picture; whether it was acknowledged."""
    form = {
        "InstanceName": "shop",
        "ProductId": f"new-{number}",
        "PicName": "a.jpg",
        "CategoryId": "3",
        "PicContent": base64.b64encode(jpeg(number + 1)).decode(),
    }
    try:
        answer = httpx.post(f"{address}/?Action=AddImage&Version={VERSION}", data=form, timeout=PATIENCE)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["Success"] is True


def adding(process: subprocess.Popen[str], address: str, ended_by: signal.Signals) -> set[int]:
    """Add from several clients until the server ends, by a signal after some answers; what was acknowledged."""
    acknowledged: set[int] = set()
    enough = threading.Event()

    def client(first: int) -> None:
        for number in range(first, 10_000, 4):
            if not add(address, number):
                return
            acknowledged.add(number)
            if len(acknowledged) >= 6:
                enough.set()

    clients = [threading.Thread(target=client, args=(first,)) for first in range(4)]
    for one in clients:
        one.start()
    assert enough.wait(PATIENCE)
    process.send_signal(ended_by)
    for one in clients:
        one.join(PATIENCE)
    return acknowledged


@pytest.mark.extended
@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_what_was_answered_survives_the_end(shop: Path, ended_by: signal.Signals, code: int) -> None:
    """Under load. The same calls again change nothing, as a client that got no answer would send them."""
    with started(shop, "--no-auth") as (process, address):
        acknowledged = adding(process, address, ended_by)
        assert process.wait(PATIENCE) == code
    with Instance.open(shop) as instance:
        assert [number for number in acknowledged if not instance.has_item(Key(f"new-{number}", "a.jpg"))] == []
        stored = instance.count()
    assert Instance.check(shop) == [] or ended_by is signal.SIGKILL
    with started(shop, "--no-auth") as (process, address):
        assert all(add(address, number) for number in acknowledged)
        process.terminate()
        assert process.wait(PATIENCE) == 0
    with Instance.open(shop) as instance:
        assert instance.count() == stored


def test_keys_are_read_again_on_sighup(shop: Path) -> None:
    """A key that is gone is refused; a file that cannot be used changes nothing."""
    keys = write_keys(shop.parent)
    with started(shop, "--keys", keys) as (process, address):

        def status() -> int:
            return httpx.post(f"{address}/", **_detail(address)).status_code

        assert status() == 200
        text = keys.read_text()
        keys.write_text("[[key")
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        assert "stay as they were" in process.stderr.readline()
        assert status() == 200
        keys.write_text(text.replace(VISITOR.key_id, "somebody-else"))
        process.send_signal(signal.SIGHUP)
        assert "read 3 keys again" in process.stderr.readline()
        assert status() == 404
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


def _detail(address: str) -> dict[str, object]:
    return VISITOR.request("Detail", query={"InstanceName": "shop"}, host=address.partition("://")[2])


def test_a_certificate(shop: Path) -> None:
    """Clients that trust its authority are answered, over TLS only."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    files = shop.parent / "cert.pem", shop.parent / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(files[0])
    certificate.private_key_pem.write_to_path(files[1])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    keys = write_keys(shop.parent)
    with started(shop, "--keys", keys, "--tls-cert", files[0], "--tls-key", files[1]) as (_, address):
        assert address.startswith("https://")
        assert httpx.post(f"{address}/", verify=context, **_detail(address)).json()["Success"]
        with pytest.raises(httpx.HTTPError):
            httpx.get(address.replace("https", "http") + "/healthz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--keys"),
        (("--no-auth", "--keys", "keys.toml"), "either"),
        (("--no-auth", "--host", "0.0.0.0"), "this machine only"),
        (("--no-auth", "--tls-cert", "cert.pem"), "belong together"),
        (("--keys", "missing.toml"), "missing.toml"),
        (("--no-auth", "--pictures", "."), "--ui"),
        (("--no-auth", "--host", "203.0.113.1"), "this machine only"),
    ],
)
def test_what_would_be_open_or_useless_is_refused(shop: Path, options: tuple[str, ...], message: str) -> None:
    """Before anything is served."""
    words = command("serve", f"shop={shop}", "--port", "0", "--state", shop.parent / "state", *options)
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=shop.parent, timeout=PATIENCE)
    assert (ended.returncode, message in ended.stderr) == (2, True), ended.stderr


def test_an_address_that_is_taken_is_wrong_usage(shop: Path) -> None:
    """The message names it."""
    with started(shop, "--no-auth") as (_, address):
        port = address.rpartition(":")[2]
        words = command("serve", f"shop={shop}", "--no-auth", "--port", port, "--state", shop.parent / "other")
        ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (ended.returncode, f"127.0.0.1:{port}" in ended.stderr) == (2, True), ended.stderr


def test_a_new_key_can_be_appended_and_used(shop: Path) -> None:
    """What is printed once is a table of the file."""
    words = command("serve", "--new-key", "shop-web")
    printed = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    keys = write_keys(shop.parent, f"{write_keys(shop.parent).read_text()}\n{printed}")
    with started(shop, "--keys", keys) as (_, address):
        assert httpx.post(f"{address}/", **_detail(address)).status_code == 200
        wrong = KEEPER.request("Detail", query={"InstanceName": "nothing"}, host=address.partition("://")[2])
        assert httpx.post(f"{address}/", **wrong).json()["Code"] == "InvalidInstance"
