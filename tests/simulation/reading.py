"""Operations that read an instance: drawn by chance, each answer held to the states that it may be of."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np

from imgsearch.errors import ImgsearchError, InstanceDamaged, ItemNotFound
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING
from imgsearch.search.layers import Query
from imgsearch.search.options import SearchOptions
from imgsearch.search.searcher import Searcher
from imgsearch.service.categories import Kind
from imgsearch.storage.sqlite.generations import Generation
from imgsearch.transfer.file_format import STAMP_NAME
from imgsearch.transfer.importing import read_export
from imgsearch.types import Item
from imgsearch.values import Key, PictureOptions
from tests.simulation.answers import UNDECIDED, Asked, Expected
from tests.simulation.given import DIMENSION, SIGHTS, GivenInstance, feature_of
from tests.simulation.history import Finding, History
from tests.simulation.writing import CORNER, FILTERS, Export, draw_key
from tests.storage.arithmetic import SUBJECT, WHOLE, Sight, chances_of, region_of
from tests.storage.known import Known

__all__ = ["Reading", "check_export", "export"]

Judge = Callable[[Expected], str | None]


class Reading:
    """Whoever reads one open instance.

    Args:
        instance: that is read.
        searcher: of it.
        history: that answers are held to.
        number_of: what a picture shows, by its content hash.
    """

    def __init__(
        self, instance: GivenInstance, searcher: Searcher, history: History, number_of: dict[bytes, int]
    ) -> None:
        self._instance, self._searcher, self._history = instance, searcher, history
        self._number_of = number_of

    def draw(self, chance: random.Random) -> tuple[str, Callable[[], None]]:
        """One operation: its name, and what it does."""
        kinds: list[tuple[int, str, Callable[[random.Random], None]]] = [
            (30, "search by feature", self.search_by_feature),
            (12, "search by name", self.search_by_name),
            (8, "search by picture", self.search_by_picture),
            (6, "searches at once", self.search_at_once),
            (4, "pages of a search", self.pages),
            (12, "list", self.list_page),
            (4, "pages of the list", self.list_pages),
            (5, "items", self.items),
            (20, "find", self.find),
            (4, "info", self.info),
        ]
        ((_, name, read),) = chance.choices(kinds, [weight for weight, *_ in kinds])
        return name, partial(read, chance)

    def _judged(self, start: int, fault: Judge) -> list[int]:
        left = self._history.judge(self._history.window(start), fault)
        self._history.saw(left)
        return left

    # Searching

    def _options(self, chance: random.Random) -> SearchOptions:
        return SearchOptions(
            num=chance.choice((1, 3, 10, 50)),
            start=chance.choice((0, 0, 0, 2, 7)),
            any_category=chance.random() < 0.6,
            filter=chance.choice((None, None, *FILTERS)),
            distinct_product=chance.random() < 0.2,
            min_score=chance.choice((0.0, 0.0, 0.0, 0.05, 0.3)),
            lift=chance.random() < 0.8,
        )

    def _asked_with_feature(self, chance: random.Random, options: SearchOptions) -> tuple[Asked, int | None]:
        number, noise = chance.randrange(SIGHTS), np.random.default_rng(chance.getrandbits(32))
        near = feature_of(number, WHOLE) + 0.1 * noise.standard_normal(DIMENSION)
        feature = (near / np.linalg.norm(near)).astype(np.float32)
        category = chance.choice((None, None, 0, 3, 22))
        categories = () if category is None or options.any_category else (category,)
        return Asked(feature, None, None, categories, options), category

    def search_by_feature(self, chance: random.Random) -> None:
        """With a feature that is no item's."""
        asked, category = self._asked_with_feature(chance, self._options(chance))
        start = self._history.floor
        result = self._searcher.by_feature(asked.feature, category, asked.options)
        self._judged(start, lambda expected: expected.fault(asked, result))

    def search_widely(self, chance: random.Random) -> None:
        """All candidates of a feature, so that none is left out or comes too much."""
        asked, _ = self._asked_with_feature(chance, SearchOptions(num=100, any_category=True))
        start = self._history.floor
        result = self._searcher.by_feature(asked.feature, None, asked.options)
        self._judged(start, lambda expected: expected.fault(asked, result))

    def search_widely_at_once(self, chance: random.Random, count: int) -> None:
        """The same with many features, all of them in one snapshot; one by one where damage is in the way of some.

        Raises:
            InstanceDamaged: of the last one that it hindered.
        """
        options = SearchOptions(num=100, any_category=True)
        asked = self._many_asked(chance, options, count)
        try:
            self._answer(asked)
        except InstanceDamaged:
            damage = None
            for one in asked:
                try:
                    self._answer([one])
                except InstanceDamaged as error:
                    damage = error
            if damage is not None:
                raise damage from None

    def search_at_once(self, chance: random.Random) -> None:
        """With a few features, each within its own categories, in one snapshot."""
        self._answer(self._many_asked(chance, self._options(chance), chance.randint(2, 4)))

    def _many_asked(self, chance: random.Random, options: SearchOptions, count: int) -> list[Asked]:
        return [self._asked_with_feature(chance, options)[0] for _ in range(count)]

    def _answer(self, asked: Sequence[Asked]) -> None:
        start = self._history.floor
        rankings = self._searcher._rank([(Query(one.feature, b""), one.categories) for one in asked], asked[0].options)
        for one, ranking in zip(asked, rankings, strict=True):
            self._judged(start, partial(Expected.fault, asked=one, result=ranking))

    def search_by_picture(self, chance: random.Random) -> None:
        """With a picture that may be stored, in whatever region."""
        sight = Sight(chance.randrange(SIGHTS))
        picture = PictureOptions(
            category_id=chance.choice((None, 0, 3)),
            crop=chance.random() < 0.7,
            region=chance.choice((None, CORNER, SUBJECT)),
        )
        options = self._options(chance)
        start = self._history.floor
        result = self._searcher.by_picture(sight, picture, options)
        likely: tuple[int, ...] = ()
        if not options.any_category:
            first, second, *_ = chances_of(sight.number)
            both = (first[0],) if first[1] >= 0.98 else (first[0], second[0])
            likely = both if picture.category_id is None else (picture.category_id,)
        feature = feature_of(sight.number, region_of(picture))
        asked = Asked(feature, sight.number, picture.given_region, likely, options)
        self._judged(start, lambda expected: expected.fault(asked, result))

    def search_by_name(self, chance: random.Random) -> None:
        """With a stored picture: its key is looked up first, so it may have changed meanwhile."""
        key, options = draw_key(chance), self._options(chance)
        if chance.random() < 0.3:
            options = SearchOptions(num=options.num, any_category=options.any_category, exclude_self=True)
        start = self._history.floor
        try:
            result = self._searcher.by_name(key, search=options)
        except ItemNotFound:
            # Replaced between the two snapshots, its first version is gone.
            window = self._history.window(start)
            if len({self._id(position, key) for position in window}) == 1:
                self._judged(start, lambda expected: f"{key} was not found" if key in expected.state.items else None)
            return
        versions = [known for position in self._history.window(start) if (known := self._known(position, key))]
        if not versions:
            raise Finding(f"a search with {key} was answered, which is not there")

        def fault(expected: Expected) -> str | None:
            told = []
            for known in dict.fromkeys(versions):
                categories = () if options.any_category else (known.category,)
                feature = feature_of(known.number, known.region)
                told.append(expected.fault(Asked(feature, known.number, known.region, categories, options), result))
            return next((one for one in (None, UNDECIDED) if one in told), told[-1])

        self._judged(start, fault)

    def _known(self, position: int, key: Key) -> Known | None:
        return self._history.expected(position).state.items.get(key)

    def _id(self, position: int, key: Key) -> int | None:
        known = self._known(position, key)
        return None if known is None else known.id

    def pages(self, chance: random.Random) -> None:
        """One query, page by page; each page is of some state, and not of an older one than the page before."""
        asked, category = self._asked_with_feature(chance, SearchOptions(filter=chance.choice((None, *FILTERS))))
        for number in range(3):
            options = SearchOptions(num=5, start=5 * number, any_category=True, filter=asked.options.filter)
            page = Asked(asked.feature, None, None, (), options)
            start = self._history.floor
            result = self._searcher.by_feature(page.feature, category, options)
            self._judged(start, partial(Expected.fault, asked=page, result=result))

    # Looking

    def list_page(self, chance: random.Random) -> None:
        """A page of the listing."""
        self._list(
            chance.choice((None, *FILTERS)),
            chance.choice((None, None, 0, 3)),
            chance.choice((0, 0, 1, 5, 20)),
            chance.choice((None, 1, 10)),
        )

    def list_pages(self, chance: random.Random) -> None:
        """The listing, page by page."""
        expression = chance.choice((None, *FILTERS))
        for start in range(0, 32, 8):
            self._list(expression, None, start, 8)

    def _list(self, expression: str | None, category: int | None, first: int, num: int | None) -> None:
        start = self._history.floor
        with self._instance.listing(expression, category=category, start=first, num=num) as page:
            total, found = page.total, [self._as_known(item) for item in page.items]

        def fault(expected: Expected) -> str | None:
            count, keys = expected.page(expression, category, first, num)
            if (count, keys) != (total, [key for key, _ in found]):
                return f"a page of {total} items is {[key for key, _ in found][:3]}… instead of {keys[:3]}… of {count}"
            return _differs(expected, found)

        self._judged(start, fault)

    def items(self, chance: random.Random) -> None:
        """All items that meet a filter, in the order of addition."""
        expression = chance.choice((None, *FILTERS))
        start = self._history.floor
        found = [self._as_known(item) for item in self._instance.items(expression)]
        self._judged(start, lambda expected: _not_these(expected, expression, found))

    def find(self, chance: random.Random) -> None:
        """One item."""
        key = draw_key(chance)
        start = self._history.floor
        item = self._instance.find(key)
        found = None if item is None else self._as_known(item)[1]

        def fault(expected: Expected) -> str | None:
            known = expected.state.items.get(key)
            return None if known == found else f"{key} is {found} instead of {known}"

        self._judged(start, fault)

    def info(self, _chance: random.Random) -> None:
        """Counts."""
        start = self._history.floor
        info = self._instance.info()

        def fault(expected: Expected) -> str | None:
            items = expected.state.items
            categories: dict[int, int] = {}
            for known in items.values():
                categories[known.category] = categories.get(known.category, 0) + 1
            counted = (len(items), len({key.product_id for key in items}), categories)
            told = (info.items, info.products, info.categories)
            if told != counted:
                return f"the counts are {told} instead of {counted}"
            newest = info.generation.max_id if isinstance(info.generation, Generation) else 0
            tail = sum(known.id > newest for known in items.values())
            return None if info.unindexed == tail else f"{info.unindexed} are not indexed instead of {tail}"

        self._judged(start, fault)

    def _as_known(self, item: Item) -> tuple[Key, Known]:
        number = self._number_of.get(item.content_hash, -1)
        token = Sight(number, has_token=True).token()
        if item.token not in (None, token):
            raise Finding(f"{item.key} has a token that is no picture's: {item.token!r}")
        return item.key, Known.of(item, number)

    # Snapshots

    def session(self, chance: random.Random) -> Iterator[None]:
        """A reader that keeps one snapshot from step to step: all that it sees is of one state, whatever is written."""
        opened = self._instance._opened
        with ExitStack() as stack:
            engine = stack.enter_context(opened.reading())
            stack.enter_context(engine.errors())
            stack.enter_context(engine.store.reading())
            store = engine.store
            positions: list[int] | None = None
            for _ in range(chance.randint(2, 6)):
                start = self._history.floor
                window = self._history.window(start) if positions is None else positions
                kind = chance.randrange(4)
                expression = chance.choice((None, *FILTERS))
                condition = EVERYTHING if expression is None else parse_filter(expression)
                if kind == 0:
                    found = [self._as_known(item) for item in store.items_by_key(condition)]
                    fault: Judge = partial(_not_sorted, expression=expression, found=found)
                elif kind == 1:
                    ids = store.matching_ids(condition).tolist()
                    fault = partial(_not_ids, expression=expression, ids=ids)
                elif kind == 2:
                    counts = store.counts()
                    fault = partial(_not_counts, counts=counts)
                else:
                    found = [self._as_known(item) for item in store.items(condition)]
                    fault = partial(_not_these, expression=expression, found=found)
                positions = self._history.judge(window, fault)
                yield


