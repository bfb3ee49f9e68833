"""Synchronising with folders (docs/cli.md, ``sync``).

Contract: afterwards the instance holds what lies below the folders, and what came from elsewhere; an item goes only if
its file certainly does not exist; a renamed picture keeps its feature, and its two keys change in one commit; what
would empty a catalogue is refused.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from imgsearch.errors import InvalidValue, NothingFound, TooManyDeletions, UnreadableSource
from imgsearch.jobs.sync import MaxDelete
from imgsearch.shards import Shard, shard_of
from imgsearch.sources.files import FileRequest
from imgsearch.sources.walking import PassedOver
from imgsearch.types import Status
from imgsearch.values import Key, PictureOptions
from imgsearch.vision.picture_hash import HASH_BYTES
from imgsearch.vision.pipeline import content_hash
from tests.sources.test_files import another_user
from tests.storage.arithmetic import ArithmeticInstance, ArithmeticPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.types import Content, Extracted, Outcome


@pytest.fixture
def instance(folder: Path) -> Iterator[ArithmeticInstance]:
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as opened:
        yield opened


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten pictures in two folders, written long ago."""
    root = tmp_path / "pictures"
    for number in range(10):
        write(root / f"{'ab'[number % 2]}/{number}.jpg", number)
    return root


def write(path: Path, number: int) -> None:
    """A picture whose bytes hold a number; its times are old enough to be trusted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"picture %d" % number)
    os.utime(path, (1, 1))


@pytest.fixture(autouse=True)
def _later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files written just now have tokens, too."""
    now = time.time_ns
    monkeypatch.setattr("imgsearch.sources.files.time.time_ns", lambda: now() + 10**10)


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What a network would have seen."""
    seen: list[bytes] = []
    extract = ArithmeticPipeline._extract_each

    def watched(self: ArithmeticPipeline, content: Content, *arguments: Any, **options: Any) -> Iterator[Extracted]:
        seen.append(content.data)
        for found in extract(self, content, *arguments, **options):
            yield replace(found, picture_hash=content_hash(content.data)[:HASH_BYTES])

    monkeypatch.setattr(ArithmeticPipeline, "_extract_each", watched)
    return seen


def told(outcomes: list[Outcome]) -> dict[str, list[str]]:
    """PicNames by status; unchanged ones left out."""
    found: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.status is not Status.UNCHANGED:
            found.setdefault(str(outcome.status), []).append(outcome.pic_name or outcome.source)
    return {status: sorted(names) for status, names in found.items()}


def names(instance: ArithmeticInstance) -> list[str]:
    return sorted(item.key.pic_name for item in instance.items())


def on_disk(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))


def test_what_has_changed_is_told_and_done(
    instance: ArithmeticInstance, pictures: Path, extracted: list[bytes]
) -> None:
    """Removed, renamed, moved, changed and new, and nothing else; only new bytes are extracted."""
    assert told(instance.sync([pictures])) == {"added": on_disk(pictures)}
    before = {item.key: item.content_hash for item in instance.items()}
    extracted.clear()
    assert told(instance.sync([pictures])) == {}
    (pictures / "a" / "0.jpg").unlink()
    (pictures / "a" / "2.jpg").rename(pictures / "a" / "two.jpg")
    (pictures / "b" / "1.jpg").rename(pictures / "a" / "1.jpg")
    write(pictures / "a" / "4.jpg", 104)
    write(pictures / "c" / "5.jpg", 105)
    outcomes = instance.sync([pictures])
    assert told(outcomes) == {
        "deleted": ["a/0.jpg"],
        "renamed": ["a/1.jpg", "a/two.jpg"],
        "replaced": ["a/4.jpg"],
        "added": ["c/5.jpg"],
    }
    former = {one.pic_name: one.renamed_from for one in outcomes if one.status is Status.RENAMED}
    assert former == {"a/1.jpg": Key("b/1", "b/1.jpg"), "a/two.jpg": Key("a/2", "a/2.jpg")}
    assert sorted(extracted) == [b"picture 104", b"picture 105"]
    assert names(instance) == on_disk(pictures)
    assert instance.item(Key("a/two", "a/two.jpg")).content_hash == before[Key("a/2", "a/2.jpg")]
    assert told(instance.sync([pictures])) == {}


def test_a_dry_run_foretells_it(instance: ArithmeticInstance, pictures: Path) -> None:
    instance.sync([pictures])
    (pictures / "a" / "0.jpg").unlink()
    (pictures / "a" / "2.jpg").rename(pictures / "a" / "two.jpg")
    write(pictures / "a" / "4.jpg", 104)
    write(pictures / "c" / "5.jpg", 105)
    before = names(instance)
    foretold = told(instance.sync([pictures], dry_run=True))
    assert names(instance) == before
    assert foretold == told(instance.sync([pictures]))
    assert set(foretold) == {"deleted", "renamed", "replaced", "added"}


def test_a_tuned_or_given_option_is_no_reason_to_lose_the_name(instance: ArithmeticInstance, pictures: Path) -> None:
    """With another region mode the picture is extracted again, and is renamed all the same."""
    instance.sync([pictures])
    (pictures / "a" / "0.jpg").rename(pictures / "a" / "zero.jpg")
    outcomes = instance.sync([pictures], FileRequest(options=PictureOptions(crop=False)))
    assert [one.pic_name for one in outcomes if one.status is Status.RENAMED] == ["a/zero.jpg"]
    assert names(instance) == on_disk(pictures)


def test_everything_may_move(instance: ArithmeticInstance, pictures: Path, extracted: list[bytes]) -> None:
    """All old names are gone, but none of the pictures: the limit is about pictures."""
    instance.sync([pictures])
    extracted.clear()
    (pictures / "a").rename(pictures / "x")
    (pictures / "b").rename(pictures / "y")
    outcomes = told(instance.sync([pictures]))
    assert list(outcomes) == ["renamed"]
    assert len(outcomes["renamed"]) == 10
    assert extracted == []
    assert names(instance) == on_disk(pictures)


@pytest.mark.parametrize("dry_run", [False, True])
def test_too_many_deletions_are_refused(instance: ArithmeticInstance, pictures: Path, dry_run: bool) -> None:
    instance.sync([pictures])
    shutil.rmtree(pictures / "a")
    (pictures / "b" / "1.jpg").unlink()
    write(pictures / "new.jpg", 99)
    before = names(instance)
    with pytest.raises(TooManyDeletions, match="6 of the 10 items"):
        instance.sync([pictures], dry_run=dry_run)
    for limit in ("0%", "5", "59.9%"):
        with pytest.raises(TooManyDeletions):
            instance.sync([pictures], dry_run=dry_run, max_delete=limit)
    assert names(instance) == before, "nothing is added either"
    for limit in ("6", "60%"):
        assert len(told(instance.sync([pictures], dry_run=True, max_delete=limit))["deleted"]) == 6
    instance.sync([pictures], max_delete="100%")
    assert names(instance) == on_disk(pictures)


@pytest.mark.parametrize("text", ["", "half", "-1", "101%", "1.5", "5 %%", "1e3", "٣"])
def test_a_limit_is_a_share_or_a_number(text: str) -> None:
    with pytest.raises(InvalidValue):
        MaxDelete.parse(text)


def test_a_missing_or_empty_folder_empties_nothing(instance: ArithmeticInstance, pictures: Path) -> None:
    instance.sync([pictures])
    pictures.rename(pictures.with_name("away"))
    with pytest.raises(UnreadableSource):
        instance.sync([pictures])
    pictures.mkdir()
    (pictures / "README.txt").write_text("mount me")
    with pytest.raises(NothingFound):
        instance.sync([pictures])
    other = pictures.with_name("other")
    write(other / "1.jpg", 1)
    with pytest.raises(NothingFound):
        instance.sync([other, pictures])
    assert len(names(instance)) == 10


def test_what_cannot_be_read_deletes_nothing() -> None:
    """Nothing is known of a folder that is closed; the rest is done."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        with another_user():
            root, home = Path(name, "pictures"), Path(name, "instance")
            for number in range(6):
                write(root / f"{'closed' if number < 3 else 'd'}/{number}.jpg", number)
            ArithmeticInstance.create(home)
            with ArithmeticInstance.open(home) as instance:
                instance.sync([root])
                (root / "d" / "3.jpg").unlink()
                (root / "closed").chmod(0)
                try:
                    outcomes = told(instance.sync([root]))
                finally:
                    (root / "closed").chmod(0o755)
                assert outcomes == {"failed": [str(root / "closed")], "deleted": ["d/3.jpg"]}
                assert names(instance) == ["closed/0.jpg", "closed/1.jpg", "closed/2.jpg", "d/4.jpg", "d/5.jpg"]


