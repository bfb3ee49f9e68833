"""The privacy proof: whatever a command does and however it ends, nothing of a picture is left where it worked.

Pictures that can be recognised by any 24 bytes of their files, pixels or metadata go through every command, in
processes with a home, a temporary, a working and an instance folder of their own. After success, failure and a kill,
each file in there is searched (``tests/leaks.py``), and so is what was written meanwhile to the cache of models, which
all tests share. What is shown or written because the user asks for it, previews and contact sheets, goes where the user
says and nowhere else.

All of it runs without a umask: nothing that is made may be readable by others.
"""

from __future__ import annotations

import base64
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from imgsearch.storage.engine import Engine
from tests.conftest import Result, command
from tests.leaks import TEXTS, LeakScanner, marked
from tests.oss_server import KEY_ID, OssServer
from tests.oss_shop import ADDRESS, BUCKET, FOLDER, line
from tests.pictures import encode

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM")
SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp", "PPM": "ppm"}


@dataclass
class Household:
    """A user with pictures, and the folders that commands may leave something in."""

    pictures: Path
    """Where the user keeps them; a product is a folder."""
    places: dict[str, Path]
    asked: Path
    """Where the user wants contact sheets."""
    cache: Path
    scanner: LeakScanner
    environment: dict[str, str]
    begun: float = field(default_factory=time.time)

    @property
    def instance(self) -> Path:
        return self.places["instance"]

    def start(self, *arguments: object, file_bytes: int | None = None) -> subprocess.Popen[bytes]:
        """A command in a process of its own; ``file_bytes``: it may write no longer file than that."""

        def limit() -> None:
            if file_bytes is not None:
                import resource

                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        return subprocess.Popen(
            command(*arguments),
            env={**os.environ, **self.environment},
            cwd=self.places["work"],
            umask=0,
            preexec_fn=limit,  # noqa: PLW1509  # no thread of ours holds a lock that it would want
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: object, stdin: bytes = b"", file_bytes: int | None = None) -> Result:
        """A command from its start to its end, after which nothing is left of a picture, nor printed."""
        process = self.start(*arguments, file_bytes=file_bytes)
        stdout, stderr = process.communicate(stdin, timeout=120)
        assert self.leaks() == [], arguments
        assert self.scanner.in_bytes(stderr) == []
        if "--preview" not in arguments:
            assert self.scanner.in_bytes(stdout) == []
        return Result(process.returncode, stdout.decode(), stderr.decode())

    def leaks(self) -> list[str]:
        """What is left of the pictures."""
        return self.scanner.found(self.places.values()) + self.scanner.found([self.cache], since=self.begun)

    def open_to_others(self) -> list[str]:
        """What was made that others may read or alter."""
        made = [path for place in self.places.values() for path in place.rglob("*")]
        return [str(path) for path in made if path.stat().st_mode & 0o077]

    def picture(self, number: int) -> Path:
        return sorted(self.pictures.rglob("*.*"))[number]


@pytest.fixture(scope="module")
def originals() -> dict[str, bytes]:
    """By name, two products of marked pictures in several formats."""
    return {f"p{number % 2}/{number}.{SUFFIXES[name]}": marked(number, name) for number, name in enumerate(FORMATS)}


@pytest.fixture(scope="module")
def scanner(originals: dict[str, bytes]) -> LeakScanner:
    return LeakScanner(originals.values(), TEXTS)


@pytest.fixture
def household(
    tmp_path: Path, cache: Path, originals: dict[str, bytes], scanner: LeakScanner, server: OssServer
) -> Household:
    pictures = tmp_path / "pictures"
    for name, data in originals.items():
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (pictures / name).write_bytes(data)
    places = {name: tmp_path / name for name in ("home", "tmp", "work", "instance")}
    for path in (*places.values(), tmp_path / "asked"):
        path.mkdir(mode=0o700)
    environment = {
        **server.environment(),
        "HOME": str(places["home"]),
        "TMPDIR": str(places["tmp"]),
        "SQLITE_TMPDIR": str(places["tmp"]),
        "IMGSEARCH_INSTANCE": str(places["instance"]),
        **{f"XDG_{name}_HOME": str(places["home"] / name.lower()) for name in ("DATA", "STATE", "CACHE", "CONFIG")},
    }
    return Household(pictures, places, tmp_path / "asked", cache, scanner, environment)


def fill_bucket(household: Household, server: OssServer) -> None:
    """Put the user's pictures into a bucket, with their manifest."""
    names = [path.relative_to(household.pictures).as_posix() for path in sorted(household.pictures.rglob("*.*"))]
    for name in names:
        server.put(BUCKET, f"{FOLDER}/{name}", (household.pictures / name).read_bytes())
    manifest = "\n".join(json.dumps(line(name)) for name in names)
    server.put(BUCKET, f"{FOLDER}/increment.meta", manifest.encode())


def damage_a_feature(instance: Path) -> None:
    with closing(sqlite3.connect(instance / "instance.db", isolation_level=None)) as connection:
        connection.execute("UPDATE features SET feature = zeroblob(512) WHERE id = 2")


