"""The public names, and what importing them costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

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


MAY_IMPORT = {
    "types": {"errors"},
    "durable_fs": {"errors"},
    "ordered_futures": {"errors"},
    "locations": {"errors"},
    "projection": set(),
    "filters": {"errors", "types"},
    "service": {"errors", "types"},
    "vision": {"errors", "types", "durable_fs", "locations", "ordered_futures", "service"},
    "sources": {"errors", "types", "durable_fs", "locations", "service"},
    "storage": {"errors", "types", "durable_fs", "projection", "filters", "search"},
}
"""What each package or module may import besides itself; those not named stand above them and below ``cli``."""


def test_packages_import_in_one_direction() -> None:
    """Lower packages know nothing of higher ones; only ``cli`` knows ``cli``, and only it knows ``evaluation``."""
    root = Path(imgsearch.__file__).parent
    for path in root.rglob("*.py"):
        package = path.relative_to(root).with_suffix("").parts[0]
        if path in (root / "__main__.py", root / "__init__.py"):
            continue  # the way in, and the names of all packages
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for parts in (name.split(".") for name in names):
                if parts[0] != "imgsearch" or len(parts) == 1 or parts[1] == package:
                    continue
                where = f"{path.relative_to(root)} imports {'.'.join(parts)}"
                assert parts[1] in MAY_IMPORT.get(package, {parts[1]}), where
                assert parts[1] != "cli", where
                assert parts[1] != "evaluation" or package == "cli", where
