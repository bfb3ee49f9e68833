"""The filter language: what it accepts means what it says, in real SQLite; anything else is InvalidFilter.

The truth is a brute-force evaluation in Python over random items, of which many have attributes that are not set: such
an attribute meets no condition.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import InvalidFilter
from imgsearch.filters.parser import MAX_FILTER_CHARS, MAX_NESTING, parse_filter
from imgsearch.filters.tree import category_condition
from imgsearch.storage.engine import Engine
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store
from imgsearch.values import Attributes
from tests.storage.builders import change, write

NUMBERS = (-(2**31), -7, -1, 0, 1, 2, 10, 2**31 - 1)
TEXTS = (
    "",
    " ",
    "red",
    "red",
    "red",
    "Red",
    "blue",
    "r%d",
    "it's",
    '"',
    "\\",
    'a"b\\c',
    "naïve",
    "紅",
    "🟥",
    "\n",
    "x'); DROP TABLE items;--",
)
OPERATORS: dict[str, Callable[[object, object], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
}

Meaning = Callable[[Attributes], bool]


def random_attributes(generator: np.random.Generator) -> Attributes:
    def some(values: tuple[object, ...]) -> object:
        return None if generator.random() < 0.3 else values[int(generator.integers(len(values)))]

    return Attributes(None, *(some(NUMBERS) for _ in range(4)), *(some(TEXTS) for _ in range(4)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Shop:
    """Items in a real database, and what they are."""

    store: Store
    items: dict[str, Attributes]

    def matches(self, expression: str) -> set[str]:
        return {key.product_id for key in self.store.keys(parse_filter(expression))}

    def brute_force(self, meaning: Meaning) -> set[str]:
        return {name for name, attributes in self.items.items() if meaning(attributes)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    Engine.create(folder, {})
    store = Store.open(folder / DATABASE_NAME, write=True)
    generator = np.random.default_rng(7)
    items = {f"p{number}": random_attributes(generator) for number in range(600)}
    write(store, [change(name, attributes=attributes, category=3) for name, attributes in items.items()])
    yield Shop(store, items)
    store.close()


def holds(value: object, sign: str, other: object) -> bool:
    """One comparison: never true of an attribute that is not set."""
    return value is not None and OPERATORS[sign](value, other)


ACCEPTED: dict[str, Meaning] = {
    "int_attr>0": lambda a: holds(a.int_attr, ">", 0),
    "int_attr2 >= 10": lambda a: holds(a.int_attr2, ">=", 10),
    "int_attr3<-1": lambda a: holds(a.int_attr3, "<", -1),
    "int_attr4 <= +1": lambda a: holds(a.int_attr4, "<=", 1),
    "int_attr=002": lambda a: a.int_attr == 2,
    f"int_attr=-{7:040}": lambda a: a.int_attr == -7,
    "int_attr!=1": lambda a: holds(a.int_attr, "!=", 1),
    "int_attr=-2147483648": lambda a: a.int_attr == -(2**31),
    "int_attr=2147483647": lambda a: a.int_attr == 2**31 - 1,
    "intAttr=1": lambda a: a.int_attr == 1,
    "intAttr2=1 AND int_attr2=1": lambda a: a.int_attr2 == 1,
    "int_attr in (1)": lambda a: a.int_attr == 1,
    "int_attr in (1, -7,10)": lambda a: a.int_attr in (1, -7, 10),
    "int_attr IN(1,2)": lambda a: a.int_attr in (1, 2),
    "int_attr not in (1, 2)": lambda a: a.int_attr is not None and a.int_attr not in (1, 2),
    "intAttr4 Not\t\n iN (0)": lambda a: holds(a.int_attr4, "!=", 0),
    'str_attr="red"': lambda a: a.str_attr == "red",
    'strAttr2 = "red"': lambda a: a.str_attr2 == "red",
    'str_attr3 != "red"': lambda a: holds(a.str_attr3, "!=", "red"),
    'str_attr4 in ("red", "blue")': lambda a: a.str_attr4 in ("red", "blue"),
    'strAttr not in ("red","Red")': lambda a: a.str_attr is not None and a.str_attr not in ("red", "Red"),
    'str_attr=""': lambda a: a.str_attr == "",
    'str_attr=" "': lambda a: a.str_attr == " ",
    r'str_attr="\""': lambda a: a.str_attr == '"',
    r'str_attr="\\"': lambda a: a.str_attr == "\\",
    r'str_attr="a\"b\\c"': lambda a: a.str_attr == 'a"b\\c',
    r'str_attr="\n"': lambda a: False,  # no other escapes: a backslash and an n
    'str_attr="\n"': lambda a: a.str_attr == "\n",
    'str_attr="紅" or str_attr="🟥" or str_attr="naïve"': lambda a: a.str_attr in ("紅", "🟥", "naïve"),
    'str_attr="it\'s"': lambda a: a.str_attr == "it's",
    'str_attr="r%d"': lambda a: a.str_attr == "r%d",
    'str_attr="%"': lambda a: False,
    'str_attr="?"': lambda a: False,
    'str_attr="x\'); DROP TABLE items;--"': lambda a: a.str_attr == "x'); DROP TABLE items;--",
    "str_attr=\"' OR '1'='1\"": lambda a: False,
    'str_attr="red" AND int_attr>0': lambda a: a.str_attr == "red" and holds(a.int_attr, ">", 0),
    # AND binds tighter than OR, whichever stands first
    'int_attr=1 OR int_attr=2 AND str_attr="red"': lambda a: (
        a.int_attr == 1 or (a.int_attr == 2 and a.str_attr == "red")
    ),
    'str_attr="red" AND int_attr=2 OR int_attr=1': lambda a: (
        a.int_attr == 1 or (a.int_attr == 2 and a.str_attr == "red")
    ),
    '(int_attr=1 OR int_attr=2) AND str_attr="red"': lambda a: a.int_attr in (1, 2) and a.str_attr == "red",
    'str_attr="red" and (int_attr=1 oR int_attr=2)': lambda a: a.int_attr in (1, 2) and a.str_attr == "red",
    '(int_attr=1)OR(int_attr=2)aNd(str_attr="red")': lambda a: (
        a.int_attr == 1 or (a.int_attr == 2 and a.str_attr == "red")
    ),
    " \n((int_attr=1)) ": lambda a: a.int_attr == 1,
    # contradictory about what is set, not about what is not: no attribute that is missing slips through
    "int_attr=1 OR int_attr!=1": lambda a: a.int_attr is not None,
    "int_attr<=0 OR int_attr>0": lambda a: a.int_attr is not None,
}


@pytest.mark.parametrize("expression", ACCEPTED)
def test_accepted_expressions_select_what_they_say(shop: Shop, expression: str) -> None:
    assert shop.matches(expression) == shop.brute_force(ACCEPTED[expression])


def test_the_table_tells_expressions_apart(shop: Shop) -> None:
    """The random items are rich enough: hardly an expression of the table matches nothing or everything."""
    sizes = [len(shop.brute_force(meaning)) for meaning in ACCEPTED.values()]
    assert sizes.count(0) == 4
    assert max(sizes) < len(shop.items)


@pytest.mark.parametrize(
    ("expression", "where"),
    [
        ("", "at its end"),
        ("  ", "at its end"),
        ("int_attr", "at its end"),
        ("int_attr>", "at its end"),
        ("int_attr=1 AND", "at its end"),
        ("(int_attr=1", "at its end"),
        ("int_attr in (1", "at its end"),
        ("int_attr=1)", "at character 11, before ')'"),
        ("AND int_attr=1", "at character 1, before 'AND int_attr=1'"),
        ("int_attr=1 int_attr=2", "at character 12, before 'int_attr=2'"),
        ("int_attr=1 AND OR int_attr=2", "at character 16, before"),
        ("int_attr==1", "at character 10, before '=1'"),
        ("int_attr<>1", "at character 10, before '>1'"),
        ("int_attr=1.5", "at character 11, before '.5'"),
        ("int_attr=1e3", "at character 11, before 'e3'"),
        ("int_attr=٣", "at character 10"),
        ("int_attr=- 1", "at character 10"),
        ('int_attr="1"', "at character 10"),
        ("int_attr=NULL", "at character 10"),
        ("int_attr in ()", "at character 14"),
        ("int_attr in (1,)", "at character 16"),
        ("int_attr in 1", "at character 13"),
        ('int_attr in ("1")', "at character 14"),
        ("int_attr not (1)", "at character 14"),
        ("NOT int_attr=1", "at character 1,"),
        ("int_attr5=1", "at character 1,"),
        ("int_attr1=1", "at character 1,"),
        ("int_attrs=1", "at character 1,"),
        ("INT_ATTR=1", "at character 1,"),
        ("Int_attr=1", "at character 1,"),
        ("intattr=1", "at character 1,"),
        ("int_Attr=1", "at character 1,"),
        ("custom_content=1", "at character 1,"),
        ('product_id="p1"', "at character 1,"),
        ("id=1", "at character 1,"),
        ("1=1", "at character 1,"),
        ("str_attr='red'", "at character 10, before"),
        ("str_attr=red", "at character 10"),
        ("str_attr=1", "at character 10"),
        ('str_attr="red', "at character 10"),
        (r'str_attr="red\"', "at character 10"),
        ('str_attr>"red"', "at character 9"),
        ('str_attr like "r%"', "at character 10"),
        ('str_attr in ("red" "blue")', "at character 20"),
        ('str_attr="red" "blue"', "at character 16"),
        ("int_attr=1; DROP TABLE items", "at character 11, before '; DROP TABLE items'"),
        ("int_attr=1 -- comment", "at character 12"),
        ("int_attr=1\x00", "at character 11"),
        ("int_attr=2147483648", "at character 10"),
        ("int_attr in (1, -2147483649)", "at character 17"),
        ("int_attr=" + "9" * (MAX_FILTER_CHARS - 9), "at character 10"),
        ('str_attr="\udcff"', "at character 11"),
    ],
)
def test_refused_expressions_say_where(expression: str, where: str) -> None:
    with pytest.raises(InvalidFilter) as refused:
        parse_filter(expression)
    assert where in refused.value.message
    assert len(refused.value.message.splitlines()) == 1
    assert (refused.value.code, refused.value.exit_code) == ("InvalidFilterClause", 3)


def test_the_length_limit_is_in_characters(shop: Shop) -> None:
    """4,096 characters are accepted, however many bytes; one more is refused."""
    longest = 'int_attr=1 OR str_attr="%s"'
    longest %= "紅" * (MAX_FILTER_CHARS - len(longest) + 2)
    assert len(longest) == MAX_FILTER_CHARS == 4096
    assert shop.matches(longest) == shop.matches("int_attr=1")
    with pytest.raises(InvalidFilter, match="4097 characters; the limit is 4096"):
        parse_filter(longest + " ")


@pytest.mark.parametrize(
    ("first", "more", "same"),
    [
        ("int_attr=1", " OR int_attr=1", "int_attr=1"),
        ("int_attr=1", " and int_attr=1", "int_attr=1"),
        ("int_attr=1", " OR int_attr=2 AND int_attr2=1", "int_attr=1 OR int_attr=2 AND int_attr2=1"),
    ],
)
def test_expressions_as_long_as_allowed_run(shop: Shop, first: str, more: str, same: str) -> None:
    expression = first + more * ((MAX_FILTER_CHARS - len(first)) // len(more))
    assert shop.matches(expression) == shop.matches(same)


def test_lists_as_long_as_allowed_run(shop: Shop) -> None:
    expression = f"int_attr in ({','.join('0' * 2040)},1)"
    assert len(expression) > MAX_FILTER_CHARS - 20
    assert shop.matches(expression) == shop.brute_force(lambda a: a.int_attr in (0, 1))


def test_redundant_parentheses_cost_nothing(shop: Shop) -> None:
    assert shop.matches("(" * 2000 + "int_attr=1" + ")" * 2000) == shop.matches("int_attr=1")


def nested(levels: int) -> str:
    """AND and OR inside each other; all of it says ``int_attr=1``."""
    expression = "int_attr in (1, 1)"
    for level in range(levels):
        expression = f"int_attr=1 {'AND' if level % 2 else 'OR'} ({expression})"
        expression = f"int_attr in (1) AND ({expression})" if level == 0 else expression
    return expression


def test_nesting_runs_up_to_the_limit_and_is_refused_beyond(shop: Shop) -> None:
    """What is accepted never fails later, inside SQLite, not in the largest statement there is either."""
    deepest = max(levels for levels in range(2 * MAX_NESTING) if _accepted(nested(levels)))
    assert deepest >= MAX_NESTING - 3
    condition = category_condition((3,)).joined(parse_filter(nested(deepest)))
    (rows,) = [ids for ids, _ in shop.store.features(condition, above=1)]
    assert len(rows) == len(shop.matches("int_attr=1") - {"p0"})
    with pytest.raises(InvalidFilter, match=f"more than {MAX_NESTING} nested levels"):
        parse_filter(nested(230))


def test_comparisons_lie_as_deep_as_the_limit_says(shop: Shop) -> None:
    """They are no level themselves."""
    expression = "int_attr=1"
    for level in range(MAX_NESTING):
        expression = f"int_attr=1 {'AND' if level % 2 else 'OR'} ({expression})"
    assert shop.matches(expression) == shop.matches("int_attr=1")
    with pytest.raises(InvalidFilter, match=f"more than {MAX_NESTING} nested levels"):
        parse_filter(f"int_attr=1 {'AND' if MAX_NESTING % 2 else 'OR'} ({expression})")


def _accepted(expression: str) -> bool:
    try:
        parse_filter(expression)
    except InvalidFilter:
        return False
    return True


# Properties

Expression = tuple[str, Meaning]


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def comparisons(draw: st.DrawFn) -> Expression:
    kind = draw(st.sampled_from(["int", "str"]))
    suffix = draw(st.sampled_from(["", "2", "3", "4"]))
    name = f"{kind}_attr{suffix}"
    spelling = draw(st.sampled_from([name, f"{kind}Attr{suffix}"]))
    numbers = st.sampled_from(NUMBERS) | st.integers(-(2**31), 2**31 - 1)
    texts = st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8"), max_size=10)
    values = draw(st.lists(numbers if kind == "int" else texts, min_size=1, max_size=4))
    literals = [str(value) if kind == "int" else quoted(value) for value in values]
    signs = list(OPERATORS) if kind == "int" else ["=", "!="]
    sign = draw(st.sampled_from([*signs, "in", "NOT  in"]))
    if sign in OPERATORS:
        return f"{spelling}{sign}{literals[0]}", lambda a: holds(getattr(a, name), sign, values[0])
    wanted = sign == "in"
    return (
        f"{spelling} {sign} ({', '.join(literals)})",
        lambda a: getattr(a, name) is not None and (getattr(a, name) in values) is wanted,
    )


def joined(word: str, both: tuple[Expression, Expression]) -> Expression:
    """Two expressions joined, with parentheses only where the grammar needs them."""
    (left, left_meaning), (right, right_meaning) = both
    if word.casefold() == "or":
        return f"{left} {word} {right}", lambda a: left_meaning(a) or right_meaning(a)
    sides = [f"({side})" if " or " in side.casefold() else side for side in (left, right)]
    return f"{sides[0]} {word} {sides[1]}", lambda a: left_meaning(a) and right_meaning(a)


expressions: st.SearchStrategy[Expression] = st.recursive(
    comparisons(),
    lambda inner: st.builds(joined, st.sampled_from(["AND", "OR", "and", "Or"]), st.tuples(inner, inner)),
    max_leaves=12,
)


@pytest.mark.extended
@settings(deadline=None, max_examples=150)
@given(expression=expressions)
def test_random_expressions_agree_with_brute_force(shop: Shop, expression: Expression) -> None:
    text, meaning = expression
    assert shop.matches(text) == shop.brute_force(meaning)


fragments = st.sampled_from(
    [
        "int_attr",
        "strAttr2",
        " ",
        "AND",
        "or",
        "not",
        "in",
        "(",
        ")",
        ",",
        "=",
        "!=",
        ">",
        "1",
        "-3",
        '"red"',
        '"',
        "\\",
    ]
)


@settings(deadline=None, max_examples=300)
@given(text=st.text(max_size=60) | st.lists(fragments, max_size=25).map("".join))
def test_random_text_is_a_filter_or_refused(shop: Shop, text: str) -> None:
    """No text whatsoever raises anything but InvalidFilter, neither when compiled nor when run."""
    try:
        condition = parse_filter(text)
    except InvalidFilter:
        return
    assert shop.store.count(condition) <= len(shop.items)
