"""A server with the page over a small shop: its catalogue lies in a folder that may be shown, one picture elsewhere."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from imgsearch.instance import Instance
from imgsearch.server.keys import KeyRing
from imgsearch.server.pages.routes import page_routes
from imgsearch.server.served import Instances
from imgsearch.service.categories import Kind
from imgsearch.sources.picture_folders import PictureFolders
from tests.conftest import ROOT, started
from tests.pictures import jpeg

SAMPLES = ROOT / "sample_data"
HOME = "http://127.0.0.1:8321"
OWN = {"Sec-Fetch-Site": "same-origin"}
"""What a browser says of a request of the page itself."""
SECRET = "a secret of the shopkeeper"
OTHER_SECRET = "a secret of somebody else"


@dataclass(frozen=True)
class Shop:
    """Where all of it lies."""

    root: Path
    """Of the instances ``shop`` and ``other``."""
    pictures: Path
    """May be shown."""
    elsewhere: Path
    """May not."""
    keys: Path


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A product instance with the sample catalogue and a picture elsewhere, and a generic one with a single item."""
    base = tmp_path_factory.mktemp("page")
    made = Shop(base / "instances", base / "pictures", base / "elsewhere", base / "keys.toml")
    for folder in (made.root, made.elsewhere):
        folder.mkdir()
    shutil.copytree(SAMPLES / "catalogue", made.pictures / "catalogue")
    shutil.copy(SAMPLES / "increment.meta", made.pictures)
    (made.elsewhere / "hidden.jpg").write_bytes(jpeg(7))
    manifest = made.pictures / "increment.meta"
    added = started("add", "-i", made.root / "shop", "--manifest", manifest, stdin=b"", environment=dict(os.environ))
    assert added.returncode == 0, added.stderr
    with Instance.open(made.root / "shop") as instance:
        instance.add(made.elsewhere / "hidden.jpg", "hidden", category="Other")
        instance.add(jpeg(8), "unseen", "of no file.jpg", category="Other")
    Instance.create(made.root / "other", Kind.GENERIC)
    with Instance.open(made.root / "other") as instance:
        instance.add(made.pictures / "catalogue" / "ball" / "front.jpg", "ball")
    made.keys.write_text(
        f'[[key]]\nid = "keeper"\nsecret = "{SECRET}"\ninstances = ["*"]\n\n'
        f'[[key]]\nid = "guest"\nsecret = "{OTHER_SECRET}"\ninstances = ["other"]\n'
    )
    made.keys.chmod(0o600)
    return made


@pytest.fixture(scope="session")
def instances(shop: Shop) -> Iterator[Instances]:
    """Opened once for all tests, as a server does."""
    with Instances({}, shop.root, Instance.open) as opened:
        yield opened


def app_of(instances: Instances, shop: Shop, *, with_keys: bool = False, secure: bool = False) -> Starlette:
    """The page and nothing else."""
    keys = KeyRing(shop.keys) if with_keys else None
    return Starlette(routes=page_routes(instances, keys, PictureFolders([shop.pictures]), secure=secure))


@pytest.fixture(scope="session")
def client(instances: Instances, shop: Shop) -> Iterator[TestClient]:
    """A browser's requests to a server without keys."""
    with TestClient(app_of(instances, shop), base_url=HOME, headers=OWN) as opened:
        yield opened


@pytest.fixture
def keyed(instances: Instances, shop: Shop) -> Iterator[TestClient]:
    """The same to a server with keys; nobody is signed in yet."""
    with TestClient(app_of(instances, shop, with_keys=True), base_url=HOME, headers=OWN) as opened:
        yield opened


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of three things: a mug, a toy car and a bottle of perfume."""
    sheet = Image.new("RGB", (1400, 800), "#e9e6e0")
    for number, name in enumerate(("mug-red", "toy-car-blue", "perfume")):
        with Image.open(SAMPLES / "queries" / f"{name}.jpg") as one:
            one.thumbnail((430, 560))
            sheet.paste(one, (20 + number * 460, 120))
    path = tmp_path_factory.mktemp("photo") / "three.jpg"
    sheet.save(path, quality=90)
    return path


class _Server(uvicorn.Server):
    """Tells when it takes requests."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
        self.is_ready = threading.Event()

    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        self.is_ready.set()

    @property
    def address(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()
        return f"http://{host}:{port}/"


Serve = Callable[..., str]


@pytest.fixture(scope="session")
def serve(instances: Instances, shop: Shop) -> Iterator[Serve]:
    """Start a real server in a thread; returns its address."""
    running: list[tuple[_Server, threading.Thread]] = []

    def start(*, with_keys: bool = False) -> str:
        server = _Server(app_of(instances, shop, with_keys=with_keys))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        assert server.is_ready.wait(60)
        return server.address

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
