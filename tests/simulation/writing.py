"""Operations that change an instance: drawn by chance, each with the states that it may lead to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from imgsearch.errors import InstanceDamaged, InstanceEmpty
from imgsearch.filters.tree import product_condition
from imgsearch.storage.engine import Engine
from imgsearch.transfer import importing
from imgsearch.types import AddPicture, DeletePictures, Operation, Status
from imgsearch.values import Attributes, Key, PictureOptions, Region
from tests.simulation.given import SIGHTS, GivenInstance
from tests.simulation.history import Finding
from tests.storage.arithmetic import SUBJECT, Sight
from tests.storage.known import MEANINGS, State, Told, names_of

__all__ = ["Export", "Write", "draw_key", "draw_rebuild", "draw_write"]

PRODUCTS = ("a", "b", "c", "d", "e", "f", "g", "ü%_'\"")
PICTURES = tuple(f"{number}.jpg" for number in range(12))
CORNER = Region(3, 50, 2, 40)
CATEGORIES = (None, None, None, 0, 0, 3)
FILTERS = tuple(MEANINGS)


@dataclass
class Write:
    """One call of the gateway that changes something."""

    name: str
    states: list[State]
    """What it may lead to, in this order; each is a commit at most. The last one is its end."""
    perform: Callable[[GivenInstance], Iterator[Told]]
    """Does it; each acknowledgement as it comes."""
    counts: int = 1
    """How many operations it is."""
    told: list[Told] = field(default_factory=list)
    """All that is acknowledged, in order."""
    known_after: list[int] = field(default_factory=list)
    """How many of the states are committed once so many acknowledgements have come."""


@dataclass
class Export:
    """A finished export, and what is in it."""

    name: str
    state: State


def draw_key(chance: random.Random) -> Key:
    """Any of the keys; few enough that most are taken."""
    return Key(chance.choice(PRODUCTS), chance.choice(PICTURES))


def _attributes(chance: random.Random) -> Attributes:
    return Attributes(int_attr=chance.choice((None, 0, 1, 2, 3)), str_attr=chance.choice((None, "red", 'a"b')))


def _addition(chance: random.Random, key: Key) -> AddPicture:
    sight = Sight(
        chance.randrange(-1, SIGHTS) if chance.random() < 0.1 else chance.randrange(SIGHTS), chance.random() < 0.5
    )
    options = PictureOptions(
        category_id=chance.choice(CATEGORIES),
        crop=chance.random() < 0.7,
        region=chance.choice((None, None, CORNER, SUBJECT)),
    )
    return AddPicture("here", key, sight, options, _attributes(chance))


def _operation(chance: random.Random, state: State) -> Operation:
    kind = chance.random()
    if kind < 0.2 and state.items:
        key = chance.choice(list(state.items))
        known = state.items[key]
        region = known.region if known.mode.name == "GIVEN" else None
        options = PictureOptions(chance.choice(CATEGORIES), crop=known.mode.name != "WHOLE", region=region)
        return AddPicture("here", key, Sight(known.number), options, _attributes(chance))
    if kind < 0.3:
        key = draw_key(chance)
        return DeletePictures("here", key.product_id, None if chance.random() < 0.2 else key.pic_name)
    return _addition(chance, draw_key(chance))


def draw_write(chance: random.Random, state: State, exports: Sequence[Export]) -> Write:
    """Some change of what is there."""
    kinds: list[tuple[int, Callable[[], Write]]] = [
        (50, lambda: _apply(chance, state)),
        (8, lambda: _delete(chance, state)),
        (3, lambda: _delete_matching(chance, state)),
        (10, lambda: _update(chance, state)),
        (8, lambda: draw_rebuild(chance, state)),
        (3, lambda: _plain("index", state, lambda instance: instance.index())),
        (3, lambda: _plain("repair", state, _repair)),
        (4, lambda: _plain("rollback", state, lambda instance: _roll_back(instance, chance.choice(PRODUCTS)))),
        (4 if exports else 0, lambda: _import(chance.choice(exports), state)),
    ]
    (draw,) = chance.choices([draw for _, draw in kinds], [weight for weight, _ in kinds])
    return draw()


def _apply(chance: random.Random, state: State) -> Write:
    operations = [_operation(chance, state) for _ in range(chance.choice((1, 1, 2, 5, 12)))]
    states: list[State] = []
    now = replace(state, told=())
    for operation in operations:
        now = now.after(operation)
        states.append(now)

    def perform(instance: GivenInstance) -> Iterator[Told]:
        for outcome in instance.apply_stream(operations):
            yield (outcome.status.value, outcome.product_id or "", outcome.pic_name or "")

    told = list(now.told)
    known_after = [0] + [
        next(place for place, one in enumerate(states, 1) if len(one.told) >= count)
        for count in range(1, len(told) + 1)
    ]
    return Write("apply", [replace(one, told=()) for one in states], perform, len(operations), told, known_after)


def _delete(chance: random.Random, state: State) -> Write:
    key = draw_key(chance)
    pic_name = None if chance.random() < 0.15 else key.pic_name
    left = replace(state, told=()).without(state.of_product(key.product_id, pic_name))

    def perform(instance: GivenInstance) -> Iterator[Told]:
        for gone in instance.delete(key.product_id, pic_name).keys:
            yield (Status.DELETED.value, *names_of(gone))

    return _in_one_commit("delete", left, perform)


def _delete_matching(chance: random.Random, state: State) -> Write:
    expression = chance.choice(FILTERS)
    meets = MEANINGS[expression]
    gone = [key for key, known in state.items.items() if meets(known.attributes)]
    left = replace(state, told=()).without(gone)

    def perform(instance: GivenInstance) -> Iterator[Told]:
        for key in instance.delete_matching(expression).keys:
            yield (Status.DELETED.value, *names_of(key))

    return _in_one_commit("delete matching", left, perform)


def _update(chance: random.Random, state: State) -> Write:
    expression = chance.choice(FILTERS)
    category = chance.choice((None, None, 0, 3))
    value = chance.choice((None, 0, 1, 2, 3))
    items, last_id, changed = dict(state.items), state.last_id, []
    for key, known in sorted(state.items.items(), key=lambda pair: pair[1].id):
        if not MEANINGS[expression](known.attributes):
            continue
        new = replace(known, attributes=replace(known.attributes, int_attr=value))
        if category is not None:
            new = replace(new, category=category, category_given=True)
        if new == known:
            continue
        if new.category != known.category:
            last_id += 1
            new = replace(new, id=last_id)
        items[key] = new
        changed.append(("updated", *names_of(key)))

    def perform(instance: GivenInstance) -> Iterator[Told]:
        for key in instance.update(expression, attributes={"int_attr": value}, category=category):
            yield ("updated", *names_of(key))

    return _in_one_commit("update", State(items, last_id, told=tuple(changed)), perform)


def _in_one_commit(name: str, after: State, perform: Callable[[GivenInstance], Iterator[Told]]) -> Write:
    told = list(after.told)
    return Write(name, [replace(after, told=())], perform, 1, told, [0, *[1] * len(told)])


def _plain(name: str, state: State, act: Callable[[GivenInstance], object]) -> Write:
    """What changes no item."""

    def perform(instance: GivenInstance) -> Iterator[Told]:
        act(instance)
        yield from ()

    return Write(name, [state], perform)


def draw_rebuild(chance: random.Random, state: State) -> Write:
    """A new index, flat or with lists."""
    is_flat = chance.random() < 0.5

    def act(instance: GivenInstance) -> None:
        try:
            with instance._opened.writing(0) as engine:
                assert isinstance(engine, Engine)
                engine.rebuild(flat_limit=20_000 if is_flat else 0)
        except InstanceEmpty:
            if state.items:
                raise

    return _plain("rebuild" if is_flat else "rebuild with lists", state, act)


def _repair(instance: GivenInstance) -> None:
    repair = GivenInstance.repair(instance.folder)
    harmful = [problem for problem in repair.repaired + repair.problems if not problem.damage.is_harmless]
    if repair.lost:
        raise Finding(f"a repair of what is whole found {harmful} and lost {repair.lost}")
    if harmful:
        raise InstanceDamaged(f"a repair of what is whole found {harmful}")  # right if a read has failed


class _Change(Exception):
    """The writer's own mistake."""


