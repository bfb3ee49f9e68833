"""The write-ahead log: rot is told from what a kill or a power loss leaves, and put right."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import stat
import struct
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imgsearch.errors import InstanceDamaged, InstanceLocked, StorageFull, StorageUnwritable
from imgsearch.filters.tree import EVERYTHING, product_condition
from imgsearch.search.ranking import Ranker
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.check import check
from imgsearch.storage.integrity.problems import Damage, remove_leftovers
from imgsearch.storage.integrity.repair import _replace_log, repair
from imgsearch.storage.sqlite.header import FIXED, FORMAT_AT, PAGE_SIZE_AT
from imgsearch.storage.sqlite.schema import PAGE_BYTES
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.storage.sqlite.wal import (
    CHECKED_OF_HEADER,
    FRAME,
    HEADER,
    VERSION,
    _checksum,
    _Walk,
    committed_pages,
    is_corrupted,
    log_of,
    write_repaired,
)
from tests.storage.builders import CALIBRATION, at_work, change, child, clustered, copied, flip, query, write

BYTE_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}
"""By magic number, from the description of SQLite's file format, not from the code under test."""
COUNT = 90
FEATURES = clustered(COUNT)
EVERYBODY = [f"p{n}" for n in range(COUNT)]
WRITE = """
import os, sys, signal
from pathlib import Path
from imgsearch.storage.engine import Engine
from tests.storage.builders import change, clustered
features = clustered(90)
engine = Engine.open(Path(sys.argv[1]), write=True)
engine.store.connection.execute("PRAGMA wal_autocheckpoint = 0")
for first in range(0, 90, 15):
    with engine.committing() as store:
        for n in range(first, first + 15):
            store.upsert(change(f"p{n}", "1.jpg", features[n]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance whose writer was killed: all that it committed lies in the log. Not to be changed."""
    folder = tmp_path_factory.mktemp("killed") / "instance"
    folder.mkdir(mode=0o700)
    Engine.create(folder, {"kind": "product", "model": {"dimension": 32}})
    child(WRITE, folder).communicate(timeout=60)
    assert log_of(folder / DATABASE_NAME).stat().st_size > 100_000
    return folder


def log(folder: Path) -> Path:
    return log_of(folder / DATABASE_NAME)


def products(folder: Path) -> set[str]:
    with closing(Engine.open(folder)) as engine:
        return {key.product_id for key in engine.store.keys(EVERYTHING)}


def names(folder: Path) -> list[str]:
    """The items that are there and found by their own features."""
    with closing(Engine.open(folder)) as engine:
        hits = [Ranker(engine).search(query(feature), CALIBRATION, num=1).hits for feature in FEATURES]
    found = [hit[0].item.key.product_id if hit else None for hit in hits]
    return [name for name, product_id in zip(EVERYBODY, found, strict=True) if name == product_id]


def page_bytes(data: bytes) -> int:
    return int(HEADER.unpack_from(data)[2])


def frames(data: bytes) -> list[int]:
    """Where each frame begins."""
    return list(range(HEADER.size, len(data), FRAME.size + page_bytes(data)))


def small_log(magic: int = 0x377F0682) -> bytes:
    """Ten commits of a page each, always the same."""
    chance, order = random.Random(1), BYTE_ORDERS[magic]
    salts = chance.randbytes(8)
    head = HEADER.pack(magic, VERSION, 512, 0, salts, b"")[:CHECKED_OF_HEADER]
    sums = _checksum(head, order)
    log = head + struct.pack(">II", *sums)
    for number in range(10):
        start, page = struct.pack(">II", number + 1, 10), chance.randbytes(512)
        sums = _checksum(start + page, order, sums)
        log += start + salts + struct.pack(">II", *sums) + page
    return log


SMALL_LOG = small_log()


def mended(log: bytes, folder: Path) -> tuple[bytes, bool]:
    """What a repair makes of a log, and whether it takes it for damaged."""
    log_of(folder / "damaged").write_bytes(log)
    write_repaired(folder / "damaged", log_of(folder / "mended"))
    return log_of(folder / "mended").read_bytes(), is_corrupted(folder / "damaged")


