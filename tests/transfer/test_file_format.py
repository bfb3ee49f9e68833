"""Items out to files and in again: nothing is lost on the way, and what is not whole is told."""

from __future__ import annotations

import json
import signal
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgsearch import Attributes, Instance, Key, Kind, Outcome, Region, Status
from imgsearch.errors import InstanceExists, InvalidExport, StampMismatch
from imgsearch.storage.engine import Engine
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store
from imgsearch.transfer.file_format import FEATURES_NAME, ITEMS_NAME, STAMP_NAME, item_document
from imgsearch.types import Upsert
from imgsearch.values import Location, RegionMode
from tests.storage.builders import change, child, finished, scattered

FEATURES = scattered(60, dimension=256)


def everything() -> list[Upsert]:
    """Items that use every field, and text that JSON and terminals trip over."""
    modes = list(RegionMode)
    full = [
        change(
            f"p{number // 3}",
            f"sub/{number}'\"\\\n☂.jpg",
            FEATURES[number],
            category=(0, 3, 88888888)[number % 3],
            region=Region(number, number + 50, 3, 90),
            mode=modes[number % 3],
            subjects=(Region(1, 2, 3, 4), Region(5, 9, 5, 9))[: number % 3],
            token=bytes(range(number)) or None,
            given=bool(number % 2),
            content=number.to_bytes(16, "big"),
            attributes=Attributes("text\u2028" * number, -number, None, 2**31 - 1, None, "", None, "a\tb", "c"),
            location=Location("/pictures", "other name.jpg" if number % 2 else None) if number % 4 else None,
        )
        for number in range(30)
    ]
    bare = [change("q", str(number), FEATURES[number], content=bytes(15) + bytes([number])) for number in range(30, 60)]
    return full + bare


def make(folder: Path, changes: list[Upsert], kind: Kind = Kind.PRODUCT) -> Path:
    """An instance with these items."""
    Instance.create(folder, kind)
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        for one in changes:
            store.upsert(one)
    return folder


def stored(folder: Path) -> list[tuple[dict[str, Any], bytes]]:
    """All that an instance holds, in order."""
    with closing(Store.open(folder / DATABASE_NAME, write=False)) as store, store.reading():
        return [(item_document(item), item.extracted.feature.tobytes()) for item in store.all_stored_records()]


def export(folder: Path, target: Path) -> Path:
    with Instance.open(folder) as instance:
        keys = list(instance.export_stream(target))
        assert len(keys) == instance.count()
    return target


def take_in(folder: Path, source: Path) -> list[Outcome]:
    with Instance.open(folder) as instance:
        return list(instance.import_items(source))


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return export(make(tmp_path / "from", everything()), tmp_path / "out")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / ITEMS_NAME).read_bytes().splitlines()]


def rewrite(folder: Path, number: int, **fields: object) -> None:
    """Alter fields of one line; ... takes a field out."""
    documents = lines(folder)
    documents[number] = {name: value for name, value in (documents[number] | fields).items() if value is not ...}
    (folder / ITEMS_NAME).write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in documents))


def test_there_and_back(tmp_path: Path, exported: Path) -> None:
    """Every field and every bit of every feature arrives, in the same order; and the index is made."""
    outcomes = take_in(make(tmp_path / "to", []), exported)
    assert [outcome.status for outcome in outcomes] == [Status.ADDED] * 60
    assert stored(tmp_path / "to") == stored(tmp_path / "from")
    with Instance.open(tmp_path / "to") as instance:
        info = instance.info()
        assert (info.items, info.unindexed, info.categories) == (60, 0, {0: 40, 3: 10, 88888888: 10})
    assert Instance.check(tmp_path / "to", read_data=True) == []
    again = export(tmp_path / "to", tmp_path / "again")
    assert all((again / name).read_bytes() == (exported / name).read_bytes() for name in (ITEMS_NAME, FEATURES_NAME))