def export(reading: Reading, chance: random.Random, folder: Path) -> Generator[Export | None, None, None]:
    """Export while others write; told when it is done, with the state that it is of."""
    instance, history = reading._instance, reading._history
    start = history.floor
    keys: list[Key] = []
    with closing(instance.export_stream(folder)) as stream:  # type: ignore[type-var]
        for key in stream:
            if not keys:
                end = len(history.window(0))
            keys.append(key)
            if chance.random() < 0.1:
                yield None
    window = range(start, end if keys else len(history.window(0)))
    left = history.judge(window, lambda expected: _not_exported(expected, keys))
    yield Export(folder.name, history.expected(left[0]).state) if len(left) == 1 else None


def check_export(folder: Path) -> bool:
    """Whether an export says that it is complete; then it is.

    Raises:
        Finding
    """
    if not (folder / STAMP_NAME).exists():
        return False
    try:
        count = sum(1 for _ in read_export(folder, Kind.PRODUCT, DIMENSION))
        said = json.loads((folder / STAMP_NAME).read_text())["items"]
    except (ImgsearchError, ValueError) as error:
        raise Finding(f"{folder.name} says that it is complete: {error}") from error
    if said != count:
        raise Finding(f"{folder.name} says that it has {said} items, and has {count}")
    return True


