"""Commands that write, each with the instance it begins with, and what must hold whenever one of them is cut short."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imgsearch.instance import Instance
from imgsearch.jobs.creation import make
from imgsearch.search.ranking import Query, Ranker
from imgsearch.service.categories import OTHER, Kind
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.check import check
from imgsearch.storage.integrity.problems import Damage
from imgsearch.storage.lock import LOCK_NAME, writer_lock
from imgsearch.storage.records import FEATURE_TYPE
from imgsearch.storage.sqlite.schema import APPLICATION_ID, MIGRATIONS
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.storage.successor import SUCCESSOR_NAME
from imgsearch.values import Key
from imgsearch.vision.limits import LIMIT_PROFILES
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS, ModelRecord
from tests.conftest import whole_lines
from tests.durability import commands
from tests.durability.system_calls import Action, Call, Decision, watched
from tests.storage.builders import CALIBRATION, Features, change, of_products

Content = dict[Key, tuple[Any, ...]]
"""Key to everything that is stored of an item, but its id and its token."""

STORED = (
    "SELECT product_id, pic_name, category_id, category_given, region_mode, x1, x2, y1, y2, subjects, content_hash, "
    "custom_content, int_attr, str_attr, feature FROM items JOIN features ON features.id = items.id"
)


def content(folder: Path) -> Content:
    """What an instance holds; nothing where there is none."""
    if not Engine.exists(folder):
        return {}
    with closing(sqlite3.connect(f"{(folder / DATABASE_NAME).as_uri()}?mode=ro", uri=True)) as connection:
        return {Key(*row[:2]): row[2:] for row in connection.execute(STORED)}


@dataclass(frozen=True)
class Case:
    """A command that writes, and the instance that it begins with."""

    name: str
    begin: Callable[[Place], None]
    """Makes that instance."""
    arguments: Callable[[Place], list[str]]
    exit_again: int = 0
    """What the same command ends with when it has been done already."""
    sound: bool = True
    """The instance is sound at the beginning."""
    library: bool = False
    """``import_and_rebuild`` instead of the command line."""
    large: bool = False
    """Its index has inverted lists, as that of a large instance."""

    def __str__(self) -> str:
        return self.name

    def work(self, place: Place) -> Callable[[], None]:
        """What a process of its own does; it can be pickled."""
        if self.library:
            lines = place.pictures / "increment.meta"
            return partial(commands.import_and_rebuild, place.instance, lines, place.output, place.errors)
        return place.command(self.arguments(place), large=self.large)


@dataclass(frozen=True)
class Place:
    """A folder for one case: pictures beside ``home``, the only folder that is watched, with the instance in it."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def instance(self) -> Path:
        return self.home / "instance"

    @property
    def pictures(self) -> Path:
        return self.root / "pictures"

    @property
    def output(self) -> Path:
        return self.root / "stdout"

    @property
    def errors(self) -> Path:
        return self.root / "stderr"

    def lines(self) -> list[dict[str, Any]]:
        """What the last command acknowledged on stdout, as far as whole lines go."""
        documents = whole_lines(self.output.read_bytes()) if self.output.exists() else []
        return [document for document in documents if document.get("Success", True)]

    def command(self, arguments: list[str], *, large: bool = False) -> Callable[[], None]:
        """A command line, for a process of its own."""
        return partial(commands.run, arguments, self.output, self.errors, large=large)

    def run(self, work: Callable[[], None], decide: Callable[[Call], Decision] = lambda call: Action.PASS) -> int:
        """Have a process that is watched do some work; return its exit code."""
        self.output.unlink(missing_ok=True)
        return watched(work, (), self.home, decide)

    def done(self, *arguments: object) -> None:
        """Run a command that must succeed."""
        code = self.run(self.command([str(argument) for argument in arguments]))
        assert code == 0, self.errors.read_text()