def _roll_back(instance: GivenInstance, product_id: str) -> None:
    try:
        with instance._opened.writing(0) as engine, engine.committing() as store:
            store.delete(product_condition(product_id))
            raise _Change
    except _Change:
        pass


def _import(export: Export, state: State) -> Write:
    """Batch by batch: what is the same stays, all else gets new ids in the order of the export."""
    states: list[State] = []
    items, last_id = dict(state.items), state.last_id
    lines = sorted(export.state.items.items(), key=lambda pair: pair[1].id)
    told: list[Told] = []
    known_after = [0]
    for start in range(0, len(lines), importing.COMMIT_ITEMS):
        batch = lines[start : start + importing.COMMIT_ITEMS]
        for key, known in batch:
            before = items.get(key)
            status = Status.ADDED if before is None else Status.REPLACED
            if before is not None and replace(before, id=known.id) == known:
                status = Status.UNCHANGED
            else:
                last_id += 1
                items[key] = replace(known, id=last_id)
            told.append((status.value, *names_of(key)))
        states.append(State(dict(items), last_id))
        known_after += [len(states)] * len(batch)

    def perform(instance: GivenInstance) -> Iterator[Told]:
        for outcome in instance.import_stream(instance.folder.parent / export.name):
            yield (outcome.status.value, outcome.product_id or "", outcome.pic_name or "")

    return Write("import", states or [state], perform, max(1, len(lines) // 4), told, known_after)
