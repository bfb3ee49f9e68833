"""Searches that a running server answers: real servers and clients; the same output as without, byte by byte."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from imgsearch.server.shell_link import MOST_AT_ONCE
from tests.cli.warm_server import Client, Warm, alike, client, serving
from tests.conftest import COMMAND_SECONDS, ROOT, command
from tests.pictures import jpeg

pytestmark = pytest.mark.networks

QUERIES = ROOT / "sample_data" / "queries"
MUG = QUERIES / "mug-red.jpg"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance of some products of the sample catalogue, not to be changed."""
    base = tmp_path_factory.mktemp("warm")
    for product in ("mug-red", "mug-blue", "teapot-white", "armchair-teal"):
        if (ROOT / "sample_data" / "catalogue" / product).is_dir():
            shutil.copytree(ROOT / "sample_data" / "catalogue" / product, base / "pictures" / product)
    words = command("add", "-i", base / "shop", base / "pictures", "--product-from", "parent", "--int-attr", "7", "-q")
    subprocess.run(words, check=True)
    return base / "shop"


@pytest.fixture(scope="module")
def warm(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """A server of the instance."""
    with serving(shop, tmp_path_factory.mktemp("state")) as running:
        yield running


def compared(warm: Warm, *words: object, stdin: bytes = b"", cwd: Path | None = None, **variables: str) -> Client:
    """Run a search that the server answers and one that it does not; they do the same. The former."""
    answered = client(warm.environment, *words, stdin=stdin, cwd=cwd, **variables)
    alone = client(warm.environment, *words, stdin=stdin, cwd=cwd, **{**variables, "IMGSEARCH_NO_SERVER": "1"})
    assert (answered.is_warm, alone.is_warm) == (True, False)
    assert alike(answered.stdout) == alike(alone.stdout)
    assert answered.stderr == alone.stderr
    assert answered.returncode == alone.returncode
    return answered


@pytest.mark.extended
@pytest.mark.parametrize(
    "words",
    [
        [MUG, "--format", "json"],
        [MUG, "--format", "table", "-n", "3"],
        [MUG, "--format", "jsonl", "--all-subjects", "--any-category"],
        [MUG, "--format", "paths", "--scores", "-0", "--no-lift"],
        [MUG, "--category", "Bag", "--filter", "int_attr=7", "--no-crop", "--region", "1,300,1,300"],
        ["--product-id", "mug-red", "--pic-name", "mug-red/top.jpg", "--exclude-self"],
    ],
    ids=lambda words: " ".join(map(str, words[1:])),
)
def test_results_are_the_same(warm: Warm, shop: Path, words: list[object]) -> None:
    """In all formats, of pictures and indexed ones, with warnings."""
    assert compared(warm, "search", "-i", shop, *words).returncode == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["missing.jpg"], 3),
        ([__file__], 3),
        ([MUG, "--filter", "int_attr=="], 3),
        ([MUG, "--category", "Nonsense"], 3),
        ([MUG, "--num", "many"], 2),
        ([MUG, "--format", "jsonl", "--no-such-option"], 2),
        ([MUG, "--text", "both"], 2),
        (["--product-id", "mug-red", "--pic-name", "none"], 4),
    ],
    ids=str,
)
def test_errors_are_the_same(warm: Warm, shop: Path, words: list[object], code: int) -> None:
    """Of pictures, options, filters, names, and of the command line itself."""
    answered = compared(warm, "search", "-i", shop, *words)
    assert answered.returncode == code
    assert answered.stderr


def test_what_a_client_imports(warm: Warm, shop: Path) -> None:
    """Of this package, only what asks; and none of the libraries."""
    answered = client(warm.environment, "search", "-i", shop, MUG)
    own = {name for name in answered.modules if name.partition(".")[0] == "imgsearch"}
    assert own == {
        f"imgsearch{name}" for name in ("", ".__main__", ".own_process", ".cli", ".cli.warm_client", ".cli.words")
    }
    assert not answered.modules & {"typer", "click", "rich", "numpy", "platformdirs", "tomllib", "json", "asyncio"}


