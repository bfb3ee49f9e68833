"""Writers, indexers and the server killed between any two statements, hundreds of times over, beside another writer.

Contract: what was acknowledged is there, as a whole; a commit without a word has come about wholly or not at all;
nothing else is served; one run of the indexer later, ``check`` finds nothing.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from imgsearch.errors import RemoteUnavailable
from imgsearch.filters.tree import EVERYTHING
from imgsearch.search.ranking import Ranker
from imgsearch.search.siblings import WITHOUT_LIFT
from imgsearch.values import Key
from tests import milvus_server, postgres_server
from tests.postgres_server import PostgresServer
from tests.storage.builders import CALIBRATION, ROOT, query
from tests.storage.postgres.conftest import SETTINGS

if TYPE_CHECKING:
    from imgsearch.storage.postgres.engine import PostgresEngine

pytestmark = pytest.mark.skipif(not postgres_server.is_installed(), reason=postgres_server.MISSING)

STEPS = {"writer": 200, "indexer": 160, "server": 200}
"""Victims, and at which begin or end of a statement one is killed at the latest."""
SEARCHES = 4
OWN = WITHOUT_LIFT.__class__(sibling=0.0, sharpness=1.0, lift=0.0)

State = dict[Key, int]


class Trial:
    """One instance, killed again and again; what is known of it is carried from round to round."""

    def __init__(self, server: PostgresServer, url: str, *, is_external: bool) -> None:
        from imgsearch.storage.postgres.address import Address

        self.is_external = is_external
        self._server, self._url, self._address = server, url, Address.parse(url)
        self._state: State = {}
        self._beside = 0
        self.seen: Counter[str] = Counter()

    def _open(self, **options: object) -> PostgresEngine:
        from imgsearch.storage.postgres.engine import PostgresEngine

        return PostgresEngine(self._address.place, self._address, write=True, timeout=60, **options)  # type: ignore[arg-type]

    def round(self, seed: int) -> None:
        """Have a worker be killed, and look at what is left."""
        generator = random.Random(seed)
        victim = generator.choice(list(STEPS))
        step = generator.randint(1, STEPS[victim])
        possible = self._worked(seed, victim, step)
        if victim == "server":
            self._server.kill()  # what is left of it
            self._server.start()
        engine = self._open(alone=True)
        try:
            now = _stored(engine)
            assert now in possible, (seed, victim, step)
            self.seen[victim] += 1
            if possible[0] != possible[1]:
                self.seen["came about" if possible.index(now) % 2 else "undone"] += 1
            self._state = now
            self._serves(engine, generator)
            self._indexed(engine)
            self._serves(engine, generator)
        finally:
            engine.close()

    def _worked(self, seed: int, victim: str, step: int) -> list[State]:
        """The states that the instance may be in when the worker has come to its end."""
        from tests.storage.postgres.killed_worker import write

        words = ["-m", "tests.storage.postgres.killed_worker", self._url, seed, victim, step]
        process = subprocess.Popen(
            [sys.executable, *map(str, words), str(self._server.pid)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        acknowledged, pending, told = dict(self._state), dict[Key, int | None](), {}
        unsure: list[tuple[Key, int]] = []
        beside = self._open()
        try:
            for line in process.stdout:
                told = json.loads(line)
                if "begun" in told:
                    pending = {Key(*key): number for key, number in told["begun"]}
                elif "done" in told:
                    acknowledged, pending = _after(acknowledged, pending), {}
                    self._beside += 1
                    one = Key(f"beside{self._beside % 7}", "1.jpg"), self._beside % 4096
                    try:
                        write(beside, [one])
                    except RemoteUnavailable:
                        assert victim == "server"
                        unsure.append(one)
                    else:
                        acknowledged[one[0]] = one[1]
        finally:
            beside.close()
            _, errors = process.communicate(timeout=60)
        assert process.returncode == (0 if victim == "server" else -9), errors
        assert victim != "server" or told == {"exit": 7}
        states = [acknowledged, _after(acknowledged, pending)]
        # Of what failed beside it, only the first can have come about: no server was there any more.
        return states + [state | dict(unsure[:1]) for state in states]

    def _serves(self, engine: PostgresEngine, generator: random.Random) -> None:
        """What is there is found, and what is gone, or never came, is not."""
        from tests.storage.postgres.killed_worker import FEATURES, NUMBERS

        there = set(self._state.values())
        some = generator.sample(sorted(there), min(len(there), SEARCHES))
        for number in [*some, *(generator.randrange(NUMBERS) for _ in range(SEARCHES))]:
            ranking = Ranker(engine).search(query(FEATURES[number]), CALIBRATION, num=10, weights=OWN)
            found = [(hit.item.key, int(hit.item.content_hash)) for hit in ranking.hits]
            assert set(found) <= set(self._state.items())
            assert ranking.found == len(self._state)
            if number in there:
                assert found[0][1] == number

    def _indexed(self, engine: PostgresEngine) -> None:
        from imgsearch.storage.postgres.checking import check
        from tests.storage.postgres.killed_worker import index

        index(engine, whole=False)
        assert check(engine, read_data=True, settings=()) == []


def _after(state: State, changes: dict[Key, int | None]) -> State:
    new = {key: number for key, number in state.items() if key not in changes}
    return new | {key: number for key, number in changes.items() if number is not None}


def _stored(engine: PostgresEngine) -> State:
    return {item.key: int(item.content_hash) for item in engine.store.items(EVERYTHING)}


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """One that may be killed."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(params=["pgvector", "milvus"])
def trial(request: pytest.FixtureRequest, own_server: PostgresServer) -> Trial:
    from imgsearch.storage.milvus.address import MilvusAddress
    from imgsearch.storage.postgres import tables
    from imgsearch.storage.postgres.address import Address

    index = None
    if request.param == "milvus":
        if (reason := milvus_server.why_not()) is not None:
            pytest.skip(f"no Milvus: {reason}")
        port = milvus_server.shared_server()[1].port
        index = str(MilvusAddress.parse(f"milvus://127.0.0.1:{port}").named())
    url = own_server.url("shop")
    tables.create(Address.parse(url), SETTINGS, index)
    return Trial(own_server, url, is_external=index is not None)


@pytest.mark.extended
def test_a_few_kills(trial: Trial) -> None:
    for seed in range(4):
        trial.round(seed)
    assert sum(trial.seen[victim] for victim in STEPS) == 4


@pytest.mark.long
def test_hundreds_of_kills(trial: Trial) -> None:
    """Of each kind many; some commits without a word have come about, others not. Milvus takes seconds a round."""
    rounds = 60 if trial.is_external else 200
    for seed in range(rounds):
        trial.round(seed)
    assert all(trial.seen[victim] > rounds // 6 for victim in STEPS), trial.seen
    assert min(trial.seen["came about"], trial.seen["undone"]) > 0, trial.seen
