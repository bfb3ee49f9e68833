"""The public names, and what importing them costs."""

from __future__ import annotations

import ast
import os
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


@pytest.mark.extended
def test_another_name_is_an_error_of_types(tmp_path: Path) -> None:
    """Type checkers know the names, and no others."""
    (tmp_path / "good.py").write_text("from imgsearch import Instance, PictureLike, Writer, as_picture\n")
    (tmp_path / "bad.py").write_text("from imgsearch import Nonsense\n")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "good.py", "bad.py"]
    where = {**os.environ, "MYPYPATH": str(Path(imgsearch.__file__).parent.parent)}  # editable installations are hooks
    result = subprocess.run(command, cwd=tmp_path, env=where, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    errors = [line for line in result.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1, errors
    assert errors[0].startswith('bad.py:1: error: Module "imgsearch" has no attribute "Nonsense"')


HOST = """
import json, logging, os, signal, sys, warnings
import numpy as np
import PIL.Image
import faiss, openvino
def settings():
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict))]
    return {
        "pixels": PIL.Image.MAX_IMAGE_PIXELS,
        "levels": {one.name: (one.level, len(one.handlers)) for one in loggers if one.level or one.handlers},
        "filters": [str(one) for one in warnings.filters],
        "missing": sorted(name for name, module in sys.modules.items() if module is None),
        "signals": {number: str(signal.getsignal(number)) for number in signal.valid_signals()},
        "environment": dict(os.environ),
        "hooks": [str(sys.excepthook), str(sys.path)],
    }
before = settings()
from imgsearch import Instance
folder, pictures = sys.argv[1], np.random.default_rng(1).integers(0, 256, (2, 120, 160, 3), np.uint8)
Instance.create(folder)
with Instance.open(folder) as instance, instance.searching(isolated=False) as searcher:
    instance.add(pictures[0], "p", "a")
    assert searcher.by_picture(pictures[0]).hits[0].identical
    assert instance.embed(pictures).shape == (2, 256)
    instance.thumbnail(pictures[0], 20)
    stream = instance.apply_stream([])
    with instance._opened.writing(0):
        note = json.load(open(folder + "/writer.json"))
after = settings()
assert before == after, [(name, before[name], after[name]) for name in before if before[name] != after[name]]
assert "secret" not in json.dumps(note), note
import openvino.tools.ovc
"""


@pytest.mark.extended
@pytest.mark.networks
def test_the_host_process_keeps_its_settings(tmp_path: Path) -> None:
    """Of Pillow, logging, warnings, modules, signals and the environment; and its arguments are written nowhere."""
    command = [sys.executable, "-c", HOST, str(tmp_path / "instance"), "--password=secret"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_importing_costs_nothing() -> None:
    """``import imgsearch`` loads none of its modules and no library."""
    code = "import sys; before = set(sys.modules); import imgsearch; print(*sorted(set(sys.modules) - before))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name for name in printed.split() if name not in sys.stdlib_module_names}
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} <= {"imgsearch"}


MAY_IMPORT = {
    "values": {"errors"},
    "types": {"errors", "values"},
    "durable_fs": {"errors"},
    "ordered_futures": {"errors"},
    "locations": {"errors"},
    "shards": {"errors", "types", "values"},
    "cores": set(),
    "all_cores": {"cores"},
    "distinct": set(),
    "listed_ids": set(),
    "projection": set(),
    "quantization": set(),
    "filters": {"errors", "types", "values"},
    "service": {"errors", "types", "values"},
    "service.documents": {"errors", "search", "jobs", "types", "values"},
    "service.command_documents": {"search", "jobs", "types", "values"},
    "vision": {
        *("errors", "types", "values", "cores", "durable_fs", "locations", "ordered_futures", "quantization"),
        "service",
    },
    "sources": {"errors", "types", "values", "durable_fs", "locations", "service", "shards"},
    "storage": {
        *("errors", "types", "values", "all_cores", "distinct", "durable_fs", "listed_ids", "projection"),
        *("quantization", "filters"),
    },
    "sharding": {
        *("errors", "types", "values", "filters", "shards", "projection", "storage", "search", "jobs", "opened"),
        *("instance", "pictures", "locations", "vision", "listed_ids"),
    },
    "agents": {
        *("errors", "types", "values", "durable_fs", "service", "search", "evaluation", "instance", "pictures"),
        *("jobs", "sources", "vision", "server"),
    },
}
"""What each package or module may import besides itself; those not named stand above them and below ``cli``.

Documents speak of answers and instances, of which only their types are imported."""


@pytest.mark.extended
def test_packages_import_in_one_direction() -> None:
    """Lower packages know nothing of higher ones; only ``cli`` knows ``cli``, it and ``agents`` know ``evaluation``."""
    root = Path(imgsearch.__file__).parent
    for path in root.rglob("*.py"):
        parts_of_path = path.relative_to(root).with_suffix("").parts
        package = parts_of_path[0]
        allowed = MAY_IMPORT.get(".".join(parts_of_path), MAY_IMPORT.get(package))
        if path in (root / "__main__.py", root / "__init__.py"):
            continue  # the way in, and the names of all packages
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for parts in (name.split(".") for name in names):
                if parts[0] != "imgsearch" or len(parts) == 1 or parts[1] == package:
                    continue
                where = f"{path.relative_to(root)} imports {'.'.join(parts)}"
                assert allowed is None or parts[1] in allowed, where
                assert parts[1] != "cli", where
                assert parts[1] != "evaluation" or package in ("cli", "agents"), where
                assert parts[1] != "agents" or package == "cli", where
