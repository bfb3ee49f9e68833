"""What a search begins before its command is loaded: only where it pays, and without any effect on the answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imgsearch.cli.early_search import has_picture
from imgsearch.vision.early_networks import NOTE
from tests.cli.test_start import imported
from tests.conftest import Run


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("search a.jpg", True),
        ("search -i shop a.jpg -n 3", True),
        ("-i shop search a.jpg", True),
        ("--instance=shop search - --format json", True),
        ("search --url http://localhost/a.jpg", True),
        ("search --help", False),
        ("search a.jpg -h", False),
        ("search --product-id 1 --pic-name a.jpg", False),
        ("search --product-id=1 --pic-name=a.jpg", False),
        ("search --text cup", False),
        ("search --text=cup", False),
        ("add a.jpg", False),
        ("-i search info", False),
        ("--version", False),
        ("", False),
    ],
)
def test_begins_for_searches_with_a_picture(line: str, expected: bool) -> None:
    assert has_picture(line.split()) is expected


def answer_of(run: Run, *words: object) -> dict[str, object]:
    """Without what differs between two runs of the same search."""
    document = run("search", *words, "--format", "json").document
    del document["RequestId"], document["Head"]["SearchTime"]
    return document


@pytest.mark.networks
@pytest.mark.extended
def test_the_second_search_needs_no_openvino_package_and_answers_the_same(
    start: Run, folder: Path, catalogue: Path, cache_with_note: Path
) -> None:
    assert start("add", catalogue).returncode == 0
    query = catalogue / "0001.jpg"
    first = answer_of(start, query)
    named = json.loads((cache_with_note / NOTE).read_text(encoding="utf-8"))["networks"]
    assert len(named) == 3
    assert answer_of(start, query) == first
    assert "openvino" not in imported(folder, "search", query)

    # Whatever stands in the note: the answer is the same, and the next search is quick again.
    for note in ("{", json.dumps({"networks": named[:1]}), json.dumps({"networks": [{**named[0], "path": "none"}]})):
        (cache_with_note / NOTE).write_text(note, encoding="utf-8")
        assert answer_of(start, query) == first
        assert "openvino" not in imported(folder, "search", query)
    (cache_with_note / NOTE).unlink()
    (cache_with_note / NOTE).mkdir()
    assert answer_of(start, query) == first, "nothing can be written there"


@pytest.mark.networks
@pytest.mark.extended
def test_settings_of_the_configuration_file_count(
    start: Run, folder: Path, catalogue: Path, cache_with_note: Path, tmp_path: Path
) -> None:
    """It is read after the networks were begun: another precision there must not get networks of this one."""
    assert start("add", catalogue).returncode == 0
    query = catalogue / "0001.jpg"
    answer_of(start, query)
    configuration = tmp_path / "config.toml"
    configuration.write_text('precision = "f32"\n', encoding="utf-8")
    expected = answer_of(lambda *words: start("--config", configuration, *words), query)
    (networks,) = {network["settings"]["INFERENCE_PRECISION_HINT"] for network in _named(cache_with_note)}
    assert networks == "f32"
    assert answer_of(lambda *words: start("--config", configuration, *words), query) == expected
    assert "openvino" not in imported(folder, "--config", configuration, "search", query)


def _named(cache: Path) -> list[dict[str, dict[str, str]]]:
    named: list[dict[str, dict[str, str]]] = json.loads((cache / NOTE).read_text(encoding="utf-8"))["networks"]
    return named
