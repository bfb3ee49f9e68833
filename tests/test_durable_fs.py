"""Files are there whole or not at all, and the operating system's refusals have names."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imgsearch.durable_fs import (
    TEMPORARY_SUFFIX,
    atomic_file,
    file_errors,
    has_room,
    make_private_folder,
    sync_folder,
    temporary_folder,
)
from imgsearch.errors import StorageError, StorageFull, StorageUnwritable

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "it's 紅.bin"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_file_appears_whole_when_the_block_ends(target: Path, old: bytes | None) -> None:
    if old is not None:
        target.write_bytes(old)
    with atomic_file(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.startswith(target.name)
        assert temporary.name.endswith(TEMPORARY_SUFFIX)
        temporary.write_bytes(b"half")
        assert (target.read_bytes() if target.exists() else None) == old
        temporary.write_bytes(b"half and half")
    assert target.read_bytes() == b"half and half"
    assert names(target.parent) == [target.name]


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
def test_an_exception_leaves_the_file_as_it_was(target: Path, old: bytes | None, error: type[BaseException]) -> None:
    if old is not None:
        target.write_bytes(old)
    with pytest.raises(error), atomic_file(target) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise error
    assert (target.read_bytes() if target.exists() else None) == old
    assert names(target.parent) == ([target.name] if old is not None else [])


def test_a_block_that_writes_nothing_fails(target: Path) -> None:
    """Rather than leave nothing behind and say nothing."""
    target.write_bytes(b"old")
    with pytest.raises(FileNotFoundError), atomic_file(target):
        pass
    assert target.read_bytes() == b"old"


def test_a_target_that_is_a_folder_stays(target: Path) -> None:
    target.mkdir()
    with pytest.raises(IsADirectoryError), atomic_file(target) as temporary:
        temporary.write_bytes(b"new")
    assert names(target.parent) == [target.name]
    assert target.is_dir()


def test_its_mode_is_the_one_it_was_made_with(target: Path) -> None:
    with atomic_file(target) as temporary:
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    assert target.stat().st_mode & 0o777 == 0o600


REWRITE = """
import sys
from pathlib import Path
from imgsearch.durable_fs import atomic_file
target, letter = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
while True:
    with atomic_file(target) as temporary:
        temporary.write_bytes(letter.encode() * 100_000)
"""


def test_concurrent_writers_and_a_kill_never_leave_a_mix(target: Path) -> None:
    """Each state that a reader sees is one writer's whole file, also when the writers are killed at any moment."""
    writers = [
        subprocess.Popen([sys.executable, "-c", REWRITE, target, letter], stdout=subprocess.PIPE) for letter in "ABC"
    ]
    seen = set()
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 30
        while len(seen) < 3 and time.monotonic() < deadline:
            if target.exists():
                data = target.read_bytes()
                assert len(data) == 100_000
                assert data == data[:1] * 100_000
                seen.add(data[:1])
    finally:
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate(timeout=30)
    assert seen == {b"A", b"B", b"C"}
    data = target.read_bytes()
    assert data == data[:1] * 100_000
    left = [path for path in target.parent.iterdir() if path != target]
    assert all(path.name.endswith(TEMPORARY_SUFFIX) for path in left)


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (errno.ENOSPC, StorageFull, "no space left in .*; nothing acknowledged is lost: free some space"),
        (errno.EDQUOT, StorageFull, "no space left"),
        (errno.EFBIG, StorageFull, "no space left"),
        (errno.EROFS, StorageUnwritable, "Read-only file system"),
        (errno.EACCES, StorageUnwritable, "Permission denied"),
        (errno.EPERM, StorageUnwritable, "not permitted"),
        (errno.EIO, StorageUnwritable, "Input/output error"),
        (errno.EMFILE, StorageUnwritable, "Too many open files"),
        (errno.EISDIR, StorageUnwritable, "Is a directory"),
        (errno.ENXIO, StorageUnwritable, "No such device"),
        (errno.ENOLCK, StorageUnwritable, "No locks available"),
        (errno.ESTALE, StorageUnwritable, "Stale file handle"),
        (errno.ENOTCONN, StorageUnwritable, "Transport endpoint is not connected"),
    ],
)
def test_refusals_of_the_system_have_names(
    tmp_path: Path, number: int, error: type[StorageFull | StorageUnwritable], words: str
) -> None:
    original = OSError(number, os.strerror(number))
    with pytest.raises(error, match=words) as translated, file_errors(tmp_path):
        raise original
    assert str(tmp_path) in translated.value.message
    assert len(translated.value.message.splitlines()) == 1
    assert translated.value.exit_code == 8
    assert translated.value.__cause__ is original


@pytest.mark.parametrize(
    ("number", "named"),
    [(errno.EACCES, "elsewhere/file"), (errno.ENAMETOOLONG, "elsewhere/file"), (errno.ENOSPC, "elsewhere")],
)
@pytest.mark.parametrize("kind", [str, os.fsencode])
def test_what_the_system_names_is_what_is_told(
    tmp_path: Path, number: int, named: str, kind: Callable[[str], str | bytes]
) -> None:
    """Not the folder that the work was about: permissions are then looked for in the wrong place."""
    with pytest.raises(StorageError, match=f"(^| in ){named}(;| cannot)") as translated, file_errors(tmp_path):
        raise OSError(number, os.strerror(number), kind("elsewhere/file"))
    assert str(tmp_path) not in translated.value.message