def test_any_program_can_read_it(exported: Path) -> None:
    """NumPy loads the features, a line is an object under the service's names, the stamp says what made them."""
    features = np.load(exported / FEATURES_NAME)
    assert (features.dtype, features.shape) == (np.dtype("<f2"), (60, 256))
    assert np.array_equal(features.astype(np.float32), FEATURES)
    assert lines(exported)[31] == {
        "ProductId": "q",
        "PicName": "31",
        "CategoryId": 0,
        "CategoryGiven": False,
        "Region": "10,60,5,50",
        "RegionMode": "subject",
        "ContentHash": (bytes(15) + bytes([31])).hex(),
    }
    stamp = json.loads((exported / STAMP_NAME).read_text())
    assert (stamp["kind"], stamp["dimension"], stamp["items"]) == ("product", 256, 60)
    assert {path.name for path in exported.iterdir()} == {ITEMS_NAME, FEATURES_NAME, STAMP_NAME}
    assert {path.stat().st_mode & 0o777 for path in exported.iterdir()} == {0o600}


def test_what_is_there_already(tmp_path: Path, exported: Path) -> None:
    """The same again is unchanged; what differs in one field or one bit replaces; others stay."""
    target = make(tmp_path / "to", [change("own", "1.jpg", FEATURES[0])])
    take_in(target, exported)
    before = stored(target)
    assert {outcome.status for outcome in take_in(target, exported)} == {Status.UNCHANGED}
    assert stored(target) == before
    rewrite(exported, 7, StrAttr="other")
    features = np.load(exported / FEATURES_NAME)
    features[40] = FEATURES[0]
    np.save(exported / FEATURES_NAME, features)
    statuses = [outcome.status for outcome in take_in(target, exported)]
    assert [number for number, status in enumerate(statuses) if status is Status.REPLACED] == [7, 40]
    assert statuses.count(Status.UNCHANGED) == 58
    after = {json.dumps(document): feature for document, feature in stored(target)}
    assert len(after) == 61
    assert sum(row in after.items() for row in ((json.dumps(d), f) for d, f in before)) == 59


def test_of_two_lines_with_one_key_the_later_one_counts(tmp_path: Path, exported: Path) -> None:
    first = lines(exported)[0]
    rewrite(exported, 5, ProductId=first["ProductId"], PicName=first["PicName"])
    outcomes = take_in(make(tmp_path / "to", []), exported)
    assert [outcome.status for outcome in outcomes[:6]] == [Status.ADDED] * 5 + [Status.REPLACED]
    with Instance.open(tmp_path / "to") as instance:
        item = instance.item(Key(first["ProductId"], first["PicName"]))
        assert instance.count() == 59
    assert item.content_hash == (5).to_bytes(16, "big")


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"ProductId": ...}, "NoSpecifiedProductId", "no ProductId"),
        ({"PicName": ""}, "NoSpecifiedPicName", "no PicName"),
        ({"PicName": "x" * 600}, "InvalidPicName", "600 characters"),
        ({"ProductId": 5}, "InvalidProductId", "not text"),
        ({"CategoryId": ...}, "InvalidMetaItem", "no CategoryId"),
        ({"CategoryId": 999}, "InvalidCategory", "does not exist"),
        ({"CategoryId": [1]}, "InvalidCategory", "not a number"),
        ({"CategoryGiven": "yes"}, "InvalidMetaItem", "not true or false"),
        ({"Region": ...}, "InvalidMetaItem", "no Region"),
        ({"Region": "9,1,5,6"}, "InvalidRegion", "inverted"),
        ({"RegionMode": "some"}, "InvalidMetaItem", "subject, given, whole"),
        ({"MultiRegion": "1,2,3,4"}, "InvalidRegion", "MultiRegion"),
        ({"MultiRegion": ["1,2"]}, "InvalidRegion", "four whole"),
        ({"ContentHash": ...}, "InvalidMetaItem", "no ContentHash"),
        ({"ContentHash": "abc"}, "InvalidMetaItem", "16 bytes in hexadecimal"),
        ({"Token": 17}, "InvalidMetaItem", "up to 1024 bytes"),
        ({"IntAttr": 2**31}, "InvalidIntAttr", "32-bit"),
        ({"StrAttr": "x" * 200}, "InvalidStrAttr", "200 characters"),
        ({"Folder": "a\0b"}, "InvalidMetaItem", "NUL"),
        ({"Price": 5}, "InvalidMetaItem", "unknown field 'Price'"),
    ],
)
def test_a_line_that_cannot_be_used_fails_alone(
    tmp_path: Path, exported: Path, fields: dict[str, object], code: str, words: str
) -> None:
    rewrite(exported, 17, **fields)
    outcomes = take_in(make(tmp_path / "to", []), exported)
    (failed,) = [outcome for outcome in outcomes if outcome.status is Status.FAILED]
    assert failed.error is not None
    assert (failed.error.code, failed.source) == (code, f"{exported / ITEMS_NAME}:18")
    assert words in failed.error.message
    assert len(stored(tmp_path / "to")) == 59


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.5])
def test_a_feature_that_is_none_fails_alone(tmp_path: Path, exported: Path, value: float) -> None:
    features = np.load(exported / FEATURES_NAME)
    features[17] = value
    np.save(exported / FEATURES_NAME, features)
    outcomes = take_in(make(tmp_path / "to", []), exported)
    assert [number for number, outcome in enumerate(outcomes) if outcome.error is not None] == [17]
    assert len(stored(tmp_path / "to")) == 59


