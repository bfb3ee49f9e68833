"""An import that is killed at any moment: running it again goes on, and ends where an uninterrupted one ends.

Contract: what a line of output acknowledged is never downloaded again, nothing of a picture is left anywhere, and the
instance is in the end the one that was never killed.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import whole_lines
from tests.leaks import LeakScanner
from tests.oss_shop import FOLDER, Shop, content, copy_samples, line


def kill_and_go_on(shop: Shop, folder: Path, cache: Path, pictures: int, rounds: int, seed: int) -> None:
    """Kill imports into new instances, each at another moment, and finish each in a second run."""
    begun = time.time()
    names = copy_samples(shop.folder, pictures)
    shop.write([line(name, IntAttr=number) for number, name in enumerate(names)])
    assert shop.run(folder / "whole").returncode == 0
    shop.server.latency = 0.05  # with two downloads at once, several commits lie between the first and the last
    expected = content(folder / "whole")
    scanner = LeakScanner(shop.pictures(), decoded=False)
    assert len(expected) == pictures
    chance = random.Random(seed)
    interrupted = 0
    for number in range(rounds):
        instance = folder / f"killed-{number}"
        process = shop.start(instance, "--format", "jsonl", "--downloads", 2)
        # The moment is told by how far the work is, which a busy machine does not move; the last ones are near its end.
        wait_for_downloads(shop, process, pictures * (number + chance.random()) / rounds)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        stdout, _ = process.communicate()
        acknowledged = {document["PicName"] for document in whole_lines(stdout) if document.get("Status") == "added"}
        interrupted += 0 < len(acknowledged) < pictures
        places = [instance, *(Path(shop.environment[name]) for name in ("TMPDIR", "HOME"))]
        assert scanner.found(places) == []
        before = {name: shop.server.counts[f"GET {FOLDER}/{name}"] for name in acknowledged}
        again = shop.run(instance)
        assert again.returncode == 0, again.stderr
        assert again.document["Unchanged"] >= len(acknowledged)
        assert {name: shop.server.counts[f"GET {FOLDER}/{name}"] for name in acknowledged} == before
        assert content(instance) == expected
    assert scanner.found([folder, cache], since=begun) == []
    assert interrupted >= rounds / 4, "the moments were not in the middle of the work"


def wait_for_downloads(shop: Shop, process: subprocess.Popen[bytes], count: float) -> None:
    """Until so many more pictures have been sent."""
    before = shop.downloads()
    while shop.downloads() - before < count and process.poll() is None:
        time.sleep(0.005)


@pytest.mark.extended
def test_killed(shop: Shop, folder: Path, cache: Path) -> None:
    """A few moments."""
    kill_and_go_on(shop, folder, cache, pictures=80, rounds=3, seed=7)


@pytest.mark.extended
def test_interrupted(shop: Shop, folder: Path) -> None:
    """Ctrl-C: exit code 130 once the downloads under way have ended, and the log says so; running again goes on."""
    names = copy_samples(shop.folder, 80)
    shop.write([line(name) for name in names])
    process = shop.start(folder, "--format", "jsonl", "--downloads", 2, "--log-file", folder.parent / "log")
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    done = sum("Status" in document for document in whole_lines(first + rest))  # the last one says that it ended
    assert (process.returncode, b"interrupted" in errors) == (130, True), errors
    assert 0 < done < 80
    assert "interrupted" in (folder.parent / "log").read_text()
    again = shop.run(folder)
    assert again.document["Added"] + again.document["Unchanged"] == 80
    assert again.document["Unchanged"] >= done


@pytest.mark.long
def test_killed_twenty_times(shop: Shop, folder: Path, cache: Path) -> None:
    """Twenty moments over more pictures than one commit takes."""
    kill_and_go_on(shop, folder, cache, pictures=400, rounds=20, seed=11)