def test_only_what_came_from_below_goes(instance: ArithmeticInstance, pictures: Path, tmp_path: Path) -> None:
    """Other folders, pictures without a place, and what is passed over now, stay."""
    other = tmp_path / "pictures2"
    write(other / "0.jpg", 50)
    instance.sync([pictures])
    instance.sync([other])
    instance.add(b"picture 77", "p", "bytes.jpg")
    (other / "0.jpg").unlink()
    (pictures / "a" / "0.jpg").unlink()
    outcomes = told(instance.sync([pictures], FileRequest(exclude=("b/",))))
    assert outcomes == {"deleted": ["a/0.jpg"]}
    assert {"0.jpg", "bytes.jpg", "b/1.jpg"} <= set(names(instance))


def test_a_part_and_the_whole(instance: ArithmeticInstance, pictures: Path) -> None:
    """Of a folder that was given with another one around it, only what is gone below it goes; and the other way."""
    instance.sync([pictures])
    (pictures / "a" / "0.jpg").unlink()
    (pictures / "b" / "1.jpg").unlink()
    outcomes = told(instance.sync([pictures / "a"]))
    assert outcomes["deleted"] == ["a/0.jpg"]
    assert outcomes["added"] == ["2.jpg", "4.jpg", "6.jpg", "8.jpg"]
    (pictures / "a" / "2.jpg").unlink()
    assert told(instance.sync([pictures]))["deleted"] == ["2.jpg", "a/2.jpg", "b/1.jpg"]


