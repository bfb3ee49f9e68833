"""The part of ``Instance`` that synchronises it with folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgsearch.instance_folder import InstanceFolder
from imgsearch.sources.files import FileRequest
from imgsearch.values import several_paths
from imgsearch.vision.devices import CPU

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from imgsearch.opened import Opened
    from imgsearch.shards import Shard
    from imgsearch.sources.walking import PassedOver
    from imgsearch.types import Outcome

    StrPath = str | os.PathLike[str]

__all__ = ["InstanceSyncing"]


class InstanceSyncing(InstanceFolder):
    """Synchronising."""

    _opened: Opened

    def sync(
        self,
        paths: Iterable[StrPath],
        request: FileRequest = FileRequest(),  # noqa: B008  # immutable
        *,
        max_delete: str = "50%",
        dry_run: bool = False,
        shard: Shard | None = None,
        workers: int | None = None,
        device: str = CPU,
        lock_timeout: float = 0.0,
    ) -> list[Outcome]:
        """Synchronise with folders; all is committed at return. Takes and raises what ``sync_stream`` does."""
        return list(
            self.sync_stream(
                paths,
                request,
                max_delete=max_delete,
                dry_run=dry_run,
                shard=shard,
                workers=workers,
                device=device,
                lock_timeout=lock_timeout,
            )
        )

    def sync_stream(
        self,
        paths: Iterable[StrPath],
        request: FileRequest = FileRequest(),  # noqa: B008  # immutable
        *,
        max_delete: str = "50%",
        dry_run: bool = False,
        passed_over: PassedOver | None = None,
        shard: Shard | None = None,
        workers: int | None = None,
        device: str = CPU,
        lock_timeout: float = 0.0,
    ) -> Iterator[Outcome]:
        """Add the pictures below folders, and delete the items that were made from files below them which are gone.

        A new file with the bytes of one that is gone gets the outcome ``renamed``: its item keeps its feature, and the
        old key goes in the same commit. Unchanged files come first; deletions come last.

        Args:
            paths: of folders and files.
            request: how keys are derived, and what is taken; the same in each run.
            max_delete: how many of the items below each folder may be deleted: a share (``50%``) or a number.
            dry_run: change nothing; new files are read if others are gone, to tell which are renamed.
            passed_over: counts what is passed over in folders.
            shard: add, delete and count pictures of its products only; None: all.
            workers: pictures under way at once; by default three per core, more with another device than the CPU.
            device: where the networks run: ``cpu``, ``cuda`` or ``cuda:N``.
            lock_timeout: seconds to wait for another writer.

        Raises:
            UnreadableSource: a path is missing or holds no picture; nothing was changed.
            TooManyDeletions: nothing was changed.
            InvalidValue: ``max_delete`` is neither.
            UsageError, DeviceUnusable: there is no such device, or it cannot be used here.
            InstanceLocked, InstanceDamaged, InvalidModel, StampMismatch, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.sync import MaxDelete, sync_stream

        return sync_stream(
            self._opened,
            several_paths(paths),
            request,
            max_delete=MaxDelete.parse(max_delete),
            dry_run=dry_run,
            passed_over=passed_over,
            shard=shard,
            workers=workers,
            device=device,
            lock_timeout=lock_timeout,
        )
