"""The server as a process: where it listens, how it ends, and what it does not begin with."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import signal
import socket
import ssl
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import trustme

from imgsearch import Instance, Key
from imgsearch.server.running import Address, bound_socket
from imgsearch.storage.lock import writer_lock
from tests.conftest import Run
from tests.pictures import jpeg
from tests.processes import decoders_of, is_running
from tests.server.server_process import ServerProcess, serving_process
from tests.server.serving import ACCESS, ITEMS, PATIENCE, SAMPLES, Signer, make_template, write_keys

pytestmark = pytest.mark.networks
PICTURE = base64.b64encode(jpeg(1)).decode()


@pytest.fixture
def shop(template: Path, tmp_path: Path) -> Path:
    """A copy of the template."""
    folder = tmp_path / "shop"
    shutil.copytree(template, folder)
    return folder


def added(server: ServerProcess, number: int) -> httpx.Response:
    return server.call("AddImage", ProductId="new", PicName=f"{number}.jpg", PicContent=PICTURE)


def metric(server: ServerProcess, name: str) -> float:
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def under_way(server: ServerProcess, threads: ThreadPoolExecutor, count: int) -> list[Future[httpx.Response]]:
    """So many additions, which wait for the lock that somebody else has."""
    futures = [threads.submit(added, server, number) for number in range(count)]
    while metric(server, "imgsearch_write_queue") < count:
        assert not any(future.done() for future in futures)
    return futures


@pytest.mark.extended
def test_it_ends_when_all_is_answered(shop: Path, tmp_path: Path) -> None:
    """SIGTERM while additions wait: each is answered, and stored; then exit code 0. Nobody new is served meanwhile."""
    with (
        serving_process(shop, tmp_path / "state", "--lock-timeout", PATIENCE) as server,
        ThreadPoolExecutor(4) as threads,
    ):
        assert server.url.startswith("http://127.0.0.1:")
        assert server.call("Detail").json()["Instance"]["TotalCount"] == ITEMS
        with writer_lock(shop):
            futures = under_way(server, threads, 4)
            server.signal(signal.SIGTERM)
            host, port = server.url.partition("://")[2].split(":")
            while True:
                try:
                    socket.create_connection((host, int(port)), timeout=PATIENCE).close()
                except ConnectionRefusedError:
                    break
            assert not any(future.done() for future in futures)
        assert all(future.result(PATIENCE).json()["Success"] for future in futures)
        assert server.end() == 0
    assert server.stdout == ""
    with Instance.open(shop) as instance:
        assert all(instance.has_item(Key("new", f"{number}.jpg")) for number in range(4))


@pytest.mark.extended
def test_a_second_signal_ends_it_at_once(shop: Path, tmp_path: Path) -> None:
    """What waits is not answered, and nothing is half done; no process of it is left."""
    with (
        serving_process(shop, tmp_path / "state", "--lock-timeout", PATIENCE) as server,
        ThreadPoolExecutor(2) as threads,
    ):
        server.call("SearchImageByPic", PicContent=PICTURE)
        decoders = decoders_of(server.pid)
        with writer_lock(shop):
            futures = under_way(server, threads, 2)
            server.signal(signal.SIGTERM)
            server.signal(signal.SIGINT)
            assert server.end() in (-signal.SIGTERM, -signal.SIGINT)
        assert all(isinstance(future.exception(PATIENCE), httpx.TransportError) for future in futures)
        assert decoders
        while any(is_running(decoder) for decoder in decoders):
            pass
    with Instance.open(shop) as instance:
        assert instance.count() == ITEMS


@pytest.mark.extended
def test_keys_are_read_again(shop: Path, tmp_path: Path) -> None:
    """At SIGHUP; a malformed file changes nothing and is told. Requests are logged as JSON, without secrets."""
    keys = write_keys(tmp_path)
    with serving_process(shop, tmp_path / "state", "--keys", keys, "--log-format", "json") as server:
        host = server.url.partition("://")[2]

        def asked(signer: Signer) -> str:
            request = signer.request("Detail", {"InstanceName": "shop"}, host=host)
            answer = httpx.post(f"{server.url}/", **request, timeout=PATIENCE, trust_env=False).json()
            return str(answer.get("Code", "done"))

        old, new = Signer("shopkeeper", "correct-horse-battery"), Signer("shopkeeper", "another-secret-of-length")
        assert (asked(old), asked(new)) == ("done", "SignatureDoesNotMatch")
        write_keys(tmp_path, ACCESS.replace(old.secret, new.secret))
        server.signal(signal.SIGHUP)
        server.line("read 3 keys again")
        assert (asked(old), asked(new)) == ("SignatureDoesNotMatch", "done")
        write_keys(tmp_path, "[[key")
        server.signal(signal.SIGHUP)
        server.line("keys stay as they were")
        assert asked(new) == "done"
        server.signal(signal.SIGINT)
        assert server.end() == 0
    documents = [json.loads(line) for line in server.lines if line.startswith("{")]
    requests = [document for document in documents if "RequestId" in document]
    assert [(one["Action"], one["Status"], one["KeyId"]) for one in requests if one["Status"] == 200] == [
        *[("Detail", 200, "shopkeeper")] * 3,
    ]
    assert len(requests) == 5
    assert not any(signer.secret in line for line in server.lines for signer in (old, new))
    assert not any("Authorization" in line or "ACS3-HMAC-SHA256 Credential" in line for line in server.lines)


@pytest.mark.extended
def test_tls(shop: Path, tmp_path: Path) -> None:
    """With a certificate that its authority's clients accept; it ends though an idle client keeps its connection."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    files = ("--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem")
    with serving_process(shop, tmp_path / "state", *files) as server, httpx.Client(verify=trusting) as client:
        assert server.url.startswith("https://127.0.0.1:")
        assert client.get(f"{server.url}/healthz").json() == {"Status": "ok"}
        with pytest.raises(httpx.ConnectError, match="certificate"):
            httpx.get(f"{server.url}/healthz", verify=ssl.create_default_context())
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url.replace('https', 'http')}/healthz")
        assert client.get(f"{server.url}/healthz").status_code == 200
        server.signal(signal.SIGTERM)
        assert server.end() == 0


