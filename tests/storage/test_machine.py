"""Any sequence of changes, searches, rebuilds and crashes: an instance answers as a dictionary and arithmetic would.

The machine works through the gateway, with features of arithmetic. Beside it stands what must be true after each step:
the items in a dictionary, and every answer by brute force from the formulas. A crash is another process that is killed
at a moment between two calls; afterwards the instance is what it was after some of the operations, in their order,
and those that were acknowledged are among them.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar, Protocol

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from imgsearch.errors import InstanceEmpty
from imgsearch.filters.tree import EVERYTHING, product_condition
from imgsearch.search.options import SearchOptions, SearchResult
from imgsearch.search.ranking import Hit
from imgsearch.search.siblings import ranking_weights
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.problems import Damage, Problem
from imgsearch.storage.lock import LOCK_NAME
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.types import AddPicture, DeletePictures, Operation, Status
from imgsearch.values import Attributes, Key, PictureOptions, Region, RegionMode
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS
from imgsearch.vision.pipeline import content_hash
from tests.storage.arithmetic import (
    DIMENSION,
    SUBJECT,
    ArithmeticInstance,
    Sight,
    chances_of,
    feature_of,
    region_of,
)
from tests.storage.builders import Features, die_at, lifted, with_siblings
from tests.storage.known import MEANINGS, Known, State, Told, names_of

NEAR = 1e-6
"""Similarities that are nearer to each other than that may be rounded into another order."""
CORNER = Region(3, 50, 2, 40)
HASHES = [content_hash(Sight(number).data) for number in range(16)]
RECORD = EMBEDDED_MODELS[DEFAULT_MODEL]
PLANES = np.random.Generator(np.random.PCG64(512)).standard_normal((DIMENSION, 512)).astype(np.float32)
"""Whose sides are the bits of a feature's code."""


class Work(Protocol):
    """One call of the gateway that changes something."""

    def perform(self, instance: ArithmeticInstance) -> Iterator[Told]:
        """Do it; each acknowledgement as it comes."""

    def states(self, state: State) -> list[State]:
        """The moments that a crash may leave the instance in; the last one is the end."""


@dataclass(frozen=True)
class Apply:
    operations: tuple[Operation, ...]
    rebuild: bool

    def perform(self, instance: ArithmeticInstance) -> Iterator[Told]:
        try:
            for outcome in instance.apply_stream(self.operations, rebuild=self.rebuild):
                yield (outcome.status.value, outcome.product_id or "", outcome.pic_name or "")
        except InstanceEmpty as error:
            yield ("refused", error.code)

    def states(self, state: State) -> list[State]:
        if self.rebuild and not state.items:
            return [state, replace(state, told=(("refused", "InstanceStatusError"),))]
        states = [state]
        for operation in self.operations:
            states.append(states[-1].after(operation))
        if states[-1].items and (self.rebuild or states[-1].generation is None):
            states.append(states[-1].rebuilt())
        return states + states[-1].emptied()


@dataclass(frozen=True)
class Delete:
    product_id: str
    pic_name: str | None

    def perform(self, instance: ArithmeticInstance) -> Iterator[Told]:
        for key in instance.delete(self.product_id, self.pic_name).keys:
            yield (Status.DELETED.value, *names_of(key))

    def states(self, state: State) -> list[State]:
        left = state.without(state.of_product(self.product_id, self.pic_name))
        return [state, left, *left.emptied()]


@dataclass(frozen=True)
class DeleteMatching:
    expression: str

    def perform(self, instance: ArithmeticInstance) -> Iterator[Told]:
        dry_run = instance.delete_matching(self.expression, dry_run=True)
        deletion = instance.delete_matching(self.expression)
        assert dry_run == deletion
        for key in deletion.keys:
            yield (Status.DELETED.value, *names_of(key))

    def states(self, state: State) -> list[State]:
        meets = MEANINGS[self.expression]
        left = state.without([key for key, known in state.items.items() if meets(known.attributes)])
        return [state, left, *left.emptied()]


