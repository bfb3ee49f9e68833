"""Features made on several devices in one instance.

Contract: they have one stamp and can be mixed; a picture finds itself at the maximum whatever it was added with; the
instance remembers what its features were made with. Torch on the CPU stands for a GPU.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch import AddPicture, FilePicture, Instance, Key, Outcome, SearchOptions, Status
from imgsearch.errors import DeviceUnusable, UsageError
from imgsearch.opened import _default_workers
from imgsearch.storage.integrity.problems import Damage
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.vision.devices import Device
from tests import torch_on_cpu
from tests.conftest import ROOT
from tests.killing_decoder import environment, killing
from tests.pictures import jpeg
from tests.processes import decoders_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

pytestmark = [pytest.mark.extended, pytest.mark.networks]

SHOTS = sorted((ROOT / "sample_data" / "catalogue").rglob("*.jpg"))
QUERIES = sorted((ROOT / "sample_data" / "queries").iterdir())
TORCH, CPU_LABEL, TORCH_LABEL = torch_on_cpu.TORCH.name, "cpu (openvino)", torch_on_cpu.TORCH.label
MAXIMUM = (1.0, "7.33136443711219e+24;0")


def additions(paths: Iterable[Path]) -> list[AddPicture]:
    return [AddPicture(str(path), Key(path.parent.name, path.name), FilePicture(path)) for path in paths]


def add(instance: Instance, paths: Iterable[Path], device: str) -> list[Outcome]:
    return list(instance.apply(additions(paths), device=device))


def first_hits(instance: Instance, queries: Sequence[Path], count: int) -> list[list[tuple[Key, float, str]]]:
    with instance.searching() as searcher:
        found = [searcher.by_picture(FilePicture(path), search=SearchOptions(num=count)).hits for path in queries]
    return [[(hit.item.key, hit.score, hit.sort_expr_values) for hit in hits] for hits in found]


WAYS = {
    "cpu": [(SHOTS, "cpu")],
    "torch": [(SHOTS, TORCH)],
    "mixed": [(SHOTS[::2], TORCH), (SHOTS[1::2], "cpu")],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sample catalogue, added in several ways; not to be changed."""
    base = tmp_path_factory.mktemp("made")
    for name, steps in WAYS.items():
        Instance.create(base / name)
        with Instance.open(base / name) as instance:
            for paths, device in steps:
                assert {outcome.status for outcome in add(instance, paths, device)} == {Status.ADDED}
    return {name: base / name for name in WAYS}


@pytest.mark.parametrize("way", WAYS)
def test_every_picture_finds_itself_at_the_maximum(made: dict[str, Path], way: str) -> None:
    with Instance.open(made[way]) as instance:
        for path, hits in zip(SHOTS[::5], first_hits(instance, SHOTS[::5], 1), strict=True):
            assert hits == [(Key(path.parent.name, path.name), *MAXIMUM)]


def test_searches_find_the_same(made: dict[str, Path]) -> None:
    lists = {}
    for way, folder in made.items():
        with Instance.open(folder) as instance:
            lists[way] = [[key for key, *_ in hits] for hits in first_hits(instance, QUERIES, 10)]
    for way in ("torch", "mixed"):
        pairs = list(zip(lists["cpu"], lists[way], strict=True))
        assert np.mean([one[0].product_id == other[0].product_id for one, other in pairs]) >= 0.97
        assert np.mean([len(set(one) & set(other)) / len(one) for one, other in pairs]) >= 0.95


def test_regions_and_categories_are_the_same(made: dict[str, Path]) -> None:
    with Instance.open(made["cpu"]) as one, Instance.open(made["torch"]) as other:
        for addition in additions(SHOTS):
            here, there = one.item(addition.key), other.item(addition.key)
            assert here.category_id == there.category_id
            side = max(here.region.x2 - here.region.x1, here.region.y2 - here.region.y1)
            assert np.abs(np.subtract(here.region.bounds, there.region.bounds)).max() <= 0.1 * side


def test_the_instance_remembers_what_its_features_were_made_with(made: dict[str, Path]) -> None:
    told, stamps = {}, []
    for way, folder in made.items():
        with Instance.open(folder) as instance:
            told[way] = instance.info().devices
            stamps.append(instance.info().stamp)
        assert Instance.check(folder, read_data=True) == []
    assert told == {"cpu": [CPU_LABEL], "torch": [TORCH_LABEL], "mixed": [TORCH_LABEL, CPU_LABEL]}
    assert stamps[0] == stamps[1] == stamps[2]


