"""Tuning an instance to its own products: learn a projection, validate it, and apply it only if it helps.

Only stored features are used. The projection is learned from products with several pictures and validated by five-fold
cross-validation: pictures of a fold's products search for the others of their product, with a projection learned from
the other folds, and are ranked as in a search. It is kept only if average precision rises significantly and hit@1 does
not fall.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.errors import InstanceEmpty, NotTunable
from imgsearch.filters.tree import EVERYTHING
from imgsearch.projection import Estimate, estimated, learned, within_scatter
from imgsearch.search.family import PRODUCT_PICTURES
from imgsearch.search.siblings import WITH_LIFT, Members, similarities

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from imgsearch.opened import Opened
    from imgsearch.projection import Projection
    from imgsearch.storage.port import Generation, Storage, Truth

    Ids = npt.NDArray[np.int64]

__all__ = ["Retrieval", "TuningReport", "check_tunable", "reset_tuning", "tune", "tune_instance"]

MIN_PRODUCTS: Final = 10
"""With at least two different pictures each: two products per fold."""
MAX_PICTURES: Final = 20_000
"""Sample size for learning and validation."""
LEARNING_SHARE: Final = 0.75
"""Maximum share of products with several pictures in the sample; the rest are other pictures."""
FOLDS: Final = 5
QUERIES: Final = 1_000
"""Maximum number; spread evenly over the products."""
CANDIDATES: Final = 100
"""Nearest items that are ranked per query."""
QUERIES_AT_ONCE: Final = 128
SEED: Final = 11


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How well pictures find the others of their product, 0 to 1; for a gain, -1 to 1."""

    hit1: Estimate
    """Share of the pictures whose nearest other picture is of their product."""
    mean_average_precision: Estimate


TUNABLE_BITS: Final = 8
"""Of each number of a feature: rewriting features that have fewer would lose too much of them."""


@dataclass(frozen=True, slots=True)
class TuningReport:
    """The result of tuning."""

    kept: bool
    """Whether held-out products gain; if not, nothing has changed."""
    changed: bool
    """Whether features were rewritten; not if the instance already had this tuning."""
    tuning: str | None
    """The instance's tuning now; None: not tuned."""
    products: int
    """Number of products with several pictures, used for learning."""
    pictures: int
    """Number of their pictures."""
    queries: int
    before: Retrieval
    """Without any tuning."""
    after: Retrieval
    gain: Retrieval
    generation: Generation | None
    """The new index; None if nothing has changed."""


def tune_instance(opened: Opened, lock_timeout: float) -> TuningReport:
    """Tune an instance under its lock; see ``Instance.tune``."""
    model = opened.model
    with opened.reading() as engine:
        check_tunable(engine, model.shape_dimension, bits=model.bits)  # before it waits
    with opened.writing(lock_timeout, alone=True) as engine:
        check_tunable(engine, opened.model.shape_dimension, bits=opened.model.bits)
        return tune(engine, opened.model.shape_dimension)


def reset_tuning(opened: Opened, lock_timeout: float) -> bool:
    """Undo the tuning of an instance under its lock; see ``Instance.reset_tuning``."""
    with opened.writing(lock_timeout, alone=True) as engine:
        tuned = engine.store.tuning() is not None
        if tuned:
            engine.retune(None)
        return tuned


def check_tunable(engine: Storage, shape_dimension: int, *, bits: int) -> None:
    """Raise if an instance cannot be tuned or is empty.

    Raises:
        NotTunable, InstanceEmpty
    """
    folder = engine.folder
    if not shape_dimension:
        raise NotTunable(
            f"the features in {folder} are of an older version, without a shape block that could be tuned: "
            "create a new instance with 'imgsearch init' and add the pictures again"
        )
    if bits < TUNABLE_BITS:
        raise NotTunable(f"{folder} keeps codes of {bits} bits per number, which cannot be tuned without further loss")
    if engine.store.count() == 0:
        raise InstanceEmpty(f"{folder} has no items, so there is nothing to learn from: add pictures first")


