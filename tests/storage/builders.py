"""What the engine's tests are built from: features like real ones, items, queries, and processes of their own.

Features are unit vectors that float16 holds exactly as stored, so that every exact answer can be computed beside the
engine. Real features come in clusters (a product's photos lie near each other), and so do these.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import numpy.typing as npt

from imgsearch.search.ranking import Query
from imgsearch.search.score import Calibration
from imgsearch.search.siblings import WITHOUT_LIFT
from imgsearch.storage.engine import Engine
from imgsearch.storage.faiss.index_builder import build
from imgsearch.storage.faiss.index_file import (
    CHECK,
    centroids_of,
    checksum_of,
    list_checksum,
    list_of,
    part_checksum,
    read_parts,
)
from imgsearch.storage.sqlite.generations import Generation
from imgsearch.storage.sqlite.store import Store
from imgsearch.types import Extracted, Upsert
from imgsearch.values import Attributes, Key, Location, Region, RegionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from imgsearch.search.siblings import RankingWeights

Features = npt.NDArray[np.float32]

ROOT = Path(__file__).resolve().parents[2]
DIMENSION = 32
INDEXED = 3_000
"""Items in the indexes that are not to be changed."""
CALIBRATION = Calibration(8.0, -4.0)
REGION = Region(10, 60, 5, 50)


def stored(vectors: npt.NDArray[np.floating]) -> Features:
    """Unit vectors as they come back from the store: normalised, then rounded to float16."""
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit.astype(np.float16).astype(np.float32)


def scattered(count: int, seed: int = 0, dimension: int = DIMENSION) -> Features:
    """Features without any structure, shape (count, dimension)."""
    return stored(np.random.default_rng(seed).standard_normal((count, dimension)))


def clustered(count: int, seed: int = 0, *, clusters: int = 60, spread: float = 0.12) -> Features:
    """Features in clusters, shape (count, DIMENSION)."""
    generator = np.random.default_rng(seed)
    centres = scattered(clusters, seed)
    noise = generator.standard_normal((count, DIMENSION)) * spread
    return stored(centres[generator.integers(0, clusters, count)] + noise)


def of_products(
    products: int, pictures: int, *, view: float, seed: int = 0, shape: int = 192, colour: int = 64
) -> Features:
    """Features of two blocks, product by product; shape (products * pictures, shape + colour).

    Pictures of a product differ in the first eight directions of the shape block by ``view``, in all others by little.
    """
    generator = np.random.default_rng(seed)
    count = products * pictures
    blocks = generator.standard_normal((products, shape)).repeat(pictures, axis=0) / np.sqrt(shape)
    blocks += 0.05 * generator.standard_normal((count, shape))
    blocks[:, :8] += view * generator.standard_normal((count, 8))
    colours = generator.standard_normal((count, colour))
    units = [block / np.linalg.norm(block, axis=1, keepdims=True) for block in (blocks, colours)]
    return stored(np.concatenate([units[0], 0.7 * units[1]], axis=1))


def change(
    product_id: str = "p",
    pic_name: str = "1.jpg",
    feature: Features | None = None,
    *,
    content: bytes | None = None,
    category: int = 0,
    region: Region = REGION,
    mode: RegionMode = RegionMode.SUBJECT,
    subjects: tuple[Region, ...] = (),
    token: bytes | None = None,
    given: bool = False,
    attributes: Attributes = Attributes(),
    location: Location | None = None,
    picture_hash: bytes | None = None,
) -> Upsert:
    """One item to be written; its content is its own unless given."""
    return Upsert(
        Key(product_id, pic_name),
        Extracted(
            content if content is not None else f"{product_id}/{pic_name}".encode(),
            token,
            region,
            subjects,
            category,
            (),
            scattered(1)[0] if feature is None else feature,
            picture_hash,
        ),
        mode,
        given,
        attributes,
        location,
    )


def write(store: Store, changes: Iterable[Upsert]) -> None:
    """Commit changes as a whole."""
    with store.writing():
        for one in changes:
            store.upsert(one)


def fill(engine: Engine, features: Features, *, first: int = 0) -> list[Upsert]:
    """Commit items ``p0, p1, …`` (from ``first``); ``int_attr`` is the item's number."""
    changes = [
        change(f"p{number}", "1.jpg", feature, attributes=Attributes(int_attr=number), category=number % 3)
        for number, feature in enumerate(features, first)
    ]
    with engine.committing() as store:
        for one in changes:
            store.upsert(one)
    return changes


def copied(folder: Path, target: Path) -> Path:
    """An instance as a kill leaves it on the disk: without the shared memory of its log. Replaces the target."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*-shm")))


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Invert one bit of the byte at an offset."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def query(feature: Features, content: bytes = b"another picture", region: Region | None = None) -> Query:
    """A query that is no item's picture unless its content is given."""
    return Query(feature, content, region)


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python code in a process of its own, from the root of the project; its arguments are in ``sys.argv``."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Wait until a child has printed that word on a line of its own."""
    assert process.stdout is not None
    assert process.stdout.readline() == f"{word}\n"


@contextmanager
def at_work(code: str, *arguments: object, told: str) -> Iterator[subprocess.Popen[str]]:
    """A child that has said how far it is; it is killed at the end if it still runs."""
    process = child(code, *arguments)
    wait_for(process, told)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=30)