def test_the_size_of_the_database_is_that_of_the_last_commit(tmp_path: Path) -> None:
    """As SQLite tells it of the same log, wherever that ends: a commit that is not whole is none."""
    home = tmp_path / "instance"
    home.mkdir()
    Engine.create(home, {"kind": "product", "model": {"dimension": 32}})
    with closing(Engine.open(home, write=True)) as engine:
        for number in range(5):
            with engine.committing() as store:
                store.set_setting(f"grown {number}", "x" * 5 * PAGE_BYTES)
        folder = copied(home, tmp_path / "cut")
    data, empty = log(folder).read_bytes(), (folder / DATABASE_NAME).stat().st_size // PAGE_BYTES
    seen = []
    for place in [0, HEADER.size, *frames(data)[1:], len(data) - 1, len(data)]:
        log(folder).write_bytes(data[:place])
        seen.append(committed_pages(folder / DATABASE_NAME))
        with closing(sqlite3.connect(copied(folder, tmp_path / "read") / DATABASE_NAME)) as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
        assert (seen[-1] or empty) == pages, place
    assert len({*seen}) == 6
    log(folder).unlink()
    assert committed_pages(folder / DATABASE_NAME) is None


@given(st.lists(st.tuples(st.integers(0, len(SMALL_LOG) - 1), st.integers(0, 7)), min_size=1, max_size=6, unique=True))
# In several places, of which a frame behind only continues what the repair has made of those before.
@example([(1511, 7), (1660, 3)])
@example([(2411, 7), (2196, 4)])
@example([(571, 7), (3123, 7), (2880, 7)])
def test_what_is_mended_is_whole(tmp_path_factory: pytest.TempPathFactory, bits: list[tuple[int, int]]) -> None:
    """Wherever bits are altered: a second repair finds nothing more."""
    folder = tmp_path_factory.getbasetemp() / "small"
    folder.mkdir(exist_ok=True)
    damaged = bytearray(SMALL_LOG)
    for place, bit in bits:
        damaged[place] ^= 1 << bit
    once, _ = mended(bytes(damaged), folder)
    assert mended(once, folder) == (once, False)
    assert len(once) == len(SMALL_LOG)


@pytest.mark.parametrize("magic", BYTE_ORDERS)
def test_each_altered_bit_of_a_head_is_told(tmp_path: Path, magic: int) -> None:
    """Of the log's, and of a frame's with the words of the page behind it, in both orders of bytes.

    Each is put back but for the highest bits of a frame's words, of which the checksum does not tell which it is.
    """
    whole, frame = small_log(magic), HEADER.size + 3 * (FRAME.size + 512)
    for place in [*range(HEADER.size), *range(frame, frame + FRAME.size + 16)]:
        is_high = place >= frame and (place - frame) % 4 == (3 if BYTE_ORDERS[magic] == "<" else 0)
        for bit in range(8):
            altered = bytearray(whole)
            altered[place] ^= 1 << bit
            once, told = mended(bytes(altered), tmp_path)
            assert told, (place, bit)
            assert once == whole or (is_high and bit >= 2), (place, bit)


def test_an_altered_head_before_an_altered_frame(tmp_path: Path) -> None:
    """That frame says nothing of which bit of the head it is; a page has no size that SQLite does not know."""
    altered = bytearray(SMALL_LOG)
    altered[CHECKED_OF_HEADER + 4] ^= 1 << 7
    altered[HEADER.size + FRAME.size] ^= 1
    assert mended(bytes(altered), tmp_path) == (SMALL_LOG, True)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_no_log(make: Callable[[Path], None], home: Path) -> None:
    """It is not waited for, as a FIFO would be; SQLite says that it cannot be used."""
    make(log_of(home / DATABASE_NAME))
    assert not is_corrupted(home / DATABASE_NAME)
    with pytest.raises(StorageUnwritable), closing(Engine.open(home, write=True)) as engine, engine.errors():
        write(engine.store, [change()])


def test_a_whole_log_is_whole(killed: Path, tmp_path: Path) -> None:
    folder = copied(killed, tmp_path / "instance")
    assert not is_corrupted(folder / DATABASE_NAME)
    write_repaired(folder / DATABASE_NAME, tmp_path / "mended")
    assert (tmp_path / "mended").read_bytes() == log(folder).read_bytes()
    assert names(folder) == EVERYBODY
    assert check(folder, read_data=True) == []
    assert not is_corrupted(tmp_path / "nothing.db")