def make_older(instance: Path) -> None:
    """Have an instance believe that its features are of an older version."""
    with closing(Engine.open(instance, write=True)) as engine, engine.committing() as store:
        store.set_setting("model", {**store.made_by(), "feature_version": 2})


@pytest.mark.extended
def test_success(household: Household, server: OssServer) -> None:
    """Every command that sees a picture, or works on what was made of one."""
    first, sheet, page = household.picture(0), household.asked / "sheet.html", household.asked / "page.html"
    assert household.run("add", household.pictures, "--product-from", "parent").document["Added"] == len(FORMATS)
    shown = household.run("search", first, "--any-category", "--preview", "--html", sheet, "--format", "table")
    assert (shown.returncode, "▒" in shown.stdout) == (0, True), "the preview is shown"
    assert household.run("search", "-", "--all-subjects", stdin=first.read_bytes()).returncode == 0
    assert "a picture in format JPEG" in str(household.scanner.found([household.asked])), "the sheet shows pictures"
    fill_bucket(household, server)
    assert household.run("oss-import", ADDRESS, "--rebuild").document["Failed"] == 0
    measured = household.run("eval", household.pictures, "--part", "retrieval", "--html", page)
    assert measured.document["Failures"] == []
    damage_a_feature(household.instance)
    assert len(household.run("check", "--repair").document["Lost"]) == 1
    assert household.open_to_others() == []
    assert [path.stat().st_mode & 0o777 for path in (sheet, page)] == [0o600, 0o600]


@pytest.mark.extended
def test_reindex(household: Household) -> None:
    """Begun and not finished, as a picture is gone, then finished."""
    assert household.run("add", household.pictures).document["Added"] == len(FORMATS)
    make_older(household.instance)
    gone = household.picture(0)
    gone.rename(household.asked / "aside")
    assert household.run("add", "--reindex").document["Added"] == len(FORMATS) - 1
    assert household.open_to_others() == []
    (household.asked / "aside").rename(gone)
    assert household.run("add", "--reindex").document["Reindexed"] is True
    assert household.open_to_others() == []


@pytest.mark.extended
def test_failure(household: Household, server: OssServer) -> None:
    """A picture that is refused, a batch that ends in the middle, an import that loses its rights, a full disk."""
    cut = household.pictures / "p0" / "cut.jpg"
    cut.write_bytes(household.picture(0).read_bytes()[:5000])
    tiny = household.pictures / "p0" / "tiny.png"
    tiny.write_bytes(marked(99, "PNG", (90, 90)))
    household.scanner = LeakScanner([cut.read_bytes(), tiny.read_bytes()]).joined(household.scanner)
    assert household.run("init").returncode == 0
    assert household.run("add", cut).returncode == 3
    assert household.run("search", cut).returncode == 3
    full = household.run("add", household.pictures, file_bytes=20_000)
    assert (full.returncode, full.document["Success"]) == (8, False)
    assert household.run("add", household.pictures).document["Failed"] == 2
    household.picture(1).write_bytes(household.picture(2).read_bytes())
    fill_bucket(household, server)
    server.keys[KEY_ID].uses = 8
    assert household.run("oss-import", ADDRESS).returncode == 7
    assert len(household.run("eval", household.pictures).document["Failures"]) == 2
    assert household.open_to_others() == []


@dataclass(frozen=True)
class Kill:
    """A command, what it needs beforehand, and a sign that it is at work."""

    arguments: Callable[[Household], list[object]]
    sign: str | None
    """Pattern of a file below the places; None: its first line."""
    prepare: Callable[[Household, OssServer], object] = lambda _household, _server: None
    lasts: float = 1.0
    """Seconds of work behind the sign in which it is stopped, about."""


def _filled(household: Household, _server: OssServer) -> None:
    assert household.run("add", household.pictures).returncode == 0


def _damaged(household: Household, server: OssServer) -> None:
    _filled(household, server)
    damage_a_feature(household.instance)


def _older(household: Household, server: OssServer) -> None:
    _filled(household, server)
    make_older(household.instance)


KILLS = {
    "add": Kill(lambda household: ["add", household.pictures, "--format", "jsonl"], None),
    "reindex": Kill(lambda _household: ["add", "--reindex", "--format", "jsonl"], None, _older),
    "oss-import": Kill(lambda _household: ["oss-import", ADDRESS, "--format", "jsonl"], None, fill_bucket),
    "eval": Kill(
        lambda household: ["eval", household.pictures], "tmp/imgsearch-eval-*/instance/writer.json", lasts=3.0
    ),
    "search": Kill(
        lambda household: ["search", household.pictures, "--html", household.asked / "s"], "*/*", _filled, 2.0
    ),
    "rebuild": Kill(lambda _household: ["rebuild"], "instance/writer.json", _filled, 0.05),
    "repair": Kill(lambda _household: ["check", "--repair"], "instance/writer.json", _damaged, 0.1),
}