def test_infinities_beside_nothing_fail_without_a_warning(tmp_path: Path, exported: Path) -> None:
    """NumPy warns of their product, into the output of the command."""
    features = np.load(exported / FEATURES_NAME)
    features[17] = 0
    features[17, :2] = [np.inf, -np.inf]
    features[18, 0] = np.frombuffer(b"\x01\x7c", "<f2")[0]  # a NaN that signals
    np.save(exported / FEATURES_NAME, features)
    outcomes = take_in(make(tmp_path / "to", []), exported)
    assert [number for number, outcome in enumerate(outcomes) if outcome.error is not None] == [17, 18]


def test_lines_that_are_no_json_keep_their_rows_apart(tmp_path: Path, exported: Path) -> None:
    """The row that belongs to a broken line is passed over with it."""
    data = (exported / ITEMS_NAME).read_bytes().splitlines()
    data[3], data[9] = b"\xff\xfe", b"[1, 2"
    (exported / ITEMS_NAME).write_bytes(b"\n".join(data))
    outcomes = take_in(make(tmp_path / "to", []), exported)
    assert [number for number, outcome in enumerate(outcomes) if outcome.error is not None] == [3, 9]
    assert stored(tmp_path / "to") == [
        row for number, row in enumerate(stored(tmp_path / "from")) if number not in (3, 9)
    ]


def cut(name: str, size: int) -> Callable[[Path], None]:
    def alter(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:size])

    return alter


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def saved(features: np.ndarray[Any, Any]) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / FEATURES_NAME, features)


def headed(header: bytes) -> Callable[[Path], None]:
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    return lambda folder: (folder / FEATURES_NAME).write_bytes(start + header)


@pytest.mark.parametrize(
    ("alter", "words", "kept"),
    [
        (without(STAMP_NAME), "cannot be read", 0),
        (without(ITEMS_NAME), "cannot be read", 0),
        (without(FEATURES_NAME), "cannot be read", 0),
        (cut(STAMP_NAME, 20), "not a JSON object", 0),
        (cut(FEATURES_NAME, 0), "not a NumPy file", 0),
        (cut(FEATURES_NAME, 100), "not a NumPy file", 0),
        (cut(FEATURES_NAME, 128 + 512 * 20), "truncated", 0),
        (headed(b"{{"), "not a NumPy file", 0),
        (headed(b"(" * 300), "not a NumPy file", 0),
        (headed(b"-" * 9_000 + b"1"), "not a NumPy file", 0),
        (saved(FEATURES[:, :8]), "not of", 0),
        (saved(FEATURES.astype("<i4")), "not of", 0),
        (saved(np.asfortranarray(FEATURES)), "not of", 0),
        (saved(np.array([{}], dtype=object)), "not of", 0),
        (saved(FEATURES[:59]), "has no row", 59),
        (saved(np.concatenate([FEATURES, FEATURES[:1]])), "fewer lines", 60),
    ],
)
def test_an_export_that_is_not_whole(
    tmp_path: Path, exported: Path, alter: Callable[[Path], None], words: str, kept: int
) -> None:
    """It is told, with what to do; what came before is committed."""
    alter(exported)
    target = make(tmp_path / "to", [])
    with pytest.raises(InvalidExport, match=words):
        take_in(target, exported)
    assert len(stored(target)) == kept


