"""The end of a server under load: what it has answered is stored."""

from __future__ import annotations

import base64
import shutil
import signal
import threading
from pathlib import Path

import httpx
import pytest

from imgsearch import Instance, Key
from tests.pictures import jpeg
from tests.server.server_process import ServerProcess, serving_process
from tests.server.serving import PATIENCE

CLIENTS = 4
ANSWERS = 6
"""So many are waited for before the signal."""


def add(server: ServerProcess, number: int) -> bool:
    """Add a picture; whether it was acknowledged."""
    content = base64.b64encode(jpeg(number + 1)).decode()
    try:
        answer = server.call("AddImage", ProductId=f"new-{number}", PicName="a.jpg", CategoryId="3", PicContent=content)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["Success"] is True


def adding(server: ServerProcess, ended_by: signal.Signals) -> set[int]:
    """Add from several clients until the server ends, by a signal after some answers; what was acknowledged."""
    acknowledged: set[int] = set()
    enough = threading.Event()

    def client(first: int) -> None:
        for number in range(first, 10_000, CLIENTS):
            if not add(server, number):
                return
            acknowledged.add(number)
            if len(acknowledged) >= ANSWERS:
                enough.set()

    clients = [threading.Thread(target=client, args=(first,)) for first in range(CLIENTS)]
    for one in clients:
        one.start()
    assert enough.wait(PATIENCE)
    server.signal(ended_by)
    for one in clients:
        one.join(PATIENCE)
    return acknowledged


@pytest.mark.extended
@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_what_was_answered_survives_the_end(
    tmp_path: Path, template: Path, ended_by: signal.Signals, code: int
) -> None:
    """The same calls again change nothing, as a client that got no answer would send them."""
    shop = tmp_path / "shop"
    shutil.copytree(template, shop)
    with serving_process(shop, tmp_path / "state") as server:
        acknowledged = adding(server, ended_by)
        assert server.end() == code
    with Instance.open(shop) as instance:
        assert [number for number in acknowledged if not instance.has_item(Key(f"new-{number}", "a.jpg"))] == []
        stored = instance.count()
    with serving_process(shop, tmp_path / "state") as server:
        assert all(add(server, number) for number in acknowledged)
        server.signal(signal.SIGTERM)
        assert server.end() == 0
    with Instance.open(shop) as instance:
        assert instance.count() == stored