def test_a_key_that_moves_between_folders_stays(instance: ArithmeticInstance, tmp_path: Path) -> None:
    """Its file is gone here and there under the same key there."""
    for name, number in (("red/front.jpg", 1), ("red/back.jpg", 2), ("blue/side.jpg", 3)):
        write(tmp_path / name, number)
    roots = [tmp_path / "red", tmp_path / "blue"]
    instance.sync(roots)
    (tmp_path / "red" / "front.jpg").rename(tmp_path / "blue" / "front.jpg")
    assert told(instance.sync(roots)) == {}
    assert names(instance) == ["back.jpg", "front.jpg", "side.jpg"]
    assert instance.item(Key("front", "front.jpg")).location == tmp_path / "blue" / "front.jpg"


def test_copies_are_renamed_once_each(instance: ArithmeticInstance, pictures: Path) -> None:
    """One of two new copies takes the place of the one that is gone; of the same file name rather than another."""
    instance.sync([pictures])
    (pictures / "a" / "0.jpg").rename(pictures / "b" / "0.jpg")
    shutil.copy(pictures / "b" / "0.jpg", pictures / "b" / "00.jpg")
    outcomes = told(instance.sync([pictures]))
    assert outcomes == {"renamed": ["b/0.jpg"], "added": ["b/00.jpg"]}


def test_linked_folders_and_names_with_accents(instance: ArithmeticInstance, pictures: Path) -> None:
    """A root behind a link is the folder that it leads to; a decomposed name is the composed one."""
    link = pictures.with_name("link")
    link.symlink_to(pictures)
    instance.sync([pictures])
    write(pictures / "cre\u0300me.jpg", 60)
    assert told(instance.sync([link])) == {"added": ["cr\u00e8me.jpg"]}
    assert told(instance.sync([pictures])) == {}
    (pictures / "cre\u0300me.jpg").rename(pictures / "cr\u00e8me.jpg")
    assert told(instance.sync([link])) == {}
    (pictures / "cr\u00e8me.jpg").unlink()
    assert told(instance.sync([link])) == {"deleted": ["cr\u00e8me.jpg"]}


