"""Networks that are loaded early: they decide about speed only, whatever the note says.

Contract: a network is taken if it is the one that is needed, with the same settings; the note names what the last
search used; a note that is damaged, outdated or cannot be written changes nothing but the time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from imgsearch.cores import available_cores
from imgsearch.vision import early_networks, openvino_c
from imgsearch.vision.compile_settings import compile_settings
from imgsearch.vision.early_networks import NOTE, are_begun, begin, remember, taken, use
from imgsearch.vision.precision import check_precision
from imgsearch.vision.runtime import Graph

if TYPE_CHECKING:
    from imgsearch.vision.openvino_export import ConvertedModel

pytestmark = pytest.mark.networks


@pytest.fixture(autouse=True)
def _as_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a process of its own, as far as this module goes."""
    monkeypatch.setattr(early_networks, "_folders", [])
    for name in ("_begun", "_named", "_used"):
        monkeypatch.setattr(early_networks, name, {})


@pytest.fixture
def settings(tiny: ConvertedModel) -> dict[str, str]:
    """Those of a single search; the network has been compiled with them."""
    Graph(tiny.path, parallel=False)
    return compile_settings(tiny.path, check_precision(), cores=available_cores(), parallel=False)


def written(folder: Path, *networks: tuple[object, object]) -> None:
    document = {"networks": [{"path": str(path), "settings": settings} for path, settings in networks]}
    (folder / NOTE).write_text(json.dumps(document), encoding="utf-8")


