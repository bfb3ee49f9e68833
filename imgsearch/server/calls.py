"""One call of an operation: its parameters, merged from query and form, with their types."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final

from imgsearch.errors import EmptyPicture
from imgsearch.server.errors import RequestRefused
from imgsearch.values import Key, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from imgsearch.service.operations import Operation, ParameterType

__all__ = ["Call"]

INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
INT64: Final = range(-(2**63), 2**63)
NUMBER: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{0,12})?")
BOOLEANS: Final = {"true": True, "false": False}
LINK_CHARS: Final = 16
"""``PicContent`` is a link if it has ``://`` that early; base64 has no colon."""
CODES: Final = {
    "CategoryId": "InvalidCategory",
    "Num": "InvalidNumParameter",
    "Start": "InvalidStartParameter",
    "IntAttr": "InvalidIntAttr",
    "IntAttr2": "InvalidIntAttr",
    "IntAttr3": "InvalidIntAttr",
    "IntAttr4": "InvalidIntAttr",
}
"""Of values that are no numbers; ``InvalidParameter`` for all others."""


class Call:
    """The validated parameters of a call.

    Parameters that the operation does not have are ignored, as the service does: older SDKs send some.

    Args:
        operation: that is called.
        pairs: of the query and the form.
        uploaded: maps the link of an upload to its picture.

    Raises:
        RequestRefused: a parameter is there twice, or a required one is missing.
    """

    def __init__(
        self, operation: Operation, pairs: Iterable[tuple[str, str]], uploaded: Callable[[str], bytes]
    ) -> None:
        self.operation = operation
        self._uploaded = uploaded
        self._values: dict[str, str] = {}
        known = {parameter.name for parameter in operation.parameters}
        for name, value in pairs:
            if name not in known:
                continue
            if name in self._values:
                raise RequestRefused(f"the parameter {name} is there twice", code="InvalidParameter")
            self._values[name] = value
        for parameter in operation.parameters:
            if parameter.required and parameter.name not in self._values:
                raise RequestRefused(f"{operation.name} needs {parameter.name}", code=f"Missing{parameter.name}")

    def text(self, name: str) -> str | None:
        """The value of a parameter; None if it is not given."""
        assert self.operation.parameter(name) is not None, name
        return self._values.get(name)

    def required(self, name: str) -> str:
        """The value of a required parameter."""
        return self._values[name]

    def given(self, kind: ParameterType) -> list[str]:
        """The names of the given parameters of a type."""
        return [one.name for one in self.operation.parameters if one.type is kind and one.name in self._values]

    def integer(self, name: str) -> int | None:
        """A whole number; an empty value is none.

        Raises:
            RequestRefused: with the service's code for this parameter.
        """
        value = self.text(name)
        if not value:
            return None
        if not INTEGER.fullmatch(value) or int(value) not in INT64:
            raise _invalid(name, value, "a whole number of 64 bits")
        return int(value)

    def number(self, name: str) -> float | None:
        """A decimal number without a sign; an empty value is none.

        Raises:
            RequestRefused
        """
        value = self.text(name)
        if not value:
            return None
        if not NUMBER.fullmatch(value):
            raise _invalid(name, value, "a decimal number such as 0.75")
        return float(value)

    def boolean(self, name: str, default: bool) -> bool:
        """True or false in any letter case; an empty value is the default.

        Raises:
            RequestRefused
        """
        value = self.text(name)
        if not value:
            return default
        if value.lower() not in BOOLEANS:
            raise _invalid(name, value, "true or false")
        return BOOLEANS[value.lower()]

    def key(self) -> Key:
        """ProductId and PicName.

        Raises:
            InvalidValue
        """
        return Key(self.required("ProductId"), self.required("PicName"))

    def region(self) -> Region | None:
        """The parameter Region; an empty value is none.

        Raises:
            InvalidRegion
        """
        value = self.text("Region")
        return Region.parse(value) if value else None

    def picture(self, name: str) -> bytes:
        """The bytes of a picture: base64, or uploaded before.

        Raises:
            EmptyPicture: there is nothing.
            RequestRefused: neither base64 nor the link of an upload.
        """
        value = self.required(name)
        if not value:
            raise EmptyPicture(f"{name} is empty")
        if "://" in value[:LINK_CHARS]:
            return self._uploaded(value)
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise RequestRefused(f"{name} is not valid base64", code="InvalidPicContent") from None


def _invalid(name: str, value: str, expected: str) -> RequestRefused:
    return RequestRefused(f"{name} {value[:40]!r} is not {expected}", code=CODES.get(name, "InvalidParameter"))
