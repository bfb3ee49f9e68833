"""Connections: private files, read-only reading wherever somebody may read, and failures under their own names."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import stat
import sys
import tempfile
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from imgsearch.errors import (
    InstanceDamaged,
    InstanceLocked,
    InstanceUnusable,
    StorageFull,
    StorageUnwritable,
    UsageError,
)
from imgsearch.filters.tree import EVERYTHING, product_condition
from imgsearch.search.ranking import Ranker
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.repair import repair
from imgsearch.storage.sqlite import database
from imgsearch.storage.sqlite.database import connect, inconsistencies, storage_errors, transaction
from imgsearch.storage.sqlite.schema import PAGE_BYTES
from imgsearch.storage.sqlite.store import DATABASE_NAME, OPEN_ATTEMPTS, Store
from imgsearch.types import AddPicture
from imgsearch.values import Key
from tests.simulation.given import GivenInstance, create
from tests.simulation.machine import Clock, Event, Machine
from tests.simulation.run import world
from tests.simulation.sqlite_files import unavailable
from tests.storage.arithmetic import Sight
from tests.storage.builders import CALIBRATION, at_work, change, child, fill, finished, query, scattered, write

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else or to mount")
nobody_only = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def test_every_file_is_for_its_owner_only(home: Path) -> None:
    """Also those that SQLite makes beside the database while it is open."""
    with closing(Store.open(home / DATABASE_NAME, write=True)) as store:
        write(store, [change()])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    assert modes == dict.fromkeys([DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm"], 0o600)


def test_a_commit_is_synced_and_in_a_wal(home: Path) -> None:
    with closing(connect(home / DATABASE_NAME, write=True)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        for pragma in ("fullfsync", "checkpoint_fullfsync"):  # what macOS needs for that
            assert connection.execute(f"PRAGMA {pragma}").fetchone() == (1,)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_what_makes_a_database_syncs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds of SQLite differ in what they do by default: Apple's sync no commit in a WAL."""
    said: list[str] = []
    connect_ = sqlite3.connect

    def listening(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect_(*arguments, **options)
        connection.set_trace_callback(said.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", listening)
    Store.create(tmp_path / "new.db", {})
    first_commit = next(number for number, sql in enumerate(said) if sql.startswith("BEGIN"))
    for pragma in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON"):
        assert f"PRAGMA {pragma}" in said[:first_commit]


def test_a_reader_caches_more_of_a_large_database(tmp_path: Path) -> None:
    """All pages that a search visits twice have a place, and there is a bound."""
    path, cached = tmp_path / "large.db", {}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE items (id)")
    for size in (path.stat().st_size, 1 << 32, 1 << 33, 1 << 40):
        os.truncate(path, size)  # a hole, which takes no space
        with closing(connect(path, write=False)) as connection:
            (cached[size],) = connection.execute("PRAGMA cache_size").fetchone()
    assert [*cached.values()] == [-16_384, -16_384, -32_768, -65_536]


def test_reading_cannot_write(home: Path) -> None:
    with closing(Store.open(home / DATABASE_NAME, write=False)) as store:
        with pytest.raises(StorageUnwritable, match="cannot be written"), storage_errors(home):
            write(store, [change()])
        assert store.count() == 0


@pytest.mark.parametrize("name", ["with space", "100%41", "q?a=b&mode=memory", "hash#tag", "naïve 紅", "it's"])
def test_any_folder_name_will_do(tmp_path: Path, name: str) -> None:
    """The path goes into a URI, where all of these mean something."""
    folder = tmp_path / name
    folder.mkdir()
    Engine.create(folder, {"name": name})
    with closing(Engine.open(folder)) as engine:
        assert engine.store.settings() == {"name": name}
    assert (folder / DATABASE_NAME).is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_connecting_makes_no_database(tmp_path: Path) -> None:
    for mode in (True, False):
        with pytest.raises(StorageUnwritable, match="unable to open"):
            connect(tmp_path / DATABASE_NAME, write=mode)
    assert list(tmp_path.iterdir()) == []


# Without write permission

READ_AS_NOBODY = """
import os, sys
from pathlib import Path
from imgsearch.storage.engine import Engine
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    print(Engine.open(Path(sys.argv[1])).store.count())
except Exception as error:
    print(type(error).__name__)
"""

FILL_AND_DIE = """
import os, signal, sys
from pathlib import Path
from tests.storage.builders import Engine, fill, scattered
fill(Engine.open(Path(sys.argv[1]), write=True), scattered(20))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def shown() -> Iterator[Path]:
    """An instance with 20 items in its WAL, left by a killed writer, that others may read and nobody may write."""
    folder = Path(tempfile.mkdtemp(prefix="imgsearch-test-"))
    Engine.create(folder, {})
    process = child(FILL_AND_DIE, folder)
    process.communicate(timeout=60)
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


def _change(folder: Path, work: str, name: str) -> None:
    folder.chmod(0o700)
    if work == "unlink":
        (folder / name).unlink()
    else:
        with closing(Engine.open(folder, write=True)):
            pass
        for path in folder.iterdir():
            path.chmod(0o444)
    folder.chmod(0o555)


def test_reading_without_write_permission_sees_every_commit(shown: Path) -> None:
    """What was acknowledged is there, in the WAL or in the database; and nothing is changed by reading."""
    assert (shown / f"{DATABASE_NAME}-wal").stat().st_size > 0
    assert finished(child(READ_AS_NOBODY, shown)).strip() == "20"
    for path in shown.iterdir():
        path.chmod(0o644)
    _change(shown, "checkpoint", "")
    assert [path.name for path in shown.iterdir()] == [DATABASE_NAME]
    assert finished(child(READ_AS_NOBODY, shown)).strip() == "20"
    assert [path.name for path in shown.iterdir()] == [DATABASE_NAME]


def test_commits_that_cannot_be_reached_are_not_passed_over(shown: Path) -> None:
    """A WAL without its shared memory cannot be read there: better no answer than an old one."""
    _change(shown, "unlink", f"{DATABASE_NAME}-shm")
    assert finished(child(READ_AS_NOBODY, shown)).strip() == "StorageUnwritable"


FOLLOW_AS_NOBODY = """
import os, sys
from pathlib import Path
from imgsearch.errors import ImgsearchError
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.check import check
from imgsearch.search.ranking import Ranker
from tests.storage.builders import CALIBRATION, query, scattered
import faiss  # as somebody who may read where Python lies
wanted = query(scattered(1)[0])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
folder = Path(sys.argv[1])
engine = Engine.open(folder)
print(engine.store.count(), flush=True)
for line in sys.stdin:
    try:
        if line == "search\\n":
            print(Ranker(engine).search(wanted, CALIBRATION, num=1).found, engine.store.counts(), flush=True)
        elif line == "count\\n":
            print(engine.store.count(), flush=True)
        elif line == "check\\n":
            print([problem.message for problem in check(folder, read_data=True)], flush=True)
        else:
            with engine.store.reading():
                print(engine.store.count(), flush=True)
                sys.stdin.readline()
                print(engine.store.count(), flush=True)
            print("whole", flush=True)
    except ImgsearchError as error:
        print(type(error).__name__, error.exit_code, error.message, flush=True)
"""


@pytest.fixture
def still(shown: Path) -> Path:
    """The same, with all in its database: no log and no shared memory lie there, and nobody has it open."""
    for path in shown.iterdir():
        path.chmod(0o644)
    _change(shown, "checkpoint", "")
    return shown


def _written(folder: Path, count: int, first: int, *, rebuild: bool = False) -> Engine:
    """Its owner opens it, adds items, and leaves it open."""
    folder.chmod(0o755)
    (folder / DATABASE_NAME).chmod(0o644)
    engine = Engine.open(folder, write=True)
    fill(engine, scattered(count, first), first=first)
    if rebuild:
        engine.rebuild()
        for path in folder.glob("index-*"):
            path.chmod(0o644)
    folder.chmod(0o555)
    return engine


def _asked(reader: subprocess.Popen[str], line: str) -> str:
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write(f"{line}\n")
    reader.stdin.flush()
    return reader.stdout.readline().strip()


def test_a_reader_that_may_not_write_sees_what_the_owner_commits_since(still: Path) -> None:
    """Whether the owner has it open or has closed it again, also with a new index: never the old state, nor damage."""
    with at_work(FOLLOW_AS_NOBODY, still, told="20") as reader:
        owner = _written(still, 300, 20)
        assert _asked(reader, "count") == "320", "a question outside of a snapshot"
        assert _asked(reader, "search") == "320 {0: 107, 1: 107, 2: 106}"
        assert _asked(reader, "check") == "[]"
        owner.close()
        assert _asked(reader, "search") == "320 {0: 107, 1: 107, 2: 106}"
    with at_work(FOLLOW_AS_NOBODY, still, told="320") as reader:
        _written(still, 40, 320, rebuild=True).close()
        assert _asked(reader, "search") == "360 {0: 120, 1: 120, 2: 120}"
        assert _asked(reader, "check") == "[]"
        _written(still, 3, 360, rebuild=True).close()
        assert _asked(reader, "search") == "363 {0: 121, 1: 121, 2: 121}"


OPEN_AS_NOBODY = """
import os, sys
from pathlib import Path
from imgsearch.errors import ImgsearchError
from imgsearch.storage.sqlite import store

def connect_and_wait(path, *, write):
    connection = connect(path, write=write)
    print("connected", flush=True)
    sys.stdin.readline()
    return connection

connect, store.connect = store.connect, connect_and_wait
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    print(store.Store.open(Path(sys.argv[1]) / store.DATABASE_NAME, write=False).count(), flush=True)
except ImgsearchError as error:
    print(type(error).__name__, flush=True)
"""


@pytest.mark.parametrize("writes", [OPEN_ATTEMPTS - 1, OPEN_ATTEMPTS])
def test_what_the_owner_writes_while_it_is_opened_is_no_damage(still: Path, writes: int) -> None:
    """What was read may be of two states, so it is opened again; but not for ever."""
    said = []
    with at_work(OPEN_AS_NOBODY, still, told="connected") as reader:
        for first in range(20, 20 + 100 * writes, 100):
            _written(still, 100, first).close()
            said.append(_asked(reader, "go on"))
        if writes < OPEN_ATTEMPTS:
            said.append(_asked(reader, "go on"))
    last = str(20 + 100 * writes) if writes < OPEN_ATTEMPTS else "InstanceLocked"
    assert said == ["connected"] * (OPEN_ATTEMPTS - 1) + [last]


@pytest.mark.parametrize("closed", [True, False])
def test_a_snapshot_that_the_owner_writes_over_is_told_as_that(still: Path, closed: bool) -> None:
    """Nothing holds an owner back whom a reader cannot lock out: then there is no answer, and the next one is right."""
    with at_work(FOLLOW_AS_NOBODY, still, told="20") as reader:
        assert _asked(reader, "snapshot") == "20"
        owner = _written(still, 300, 20)
        if closed:
            owner.close()
        said = [_asked(reader, "go on")]
        assert reader.stdout is not None
        if said[0].isdecimal():
            said.append(reader.stdout.readline())
        assert said[-1].startswith("InstanceLocked 5"), said
        assert "was written by another process during the read" in said[-1]
        assert "run the command again" in said[-1]
        assert _asked(reader, "search") == "320 {0: 107, 1: 107, 2: 106}"
        owner.close()


def test_commits_that_cannot_be_reached_are_told_in_words(shown: Path) -> None:
    _change(shown, "unlink", f"{DATABASE_NAME}-shm")
    process = child(FOLLOW_AS_NOBODY, shown)
    assert "commits in its log that cannot be read without write permission" in process.communicate(timeout=60)[1]


@needs_root
def test_reading_from_a_read_only_mount(home: Path) -> None:
    """A medium that is read-only for everybody, root included: searching works, writing has its error."""
    with closing(Engine.open(home, write=True)) as engine:
        fill(engine, scattered(30))
        engine.rebuild()
    code = """
import sys
from contextlib import closing
from pathlib import Path
from imgsearch.search.ranking import Ranker
from tests.storage.builders import CALIBRATION, Engine, change, query, scattered
folder = Path(sys.argv[1])
with closing(Engine.open(folder)) as engine:
    print(len(Ranker(engine).search(query(scattered(1)[0]), CALIBRATION, num=7).hits))
try:
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        store.upsert(change())
except Exception as error:
    print(type(error).__name__)
"""
    assert in_mount(home, code, "mount --bind {0} {0} && mount -o remount,bind,ro {0}") == ["7", "StorageUnwritable"]


ON_A_FULL_DISK = """
import sys
from contextlib import closing
from pathlib import Path
from imgsearch.errors import StorageError
from imgsearch.search.ranking import Ranker
from imgsearch.storage.integrity.check import check
from tests.storage.builders import CALIBRATION, Engine, change, finished, child, query, scattered
folder, filling = Path(sys.argv[1]), Path(sys.argv[1], "filling")
WRITE = '''
import sys
from contextlib import closing
from pathlib import Path
from tests.storage.builders import Engine, change, write
with closing(Engine.open(Path(sys.argv[1]), write=True)) as engine:
    write(engine.store, [change("new")])
'''
with filling.open("wb", buffering=0) as file:
    try:
        while file.write(bytes(1 << 16)):
            pass
        while file.write(bytes(1)):
            pass
    except OSError:
        pass
try:
    Engine.open(folder, write=True)
except StorageError as error:
    print(type(error).__name__, error.exit_code)
print(check(folder, read_data=True))
with closing(Engine.open(folder)) as engine:
    print(len(Ranker(engine).search(query(scattered(1)[0]), CALIBRATION, num=7).hits), engine.store.count())
    filling.unlink()
    finished(child(WRITE, folder))
    print(engine.store.count())
    with engine.store.reading():
        print(engine.store.count())
"""


@needs_root
def test_a_full_disk_can_be_read(home: Path) -> None:
    """SQLite has no room for its shared memory then. What is committed once there is room again is seen."""
    with closing(Engine.open(home, write=True)) as engine:
        fill(engine, scattered(30))
        engine.rebuild()
    mount = "cp -r {0} {0}.kept && mount -t tmpfs -o size=2m,mode=700 tmpfs {0} && cp -r {0}.kept/. {0}"
    assert in_mount(home, ON_A_FULL_DISK, mount) == ["StorageFull 8", "[]", "7 30", "31", "31"]


LACKS_DESCRIPTORS = """
import os, resource, sys
from pathlib import Path
from imgsearch.errors import ImgsearchError
from imgsearch.storage.sqlite.database import connect
free = os.open(os.devnull, os.O_RDONLY)
os.close(free)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for spare in range(6):
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, hard))
    try:
        connection = connect(Path(sys.argv[1]), write=False)
    except ImgsearchError as error:
        print(type(error).__name__)
    else:
        print(type(connection).__name__)
        connection.close()
