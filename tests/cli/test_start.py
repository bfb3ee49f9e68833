"""What each command imports, and how it behaves on a terminal."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from imgsearch.cli.app import COMMANDS
from tests.conftest import Run, command

PROBE = """
import sys, json
from imgsearch.__main__ import main
try:
    main()
except SystemExit:
    pass
sys.stderr.write("MODULES " + json.dumps(sorted(sys.modules)) + "\\n")
"""

ALWAYS_HEAVY = {"torch", "torchvision", "timm", "safetensors", "huggingface_hub"}
REMOTE = {"oss2", "alibabacloud_credentials", "Tea", "requests", "urllib3", "tenacity", "aiohttp", "Crypto"}
"""What only ``oss-import`` needs, and only once it goes to work."""


def imported(folder: Path, *arguments: object, whole_names: bool = False) -> set[str]:
    """Names, or top-level names, of all modules that a command has loaded at its end."""
    import json

    process = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, arguments)],
        env={**os.environ, "IMGSEARCH_INSTANCE": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("MODULES ")]
    names = json.loads(line.removeprefix("MODULES "))
    return set(names) if whole_names else {name.partition(".")[0] for name in names}


@pytest.mark.extended
@pytest.mark.parametrize(
    ("arguments", "never"),
    [
        (["--help"], {"numpy", "faiss", "openvino", "PIL", "sqlite3"}),
        (["--version"], {"numpy", "faiss", "openvino", "PIL", "sqlite3"}),
        (["search", "--help"], {"numpy", "faiss", "openvino", "PIL", "sqlite3"}),
        (["eval", "--help"], {"numpy", "faiss", "openvino", "PIL", "sqlite3", "lark", "tqdm"}),
        (["eval", "CATALOGUE"], {"lark", "openvino", "tqdm"}),
        (["info"], {"faiss", "openvino", "PIL", "email", "tomllib"}),
        (["delete", "none"], {"faiss", "openvino", "PIL"}),
        (["rebuild"], {"openvino", "PIL"}),
        (["search", "--product-id", "0001", "--pic-name", "0001.jpg"], {"PIL", "openvino"}),
        (["search", "PICTURE"], {"lark", "tqdm", "PIL", "email", "tomllib"}),
        (["add", "CATALOGUE"], {"faiss", "openvino", "PIL"}),
        (["oss-import", "--help"], {"numpy", "faiss", "openvino", "PIL", "sqlite3"}),
        (["oss-import", "oss://abc/d", "--explain-policy"], {"numpy", "faiss", "openvino", "PIL", "sqlite3"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_imports(
    run: Run, folder: Path, catalogue: Path, tmp_path: Path, arguments: list[str], never: set[str]
) -> None:
    """No command loads torch or timm; each loads only what it needs: no network if nothing is extracted."""
    catalogue = Path(shutil.copytree(catalogue, tmp_path / "catalogue"))
    os.utime(catalogue / "0001.jpg", (1, 1))
    assert run("add", catalogue).returncode == 0
    run("add", catalogue)
    places = {"PICTURE": catalogue / "0001.jpg", "CATALOGUE": catalogue}
    loaded = imported(folder, *(places.get(argument, argument) for argument in arguments))
    assert not loaded & (ALWAYS_HEAVY | REMOTE | never)


def on_terminal(folder: Path, *arguments: object) -> tuple[int, str]:
    """Run a command whose stdin, stdout and stderr are a terminal; its exit code and everything it showed."""
    primary, secondary = pty.openpty()
    termios.tcsetwinsize(secondary, (40, 100))
    process = subprocess.Popen(
        command(*arguments),
        env={**os.environ, "IMGSEARCH_INSTANCE": str(folder), "TERM": "xterm-256color", "COLUMNS": "100"},
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        close_fds=True,
    )
    os.close(secondary)
    shown = b""
    while True:
        ready, _, _ = select.select([primary], [], [], 60)
        assert ready, "nothing happened for a minute"
        try:
            data = os.read(primary, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(primary)
    return process.wait(timeout=60), shown.decode(errors="replace")


@pytest.mark.extended
def test_a_command_loads_none_of_the_others(folder: Path) -> None:
    """Nor does the list of all of them load any."""
    commands = {f"imgsearch.cli.{place.partition(':')[0]}" for place in COMMANDS.values()}
    for words, own in ((["info"], "info"), (["search", "--help"], "search"), (["eval", "--help"], "evaluate")):
        assert commands & imported(folder, *words, whole_names=True) == {f"imgsearch.cli.{own}"}
    assert not commands & imported(folder, "--help", whole_names=True)


@pytest.mark.extended
@pytest.mark.usefixtures("cache_with_note")
def test_a_first_search_does_without_the_converter(run: Run, folder: Path, catalogue: Path) -> None:
    assert run("add", catalogue).returncode == 0
    loaded = imported(folder, "search", catalogue / "0001.jpg", whole_names=True)
    assert "openvino._pyopenvino" in loaded
    assert not {name for name in loaded if name.startswith("openvino.tools.ovc")}


@pytest.mark.extended
def test_terminal_gets_a_bar_and_a_table(folder: Path, catalogue: Path) -> None:
    """Progress only on a terminal, and a table by default there."""
    code, shown = on_terminal(folder, "add", catalogue)
    assert code == 0
    assert "12 added" in shown
    assert "pictures/s" in shown
    code, shown = on_terminal(folder, "search", catalogue / "0003.jpg")
    assert code == 0
    assert "0003.jpg" in shown
    assert "┃" in shown


@pytest.mark.extended
def test_a_terminal_shows_a_failure_once(folder: Path, catalogue: Path, tmp_path: Path) -> None:
    """In the table at the end; a warning stands on a line of its own, above the bar."""
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    code, shown = on_terminal(folder, "add", catalogue / "0001.jpg", tmp_path / "broken.jpg")
    assert code == 1
    assert shown.count("UnsupportedPicFormat") == 1


@pytest.mark.extended
def test_preview_shows_pictures_in_the_terminal(folder: Path, catalogue: Path) -> None:
    """Without sixel or Kitty's protocol, coloured half blocks."""
    on_terminal(folder, "add", catalogue)
    code, shown = on_terminal(folder, "search", catalogue / "0003.jpg", "-n", "2", "--preview")
    assert code == 0
    assert "▀" in shown or "▄" in shown


def test_python_m_and_version(run: Run) -> None:
    """The version is the package's."""
    import imgsearch

    assert run("--version").stdout.strip() == f"imgsearch {imgsearch.__version__}"
