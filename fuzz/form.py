"""``parse_pairs``, ``Call`` and ``Parameters``: a query and a form become values of the right types, or are refused."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import parse_qsl

from fuzz.checks import check_error
from imgsearch.errors import ImgsearchError
from imgsearch.server.calls import INT64, Call
from imgsearch.server.errors import RequestRefused
from imgsearch.server.forms import MAX_FIELDS, parse_pairs
from imgsearch.server.pages import operations
from imgsearch.server.pages.parameters import Parameters
from imgsearch.service.operations import OPERATIONS, ParameterType

PAGES = {name: getattr(operations, name) for name in operations.__all__ if name.isupper()}
"""The parameters of the page's operations."""


def target(data: bytes) -> None:
    name, _, rest = data.partition(b"?")
    query, _, form = rest.partition(b"\n")
    try:
        pairs = [*_pairs(query), *_pairs(form)]
        operation = OPERATIONS.get(name.decode("latin-1"))
        if operation is not None:
            _check_call(Call(operation, pairs, _uploaded))
        known = PAGES.get(name.decode("latin-1"))
        if known is not None:
            _check_parameters(Parameters(pairs, known), known)
    except ImgsearchError as error:
        check_error(error)


def _pairs(text: bytes) -> list[tuple[str, str]]:
    """As parsed; the standard library is the oracle."""
    pairs = parse_pairs(text)
    assert len(pairs) <= MAX_FIELDS
    if text.isascii():
        expected = parse_qsl(text.decode(), keep_blank_values=True, errors="strict")
        assert pairs == [pair for pair in expected if pair[0]]
    return pairs


def _uploaded(link: str) -> bytes:
    assert "://" in link
    return b"uploaded"


def _check_call(call: Call) -> None:
    for kind in ParameterType:
        for name in call.given(kind):
            with suppress(ImgsearchError):
                match kind:
                    case ParameterType.INTEGER:
                        value = call.integer(name)
                        assert value is None or value in INT64
                    case ParameterType.NUMBER:
                        assert (call.number(name) or 0.0) >= 0
                    case ParameterType.BOOLEAN:
                        assert call.boolean(name, default=True) in (True, False)
                    case ParameterType.PICTURE:
                        assert isinstance(call.picture(name), bytes)
                    case ParameterType.TEXT:
                        assert call.text(name) is not None
                if name == "Region":
                    region = call.region()
                    assert region is None or region.x1 < region.x2
    if call.operation.parameter("ProductId") is not None:
        with suppress(ImgsearchError, KeyError):
            call.key()


def _check_parameters(parameters: Parameters, known: frozenset[str]) -> None:
    for name in known:
        assert parameters.text(name) != ""
        with suppress(RequestRefused):
            assert parameters.needed(name)
        with suppress(RequestRefused):
            assert 0 <= parameters.integer(name, 0) < 10**12
        with suppress(RequestRefused):
            assert abs(parameters.number(name, 0.0)) < float("inf")
        with suppress(RequestRefused):
            assert parameters.flag(name) in (True, False)