def kill(household: Household, server: OssServer, name: str, seed: int) -> bool:
    """Stop a command at some moment of its work, search what it holds and what it wrote, kill it, search again.

    Returns:
        Whether it was at work still.
    """
    for number in range(120):  # copies, so that there is a middle to be in
        (household.pictures / f"p0/copy-{number}.bmp").write_bytes(marked(4, "BMP") + bytes([number]))
    KILLS[name].prepare(household, server)
    process = household.start(*KILLS[name].arguments(household))
    try:
        if KILLS[name].sign is None:
            assert process.stdout is not None
            assert process.stdout.readline()
        else:
            while not list(household.instance.parent.glob(KILLS[name].sign)) and process.poll() is None:
                time.sleep(0.002)
        time.sleep(random.Random(seed).uniform(0, KILLS[name].lasts))
        at_work = process.poll() is None
        if at_work:
            process.send_signal(signal.SIGSTOP)
            if sys.platform == "linux":
                assert household.scanner.found_held(process.pid) == []
            assert household.leaks() == []
    finally:
        process.kill()
        process.communicate()
    assert household.leaks() == []
    assert household.open_to_others() == []
    return at_work


@pytest.mark.extended
def test_killed(household: Household, server: OssServer) -> None:
    """While pictures are indexed."""
    assert kill(household, server, "add", seed=1), "it was over before it was killed"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", KILLS)
def test_killed_at_many_moments(household: Household, server: OssServer, name: str, seed: int) -> None:
    """Every command that sees a picture, or works on what was made of one."""
    at_work = kill(household, server, name, seed)
    assert at_work or KILLS[name].lasts < 0.5, "it was over before it was killed"


# The scanner finds what is there


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def small(data: bytes, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels(data)).resize((side, side), Image.Resampling.BICUBIC))


PLANTED: dict[str, Callable[[bytes], bytes]] = {
    "24 bytes of the file": lambda data: data[5003:5027],
    "24 bytes of the pixels": lambda data: pixels(data).tobytes()[30001:30025],
    "pixels, blue first": lambda data: pixels(data)[50, 20:40, ::-1].tobytes(),
    "one channel": lambda data: pixels(data)[50, 20:60, 1].tobytes(),
    "grey": lambda data: np.asarray(Image.fromarray(pixels(data)).convert("L"))[50, 20:60].tobytes(),
    "floats": lambda data: (pixels(data)[50, 20:40] / np.float32(255)).tobytes(),
    "base64": lambda data: base64.b64encode(data[4000:4100]),
    "a thumbnail of 64 pixels a side": lambda data: small(data, 64)[10:12].tobytes(),
    "a thumbnail of 32 pixels a side, as floats": lambda data: small(data, 32)[10:12].astype("<f4").tobytes(),
    "saved again as JPEG": lambda data: encode(Image.fromarray(small(data, 99))),
    "saved again as PNG": lambda data: encode(Image.fromarray(small(data, 99)), "PNG"),
    "saved again as WebP": lambda data: encode(Image.fromarray(small(data, 99)), "WEBP"),
    "saved again as JPEG, in base64": lambda data: base64.b64encode(encode(Image.fromarray(small(data, 99)))),
    "a text of EXIF": lambda _data: TEXTS[1].encode(),
    "a text of EXIF in UTF-16": lambda _data: TEXTS[0].encode("utf-16-le"),
    "a text of XMP": lambda _data: TEXTS[2].encode(),
    "the colour profile": lambda data: Image.open(io.BytesIO(data)).info["icc_profile"][100:130],
    "the thumbnail in EXIF": lambda data: Image.open(io.BytesIO(data)).info["exif"][400:430],
}


@pytest.mark.parametrize("what", PLANTED)
def test_the_scan_finds_a_leak(what: str, originals: dict[str, bytes], scanner: LeakScanner, tmp_path: Path) -> None:
    """Planted at an odd place of a file that is otherwise noise."""
    noise = np.random.default_rng(3).bytes(20_000)
    place = tmp_path / "deep" / "file.db-wal"
    place.parent.mkdir()
    place.write_bytes(noise)
    assert scanner.found([tmp_path]) == []
    place.write_bytes(noise[:777] + PLANTED[what](originals["p0/0.jpg"]) + noise[777:])
    found = scanner.found([tmp_path])
    assert found
    assert all(leak.startswith(f"{place}: ") for leak in found)
    assert scanner.found([tmp_path], since=time.time() + 60) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows what another process holds open")
def test_the_scan_finds_what_has_no_name(originals: dict[str, bytes], scanner: LeakScanner, tmp_path: Path) -> None:
    """A file that is deleted while a process still has it open."""
    with (tmp_path / "gone").open("w+b") as file:
        file.write(originals["p0/0.jpg"])
        file.flush()
        assert scanner.found_held(os.getpid()) == []
        (tmp_path / "gone").unlink()
        assert scanner.found_held(os.getpid()) != []


def test_what_is_marked_is_a_whole_picture(originals: dict[str, bytes]) -> None:
    """A picture that no command would take proves nothing; the JPEG has all that it may have."""
    for data in originals.values():
        assert pixels(data).shape == (120, 160, 3)
    assert {"exif", "icc_profile", "xmp", "comment"} <= set(Image.open(io.BytesIO(originals["p0/0.jpg"])).info)
