"""Fixtures for all tests: a cache of converted models, instances, and the command line as a real process."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import pytest
from hypothesis import settings

from imgsearch.instance import Instance
from imgsearch.storage.engine import Engine
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store
from tests.forked import run_forked
from tests.output_checks import check_output
from tests.pictures import write_catalogue
from tests.shared_networks import share, share_no_longer

pytest_plugins = ["tests.milvus_fixtures"]

settings.register_profile("imgsearch", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("imgsearch")

ENDING_SECONDS = 300
"""How long a test process may run after its last test before it is killed."""

ROOT = Path(__file__).resolve().parent.parent
EVALUATION_DATA = ROOT.parent / "shared" / "data"
"""Photos with ground truth that lie beside some checkouts; never part of the project."""


def pytest_sessionfinish() -> None:
    """Kill a test process that does not end, with the tracebacks of all threads: nobody watches a nightly run."""
    faulthandler.dump_traceback_later(ENDING_SECONDS, exit=True, file=sys.__stderr__)


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every test away from the user's instance, cache, log and servers; workers share the converted models."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    (base / "run").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGSEARCH_CACHE", str(shared / "model-cache"))
        patch.setenv("XDG_DATA_HOME", str(base / "data-home"))
        patch.setenv("XDG_STATE_HOME", str(base / "state-home"))
        patch.delenv("IMGSEARCH_INSTANCE", raising=False)
        patch.setenv("IMGSEARCH_NO_SERVER", "1")
        patch.setenv("XDG_RUNTIME_DIR", str(base / "run"))
        share(patch, shared / "model-cache")
        yield


@pytest.fixture(scope="session")
def cache(_own_folders: None) -> Path:
    """The folder of converted models that all tests share."""
    return Path(os.environ["IMGSEARCH_CACHE"])


@pytest.fixture
def own_networks(_own_folders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of how networks are loaded, which otherwise all commands share."""
    share_no_longer(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an instance can be made."""
    return tmp_path / "instance"


@pytest.fixture
def instance(folder: Path) -> Iterator[Instance]:
    """An empty product instance."""
    Instance.create(folder)
    with Instance.open(folder) as opened:
        yield opened


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads of FAISS that wait for each other on busy cores would cost a thousand times what a search does."""
    faiss.omp_set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A script's background jobs ignore SIGINT, and what they start inherits that; tests send it all the same."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def home(folder: Path) -> Path:
    """A folder with an empty instance."""
    folder.mkdir(mode=0o700)
    Engine.create(folder, {"kind": "product", "created": 1})
    return folder


@pytest.fixture
def engine(home: Path) -> Iterator[Engine]:
    """An empty instance, open for writing."""
    opened = Engine.open(home, write=True)
    yield opened
    opened.close()


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """The database of an empty instance, open for writing."""
    opened = Store.open(home / DATABASE_NAME, write=True)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with twelve small JPEGs; a test that changes it fails those after it, so this fails the run."""
    path = tmp_path_factory.mktemp("catalogue")
    write_catalogue(path, 12)
    before = _facts(path)
    yield path
    assert _facts(path) == before


def _facts(folder: Path) -> dict[str, tuple[int, int]]:
    return {one.name: (one.stat().st_size, one.stat().st_mtime_ns) for one in folder.iterdir()}


COMMAND_SECONDS = 300
"""What a command may take at most, the first preparation of the networks on a busy machine included."""


@dataclass(frozen=True)
class Result:
    """What a process left behind."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    @property
    def lines(self) -> list[dict[str, Any]]:
        """JSON documents, one a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]


Run = Callable[..., Result]


OF_THE_START = ("PYTHON", "LC_", "LANG", "LD_", "OMP_")
"""Variables that count when an interpreter starts: a command with another one of these is started, not forked."""


@pytest.fixture
def run(folder: Path) -> Run:
    """Run the command line in a process of its own, forked, on the instance in ``folder``; its result comes back."""
    return run_on(folder)


def run_on(folder: Path) -> Run:
    """What runs the command line in a process of its own, forked, on the instance in that folder."""

    def start(*arguments: object, stdin: bytes = b"", env: dict[str, str] | None = None) -> Result:
        environment = {**os.environ, "IMGSEARCH_INSTANCE": str(folder), **(env or {})}
        if any(name.startswith(OF_THE_START) for name in env or {}):
            return started(*arguments, stdin=stdin, environment=environment)
        words = [str(word) for word in arguments]
        code, out, err = run_forked(words, stdin, environment, COMMAND_SECONDS)
        return checked(words, Result(code, out.decode(), err.decode()))

    return start


def started(*arguments: object, stdin: bytes, environment: dict[str, str]) -> Result:
    """Run the command line in an interpreter of its own."""
    process = subprocess.run(
        command(*arguments), input=stdin, capture_output=True, check=False, env=environment, timeout=COMMAND_SECONDS
    )
    result = Result(process.returncode, process.stdout.decode(), process.stderr.decode())
    return checked([str(word) for word in arguments], result)


def checked(words: list[str], result: Result) -> Result:
    """The result, once all JSON that was printed is what the command's schema says."""
    check_output(words, result.stdout)
    return result


@pytest.fixture
def start(folder: Path) -> Run:
    """Run the command line as people do, in an interpreter of its own, on the instance in ``folder``."""

    def run(*arguments: object, stdin: bytes = b"", env: dict[str, str] | None = None) -> Result:
        environment = {**os.environ, "IMGSEARCH_INSTANCE": str(folder), **(env or {})}
        return started(*arguments, stdin=stdin, environment=environment)

    return run


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def gpu() -> str:
    """The name of a GPU that torch can use; without one, the test is left out."""
    if not _has_gpu():
        pytest.skip("torch finds no GPU here")
    return "cuda"


@pytest.fixture(scope="session")
def no_gpu() -> None:
    """For what is to be refused where there is none."""
    if _has_gpu():
        pytest.skip("there is a GPU here")


def whole_lines(stdout: bytes) -> list[dict[str, Any]]:
    """JSON documents, one a line, as far as the lines are whole: of the last one, a killed process may give half."""
    return [json.loads(line) for line in stdout.splitlines(keepends=True) if line.endswith(b"\n")]


def command(*arguments: object) -> list[str]:
    """The words that start the command line."""
    return [sys.executable, "-m", "imgsearch", *map(str, arguments)]