@pytest.mark.parametrize(("name", "value"), [("dimension", 128), ("weights_hash", "00"), ("feature_version", 1)])
def test_features_of_another_model(tmp_path: Path, exported: Path, name: str, value: object) -> None:
    stamp = json.loads((exported / STAMP_NAME).read_text())
    (exported / STAMP_NAME).write_text(json.dumps(stamp | {name: value}))
    with pytest.raises(StampMismatch, match=name):
        take_in(make(tmp_path / "to", []), exported)


def test_an_instance_of_another_kind(tmp_path: Path, exported: Path) -> None:
    with pytest.raises(StampMismatch, match="kind"):
        take_in(make(tmp_path / "to", [], Kind.GENERIC), exported)


def test_a_folder_that_holds_something(tmp_path: Path, exported: Path) -> None:
    """Nothing in it is touched."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    for folder in (exported, tmp_path / "other"):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(InstanceExists, match="not an empty folder"):
            export(tmp_path / "from", folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.extended
def test_an_export_that_is_killed_is_done_again(tmp_path: Path) -> None:
    """At any step of it: the same folder can be named again, and what is there looks finished only when it is."""
    make(tmp_path / "from", everything()[:3])
    code = """
import sys
from pathlib import Path
from imgsearch.instance import Instance
from tests.storage.builders import die_at
with Instance.open(Path(sys.argv[1])) as instance:
    keys = instance.export_stream(Path(sys.argv[2]))
    stop = die_at(int(sys.argv[3]))
    for _ in keys: pass
    print(stop())
"""
    steps = int(finished(child(code, tmp_path / "from", tmp_path / "whole", 0)))
    for step in range(1, steps, max(1, steps // 12)):
        target = tmp_path / f"out{step}"
        killed = child(code, tmp_path / "from", target, step)
        killed.communicate(timeout=60)
        assert killed.returncode == -signal.SIGKILL
        if (target / STAMP_NAME).exists():
            assert (target / ITEMS_NAME).read_bytes() == (tmp_path / "whole" / ITEMS_NAME).read_bytes()
            assert len(np.load(target / FEATURES_NAME)) == 3
        else:
            export(tmp_path / "from", target)
            assert len(lines(target)) == 3


@pytest.mark.extended
def test_memory_stays_flat(tmp_path: Path) -> None:
    """Ten times the items take no more memory, out and in."""
    peaks = []
    for size in (500, 5000):
        features = scattered(size, dimension=256)
        made = make(
            tmp_path / f"from{size}",
            [change(str(n), "1.jpg", row, content=n.to_bytes(16, "big")) for n, row in enumerate(features)],
        )
        target = make(tmp_path / f"to{size}", [])
        tracemalloc.start()
        with Instance.open(made) as instance:
            assert sum(1 for _ in instance.export_stream(tmp_path / f"out{size}")) == size
        with Instance.open(target) as instance:
            assert sum(1 for _ in instance.import_stream(tmp_path / f"out{size}", rebuild=False)) == size
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 16 * 2**20  # one batch of lines at most


def test_items_in_quarantine_are_taken_out_by_an_import(tmp_path: Path, exported: Path) -> None:
    folder = make(tmp_path / "to", everything())
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection, connection:
        connection.execute("UPDATE features SET feature = zeroblob(512) WHERE id = 5")
    done = Instance.repair(folder)
    assert len(done.lost) == 1
    statuses = [outcome.status for outcome in take_in(folder, exported)]
    assert statuses.count(Status.ADDED) == 1
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        assert connection.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
