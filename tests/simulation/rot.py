"""Bits that flip on the disk: every answer is right or says what is damaged, and a repair tells all that is lost."""

from __future__ import annotations

import errno
import random
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from imgsearch.errors import (
    ImgsearchError,
    InstanceDamaged,
    InstanceLocked,
    NewerFormat,
    OlderFormat,
    StorageError,
    StorageUnwritable,
)
from imgsearch.storage.integrity.problems import Loss, Repair
from imgsearch.storage.lock import HOLDER_NAME, LOCK_NAME
from imgsearch.storage.records import FEATURE_TYPE
from imgsearch.storage.sqlite.schema import PAGE_BYTES
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.vision.pipeline import content_hash
from tests.simulation.given import GivenInstance, feature_of
from tests.simulation.history import Finding
from tests.simulation.machine import Cut, Event, PowerLoss
from tests.storage.arithmetic import Sight
from tests.storage.known import State, Told

if TYPE_CHECKING:
    from tests.simulation.life import Life
    from tests.simulation.machine import Machine

__all__ = ["rot_and_repair"]

READS, WIDE_SEARCHES = 6, 6
FAULTY, MOST_STEPS = 5, 200
"""One in so many repairs meets a fault at one of its first steps."""
UNREADABLE, MOST_READS = 7, 300
"""In one of so many repairs, one of the first reads fails."""
FAULTS: tuple[int | Cut, ...] = errno.ENOSPC, errno.EIO, Cut.POWER
ALONE = 3
"""One in so many bits flips while another program has the instance open."""
AT_ONCE = 54
"""Wide searches more, if it is an index: it only chooses candidates, so that one wrong number in it seldom changes an
answer."""
WRITTEN, REBUILT = 0.4, 0.3
"""Shares of the damaged instances that somebody writes before anybody repairs them, and of these writes that are new
indexes."""
SPOILT = 0.2
"""Share of the places where no bit flips, but a sector cannot be read any more. FAISS maps files, and reads on."""
SEQUENCE_PAGE = 6
"""Where SQLite keeps the last id, once."""
FORMAT_BYTES = range(60, 64)
"""Where the header of a database says its format, which no checksum covers."""
HIGH_BIT = 64
"""In the exponents of features, where one bit makes another answer."""
NO_DATA = (LOCK_NAME, HOLDER_NAME, "-shm")


_DAMAGED = (InstanceDamaged, StorageUnwritable)
"""What is said of bits that have flipped, and of sectors that cannot be read."""


def rot_and_repair(life: Life, chance: random.Random) -> str:
    """Flip a bit of an instance, read and write it as it is, and repair it; what was done, in words."""
    if chance.random() < 0.4:
        life.die_with_a_log()
    life.close()
    path, offset = _place(life, chance)
    with ExitStack() as others:
        if offset % ALONE == 0:
            others.enter_context(closing(_opened(life.folder, reads=bool(offset % (2 * ALONE)))))
        if chance.random() < SPOILT:
            return _spoil_and_repair(life, chance, path, offset)
        return _flip_and_repair(life, chance, path, offset, others)


def _opened(folder: Path, *, reads: bool) -> sqlite3.Connection:
    """Another program's connection, which may be reading: SQLite goes by the memory that they share, not by the log."""
    connection = _connected(folder)
    if reads:
        connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM items").fetchone()
    return connection


