"""Whatever a test's command prints as JSON is held against the schema of that command's documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from imgsearch.cli.words import command_of
from imgsearch.service.output_schemas import output_schema, schema_names

__all__ = ["UNCHECKED", "check_document", "check_output", "documents_in", "validator"]

UNCHECKED = frozenset({"mcp", "schema"})
"""Commands whose JSON is of another kind: a protocol, and the schemas themselves."""


@cache
def validator(name: str) -> Draft202012Validator:
    """Of one schema, complete in itself."""
    return Draft202012Validator(output_schema(name))


def check_document(name: str, document: Any) -> None:
    """Raise AssertionError, which says what is wrong with it, unless the document is one of that schema."""
    if not validator(name).is_valid(document):
        error = best_match(validator(name).iter_errors(document))
        raise AssertionError(f"not a document of {name!r}: {error.message} at {error.json_path}: {document}")


def documents_in(stdout: str) -> list[Any]:
    """The JSON documents that were printed: one, or one a line; none, if it is no JSON."""
    if not stdout.startswith("{"):
        return []
    try:
        return [json.loads(stdout)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in stdout.splitlines()]


def check_output(words: Sequence[str], stdout: str) -> None:
    """Raise AssertionError unless each document that the command line printed is one of its command."""
    command = command_of(words)
    if command in UNCHECKED:
        return
    name = command if command in schema_names() else "error"
    for document in documents_in(stdout):
        check_document(name, document)
