"""The table of operations is that of the vendor's SDK 4.4.0: all of them, with their parameters and types."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from alibabacloud_imagesearch20201214 import models
from alibabacloud_imagesearch20201214.client import Client

from imgsearch.service.operations import OPERATIONS, Operation, ParameterType

TYPES = {
    "str": {ParameterType.TEXT, ParameterType.PICTURE, ParameterType.NUMBER},
    "int": {ParameterType.INTEGER},
    "bool": {ParameterType.BOOLEAN},
}
"""ScoreThreshold is text there."""


def model_of(operation: Operation) -> Any:
    return getattr(models, f"{operation.name}Request")


def test_all_operations_are_there() -> None:
    known = {name.removesuffix("Request") for name in dir(models) if name.endswith("Request")}
    assert OPERATIONS.keys() == {name for name in known if not name.endswith("Advance")}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_parameters_are_those_of_the_sdk(operation: Operation) -> None:
    """By the names on the wire, which its model maps its arguments to."""
    arguments = {
        name: parameter.annotation
        for name, parameter in inspect.signature(model_of(operation).__init__).parameters.items()
        if name != "self"
    }
    values = {"str": "x", "int": 1, "bool": True}
    on_the_wire = {}
    for name, kind in arguments.items():
        ((wire_name, _),) = model_of(operation)(**{name: values[str(kind)]}).to_map().items()
        on_the_wire[wire_name] = str(kind)
    assert {parameter.name for parameter in operation.parameters} == on_the_wire.keys()
    for parameter in operation.parameters:
        assert parameter.type in TYPES[on_the_wire[parameter.name]], parameter


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_what_the_sdk_sends_in_the_query_is_known(operation: Operation) -> None:
    """As its own code says, method by method."""
    method = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation.name).strip("_")
    source = inspect.getsource(getattr(Client, f"{method}_with_options"))
    for parameter in operation.parameters:
        assert (f"query['{parameter.name}']" in source) is parameter.in_query, parameter
        assert (f"body['{parameter.name}']" in source) is not parameter.in_query, parameter