def test_what_is_passed_over_is_counted(instance: ArithmeticInstance, pictures: Path) -> None:
    (pictures / "notes.txt").write_text("no picture")
    passed_over = PassedOver()
    list(instance.sync_stream([pictures], passed_over=passed_over))
    assert passed_over.document() == {"NotAPicture": 1}


# Shards


def shard_names(root: Path, index: int, count: int) -> list[str]:
    """The pictures on disk whose products are of a shard."""
    return [name for name in on_disk(root) if shard_of(name.removesuffix(".jpg"), count) == index]


def test_shards_into_one_instance_do_what_one_run_does(instance: ArithmeticInstance, pictures: Path) -> None:
    """Each adds, replaces and deletes what is its own, and touches nothing else."""
    for index in range(3):
        shard = Shard(index, 3)
        outcomes = instance.sync([pictures], shard=shard)
        assert told(outcomes) == ({"added": own} if (own := shard_names(pictures, index, 3)) else {})
        assert shard.others == 10 - len(outcomes)
    assert names(instance) == on_disk(pictures)
    write(pictures / "a" / "4.jpg", 104)
    before = {index: set(shard_names(pictures, index, 3)) for index in range(3)}
    for number in (0, 3, 6):
        (pictures / "ab"[number % 2] / f"{number}.jpg").unlink()
    done = {index: told(instance.sync([pictures], max_delete="100%", shard=Shard(index, 3))) for index in range(3)}
    gone = {"a/0.jpg", "b/3.jpg", "a/6.jpg"}
    for index, some in done.items():
        assert set(some.get("deleted", [])) == gone & before[index]
        assert set(some.get("replaced", [])) == {"a/4.jpg"} & before[index]
    assert names(instance) == on_disk(pictures)


def test_max_delete_counts_the_items_of_the_shard(instance: ArithmeticInstance, pictures: Path) -> None:
    """Half of its own may go, whatever the others are; a dry run refuses likewise."""
    instance.sync([pictures])
    mine, others = shard_names(pictures, 0, 2), shard_names(pictures, 1, 2)
    for name in mine:
        (pictures / name).unlink()
    for dry_run in (True, False):
        with pytest.raises(TooManyDeletions, match=f"{len(mine)} of the {len(mine)} items"):
            instance.sync([pictures], max_delete="90%", shard=Shard(0, 2), dry_run=dry_run)
        assert told(instance.sync([pictures], max_delete="0", shard=Shard(1, 2), dry_run=dry_run)) == {}
    foretold = told(instance.sync([pictures], max_delete="100%", shard=Shard(0, 2), dry_run=True))
    assert told(instance.sync([pictures], max_delete="100%", shard=Shard(0, 2))) == foretold == {"deleted": mine}
    assert names(instance) == others


def test_a_picture_renamed_to_another_shard_moves(tmp_path: Path, pictures: Path, extracted: list[bytes]) -> None:
    """Its new shard adds it, its old one deletes it, each in an instance of its own."""
    former = shard_names(pictures, 0, 2)[0]
    new = next(f"a/new{n}.jpg" for n in range(99) if shard_of(f"a/new{n}", 2) == 1)
    shards = []
    for index in range(2):
        ArithmeticInstance.create(tmp_path / str(index))
        shards.append(ArithmeticInstance.open(tmp_path / str(index)))
        shards[index].sync([pictures], shard=Shard(index, 2))
    (pictures / former).rename(pictures / new)
    done = [told(one.sync([pictures], shard=Shard(index, 2))) for index, one in enumerate(shards)]
    assert done == [{"deleted": [former]}, {"added": [new]}]
    assert sorted(names(shards[0]) + names(shards[1])) == on_disk(pictures)
    for one in shards:
        one.close()