@pytest.mark.extended
def test_standard_input_and_folder_are_the_clients(warm: Warm, shop: Path, tmp_path: Path) -> None:
    """A picture on stdin; paths from where the client is; a folder that is gone."""
    assert compared(warm, "search", "-i", shop, "-", stdin=MUG.read_bytes()).document["Success"] is True
    assert compared(warm, "search", "-i", shop, "-").returncode == 3
    shutil.copy(MUG, tmp_path / "here.jpg")
    assert compared(warm, "search", "-i", os.path.relpath(shop, tmp_path), "here.jpg", cwd=tmp_path).returncode == 0
    results = []
    for no_server in ("", "1"):
        (tmp_path / "gone").mkdir()
        words = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *command("search", "-i", shop, MUG)]
        environment = {**warm.environment, "IMGSEARCH_NO_SERVER": no_server}
        results.append(subprocess.run(words, cwd=tmp_path / "gone", env=environment, capture_output=True, check=False))
    assert results[0].returncode == results[1].returncode == 2
    assert (results[0].stdout, results[0].stderr) == (results[1].stdout, results[1].stderr)


@pytest.mark.extended
def test_names_of_the_configuration(warm: Warm, shop: Path, tmp_path: Path) -> None:
    """The client's configuration says which instance is meant, by option, variable and file, and the format."""
    file = tmp_path / "config.toml"
    file.write_text(f'format = "paths"\ninstance = "mine"\n[instances]\nmine = "{shop}"\n')
    by_file = compared(warm, "--config", file, "search", MUG)
    assert len(by_file.stdout.splitlines()) > 1
    assert compared(warm, "-i", "mine", "search", MUG, IMGSEARCH_CONFIG=str(file)).stdout == by_file.stdout
    assert compared(warm, "search", MUG, "--format", "paths", IMGSEARCH_INSTANCE=str(shop)).stdout == by_file.stdout
    (tmp_path / "link").symlink_to(shop)
    assert compared(warm, "search", "-i", tmp_path / "link", MUG).returncode == 0
    file.write_text("nonsense = 1\n")
    assert compared(warm, "--config", file, "search", MUG).returncode == 2


def shown(environment: dict[str, str], *words: object) -> tuple[int, bytes]:
    """Run a command on a terminal of 90 columns; its exit code and all that it showed."""
    primary, secondary = pty.openpty()
    termios.tcsetwinsize(secondary, (40, 90))
    process = subprocess.Popen(
        command(*words),
        env={**environment, "TERM": "xterm-256color"},
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
    )
    os.close(secondary)
    seen = b""
    while select.select([primary], [], [], 60)[0]:
        try:
            seen += os.read(primary, 65536)
        except OSError:  # nobody has it open any more
            break
    os.close(primary)
    return process.wait(), seen


@pytest.mark.extended
def test_a_terminal_shows_the_same(warm: Warm, shop: Path) -> None:
    """Colours and widths are those of the client's terminal."""
    for words in (["-n", 2], ["--num", "none"]):
        answered = shown(warm.environment, "search", "-i", shop, MUG, *words)
        alone = shown({**warm.environment, "IMGSEARCH_NO_SERVER": "1"}, "search", "-i", shop, MUG, *words)
        assert answered[0] == alone[0]
        assert alike(answered[1].decode()) == alike(alone[1].decode())
    assert b"\x1b[" in shown(warm.environment, "search", "-i", shop, MUG)[1]


@pytest.mark.extended
def test_concurrent_clients_do_not_mix(warm: Warm, shop: Path, tmp_path: Path) -> None:
    """Each gets its own answer, on its own streams, from its own folder."""
    queries = sorted(QUERIES.glob("*.jpg"))[:4]
    wanted = []
    for number, query in enumerate(queries):
        (tmp_path / str(number)).mkdir()
        shutil.copy(query, tmp_path / str(number) / "query.jpg")
        words = ("search", "-i", shop, "query.jpg", "--any-category", "--format", ["json", "table"][number % 2])
        wanted.append(compared(warm, *words, cwd=tmp_path / str(number)))

    def asked(number: int) -> Client:
        words = ("search", "-i", shop, "query.jpg", "--any-category", "--format", ["json", "table"][number % 2])
        return client(warm.environment, *words, cwd=tmp_path / str(number))

    with ThreadPoolExecutor(12) as threads:
        for number, answered in enumerate(threads.map(asked, [0, 1, 2, 3] * 3)):
            assert answered.is_warm
            assert alike(answered.stdout) == alike(wanted[number % 4].stdout)
            assert answered.stderr == wanted[number % 4].stderr
    assert len({alike(one.stdout) for one in wanted}) == 4