def tune(engine: Storage, shape_dimension: int) -> TuningReport:
    """Learn a projection and apply it if it helps; the caller holds the lock.

    Args:
        engine: of an instance accepted by ``check_tunable``.
        shape_dimension: length of the shape block.

    Raises:
        NotTunable: too few products have several pictures.
        InstanceDamaged, StorageFull, StorageUnwritable: nothing has changed.
    """
    present = engine.store.tuning()
    with engine.store.reading():
        sample = _Sample.of(engine.store, present)
    products = sample.products_with_several()
    if len(products) < MIN_PRODUCTS:
        raise NotTunable(
            f"{engine.folder} has {len(products)} products with several different pictures, but tuning needs "
            f"{MIN_PRODUCTS}: nothing has changed"
        )
    folds = _folds(len(products))
    members = [np.concatenate([products[number] for number in np.flatnonzero(folds == fold)]) for fold in range(FOLDS)]
    scatters = [within_scatter(sample.features[some, :shape_dimension], sample.groups[some]) for some in members]
    scatter, count = np.sum([one for one, _ in scatters], axis=0), sum(number for _, number in scatters)

    queries = _queries(products)
    before = _found(sample, queries, sample.features)
    after = np.empty_like(before)
    owners = np.repeat(folds, [len(some) for some in queries])
    for fold, (own, number) in enumerate(scatters):
        projection = learned(scatter - own, count - number)
        chosen = [some for some, place in zip(queries, folds.tolist(), strict=True) if place == fold]
        after[owners == fold] = _found(sample, chosen, projection.applied(sample.features))

    groups = sample.groups[np.concatenate(queries)]
    gain = _retrieval(after - before, groups)
    kept = gain.mean_average_precision.low > 0 and gain.hit1.mean >= 0
    projection = learned(scatter, count)
    changed = kept and (present is None or not projection.is_near(present))
    generation = engine.retune(projection) if changed else None
    tuning = engine.store.tuning()
    return TuningReport(
        kept=kept,
        changed=changed,
        tuning=None if tuning is None else tuning.name,
        products=count,
        pictures=sum(map(len, products)),
        queries=len(groups),
        before=_retrieval(before, groups),
        after=_retrieval(after, groups),
        gain=gain,
        generation=generation,
    )


def _retrieval(figures: npt.NDArray[np.float64], groups: Ids) -> Retrieval:
    """Estimates from hit and average precision per query, shape (queries, 2)."""
    return Retrieval(estimated(figures[:, 0], groups), estimated(figures[:, 1], groups))


def _folds(products: int) -> Ids:
    """The fold of each product, even, random and reproducible; shape (products,)."""
    return np.random.default_rng(SEED).permutation(products) % FOLDS