@dataclass(frozen=True)
class Rebuild:
    flat: bool

    def perform(self, instance: ArithmeticInstance) -> Iterator[Told]:
        try:
            if self.flat:
                generation = instance.rebuild()
            else:  # what the gateway does for more items than a test can afford
                with instance._opened.writing(0) as engine:
                    generation = engine.rebuild(flat_limit=0)
            yield ("rebuilt", str(generation.number))
        except InstanceEmpty as error:
            yield ("refused", error.code)

    def states(self, state: State) -> list[State]:
        if not state.items:
            return [state, replace(state, told=(("refused", "InstanceStatusError"),))]
        rebuilt = state.rebuilt()
        assert rebuilt.generation is not None
        return [state, replace(rebuilt, told=(("rebuilt", str(rebuilt.generation[0])),))]


def perform_and_die(folder: Path, work: Work, share: float, acknowledged: Connection) -> None:
    """In a process of its own: do the work, and be killed when that share of it is done; beyond 1, before any close.

    It begins when the lock is taken and the database open. How many steps that is, is counted on a copy first.
    """
    faiss.omp_set_num_threads(1)
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    counters: list[Callable[[], int]] = []
    with ArithmeticInstance.open(copy) as instance:
        instance._opened.at_work = lambda: counters.append(die_at(0))
        list(work.perform(instance))
    steps = counters[0]() if counters else 0
    shutil.rmtree(copy)
    instance = ArithmeticInstance.open(folder)
    instance._opened.at_work = lambda: die_at(1 + int(share * steps))
    for told in work.perform(instance):
        acknowledged.send(told)
    os.kill(os.getpid(), signal.SIGKILL)


PROCESSES = multiprocessing.get_context("forkserver")
"""Children of a server that has opened no database: SQLite's locks do not survive a fork of what has."""
PROCESSES.set_forkserver_preload([__name__, "lark", "imgsearch.storage.lock", "imgsearch.jobs.indexing"])


def observed(engine: Engine) -> State:
    """All that a database says, each item against its seals."""
    store = engine.store
    with store.reading():
        items = {}
        for key in store.keys(EVERYTHING):
            item = store.item(key)
            assert item is not None
            number = next(n for n in range(16) if item.content_hash == HASHES[n])
            items[key] = Known.of(item, number)
            assert item.token in (None, Sight(number, has_token=True).token())
            assert store.feature(item.id).tobytes() == items[key].feature.tobytes()
        sequence = store.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'items'").fetchone()
        generation = store.generation()
    return State(
        items,
        sequence[0] if sequence else 0,
        None if generation is None else (generation.number, generation.items, generation.max_id),
    )


products = st.sampled_from(["a", "b", "c", "ü%_'\""])
pictures = st.sampled_from(["1.jpg", "2.jpg", "3/ü.jpg", "4", "5"])
keys = st.builds(Key, products, pictures)
filters = st.sampled_from(list(MEANINGS))
picture_options = st.builds(
    PictureOptions,
    category_id=st.sampled_from([None, None, 0, 0, 3]),
    crop=st.sampled_from([True, True, False]),
    region=st.sampled_from([None, None, CORNER, SUBJECT]),
)
attributes = st.builds(
    Attributes, int_attr=st.none() | st.integers(0, 3), str_attr=st.sampled_from([None, "red", 'a"b'])
)
additions = st.builds(
    AddPicture,
    source=st.just("here"),
    key=keys,
    picture=st.builds(Sight, st.integers(-1, 15), st.booleans()),
    options=picture_options,
    attributes=attributes,
)
deletions = st.builds(DeletePictures, source=st.just("here"), product_id=products, pic_name=st.none() | pictures)
batches = st.builds(
    Apply,
    st.lists(st.one_of(additions, additions, additions, deletions), min_size=1, max_size=12).map(tuple),
    rebuild=st.sampled_from([False, False, True]),
)
work: st.SearchStrategy[Work] = st.one_of(
    batches,
    batches,
    batches,
    st.builds(Delete, products, st.none() | pictures),
    st.builds(DeleteMatching, filters),
    st.builds(Rebuild, st.booleans()),
)