@pytest.mark.extended
def test_a_reader_that_has_left(warm: Warm, shop: Path) -> None:
    """The exit code is that of shells, as without a server."""
    for no_server in ("", "1"):
        reading, writing = os.pipe()
        os.close(reading)
        process = subprocess.run(
            command("search", "-i", shop, MUG),
            env={**warm.environment, "IMGSEARCH_NO_SERVER": no_server},
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
        os.close(writing)
        assert (process.returncode, process.stderr) == (141, b"")


def test_a_closed_stdout_is_the_same_error(warm: Warm, shop: Path) -> None:
    """What cannot be printed is not lost in silence."""
    results = []
    for no_server in ("", "1"):
        words = ["sh", "-c", '"$@" >&-', "sh", *command("search", "-i", shop, MUG)]
        environment = {**warm.environment, "IMGSEARCH_NO_SERVER": no_server}
        results.append(subprocess.run(words, env=environment, stderr=subprocess.PIPE, check=False))
    assert results[0].returncode == results[1].returncode == 8
    assert results[0].stderr == results[1].stderr


def waiting(warm: Warm, shop: Path) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    """A client whose search waits for a picture on stdin, and the copy that carries it out."""
    before = {child.pid for child in psutil.Process(warm.host).children()}
    process = subprocess.Popen(
        command("search", "-i", shop, "-", "--format", "jsonl"),
        env=warm.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(jpeg(1)[:100])
    process.stdin.flush()
    client_side = psutil.Process(process.pid)
    deadline = time.monotonic() + COMMAND_SECONDS
    while True:  # the copy has the search when it has read what was written
        new = [child for child in psutil.Process(warm.host).children() if child.pid not in before]
        if new and not select.select([process.stdin], [], [], 0)[2] and _is_drained(process):
            return process, new[0]
        assert client_side.is_running()
        assert time.monotonic() < deadline, "no copy has taken the search"


def _is_drained(process: subprocess.Popen[bytes]) -> bool:
    import array
    import fcntl

    left = array.array("i", [0])
    assert process.stdin is not None
    fcntl.ioctl(process.stdin, termios.FIONREAD, left)
    return left[0] == 0


def test_ctrl_c_ends_the_search(warm: Warm, shop: Path) -> None:
    """With the message and exit code of a search without a server; the copy is gone."""
    process, copy = waiting(warm, shop)
    process.send_signal(signal.SIGINT)
    process.wait(60)  # communicate() would close stdin, which the copy may see first
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b'"Code": "Interrupted"' in out
    assert err.startswith(b"imgsearch: interrupted")
    copy.wait(60)


def test_a_killed_client_leaves_nothing(warm: Warm, shop: Path) -> None:
    """Its copy ends too."""
    process, copy = waiting(warm, shop)
    process.kill()
    process.communicate()
    copy.wait(60)


def test_a_copy_that_dies_after_it_began(warm: Warm, shop: Path) -> None:
    """That stdin is read cannot be undone: the client says so, and does not search again."""
    process, copy = waiting(warm, shop)
    copy.kill()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (70, b"")
    assert err.startswith(b"imgsearch: the running server ended while it answered")


@pytest.mark.extended
@pytest.mark.parametrize(
    "words",
    [
        ["--no-server", MUG],
        [MUG, MUG],
        [QUERIES],
        [MUG, MUG, "--combine"],
        [MUG, "--html", "sheet.html"],
        [MUG, "--preview", "--format", "table"],
        ["--text", "a mug"],
    ],
    ids=lambda words: " ".join(str(word).rpartition("/")[2] for word in words),
)
def test_what_the_server_does_not_answer(warm: Warm, shop: Path, tmp_path: Path, words: list[object]) -> None:
    """Is done as without one, and nothing tells the difference."""
    found = client(warm.environment, "search", "-i", shop, "-n", 1, *words, cwd=tmp_path)
    assert not found.is_warm
    assert found.returncode == (2 if "--text" in words else 0)
    assert found.stdout.count("Success") <= max(1, len(found.stdout.splitlines()))


@pytest.mark.extended
def test_what_the_server_does_not_have(warm: Warm, shop: Path, tmp_path: Path) -> None:
    """Another instance, another precision, another cache: each is searched as without a server."""
    shutil.copytree(shop, tmp_path / "other")
    other = client(warm.environment, "search", "-i", tmp_path / "other", MUG)
    assert (other.returncode, other.is_warm) == (0, False)
    missing = client(warm.environment, "search", "-i", tmp_path / "none", MUG)
    assert (missing.returncode, missing.is_warm) == (4, False)
    precise = client(warm.environment, "search", "-i", shop, MUG, IMGSEARCH_PRECISION="f32")
    assert (precise.returncode, precise.is_warm) == (0, False)
    wrong = client(warm.environment, "search", "-i", shop, MUG, IMGSEARCH_PRECISION="f7")
    assert (wrong.returncode, wrong.is_warm) == (2, False)
    unsure = client(warm.environment, "search", "-i", shop, MUG, IMGSEARCH_NO_SERVER="perhaps")
    assert (unsure.returncode, unsure.is_warm) == (2, False)
    assert "--no-server" in unsure.stderr


@pytest.mark.extended
def test_a_replaced_instance_is_not_the_one_served(shop: Path, tmp_path: Path) -> None:
    """One that was deleted and made anew in the same folder is searched as it is now."""
    shutil.copytree(shop, tmp_path / "shop")
    with serving(tmp_path / "shop", tmp_path / "state") as running:
        assert client(running.environment, "search", "-i", tmp_path / "shop", MUG).is_warm
        shutil.rmtree(tmp_path / "shop")
        subprocess.run(command("init", "-i", tmp_path / "shop"), check=True, capture_output=True)
        found = client(running.environment, "search", "-i", tmp_path / "shop", MUG)
        assert not found.is_warm
        assert found.document["Head"]["DocsFound"] == 0


def test_servers_that_end(shop: Path, tmp_path: Path) -> None:
    """One that is told to end takes its socket along, as does one that is killed; a leftover is no hindrance."""
    place = tmp_path / "run"
    place.mkdir(mode=0o700)
    if len(str(place)) > 60:
        pytest.skip("paths of sockets are short, and this temporary folder's is not")
    with serving(shop, tmp_path / "state", place) as first:
        assert first.socket.stat().st_mode & 0o777 == 0o600
        assert first.socket.parent.stat().st_mode & 0o777 == 0o700
        host = psutil.Process(first.host)
        first.ended()
        assert not first.socket.exists()
        assert not host.is_running()
    with serving(shop, tmp_path / "state", place) as second:
        host = psutil.Process(second.host)
        second.process.kill()
        host.wait(60)
        assert not second.socket.exists()
    with serving(shop, tmp_path / "state", place) as third:
        psutil.Process(third.host).kill()
        told = third.ended()
        assert "the process that takes them has ended" in told
        assert third.socket.exists()
        found = client(third.environment, "search", "-i", shop, MUG)
        assert (found.returncode, found.is_warm) == (0, False)
    with serving(shop, tmp_path / "state", place) as fourth:
        assert not third.socket.exists()
        assert client(fourth.environment, "search", "-i", shop, MUG).is_warm
        host = psutil.Process(fourth.host)
    host.wait(60)


@pytest.mark.extended
def test_no_more_clients_than_agreed(warm: Warm, shop: Path) -> None:
    """Whoever only connects takes up a place; one more is hung up on at once, and the others are still served."""
    held = [socket.socket(socket.AF_UNIX) for _ in range(MOST_AT_ONCE + 1)]
    for one in held:
        one.connect(str(warm.socket))
    held[-1].settimeout(60)
    assert held[-1].recv(1) == b""
    alone = client(warm.environment, "search", "-i", shop, MUG)
    assert (alone.returncode, alone.is_warm) == (0, False)
    for one in held:
        one.close()
    for child in psutil.Process(warm.host).children():
        child.wait(60)
    assert client(warm.environment, "search", "-i", shop, MUG).is_warm
