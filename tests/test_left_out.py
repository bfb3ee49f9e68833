"""Leave-source-out figures: each source with other parameters in a process of its own, the rest as in ``eval``.

Parameters of the package stand in for trained ones: what is measured with them must be what ``eval`` measures.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import InvalidGroundTruth, UsageError
from imgsearch.evaluation.evaluate import evaluate
from imgsearch.evaluation.ground_truth import Part
from imgsearch.service.categories import Kind
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS
from imgsearch.vision.trained_weights import (
    COLOUR,
    PARAMETERS_VARIABLE,
    SCORE,
    SHAPE,
    load_parameters,
    parameters_hash,
    replacement,
)
from tests.conftest import ROOT, Run

RECORD = EMBEDDED_MODELS[DEFAULT_MODEL]
CURVE = (2.0, -1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight products of the sample catalogue; their queries come from two sources."""
    folder = tmp_path_factory.mktemp("labelled")
    names = sorted(path.stem for path in (ROOT / "sample_data" / "queries").iterdir())[:8]
    with (folder / "groundtruth.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "split", "product_id", "source"])
        for number, name in enumerate(names):
            for path in sorted((ROOT / "sample_data" / "catalogue" / name).iterdir()):
                shutil.copy(path, folder / f"{name}-{path.name}")
                table.writerow([f"{name}-{path.name}", "gallery", name, "ours"])
            (query,) = (ROOT / "sample_data" / "queries").glob(f"{name}.*")
            shutil.copy(query, folder / query.name)
            table.writerow([query.name, "query", name, "one" if number < 3 else "two"])
    return folder


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    """Those of the package under another curve of Score, for the source "one"; nothing for the source "two"."""
    folder = tmp_path / "left out"
    (folder / "first").mkdir(parents=True)
    np.savez(folder / "first" / f"{SCORE}.npz", curve=np.array(CURVE))
    (folder / "sources.json").write_text(json.dumps({"one": "first"}), encoding="utf-8")
    return folder


@pytest.mark.extended
@pytest.mark.networks
@pytest.mark.parametrize("model", [DEFAULT_MODEL, "efficientnet-lite0"])
def test_each_source_is_measured_with_its_own_parameters(
    labelled: Path, parameters: Path, cache: Path, model: str
) -> None:
    """Ranks are those of the plain figure, as the features are; Scores are those of the other curve."""
    told: list[str] = []
    result = evaluate(
        labelled,
        [Part.RETRIEVAL],
        kind=Kind.GENERIC,
        model=model,
        left_out=parameters,
        cache=cache,
        announce=told.append,
    )
    assert result.retrieval is not None
    assert result.left_out is not None
    assert list(result.left_out.groups) == ["one"]
    plain, left_out = result.retrieval.groups["one"], result.left_out.groups["one"]
    assert left_out.queries == 3
    assert (left_out.hit1, left_out.mean_average_precision) == (plain.hit1, plain.mean_average_precision)
    assert left_out.mean_reciprocal_rank == plain.mean_reciprocal_rank
    assert left_out.calibration != plain.calibration
    assert any("trained without two" in line and str(parameters) in line for line in told), "not measured, and not told"


@pytest.mark.extended
@pytest.mark.networks
def test_queries_of_one_source(run: Run, labelled: Path) -> None:
    """The catalogue stays whole, other queries are not asked."""
    document = run("eval", labelled, "--kind", "generic", "--source", "two").document
    assert set(document["Retrieval"]) == {"all", "two"}
    assert document["Retrieval"]["all"]["Queries"] == 5
    refused = run("eval", labelled, "--source", "three")
    assert (refused.returncode, "'three'" in refused.stderr) == (3, True)


def test_what_cannot_be_left_out(labelled: Path, parameters: Path, tmp_path: Path) -> None:
    """A folder without its table, with folders missing, no queries, no source that is known: each in words."""
    with pytest.raises(UsageError, match=r"sources\.json"):
        evaluate(labelled, [Part.RETRIEVAL], left_out=tmp_path)
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    shutil.copy(ROOT / "sample_data" / "queries" / "backpack-navy.jpg", boxes / "1.jpg")
    (boxes / "boxes.csv").write_text("file,x1,y1,x2,y2\n1.jpg,1,1,50,50\n", encoding="utf-8")
    with pytest.raises(UsageError, match="folder with queries"):
        evaluate(boxes, [Part.SUBJECTS], left_out=parameters)
    (parameters / "sources.json").write_text('{"one": "second"}', encoding="utf-8")
    with pytest.raises(UsageError, match="second"):
        evaluate(labelled, [Part.RETRIEVAL], left_out=parameters)
    (parameters / "sources.json").write_text('{"three": "first"}', encoding="utf-8")
    with pytest.raises(InvalidGroundTruth, match="no query has a source"):
        evaluate(labelled, [Part.RETRIEVAL], left_out=parameters)


def test_a_folder_stands_in_for_parameters_of_the_same_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has not is the package's; features and Scores made with it are told apart by their stamps."""
    before, shape = RECORD.stamp(), parameters_hash(SHAPE)
    np.savez(tmp_path / f"{COLOUR}.npz", origin=np.zeros(3))
    monkeypatch.setenv(PARAMETERS_VARIABLE, str(tmp_path))
    assert load_parameters(COLOUR)["origin"].tolist() == [0, 0, 0]
    assert (parameters_hash(SHAPE), replacement(SHAPE)) == (shape, None)
    assert RECORD.stamp() != before
    np.savez(tmp_path / f"{SCORE}.npz", curve=np.array(CURVE))
    assert RECORD.score_curve == CURVE
    monkeypatch.delenv(PARAMETERS_VARIABLE)
    assert RECORD.stamp() == before
