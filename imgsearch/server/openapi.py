"""The description of the API in OpenAPI's form, made from the table of operations."""

from __future__ import annotations

from typing import Any, Final

import imgsearch
from imgsearch.service.operations import (
    FORM,
    OPERATIONS,
    ROA_PATHS,
    ROA_SEARCH,
    ROA_VERSION,
    VERSION,
    Operation,
    ParameterType,
)

__all__ = ["openapi_document"]

_TYPES: Final[dict[ParameterType, dict[str, Any]]] = {
    ParameterType.TEXT: {"type": "string"},
    ParameterType.INTEGER: {"type": "integer"},
    ParameterType.NUMBER: {"type": "number"},
    ParameterType.BOOLEAN: {"type": "boolean"},
    ParameterType.PICTURE: {"type": "string", "description": "Base64, or the link that an upload was answered with."},
}
_ANSWERS: Final = {
    "200": {"description": "Done.", "content": {"application/json": {"schema": {"type": "object"}}}},
    "default": {
        "description": "Refused.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    },
}


def openapi_document(address: str) -> dict[str, Any]:
    """The whole description.

    Args:
        address: of the server, without a slash at its end.
    """
    roa = {**ROA_PATHS, ROA_SEARCH: "SearchImageByPic"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "imgsearch",
            "version": imgsearch.__version__,
            "description": "Operations of Alibaba Cloud Image Search, as its SDKs call them: all of version "
            f"{VERSION} are POST requests to /, told apart by x-acs-action.",
        },
        "servers": [{"url": address}],
        "paths": {
            "/": {"post": _rpc()},
            **{path: {"post": _roa(OPERATIONS[name])} for path, name in roa.items()},
            "/healthz": {"get": _watching("The process runs.")},
            "/readyz": {"get": _watching("Requests can be answered.")},
            "/metrics": {"get": _watching("Counters in Prometheus' format.")},
        },
        "components": {
            "schemas": {
                "Error": _object({name: {"type": "string"} for name in ("RequestId", "HostId", "Code", "Message")}),
                **{name: _form(operation) for name, operation in OPERATIONS.items()},
            }
        },
    }


def _rpc() -> dict[str, Any]:
    header = {"in": "header", "required": True}
    return {
        "summary": "Any operation",
        "parameters": [
            {**header, "name": "x-acs-action", "schema": {"type": "string", "enum": list(OPERATIONS)}},
            {**header, "name": "x-acs-version", "schema": {"type": "string", "const": VERSION}},
        ],
        "requestBody": _body({"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in OPERATIONS]}),
        "responses": _ANSWERS,
    }


def _roa(operation: Operation) -> dict[str, Any]:
    return {
        "summary": f"{operation.name} of version {ROA_VERSION}",
        "requestBody": _body({"$ref": f"#/components/schemas/{operation.name}"}),
        "responses": _ANSWERS,
    }


def _watching(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "Yes."}}}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {FORM: {"schema": schema}}}


def _form(operation: Operation) -> dict[str, Any]:
    schema = _object({one.name: _TYPES[one.type] for one in operation.parameters})
    return schema | {"required": [one.name for one in operation.parameters if one.required]}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}