def _not_exported(expected: Expected, keys: Sequence[Key]) -> str | None:
    ordered = [key for _, key in sorted((known.id, key) for key, known in expected.state.items.items())]
    return None if ordered == list(keys) else f"an export has {len(keys)} items, not the {len(ordered)} in their order"


def _differs(expected: Expected, found: Sequence[tuple[Key, Known]]) -> str | None:
    for key, known in found:
        if expected.state.items.get(key) != known:
            return f"{key} is {known} instead of {expected.state.items.get(key)}"
    return None


def _not_these(expected: Expected, expression: str | None, found: Sequence[tuple[Key, Known]]) -> str | None:
    mask = expected.meeting(expression)
    wanted = sorted(known.id for known, meets in zip(expected.known, mask.tolist(), strict=True) if meets)
    if [known.id for _, known in found] != wanted:
        return f"{len(found)} items meet {expression} instead of {len(wanted)}"
    return _differs(expected, found)


def _not_sorted(expected: Expected, expression: str | None, found: Sequence[tuple[Key, Known]]) -> str | None:
    _, keys = expected.page(expression, None, 0, None)
    return _differs(expected, found) if keys == [key for key, _ in found] else f"{expression} is met by other keys"


def _not_ids(expected: Expected, expression: str | None, ids: Sequence[int]) -> str | None:
    wanted = sorted(expected.ids[expected.meeting(expression)].tolist())
    return None if wanted == list(ids) else f"{len(ids)} ids meet {expression} instead of {len(wanted)}"


def _not_counts(expected: Expected, counts: dict[int, int]) -> str | None:
    wanted: dict[int, int] = {}
    for category in expected.categories.tolist():
        wanted[category] = wanted.get(category, 0) + 1
    return None if wanted == counts else f"the counts are {counts} instead of {wanted}"
