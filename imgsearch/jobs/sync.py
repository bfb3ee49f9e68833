"""Synchronising an instance with folders: what ``add`` does, then deleting the items whose files are gone.

An item goes only if the system says that its file does not exist; whatever cannot be told (a folder that may not be
read, a network that does not answer) leaves it. New files are compared by content with the items that would go: a
renamed picture takes its new key and loses the old one in one commit.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

import numpy as np

from imgsearch.durable_fs import file_errors, temporary_folder
from imgsearch.errors import ImgsearchError, InvalidValue, NothingFound, TooManyDeletions, UnreadableSource
from imgsearch.filters.tree import EVERYTHING, picture_condition
from imgsearch.jobs.applying import bring_index_up_to_date, outcomes_of
from imgsearch.jobs.comparison import keeping
from imgsearch.jobs.dry_run import dry_run_of_one
from imgsearch.jobs.id_set import IdSet
from imgsearch.jobs.indexing import IndexingRun
from imgsearch.jobs.recalling import Recall
from imgsearch.jobs.unchanged import Unchanged, told_apart
from imgsearch.shards import Shard
from imgsearch.sources.files import FileBatch, FilePicture, batches
from imgsearch.sources.local import file_problem
from imgsearch.sources.walking import walk
from imgsearch.types import AddPicture, Outcome, Refused, Status
from imgsearch.vision.devices import CPU
from imgsearch.vision.pipeline import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.opened import Opened
    from imgsearch.sources.files import FileRequest
    from imgsearch.sources.walking import PassedOver
    from imgsearch.storage.port import Truth
    from imgsearch.types import Item
    from imgsearch.values import Key

__all__ = ["MaxDelete", "sync_stream"]

IN_MEMORY_BYTES: Final = 4 * 2**20
CHUNK: Final = 256
"""Items looked up, and deleted in one commit, at a time."""
COPIES: Final = 1000
"""How many items of the same bytes are considered as the former name of a picture."""


@dataclass(frozen=True, slots=True)
class MaxDelete:
    """How many of the items below a folder may be deleted: a number, or a share from 0 to 1."""

    number: int | None = None
    share: float = 0.5

    @classmethod
    def parse(cls, text: str) -> MaxDelete:
        """Parse ``20%`` or ``1000``.

        Raises:
            InvalidValue
        """
        match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*(%?)", text.strip(), re.ASCII)
        if match is not None and match[2] and float(match[1]) <= 100:
            return cls(share=float(match[1]) / 100)
        if match is not None and not match[2] and "." not in match[1]:
            return cls(int(match[1]))
        raise InvalidValue(f"{text!r} is neither a share from 0% to 100% nor a number", code="BadRequest")

    def allows(self, going: int, items: int) -> bool:
        """Whether so many of the items may go."""
        return going <= (self.number if self.number is not None else self.share * items)


def sync_stream(
    opened: Opened,
    paths: Sequence[Path],
    request: FileRequest,
    *,
    max_delete: MaxDelete,
    dry_run: bool = False,
    passed_over: PassedOver | None = None,
    shard: Shard | None = None,
    workers: int | None = None,
    device: str = CPU,
    lock_timeout: float = 0.0,
) -> Iterator[Outcome]:
    """Synchronise an instance with folders and files; see ``Instance.sync_stream``."""
    check_roots(paths, request)
    mine = Shard() if shard is None else shard
    if dry_run:
        with (
            opened.reading() as engine,
            engine.store.reading(),
            _Sync(opened, engine.store, paths, request, mine) as sync,
        ):
            yield from sync.compared(passed_over)
            sync.find_gone(max_delete)
            yield from sync.foretold()
        return
    opened.usable(device)
    with (
        opened.writing(lock_timeout) as engine,
        opened.pipeline(workers=workers, device=device) as pipeline,
        _Sync(opened, engine.store, paths, request, mine) as sync,
    ):
        yield from sync.compared(passed_over)
        sync.find_gone(max_delete)
        run = IndexingRun[None](
            engine,
            pipeline,
            opened.kind,
            opened.usable(device).label,
            recall=Recall(opened),
            distinct=True,
            vacated=sync.former_item,
        )
        assert run.written is not None
        run.written.update(sync.present)
        yield from outcomes_of(run, sync.operations())
        for chunk in _chunks(run.written.without(sync.gone.ids())):
            with engine.committing() as store:
                deleted = [(picture.item.key, str(picture.item.location)) for picture in store.pictures(chunk)]
                store.remove(key for key, _ in deleted)
            for key, place in deleted:
                yield Outcome(Status.DELETED, place, key.product_id, key.pic_name)
        bring_index_up_to_date(engine)


def check_roots(paths: Sequence[Path], request: FileRequest) -> None:
    """Refuse paths that are missing or hold no picture, before anything is done.

    Raises:
        UnreadableSource
    """
    for path in paths:
        try:
            str(path.resolve()).encode()
        except UnicodeEncodeError:
            raise UnreadableSource(f"the name of {str(path)!r} is not valid UTF-8, so it cannot be stored") from None
        except OSError:  # the next one says why
            pass
        try:
            os.stat(path)  # noqa: PTH116  # its error says why
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "invalid name"
            raise UnreadableSource(f"{path} cannot be synchronised: {why}; nothing was changed") from None
        if not path.is_dir():
            continue
        first = next(walk(os.fspath(path), request.selection), None)
        if first is None:
            raise NothingFound(
                f"{path} holds no picture, so nothing was changed: is its disk mounted? To empty an instance, use "
                "'imgsearch delete'"
            )
        if isinstance(first, Refused) and first.source == str(path):
            raise UnreadableSource(f"{path}: {first.error.message}; nothing was changed")


class _Sync:
    """One synchronisation: what is unchanged, what is to be done, and what is gone."""

    def __init__(self, opened: Opened, store: Truth, paths: Sequence[Path], request: FileRequest, shard: Shard) -> None:
        self._opened = opened
        self._shard = shard
        self._store = store
        self._paths = paths
        self._request = request
        self.present = IdSet()
        """Items that are unchanged."""
        self._known = IdSet()
        """Items under whose keys there is a file that is not unchanged."""
        self.gone = IdSet()
        """Items whose files are gone, as far as no new file has turned out to be the same picture."""
        with file_errors(temporary_folder()):
            self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115

    def __enter__(self) -> _Sync:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._spool.close()

    def compared(self, passed_over: PassedOver | None) -> Iterator[Outcome]:
        """Compare all files with the items under their keys; yields the outcomes of what needs no work."""
        for number, path in enumerate(self._paths):
            for given in batches([path], self._request, passed_over, self._shard):
                if isinstance(given, FileBatch):
                    yield from self._compared_batch(number, given)
                elif isinstance(given, Refused):
                    yield given.outcome()
                else:
                    self._keep(number, "", is_new=self._store.item(given.key) is None)

    def _compared_batch(self, number: int, batch: FileBatch) -> Iterator[Outcome]:
        for name, found, item_id in told_apart(self._store, batch, self._opened.kind, keeps=True):
            if isinstance(found, Unchanged) and self.present.add_new(found.item_id):
                yield found.outcome
                continue
            if item_id is not None:
                self._known.add(item_id)
            if isinstance(found, Refused):
                yield found.outcome()
            else:
                self._keep(number, name, is_new=item_id is None)

    def _keep(self, number: int, name: str, *, is_new: bool) -> None:
        """Keep a file for later: in memory, or in an unnamed file if there are many."""
        with file_errors(temporary_folder()):
            self._spool.write(b"%d %d %d " % (number, is_new, len(name.encode())) + name.encode() + b"\n")

    def _kept(self) -> Iterator[tuple[AddPicture | Refused, bool]]:
        """The operations of the files that were kept, and whether each has a new key."""
        position = 0
        while True:
            with file_errors(temporary_folder()):
                self._spool.seek(position)
                line = self._spool.readline()
                number, is_new, length, rest = line.split(b" ", 3) if line else (b"", b"", b"", b"")
                while len(rest) <= int(length or -1):  # names may hold line breaks
                    rest += self._spool.readline()
                position = self._spool.tell()
            if not line:
                return
            path, name = self._paths[int(number)], rest[: int(length)].decode()
            batch = FileBatch(path, str(path.resolve()), [name], self._request)
            if name:
                yield batch.operation(name), is_new == b"1"
            else:
                yield from (
                    (one, is_new == b"1") for one in batches([path], self._request) if not isinstance(one, FileBatch)
                )

    def operations(self) -> Iterator[AddPicture | Refused]:
        """What is to be done for files that are new or changed."""
        for operation, is_new in self._kept():
            item = None
            if isinstance(operation, AddPicture) and not is_new:
                item = self._store.item(operation.key)
            yield operation if item is None or isinstance(operation, Refused) else keeping(operation, item)

    def find_gone(self, allowed: MaxDelete) -> None:
        """Find the items whose files are gone.

        Raises:
            TooManyDeletions: more than allowed of the items below a path would be deleted.
        """
        roots = [path.resolve() for path in self._paths if path.is_dir()]
        going: list[tuple[Path, npt.NDArray[np.int64], int]] = []
        for root in roots:
            ids = self._store.ids_below(str(root))
            others = self._known.without(self.present.without(ids))
            own = self._own(others)
            lost = self._lost(own)
            going.append((root, lost, len(ids) - len(others) + len(own)))
            for item_id in lost.tolist():
                self.gone.add(item_id)
        if all(allowed.allows(len(lost), items) for _, lost, items in going):
            return
        renamed = self._renamed()
        for root, lost, items in going:
            left = len(renamed.without(lost))
            if not allowed.allows(left, items):
                raise TooManyDeletions(
                    f"{left} of the {items} items below {root} would be deleted, as their files are gone; nothing was "
                    "deleted: is a disk missing? If all is well, allow it with --max-delete"
                )

    def _own(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Those of the items whose products are of this shard."""
        if self._shard.is_whole:
            return ids
        self._store.verify(ids.tolist())
        owned = [
            item_id
            for some in self._store.siblings(ids.tolist())
            for item_id, (product_id, _) in zip(some.ids.tolist(), some.groups, strict=True)
            if self._shard.owns(product_id)
        ]
        return np.array(sorted(owned), np.int64)

    def _lost(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Those of the items whose files do not exist, without any doubt."""
        lost = [
            picture.item.id
            for chunk in _chunks(ids)
            for picture in self._store.pictures(chunk)
            if picture.item.location is not None and _is_missing(picture.item.location)
        ]
        return np.array(lost, np.int64)

    def _renamed(self) -> IdSet:
        """The items whose pictures are found in new files, which are read for this."""
        renamed = IdSet()
        for operation, is_new in self._kept():
            if is_new and isinstance(operation, AddPicture):
                former = self._former(operation, renamed)
                if former is not None:
                    renamed.add(former.id)
        return renamed

    def _former(self, operation: AddPicture, claimed: IdSet) -> Item | None:
        try:
            content = operation.picture.read(self._opened.limits.max_bytes)
        except ImgsearchError:  # the operation itself fails, and tells
            return None
        return self._match(content_hash(content.data), operation.key, claimed)

    def _match(self, digest: bytes, key: Key, claimed: IdSet | None = None) -> Item | None:
        """The item that is gone with these bytes: of the same file name rather than of another, the first one."""
        ids = self._store.identical_ids(picture_condition(digest), EVERYTHING, COPIES).tolist()
        ids = [item_id for item_id in ids if item_id in self.gone and (claimed is None or item_id not in claimed)]
        if not ids:
            return None
        former = [picture.item for picture in self._store.pictures(ids)]
        return min(former, key=lambda item: (not _is_alike(item.key, key), item.id))

    def former_item(self, digest: bytes, key: Key) -> Item | None:
        """The item of a new picture under its former key, which is no longer gone; None if it is really new."""
        found = self._match(digest, key)
        if found is not None:
            self.gone.discard(found.id)
        return found

    def foretold(self) -> Iterator[Outcome]:
        """The outcomes of a dry run, for files that are new or changed and items that are gone."""
        left = bool(len(self.gone.ids()))
        for operation, is_new in self._kept():
            if isinstance(operation, Refused):
                yield operation.outcome()
                continue
            limit = self._opened.limits.max_bytes
            if isinstance(operation.picture, FilePicture) and (problem := file_problem(operation.picture.path, limit)):
                key = operation.key
                yield Outcome(Status.FAILED, operation.source, key.product_id, key.pic_name, error=problem)
                continue
            former = self._former(operation, IdSet()) if left and is_new else None
            if former is None:
                item = None if is_new else self._store.item(operation.key)
                asked = operation if item is None else keeping(operation, item)
                yield dry_run_of_one(self._store, asked, self._opened.kind, limit)
            else:
                self.gone.discard(former.id)
                key = operation.key
                yield Outcome(Status.RENAMED, operation.source, key.product_id, key.pic_name, renamed_from=former.key)
        for chunk in _chunks(self._known.without(self.present.without(self.gone.ids()))):
            for picture in self._store.pictures(chunk):
                key = picture.item.key
                yield Outcome(Status.DELETED, str(picture.item.location), key.product_id, key.pic_name)


def _is_missing(path: Path) -> bool:
    """Whether a file does certainly not exist."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # forbidden, or its disk does not answer
        return False
    return False


def _is_alike(one: Key, other: Key) -> bool:
    return one.pic_name.rpartition("/")[2] == other.pic_name.rpartition("/")[2]


def _chunks(ids: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK].tolist()
