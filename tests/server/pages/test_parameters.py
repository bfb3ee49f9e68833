"""Parameters of the page's API are known, given once, and of the right type."""

from __future__ import annotations

import pytest

from imgsearch.server.errors import RequestRefused
from imgsearch.server.pages.parameters import Parameters

KNOWN = frozenset({"text", "number", "flag"})


def parameters(**values: str) -> Parameters:
    return Parameters(values.items(), KNOWN)


def test_values_have_types() -> None:
    """And defaults, which an empty value has, too."""
    given = parameters(text="a b", number="12", flag="true")
    assert (given.text("text"), given.needed("text"), given.integer("number", 1), given.flag("flag")) == (
        "a b",
        "a b",
        12,
        True,
    )
    assert parameters(number="0.5").number("number", 0) == 0.5
    nothing = parameters(text="", number="", flag="")
    assert (nothing.text("text"), nothing.integer("number", 7), nothing.number("number", 0.5)) == (None, 7, 0.5)
    assert nothing.flag("flag", default=True)


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "1e3", "٣", "9" * 30])
def test_what_is_no_whole_number_is_refused(value: str) -> None:
    """Signs and digits of other scripts included."""
    with pytest.raises(RequestRefused, match="no whole number"):
        parameters(number=value).integer("number", 0)


@pytest.mark.parametrize("value", ["x", "nan", "inf", "-inf", "1,5"])
def test_what_is_no_number_is_refused(value: str) -> None:
    """Nor is what no comparison holds for."""
    with pytest.raises(RequestRefused, match="no number"):
        parameters(number=value).number("number", 0)


def test_others_are_refused() -> None:
    """Unknown names, names that are there twice, missing ones, and flags that say maybe."""
    with pytest.raises(RequestRefused, match="no parameter 'other' here; there are: flag, number, text"):
        parameters(other="1")
    with pytest.raises(RequestRefused, match="there twice"):
        Parameters([("text", "1"), ("text", "2")], KNOWN)
    with pytest.raises(RequestRefused, match="'text' is missing"):
        parameters().needed("text")
    with pytest.raises(RequestRefused, match="neither true nor false"):
        parameters(flag="yes").flag("flag")