@dataclass
class Course:
    """A case when nothing comes between: what it did, and which states are whole."""

    case: Case
    place: Place
    steps: list[str] = field(default_factory=list)
    """Its calls, in order."""
    before: Content = field(default_factory=dict)
    after: Content = field(default_factory=dict)
    told: list[list[Key]] = field(default_factory=list)
    """The keys of each line of output; the last one, the summary, tells all."""
    batches: list[int] = field(default_factory=list)
    """After how many lines a commit was complete."""

    @classmethod
    def of(cls, case: Case, place: Place) -> Course:
        """Run it, and keep the instance that it began with."""
        place.home.mkdir()
        case.begin(place)
        shutil.copytree(place.home, place.root / "template")
        course = cls(case, place, before=content(place.instance))
        course.reset()  # reading has made files, too
        seen = {0}

        def watch(call: Call) -> Decision:
            if call.changes:
                course.steps.append(call.step)
                seen.add(len(place.lines()))
            return Action.PASS

        code = course.run(watch)
        assert code == 0, place.errors.read_text()
        lines = place.lines()
        course.after = content(place.instance)
        course.told = [
            [Key(one["ProductId"], one["PicName"]) for one in (line.get("From"), line) if one is not None]
            for line in lines[:-1]
        ]
        course.batches = sorted(seen - {len(lines)} | {len(course.told), len(lines)})
        return course

    def reset(self) -> None:
        """Put the instance back that the case begins with."""
        shutil.rmtree(self.place.home)
        shutil.copytree(self.place.root / "template", self.place.home)

    def run(self, decide: Callable[[Call], Decision]) -> int:
        return self.place.run(self.case.work(self.place), decide)

    def state(self, lines: int) -> Content:
        """What must be stored when so many lines count."""
        if lines > len(self.told) or not self.told:
            return self.after if lines else self.before
        state = dict(self.before)
        for key in (key for keys in self.told[:lines] for key in keys):
            state.pop(key, None)
            if key in self.after:
                state[key] = self.after[key]
        return state

    def allowed(self, lines: int) -> list[Content]:
        """What may be stored when so many lines were read: what they say, and the next commit as a whole or nothing."""
        following = [batch for batch in self.batches if batch > lines]
        return [self.state(count) for count in (lines, *following[:1])]

    def assert_kept(self, folder: Path, lines: int, where: str) -> None:
        """What a folder must hold in which the command was cut short after so many lines had been read.

        Nothing acknowledged is lost, nothing is there by halves, and the next writer clears away what is left over.
        """
        allowed = self.allowed(lines)
        assert content(folder) in allowed, where
        assert Engine.exists(folder) or not lines, where
        if (self.case.sound or lines) and Engine.exists(folder):
            searchable(folder, where)
            problems = check(folder, read_data=True)
            assert {problem.damage for problem in problems} <= {Damage.LEFTOVER}, f"{where}: {problems}"
            open_as_writer(folder)
            assert check(folder, read_data=True) == [], where
            assert content(folder) in allowed, where
            assert leftovers(folder) == set(), where

    def assert_whole(self, where: str) -> None:
        """What holds after a command was cut short: ``assert_kept``, and run again, it ends as if nothing had been."""
        folder = self.place.instance
        self.assert_kept(folder, len(self.place.lines()), where)
        done = content(folder) == self.after and Engine.exists(folder) and bool(self.case.exit_again)
        code = self.run(lambda call: Action.PASS)
        assert code == (self.case.exit_again if done else 0), f"{where}: {self.place.errors.read_text()}"
        open_as_writer(folder)  # the same command need not write any more
        assert content(folder) == self.after, where
        assert check(folder, read_data=True) == [], where
        assert leftovers(folder) == set(), where


def searchable(folder: Path, where: str) -> None:
    """Every item is found by its own feature, first, and once."""
    with closing(Engine.open(folder)) as engine:
        items = content(folder)
        for key, (*_, feature) in items.items():
            item = engine.store.item(key)
            assert item is not None
            # As it is stored, whatever the instance is tuned to.
            query = Query(_vector(feature), b"another picture", item_id=item.id)
            ranking = Ranker(engine).search(query, CALIBRATION, num=len(items))
            assert ranking.found == len(items), where
            names = [hit.item.key for hit in ranking.hits]
            assert names[0] == key, where
            assert len(set(names)) == len(items), where


def _vector(feature: bytes) -> Features:
    return np.frombuffer(feature, FEATURE_TYPE).astype(np.float32)


def open_as_writer(folder: Path) -> None:
    """What every writer does first."""
    with writer_lock(folder):
        Engine.open(folder, write=True).close()


