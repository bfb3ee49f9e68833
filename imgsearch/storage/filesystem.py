"""What an instance lies on: whether other machines may use the same file system.

Two promises need one machine. Locks keep two writers apart, and network file systems may not carry them from one
machine to the other; SQLite's write-ahead log needs memory that all processes share (https://sqlite.org/wal.html, "All
processes using a database must be on the same host computer").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["shared_file_system"]

SHARED_TYPES: Final = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "9p", "webdav", "davfs", "davfs2"),
        *("afs", "coda", "ncp", "ncpfs"),
        *("ceph", "lustre", "beegfs", "glusterfs", "gpfs", "pvfs2", "orangefs", "gfs", "gfs2", "ocfs2"),
        *("virtiofs", "vboxsf", "vmhgfs", "prl_fs"),  # a folder of the host, in a virtual machine
    }
)
"""Types of file systems that several machines can use at once, as Linux, macOS and the BSDs call them."""
FUSE: Final = ("fuse", "macfuse", "osxfuse")
LOCAL_FUSE: Final = frozenset(
    {"fuse-overlayfs", "mergerfs", "bindfs", "gocryptfs", "encfs", "cryfs", "securefs", "ntfs-3g", "exfat", "zfs"}
)
"""What lies on this machine's own disks, of the file systems that are programs; of all others nobody knows."""


def shared_file_system(folder: Path) -> str | None:
    """The type of the file system that a folder lies on, or would lie on, if other machines may use that too.

    None: it is a local one, or the system does not tell.
    """
    import psutil

    try:
        path = folder.resolve()
        partitions = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError):  # no /proc, say, or links in a circle
        return None
    # In the order in which they were mounted: the last one hides what was there before.
    types = [mount.fstype for mount in partitions if path.is_relative_to(mount.mountpoint)]
    return types[-1] if types and _is_shared(types[-1]) else None


def _is_shared(fstype: str) -> bool:
    kind, _, program = fstype.lower().partition(".")
    return kind in SHARED_TYPES or (kind in FUSE and program not in LOCAL_FUSE)
