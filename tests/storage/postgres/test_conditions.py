"""What a condition says by itself; what it is met by is the contract's (``test_contract.py``)."""

from __future__ import annotations

import pytest

pytest.importorskip("psycopg")

from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING, OneOf, category_condition, named_condition, product_condition
from imgsearch.storage.postgres.conditions import categories_of, compiled, product_of


def test_a_single_product_is_known() -> None:
    for condition in (product_condition("p"), product_condition("p", "1"), named_condition("p", "1")):
        assert product_of(condition) == "p"
    assert product_of(category_condition((1,)).joined(product_condition("p"))) == "p"
    for condition in (
        EVERYTHING,
        named_condition("é"),  # two spellings
        product_condition("p").negated(),
        parse_filter("int_attr=1 OR int_attr=2"),
    ):
        assert product_of(condition) is None


def test_categories_alone_are_known() -> None:
    assert categories_of(category_condition((3, 1))) == (3, 1)
    for condition in (
        EVERYTHING,
        OneOf("category_id", (1,), is_negated=True),
        category_condition((1,)).joined(product_condition("p")),
    ):
        assert categories_of(condition) is None


def test_values_are_parameters() -> None:
    hostile = "'; DROP TABLE items; --%s"
    sql = compiled(product_condition(hostile, hostile).joined(parse_filter('str_attr="x"')))
    assert "DROP" not in sql.text
    assert sql.text.count("%s") == len(sql.parameters) == 3
