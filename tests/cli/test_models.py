"""``models``: what there is to choose from, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgsearch.vision.known_models import KNOWN_MODELS

if TYPE_CHECKING:
    from tests.conftest import Run

FIELDS = {"Name", "Default", "Licence", "InputSize", "Dimension", "WeightsMB", "Text", "AtHand", "Source"}
FIELDS |= {"Hit@1", "mAP", "Speed"}


def test_documents(run: Run) -> None:
    """One with all models, or one a line."""
    result = run("models", "--format", "json")
    assert result.returncode == 0, result.stderr
    document = result.document
    assert document["Success"] is True
    assert [model["Name"] for model in document["Models"]] == [model.name for model in KNOWN_MODELS]
    assert all(set(model) == FIELDS for model in document["Models"])
    assert run("models", "--format", "jsonl").lines == document["Models"]
    for model in document["Models"]:
        assert (model["Hit@1"] is None) == (model["mAP"] is None) == (model["Speed"] is None)


def test_a_table(run: Run) -> None:
    shown = run("models", "--format", "table").stdout
    for model in KNOWN_MODELS:
        assert model.name in shown
    assert shown.count("not measured by us") == sum(model.figures is None for model in KNOWN_MODELS)


def test_there_are_no_paths_to_print(run: Run) -> None:
    result = run("models", "--format", "paths")
    assert result.returncode == 2
    assert "table, json and jsonl" in result.stderr