"""


def test_what_passes_is_no_lack_of_permission(home: Path) -> None:
    """Whichever file cannot be opened, a process that may write never reads in a way that no writer respects."""
    said = finished(child(LACKS_DESCRIPTORS, home / DATABASE_NAME)).split()
    assert sorted(set(said)) == ["Connection", "StorageUnwritable"]
    assert said.count("StorageUnwritable") == 3


@pytest.mark.parametrize("write", [False, True])
def test_a_folder_that_has_just_gone(tmp_path: Path, write: bool) -> None:
    """Between a look at it and its opening."""
    with pytest.raises(StorageUnwritable, match="unable to open"):
        connect(tmp_path / "gone" / DATABASE_NAME, write=write)


def in_mount(folder: Path, code: str, mount: str) -> list[str]:
    """Lines printed by Python code that runs where ``folder`` is mounted like that, seen by its process only."""
    import subprocess

    unshare = shutil.which("unshare")
    script = f'{mount.format(folder)} || exit 77; exec "$0" -c "$1" {folder}'
    if unshare is None:
        pytest.skip("needs unshare")
    process = subprocess.run(
        [unshare, "--mount", "sh", "-c", script, sys.executable, code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if process.returncode == 77 or "unshare failed" in process.stderr:
        pytest.skip(f"mounting is not allowed here: {process.stderr.strip()}")
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


@nobody_only
def test_writing_without_permission_has_its_error(home: Path) -> None:
    (home / DATABASE_NAME).chmod(0o400)
    with (
        closing(Engine.open(home, write=True)) as engine,
        pytest.raises(StorageUnwritable),
        engine.committing() as store,
    ):
        store.upsert(change())


# A program that keeps the database locked


@pytest.mark.extended
@pytest.mark.parametrize("work", ["add", "rebuild", "replace", "repair"])
def test_a_database_that_another_program_keeps_locked(
    engine: Engine, work: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not a writer of ours, which the lock keeps away: it is waited for, and then told with what to do; all stays."""
    monkeypatch.setattr("imgsearch.storage.sqlite.database.BUSY_TIMEOUT_S", 0.05)
    fill(engine, scattered(20))
    engine.close()
    if work == "repair":
        with closing(connect(engine.folder / DATABASE_NAME, write=True)) as connection:
            connection.execute("UPDATE counts SET items = items + 1")
    with closing(connect(engine.folder / DATABASE_NAME, write=True)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InstanceLocked, match=r"is locked by another program.*run the command again") as locked:
            _write(engine.folder, work, tmp_path)
        assert locked.value.exit_code == 5
        other.execute("ROLLBACK")
        assert other.execute("SELECT count(*) FROM items").fetchone() == (20,)
    _write(engine.folder, work, tmp_path)


