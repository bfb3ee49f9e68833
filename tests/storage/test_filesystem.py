"""What an instance lies on: file systems that several machines can use are told from local ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from imgsearch.storage.filesystem import disk_bytes, shared_file_system
from tests.storage.builders import child, finished

LOCAL = "/dev/sda1 / ext4 rw,relatime 0 0"


def test_disk_bytes_of_what_writers_remove_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes after it was listed counts nothing, and ends nothing; nor does a folder that has gone."""
    for name, length in {"instance.db": 100, "index-1.faiss": 20, "index-2.faiss": 3}.items():
        (tmp_path / name).write_bytes(bytes(length))
    (tmp_path / "reindexed").mkdir()
    assert disk_bytes(tmp_path) == 123
    listed = os.scandir

    def scandir(folder: Path) -> Any:
        with listed(folder) as entries:
            found = list(entries)
        (tmp_path / "index-1.faiss").unlink()
        return nullcontext(found)

    monkeypatch.setattr(os, "scandir", scandir)
    assert disk_bytes(tmp_path) == 103
    monkeypatch.undo()
    assert disk_bytes(tmp_path / "reindexed" / "gone") == disk_bytes(tmp_path / "instance.db") == 0


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table of mounts that the kernel would tell; to be written to."""
    table = tmp_path / "proc" / "self" / "mounts"
    table.parent.mkdir(parents=True)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
    return table


@pytest.mark.parametrize(
    ("fstype", "shared"),
    [
        *((fstype, True) for fstype in ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "virtiofs", "vboxsf")),
        *((fstype, True) for fstype in ("fuse.sshfs", "fuse.s3fs", "fuse.glusterfs", "fuse", "fuse.never-heard-of")),
        *((fstype, False) for fstype in ("ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "vfat", "nfsd")),
        *((fstype, False) for fstype in ("fuseblk", "fuse.fuse-overlayfs", "fuse.gocryptfs")),
    ],
)
def test_types(mounts: Path, tmp_path: Path, fstype: str, shared: bool) -> None:
    mounts.write_text(f"{LOCAL}\nserver:/share {tmp_path}/there {fstype} rw 0 0\n")
    assert shared_file_system(tmp_path / "there" / "below" / "instance") == (fstype if shared else None)
    assert shared_file_system(tmp_path / "therefore") is None


def test_the_mount_that_is_seen_counts(mounts: Path, tmp_path: Path) -> None:
    """Mounts below each other, on top of each other, through links, with names that the table escapes."""
    (tmp_path / "link").symlink_to(tmp_path / "net")
    network, local = f"s:/a {tmp_path}/net nfs4 rw 0 0", f"/dev/sdb1 {tmp_path}/net/disk xfs rw 0 0"
    mounts.write_text(f"{LOCAL}\n{network}\n{local}\n//s/b {tmp_path}/a\\040b cifs rw 0 0\n")
    assert shared_file_system(tmp_path / "net") == "nfs4"
    assert shared_file_system(tmp_path / "link" / "instance") == "nfs4"
    assert shared_file_system(tmp_path / "net" / "disk" / "instance") is None
    assert shared_file_system(tmp_path / "a b" / "instance") == "cifs"
    mounts.write_text(f"{LOCAL}\n{network}\n/dev/sdb1 {tmp_path}/net xfs rw 0 0\n")
    assert shared_file_system(tmp_path / "net") is None
    mounts.write_text(f"{LOCAL}\n{local}\n{network}\n")  # mounted later, over the folder in which the disk was
    assert shared_file_system(tmp_path / "net" / "disk") == "nfs4"


def test_where_the_system_does_not_tell_nothing_is_said(mounts: Path, tmp_path: Path) -> None:
    """Such as in a container without /proc; or where a path leads nowhere."""
    assert shared_file_system(tmp_path) is None
    mounts.write_text("server:/ / nfs4 rw 0 0\n")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert shared_file_system(tmp_path / "circle") in {None, "nfs4"}


SERVE = """
import os, struct, subprocess, sys
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
mount = ["mount", "-i", "-t", "fuse.sshfs", "-o", options, "nobody:/", sys.argv[1]]
subprocess.run(mount, pass_fds=[device], check=True)
print("mounted", flush=True)
ENOENT, ENOSYS = 2, 38
LOOKUP, GETATTR, INIT = 1, 3, 26
while True:
    try:
        request = os.read(device, 1 << 20)
    except OSError:
        break  # unmounted
    _, code, number = struct.unpack_from("<IIQ", request)
    error, answer = -ENOSYS, b""
    if code == INIT:
        error, answer = 0, struct.pack("<IIIIHHI", 7, 12, 0, 0, 0, 0, 4096)
    elif code == GETATTR:
        attributes = struct.pack("<6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
        error, answer = 0, struct.pack("<QII", 0, 0, 0) + attributes
    elif code == LOOKUP:
        error = -ENOENT
    os.write(device, struct.pack("<IiQ", 16 + len(answer), error, number) + answer)
"""
"""Mounts a FUSE file system that says it is sshfs and holds an empty folder. When it is killed, the kernel gives up
waiting for it."""


@pytest.mark.skipif(not Path("/dev/fuse").exists() or os.geteuid() != 0, reason="needs root and FUSE, to mount")
def test_a_real_mount_is_recognised(tmp_path: Path) -> None:
    """What the kernel tells of a FUSE file system, also of a folder in it that is not there yet."""
    if shutil.which("mount") is None:
        pytest.skip("needs mount")
    target = tmp_path / "mount"
    target.mkdir()
    server = child(SERVE, target)
    try:
        assert server.stdout is not None
        if server.stdout.readline() != "mounted\n":
            pytest.skip(f"mounting is not allowed here: {server.communicate(timeout=30)[1].strip()[-200:]}")
        code = "import sys\nfrom pathlib import Path\nfrom imgsearch.storage.filesystem import shared_file_system\n"
        code += "print(*(shared_file_system(Path(path)) for path in sys.argv[1:]))"
        told = finished(child(code, target, target / "instance", tmp_path))
        assert told == "fuse.sshfs fuse.sshfs None\n"
    finally:
        subprocess.run(["umount", "-l", target], check=False, capture_output=True)
        server.kill()
        server.communicate(timeout=30)
