"""The engine's core, and the quick tests of each of its modules."""

from __future__ import annotations

from typing import Final

__all__ = ["TESTS"]

STORAGE: Final = ("tests/storage/test_engine.py", "tests/storage/test_contract.py", "tests/storage/test_deletion.py")
SUCCESSOR: Final = "tests/storage/test_successor.py"
SQLITE: Final = ("tests/storage/sqlite", "tests/storage/integrity/test_check.py", *STORAGE, SUCCESSOR)
SEARCH: Final = ("tests/search/test_layers.py", "tests/search", "tests/storage/test_engine.py")

TESTS: Final = {
    "storage/engine.py": (*STORAGE, SUCCESSOR, "tests/storage/test_formats.py", "tests/storage/test_readers.py"),
    "storage/successor.py": (SUCCESSOR, "tests/jobs/test_reindexing.py", "tests/storage/test_engine.py"),
    "storage/sqlite/rows.py": SQLITE,
    "storage/sqlite/store.py": (*SQLITE, "tests/test_quantization.py"),
    "storage/sqlite/generations.py": SQLITE,
    "storage/faiss/clustering.py": ("tests/storage/faiss/test_clustering.py",),
    "storage/faiss/index_header.py": (
        "tests/storage/faiss/test_index_header.py",
        "tests/storage/faiss/test_index_file.py",
    ),
    "storage/sqlite/wal.py": ("tests/storage/sqlite/test_wal.py",),
    "storage/faiss/shortlist.py": ("tests/storage/faiss", "tests/storage/test_engine.py"),
    "storage/faiss/index_reader.py": ("tests/storage/faiss", "tests/storage/test_engine.py"),
    "search/layers.py": SEARCH,
    "search/ranking.py": SEARCH,
    "search/candidates.py": SEARCH,
    "search/siblings.py": SEARCH,
    "search/score.py": SEARCH,
    "filters/parser.py": ("tests/filters", "tests/storage/test_contract.py"),
    "filters/tree.py": ("tests/filters", "tests/storage/test_contract.py"),
}
"""By the path below ``imgsearch``; first those that tell most. Tests that take seconds each are left to their own
sessions."""