KILLED = """
import os, signal
from imgsearch.server import api
def kill(carried_out):
    def work(*arguments):
        carried_out(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    return work
for name in ("AddImage", "UpdateImage", "DeleteImage"):
    api._SIMPLE[name] = kill(api._SIMPLE[name])
"""
"""A server that is killed between the commit of a change and its answer."""


@pytest.mark.extended
def test_what_is_not_answered_can_be_asked_again(shop: Path, tmp_path: Path) -> None:
    """A kill behind the commit: the change is there, and the same call again gives what it would have given."""
    name = str(SAMPLES / "queries" / "ball.jpg")
    key = {"ProductId": "new", "PicName": "a.jpg"}
    content = base64.b64encode(Path(name).read_bytes()).decode()
    changes = [
        ("AddImage", {**key, "PicContent": content, "IntAttr": "1"}),
        ("UpdateImage", {**key, "IntAttr": "2"}),
        ("DeleteImage", key),
    ]
    for action, form in changes:
        with serving_process(shop, tmp_path / "state", code=KILLED) as server:
            with pytest.raises(httpx.TransportError):
                server.call(action, **form)
            assert server.end() == -signal.SIGKILL
        with Instance.open(shop) as instance:
            item = instance.find(Key("new", "a.jpg"))
            found = None if item is None else item.attributes.int_attr
        assert found == {"AddImage": 1, "UpdateImage": 2, "DeleteImage": None}[action]
    with serving_process(shop, tmp_path / "state") as server:
        for action, form in changes:
            answers = [server.call(action, **form).json() for _ in range(2)]
            assert [answer["Success"] for answer in answers] == [True, True]
            if action == "AddImage":
                assert answers[0]["PicInfo"] == answers[1]["PicInfo"]
            count = server.call("Detail").json()["Instance"]["TotalCount"]
            assert count == ITEMS + (action != "DeleteImage")