def leftovers(folder: Path) -> set[str]:
    """What lies in an instance that nobody needs while nobody writes."""
    with closing(Engine.open(folder)) as engine:
        generation, model = engine.store.generation(), ModelRecord.from_dict(engine.store.made_by())
    needed = {DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm", LOCK_NAME} | (
        {generation.file_name} if generation else set()
    )
    if model.is_older:  # a reindex may have been begun
        needed.add(SUCCESSOR_NAME)
    return {path.name for path in folder.iterdir()} - needed


# Cases


def write_pictures(place: Place, numbers: Iterable[int], version: int = 0) -> None:
    """Files whose bytes say nothing but number and version; two pictures of each product."""
    for number in numbers:
        path = place.pictures / f"p{number // 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture %d, %d%s" % (number, version, b" " * (number % 7)))


def write_lines(place: Place, lines: Iterable[dict[str, Any]]) -> None:
    place.pictures.mkdir(exist_ok=True)
    (place.pictures / "increment.meta").write_text("".join(json.dumps(line) + "\n" for line in lines))


def add_line(number: int, **fields: Any) -> dict[str, Any]:
    name = f"p{number // 2}/{number}.jpg"
    return {"OperationType": "ADD", "ProductId": f"p{number // 2}", "PicName": name, "IntAttr": number, **fields}


def nothing(place: Place) -> None:
    """No instance, and pictures for one."""
    write_pictures(place, range(10))
    write_lines(place, [add_line(number) for number in range(10)])


def indexed(place: Place) -> None:
    """Ten items in an index, and two beside it."""
    nothing(place)
    place.done("add", "-i", place.instance, "--manifest", place.pictures / "increment.meta")
    write_pictures(place, (10, 11))
    write_lines(place, [add_line(number) for number in (10, 11)])
    place.done("add", "-i", place.instance, "--manifest", place.pictures / "increment.meta")


def large(place: Place) -> None:
    """The same with all of them in inverted lists."""
    indexed(place)
    code = place.run(place.command(["rebuild", "-i", str(place.instance)], large=True))
    assert code == 0, place.errors.read_text()


def changed(place: Place) -> None:
    """``indexed``, with a manifest that does everything: new, changed, unchanged and deleted pictures, attributes."""
    indexed(place)
    write_pictures(place, (0, 3, 12, 13))
    write_pictures(place, (0, 3), version=1)
    lines = [add_line(0), add_line(12), add_line(4, IntAttr=99), add_line(6), add_line(3, StrAttr="new"), add_line(13)]
    lines += [{"OperationType": "DELETE", "ProductId": "p5"}, add_line(7, CustomContent="text")]
    lines += [{"OperationType": "DELETE", "ProductId": "p4", "PicName": "p4/8.jpg"}]
    write_lines(place, lines)


def touched(place: Place) -> None:
    """The same pictures with other times, so that they are read, found unchanged, and their new token is stored."""
    indexed(place)
    write_lines(place, [add_line(number) for number in range(12)])
    for path in place.pictures.rglob("*.jpg"):
        os.utime(path, (1, 1))


def moved(place: Place) -> None:
    """An instance that was synchronised with a folder in which pictures are gone, renamed, changed and new since."""
    write_pictures(place, range(12))
    place.done("sync", "-i", place.instance, place.pictures)
    (place.pictures / "p0" / "0.jpg").unlink()
    (place.pictures / "p5" / "11.jpg").unlink()
    (place.pictures / "p1" / "2.jpg").rename(place.pictures / "p1" / "two.jpg")
    (place.pictures / "p4").rename(place.pictures / "q4")
    write_pictures(place, (6,), version=1)
    write_pictures(place, (12, 13))


def older(place: Place) -> None:
    """The same items and index in an instance of format 1."""
    indexed(place)
    with closing(sqlite3.connect(place.instance / DATABASE_NAME)) as newer:
        newer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    aside = (place.instance / DATABASE_NAME).rename(place.root / "newer.db")
    with closing(sqlite3.connect(place.instance / DATABASE_NAME, isolation_level=None)) as old:
        old.executescript(f"PRAGMA journal_mode = WAL; BEGIN; {MIGRATIONS[0]}")
        old.execute("COMMIT")
        old.execute("ATTACH ? AS newer", (str(aside),))
        for table in ("settings", "roots", "items", "features", "generations", "removed"):
            names = ", ".join(row[1] for row in old.execute(f"PRAGMA main.table_info({table})"))
            old.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM newer.{table}")
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")


