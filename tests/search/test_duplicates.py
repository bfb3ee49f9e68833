"""Groups of duplicates: what shows the same is together, what merely resembles is not, and no chain joins pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.filters.tree import EVERYTHING, category_condition
from imgsearch.search import similar_pairs
from imgsearch.search.duplicates import Level, Products, find_groups
from imgsearch.storage.engine import Engine
from tests.storage.builders import CALIBRATION, change, scattered, stored
from tests.storage.memory import MemoryGeneration, MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgsearch.storage.port import Storage

SETTINGS = {"kind": "product", "created": 1, "model": {"name": "tiny"}}
FEATURES = scattered(12)


def _local(folder: Path) -> Storage:
    folder.mkdir(mode=0o700)
    Engine.create(folder, dict(SETTINGS))
    return Engine.open(folder, write=True)


BACKENDS: dict[str, Callable[[Path], Storage]] = {
    "sqlite and faiss": _local,
    "memory": lambda _folder: MemoryStorage(dict(SETTINGS)),
}


@pytest.fixture(params=BACKENDS)
def storage(request: pytest.FixtureRequest, folder: Path) -> Iterator[Storage]:
    opened = BACKENDS[request.param](folder)
    yield opened
    opened.close()


def hashed(seed: int, flips: int = 0) -> bytes:
    """A hash, with its first bits changed."""
    bits = np.unpackbits(np.random.default_rng(seed).integers(0, 256, 32, dtype=np.uint8))
    bits[:flips] ^= 1
    return np.packbits(bits).tobytes()


def near(feature: np.ndarray, seed: int, spread: float = 0.01) -> np.ndarray:
    """A feature with a cosine of about 1 - spread**2 * 16."""
    return stored(feature + spread * np.random.default_rng(seed).standard_normal(len(feature)))


def found(storage: Storage, condition=EVERYTHING, **options) -> list[tuple[str, list[str]]]:  # type: ignore[no-untyped-def]
    """Levels and names of the groups."""
    with storage.store.reading():
        groups = find_groups(storage, condition, CALIBRATION, lambda ids: np.zeros(len(ids), np.int64), **options)
        names = {
            one.item.id: one.item.key.pic_name
            for one in storage.store.pictures(storage.store.matching_ids(EVERYTHING).tolist())
        }
    return [(str(group.level), [names[number] for number in group.ids.tolist()]) for group in groups.groups]


def put(storage: Storage, *rows: tuple[str, str, np.ndarray, bytes, bytes | None]) -> None:
    """Product, name, feature, bytes, hash."""
    with storage.committing() as store:
        store.insert([change(p, n, f, content=c, picture_hash=h, category=len(n) % 2) for p, n, f, c, h in rows])


def test_copies_are_the_same(storage: Storage) -> None:
    """The same bytes even without a hash; another file by hash and feature together."""
    put(
        storage,
        ("p", "a", FEATURES[0], b"a", hashed(0)),
        ("p", "other", FEATURES[1], b"o", hashed(1)),
        ("q", "a again", FEATURES[0], b"a", None),
        ("r", "a resized", near(FEATURES[0], 0), b"r", hashed(0, 30)),
        ("s", "a recoloured", near(FEATURES[0], 1), b"c", hashed(0, 80)),
        ("t", "looks unlike a", FEATURES[2], b"u", hashed(0, 3)),
        ("u", "no hash", near(FEATURES[0], 2), b"n", None),
    )
    assert found(storage) == [("same", ["a", "a again", "a resized"])]


def test_an_instance_without_items_has_none(storage: Storage) -> None:
    with storage.store.reading():
        groups = find_groups(storage, EVERYTHING, CALIBRATION, lambda ids: np.zeros(len(ids), np.int64), min_score=0.5)
    assert (groups.groups, groups.compared, groups.unhashed) == ([], 0, 0)


def test_no_chain_joins_pictures(storage: Storage) -> None:
    """Each is near the next one, the ends are not near: what is in a group is near its first picture."""
    put(storage, *(("p", str(n), FEATURES[0], b"%d" % n, hashed(0, 45 * n)) for n in range(5)))
    assert found(storage) == [("same", ["0", "1"]), ("same", ["2", "3"])]


def test_the_preferred_picture_is_the_first(storage: Storage) -> None:
    put(
        storage,
        ("p", "small", near(FEATURES[0], 0), b"s", hashed(0)),
        ("p", "large", FEATURES[0], b"l", hashed(0, 20)),
        ("p", "small copy", near(FEATURES[0], 0), b"s", hashed(0)),
    )
    ids = storage.store.matching_ids(EVERYTHING)
    with storage.store.reading():
        (group,) = find_groups(storage, EVERYTHING, CALIBRATION, lambda some: (some == ids[1]).astype(np.int64)).groups
    assert group.ids.tolist() == [ids[1], ids[0], ids[2]]


def test_what_resembles_is_similar(storage: Storage) -> None:
    """Copies are listed once; of each group of copies, the first picture is compared."""
    put(
        storage,
        ("p", "a", FEATURES[0], b"a", hashed(0)),
        ("q", "a again", FEATURES[0], b"a", hashed(0)),
        ("r", "recoloured", near(FEATURES[0], 1), b"c", hashed(0, 80)),
        ("s", "other", FEATURES[1], b"o", hashed(1)),
    )
    assert found(storage, min_score=0.9) == [("same", ["a", "a again"]), ("similar", ["a", "recoloured"])]
    assert found(storage, min_score=1.0) == [("same", ["a", "a again"])]


def test_products_and_conditions_narrow_it(storage: Storage) -> None:
    put(
        storage,
        ("p", "p1", FEATURES[0], b"a", hashed(0)),
        ("q", "q1", near(FEATURES[0], 0), b"b", hashed(0, 5)),
        ("p", "p22", FEATURES[0], b"a", hashed(0)),
        ("r", "r1", FEATURES[3], b"r", hashed(3)),
        ("r", "r2", near(FEATURES[3], 0), b"r2", hashed(3)),
    )
    assert found(storage) == [("same", ["p1", "p22", "q1"]), ("same", ["r1", "r2"])]
    assert found(storage, products=Products.WITHIN) == [("same", ["p1", "p22"]), ("same", ["r1", "r2"])]
    assert found(storage, products=Products.ACROSS) == [("same", ["p1", "p22", "q1"])]
    assert found(storage, category_condition((0,))) == [("same", ["p1", "q1"]), ("same", ["r1", "r2"])]


def test_unhashed_items_are_counted(storage: Storage) -> None:
    put(storage, ("p", "a", FEATURES[0], b"a", None), ("p", "b", FEATURES[1], b"b", hashed(1)))
    with storage.store.reading():
        groups = find_groups(storage, EVERYTHING, CALIBRATION, lambda ids: np.zeros(len(ids), np.int64))
    assert (groups.compared, groups.unhashed) == (2, 1)


@pytest.mark.parametrize("indexed", [0, 40, 60])
def test_the_index_finds_what_each_with_each_does(
    storage: Storage, indexed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many pictures, the index names the candidates; those newer than it are compared with each other."""
    base = scattered(20, 3)
    rows = [("p", str(n), near(base[n % 20], n, 0.02), b"%d" % n, hashed(n)) for n in range(60)]
    put(storage, *rows[:indexed])
    if indexed:
        storage.rebuild()
    put(storage, *rows[indexed:])
    exact = found(storage, min_score=0.9)
    monkeypatch.setattr(similar_pairs, "EXACT_UP_TO", 0)
    monkeypatch.setattr(MemoryGeneration, "is_exact", False)
    assert [names for _, names in exact] == [
        [str(n), *sorted([str(n + 20), str(n + 40)], key=names.index)] for n, (_, names) in enumerate(exact)
    ]
    assert found(storage, min_score=0.9) == exact
    assert {level for level, _ in exact} == {Level.SIMILAR}