# What it does not begin with


def test_an_address_that_is_taken(run: Run, folder: Path) -> None:
    run("init")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", "--no-auth", "--port", taken.getsockname()[1])
    assert (result.returncode, "give another --port" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--port", "0"], 2, "--no-auth"),
        (["--no-auth", "--keys", "keys.toml"], 2, "either --keys or --no-auth"),
        (["--keys", "none.toml"], 2, "cannot be read"),
        (["--no-auth", "--host", "0.0.0.0"], 2, "for this machine only"),
        (["--no-auth", "--tls-cert", "cert.pem"], 2, "belong together"),
        (["--no-auth", "--tls-cert", "none.pem", "--tls-key", "none.pem"], 2, "certificate"),
        (["--no-auth", "--host", "203.0.113.1x"], 2, "this machine only"),
        (["--no-auth", "--root", "none"], 2, "is not a folder"),
        (["--no-auth", "shop=none"], 4, "there is no instance"),
        (["--no-auth", "shop"], 2, "not NAME=INSTANCE"),
        (["--no-auth", "=x"], 2, "not NAME=INSTANCE"),
        (["--no-auth", "instance=elsewhere"], 4, "elsewhere"),
        (["--no-auth", "instance=elsewhere", "-i", "instance"], 2, "given twice"),
        (["--no-auth", "--qps-add", "nan"], 2, "above 0"),
        (["--no-auth", "--qps-add", "0"], 2, "--qps-add"),
        (["--no-auth", "--port", "65536"], 2, "--port"),
    ],
)
def test_what_cannot_be_served(
    run: Run,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    """The exit codes of all commands, and what to do."""
    make_empty(folder)
    monkeypatch.chdir(tmp_path)
    write_keys(tmp_path)
    result = run("serve", *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def make_empty(folder: Path) -> None:
    Instance.create(folder)


def test_other_machines_need_keys_and_tls(run: Run, folder: Path, tmp_path: Path) -> None:
    """Unless something in front of the server encrypts; then keys are still needed."""
    make_empty(folder)
    keys = write_keys(tmp_path)
    result = run("serve", "--keys", keys, "--host", "0.0.0.0")
    assert (result.returncode, "--insecure-http" in result.stderr) == (2, True)
    result = run("serve", "--no-auth", "--insecure-http", "--host", "0.0.0.0")
    assert (result.returncode, "give --keys" in result.stderr) == (2, True)


@pytest.mark.extended
def test_an_instance_that_is_damaged_is_told_before_anything_is_served(run: Run, folder: Path) -> None:
    make_template(folder)
    for path in folder.glob("*.db*"):
        path.write_bytes(b"rubbish" * 1000)
    result = run("serve", "--no-auth", "--port", "0")
    assert result.returncode == 6
    assert "listening" not in result.stderr


def test_a_new_key_is_printed_once(run: Run, tmp_path: Path) -> None:
    """As a table to append; the server then knows it."""
    first, second = (run("serve", "--new-key", "web") for _ in range(2))
    assert first.returncode == 0
    assert first.stdout.startswith('[[key]]\nid = "web"\n')
    assert first.stdout != second.stdout
    assert run("serve", "--new-key", "a b").returncode == 2


def test_answers_are_sent_at_once() -> None:
    """A client that keeps its connection does not wait for its own acknowledgement of the first part of an answer."""
    sent_at_once = []

    async def accept(bound: socket.socket) -> None:
        def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted = writer.get_extra_info("socket")
            sent_at_once.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(connected, sock=bound):
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            await reader.read()
            writer.close()

    with bound_socket(Address("127.0.0.1", 0)) as bound:
        asyncio.run(accept(bound))
    assert sent_at_once == [1]