def settings_of(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM settings")}


def test_an_instance_of_the_cpu_alone_is_as_it_always_was(made: dict[str, Path], tmp_path: Path) -> None:
    """So an earlier release wrote it."""
    assert "devices" not in settings_of(made["cpu"])
    assert "devices" in settings_of(made["mixed"])
    Instance.create(tmp_path / "empty")
    with Instance.open(tmp_path / "empty") as instance:
        assert instance.info().devices == []


def test_only_a_feature_counts(instance: Instance, folder: Path, tmp_path: Path) -> None:
    """Unchanged, changed in attributes, failed: nothing was made of these pictures."""
    path = tmp_path / "p" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(jpeg(1))
    broken = tmp_path / "p" / "broken.jpg"
    broken.write_bytes(b"no picture")
    assert [one.status for one in add(instance, [path], "cpu")] == [Status.ADDED]
    os.utime(path, (1, 1))
    statuses = [one.status for one in add(instance, [path, broken], TORCH)]
    assert statuses == [Status.UNCHANGED, Status.FAILED]
    assert instance.info().devices == [CPU_LABEL]
    path.write_bytes(jpeg(2))
    assert [one.status for one in add(instance, [path], TORCH)] == [Status.REPLACED]
    assert instance.info().devices == [CPU_LABEL, TORCH_LABEL]


@pytest.mark.parametrize("table", ["settings", "settings_copy"])
@pytest.mark.parametrize("damage", ["DELETE FROM {}", "UPDATE {} SET value = '[]'"])
def test_a_repair_keeps_what_it_remembers(made: dict[str, Path], tmp_path: Path, table: str, damage: str) -> None:
    with (
        closing(sqlite3.connect(made["mixed"] / DATABASE_NAME)) as sound,
        closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as copy,
    ):
        sound.backup(copy)
        copy.execute(f"{damage.format(table)} WHERE name = 'devices'")
    assert {problem.damage for problem in Instance.check(tmp_path)} >= {Damage.SETTINGS}
    assert Instance.repair(tmp_path).problems == []
    with Instance.open(tmp_path) as instance:
        assert instance.info().devices == [TORCH_LABEL, CPU_LABEL]


# Refusals


def test_a_device_that_cannot_be_used_costs_nothing(instance: Instance, no_gpu: None) -> None:
    read: list[object] = []

    def operations() -> Iterable[AddPicture]:
        read.append(1)
        yield from additions(SHOTS[:1])

    for device, error in (("cuda", DeviceUnusable), ("cuda:7", DeviceUnusable), ("gpu", UsageError)):
        with pytest.raises(error):
            list(instance.apply(operations(), device=device))
    assert read == []
    assert instance.count() == 0


# Threads and processes


def test_nothing_is_left_running(instance: Instance) -> None:
    """Neither at the end, nor where nobody reads on."""
    before = set(threading.enumerate())
    outcomes = instance.apply_stream(additions(SHOTS[:40]), device=TORCH, workers=4)
    next(outcomes)
    outcomes.close()
    assert set(threading.enumerate()) == before
    assert decoders_of(os.getpid()) == set()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not tell what a process has mapped")
def test_decoders_see_nothing_of_torch(instance: Instance) -> None:
    """They are forked by a process that never loads it, also after one was replaced while a device was at work."""
    outcomes = instance.apply_stream(additions(SHOTS), device=TORCH, workers=2)
    next(outcomes)
    assert "libtorch" in Path("/proc/self/maps").read_text()
    decoders = decoders_of(os.getpid())
    assert decoders
    assert not any("libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in decoders)
    outcomes.close()


def test_a_crashed_decoder_is_replaced_beside_a_device(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    paths = []
    for number in range(6):
        path = tmp_path / "p" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(killing("crash") if number % 3 == 1 else jpeg(number))
        paths.append(path)
    statuses = [outcome.status for outcome in add(instance, paths, TORCH)]
    assert statuses == [Status.FAILED if number % 3 == 1 else Status.ADDED for number in range(6)]


def test_more_pictures_are_under_way_beside_a_device() -> None:
    alone, beside = (_default_workers(Device.parse(name)) for name in ("cpu", "cuda"))
    assert alone < beside <= 128


# A GPU


def test_a_gpu_and_the_cpu_mix(instance: Instance, gpu: str, made: dict[str, Path]) -> None:
    add(instance, SHOTS[::2], gpu)
    add(instance, SHOTS[1::2], "cpu")
    device = Device.parse(gpu)
    assert instance.info().devices == [device.label, CPU_LABEL]
    for path, hits in zip(SHOTS, first_hits(instance, SHOTS, 1), strict=True):
        assert hits == [(Key(path.parent.name, path.name), *MAXIMUM)]
    with Instance.open(made["cpu"]) as other:
        pairs = zip(first_hits(instance, QUERIES, 10), first_hits(other, QUERIES, 10), strict=True)
        shares = [len({key for key, *_ in one} & {key for key, *_ in two}) / len(one) for one, two in pairs]
    assert np.mean(shares) >= 0.95