def noted(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    document = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    return [(Path(network["path"]), network["settings"]) for network in document["networks"]]


def test_what_one_search_used_the_next_one_begins_with(
    tiny: ConvertedModel, settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    assert not are_begun()
    use(tiny.path, settings)
    remember()
    assert noted(tmp_path) == [(tiny.path, settings)]
    for name in ("_named", "_used"):
        monkeypatch.setattr(early_networks, name, {})
    begin(tmp_path)
    assert are_begun()
    network = taken(tiny.path, settings)
    assert network is not None
    picture = np.full((tiny.record.input_size,) * 2 + (3,), 100, np.uint8)
    assert np.array_equal(network(picture)[0], Graph(tiny.path, parallel=False)(picture)[0])
    assert taken(tiny.path, settings) is None, "nobody gets it twice"


@pytest.mark.parametrize(("name", "value"), [("INFERENCE_NUM_THREADS", "7"), ("CACHE_DIR", "/elsewhere")])
def test_other_settings_are_not_taken(
    tiny: ConvertedModel, settings: dict[str, str], tmp_path: Path, name: str, value: str
) -> None:
    written(tmp_path, (tiny.path, settings))
    begin(tmp_path)
    assert taken(tiny.path, settings | {name: value}) is None
    assert not are_begun()


def test_another_network_is_not_taken(tiny: ConvertedModel, settings: dict[str, str], tmp_path: Path) -> None:
    written(tmp_path, (tiny.path, settings))
    begin(tmp_path)
    assert taken(tmp_path / "model.xml", settings) is None
    assert taken(tiny.path, settings) is not None


def test_what_was_never_compiled_is_not_begun(tiny: ConvertedModel, settings: dict[str, str], tmp_path: Path) -> None:
    """It must not be compiled where others look for it."""
    written(tmp_path, (tiny.path, settings | {"CACHE_DIR": f"{settings['CACHE_DIR']}-none"}))
    begin(tmp_path)
    assert not are_begun()


def test_a_network_that_cannot_be_loaded_is_not_taken(
    tiny: ConvertedModel, settings: dict[str, str], tmp_path: Path
) -> None:
    broken = tmp_path / "model.xml"
    broken.write_text("<net", encoding="utf-8")
    written(tmp_path, (broken, settings), (tiny.path, settings))
    begin(tmp_path)
    assert taken(broken, settings) is None
    assert taken(tiny.path, settings) is not None


@pytest.mark.parametrize(
    "note",
    [
        *(b"", b"{", b"\xff\xfe", b"null", b"[]", b"{}", b"[" * 100_000),
        *(json.dumps({"networks": networks}).encode() for networks in (None, 7, [None], [{}], ["a"], {"a": 1})),
        json.dumps({"networks": [{"path": 3, "settings": {}}]}).encode(),
        json.dumps({"networks": [{"path": "a", "settings": None}]}).encode(),
        json.dumps({"networks": [{"path": "a", "settings": {"CACHE_DIR": "b"}}]}).encode(),
        *(
            json.dumps({"networks": [{"path": path, "settings": {"CACHE_DIR": path}}]}).encode()
            for path in ("a\0", "a" * 5_000, "\ud800", "")
        ),
    ],
)
def test_a_damaged_note_is_passed_over_and_replaced(
    tiny: ConvertedModel, settings: dict[str, str], tmp_path: Path, note: bytes
) -> None:
    (tmp_path / NOTE).write_bytes(note)
    begin(tmp_path)
    assert not are_begun()
    use(tiny.path, settings)
    remember()
    assert noted(tmp_path) == [(tiny.path, settings)]


def test_without_the_c_interface_nothing_is_begun(
    tiny: ConvertedModel, settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on other systems than Linux."""
    monkeypatch.setattr(openvino_c, "LIBRARY", "libs/none.so")
    written(tmp_path, (tiny.path, settings))
    begin(tmp_path)
    assert not are_begun()


def test_at_most_three_networks_are_begun(tiny: ConvertedModel, settings: dict[str, str], tmp_path: Path) -> None:
    """Whoever can write the note cannot have a search load a thousand."""
    written(tmp_path, *((f"{tiny.path.parent}/{number}/../model.xml", settings) for number in range(10)))
    begin(tmp_path)
    assert len(early_networks._begun) == 3


@pytest.mark.parametrize("used", [1, 2])
def test_a_search_that_needs_less_leaves_the_note(tmp_path: Path, used: int) -> None:
    networks: list[tuple[Any, Any]] = [
        (tmp_path / f"{number}.xml", compile_settings(tmp_path / "m.xml", None, cores=2, parallel=False))
        for number in range(2)
    ]
    written(tmp_path, *networks)
    before = (tmp_path / NOTE).stat()
    begin(tmp_path)
    for path, settings in networks[:used]:
        use(path, settings)
    remember()
    after = (tmp_path / NOTE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_search_that_needs_another_replaces_the_note(tmp_path: Path) -> None:
    written(tmp_path, (tmp_path / "a.xml", compile_settings(tmp_path / "a.xml", None, cores=2, parallel=False)))
    begin(tmp_path)
    use(tmp_path / "b.xml", {"A": "B"})
    remember()
    assert noted(tmp_path) == [(tmp_path / "b.xml", {"A": "B"})]
    assert [path.name for path in tmp_path.iterdir()] == [NOTE]


def test_where_nothing_can_be_written_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    begin(tmp_path / "file" / "cache")
    use(tmp_path / "b.xml", {"A": "B"})
    remember()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_folder_of_the_note_is_made(tmp_path: Path) -> None:
    """The configuration file may name another cache, which is not known when the search begins."""
    begin(tmp_path / "cache")
    use(tmp_path / "b.xml", {"A": "B"})
    remember()
    assert noted(tmp_path / "cache") == [(tmp_path / "b.xml", {"A": "B"})]


def test_a_process_that_has_not_begun_early_writes_nothing(
    tiny: ConvertedModel, settings: dict[str, str], cache: Path
) -> None:
    before = (cache / NOTE).stat().st_mtime_ns if (cache / NOTE).exists() else None
    use(tiny.path, settings)
    remember()
    assert ((cache / NOTE).stat().st_mtime_ns if (cache / NOTE).exists() else None) == before
