"""What is changed in a module: one place at a time, in ways in which people get it wrong.

Texts are left alone: most are messages and SQL. So are annotations, assertions and what type checkers alone read.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Mutant", "mutants_of"]

COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one change."""

    line: int
    change: str
    """For people."""
    source: str
    """The whole module."""


def mutants_of(source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    left_alone = _left_alone(nodes)
    found = []
    for place, node in enumerate(nodes):
        if id(node) in left_alone:
            continue
        for replacement in _replacements(node):
            changed = copy.deepcopy(tree)
            _replace(changed, place, replacement)
            text = ast.unparse(ast.fix_missing_locations(changed))
            line = getattr(node, "lineno", 0)
            found.append(Mutant(line, f"{_one_line(node)}  ->  {_one_line(replacement)}", text))
    return sorted(found, key=lambda mutant: mutant.line)


def _left_alone(nodes: list[ast.AST]) -> set[int]:
    """The identities of nodes, and of all below them, that change nothing when the program runs."""
    roots: list[ast.AST] = []
    for node in nodes:
        match node:
            case ast.arg(annotation=ast.AST() as annotation) | ast.AnnAssign(annotation=annotation):
                roots.append(annotation)
            case ast.FunctionDef(returns=ast.AST() as annotation):
                roots.append(annotation)
            case ast.Assert() | ast.Raise() | ast.JoinedStr():
                roots.append(node)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                roots.append(node)
            case ast.Call(keywords=keywords):
                # ``slots``, ``frozen`` and ``strict`` ask Python to look after us.
                roots += [keyword for keyword in keywords if keyword.arg in ("slots", "frozen", "strict", "init")]
    return {id(below) for root in roots for below in ast.walk(root)}


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of a node."""
    match node:
        case ast.Compare(ops=[operator], left=left, comparators=others):
            yield ast.Compare(left, [COMPARISONS[type(operator)]()], others)
        case ast.BinOp(op=operator, left=left, right=right) if type(operator) in ARITHMETIC and not _is_text(node):
            yield ast.BinOp(left, ARITHMETIC[type(operator)](), right)
        case ast.AugAssign(op=operator, target=target, value=value) if type(operator) in ARITHMETIC:
            yield ast.AugAssign(target, ARITHMETIC[type(operator)](), value)
        case ast.BoolOp(op=ast.And(), values=values):
            yield ast.BoolOp(ast.Or(), values)
        case ast.BoolOp(op=ast.Or(), values=values):
            yield ast.BoolOp(ast.And(), values)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.If(test=test, body=body, orelse=orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.IfExp(test=test, body=first, orelse=second):
            yield ast.IfExp(test, second, first)
        case ast.Return(value=ast.AST() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()


def _is_text(node: ast.AST) -> bool:
    """Whether it puts texts together."""
    return any(
        isinstance(below, ast.JoinedStr) or (isinstance(below, ast.Constant) and isinstance(below.value, str))
        for below in ast.walk(node)
    )


def _replace(tree: ast.AST, place: int, replacement: ast.AST) -> None:
    """Put a node in the place of the one that a walk meets at that number."""
    wanted = list(ast.walk(tree))[place]
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is wanted:
                setattr(parent, name, replacement)
                return
            if isinstance(value, list):
                for index, one in enumerate(value):
                    if one is wanted:
                        value[index] = replacement
                        return


def _one_line(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).partition("\n")[0].strip()
