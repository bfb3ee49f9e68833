"""A writer that is killed, or that kills the server, between two statements; ``test_kills.py`` starts it.

It tells each change before it begins, and that it was acknowledged afterwards.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from imgsearch.errors import RemoteUnavailable
from imgsearch.storage.postgres.address import Address
from imgsearch.storage.postgres.connection import Link
from imgsearch.storage.postgres.engine import PostgresEngine
from imgsearch.values import Key
from tests.postgres_server import kill_all
from tests.storage.builders import change, scattered

if TYPE_CHECKING:
    from imgsearch.types import Upsert

FLAT_LIMIT = 10
"""Items from which on pgvector gets an index here."""
NUMBERS = 4096
FEATURES = scattered(NUMBERS, seed=5)
KEYS = [Key(f"k{product}", f"{picture}.jpg") for product in range(20) for picture in range(5)]
ALL = 100
"""Percent."""

Change = tuple[Key, int | None]
"""What becomes of a key: the picture with that number, or nothing."""


def item(key: Key, number: int) -> Upsert:
    """A picture; its content tells its number."""
    return change(key.product_id, key.pic_name, FEATURES[number], content=b"%d" % number, category=number % 3)


def write(engine: PostgresEngine, changes: list[Change]) -> None:
    """Commit changes as a whole."""
    with engine.committing({key.product_id for key, _ in changes}) as store:
        store.remove([key for key, number in changes if number is None])
        store.insert([item(key, number) for key, number in changes if number is not None])


def index(engine: PostgresEngine, *, whole: bool) -> None:
    """Bring the index up to date, or make it anew."""
    from imgsearch.storage.postgres.index_building import build

    if not engine.store.count():
        return
    if engine.store.is_external:
        if whole or engine.store.generation() is None:
            engine.rebuild()
        else:
            engine.refresh()
        return
    with engine.indexing(engine.timeout):
        build(engine.store, whole=whole, flat_limit=FLAT_LIMIT)


def some_changes(generator: random.Random) -> list[Change]:
    """Additions, replacements and deletions of up to 60 keys."""
    keys = generator.sample(KEYS, generator.randint(1, 60))
    return [(key, None if generator.randrange(ALL) < 20 else generator.randrange(NUMBERS)) for key in keys]


def say(**words: Any) -> None:
    sys.stdout.write(f"{json.dumps(words)}\n")
    sys.stdout.flush()


class Countdown:
    """Kills at one of the statements."""

    def __init__(self, step: int, kill: Callable[[], object]) -> None:
        self.is_on = True
        self._left, self._kill = step, kill

    def count(self, kind: type, *names: str) -> None:
        """Count the begin and the end of each call of these methods: between a commit and its word lies a moment."""
        for name in names:
            setattr(kind, name, self._counted(getattr(kind, name)))

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            self._step()
            result = method(*arguments, **options)
            self._step()
            return result

        return run

    def _step(self) -> None:
        if self.is_on:
            self._left -= 1
            if self._left == 0:
                self._kill()


def main(url: str, seed: int, victim: str, step: int, server: int) -> None:
    """Work until the end comes."""
    generator = random.Random(seed)
    countdown = Countdown(
        step, (lambda: kill_all(server)) if victim == "server" else lambda: os.kill(os.getpid(), signal.SIGKILL)
    )
    countdown.count(Link, "run", "run_many", "load", "_end")
    countdown.is_on = victim != "indexer"
    try:
        work(Address.parse(url), generator, victim, countdown)
    except RemoteUnavailable as error:
        say(exit=error.exit_code)


def work(address: Address, generator: random.Random, victim: str, countdown: Countdown) -> None:
    """Write and index; an indexer as a victim is one while it indexes."""
    engine = PostgresEngine(address.place, address, write=True, timeout=30)
    if engine.store.is_external:
        countdown.count(type(engine.external), "add", "remove", "build", "publish", "drop", "count")
    while True:
        changes = some_changes(generator)
        say(begun=[((key.product_id, key.pic_name), number) for key, number in changes])
        write(engine, changes)
        say(done=True)
        countdown.is_on = True
        if victim == "indexer" or generator.randrange(ALL) < 30:
            index(engine, whole=generator.randrange(ALL) < 40)
        countdown.is_on = victim != "indexer"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