@pytest.mark.parametrize(
    ("blocks", "files", "free_files", "size", "expected"),
    [(2, 10, 1, 8_192, True), (2, 10, 1, 8_193, False), (2, 10, 0, 1, False), (2, 0, 0, 1, True), (0, 10, 1, 1, False)],
)
def test_room_is_of_blocks_and_of_files(
    blocks: int, files: int, free_files: int, size: int, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For users, not for root; a file system that does not count files has room for one more."""
    assert has_room(tmp_path, 1)
    assert has_room(tmp_path / "gone", 1)
    told = os.statvfs_result((4_096, 4_096, 100, 90, blocks, files, 99, free_files, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: told)
    assert has_room(tmp_path, size) is expected


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python looks in several places, and raises what elsewhere means that a file is gone."""
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(StorageUnwritable, match=r"no folder for temporary files.*TMPDIR"):
        temporary_folder()


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "x"),
        OSError(errno.EBADF, "x"),
        BrokenPipeError(errno.EPIPE, "x"),
        OSError("without a number"),
        ValueError("x"),
        KeyboardInterrupt(),
        StorageFull("as it is"),
    ],
)
def test_other_errors_pass(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as passed, file_errors(tmp_path):
        raise error
    assert passed.value is error


def test_a_full_device_for_real(tmp_path: Path) -> None:
    with pytest.raises(StorageFull), file_errors(tmp_path), open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_file_that_takes_no_write_for_real(tmp_path: Path) -> None:
    """Everybody lacks the permission there, and root gets an input/output error."""
    with (
        pytest.raises(StorageUnwritable, match=r"Permission denied|Input/output error"),
        file_errors(tmp_path),
        open("/proc/version", "r+b", buffering=0) as file,
    ):
        file.write(b"x")


def test_a_folder_is_made_with_its_parents_and_their_names_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new name lies in a folder that is synced; what was there already is left alone."""
    synced: list[Path] = []
    monkeypatch.setattr("imgsearch.durable_fs.sync_folder", synced.append)
    folder = tmp_path / "a" / "b" / "c"
    make_private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert synced[1:] == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


@pytest.mark.parametrize("interrupted", [1, 2, 3])
def test_the_next_call_syncs_the_name_that_an_interrupted_one_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: int
) -> None:
    """Else the folder, and all that is acknowledged in it later, may be gone after a power loss."""
    synced: list[Path] = []
    left = interrupted

    def fail_once(folder: Path) -> None:
        nonlocal left
        left -= folder != tmp_path.parent
        if left == 0:
            left = -1
            raise OSError(errno.EIO, "input/output error")
        synced.append(folder)

    monkeypatch.setattr("imgsearch.durable_fs.sync_folder", fail_once)
    folder = tmp_path / "a" / "b" / "c"
    with pytest.raises(OSError, match="input/output error"):
        make_private_folder(folder)
    make_private_folder(folder)
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= set(synced)


@pytest.mark.parametrize("system", ["darwin", "linux"])
@pytest.mark.parametrize("refusal", [None, errno.ENOTSUP, errno.EIO])
def test_syncing_reaches_the_disk_on_macos_too(
    target: Path, monkeypatch: pytest.MonkeyPatch, system: str, refusal: int | None
) -> None:
    """There it takes a call of its own; what cannot do it is synced as elsewhere, and a failure is one."""
    calls: list[str] = []
    sync = os.fsync

    def full(_descriptor: int, operation: int) -> None:
        assert operation == 51
        calls.append("F_FULLFSYNC")
        if refusal is not None:
            raise OSError(refusal, os.strerror(refusal))

    def plain(descriptor: int) -> None:
        calls.append("fsync")
        sync(descriptor)

    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("fcntl.F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr("fcntl.fcntl", full)
    monkeypatch.setattr(os, "fsync", plain)
    fails = system == "darwin" and refusal == errno.EIO
    with pytest.raises(OSError, match="Input/output") if fails else nullcontext(), atomic_file(target) as temporary:
        temporary.write_bytes(b"x")
    each = {"linux": ["fsync"], "darwin": ["F_FULLFSYNC"] if refusal is None else ["F_FULLFSYNC", "fsync"]}[system]
    assert calls == (["F_FULLFSYNC"] if fails else 2 * each), "of the file, and of its folder"
    assert target.exists() is not fails


def test_a_folder_that_cannot_be_opened_for_want_of_descriptors_is_not_passed_over(tmp_path: Path) -> None:
    """Else a rename would be told as safe that is not."""
    code = """
import errno, resource, sys
from pathlib import Path
from imgsearch.durable_fs import sync_folder
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    sync_folder(Path(sys.argv[1]))
except OSError as error:
    sys.exit(0 if error.errno == errno.EMFILE else 1)
sys.exit(2)
"""
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


def test_syncing_a_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    sync_folder(tmp_path / "gone")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_folder_that_its_file_system_cannot_sync_is_passed_over() -> None:
    """As some network file systems and read-only images refuse it."""
    sync_folder(Path("/proc"))