@pytest.mark.extended
@pytest.mark.parametrize("places", [12, pytest.param(500, marks=pytest.mark.long)])
def test_any_altered_bit_is_told_and_mended(killed: Path, tmp_path: Path, places: int) -> None:
    """Searching is refused or right, ``check`` names the log, and after a repair everything is there again."""
    size = log(killed).stat().st_size
    chance = random.Random(places)
    for number in range(places):
        folder = copied(killed, tmp_path / "instance")
        in_header = number % 3 == 0 and number < 3 * HEADER.size
        place = number // 3 if in_header else chance.randrange(size)
        bit = chance.randrange(8)
        where = f"bit {bit} of byte {place}"
        flip(log(folder), place, bit)
        with suppress(InstanceDamaged):
            assert names(folder) == EVERYBODY, where
        found = check(folder, read_data=True)
        assert [(one.damage, one.file) for one in found if one.file == log(folder)] == [(Damage.LOG, log(folder))], (
            where
        )
        done = repair(folder)
        assert done.problems == [], where
        lost = {loss.product_id for loss in done.lost}
        assert names(folder) == [name for name in EVERYBODY if name not in lost], where
        assert len(lost) <= 1, where
        assert check(folder, read_data=True) == []


def test_a_bit_in_a_log_that_is_in_the_database_already(killed: Path, tmp_path: Path) -> None:
    """SQLite then lays older pages over newer ones and may be unable to open the result; still, nothing is lost."""
    folder = copied(killed, tmp_path / "instance")
    with closing(Engine.open(folder, write=True)) as engine:
        engine.store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with engine.committing() as store:
            store.delete(product_condition("p0"))  # the database keeps its size
        begin = log(folder).stat().st_size
        with engine.committing() as store:
            for number in range(COUNT):
                store.upsert(change(f"q{number}", "1.jpg", FEATURES[number]))
        engine.store.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        moved = copied(folder, tmp_path / "moved")
    everybody = products(copied(moved, folder))
    assert len(everybody) == 2 * COUNT - 1
    size = log(moved).stat().st_size
    chance = random.Random(3)
    for _ in range(12):
        folder = copied(moved, tmp_path / "instance")
        flip(log(folder), chance.randrange(begin, size), 6)
        assert [one.damage for one in check(folder, read_data=True)] == [Damage.LOG, Damage.DATABASE]
        done = repair(folder)
        lost = {loss.product_id for loss in done.lost}
        assert (done.problems, len(lost) <= 1) == ([], True)
        assert products(folder) == everybody - lost


@pytest.mark.extended
def test_nearly_every_altered_bit_is_put_back(killed: Path, tmp_path: Path) -> None:
    """Bit by bit as it was; of the highest bits of words, the checksum does not tell which it is."""
    folder = copied(killed, tmp_path / "instance")
    whole = log(folder).read_bytes()
    chance = random.Random(5)
    told = restored = 0
    for _ in range(200):
        place, bit = chance.randrange(len(whole)), chance.randrange(8)
        flip(log(folder), place, bit)
        told += is_corrupted(folder / DATABASE_NAME)
        write_repaired(folder / DATABASE_NAME, tmp_path / "mended")
        restored += (tmp_path / "mended").read_bytes() == whole
        flip(log(folder), place, bit)
    assert told >= 198
    assert restored >= 160


def test_the_known_bytes_of_the_first_page_are_put_back(killed: Path, tmp_path: Path) -> None:
    """Whichever bit of them it is: also where the checksum cannot tell it from others, and no frame follows."""
    folder = copied(killed, tmp_path / "instance")
    path = folder / DATABASE_NAME
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version}")
        folder = copied(folder, tmp_path / "left")
    whole = log(folder).read_bytes()
    (number,) = struct.unpack_from(">I", whole, HEADER.size)
    assert (number, len(whole)) == (1, HEADER.size + FRAME.size + PAGE_BYTES)
    known = [first + byte for first, value in FIXED.items() for byte in range(len(value))]
    for at in (*known, *range(PAGE_SIZE_AT, PAGE_SIZE_AT + 2), *range(FORMAT_AT, FORMAT_AT + 3)):
        for bit in range(8):
            flip(log(folder), HEADER.size + FRAME.size + at, bit)
            write_repaired(folder / DATABASE_NAME, tmp_path / "mended")
            assert (tmp_path / "mended").read_bytes() == whole, (at, bit)
            flip(log(folder), HEADER.size + FRAME.size + at, bit)