def started_together(count: int, code: str, *arguments: object) -> list[subprocess.Popen[str]]:
    """Children that have all said ``ready`` before the first of them is let go on, by a line on its stdin."""
    processes = [child(code, *arguments) for _ in range(count)]
    for process in processes:
        wait_for(process, "ready")
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return processes


def finished(process: subprocess.Popen[str], timeout: float = 60) -> str:
    """What a child printed, once it has ended well."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out


def die_at(step: int) -> Callable[[], int]:
    """From now on count the steps of this process, and kill it at that one; 0 lets it live.

    A step is the begin or the end of a call, so that each moment between two effects on the disk has its number.

    Returns:
        A function that stops counting and returns how many steps there were.
    """
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def stop() -> int:
        sys.setprofile(None)
        return steps

    sys.setprofile(count)
    return stop


def nearest(
    features: Features, wanted: Features, size: int, among: Sequence[int] | None = None
) -> npt.NDArray[np.int64]:
    """Positions of the ``size`` features nearest to ``wanted``, best first, by brute force; equal ones in order."""
    chosen = np.arange(len(features)) if among is None else np.asarray(among, np.int64)
    cosines = features[chosen].astype(np.float64) @ wanted.astype(np.float64)
    return chosen[np.lexsort((chosen, -cosines))[:size]]


def with_siblings(
    wanted: Features, feature: Features, siblings: Sequence[Features], weights: RankingWeights = WITHOUT_LIFT
) -> float:
    """The similarity of a picture with these siblings, by the formula; rounded as the engine rounds it."""
    own = feature.astype(np.float64)
    if not len(siblings):
        return float(np.float32(own @ wanted))
    others = np.asarray(siblings, np.float64)
    mean = np.average(others, axis=0, weights=np.exp(weights.sharpness * (others @ own)))
    joint = own + weights.sibling * mean
    return float(np.float32(joint @ wanted.astype(np.float64) / np.linalg.norm(joint)))


def lifted(
    values: Sequence[float], groups: Sequence[Hashable], lending: Mapping[Any, Sequence[Features]], lift: float
) -> list[float]:
    """The similarities of candidates once the best of each group has lifted the others, by the formula.

    Args:
        values: the similarities with siblings.
        groups: of each candidate.
        lending: the features of each group that lend evidence.
        lift: the greatest share of the way to the best.
    """
    raised = []
    for value, group in zip(values, groups, strict=True):
        share, n = 0.0, len(lending.get(group, []))
        if n >= 2:
            total = np.sum(np.asarray(lending[group], np.float64), axis=0)
            mean = (float(total @ total) - n) / (n * (n - 1))
            share = lift * min(max((mean - 0.03) / 0.07, 0.0), 1.0)
        best = max(other for other, of in zip(values, groups, strict=True) if of == group)
        raised.append(float(np.float32(value + share * (best - value))))
    return raised


def ranking_similarities(
    wanted: Features,
    features: Features,
    groups: Sequence[Hashable],
    names: Sequence[str],
    weights: RankingWeights = WITHOUT_LIFT,
) -> list[float]:
    """The similarities that rank all pictures of an instance; the first 64 names of a group lend evidence."""
    members: dict[Hashable, list[int]] = {}
    for number in sorted(range(len(names)), key=lambda number: names[number]):
        members.setdefault(groups[number], []).append(number)
    values = [
        with_siblings(wanted, feature, [features[n] for n in members[group][:64] if n != number], weights)
        for number, (feature, group) in enumerate(zip(features, groups, strict=True))
    ]
    return lifted(values, groups, {group: features[some[:64]] for group, some in members.items()}, weights.lift)


def pieces_of(features: Features, ids: npt.NDArray[np.int64]) -> Callable[[], object]:
    """The features as the store gives them, in pieces that do not divide the whole."""

    def chunks() -> object:
        for start in range(0, len(ids), 700):
            yield ids[start : start + 700], features[start : start + 700].astype(np.float16)

    return chunks


def picked_of(features: Features) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float16]]:
    """The features at some places, as the store gives them."""
    return lambda places: features[places].astype(np.float16)


def make_index(
    folder: Path, features: Features, ids: npt.NDArray[np.int64], number: int = 1, **options: Any
) -> Generation:
    """Build a generation of a single category."""
    chunks: Any = pieces_of(features, ids)
    return build(folder, number, np.zeros(len(ids), np.int64), chunks, picked_of(features), **options)


def without_items(folder: Path, generation: Generation, removed: npt.NDArray[np.int64]) -> Generation:
    """Write an inverted file without these items, as FAISS does: if most lists are empty, it names the others."""
    path = folder / generation.file_name
    index, parts = faiss.read_index(str(path)), read_parts(generation.lists or "")
    index.remove_ids(faiss.IDSelectorBatch(removed))
    checks = [list_checksum(*list_of(index, number)) for number in range(index.nlist)]
    checks += [part_checksum(centroids_of(index), part) for part in parts]
    data = faiss.serialize_index(index).tobytes() + np.array(checks, CHECK).tobytes()
    assert b"sprs" in data
    path.write_bytes(data)
    return replace(generation, items=index.ntotal, bytes=len(data), checksum=checksum_of(path))
