"""The examples of docs/manifest.md run: files are as printed there, links lead to a server on loopback."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run
from tests.web_server import WebServer

PAGE = (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8")
FILES = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
RUNS = re.findall(r"<!-- run: (\d) -->\n```console\n(.*?)```", PAGE, re.DOTALL)
HOST = "https://cdn.example"


@pytest.mark.networks
@pytest.mark.parametrize("number", range(len(RUNS)))
def test_the_examples_run(run: Run, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exit codes and the lines that are shown."""
    monkeypatch.chdir(tmp_path)
    catalogue = ROOT / "sample_data" / "catalogue"
    (tmp_path / "catalogue").symlink_to(catalogue)
    code, text = RUNS[number]
    with WebServer().running() as web:
        for path in catalogue.rglob("*.jpg"):
            web.put(f"/{path.relative_to(catalogue).as_posix()}", path.read_bytes())
        for name, content in FILES:
            (tmp_path / name).write_text(content.replace(HOST, web.url), encoding="utf-8")
        for block in text.removeprefix("$ ").split("\n$ "):
            line, _, shown = block.partition("\n")
            program, *arguments = shlex.split(line.replace(HOST, web.url))
            assert program == "imgsearch"
            allowed = ["--allow-private"] if HOST in text or ".tsv" in line else []
            result = run(*arguments, *allowed)
            assert result.returncode == int(code), result.stderr
            for expected in shown.replace(HOST, web.url).splitlines():
                assert expected in (result.stdout + result.stderr).splitlines()


def test_every_field_is_documented() -> None:
    """Those of the tables, in both vocabularies."""
    from imgsearch.sources.columns import NAMES

    words = set(re.findall(r"\w+", PAGE)) | {f"{kind}Attr{number}" for kind in ("Int", "Str") for number in (2, 3)}
    assert set(NAMES.values()) <= words