def _write(folder: Path, work: str, elsewhere: Path) -> None:
    if work == "repair":
        repair(folder)
        return
    with closing(Engine.open(folder, write=True)) as engine:
        if work == "add":
            fill(engine, scattered(1), first=20)
        elif work == "rebuild":
            engine.rebuild()
        else:
            copy = elsewhere / "copy"
            copy.mkdir(exist_ok=True)
            if not Engine.exists(copy):
                Engine.create(copy, {})
            with closing(Engine.open(copy, write=True)) as new:
                engine.succeed_by(new)


# A full disk


def test_a_full_database_keeps_what_was_acknowledged(engine: Engine) -> None:
    """SQLite's own limit gives the very error that a full disk gives: nothing of the block stays, and room helps."""
    fill(engine, scattered(10))
    connection = engine.store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageFull, match="nothing acknowledged is lost") as full:
        fill(engine, scattered(1000), first=10)
    assert (full.value.code, full.value.exit_code) == ("InstanceOverQuota", 8)
    assert engine.store.count() == 10
    connection.execute("PRAGMA max_page_count = 1000000")
    fill(engine, scattered(1000), first=10)
    assert engine.store.count() == len(engine.store.keys(EVERYTHING)) == 1010


@needs_root
def test_a_disk_that_runs_full_for_real(tmp_path: Path) -> None:
    """A file system of one megabyte: commits and rebuilds fail as StorageFull, and everything acknowledged is there."""
    code = """
import sys
from pathlib import Path
from imgsearch.errors import StorageFull
from imgsearch.search.ranking import Ranker
from tests.storage.builders import CALIBRATION, Engine, fill, query, scattered
folder = Path(sys.argv[1])
Engine.create(folder, {})
engine = Engine.open(folder, write=True)
(folder / "ballast").write_bytes(bytes(2**17))  # room to go on in, once it is freed
added = 0
try:
    while True:
        fill(engine, scattered(50), first=added)
        added += 50
except StorageFull:
    print(added > 100, engine.store.count() == added)
while True:  # until there is not a single block left
    try:
        with open(folder / "ballast", "ab", buffering=0) as ballast:
            ballast.write(bytes(4096))
    except OSError:
        break
try:
    engine.rebuild()
except StorageFull:
    print(engine.store.generation(), [path.name for path in folder.glob("index*")])
engine.close()
engine = Engine.open(folder)
print(engine.store.count() == added, len(Ranker(engine).search(query(scattered(1)[0]), CALIBRATION, num=9).hits))
(folder / "ballast").unlink()
engine = Engine.open(folder, write=True)
fill(engine, scattered(10), first=added)
print(engine.store.count() == added + 10)
"""
    assert in_mount(tmp_path, code, "mount -t tmpfs -o size=1m none {0}") == [
        "True True",
        "None []",
        "True 9",
        "True",
    ]


