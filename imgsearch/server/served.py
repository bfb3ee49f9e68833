"""Instances in service: each opened once, with its networks loaded once and one writer."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from imgsearch.errors import ImgsearchError, InstanceNotFound, UsageError
from imgsearch.instance import Instance
from imgsearch.sharding.instance import ShardedInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from imgsearch.jobs.writer import Writer
    from imgsearch.search.searcher import Searcher
    from imgsearch.server.keys import AccessKey

__all__ = ["Instances", "Permitted", "Served"]


class Served:
    """One instance in service; thread-safe. Networks are loaded with the first request that needs them.

    Args:
        name: the InstanceName of requests.
        instance: closed with this.
        lock_timeout: seconds that writing waits for another process.
    """

    def __init__(self, name: str, instance: Instance, *, lock_timeout: float) -> None:
        self.name = name
        self.instance = instance
        self._lock_timeout = lock_timeout
        self._lock = RLock()
        self._kept = ExitStack()
        self._kept.callback(instance.close)
        self._searchers: dict[int | None, Searcher] = {}
        self._writer: Writer | None = None

    @property
    def searcher(self) -> Searcher:
        """Answers queries side by side; another one after a reindex has changed the model."""
        return self._searching(None)

    @property
    def lone_searcher(self) -> Searcher:
        """Answers queries one by one, with all cores for each: as the command line does, to the last bit."""
        return self._searching(1)

    def _searching(self, workers: int | None) -> Searcher:
        with self._lock:
            searcher = self._searchers.get(workers)
            if searcher is None or not searcher.is_current():
                # One with the networks of before stays open beside it, as somebody may be using it.
                searcher = self._kept.enter_context(self.instance.searching(workers=workers))
                self._searchers[workers] = searcher
            return searcher

    @property
    def writer(self) -> Writer:
        """Adds, updates and deletes."""
        with self._lock:
            if self._writer is None:
                self._writer = self.instance.indexing(lock_timeout=self._lock_timeout)
            return self._writer

    @property
    def queued(self) -> int:
        """How many operations wait to be committed."""
        writer = self._writer
        return 0 if writer is None else writer.pending

    def without_folders(self, message: str, *, quoted: bool = False) -> str:
        """A message with the name of requests in place of folders: clients need not know where instances lie."""
        name = repr(self.name) if quoted else self.name
        folders = {str(self.instance.folder): name}
        if isinstance(self.instance, ShardedInstance):
            for index, shard in enumerate(self.instance.shards):
                folders[str(shard.folder)] = f"shard {index} of {name}"
        for folder in sorted(folders, key=len, reverse=True):  # one may begin as another does
            message = message.replace(folder, folders[folder])
        return message

    def close(self) -> None:
        """Finish what the writer has taken, and close the instance."""
        with self._lock, self._kept:
            if self._writer is not None:
                self._writer.close()


class Instances:
    """The instances in service by name; each is opened when it is first asked for. Thread-safe.

    Args:
        named: folders by the names of requests.
        root: a folder whose subfolders are instances under their own names, those made later included.
        opened: opens an instance.
        sharded: what opens instances that are no single folder, by the names of requests.
        lock_timeout: seconds that writing waits for another process.

    Raises:
        UsageError: a name that cannot be used.
    """

    def __init__(
        self,
        named: Mapping[str, Path],
        root: Path | None,
        opened: Callable[[Path], Instance],
        *,
        sharded: Mapping[str, Callable[[], Instance]] = MappingProxyType({}),
        lock_timeout: float = 30.0,
    ) -> None:
        for name in (*named, *sharded):
            if not name or "/" in name or "\\" in name or name.startswith("."):
                raise UsageError(f"{name!r} cannot be the name of an instance: it has slashes, or starts with a dot")
        self._named = dict(named)
        self._sharded = dict(sharded)
        self._root = root
        self._open = opened
        self._lock_timeout = lock_timeout
        self._lock = RLock()
        self._served: dict[str, Served] = {}

    def names(self) -> list[str]:
        """All names, in alphabetical order."""
        return sorted({*self._named, *self._sharded, *self._below_root()})

    def get(self, name: str) -> Served:
        """The instance of a name.

        Raises:
            InstanceNotFound: no such name; it is never taken for a path.
            InstanceDamaged, NewerFormat
        """
        with self._lock:
            served = self._served.get(name)
            if served is None:
                served = self._served[name] = Served(name, self._opened(name), lock_timeout=self._lock_timeout)
            return served

    def _opened(self, name: str) -> Instance:
        if name in self._sharded:
            return self._sharded[name]()
        folder = self._named.get(name) or self._below_root().get(name)
        if folder is None:
            raise unknown_instance(name)
        return self._open(folder)

    def in_folder(self, folder: str) -> Served | None:
        """The instance in a folder, given by its real path; None if it is not in service, or cannot be opened.

        The folder of a shard holds an instance, but not the one in service.
        """
        with self._lock, suppress(ImgsearchError, OSError):
            for served in self._served.values():
                if os.path.realpath(served.instance.folder) == folder:
                    return served
            for name, place in {**self._below_root(), **self._named}.items():
                if os.path.realpath(place) == folder:
                    return self.get(name)
        return None

    def opened(self) -> list[Served]:
        """Those that are open."""
        with self._lock:
            return list(self._served.values())

    def _below_root(self) -> dict[str, Path]:
        if self._root is None:
            return {}
        folders = (folder for folder in self._root.iterdir() if not folder.name.startswith("."))
        return {folder.name: folder for folder in folders if Instance.exists(folder)}

    def close(self) -> None:
        """Close all; what their writers have taken is finished first."""
        with self._lock, ExitStack() as closing:
            for served in self._served.values():
                closing.callback(served.close)
            self._served.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Permitted:
    """The instances that a key may use.

    Args:
        instances: in service.
        key: whose names count.
    """

    def __init__(self, instances: Instances, key: AccessKey) -> None:
        self._instances = instances
        self._key = key

    def names(self) -> list[str]:
        """All names, in alphabetical order."""
        return list(filter(self._key.may_use, self._instances.names()))

    def get(self, name: str) -> Served:
        """The instance of a name.

        Raises:
            InstanceNotFound: no such name, or not for this key.
            InstanceDamaged, NewerFormat
        """
        if not self._key.may_use(name):
            raise unknown_instance(name)
        return self._instances.get(name)


def unknown_instance(name: str) -> InstanceNotFound:
    """The error for a name that is not served, or not to this key: nobody learns which."""
    return InstanceNotFound(f"there is no instance {name[:80]!r} here", code="InvalidInstance")