def test_what_a_killed_writer_leaves_is_no_damage(killed: Path, tmp_path: Path) -> None:
    """Cut off anywhere: there are as many commits as are whole."""
    folder = copied(killed, tmp_path / "instance")
    whole = log(folder).read_bytes()
    chance = random.Random(6)
    for size in [0, 1, HEADER.size, HEADER.size + FRAME.size, *(chance.randrange(len(whole)) for _ in range(60))]:
        log(folder).write_bytes(whole[:size])
        assert not is_corrupted(folder / DATABASE_NAME), size


def test_what_a_power_loss_leaves_is_no_damage(killed: Path, tmp_path: Path) -> None:
    """Sectors that never reached the disk, zeros or what lay there before, with later ones that did."""
    folder = copied(killed, tmp_path / "instance")
    whole = log(folder).read_bytes()
    chance = random.Random(7)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            sector = 512 * chance.randrange(1, len(whole) // 512)
            before = data[sector : sector + 512]
            data[sector : sector + 512] = chance.choice([bytes(512), os.urandom(512)])
            if (
                sum((one ^ other).bit_count() for one, other in zip(before, data[sector : sector + 512], strict=True))
                < 3
            ):
                data[sector : sector + 512] = before  # it held next to nothing
        log(folder).write_bytes(data)
        assert not is_corrupted(folder / DATABASE_NAME)


def test_what_no_commit_stands_behind_is_no_damage(killed: Path, tmp_path: Path) -> None:
    """Frames of a transaction under way may be written anew at any moment."""
    folder = copied(killed, tmp_path / "instance")
    data = log(folder).read_bytes()
    commits = [place for place in frames(data) if FRAME.unpack_from(data, place)[1]]
    log(folder).write_bytes(data[: commits[-1]])
    assert commits[-2] < commits[-1] - page_bytes(data)  # there are such frames
    flip(log(folder), commits[-1] - 100, 3)
    assert not is_corrupted(folder / DATABASE_NAME)


def test_frames_of_an_earlier_log_are_no_damage(killed: Path, tmp_path: Path) -> None:
    """SQLite begins anew at the start of the file and leaves what lies behind."""
    folder = copied(killed, tmp_path / "instance")
    with closing(sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        connection.execute("UPDATE counts SET items = items + 1")
        size = log(folder).stat().st_size
        assert size == log(killed).stat().st_size
        assert not is_corrupted(folder / DATABASE_NAME)
        flip(log(folder), size - 500, 1)
        assert not is_corrupted(folder / DATABASE_NAME)
        flip(log(folder), HEADER.size + FRAME.size + 77, 1)
        assert is_corrupted(folder / DATABASE_NAME)
        flip(log(folder), HEADER.size + FRAME.size + 77, 1)


def test_a_log_that_is_cut_off_meanwhile(killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that ends empties it, in whatever step another process looks at it."""
    folder = copied(killed, tmp_path / "instance")
    whole = log(folder).read_bytes()
    read = _Walk._bytes
    for step in (0, 1, 2, 7, 20):
        log(folder).write_bytes(whole)
        steps = 0

        def cut_off(walk: _Walk, place: int, count: int, at: int = step) -> bytes:
            nonlocal steps
            if steps == at:
                os.truncate(log(folder), 0)
            steps += 1
            return read(walk, place, count)

        monkeypatch.setattr(_Walk, "_bytes", cut_off)
        assert not is_corrupted(folder / DATABASE_NAME)
        assert steps > step


def test_several_altered_frames(killed: Path, tmp_path: Path) -> None:
    folder = copied(killed, tmp_path / "instance")
    data = log(folder).read_bytes()
    for place in frames(data)[::5]:
        flip(log(folder), place + 1000, 2)
    assert is_corrupted(folder / DATABASE_NAME)
    assert repair(folder).lost == []
    assert names(folder) == EVERYBODY


READ = """
import sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("SELECT count(*) FROM items").fetchone()
print("reading", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("statement", ["PRAGMA user_version", "BEGIN"])
def test_an_altered_log_that_others_have_open(killed: Path, tmp_path: Path, statement: str) -> None:
    """Idle or reading, they would go on with the old file: the repair says so and changes nothing."""
    folder = copied(killed, tmp_path / "instance")
    with at_work(READ, folder / DATABASE_NAME, statement, told="reading"):
        flip(log(folder), 20_000, 2)
        before = log(folder).read_bytes()
        with pytest.raises(InstanceLocked, match=r"instance\.db-wal .* end them"):
            repair(folder)
        assert log(folder).read_bytes() == before
    done = repair(folder)
    assert ([problem.damage for problem in done.repaired], done.lost, done.problems) == ([Damage.LOG], [], [])
    assert names(folder) == EVERYBODY


@pytest.mark.parametrize("step", ["integrity.repair.write_repaired", "integrity.repair.check", "engine.Engine.rebuild"])
@pytest.mark.parametrize("bit", [2, 7])
def test_a_repair_that_fails_loses_nothing_of_an_altered_log(
    killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, bit: int
) -> None:
    """The log is replaced before anything else is written, which SQLite would put where the damage is."""
    folder = copied(killed, tmp_path / "instance")
    flip(log(folder), frames(log(folder).read_bytes())[20] + FRAME.size + 3, bit)

    def fail(*_arguments: object, **_options: object) -> None:
        raise StorageFull("no room")

    with monkeypatch.context() as patch, suppress(StorageFull):
        patch.setattr(f"imgsearch.storage.{step}", fail)
        repair(folder)
    lost = {loss.product_id for loss in repair(folder).lost}
    assert set(names(folder)) | lost == set(EVERYBODY)
    assert [path.name for path in folder.iterdir() if path.name.endswith(".tmp")] == []


def test_a_log_whose_name_may_not_be_on_the_disk_is_synced_by_the_next_writer(
    killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power loss would bring the old log back, without the commits since."""
    folder = copied(killed, tmp_path / "instance")
    flip(log(folder), 20_000, 2)

    def fail(_folder: Path) -> None:
        raise OSError(errno.EIO, "the disk fails")

    with monkeypatch.context() as patch:
        patch.setattr("imgsearch.durable_fs.sync_folder", fail)
        with pytest.raises(StorageUnwritable):
            repair(folder)
    assert check(folder)[0].damage is Damage.LEFTOVER, "the repaired log is there"
    with monkeypatch.context() as patch:
        patch.setattr(f"{remove_leftovers.__module__}.sync_folder", fail)
        with pytest.raises(StorageUnwritable):
            Engine.open(folder, write=True)
    synced: list[Path] = []
    monkeypatch.setattr(f"{remove_leftovers.__module__}.sync_folder", synced.append)
    for _ in range(2):
        with closing(Engine.open(folder, write=True)) as engine:
            engine.rebuild()  # what it replaces is removed without another sync
    assert synced == [folder]
    assert [path.name for path in folder.iterdir() if path.name.endswith(".tmp")] == []


def test_the_new_log_is_as_private_as_the_old(killed: Path, tmp_path: Path) -> None:
    folder = copied(killed, tmp_path / "instance")
    log(folder).chmod(0o600)
    flip(log(folder), 20_000, 2)
    _replace_log(folder / DATABASE_NAME)
    assert stat.S_IMODE(log(folder).stat().st_mode) == 0o600


def test_a_writer_does_not_move_an_altered_log(killed: Path, tmp_path: Path) -> None:
    """It would cut off what lies behind the alteration for good."""
    folder = copied(killed, tmp_path / "instance")
    flip(log(folder), 20_000, 2)
    before = log(folder).read_bytes()
    with pytest.raises(InstanceDamaged, match=r"instance\.db-wal"):
        Engine.open(folder, write=True)
    assert log(folder).read_bytes() == before
    assert repair(folder).lost == []
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        store.upsert(change("new", "1.jpg"))
