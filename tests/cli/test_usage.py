"""Command lines that cannot be parsed, and completion in a real shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from imgsearch.cli.app import app, app_for
from imgsearch.cli.examples import EXAMPLES
from tests.conftest import Run


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["serach"], "search"),
        (["search", "--fliter", "x", "a.jpg"], "--filter"),
        (["search", "a.jpg", "--num", "abc"], "'abc'"),
        (["add", "--kind", "shop"], "shop"),
        (["info", "surplus"], "surplus"),
        (["--unknown"], "--unknown"),
        (["show"], "PRODUCT_ID"),
    ],
    ids=str,
)
def test_a_line_that_cannot_be_parsed(run: Run, words: list[str], hint: str) -> None:
    """Exit code 2, one line for people with what was meant, and a document in JSON formats."""
    result = run(*words, "--format", "json") if len(words) > 1 else run(*words)
    assert (result.returncode, result.document["Success"], result.document["Code"]) == (2, False, "BadRequest")
    (line,) = result.stderr.splitlines()
    assert hint in line
    assert "--help" in line
    assert result.document["Message"] in line


def test_no_document_in_other_formats(run: Run) -> None:
    for words in (["search", "--format", "paths", "--fliter"], ["search", "--format=table", "--fliter"]):
        result = run(*words)
        assert (result.returncode, result.stdout) == (2, "")


def test_without_a_word_the_help_is_shown(run: Run) -> None:
    result = run()
    assert result.returncode == 2
    assert "oss-import" in result.stdout + result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert result.returncode == 0
    assert f"complete_{shell}" in result.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("imgsearch li", {"list"}),
        ("imgsearch add --category B", {"Bag", "Bottle", "Bottoms"}),
        ("imgsearch search --distinct", {"--distinct-product"}),
        ("imgsearch info -i sh", {"shop"}),
        ("imgsearch init --model efficientnet-lite1", {"efficientnet-lite1"}),
    ],
)
def test_completion_in_bash(tmp_path: Path, line: str, expected: set[str]) -> None:
    """The script defines what bash calls; commands, options and values are completed."""
    (tmp_path / "config.toml").write_text('[instances]\nshop = "x"\n')
    program = tmp_path / "imgsearch"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m imgsearch "$@"\n')
    program.chmod(0o755)
    words = line.split()
    script = (
        f"source <(imgsearch completion bash)\nCOMP_WORDS=({line})\nCOMP_CWORD={len(words) - 1}\n"
        '_imgsearch_completion imgsearch\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    paths = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "IMGSEARCH_CONFIG": f"{tmp_path}/config.toml"}
    environment = {**os.environ, **paths}
    shown = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert set(shown.stdout.split()) == expected


COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_each_command_has_examples(run: Run) -> None:
    """With options that exist; the help shows them."""
    assert EXAMPLES.keys() == COMMANDS.keys()
    for name, lines in EXAMPLES.items():
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts + parameter.secondary_opts}
        for line in lines:
            own = shlex.split(re.split(r"[|)]", line[line.index("imgsearch ") :])[0])
            assert own[1] == name
            assert {word for word in own if re.fullmatch(r"--?[a-z0][a-z-]*", word)} <= known, line
    assert "Examples:" in run("sync", "--help").stdout


def test_options_are_grouped_in_the_help(run: Run) -> None:
    shown = run("search", "--help").stdout
    assert all(f"─ {group} ─" in shown for group in ("Instance", "Pictures", "Selection", "Output"))


def test_the_manual_page(run: Run, tmp_path: Path) -> None:
    """Each command with each of its options; man understands it."""
    result = run("man")
    assert result.returncode == 0
    page = result.stdout.replace("\\-", "-").replace("\\f", "\n\\f")
    for name, command in COMMANDS.items():
        assert f".SS imgsearch {name}" in page
        assert all(f"B{option}" in page for parameter in command.params for option in parameter.opts if "-" in option)
    if shutil.which("groff"):
        checked = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z"], input=result.stdout, capture_output=True, text=True, check=True
        )
        assert checked.stderr == ""


def test_help_is_the_same_whether_commands_are_loaded_or_only_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a command's name, none is run or loaded to tell what there is."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("_IMGSEARCH_COMPLETE", raising=False)
    described, whole = (CliRunner().invoke(one, ["--help"]) for one in (app_for(["--help"]), app))
    assert described.exit_code == whole.exit_code == 0
    assert described.stdout == whole.stdout
    assert all(name in whole.stdout for name in COMMANDS)


def test_what_help_leaves_out_of_rich_is_loaded_when_it_is_used() -> None:
    script = (
        "import sys\n"
        "from imgsearch.cli import rich_help\n"
        "rich_help.prepare(['info'])\n"
        "assert 'typer.rich_utils' not in sys.modules\n"
        "rich_help.prepare(['--help'])\n"
        "from typer import rich_utils\n"
        "assert not {'rich.markdown', 'rich.traceback'} & sys.modules.keys()\n"
        "from rich.markdown import Markdown\n"
        "assert type(rich_utils.Markdown('*a*')) is Markdown\n"
        "from rich.traceback import Traceback\n"
        "assert rich_utils.Traceback.from_exception == Traceback.from_exception\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
