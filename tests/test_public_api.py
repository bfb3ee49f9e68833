"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import imgsearch


@pytest.mark.parametrize("name", imgsearch.__all__)
def test_each_name_is_there(name: str) -> None:
    """What ``__all__`` promises can be had."""
    assert getattr(imgsearch, name) is not None


def test_another_name_is_an_attribute_error() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = imgsearch.Nothing  # type: ignore[attr-defined]


def test_importing_costs_nothing() -> None:
    """``import imgsearch`` loads none of its modules and no library."""
    code = "import sys; before = set(sys.modules); import imgsearch; print(*sorted(set(sys.modules) - before))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name for name in printed.split() if name not in sys.stdlib_module_names}
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} <= {"imgsearch"}


def test_rooms_import_in_one_direction() -> None:
    """No room imports one before it: cli, evaluation, gateway, then sources, algorithm and engine, then the records."""
    import ast
    from pathlib import Path

    root = Path(imgsearch.__file__).parent
    gateway = {
        "cli",
        "evaluation",
        "instance",
        "analysing",
        "exporting",
        "foreseeing",
        "importing",
        "indexing",
        "searching",
        "tuning",
    }
    forbidden = {
        "cli": set(),
        "evaluation": {"cli"},
        "sources": {*gateway, "algorithm", "engine"},
        "algorithm": {*gateway, "sources", "engine"},
        "engine": {*gateway, "sources", "algorithm"},
        "": {"cli", "evaluation"},
    }
    for path in root.rglob("*.py"):
        room = path.relative_to(root).parts[0] if path.parent != root else ""
        if path in (root / "__main__.py", root / "__init__.py"):
            continue  # the way in, and the names of all rooms
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                parts = name.split(".")
                if parts[0] == "imgsearch" and len(parts) > 1:
                    assert parts[1] not in forbidden[room], f"{path.relative_to(root)} imports {name}"
