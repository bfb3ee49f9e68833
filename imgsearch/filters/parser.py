r"""The service's filter language, parsed to a condition.

Grammar (service.md, section 6, and our decisions where the service is silent): conditions join with AND and OR, AND
binds tighter, parentheses group, keywords in any letter case, strings in double quotes with ``\"`` and ``\\`` as
escapes, lists in parentheses: ``str_attr2 in ("red", "blue")``. Fields as ``int_attr2`` or ``intAttr2``. An unset
attribute meets no condition, not even ``!=`` and ``not in``.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from imgsearch.errors import InvalidFilter
from imgsearch.filters.tree import And, Compare, Condition, OneOf, Or
from imgsearch.values import INT32

if TYPE_CHECKING:
    from lark import Lark, Token

    from imgsearch.filters.tree import Operator

__all__ = ["parse_filter"]

MAX_FILTER_CHARS: Final = 4096
MAX_NESTING: Final = 20
"""Maximum nesting of AND, OR and lists; SQLite's own parser fails beyond about 30."""

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


def parse_filter(expression: str) -> Condition:
    """Parse a filter expression.

    Raises:
        InvalidFilter: too long, or not in the language; the message says where.
    """
    from lark.exceptions import UnexpectedInput

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
        ended = getattr(getattr(error, "token", None), "type", None) == "$END"  # Lark gives the last token's position
        rest = expression[place : place + 30] if place >= 0 and not ended else ""
        where = f"at character {place + 1}, before {rest!r}" if rest.strip() else "at its end"
        raise InvalidFilter(
            f"the filter {expression[:80]!r} is not understood {where}; it should look like "
            'int_attr>=10 AND str_attr="red" (fields int_attr…4 and str_attr…4; in (…), not in (…), OR, parentheses)'
        ) from None
    if _nesting(condition) > MAX_NESTING:
        raise InvalidFilter(f"the filter has more than {MAX_NESTING} nested levels of AND and OR")
    return condition


def _nesting(condition: Condition) -> int:
    """The nesting depth of AND, OR and lists."""
    match condition:
        case And(parts=parts) | Or(parts=parts):
            return 1 + max(map(_nesting, parts))
        case OneOf():
            return 1
        case _:
            return 0


@cache
def _parser() -> Lark:
    from lark import Lark, Token, Transformer

    class Compiler(Transformer[Token, Condition]):
        """Runs during parsing, so that nesting needs no recursion; rules with ``?`` have several parts here."""

        def any(self, parts: list[Condition]) -> Condition:
            return Or(tuple(parts))

        def all(self, parts: list[Condition]) -> Condition:
            return And(tuple(parts))

        def int_comparison(self, parts: list[Token]) -> Condition:
            name, operator, number = parts
            return Compare(_field(name), _operator(operator), _number(number))

        def str_comparison(self, parts: list[Token]) -> Condition:
            name, operator, text = parts
            return Compare(_field(name), _operator(operator), _text(text))

        def int_list(self, parts: list[Any]) -> Condition:
            name, is_negated, *numbers = parts
            return OneOf(_field(name), tuple(_number(number) for number in numbers), is_negated)

        def str_list(self, parts: list[Any]) -> Condition:
            name, is_negated, *texts = parts
            return OneOf(_field(name), tuple(_text(text) for text in texts), is_negated)

        def is_in(self, _parts: list[Token]) -> bool:
            return False

        def is_not_in(self, _parts: list[Token]) -> bool:
            return True

    return Lark(GRAMMAR, parser="lalr", transformer=Compiler())


def _field(name: str) -> str:
    """``intAttr2`` → ``int_attr2``; the grammar lets no other name through."""
    return name.replace("Attr", "_attr")


def _operator(token: Token) -> Operator:
    """The grammar lets no other sign through."""
    return cast("Operator", str(token))


def _number(token: Token) -> int:
    value = int(token)  # Python converts more digits than a filter has characters
    if value not in INT32:
        place = (token.start_pos or 0) + 1
        raise InvalidFilter(f"{token[:20]} at character {place} of the filter is not a 32-bit whole number")
    return value


def _text(token: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", token[1:-1])
