"""Real processes of the command line, killed at random moments, one after the other on the same instance.

Contract: after each of them, everything acknowledged is there and is found; of what was not acknowledged, there is what
one commit more had told; ``check`` finds nothing but leftovers, and those are gone with the next writer.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from imgsearch.jobs.indexing import COMMIT_ITEMS
from imgsearch.search.ranking import Query, Ranker
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.check import check
from imgsearch.storage.integrity.problems import Damage
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.values import Key
from tests.conftest import command, whole_lines
from tests.durability.trials import leftovers, open_as_writer
from tests.oss_server import OssServer
from tests.oss_shop import Shop, copy_samples, line
from tests.storage.builders import CALIBRATION

Facts = dict[Key, tuple[bytes, int]]
"""Key to the digest of the picture and the number that its last line gave it."""


def facts(folder: Path) -> Facts:
    with closing(sqlite3.connect(f"{(folder / DATABASE_NAME).as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT product_id, pic_name, content_hash, int_attr FROM items")
        return {Key(*row[:2]): row[2:] for row in rows}


class Rounds:
    """An instance that commands are killed on, and what is known of it."""

    def __init__(self, shop: Shop, folder: Path, pictures: int, seed: int) -> None:
        self.shop, self.folder = shop, folder
        self.names = copy_samples(shop.folder, pictures)
        self.chance = random.Random(seed)
        self.round = 0
        self.killed = 0
        self.half_done = 0
        """Killed when a part of the work was acknowledged."""
        self._write(self.names)
        self._finish(command("add", "-i", folder, "--manifest", shop.folder / "increment.meta"))

    def _finish(self, words: list[str]) -> None:
        done = subprocess.run(words, env=self._environment(), capture_output=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.shop.server.environment(), **self.shop.environment}

    def _write(self, names: list[str]) -> list[Key]:
        """A manifest for these: half of them with other bytes than before, all with the number of this round."""
        for name in names[::2]:
            path = self.shop.folder / name
            path.write_bytes(path.read_bytes() + self.round.to_bytes(4, "big"))
        lines = [line(name, IntAttr=self.round) for name in names]
        self.shop.write(lines)
        return [Key(one["ProductId"], one["PicName"]) for one in lines]

    def _some(self) -> list[str]:
        return self.chance.sample(self.names, len(self.names) // 2)

    def kill_one(self, kind: str) -> None:
        """Start a command of that kind, kill it at a random moment, and look at what it left."""
        self.round += 1
        before = facts(self.folder)
        options = ["-i", self.folder, "--format", "jsonl"]
        keys: list[Key] = []
        if kind in {"add", "import"}:
            keys = self._write(self._some())
            words = ["add", "--manifest", self.shop.folder / "increment.meta"]
            if kind == "import":
                words = ["oss-import", "oss://my-catalogue/shop/pictures", "--downloads", 2]
        elif kind == "delete":
            products = sorted({key.product_id for key in before})
            product = self.chance.choice(products or ["none"])
            keys = [key for key in before if key.product_id == product]
            words = ["delete", product]
        else:
            words = ["rebuild"]
        said = self._killed(command(*words, *options), len(keys))
        after = facts(self.folder)
        where = f"round {self.round}, {kind}"
        if kind in {"add", "import"}:
            told = [Key(one["ProductId"], one["PicName"]) for one in said if "Status" in one]
            assert told == keys[: len(told)], where
            self.half_done += 0 < len(told) < len(keys)
            done = [keys[:count] for count in range(len(told), min(len(told) + COMMIT_ITEMS, len(keys)) + 1)]
            assert after in [before | {key: self._fact(key) for key in some} for some in done], where
        elif kind == "delete":
            gone = {key: fact for key, fact in before.items() if key not in keys}
            assert after in ([gone] if said else [before, gone]), where
        else:
            assert after == before, where
        self._look(where, after)

    def _fact(self, key: Key) -> tuple[bytes, int]:
        from imgsearch.vision.pipeline import content_hash

        return content_hash((self.shop.folder / key.pic_name).read_bytes()), self.round

    def _killed(self, words: list[str], lines: int) -> list[dict[str, Any]]:
        """Run it until it has said so many lines, or else for so long, as chance has it; return its whole lines."""
        process = subprocess.Popen(
            words, env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        assert process.stdout is not None
        timer = threading.Timer(self.chance.uniform(0, 3), process.kill)
        wanted, said = self.chance.randint(0, lines), b""
        if self.chance.random() < 0.5:
            timer.start()
            wanted = lines + 1
        while piece := process.stdout.read(2**16):
            said += piece
            if said.count(b"\n") > wanted:
                process.kill()
        _, errors = process.communicate(timeout=60)
        timer.cancel()
        assert process.returncode in {0, 4, -signal.SIGKILL}, errors  # 4: nothing is left to rebuild
        self.killed += process.returncode == -signal.SIGKILL
        return [one for one in whole_lines(said) if one.get("Success", True)]

    def _look(self, where: str, stored: Facts) -> None:
        """The instance is sound, and every item is found by its own feature."""
        problems = check(self.folder, read_data=True)
        assert {problem.damage for problem in problems} <= {Damage.LEFTOVER}, f"{where}: {problems}"
        with closing(Engine.open(self.folder)) as engine:
            assert engine.store.count() == len(stored), where
            for key, (content, _) in stored.items():
                item = engine.store.item(key)
                assert item is not None, where
                feature = engine.store.feature(item.id)
                ranking = Ranker(engine).search(Query(feature, content), CALIBRATION, num=3)
                assert (ranking.hits[0].item.content_hash, ranking.hits[0].score) == (content, 1.0), where
                assert ranking.found == len(stored), where
        open_as_writer(self.folder)
        assert check(self.folder) == [], where
        assert leftovers(self.folder) == set(), where
        assert facts(self.folder) == stored, where


KINDS = ("add", "delete", "import", "rebuild")


@pytest.fixture
def rounds(server: OssServer, shop: Shop, folder: Path) -> Callable[[int, int], Rounds]:
    return lambda pictures, seed: Rounds(shop, folder, pictures, seed)


@pytest.mark.extended
def test_killed_a_few_times(rounds: Callable[[int, int], Rounds]) -> None:
    """Each kind of command, until one was quick enough to be killed before it had ended."""
    instance = rounds(12, 3)
    for _ in range(10):
        for kind in KINDS:
            instance.kill_one(kind)
        if instance.killed:
            return
    pytest.fail("no command could be killed")


@pytest.mark.long
def test_killed_three_hundred_times(rounds: Callable[[int, int], Rounds]) -> None:
    instance = rounds(160, 5)
    instance.shop.server.latency = 0.1  # with two downloads at once, an import has several commits
    for number in range(300):
        instance.kill_one(KINDS[number % len(KINDS)])
    assert instance.killed > 100
    assert instance.half_done > 10