def _connected(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{(folder / DATABASE_NAME).as_uri()}?mode=ro", uri=True, isolation_level=None)


def _flip_and_repair(life: Life, chance: random.Random, path: Path, offset: int, others: ExitStack) -> str:
    """The same, with others who have it open until they are closed."""
    bit = chance.choice((HIGH_BIT, 1 << chance.randrange(8)))
    _flip(life.machine, path, offset, bit)
    told = f"{path.name} at {offset}, bit {bit}"
    is_format = path.suffix == ".db" and offset in FORMAT_BYTES
    seen = _read(life, chance, AT_ONCE if path.suffix == ".faiss" else 0)
    if chance.random() < WRITTEN and _write(life, chance):
        seen = ""  # it may have replaced what was damaged
    try:
        problems = [one for one in GivenInstance.check(life.folder, read_data=True) if not one.damage.is_harmless]
    except (NewerFormat, OlderFormat):
        if not is_format:
            raise
        _flip(life.machine, path, offset, bit)
        life.open()
        return f"{told}: another format"
    if not problems:
        if seen:
            raise Finding(f"{told}: a check finds nothing, and reading says {seen}")
        life.open()
        life.history.settle(life.observed())
        return f"{told}: of no use"
    repair = _repaired(life, offset, others)
    left = [one for one in repair.problems if not one.damage.is_harmless]
    if left:
        raise Finding(f"{told}: a repair leaves {left[0].message}")
    life.open()
    _account(life, repair, told)
    return f"{told}: {problems[0].damage.name}, {len(repair.lost)} lost"


def _spoil_and_repair(life: Life, chance: random.Random, path: Path, offset: int) -> str:
    """The same with a sector that cannot be read; what it held is lost, and all else is brought back."""
    life.machine.spoil(path, offset)
    told = f"{path.name} unreadable at {offset}"
    said = _read(life, chance, 0)
    if chance.random() < WRITTEN and _write(life, chance, _DAMAGED):
        said = ""
    try:
        problems = [one for one in GivenInstance.check(life.folder, read_data=True) if not one.damage.is_harmless]
        repair = GivenInstance.repair(life.folder)
    except (StorageError, InstanceDamaged) as error:
        if path.suffix == ".faiss" or (path.suffix == ".db" and offset >= PAGE_BYTES):
            raise Finding(f"{told}: a repair gives up: {error}") from error
        life.machine.heal()  # the first page, or the log: a backup, or another attempt of the disk
        life.open()
        life.history.settle(life.observed())
        return f"{told}: beyond repair"
    if said and not problems:
        raise Finding(f"{told}: a check finds nothing, and reading says {said}")
    left = [one for one in repair.problems if not one.damage.is_harmless]
    if left:
        raise Finding(f"{told}: a repair leaves {left[0].message}")
    life.open()
    _account(life, repair, told, keeps_ids=path.suffix != ".db" or offset // PAGE_BYTES + 1 != SEQUENCE_PAGE)
    life.machine.heal()  # nothing is stored there
    return f"{told}: {problems[0].damage.name if problems else 'of no use'}, {len(repair.lost)} lost"


def _repaired(life: Life, offset: int, others: ExitStack) -> Repair:
    """What a repair does; if it fails, loses its power, or others hold it up and end, another one does the rest."""
    events = [Event(offset % MOST_STEPS, FAULTS[offset // FAULTY % len(FAULTS)])] if offset % FAULTY == 0 else []
    failing_read = offset % MOST_READS if offset % UNREADABLE == 0 else None
    seen = life.machine.seen.total()
    lost: list[Loss] = []
    try:
        with life.machine.plan(events, failing_read), life._stoppable():
            first = GivenInstance.repair(life.folder)
        if life.machine.seen.total() == seen or not first.problems:
            return first
        lost = first.lost  # what it could not read, it could not repair
    except PowerLoss:
        others.close()
        life._restart()
        lost = _put_aside(life.folder)  # it may have been about to tell
    except InstanceLocked:
        others.close()
    except (StorageError, InstanceDamaged):
        if life.machine.seen.total() == seen:
            raise
        others.close()
        lost = _put_aside(life.folder)
    second = GivenInstance.repair(life.folder)
    return Repair(second.repaired, lost + second.lost, second.problems)


def _put_aside(folder: Path) -> list[Loss]:
    """All items that repairs have put aside; none if nobody can tell."""
    with closing(_connected(folder)) as connection, suppress(sqlite3.Error):
        rows = connection.execute("SELECT product_id, pic_name FROM quarantine").fetchall()
        return [Loss(product_id, pic_name, "put aside") for product_id, pic_name in rows]
    return []


def _place(life: Life, chance: random.Random) -> tuple[Path, int]:
    """Anywhere in any file, or where a known item lies: most of a small file is empty."""
    files = [path for path in sorted(life.folder.iterdir()) if path.is_file() and not path.name.endswith(NO_DATA)]
    sizes = [path.stat().st_size for path in files]
    path = chance.choice([path for path, size in zip(files, sizes, strict=True) if size])
    log = life.folder / f"{DATABASE_NAME}-wal"
    if log in files and log.stat().st_size and chance.random() < 0.5:
        return log, chance.randrange(log.stat().st_size)
    items = life.history.present.items
    if items and chance.random() < 0.7:
        key = chance.choice(list(items))
        feature = feature_of(items[key].number, items[key].region).astype(FEATURE_TYPE).tobytes()
        indexes = [one for one in files if one.suffix == ".faiss"]
        if indexes and chance.random() < 0.5:
            path, text = indexes[0], feature
        else:
            sight = Sight(items[key].number, items[key].has_token)
            texts = feature, f"{key.product_id}{key.pic_name}".encode(), content_hash(sight.data)[8:], sight.token()
            path, text = life.folder / DATABASE_NAME, chance.choice(texts) or feature
        at = path.read_bytes().find(text)
        if at >= 0:
            return path, at + chance.randrange(len(text))
    return path, chance.randrange(path.stat().st_size)


def _flip(machine: Machine, path: Path, offset: int, bit: int) -> None:
    with path.open("rb") as file:
        file.seek(offset)
        flipped = bytes([file.read(1)[0] ^ bit])
    machine.overwrite(path, offset, flipped)


def _read(life: Life, chance: random.Random, at_once: int) -> str:
    """Read here and there; what was said to be damaged, if anything was."""
    said = ""
    try:
        life.open()
    except ImgsearchError as error:
        if not isinstance(error, (*_DAMAGED, NewerFormat, OlderFormat)):
            raise
        return str(error)
    everything: list[tuple[str, Callable[[], object]]] = [
        ("all items", partial(life.reading.items, chance)),
        ("all features", life.observed),
        *[("all candidates", partial(life.reading.search_widely, chance))] * WIDE_SEARCHES,
    ]
    if at_once:
        everything.append(("all candidates", partial(life.reading.search_widely_at_once, chance, at_once)))
    for number in range(READS + len(everything)):
        name, read = everything[number - READS] if number >= READS else life.reading.draw(chance)
        try:
            read()
        except _DAMAGED as error:
            said = f"{name}: {error}"
    with suppress(InstanceDamaged):
        life.close()
    return said


def _write(life: Life, chance: random.Random, excuses: tuple[type[ImgsearchError], ...] = (InstanceDamaged,)) -> bool:
    """Change what is damaged before anybody repairs it; whether this was done, and not given up for these errors."""
    try:
        life.open()
    except (*excuses, NewerFormat, OlderFormat):
        return False
    write = life._drawn(rebuilds=chance.random() < REBUILT)
    if write.name == "repair":  # which is to find nothing
        life.close()
        return False
    before, told, outcome = life.history.begin(write.states), list[Told](), "done"
    try:
        life.perform(write, told, before)
    except excuses:
        outcome = "given up"
    else:
        life.finish(write, told)
    life._log(f"on damage: {write.name}", outcome)
    with suppress(*excuses):
        life.close()
    return outcome == "done"


def _account(life: Life, repair: Repair, told: str, *, keeps_ids: bool = True) -> None:
    """All that is not there any more is named, and nothing else has changed.

    Args:
        life: of the instance.
        repair: what it told.
        told: what was done before.
        keeps_ids: ids are not given again.
    """
    now = life.observed()
    found = [_unaccounted(before, now, repair, keeps_ids=keeps_ids) for before in life.history.possible()]
    if None not in found:
        raise Finding(f"{told}: after a repair, {found[0]}")
    life.history.replace(State(now.items, now.last_id))


def _unaccounted(before: State, now: State, repair: Repair, *, keeps_ids: bool) -> str | None:
    """What a repair has changed, if this was there before, without saying so."""
    named = {(loss.product_id, loss.pic_name) for loss in repair.lost}
    loses_names = any(loss.product_id is None for loss in repair.lost)
    for key, known in before.items.items():
        found = now.items.get(key)
        is_told = found is None and (loses_names or (key.product_id, key.pic_name) in named)
        if found != known and not is_told:
            return f"{key} is {found} instead of {known}"
    if new := now.items.keys() - before.items.keys():
        return f"there is {min(new)}, which was not there before"
    if keeps_ids and now.last_id < before.last_id:
        return f"ids are given again from {now.last_id} on, not from {before.last_id}"
    return None
