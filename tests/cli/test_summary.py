"""The summary of a run: every failure is in the document, in order, and none of them stays in memory for that."""

from __future__ import annotations

import json
import sys
import tracemalloc
from typing import Any

import pytest

from imgsearch.cli import summary as summaries
from imgsearch.cli.output import Format, print_document, print_streamed
from imgsearch.cli.summary import Summary
from imgsearch.errors import StorageUnwritable, UnreadableSource
from imgsearch.types import Outcome, Status


def failure(number: int) -> Outcome:
    error = UnreadableSource(f"the file cannot be read: {'x' * 50}")
    return Outcome(Status.FAILED, f"folder/{number:08}.jpg", "p", f"{number}\u202e.jpg", error=error)


@pytest.mark.parametrize("in_memory", [2**22, 100], ids=["in memory", "in a file"])
@pytest.mark.parametrize("form", [Format.JSON, Format.JSONL])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_failure_is_in_the_document(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, count: int, form: Format, in_memory: int
) -> None:
    monkeypatch.setattr(summaries, "IN_MEMORY_BYTES", in_memory)
    summary = Summary(is_batch=True)
    for number in range(count):
        summary.count(failure(number))
    summary.count(Outcome(Status.ADDED, "a.jpg", "p", "a.jpg"))
    summary.add_facts(DryRun=True)
    summary.show(form, 1.5, quiet=False)
    printed = capfd.readouterr().out
    assert printed.endswith("}\n")
    assert printed[:-1].isprintable(), "one line, without anything that steers a terminal"
    document = json.loads(printed)
    assert list(document) == [
        *("Success", "Added", "Replaced", "Unchanged", "Deleted", "Failed", "Failures", "Seconds", "DryRun")
    ]
    assert (document["Success"], document["Added"], document["Failed"]) == (count == 0, 1, count)
    assert document["Failures"] == [
        {
            "Source": f"folder/{number:08}.jpg",
            "ProductId": "p",
            "PicName": f"{number}\u202e.jpg",
            "Code": "PictureError",
            "Message": f"the file cannot be read: {'x' * 50}",
        }
        for number in range(count)
    ]
    assert summary.exit_code == (1 if count else 0)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("values", [[], [{"a": 1}], [{"a": 1, "b": [2, {"c": "x\ny"}]}, {}, {"d": None}]])
def test_a_streamed_document_is_printed_as_any_other(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, values: list[dict[str, Any]], terminal: bool
) -> None:
    """Character by character."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    print_document({"Success": False, "Failed": 2, "Failures": values, "Seconds": 0.5, "Fact": {"x": [1]}})
    whole = capfd.readouterr().out
    print_streamed(
        {"Success": False, "Failed": 2}, "Failures", values, {"Seconds": 0.5, "Fact": {"x": [1]}}, one_line=False
    )
    assert capfd.readouterr().out == whole


@pytest.mark.extended
def test_many_failures_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """40,000 of them, some 9 MB, with a megabyte for what is kept."""
    monkeypatch.setattr(summaries, "IN_MEMORY_BYTES", 2**20)
    monkeypatch.setattr(summaries.log, "disabled", True)  # pytest keeps what is logged
    summary = Summary()
    tracemalloc.start()
    try:
        for number in range(40_000):
            summary.count(failure(number))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 2**20


def test_no_place_for_many_failures_has_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "IN_MEMORY_BYTES", 10)
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(StorageUnwritable, match="no folder for temporary files"):
        Summary().count(failure(1))
