"""The file system of an instance: whether other machines share it, and how much space the instance takes.

Two guarantees need a single machine. Locks exclude a second writer, and network file systems may not pass them between
machines; SQLite's write-ahead log needs memory that all processes share (https://sqlite.org/wal.html, "All
processes using a database must be on the same host computer").
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["disk_bytes", "shared_file_system"]

SHARED_TYPES: Final = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "9p", "webdav", "davfs", "davfs2"),
        *("afs", "coda", "ncp", "ncpfs"),
        *("ceph", "lustre", "beegfs", "glusterfs", "gpfs", "pvfs2", "orangefs", "gfs", "gfs2", "ocfs2"),
        *("virtiofs", "vboxsf", "vmhgfs", "prl_fs"),  # folders of the host, in a virtual machine
    }
)
"""Types of file systems that several machines can use at once, as Linux, macOS and the BSDs call them."""
FUSE: Final = ("fuse", "macfuse", "osxfuse")
LOCAL_FUSE: Final = frozenset(
    {"fuse-overlayfs", "mergerfs", "bindfs", "gocryptfs", "encfs", "cryfs", "securefs", "ntfs-3g", "exfat", "zfs"}
)
"""FUSE file systems on local disks; any other FUSE file system may be shared."""


def disk_bytes(folder: Path) -> int:
    """Total size of the files in a folder; 0 without a folder. Files removed meanwhile count 0."""
    try:
        with os.scandir(folder) as entries:
            return sum(map(_length, entries))
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _length(entry: os.DirEntry[str]) -> int:
    try:
        status = entry.stat()
    except FileNotFoundError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def shared_file_system(folder: Path) -> str | None:
    """The type of the file system of a folder (existing or not) if other machines may share it.

    None if it is local or unknown.
    """
    import psutil

    try:
        path = folder.resolve()
        partitions = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError):  # no /proc, or a symlink loop
        return None
    # In mount order: a later mount hides earlier ones.
    types = [mount.fstype for mount in partitions if path.is_relative_to(mount.mountpoint)]
    return types[-1] if types and _is_shared(types[-1]) else None


def _is_shared(fstype: str) -> bool:
    kind, _, program = fstype.lower().partition(".")
    return kind in SHARED_TYPES or (kind in FUSE and program not in LOCAL_FUSE)
