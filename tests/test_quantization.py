"""Codes: how precisely features are kept, as they are made, stored and read again."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imgsearch.errors import InstanceDamaged, StampMismatch, UsageError
from imgsearch.instance import Instance
from imgsearch.quantization import HALF, Coding, features_stamp, finer_stamps, quantised, single
from imgsearch.search.options import SearchOptions
from imgsearch.service.categories import OTHER, Kind
from imgsearch.sources.files import FilePicture
from imgsearch.storage.engine import Engine
from imgsearch.storage.sqlite.schema import FORMAT_VERSION, PACKED_VERSION, check_version
from imgsearch.transfer.file_format import FEATURES_NAME, ITEMS_NAME, STAMP_NAME
from imgsearch.types import AddPicture, Status, Upsert
from imgsearch.values import CODINGS, Key
from tests.storage.builders import change, scattered

Features = npt.NDArray[np.float32]

PACKED = [name for name, bits in CODINGS.items() if bits < HALF]
DIMENSION = 256


def feature(seed: int, dimension: int = DIMENSION) -> Features:
    vector = np.random.default_rng(seed).standard_normal(dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def made(folder: Path, coding: str, features: Features) -> Path:
    """An instance of these features."""
    Instance.create(folder, Kind.GENERIC, features=coding)  # type: ignore[arg-type]
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        store.insert([item(number, one) for number, one in enumerate(features)])
    return folder


def item(number: int, feature: Features) -> Upsert:
    return change("p", f"{number}.jpg", feature, content=number.to_bytes(16, "big"), category=OTHER)


def stored(folder: Path) -> Features:
    with closing(Engine.open(folder)) as engine:
        return np.concatenate([some for _, some in engine.store.features()]).astype(np.float32)


# Numbers

numbers = st.floats(-1, 1, width=32, allow_subnormal=False)
features = st.integers(1, 40).flatmap(lambda dimension: arrays.arrays(np.float32, (3, dimension), elements=numbers))


def unit(rows: Features) -> Features:
    """Rows of length 1; those without a direction get one."""
    rows = np.where(np.abs(rows).max(axis=1, keepdims=True) < 1e-3, np.float32(1), rows)
    return (rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("bits", [8, 4, 2])
@settings(deadline=None)
@given(rows=features)
def test_a_code_of_a_code_is_the_same(bits: int, rows: Features) -> None:
    """Whatever became of it in between: half precision in an export, or another normalisation."""
    once = quantised(unit(rows), bits)
    coding = Coding(bits, rows.shape[1])
    packed = coding.packed(once)
    assert packed.shape == (len(rows), coding.row_bytes)
    assert np.array_equal(coding.unpacked(packed.tobytes(), len(rows)), once)
    half = once.astype(np.float16)
    for again in (once, half, unit(once), unit(half.astype(np.float32))):
        assert np.array_equal(quantised(again, bits), once)
        assert np.array_equal(coding.packed(again), packed)


@pytest.mark.parametrize("bits", [8, 4, 2])
@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 1100))
def test_codes_of_real_features_are_unit_vectors(bits: int, seed: int, dimension: int) -> None:
    """As precise as the number of bits says, and as short as it says."""
    original = feature(seed, dimension)
    (coded,) = quantised(original[None], bits)
    assert (coded.dtype, coded.shape) == (np.float32, original.shape)
    assert np.linalg.norm(coded.astype(np.float64)) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(quantised(coded[None], bits)[0], coded)
    assert Coding(bits, dimension).packed(coded[None]).nbytes == -(-dimension * bits // 8)


@pytest.mark.parametrize(("bits", "cosine"), [(16, 1.0), (8, 0.9999), (4, 0.9945), (2, 0.93)])
def test_codes_are_near_to_what_they_stand_for(bits: int, cosine: float) -> None:
    """Max (1960) gives a distortion of 0.0095 for 16 levels and of 0.1175 for four; neighbours stay neighbours."""
    rows = np.stack([feature(number) for number in range(50)])
    found = (quantised(rows, bits) * rows).sum(axis=1)
    assert found.min() >= cosine - 0.01
    assert found.mean() >= cosine
    near = rows[0] + 0.3 * rows[1]
    one, other = quantised(np.stack([near / np.linalg.norm(near), rows[0]]), bits)
    assert one @ other > 0.8


def test_few_large_numbers_cost_little_of_four_bits() -> None:
    """Real features have them: what they tell is spread over all numbers before levels are chosen."""
    rows = np.stack([feature(number) for number in range(50)])
    rows[:, :8] *= 6
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert (quantised(rows, 4) * rows).sum(axis=1).mean() > 0.994


def test_equal_codes_are_equal_to_the_last_bit() -> None:
    """What is stored tells the code and no more: numbers that share one cannot be told apart by it."""
    original = feature(1)
    distance = np.minimum(np.abs(np.abs(original) - 0.9816 / 16), np.abs(original))
    moved = original + np.where(distance > 1e-3, 5e-4, 0).astype(np.float32)
    assert not np.array_equal(moved, original)
    coded = quantised(np.stack([moved, original]), 2)
    assert np.array_equal(*coded)
    assert len(np.unique(np.abs(coded))) == 2
    assert (np.signbit(coded[1]) == np.signbit(original)).all()


@pytest.mark.parametrize(
    ("bits", "digest"),
    [(8, "7fe3e79df0d1782c"), (4, "1b0edeef070b6b20"), (2, "81ccbee58ff529b0")],
)
def test_codes_do_not_change_with_the_release(bits: int, digest: str) -> None:
    """Instances hold them: the same bytes stand for the same numbers for ever."""
    data = bytes(range(1, 129)) + bytes(range(129, 256)) + b"\x7f"
    size = DIMENSION * bits // 8
    numbers = Coding(bits, DIMENSION).unpacked(data[-size:], 1)
    assert hashlib.blake2b(numbers.astype("<f4").tobytes(), digest_size=8).hexdigest() == digest


def test_half_precision_is_converted_exactly() -> None:
    """Each finite number, of either sign, in arrays of any shape; single precision stays as it is."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    for some in (halves, halves.reshape(-1, 2), halves[:0].reshape(0, 256), halves[::3]):
        converted = single(some)
        assert (converted.dtype, converted.shape) == (np.float32, some.shape)
        assert converted.tobytes() == some.astype(np.float32).tobytes()
    as_it_is = feature(1)
    assert single(as_it_is) is as_it_is


