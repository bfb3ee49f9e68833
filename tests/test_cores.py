"""Cores that a process has: its affinity, and the quotas of the control groups that it is in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsearch import cores
from imgsearch.cores import available_cores


class Machine:
    """A process and its control groups, as Linux shows them."""

    def __init__(self, folder: Path) -> None:
        self.process, self.point = folder / "proc", folder / "cgroup"
        self.process.mkdir()
        self.point.mkdir()

    def v2(self, path: str, *, root: str = "/", **limits: str) -> None:
        """In the group ``path``; limits of groups below the mount: ``a__b="150000 100000"`` is that of a/b."""
        (self.process / "cgroup").write_text(f"0::{path}\n")
        (self.process / "mountinfo").write_text(
            "24 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
            f"31 24 0:27 {root} {self.point} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
        )
        for name, limit in limits.items():
            group = self.point.joinpath(*name.strip("_").split("__"))
            group.mkdir(parents=True, exist_ok=True)
            (group / "cpu.max").write_text(f"{limit}\n")

    def v1(self, path: str, root: str, quota: int, period: int = 100_000, below: str = "") -> None:
        (self.process / "cgroup").write_text(f"5:memory:/elsewhere\n4:cpu,cpuacct:{path}\n0::/\n")
        (self.process / "mountinfo").write_text(
            f"32 24 0:28 {root} {self.point}/memory rw - cgroup cgroup rw,memory\n"
            f"33 24 0:29 {root} {self.point} rw - cgroup cgroup rw,cpu,cpuacct\n"
        )
        group = self.point / below
        group.mkdir(exist_ok=True)
        (group / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (group / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(cores, "PROCESS", made.process)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    return made


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 16), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("9900000 100000", 16)],
)
def test_version_2(machine: Machine, limit: str, expected: int) -> None:
    """As a container sees its own group, at the root of its namespace; parts of a core count up."""
    machine.v2("/", _=limit)
    assert available_cores() == expected


def test_the_smallest_limit_above_a_process_counts(machine: Machine) -> None:
    machine.v2("/a/b/c", a="300000 100000", a__b="max 100000", a__b__c="800000 100000", other="100000 100000")
    assert available_cores() == 3


@pytest.mark.parametrize(
    ("path", "root", "below"), [("/docker/1f", "/docker/1f", ""), ("/", "/", ""), ("/user/s", "/", "user")]
)
@pytest.mark.parametrize(("quota", "expected"), [(-1, 16), (250_000, 3), (100_000, 1)])
def test_version_1(machine: Machine, path: str, root: str, below: str, quota: int, expected: int) -> None:
    machine.v1(path, root, quota, below=below)
    assert available_cores() == expected


def test_a_group_that_cannot_be_seen_from_here(machine: Machine) -> None:
    """Of another namespace: what is mounted here counts."""
    machine.v2("/../../outside", root="/", _="400000 100000")
    assert available_cores() == 4
    machine.v2("/kubepods/pod1", root="/system", _="500000 100000")
    assert available_cores() == 5


@pytest.mark.parametrize("broken", ["", "x", "100000", "1 0", "a b"])
def test_what_cannot_be_read_is_no_limit(machine: Machine, broken: str) -> None:
    machine.v2("/", _=broken)
    assert available_cores() == 16


def test_without_proc(machine: Machine) -> None:
    assert available_cores() == 16


def test_an_affinity_below_the_quota_counts(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.v2("/", _="400000 100000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3}, raising=False)
    assert available_cores() == 1
