"""Every command's documents have a closed schema; ``tests.conftest`` holds the output of all tests' commands to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from imgsearch.cli.app import COMMANDS
from imgsearch.service.output_schemas import COMMON, FOLDER, output_schema, schema_names
from tests.output_checks import check_document, check_output, documents_in

WITHOUT_DOCUMENTS = {"serve", "mcp", "schema", "completion", "man"}
"""Commands that print text, or speak a protocol; of these, only an error is a document."""
OPEN = {"item", "storedItem", "summary"}
"""Parts that documents add to, and that are closed there."""


def objects_in(schema: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All schemas of objects, each with the nearest name of a definition."""
    if isinstance(schema, list):
        for one in schema:
            yield from objects_in(one, name)
    elif isinstance(schema, dict):
        if "properties" in schema:
            yield name, schema
        for key, value in schema.items():
            if key == "$defs":
                for defined, definition in value.items():
                    yield from objects_in(definition, defined)
            else:
                yield from objects_in(value, name)


def test_every_command_has_a_schema() -> None:
    """Each that prints documents, and the one for errors; and there is none of a command that is gone."""
    assert set(schema_names()) == set(COMMANDS) - WITHOUT_DOCUMENTS | {"error"}


@pytest.mark.parametrize("name", schema_names())
def test_schemas_are_valid_and_versioned(name: str) -> None:
    """By the dialect they name; the identifier has the version, and all that is referred to is there."""
    schema = output_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:imgsearch:output:1:{name}"
    text = json.dumps(schema)
    for reference in re.findall(r'"\$ref": "([^"]+)"', text):
        where, _, path = reference.partition("#/$defs/")
        assert where in ("", "urn:imgsearch:output:1:common"), reference
        assert path in (schema["$defs"][COMMON] if where else schema)["$defs"], reference


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_objects_are_closed(path: Path) -> None:
    """A field that no schema tells of is an error; only parts that are closed elsewhere are open."""
    for name, schema in objects_in(json.loads(path.read_text(encoding="utf-8"))):
        closed = False in (schema.get("additionalProperties"), schema.get("unevaluatedProperties"))
        named = isinstance(schema.get("additionalProperties"), dict)  # by source or kind: each value has a schema
        assert (closed or named) != (path.stem == COMMON and name in OPEN), (name, schema)
        assert set(schema.get("required", ())) <= set(schema["properties"])


ITEM = {
    "ProductId": "p",
    "PicName": "n",
    "CategoryId": 3,
    "CustomContent": None,
    "Path": None,
    "Region": "0,1,0,1",
    **{f"{kind}Attr{number}": None for kind in ("Int", "Str") for number in ("", "2", "3", "4")},
}


@pytest.mark.parametrize(
    ("name", "document", "field"),
    [
        ("list", {"Success": True, "TotalCount": 1, "Auctions": [ITEM]}, "Auctions"),
        ("list", ITEM, "Path"),
        ("delete", {"Success": True, "Deleted": 0, "PicNames": []}, "PicNames"),
        ("error", {"Success": False, "Code": "PictureError", "Message": "damaged"}, "Code"),
        ("search", {"Success": False, "Code": "PictureError", "Message": "damaged"}, "Message"),
    ],
)
def test_documents_that_are_wrong_are_refused(name: str, document: dict[str, Any], field: str) -> None:
    """One field more, one less, or one of another type: the checks can fail."""
    check_document(name, document)
    wrong = [document | {"Another": 1}, document | {field: {"a": 1}}]
    wrong.append({key: value for key, value in document.items() if key != field})
    for one in wrong:
        with pytest.raises(AssertionError, match=f"not a document of '{name}'"):
            check_document(name, one)


def test_an_item_that_is_wrong_is_refused_within_its_document() -> None:
    """Also where a document adds to a part that is open in itself."""
    document = {"Success": True, "TotalCount": 1, "Auctions": [ITEM | {"Another": 1}]}
    with pytest.raises(AssertionError, match="'list'"):
        check_document("list", document)


def test_output_is_checked_by_its_command() -> None:
    """The words tell which; text is no document, and the lines of jsonl are one each."""
    line = json.dumps(ITEM)
    check_output(["-i", "shop", "list", "--format", "jsonl"], f"{line}\n{line}\n")
    check_output(["list", "--format", "table"], "ProductId")
    assert documents_in(f"{line}\n{line}\n") == [ITEM, ITEM]
    with pytest.raises(AssertionError, match="'show'"):
        check_output(["show", "p"], line)
    with pytest.raises(AssertionError, match="'error'"):
        check_output(["serve"], line)
