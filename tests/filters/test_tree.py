"""Conditions that code builds: what they say is what their names promise, in the form that storages compile."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from imgsearch.filters.tree import (
    EVERYTHING,
    And,
    Compare,
    Condition,
    Not,
    OneOf,
    Or,
    category_condition,
    is_of_attributes,
    location_condition,
    named_condition,
    picture_condition,
    product_condition,
    uses_attributes,
)
from imgsearch.values import Region

A, B = Compare("int_attr", "=", 1), Compare("product_id", "=", "p")
COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"


def test_joined_and_negated() -> None:
    assert A.joined() is A
    assert A.joined(B) == And((A, B))
    assert A.negated() == Not(A)


def test_a_product_and_one_of_its_pictures() -> None:
    assert product_condition("p") == B
    assert product_condition("p", "a") == And((B, Compare("pic_name", "=", "a")))


def test_names_with_accents_are_found_however_they_are_spelled() -> None:
    """A name without any has one spelling, and its condition one value."""
    assert named_condition("p") == B
    assert named_condition("p", "a") == And((B, Compare("pic_name", "=", "a")))
    spelled = OneOf("product_id", (COMPOSED, DECOMPOSED))
    assert named_condition(COMPOSED) == spelled
    assert named_condition(COMPOSED, DECOMPOSED) == And((spelled, OneOf("pic_name", (DECOMPOSED, COMPOSED))))


def test_categories_and_pictures() -> None:
    assert category_condition((3, 5)) == OneOf("category_id", (3, 5))
    same = Compare("content_hash", "=", b"h")
    assert picture_condition(b"h") == same
    region = Region(1, 2, 3, 4)
    assert picture_condition(b"h", region) == And((same, Compare("region", "=", region)))


def test_a_file_is_found_in_each_of_its_folders() -> None:
    def place(root: str, relative: str) -> Condition:
        return And((Compare("root", "=", root), Compare("relative", "=", relative)))

    assert location_condition(PurePosixPath("/a/b.jpg")) == Or((place("/a", "b.jpg"), place("/", "a/b.jpg")))
    assert location_condition(PurePosixPath("/b.jpg")) == place("/", "b.jpg")


@pytest.mark.parametrize(
    ("condition", "uses", "only"),
    [
        (EVERYTHING, False, False),
        (A, True, True),
        (B, False, False),
        (OneOf("str_attr", ("x",)), True, True),
        (Not(A), True, True),
        (Not(B), False, False),
        (And((A, A)), True, True),
        (And((A, B)), True, False),
        (Or((B, A)), True, False),
        (Or((B, Not(OneOf("category_id", (1,))))), False, False),
    ],
    ids=str,
)
def test_which_refer_to_attributes(condition: Condition, uses: bool, only: bool) -> None:
    """To any, and to nothing else."""
    assert uses_attributes(condition) is uses
    assert is_of_attributes(condition) is only