# Damage


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look like one " * 20, bytes(8192)])
@pytest.mark.parametrize("write", [True, False])
def test_what_is_no_database_is_damage(folder: Path, content: bytes, write: bool) -> None:
    folder.mkdir()
    (folder / DATABASE_NAME).write_bytes(content)
    with pytest.raises(InstanceDamaged):
        Engine.open(folder, write=write)
    assert (folder / DATABASE_NAME).read_bytes() == content


@pytest.mark.extended
def test_damage_anywhere_has_its_name(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever page is overwritten with noise, each way of reading answers, or says that the instance is damaged."""
    monkeypatch.setattr(
        "imgsearch.storage.sqlite.store.VERIFY_BELOW_BYTES", 0
    )  # as of one that is too large to look through
    fill(engine, scattered(300))
    engine.rebuild()
    engine.close()
    path = engine.folder / DATABASE_NAME
    whole = path.read_bytes()
    noise = np.random.default_rng(1).bytes(4096)
    damaged = set()
    for page in range(len(whole) // 4096):
        path.write_bytes(whole[: page * 4096] + noise + whole[(page + 1) * 4096 :])
        try:
            opened = Engine.open(engine.folder)
        except InstanceUnusable:
            damaged.add("open")
            continue
        store = opened.store
        ways = {
            "settings": store.settings,
            "counts": store.counts,
            "products": store.count_products,
            "newer": lambda store=store: store.count_newer(0),
            "item": lambda store=store: store.item(Key("p5", "1.jpg")),
            "feature": lambda store=store: store.feature(6),
            "keys": lambda store=store: store.keys(EVERYTHING),
            "count": lambda store=store: store.count(product_condition("p5")),
            "generation": store.generation,
            "search": lambda opened=opened: Ranker(opened).search(query(scattered(1)[0]), CALIBRATION, num=300),
        }
        for name, way in ways.items():
            try:
                way()
            except InstanceDamaged as error:
                damaged.add(name)
                assert "imgsearch check --repair" in error.message  # noqa: PT017
        opened.close()
    assert damaged == {"open", *ways}


def test_what_is_inconsistent_is_told_in_a_line_each(engine: Engine) -> None:
    """SQLite puts a headline above, which would break messages into two."""
    path = engine.store.path
    write(engine.store, [change("p", f"{n}.jpg") for n in range(50)])
    engine.close()
    with closing(connect(path, write=False)) as connection:
        assert inconsistencies(connection, "integrity_check", 9) == []
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'items_content'").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * PAGE_BYTES + 7)  # how many bytes of the page are fragments
        file.write(bytes([77]))
    with closing(connect(path, write=False)) as connection:
        found = inconsistencies(connection, "integrity_check", 9)
    assert found
    assert all(str(root) in line or "items_content" in line for line in found)
    with pytest.raises(InstanceDamaged) as refused:
        Store.open(path, write=False)
    assert "\n" not in str(refused.value)


def test_a_truncated_database_is_damage(engine: Engine) -> None:
    fill(engine, scattered(300))
    engine.close()
    path = engine.folder / DATABASE_NAME
    path.write_bytes(path.read_bytes()[: 4096 * 20])
    with pytest.raises(InstanceDamaged), closing(Engine.open(engine.folder)) as opened:
        Ranker(opened).search(query(scattered(1)[0]), CALIBRATION, num=5)


@pytest.mark.parametrize(
    "error", [ValueError("not of the storage"), sqlite3.IntegrityError("a bug"), FileNotFoundError(2, "gone")]
)
def test_other_errors_pass(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as passed, storage_errors(tmp_path):
        raise error
    assert passed.value is error


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_a_commit_that_failed_does_not_come_back(tmp_path: Path) -> None:
    """Whichever call fails: who opens the database after everybody has closed it sees what was seen before.

    A reader is there meanwhile, so what the writer leaves in the log stays there.
    """
    (tmp_path / "disk").mkdir()
    machine = Machine(tmp_path / "disk", random.Random(1))
    folder = machine.home / "instance"
    with world(Clock()) as boot:
        boot(machine)
        create(folder)
        for step in count():
            faults = machine.seen.total()
            with GivenInstance.open(folder) as reading, reading._opened.reading() as engine, engine.store.reading():
                engine.store.counts()  # takes a snapshot, which keeps the log
                with (
                    suppress(StorageUnwritable),
                    machine.plan([Event(step, errno.EIO)]),
                    GivenInstance.open(folder) as writing,
                ):
                    writing.apply([AddPicture("here", Key("p", f"{step}.jpg"), Sight(step))])
                with GivenInstance.open(folder) as other:
                    seen = len(other)
            with GivenInstance.open(folder) as again:
                assert len(again) == seen, step
            if machine.seen.total() == faults:
                break
    assert machine.seen["EIO: sync instance/instance.db-wal"] > 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_transaction_is_undone_by_any_exception(store: Store, error: type[BaseException]) -> None:
    connection = store._connection
    with pytest.raises(error), transaction(connection, write=True):  # noqa: PT012
        store.upsert(change())
        raise error
    assert not connection.in_transaction
    assert store.count() == 0
    write(store, [change()])
    assert store.count() == 1


# SQLite itself


@pytest.mark.parametrize(
    "work",
    [
        Engine.open,
        lambda home: Engine.open(home, write=True),
        lambda home: Store.create(home / "new.db", {}),
    ],
    ids=["read", "write", "create"],
)
def test_a_sqlite_that_is_too_old_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Path], object]
) -> None:
    """Before STRICT tables it would call the schema malformed, and the instance damaged; nothing is touched."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.36.0")
    with pytest.raises(UsageError, match=r"SQLite 3\.36\.0, and imgsearch needs 3\.37 or newer") as refused:
        work(home)
    assert refused.value.exit_code == 2
    assert not (home / "new.db").exists()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 0))
    Engine.open(home).close()
    monkeypatch.setattr(database, "_has_json", lambda: False)
    with pytest.raises(UsageError, match="built without JSON functions, which imgsearch needs"):
        work(home)