def test_a_wrong_length_is_no_feature() -> None:
    with pytest.raises(ValueError, match="257 bytes for 1 features"):
        Coding(8, DIMENSION).unpacked(bytes(257), 1)


def test_only_more_precise_features_can_be_made_codes_of() -> None:
    stamps = [features_stamp(bits) for bits in (16, 8, 4, 2)]
    assert stamps == ["half precision", "8 bits a number", "4 bits a number", "2 bits a number"]
    assert [finer_stamps(stamp) for stamp in stamps] == [stamps[:place] for place in range(4)]
    assert finer_stamps("something else") == []


# Instances


@pytest.mark.parametrize("coding", CODINGS)
def test_what_is_stored_is_what_was_made(coding: str, tmp_path: Path) -> None:
    """Read one by one, many at once, by id and with its item; an older release refuses all but half precision."""
    rows = quantised(scattered(40, dimension=DIMENSION), CODINGS[coding])
    folder = made(tmp_path / "instance", coding, rows)
    with closing(Engine.open(folder)) as engine:
        store = engine.store
        ids = list(range(1, 41))
        assert np.array_equal(store.features_of(ids)[1], rows)
        assert np.array_equal([store.feature(number) for number in ids], rows)
        assert np.array_equal([one.feature for one in sorted(store.pictures(ids), key=lambda one: one.item.id)], rows)
        assert np.array_equal([one.extracted.feature for one in store.all_stored_records()], rows)
        assert np.array_equal(next(store.siblings(ids)).features, rows)
        lengths = store.connection.execute("SELECT DISTINCT length(feature) FROM features").fetchall()
        assert lengths == [(DIMENSION * CODINGS[coding] // 8,)]
        version = check_version(store.connection, "here")
    assert version == (FORMAT_VERSION if coding == "floats" else PACKED_VERSION)
    assert np.array_equal(stored(folder), rows)
    assert Instance.check(folder, read_data=True) == []


@pytest.mark.parametrize("coding", CODINGS)
def test_an_export_of_an_import_is_the_same(coding: str, tmp_path: Path) -> None:
    """Byte by byte, and a second import finds nothing to do."""
    folder = made(tmp_path / "instance", coding, scattered(40, dimension=DIMENSION))
    with Instance.open(folder) as instance:
        instance.export(tmp_path / "one")
        instance.create_alike(tmp_path / "alike")
    with Instance.open(tmp_path / "alike") as alike:
        assert {outcome.status for outcome in alike.import_items(tmp_path / "one")} == {Status.ADDED}
        assert {outcome.status for outcome in alike.import_items(tmp_path / "one")} == {Status.UNCHANGED}
        alike.export(tmp_path / "two")
    for name in (ITEMS_NAME, FEATURES_NAME, STAMP_NAME):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert np.array_equal(stored(folder), stored(tmp_path / "alike"))


def test_an_import_replaces_more_precise_features_by_codes(tmp_path: Path) -> None:
    """As if the pictures had been added; less precise ones are refused."""
    rows = scattered(40, dimension=DIMENSION)
    for coding, one in (("floats", rows), ("codes", rows)):
        with Instance.open(made(tmp_path / coding, coding, one)) as instance:
            instance.export(tmp_path / f"export-{coding}")
    Instance.create(tmp_path / "8", Kind.GENERIC, features="8-bit")
    with Instance.open(tmp_path / "8") as instance:
        assert {outcome.status for outcome in instance.import_items(tmp_path / "export-floats")} == {Status.ADDED}
        with pytest.raises(StampMismatch, match="their features is '2 bits a number', not '8 bits a number'"):
            instance.import_items(tmp_path / "export-codes")
    assert np.array_equal(stored(tmp_path / "8"), quantised(rows, 8))


@pytest.mark.parametrize("data", [bytes(DIMENSION - 1), bytes(2 * DIMENSION), b""])
def test_a_feature_of_another_layout_is_damage(data: bytes, tmp_path: Path) -> None:
    """Even with the right checksum; a repair sets the item aside."""
    folder = made(tmp_path / "instance", "8-bit", scattered(4, dimension=DIMENSION))
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        store.connection.execute(
            "UPDATE features SET feature = ?, seal = feature_checksum(2, ?) WHERE id = 2", (data,) * 2
        )
    with closing(Engine.open(folder)) as engine:
        for read in (engine.store.feature, lambda number: engine.store.features_of([1, number])):
            with pytest.raises(InstanceDamaged):
                read(2)
    assert ["2" in problem.message for problem in Instance.check(folder, read_data=True)] == [True]
    assert len(Instance.repair(folder).lost) == 1
    assert Instance.check(folder, read_data=True) == []
    assert len(stored(folder)) == 3


def test_a_flipped_bit_is_damage(tmp_path: Path) -> None:
    folder = made(tmp_path / "instance", "4-bit", scattered(4, dimension=DIMENSION))
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        (data,) = store.connection.execute("SELECT feature FROM features WHERE id = 3").fetchone()
        store.connection.execute("UPDATE features SET feature = ? WHERE id = 3", (bytes([data[0] ^ 1]) + data[1:],))
    with closing(Engine.open(folder)) as engine, pytest.raises(InstanceDamaged):
        engine.store.features_of([1, 2, 3])
    assert [problem.message.partition(" is corrupted")[1] for problem in Instance.check(folder, read_data=True)] != []


def test_codes_of_an_older_release_stay_as_they_are(tmp_path: Path) -> None:
    """It stored them at half precision, and its setting has another name; they are read, and written likewise."""
    rows = quantised(scattered(5, dimension=DIMENSION), 2)
    folder = made(tmp_path / "instance", "floats", rows[:4])
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        store.set_setting("model", {**store.made_by(), "coded": True})
    with Instance.open(folder) as instance:
        assert instance.model.bits == 2
        assert instance.info().stamp["features"] == "2 bits a number"
        instance.create_alike(tmp_path / "alike")
        instance.export(tmp_path / "export")
    with closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        store.insert([item(4, rows[4])])
        assert store.connection.execute("SELECT DISTINCT length(feature) FROM features").fetchall() == [(512,)]
    assert np.abs(stored(folder) - rows).max() < 1e-4
    assert Instance.check(folder, read_data=True) == []
    with Instance.open(tmp_path / "alike") as alike:
        alike.import_items(tmp_path / "export")
    assert np.array_equal(stored(tmp_path / "alike"), rows[:4]), "and packed in a new instance"


def test_another_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="invalid features 'half'; expected one of floats, 8-bit, 4-bit, codes"):
        Instance.create(tmp_path / "instance", features="half")  # type: ignore[arg-type]


@pytest.mark.networks
@pytest.mark.parametrize(
    "coding", [PACKED[0], *(pytest.param(name, marks=pytest.mark.extended) for name in PACKED[1:])]
)
def test_an_instance_of_codes(coding: str, folder: Path, catalogue: Path) -> None:
    """Whatever is added, stored and searched for is a code; the stamp says so, and an instance alike is the same."""
    Instance.create(folder, Kind.GENERIC, features=coding)  # type: ignore[arg-type]
    pictures = sorted(catalogue.glob("*.jpg"))
    with Instance.open(folder) as instance:
        list(instance.apply(AddPicture(str(path), Key("p", path.name), FilePicture(path)) for path in pictures))
        assert instance.info().stamp["features"] == f"{CODINGS[coding]} bits a number"
        with instance.searching() as searcher:
            found = searcher.by_picture(FilePicture(pictures[3]), search=SearchOptions(num=12)).hits
            by_name = searcher.by_name(Key("p", pictures[3].name), search=SearchOptions(num=12)).hits
        computed = instance.embed(pictures)
        instance.create_alike(folder.parent / "alike")
    kept = stored(folder)
    assert np.array_equal(quantised(kept, CODINGS[coding]), kept)
    assert np.abs(kept[[0, 3]] - quantised(kept, CODINGS[coding])[[0, 3]]).max() == 0
    assert computed.shape == kept.shape
    assert [(hit.item.key.pic_name, hit.distance) for hit in found if hit.score == 1.0] == [(pictures[3].name, 0)]
    assert [hit.item.id for hit in by_name] == [hit.item.id for hit in found]
    assert Instance.check(folder, read_data=True) == []
    with Instance.open(folder.parent / "alike") as alike:
        assert alike.model.bits == CODINGS[coding]
