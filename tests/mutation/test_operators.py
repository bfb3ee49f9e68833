"""What mutants are made of a module, and that a copy of the project tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutation.__main__ import sampled
from mutation.copies import Copy
from mutation.modules import TESTS
from mutation.operators import mutants_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("a < b", ["a <= b"]),
        ("a is not b", ["a is b"]),
        ("a + b", ["a - b"]),
        ("a & b", ["a | b"]),
        ("a += b", ["a -= b"]),
        ("a and b", ["a or b"]),
        ("not a", ["a"]),
        ("a = True", ["a = False"]),
        ("a = 5", ["a = 6"]),
        ("a()", ["pass"]),
        ("b if a else c", ["c if a else b"]),
        ("if a:\n    b", ["if not a:\n    b"]),
        ("while a:\n    break", ["while a:\n    continue"]),
        ("def f():\n    return a", ["def f():\n    return None"]),
    ],
)
def test_each_kind_of_change(source: str, changes: list[str]) -> None:
    assert [mutant.source for mutant in mutants_of(source)] == changes


@pytest.mark.parametrize(
    "source",
    [
        '"""Text."""',
        'a = "text"',
        'a = f"{b + 1}"',
        'a = "x" + b',
        "assert a < 5",
        "raise A(1)",
        "def f(a: B | C) -> D | E:\n    return",
        "a: B | C = d",
        "if TYPE_CHECKING:\n    a = 1",
        "@dataclass(frozen=True)\nclass A:\n    pass",
        "a = None",
    ],
)
def test_what_is_left_alone(source: str) -> None:
    """Texts, types and what cannot happen."""
    assert mutants_of(source) == []


def test_each_mutant_has_one_change_in_its_line() -> None:
    source = "a = b + 1\nc = d < e\n"
    assert [(mutant.line, mutant.change) for mutant in mutants_of(source)] == [
        (1, "b + 1  ->  b - 1"),
        (1, "1  ->  2"),
        (2, "d < e  ->  d <= e"),
    ]


def test_a_sample_is_that_of_its_seed() -> None:
    mutants = mutants_of("\n".join(f"a{number} = {number}" for number in range(50)))
    assert sampled(mutants, 5, "1") == sampled(mutants, 5, "1") != sampled(mutants, 5, "2")
    assert sampled(mutants, 99, "1") == mutants


def test_the_modules_and_their_tests_are_there() -> None:
    for module, tests in TESTS.items():
        assert (ROOT / "imgsearch" / module).is_file()
        assert all((ROOT / path).exists() for path in tests)


@pytest.mark.extended
def test_a_copy_tells_a_change_and_is_itself_again(tmp_path: Path) -> None:
    """A small project of its own; a mutant that never ends is told, too."""
    (tmp_path / "imgsearch").mkdir()
    (tmp_path / "imgsearch" / "__init__.py").write_text("")
    module = Path("imgsearch", "sums.py")
    (tmp_path / module).write_text("def total(a, b):\n    return a + b\n")
    (tmp_path / "test_sums.py").write_text(
        "from imgsearch.sums import total\ndef test_total():\n    assert total(2, 0) == 2\n"
    )
    copy = Copy(tmp_path)
    seconds = copy.checked_seconds(["test_sums.py"])
    assert copy.is_told(module, "def total(a, b):\n    return b\n", ["test_sums.py"], seconds)
    assert not copy.is_told(module, "def total(a, b):\n    return a - b\n", ["test_sums.py"], seconds)
    assert copy.is_told(module, "def total(a, b):\n    while True:\n        pass\n", ["test_sums.py"], -3.0)
    assert "a + b" in (tmp_path / module).read_text()
    (tmp_path / module).write_text("def total(a, b):\n    return 7\n")
    with pytest.raises(RuntimeError, match="without a change"):
        Copy(tmp_path).checked_seconds(["test_sums.py"])