class InstanceMachine(RuleBasedStateMachine):
    """An instance against the truth: the same changes, then the same answers."""

    seen: ClassVar[Counter[str]] = Counter()
    """How often what was done; of crashes, what they left."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="imgsearch-test-"))
        self.folder = self.home / "instance"
        self.state = State()
        self.crashed = False
        """Whether a killed writer may have left something that no writer has cleared away yet."""

    @initialize(operations=st.lists(additions, max_size=30).map(tuple))
    def make(self, operations: tuple[Operation, ...]) -> None:
        ArithmeticInstance.create(self.folder)
        self.instance = ArithmeticInstance.open(self.folder)
        self.change(Apply(operations, rebuild=False))

    def teardown(self) -> None:
        if hasattr(self, "instance"):
            self.check()
            self.instance.close()
        shutil.rmtree(self.home)

    @rule(work=work)
    def change(self, work: Work) -> None:
        """Whatever a crash has left behind, the next writer need not wait, and clears it away."""
        self.seen[type(work).__name__] += 1
        end = work.states(self.state)[-1]
        assert tuple(work.perform(self.instance)) == end.told
        self.state = replace(end, told=())
        self.crashed = self.crashed and bool(end.told) and end.told[0][0] == "refused"
        self.check()

    @rule(work=work, percent=st.integers(0, 102))
    def crash(self, work: Work, percent: int) -> None:
        """The instance stays open for reading meanwhile."""
        states = work.states(self.state)
        receiver, sender = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=perform_and_die, args=(self.folder, work, percent / 100, sender))
        process.start()
        sender.close()
        told: list[Told] = []
        with receiver:
            while True:
                try:
                    told.append(receiver.recv())
                except EOFError:
                    break
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert tuple(told) == states[-1].told[: len(told)]
        now = observed(self.instance._opened.engine)
        possible = [state for state in states if replace(state, told=()) == now and len(state.told) >= len(told)]
        assert possible, (told, now, states)
        self.state, self.crashed = now, True
        before, after = states[0], replace(states[-1], told=())
        if before != after:
            self.seen[f"killed {'before' if now == before else 'after' if now == after else 'between'}"] += 1
        self.seen["left something behind"] += bool(self.check())

    @rule(
        place=st.integers(0, 30),
        attributes=attributes,
        category=st.sampled_from([None, 0, 3]),
        percent=st.none() | st.integers(0, 102),
    )
    def update(self, place: int, attributes: Attributes, category: int | None, percent: int | None) -> None:
        """The same picture again, with other attributes or in another category; where a crash is asked for, by one."""
        if not self.state.items:
            return
        key, known = list(self.state.items.items())[place % len(self.state.items)]
        region = known.region if known.mode is RegionMode.GIVEN else None
        options = PictureOptions(category, crop=known.mode is not RegionMode.WHOLE, region=region)
        again = Apply((AddPicture("here", key, Sight(known.number), options, attributes),), rebuild=False)
        if percent is None:
            self.change(again)
        else:
            self.crash(again, percent)

    @rule(key=keys)
    def roll_back(self, key: Key) -> None:
        """What fails in the middle of a commit has not happened."""
        with pytest.raises(RuntimeError), self.instance._opened.writing(0) as engine, engine.committing() as store:  # noqa: PT012
            store.delete(product_condition(key.product_id))
            raise RuntimeError
        self.crashed = False

    @rule()
    def reopen(self) -> None:
        self.instance.close()
        self.instance = ArithmeticInstance.open(self.folder)

    def check(self) -> list[Problem]:
        """Nothing is wrong and the facts are right; only a crash leaves something behind, which comes back."""
        now = self.state
        problems = ArithmeticInstance.check(self.folder, read_data=True)
        assert {problem.damage for problem in problems} <= ({Damage.LEFTOVER} if self.crashed else set())
        if not self.crashed:
            index = [] if now.generation is None else [f"index-{now.generation[0]}.faiss"]
            beside = {path.name for path in self.folder.iterdir() if not path.name.startswith(DATABASE_NAME)}
            assert sorted(beside - {LOCK_NAME}) == index
        info = self.instance.info()
        assert (info.items, info.categories) == (
            len(now.items),
            Counter(known.category for known in now.items.values()),
        )
        assert info.products == len({key.product_id for key in now.items})
        newest = now.generation[2] if now.generation else 0
        assert info.unindexed == sum(known.id > newest for known in now.items.values())
        return problems

    @rule(
        sight=st.builds(Sight, st.integers(0, 15)),
        options=picture_options,
        expression=st.none() | filters,
        num=st.integers(1, 12),
        start=st.integers(0, 5),
        any_category=st.booleans(),
        distinct=st.booleans(),
        exclude=st.booleans(),
        least=st.sampled_from([0.0, 0.03, 0.3]),
        lift=st.booleans(),
        scan=st.booleans(),
    )
    def search(
        self,
        sight: Sight,
        options: PictureOptions = PictureOptions(),
        expression: str | None = None,
        num: int = 100,
        start: int = 0,
        any_category: bool = True,
        distinct: bool = False,
        exclude: bool = False,
        least: float = 0.0,
        lift: bool = True,
        scan: bool = True,
    ) -> None:
        asked = SearchOptions(num, start, any_category, expression, distinct, least, exclude, lift)
        with self.instance.searching() as searcher, pytest.MonkeyPatch.context() as patch:
            if not scan:  # conditions go to FAISS, which else takes 20,000 items that meet them
                patch.setattr("imgsearch.search.candidates.EXACT_SCAN_LIMIT", -1)
            result = searcher.by_picture(sight, options, asked)
        likely: set[int] = set()
        if options.category_id is not None:
            likely = {options.category_id}
        else:
            first, second, *_ = chances_of(sight.number)
            likely = {first[0]} if first[1] >= 0.98 else {first[0], second[0]}
        feature = feature_of(sight.number, region_of(options))
        self.compare(result, feature, sight.number, options.given_region, likely, asked)

    @rule(key=keys, num=st.integers(1, 12), exclude=st.booleans(), any_category=st.booleans())
    def search_by_name(self, key: Key, num: int, exclude: bool, any_category: bool) -> None:
        known = self.state.items.get(key)
        assert self.instance.has_item(key) is (known is not None)
        if known is None:
            return
        asked = SearchOptions(num, any_category=any_category, exclude_self=exclude)
        with self.instance.searching() as searcher:
            result = searcher.by_name(key, search=asked)
        if not exclude:
            assert result.hits[0].identical
        self.compare(result, known.feature, known.number, known.region, {known.category}, asked)

    def compare(
        self,
        result: SearchResult,
        feature: Features,
        number: int,
        region: Region | None,
        likely: set[int],
        asked: SearchOptions,
    ) -> None:
        """Hold an answer against brute force.

        Args:
            result: the answer.
            feature: of the query.
            number: what its picture shows.
            region: the one that was given, or that of the stored picture.
            likely: its categories.
            asked: what was to be returned.
        """
        items = self.state.items
        meets = (lambda _: True) if asked.filter is None else MEANINGS[asked.filter]
        matching = {
            key: known
            for key, known in items.items()
            if meets(known.attributes) and (asked.any_category or known.category in likely)
        }
        same = {key: known.number == number and region in (None, known.region) for key, known in items.items()}
        weights = ranking_weights(RECORD.feature_version)
        products: dict[str, dict[Key, Features]] = {}
        for key, known in items.items():
            # Siblings count whatever their category, and whether or not they meet the condition; what is left out has
            # no say.
            if not (asked.exclude_self and same[key]):
                products.setdefault(key.product_id, {})[key] = known.feature

        def similarity(key: Key) -> float:
            known = products.get(key.product_id, {})
            siblings = [other for place, other in known.items() if place != key and not same[key]]
            return with_siblings(feature, items[key].feature, siblings, weights)

        nearness = {key: similarity(key) for key in matching}
        if asked.lift:
            ranked = [key for key in matching if not (asked.exclude_self and same[key])]
            groups = [key.product_id for key in ranked]
            lending = {group: list(known.values()) for group, known in products.items()}
            raised = lifted([nearness[key] for key in ranked], groups, lending, weights.lift)
            nearness |= {key: value for key, value in zip(ranked, raised, strict=True) if not same[key]}
        rivals: dict[str, float] = {}
        for key in matching:
            if not same[key]:
                rivals[key.product_id] = max(nearness[key], rivals.get(key.product_id, -1.0))
        scores = {key: 1.0 if same[key] else score_of(nearness[key], rivals.values()) for key in matching}
        self.seen["judged"] += 1
        # Without a least Score nothing is left out, however low Scores are.
        if asked.min_score and any(abs(score - asked.min_score) < NEAR for score in scores.values()):
            self.seen["undecided"] += 1
            return  # rounding would decide
        ranked = sorted(
            (key for key in matching if scores[key] >= asked.min_score and not (asked.exclude_self and same[key])),
            key=lambda key: (not same[key], -nearness[key], items[key].id),
        )
        if asked.distinct_product:
            best: dict[str, Key] = {}
            for key in ranked:
                best.setdefault(key.product_id, key)
            ranked = list(best.values())
        expected = ranked[asked.start : asked.start + asked.num]
        assert result.found == len(matching)
        assert len({hit.item.key for hit in result.hits}) == len(result.hits) == len(expected)
        for hit, key in zip(result.hits, expected, strict=True):
            assert hit.item.key in matching
            assert hit.item.key == key or 0 < abs(nearness[hit.item.key] - nearness[key]) < NEAR
            self.compare_hit(hit, feature, scores[hit.item.key], identical=same[hit.item.key])

    def compare_hit(self, hit: Hit, feature: Features, score: float, *, identical: bool) -> None:
        known = self.state.items[hit.item.key]
        assert (hit.item.id, hit.item.attributes, hit.item.category_id) == (known.id, known.attributes, known.category)
        assert hit.identical is identical
        assert hit.score == pytest.approx(score, abs=1e-5)
        assert (hit.score == 1.0) is identical
        bits = 0 if identical else int(np.sum((known.feature @ PLANES > 0) != (feature @ PLANES > 0)))
        assert abs(hit.distance - bits) <= (0 if identical else 2)  # on a plane, rounding decides
        relevance = 7.33136443711219e24 if identical else 10 * hit.score
        assert hit.sort_expr_values == f"{relevance:.15g};{hit.distance}"

    @invariant()
    def answers(self) -> None:
        """After each step everything is there, and is found."""
        if hasattr(self, "instance"):
            self.seen["steps"] += 1
            assert observed(self.instance._opened.engine) == self.state
            self.search(Sight(self.state.last_id % 16), scan=False)


def score_of(similarity: float, rivals: Iterable[float]) -> float:
    """The curve of ``docs/design.md``, with what each product reaches."""
    bounded = min(max(similarity, -1 + 1e-7), 1 - 1e-7)
    first, second, *_ = [*sorted((min(max(rival, 0.4), 0.9) for rival in rivals), reverse=True), 0.4, 0.4]
    odds = RECORD.score_slope * math.atanh(bounded) + RECORD.score_offset
    odds += RECORD.score_best * math.atanh(first) + RECORD.score_second * math.atanh(second)
    return min(1 / (1 + math.exp(-odds)), 0.999999)


@pytest.mark.extended
def test_any_sequence() -> None:
    InstanceMachine.seen.clear()
    run_state_machine_as_test(
        InstanceMachine, settings=settings(deadline=None, max_examples=12, stateful_step_count=20)
    )
    assert InstanceMachine.seen["judged"] >= 100
    assert 100 * InstanceMachine.seen["undecided"] <= InstanceMachine.seen["judged"]


@pytest.mark.long
def test_thousands_of_steps() -> None:
    """Long sequences, and enough of them that crashes fall before, between and behind commits."""
    InstanceMachine.seen.clear()
    run_state_machine_as_test(
        InstanceMachine,
        settings=settings(
            deadline=None, max_examples=150, stateful_step_count=50, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
    assert InstanceMachine.seen["steps"] >= 2000
    assert 100 * InstanceMachine.seen["undecided"] <= InstanceMachine.seen["judged"]
    for moment in ("killed before", "killed between", "killed after", "left something behind"):
        assert InstanceMachine.seen[moment] >= 20, InstanceMachine.seen
