"""The documents are true: the tour runs, tables agree with the code, links lead somewhere."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import imgsearch
from imgsearch import Instance, Searcher, Writer, errors
from imgsearch.agents.tools import TOOLS
from imgsearch.cli.app import app
from imgsearch.errors import ImgsearchError
from imgsearch.storage.integrity.problems import Damage
from tests import postgres_server
from tests.conftest import ROOT, command

README = (ROOT / "README.md").read_text(encoding="utf-8")
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def all_errors() -> set[type[ImgsearchError]]:
    return {getattr(errors, name) for name in errors.__all__ if name != "RemoteCode"}


@pytest.mark.extended
@pytest.mark.networks
def test_the_tour_runs(tmp_path: Path) -> None:
    """Every command of the README's tour ends with 0, in the order given, and its first hit is the right product."""
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    blocks = re.findall(r"<!-- tour -->\n```console\n(.*?)```", README, re.DOTALL)
    commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    assert len(commands) >= 10
    for line in commands:
        program, *arguments = shlex.split(line)
        assert program == "imgsearch"
        result = subprocess.run(command(*arguments), cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, (line, result.stderr)
        if "mug-red.jpg" in line and "--format json" in line:
            assert '"ProductId": "mug-red"' in result.stdout
        if "teal" in line:
            # Which of its views comes first is for the processor to say.
            assert Path(result.stdout.splitlines()[0]).parent.name == "armchair-teal"


@pytest.mark.extended
@pytest.mark.networks
@pytest.mark.skipif(not postgres_server.is_installed(), reason=postgres_server.MISSING)
def test_the_way_to_a_cluster_in_five_commands(tmp_path: Path) -> None:
    """Against a real PostgreSQL in place of the one that the README names, the answers are those of the folder."""
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    (block,) = re.findall(r"<!-- cluster -->\n```console\n(.*?)```", README, re.DOTALL)
    lines = [line.removeprefix("$ ") for line in block.splitlines()]
    assert len(lines) == 5
    assert lines[0] == "pip install '.[postgres]'"  # as has been done here
    url = postgres_server.shared_server().url(password=None)

    def ran(line: str) -> str:
        _, *words = shlex.split(line.replace("postgresql://shop@db.example/shop", url))
        environment = {**os.environ, "PGPASSWORD": postgres_server.PASSWORD, "IMGSEARCH_FORMAT": "jsonl"}
        result = subprocess.run(
            command(*words), cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
        )
        assert result.returncode == 0, (line, result.stderr)
        return result.stdout

    ran("imgsearch add -i shop sample_data/catalogue --product-from parent -q")
    for line in lines[1:4]:
        ran(line)
    found, expected = (json.loads(ran(lines[4].replace("cluster", name))) for name in ("cluster", "shop"))
    assert found["Auctions"][0]["ProductId"] == "teapot-white"
    assert found["Auctions"] == expected["Auctions"]


@pytest.mark.extended
@pytest.mark.networks
def test_the_python_example_runs(tmp_path: Path) -> None:
    """The README's example finds the teapot."""
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    (code,) = re.findall(r"<!-- python -->\n```python\n(.*?)```", README, re.DOTALL)
    subprocess.run(
        command("add", "-i", "shop", "sample_data/catalogue", "--product-from", "parent", "-q"),
        cwd=tmp_path,
        check=True,
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[0].startswith("teapot-white ")


PYTHON = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- run -->\n```python\n(.*?)```", PYTHON, re.DOTALL)


def run_example(code: str, folder: Path) -> str:
    (folder / "sample_data").symlink_to(ROOT / "sample_data")
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.extended
@pytest.mark.networks
def test_the_program_in_python_does_what_it_says(tmp_path: Path) -> None:
    """It has 20 lines at most, and prints what stands below it."""
    code = EXAMPLES[0]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 20
    (expected,) = re.findall(r"It prints:\n\n```\n(.*?)```", PYTHON, re.DOTALL)
    assert run_example(code, tmp_path) == expected


@pytest.mark.extended
@pytest.mark.networks
@pytest.mark.parametrize("number", range(1, len(EXAMPLES)))
def test_the_examples_in_python_run(number: int, tmp_path: Path) -> None:
    """Without a warning."""
    assert run_example(EXAMPLES[number], tmp_path)


AGENTS = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")


@pytest.mark.networks
def test_the_example_for_agents_runs(tmp_path: Path) -> None:
    """Without a warning."""
    (code,) = re.findall(r"<!-- run -->\n```python\n(.*?)```", AGENTS, re.DOTALL)
    assert run_example(code, tmp_path) == "generic\n"


def test_tools_of_agents_are_documented() -> None:
    """Each tool stands in the table with what it needs, and the client's file starts the command as it is."""
    table = AGENTS.partition("## Tools")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `([a-z]+)` \| (.*) \|$", table, re.MULTILINE))
    assert {name: text.startswith("with `--write`") for name, text in told.items()} == {
        tool.name: tool.writes for tool in TOOLS
    }
    (shown,) = re.findall(r"<!-- client -->\n```json\n(.*?)```", AGENTS, re.DOTALL)
    words = json.loads(shown)["mcpServers"]["imgsearch"]["args"]
    known = typer.main.get_command(app).commands[words[0]].params  # type: ignore[attr-defined]
    assert {word for word in words if word.startswith("-")} <= {option for one in known for option in one.opts}


def test_every_public_name_is_documented() -> None:
    """Those of the package, and the methods of the three classes that are used."""
    words = set(re.findall(r"\w+", PYTHON))
    public = {*imgsearch.__all__, *(name for kind in (Instance, Searcher, Writer) for name in dir(kind))}
    assert {name for name in public if not name.startswith("_")} - {"opened_type"} <= words


def test_commands_are_documented() -> None:
    """Each command stands in the table of commands, and no other does."""
    table = CLI.partition("## Commands")[2].partition("###")[0]
    documented = set(re.findall(r"^\| `([a-z-]+)", table, re.MULTILINE))
    existing = {info.name or info.callback.__name__ for info in app.registered_commands if info.callback}
    assert documented == existing


def test_error_codes_are_documented() -> None:
    """Each class's code and exit code are in the tables, and in the tree at the head of the module."""
    tree = errors.__doc__ or ""
    for error in all_errors() - {ImgsearchError}:
        assert re.search(rf"\b{error.__name__}\b", tree), error
        leaf = re.search(rf"\b{error.__name__} +(\d+) +([\w, …]+)", tree)
        if leaf:
            assert error.exit_code == int(leaf[1]), error
            if "," not in leaf[2]:
                assert error.code == leaf[2], error
            assert f"| {error.exit_code} |" in CLI
            assert all(f"`{code.strip()}`" in CLI for code in leaf[2].split(",") if code.strip() != "…"), error


def test_remote_codes_are_documented() -> None:
    """Each cause for which a remote storage cannot be used has its own code, and that stands in the documents."""
    assert len({code.value for code in errors.RemoteCode}) == len(errors.RemoteCode)
    for code in errors.RemoteCode:
        assert f"`{code}`" in CLI, code


def test_codes_of_problems_are_documented() -> None:
    """Each kind of damage that a check names stands in the documents."""
    told = set(re.findall(r"`(\w+)`", CLI.partition("### Check")[2].partition("## Output")[0]))
    assert {damage.value for damage in Damage} <= told


def test_options_of_unattended_imports_exist() -> None:
    """Every option that crontabs and units of docs/cron.md give to the command is one of it."""
    text = (ROOT / "docs" / "cron.md").read_text(encoding="utf-8")
    lines = re.findall(r"imgsearch oss-import ([^|`\n]*)", text)
    assert len(lines) >= 6
    (found,) = [info.callback for info in app.registered_commands if info.name == "oss-import"]
    options = {word for line in lines for word in re.findall(r"--[a-z-]+", line)}
    parameters = {f"--{name.replace('_', '-')}" for name in inspect.signature(found).parameters} | {"--format"}
    assert options <= parameters, options - parameters


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_shown_commands_exist(path: Path) -> None:
    """Each command line that a document shows has a command and options that exist."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    text = path.read_text(encoding="utf-8")
    shown = re.findall(r"^\$ (?:.*[| ])?imgsearch ([^\n|&>]*(?:\\\n[^\n|&>]*)*)", text, re.MULTILINE)
    for line in [*shown, *re.findall(r"`imgsearch ([^`]+)`", text)]:
        words = shlex.split(line.split("\\|")[0].replace("\\\n", " ").replace("…", ""), comments=True)
        name = next((word for word in words if word in commands), None)
        if words[0].startswith("-") and name is None:
            continue
        assert name == next(word for word in words if not word.startswith("-") and word not in ("shop", "shop2")), line
        known = {option for parameter in commands[name].params for option in parameter.opts + parameter.secondary_opts}
        known |= {"--help", "-h", "--config", "-i"}
        for word in words:
            if re.fullmatch(r"--?[a-z][a-z0-9-]*(=.*)?", word):
                assert word.partition("=")[0] in known, (line, word)


@pytest.mark.parametrize(
    "document",
    [
        *(
            "README.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
            "benchmarks/README.md",
            "benchmarks/EARLIER.md",
            "benchmarks/RESULTS.md",
        ),
        *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
    ],
)
def test_links_lead_somewhere(document: str) -> None:
    """Relative links point to files that are there, and to headings that these have."""
    path = ROOT / document
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        linked = path.parent / name if name else path
        assert linked.exists(), target
        if anchor:
            assert anchor in _anchors(linked), target


def _anchors(document: Path) -> set[str]:
    """What the headings of a Markdown document are called in links, as GitHub makes it up."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_sample_data_is_small() -> None:
    """The sample catalogue stays below 6 MB, with at least 20 products and some 60 pictures."""
    files = [path for path in (ROOT / "sample_data").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 6 * 2**20
    products = [path for path in (ROOT / "sample_data" / "catalogue").iterdir() if path.is_dir()]
    assert len(products) >= 20
    assert sum(1 for product in products for _ in product.iterdir()) >= 60


def test_nothing_of_the_evaluation_data_is_here() -> None:
    """No file of the evaluation data is tracked."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, os.fsdecode(listed).split("\0")):
        assert not name.startswith("shared/"), name


def test_the_layout_names_every_module() -> None:
    """A reader finds each module with a line on what is in it, below its package, and none that is gone."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").partition("## Layout")[2].partition("\n## ")[0]
    told = set()
    for part in text.split("**`imgsearch/")[1:]:
        package = part.partition("`**")[0]
        told |= {f"{package}{name}" for name in re.findall(r"^\| `(\w+\.py)` \| \S", part, re.MULTILINE)}
    source = ROOT / "imgsearch"
    modules = {path.relative_to(source).as_posix() for path in source.rglob("*.py") if path.name != "__init__.py"}
    assert told == modules


def test_no_module_is_too_long() -> None:
    """What has more than 400 lines has more than one job."""
    for path in (ROOT / "imgsearch").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
