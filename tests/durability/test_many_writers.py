"""Many processes add, some search and one rebuilds, all at once: nothing is lost, no search fails or sees a mixture.

The commands are those of ``commands.py``, each with its wait for the lock; every addition is one commit of BATCH items.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from imgsearch.__main__ import main
from imgsearch.filters.parser import parse_filter
from imgsearch.search.ranking import Query, Ranker
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.check import check
from tests.durability import commands
from tests.durability.commands import BATCH, arithmetic_feature
from tests.durability.system_calls import forked
from tests.durability.trials import content, leftovers
from tests.storage.builders import CALIBRATION

WAIT_S = 300
NUM = 20


def picture(writer: int, batch: int, number: int) -> bytes:
    return b"picture %d of batch %d of writer %d" % (number, batch, writer)


def command(home: Path, name: str, *arguments: object) -> None:
    """One command of the command line, which must succeed, in this process."""
    sys.argv = ["imgsearch", *map(str, arguments)]
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0, (home / f"{name}.err").read_text()


def worker(home: Path, name: str, seconds: float, rounds: Callable[..., Iterator[str]], *arguments: int) -> None:
    """Go through rounds until the time is up; write down what each acknowledged, and at the end what went wrong."""
    commands.prepare(home / f"{name}.out", home / f"{name}.err")
    end = time.monotonic() + seconds
    with (home / f"{name}.done").open("a") as done:
        try:
            for told in rounds(home, name, *arguments):
                done.write(f"{told}\n")
                done.flush()
                if time.monotonic() > end:
                    break
        except BaseException:
            (home / f"{name}.wrong").write_text(traceback.format_exc())
            raise


def adding(home: Path, name: str, writer: int) -> Iterator[str]:
    """Batches of one writer, each by a command."""
    folder = home / name
    folder.mkdir()
    for batch in count():
        lines = []
        for number in range(BATCH):
            pic_name = f"{batch}-{number}.jpg"
            (folder / pic_name).write_bytes(picture(writer, batch, number))
            # A product for each picture: then nothing but its own feature ranks it.
            line = {"OperationType": "ADD", "ProductId": f"{writer}-{batch}-{number}", "PicName": pic_name}
            lines.append(line | {"CategoryId": 3, "StrAttr": f"{writer}-{batch}"})
        (folder / "increment.meta").write_text("\n".join(map(json.dumps, lines)))
        arguments = ("--manifest", folder / "increment.meta", "--lock-timeout", WAIT_S)
        command(home, name, "add", "-i", home / "instance", *arguments)
        yield f"{batch}"


def rebuilding(home: Path, name: str) -> Iterator[str]:
    while True:
        command(home, name, "rebuild", "-i", home / "instance", "--lock-timeout", WAIT_S)
        yield "rebuilt"


def searching(home: Path, name: str, writers: int, seed: int) -> Iterator[str]:
    """What was told as added is found, with the whole of its commit, by a reader that stays and by new ones."""
    chance = np.random.default_rng(seed)
    with closing(Engine.open(home / "instance")) as kept:
        for round_ in count():
            writer = int(chance.integers(writers))
            told = (home / f"add-{writer}.done").read_text().split()
            batch = int(chance.integers(len(told) + 1))  # the last one is under way, or not
            with contextlib.ExitStack() as stack:
                fresh = stack.enter_context(closing(Engine.open(home / "instance"))) if round_ % 3 == 0 else kept
                look(fresh, writer, batch, told=batch < len(told))
            generation = kept.store.generation()
            yield str(generation.number if generation else 0)


def look(engine: Engine, writer: int, batch: int, *, told: bool) -> None:
    """One query over all, and one with a filter; both are of one state of the instance."""
    wanted = picture(writer, batch, 1)
    query = Query(arithmetic_feature(wanted), b"another picture")
    ranking = Ranker(engine).search(query, CALIBRATION, num=NUM)
    assert ranking.found % BATCH == 0, "a commit is there by halves"
    keys = [hit.item.key for hit in ranking.hits]
    assert len(keys) == len(set(keys)) == min(NUM, ranking.found)
    cosines = [
        arithmetic_feature(picture(*map(int, key.product_id.split("-")))) @ arithmetic_feature(wanted) for key in keys
    ]
    assert cosines == sorted(cosines, reverse=True) or np.allclose(cosines, sorted(cosines, reverse=True), atol=2e-3)
    if told:
        assert keys[0].product_id == f"{writer}-{batch}-1", "an acknowledged item is not found"
    filtered = Ranker(engine).search(
        query, CALIBRATION, num=NUM, condition=parse_filter(f'str_attr="{writer}-{batch}"')
    )
    assert filtered.found in ({BATCH} if told else {0, BATCH})
    assert len(filtered.hits) == filtered.found


def crowd(home: Path, writers: int, searchers: int, seconds: float) -> Counter[str]:
    """Let them all go; return how often each kind of worker came round."""
    home.mkdir()
    processes: dict[str, BaseProcess] = {}

    def start(name: str, rounds: Callable[..., Iterator[str]], *arguments: int) -> None:
        (home / f"{name}.done").touch()
        processes[name] = forked(worker, (home, name, seconds, rounds, *arguments))

    first = forked(worker, (home, "first", 0, adding, writers))  # so that there is something to search and to rebuild
    first.join()
    for number in range(writers):
        (home / f"add-{number}.done").touch()
    for number in range(searchers):
        start(f"search-{number}", searching, writers, number)
    for number in range(writers):
        start(f"add-{number}", adding, number)
    start("rebuild-0", rebuilding)
    for process in processes.values():
        process.join()
    assert [path.read_text() for path in home.glob("*.wrong")] == []
    told = {
        (writer, batch)
        for writer in range(writers)
        for batch in range(len((home / f"add-{writer}.done").read_text().split()))
    } | {(writers, 0)}
    stored = {tuple(map(int, key.product_id.split("-"))) for key in content(home / "instance")}
    assert stored == {(*batch, number) for batch in told for number in range(BATCH)}
    assert check(home / "instance", read_data=True) == []
    assert leftovers(home / "instance") == set()
    rounds = Counter[str]()
    for name in processes:
        rounds[name.split("-")[0]] += len((home / f"{name}.done").read_text().split())
    generations = {line for path in home.glob("search-*.done") for line in path.read_text().split()}
    rounds["generations seen"] = len(generations)
    return rounds


@pytest.mark.extended
def test_a_few_at_once(tmp_path: Path) -> None:
    """Three add, two search, one rebuilds."""
    rounds = crowd(tmp_path / "home", writers=3, searchers=2, seconds=3)
    assert min(rounds[kind] for kind in ("add", "search", "rebuild")) > 0


@pytest.mark.long
def test_many_at_once(tmp_path: Path) -> None:
    """Eight add, four search, one rebuilds in a loop, for a minute."""
    rounds = crowd(tmp_path / "home", writers=8, searchers=4, seconds=60)
    assert rounds["add"] > 40
    assert rounds["search"] > 100
    assert rounds["rebuild"] > 5
    assert rounds["generations seen"] > 5
