r"""The service's filter language, compiled to a parameterised SQL condition.

Grammar (service.md, section 6, and our decisions where the service is silent): conditions join with AND and OR, AND
binds tighter, parentheses group, keywords in any letter case, strings in double quotes with ``\"`` and ``\\`` as
escapes, lists in parentheses: ``str_attr2 in ("red", "blue")``. Fields as ``int_attr2`` or ``intAttr2``. An attribute
that is not set meets no condition, ``!=`` and ``not in`` included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import InvalidFilter
from imgsearch.types import INT32

if TYPE_CHECKING:
    from lark import Lark, Token

__all__ = ["Condition", "compile_filter"]

MAX_FILTER_CHARS: Final = 4096
MAX_NESTING: Final = 20
"""Parentheses that change the meaning, inside each other; SQLite's own parser gives up beyond about 30."""

GRAMMAR: Final = r"""
    ?start: any
    ?any: all ("OR"i all)*
    ?all: condition ("AND"i condition)*
    ?condition: "(" any ")"
        | INT_FIELD INT_OPERATOR NUMBER -> int_comparison
        | INT_FIELD membership "(" NUMBER ("," NUMBER)* ")" -> int_list
        | STR_FIELD STR_OPERATOR STRING -> str_comparison
        | STR_FIELD membership "(" STRING ("," STRING)* ")" -> str_list
    membership: "IN"i -> is_in
        | "NOT"i "IN"i -> is_not_in

    INT_FIELD: /int_attr[2-4]?(?![0-9A-Za-z_])/ | /intAttr[2-4]?(?![0-9A-Za-z_])/
    STR_FIELD: /str_attr[2-4]?(?![0-9A-Za-z_])/ | /strAttr[2-4]?(?![0-9A-Za-z_])/
    INT_OPERATOR: ">=" | "<=" | "!=" | ">" | "<" | "="
    STR_OPERATOR: "!=" | "="
    NUMBER: /[+-]?[0-9]+/
    STRING: /"(?:[^"\\]|\\.)*"/s

    %import common.WS
    %ignore WS
"""


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL expression over columns of ``items``, and its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()
    of_attributes: bool = False
    """Of nothing else: the indexes of attributes are within categories, so those have to be named beside it."""

    def joined(self, *others: Condition) -> Condition:
        """This and the others."""
        return _join("AND", (self, *others))

    def negated(self) -> Condition:
        """The opposite, for items of which this is either true or false (no column of it is unset)."""
        return Condition(f"NOT ({self.sql})", self.parameters)


def compile_filter(expression: str) -> Condition:
    """Compile a filter expression.

    Raises:
        InvalidFilter: too long, or not in the language; the message says where.
    """
    from lark.exceptions import UnexpectedInput, VisitError

    if len(expression) > MAX_FILTER_CHARS:
        raise InvalidFilter(f"the filter has {len(expression)} characters; the limit is {MAX_FILTER_CHARS}")
    try:
        expression.encode()
    except UnicodeEncodeError as error:
        raise InvalidFilter(f"the filter is not valid UTF-8 at character {error.start + 1}") from None
    try:
        condition: Condition = _parser().parse(expression)  # type: ignore[assignment]
    except UnexpectedInput as error:
        place = getattr(error, "pos_in_stream", -1)
        ended = getattr(getattr(error, "token", None), "type", None) == "$END"  # Lark names the last token's place
        rest = expression[place : place + 30] if place >= 0 and not ended else ""
        where = f"at character {place + 1}, before {rest!r}" if rest.strip() else "at its end"
        raise InvalidFilter(
            f"the filter {expression[:80]!r} is not understood {where}; it should look like "
            'int_attr>=10 AND str_attr="red" (fields int_attr…4 and str_attr…4; in (…), not in (…), OR, parentheses)'
        ) from None
    except VisitError as error:
        if isinstance(error.orig_exc, InvalidFilter):
            raise error.orig_exc from None
        raise
    if _nesting(condition.sql) > MAX_NESTING:
        raise InvalidFilter(f"the filter has more than {MAX_NESTING} levels of AND and OR inside each other")
    return replace(condition, of_attributes=True)


def _nesting(sql: str) -> int:
    """How deep parentheses stand inside each other; there are no others in the SQL than those of its structure."""
    depths = accumulate({"(": 1, ")": -1}.get(character, 0) for character in sql)
    return max(depths, default=0)


@cache
def _parser() -> Lark:
    from lark import Lark, Token, Transformer

    class Compiler(Transformer[Token, Condition]):
        """Runs while parsing, so that nesting costs no recursion."""

        def any(self, parts: list[Condition]) -> Condition:
            return _join("OR", parts)

        def all(self, parts: list[Condition]) -> Condition:
            return _join("AND", parts)

        def int_comparison(self, parts: list[Token]) -> Condition:
            name, operator, number = parts
            return Condition(f"{_column(name)} {_sql(operator)} ?", (_number(number),))

        def str_comparison(self, parts: list[Token]) -> Condition:
            name, operator, text = parts
            return Condition(f"{_column(name)} {_sql(operator)} ?", (_text(text),))

        def int_list(self, parts: list[Any]) -> Condition:
            name, operator, *numbers = parts
            return _list(name, operator, tuple(_number(number) for number in numbers))

        def str_list(self, parts: list[Any]) -> Condition:
            name, operator, *texts = parts
            return _list(name, operator, tuple(_text(text) for text in texts))

        def is_in(self, _parts: list[Token]) -> str:
            return "IN"

        def is_not_in(self, _parts: list[Token]) -> str:
            return "NOT IN"

    return Lark(GRAMMAR, parser="lalr", transformer=Compiler())


def _join(operator: str, parts: tuple[Condition, ...] | list[Condition]) -> Condition:
    sql = f" {operator} ".join(part.sql for part in parts)
    parameters = tuple(parameter for part in parts for parameter in part.parameters)
    return Condition(f"({sql})", parameters) if len(parts) > 1 else parts[0]


def _list(name: str, operator: str, values: tuple[Any, ...]) -> Condition:
    return Condition(f"{_column(name)} {operator} ({', '.join('?' * len(values))})", values)


def _column(field: str) -> str:
    """``intAttr2`` → ``int_attr2``; the grammar lets no other name through."""
    return "items." + field.replace("Attr", "_attr")


def _sql(operator: str) -> str:
    return "<>" if operator == "!=" else str(operator)


def _number(token: Token) -> int:
    value = int(token) if len(token) <= 11 else None
    if value is None or value not in INT32:
        place = (token.start_pos or 0) + 1
        raise InvalidFilter(f"{token[:20]} at character {place} of the filter is not a 32-bit whole number")
    return value


def _text(token: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", token[1:-1])