def _queries(products: list[Ids]) -> list[Ids]:
    """Query pictures of each product, about QUERIES in all."""
    generator = np.random.default_rng(SEED)
    each = -(-QUERIES // len(products))
    asked = generator.permutation(len(products))[:QUERIES].tolist()
    chosen: dict[int, Ids] = {number: np.sort(generator.permutation(products[number])[:each]) for number in asked}
    none = np.zeros(0, np.int64)
    return [chosen.get(number, none) for number in range(len(products))]


class _Sample:
    """Pictures of an instance with untuned features, in columns.

    Args:
        ids: shape (n,).
        names: ProductId and category of each.
        hashes: the content hash of each.
        features: shape (n, dimension), float32.
    """

    def __init__(
        self, ids: Ids, names: list[tuple[str, int]], hashes: list[bytes], features: npt.NDArray[np.float32]
    ) -> None:
        self.ids, self.features = ids, features
        self.groups, self.contents = _numbered(names), _numbered(hashes)
        self.products = _numbered([product_id for product_id, _ in names])
        self.categories = np.array([category for _, category in names], np.int64)
        self.members, self.of_product = _members(self.groups), _members(self.products)

    @classmethod
    def of(cls, store: Truth, present: Projection | None) -> _Sample:
        """Sample up to MAX_PICTURES pictures at random, preferring complete products with several pictures."""
        generator = np.random.default_rng(SEED)
        several = store.products_with_several()
        wanted: list[str] = []
        pictures = 0
        for number in generator.permutation(len(several)).tolist():
            product_id, count = several[number]
            pictures += min(count, PRODUCT_PICTURES)
            if pictures > LEARNING_SHARE * MAX_PICTURES:
                break
            wanted.append(product_id)
        chosen, _ = store.first_of_products(wanted, PRODUCT_PICTURES)
        others = np.setdiff1d(store.matching_ids(EVERYTHING), chosen)
        others = generator.permutation(others)[: MAX_PICTURES - len(chosen)]
        stored = sorted(store.pictures(np.concatenate([chosen, others]).tolist()), key=lambda one: one.item.id)
        features = np.stack([one.feature for one in stored])
        return cls(
            np.array([one.item.id for one in stored], np.int64),
            [(one.item.key.product_id, one.item.category_id) for one in stored],
            [one.item.content_hash for one in stored],
            features if present is None else present.undone(features),
        )

    def products_with_several(self) -> list[Ids]:
        """Positions of the pictures of each product with several; of identical ones only the first."""
        found = []
        for members in self.members.values():
            some = members[:PRODUCT_PICTURES]
            _, firsts = np.unique(self.contents[some], return_index=True)
            if len(firsts) > 1:
                found.append(some[np.sort(firsts)])
        return found


def _numbered(values: Sequence[object]) -> Ids:
    """Number the distinct values."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def _members(numbers: Ids) -> dict[int, Ids]:
    """Positions of each number."""
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return {int(numbers[some[0]]): some for some in parts}


def _found(sample: _Sample, queries: list[Ids], features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Hit@1 and average precision of each query, without itself and identical pictures.

    Args:
        sample: searched within the category of the query.
        queries: positions in it.
        features: of the sample, shape (n, dimension).

    Returns:
        Shape (queries, 2).
    """
    positions = np.concatenate([np.zeros(0, np.int64), *queries])
    figures = np.empty((len(positions), 2))
    for start in range(0, len(positions), QUERIES_AT_ONCE):
        some = positions[start : start + QUERIES_AT_ONCE]
        cosines = features[some] @ features.T
        cosines[sample.categories[some][:, None] != sample.categories] = -np.inf
        cosines[sample.contents[some][:, None] == sample.contents] = -np.inf
        for row, position in enumerate(some.tolist()):
            figures[start + row] = _judged(sample, position, features, cosines[row])
    return figures


def _judged(
    sample: _Sample, position: int, features: npt.NDArray[np.float32], cosines: npt.NDArray[np.float32]
) -> tuple[float, float]:
    """Hit@1 and average precision of one query."""
    count = min(CANDIDATES, len(cosines))
    near = np.argpartition(-cosines, count - 1)[:count]
    near = near[np.isfinite(cosines[near])]
    products = np.unique(sample.products[near]).tolist()
    others = np.concatenate([sample.of_product[product][:PRODUCT_PICTURES] for product in products])
    others = others[sample.contents[others] != sample.contents[position]]
    # All tunable feature versions are ranked with lift.
    values = similarities(
        features[position], _members_at(sample, features, near), [_members_at(sample, features, others)], WITH_LIFT
    )
    right = sample.groups[near[np.lexsort((near, -values.unlifted, -values.lifted))]] == sample.groups[position]
    own = sample.members[int(sample.groups[position])]
    relevant = np.count_nonzero(sample.contents[own] != sample.contents[position])
    ranks = np.flatnonzero(right) + 1
    return float(right[0]), float((np.arange(1, len(ranks) + 1) / ranks).sum() / relevant)


def _members_at(sample: _Sample, features: npt.NDArray[np.float32], positions: Ids) -> Members:
    return Members(sample.ids[positions], sample.products[positions], sample.categories[positions], features[positions])
