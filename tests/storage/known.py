"""What must be true of an instance after each change: its items in a dictionary, by the rules of ``docs/cli.md``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from imgsearch.types import AddPicture, DeletePictures, Item, Operation, Status
from imgsearch.values import Attributes, Key, Region, RegionMode
from tests.storage.arithmetic import Sight, chances_of, feature_of, region_of
from tests.storage.builders import Features

__all__ = ["MEANINGS", "Known", "State", "Told", "names_of"]

MEANINGS: dict[str, Callable[[Attributes], bool]] = {
    "int_attr=1": lambda a: a.int_attr == 1,
    "int_attr>=2": lambda a: a.int_attr is not None and a.int_attr >= 2,
    "int_attr in (0, 3)": lambda a: a.int_attr in (0, 3),
    "int_attr not in (0)": lambda a: a.int_attr is not None and a.int_attr != 0,
    'int_attr=0 OR int_attr=2 AND str_attr="red"': lambda a: (
        a.int_attr == 0 or (a.int_attr == 2 and a.str_attr == "red")
    ),
    'str_attr!="red"': lambda a: a.str_attr is not None and a.str_attr != "red",
    "int_attr<0": lambda a: False,
}
"""Filters, and what they say of an item."""

Told = tuple[str, ...]
"""What is acknowledged of one change: what became of whom."""


@dataclass(frozen=True)
class Known:
    """All that an instance must know of an item."""

    id: int
    number: int
    mode: RegionMode
    region: Region
    category: int
    category_given: bool
    attributes: Attributes
    has_token: bool

    @classmethod
    def of(cls, item: Item, number: int) -> Known:
        """What an instance has stored of the picture of this number."""
        return cls(
            item.id,
            number,
            item.region_mode,
            item.region,
            item.category_id,
            item.category_given,
            item.attributes,
            item.token is not None,
        )

    @property
    def feature(self) -> Features:
        return feature_of(self.number, self.region)


@dataclass(frozen=True)
class State:
    """The truth: what an instance holds at one moment, and what has been acknowledged by then."""

    items: dict[Key, Known] = field(default_factory=dict)
    last_id: int = 0
    generation: tuple[int, int, int] | None = None
    """Number of the index, its items and the largest id among these."""
    told: tuple[Told, ...] = ()

    def without(self, keys: list[Key]) -> State:
        return replace(
            self,
            items={key: known for key, known in self.items.items() if key not in keys},
            told=(*self.told, *((Status.DELETED.value, *names_of(key)) for key in sorted(keys))),
        )

    def of_product(self, product_id: str, pic_name: str | None) -> list[Key]:
        return [key for key in self.items if key.product_id == product_id and pic_name in (None, key.pic_name)]

    def rebuilt(self) -> State:
        number = self.generation[0] + 1 if self.generation else 1
        return replace(self, generation=(number, len(self.items), max(known.id for known in self.items.values())))

    def emptied(self) -> list[State]:
        """What follows where nothing is left: an index of nothing is removed."""
        return [replace(self, generation=None)] if self.generation and not self.items else []

    def after(self, operation: Operation) -> State:
        """By the rules of ``docs/cli.md``."""
        if isinstance(operation, DeletePictures):
            return self.without(self.of_product(operation.product_id, operation.pic_name))
        assert isinstance(operation, AddPicture)
        assert isinstance(operation.picture, Sight)
        key, options, sight = operation.key, operation.options, operation.picture
        old = self.items.get(key)
        given = options.category_id is not None
        same_request = (
            old is not None
            and (given or not old.category_given)
            and options.region_mode is old.mode
            and options.given_region in (None, old.region)
        )
        if sight.number < 0:
            return replace(self, told=(*self.told, (Status.FAILED.value, *names_of(key))))
        if old is not None and same_request and sight.number == old.number:
            category = old.category if options.category_id is None else options.category_id
            changed = replace(old, category=category, category_given=given, attributes=operation.attributes)
            status = Status.UNCHANGED if changed == old else Status.REPLACED
            last_id = self.last_id + (category != old.category)  # which makes it a new item to an index
            new = replace(changed, has_token=sight.has_token, id=old.id if category == old.category else last_id)
        else:
            category = chances_of(sight.number)[0][0] if options.category_id is None else options.category_id
            last_id = self.last_id + 1
            new = Known(
                last_id,
                sight.number,
                options.region_mode,
                region_of(options),
                category,
                given,
                operation.attributes,
                sight.has_token,
            )
            status = Status.ADDED if old is None else Status.REPLACED
        told = (*self.told, (status.value, *names_of(key)))
        return replace(self, items={**self.items, key: new}, last_id=last_id, told=told)


def names_of(key: Key) -> tuple[str, str]:
    return key.product_id, key.pic_name
