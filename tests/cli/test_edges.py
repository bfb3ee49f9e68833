"""What surrounds a command may be broken: streams, locale, home, cache, memory. Exit codes stay what they mean."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Run, command

IS_ROOT = os.geteuid() == 0


def shell(line: str, *words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a line of sh in which ``"$@"`` is the command line."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *map(str, command(*words))],
        env={**os.environ, **(env or {})},
        capture_output=True,
        check=False,
    )


@pytest.mark.extended
@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_streams(run: Run, folder: Path, catalogue: Path, closed: str) -> None:
    """A stream that the caller has closed is no place for the files of an instance."""
    result = shell(f'"$@" {closed}', "add", "-i", folder, catalogue, "--quiet")
    assert result.returncode == 0
    assert run("check", "--read-data").document["Problems"] == []


@pytest.mark.extended
def test_a_closed_stdout(run: Run, folder: Path, catalogue: Path) -> None:
    """Where nothing is printed, nothing is missing; a result that cannot be printed is exit code 8."""
    assert shell('"$@" >&-', "add", "-i", folder, catalogue, "--quiet").returncode == 0
    assert run("info").document["TotalCount"] == 12
    result = shell('"$@" >&-', "info", "-i", folder)
    assert (result.returncode, b"standard output" in result.stderr) == (8, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout(folder: Path, run: Run) -> None:
    assert run("init").returncode == 0
    result = shell('"$@" >/dev/full', "info", "-i", folder)
    assert (result.returncode, b"standard output" in result.stderr) == (8, True)


@pytest.mark.parametrize("output_format", ["table", "json", "paths"])
def test_a_terminal_that_knows_only_ascii(run: Run, folder: Path, catalogue: Path, output_format: str) -> None:
    """Characters that it lacks are escaped; JSON and paths stay UTF-8."""
    assert run("add", catalogue / "0001.jpg", "--product-id", "crème").returncode == 0
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    result = shell('"$@"', "list", "-i", folder, "--format", output_format, env=plain)
    assert (result.returncode, result.stderr) == (0, b"")
    expected = {"table": b"cr\\xe8me", "json": "crème".encode(), "paths": b"0001.jpg"}
    assert expected[output_format] in result.stdout


@pytest.mark.skipif(not IS_ROOT, reason="another user's process needs root")
def test_a_user_without_home(run: Run, folder: Path) -> None:
    """Neither HOME nor an entry in the list of users: what needs no folder of the user works, the rest says so."""
    assert run("init").returncode == 0

    def as_nobody(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "HOME", "IMG"))
        }
        return subprocess.run(
            command(*words),
            env=environment | variables,
            user=54321,
            group=54321,
            extra_groups=(),
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )

    try:
        readable = as_nobody("--version").returncode == 0
    except PermissionError:
        readable = False
    if not readable:
        pytest.skip("other users cannot read this environment")
    assert as_nobody("config").returncode == 2
    assert as_nobody("config", IMGSEARCH_CACHE="/nowhere", IMGSEARCH_INSTANCE="/nowhere").returncode == 0
    result = as_nobody("info")
    assert (result.returncode, "IMGSEARCH_INSTANCE" in result.stderr) == (2, True)


@pytest.mark.extended
def test_a_full_cache(run: Run, catalogue: Path, tmp_path: Path) -> None:
    """Exit code 8, not a bug: OpenVINO itself only says that something went wrong."""
    cache = tmp_path / "cache"
    cache.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", cache], check=False, stderr=-1).returncode:
        pytest.skip("mounting a small file system needs privileges")
    try:
        result = run("add", catalogue, env={"IMGSEARCH_CACHE": str(cache)})
    finally:
        subprocess.run(["umount", cache], check=True)
    assert (result.returncode, f"no space left in {cache}" in result.stderr) == (8, True), result


@pytest.mark.parametrize(
    "error", ["MemoryError()", "RuntimeError('std::bad_alloc')", 'RuntimeError("can\'t start new thread")']
)
def test_memory_refused_by_the_system(folder: Path, run: Run, error: str) -> None:
    """Exit code 8 with the way out."""
    assert run("init").returncode == 0
    probe = (
        "from imgsearch.instance import Instance\n"
        f"def refused(*_): raise {error}\n"
        "Instance.info = refused\n"
        "from imgsearch.__main__ import main\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe, "info", "-i", folder], capture_output=True, text=True, check=False
    )
    assert (result.returncode, "memory" in result.stderr) == (8, True), result


@pytest.mark.extended
def test_a_folder_whose_name_is_no_utf_8(run: Run, catalogue: Path, tmp_path: Path) -> None:
    """Names are bytes; all commands take the same."""
    name = os.fsdecode(b"a\xff\n%3f?b=1#")
    folder, exported = tmp_path / name, tmp_path / f"to {name}"
    commands: list[tuple[object, ...]] = [
        ("init",),
        ("add", catalogue),
        ("rebuild",),
        ("search", catalogue / "0003.jpg", "-n", 1),
        ("check", "--read-data"),
        ("check", "--repair"),
        ("add", "--reindex"),
        ("export", exported),
        ("delete", "0003"),
        ("import", exported),
        ("info",),
    ]
    results = [(words, run(words[0], "-i", folder, *words[1:])) for words in commands]
    assert [(words, result.stderr) for words, result in results if result.returncode] == []
    by_name = {words[0]: result.document for words, result in results}
    assert by_name["search"]["Auctions"][0]["PicName"] == "0003.jpg"
    assert by_name["info"]["TotalCount"] == 12
