"""``imgsearch schema``: what programs can rely on, from the release that they run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from imgsearch.cli.app import COMMANDS
from imgsearch.service.output_schemas import output_schema, schema_names
from tests.conftest import Run
from tests.output_checks import documents_in


def test_names_are_listed(run: Run) -> None:
    """One a line; each can be asked for."""
    assert run("schema").stdout.splitlines() == list(schema_names())


def test_a_schema_is_complete_in_itself(run: Run) -> None:
    """What is printed validates what the command prints, without another file."""
    schema = json.loads(run("schema", "models").stdout)
    assert schema == output_schema("models")
    validator = Draft202012Validator(schema)
    for chosen in ("json", "jsonl"):
        documents = documents_in(run("models", "--format", chosen).stdout)
        assert documents
        assert all(map(validator.is_valid, documents))
    assert not validator.is_valid({"Success": True, "Models": [{}]})


def test_another_name_is_refused(run: Run) -> None:
    """With the names that there are."""
    result = run("schema", "serve")
    assert result.returncode == 2
    assert "'serve'" in result.stderr
    assert "search, show" in result.stderr


FAILING = {
    "init": ["--max-bytes", "x"],
    "add": [],
    "sync": [],
    "search": [],
    "compare": ["a"],
    "list": ["-n", "x"],
    "show": [],
    "duplicates": ["--level", "x"],
    "update": [],
    "delete": [],
    "rebuild": [],
    "index": [],
    "tune": [],
    "info": [],
    "models": ["x"],
    "check": [],
    "export": [],
    "import": [],
    "oss-import": [],
    "eval": [],
    "serve": ["--port", "x"],
    "config": ["x"],
    "schema": ["x"],
    "completion": [],
    "man": ["x"],
}


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"mcp"}))
def test_errors_of_every_command_are_documents(run: Run, name: str, tmp_path: Path) -> None:
    """Each command fails with the document of ``error``; the fixture has held it against the command's schema."""
    result = run(name, *FAILING[name])
    assert result.returncode
    assert Draft202012Validator(output_schema("error")).is_valid(json.loads(result.stdout))