def damaged(place: Place) -> None:
    """An item has lost its feature, the counts are wrong, and the index is gone."""
    indexed(place)
    with closing(sqlite3.connect(place.instance / DATABASE_NAME, isolation_level=None)) as connection:
        connection.execute("DELETE FROM features WHERE id = 5")
        connection.execute("UPDATE counts SET items = items + 1")
    for path in place.instance.glob("index-*.faiss"):
        path.unlink()


def outdated(place: Place) -> None:
    """An instance of an older feature version, a reindex of which is begun and has items that are gone since.

    The pictures have changed, so that what takes its place differs from what was.
    """
    nothing(place)
    record = replace(EMBEDDED_MODELS[DEFAULT_MODEL], feature_version=2)
    make(place.instance, Kind.PRODUCT, LIMIT_PROFILES["local"], None, record)
    place.done("add", "-i", place.instance, "--manifest", place.pictures / "increment.meta")
    (place.pictures / "p4" / "9.jpg").rename(place.root / "aside.jpg")
    assert place.run(place.command(["add", "--reindex", "-i", str(place.instance)])) == 1
    (place.root / "aside.jpg").rename(place.pictures / "p4" / "9.jpg")
    place.done("delete", "-i", place.instance, "p1")
    write_pictures(place, (10, 11))
    write_lines(place, [add_line(number) for number in (0, 10, 11)])
    write_pictures(place, (0,), version=1)
    place.done("add", "-i", place.instance, "--manifest", place.pictures / "increment.meta")
    write_pictures(place, (9, 10, 11), version=1)


def tunable(place: Place) -> None:
    """Products whose pictures differ by what can be unlearned, in an index."""
    features = of_products(12, 3, view=0.5)
    Instance.create(place.instance, Kind.GENERIC)
    with writer_lock(place.instance), closing(Engine.open(place.instance, write=True)) as engine:
        with engine.committing() as store:
            for number, feature in enumerate(features):
                content = number.to_bytes(16, "big")
                store.upsert(change(f"p{number // 3}", f"{number}.jpg", feature, content=content, category=OTHER))
        engine.rebuild()


def tuned(place: Place) -> None:
    """The same, tuned."""
    tunable(place)
    place.done("tune", "-i", place.instance)


def _add(place: Place) -> list[str]:
    lines = place.pictures / "increment.meta"
    return ["add", "-i", str(place.instance), "--manifest", str(lines), "--format", "jsonl"]


def _sync(place: Place) -> list[str]:
    return ["sync", "-i", str(place.instance), str(place.pictures), "--format", "jsonl"]


def _command(*words: str) -> Callable[[Place], list[str]]:
    return lambda place: [words[0], "-i", str(place.instance), *words[1:], "--format", "json"]


CASES = {
    case.name: case
    for case in (
        Case("init", lambda place: None, _command("init"), exit_again=2),
        Case("add to no instance", nothing, _add),
        Case("add, replace, delete and change", changed, _add),
        Case("remember tokens", touched, _add),
        Case("sync", moved, _sync),
        Case("delete a picture", indexed, _command("delete", "p2", "p2/4.jpg")),
        Case("delete a product", indexed, _command("delete", "p2")),
        Case("delete by filter", indexed, _command("delete", "--filter", "int_attr<7")),
        Case("rebuild", indexed, _command("rebuild")),
        Case("rebuild a large instance", large, _command("rebuild"), large=True),
        Case("tune", tunable, _command("tune")),
        Case("reset the tuning", tuned, _command("tune", "--reset")),
        Case("import and rebuild", changed, _add, library=True),
        Case("reindex", outdated, _command("add", "--reindex")),
        Case("migrate", older, _command("info")),
        Case("repair", damaged, _command("check", "--repair"), sound=False),
    )
}

ITEM = ("--product-id", "p2", "--pic-name", "p2/4.jpg")

READING = {
    case.name: case
    for case in (
        Case("search", indexed, _command("search", *ITEM, "--any-category")),
        Case("search a large instance", large, _command("search", *ITEM, "--any-category")),
        Case("check", indexed, _command("check")),
        Case("check all", indexed, _command("check", "--read-data")),
        Case("info", indexed, _command("info")),
    )
}
"""Commands that only read, and may still have to make SQLite's shared memory."""
