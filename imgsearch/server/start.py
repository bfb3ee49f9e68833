"""Putting the server together from its settings, and running it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from imgsearch.errors import UsageError
from imgsearch.instance import Instance
from imgsearch.server.api import Api
from imgsearch.server.app import make_app
from imgsearch.server.authentication import Authentication
from imgsearch.server.keys import KeyRing
from imgsearch.server.loopback import is_loopback
from imgsearch.server.result_files import ResultFiles
from imgsearch.server.running import Address, bound_socket, log_to_stderr, run
from imgsearch.server.served import Instances
from imgsearch.server.task_store import TaskStore
from imgsearch.server.tasks import OssAccess, Tasks
from imgsearch.server.throttling import Limits, Throttle
from imgsearch.sharding.instance import ShardedInstance
from imgsearch.sources.picture_folders import PictureFolders

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from starlette.routing import BaseRoute

__all__ = ["Mount", "Mounted", "Parts", "Settings", "assembled", "serve"]

log: Final = logging.getLogger("imgsearch.server")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server does.

    Raises:
        UsageError: it would serve nothing, or would be open to others without keys or encryption.
    """

    address: Address
    state: Path
    """Folder of its tasks and their results."""
    named: Mapping[str, Path] = field(default_factory=dict)
    sharded: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """The folders of all shards of an instance, in order, by the names of requests."""
    root: Path | None = None
    keys: Path | None = None
    """None: anybody may ask."""
    insecure_http: bool = False
    limits: Limits = field(default_factory=Limits)
    oss: OssAccess = field(default_factory=OssAccess)
    lock_timeout: float = 30.0
    public_metrics: bool = False
    log_json: bool = False
    ui: bool = False
    """Show the page for people."""
    pictures: tuple[Path, ...] = ()
    """Folders whose pictures page and agents may show."""

    def __post_init__(self) -> None:
        if self.root is not None and not self.root.is_dir():
            raise UsageError(f"--root {self.root} is not a folder")
        if not (self.named or self.sharded) and self.root is None:
            raise UsageError("nothing to serve: give NAME=INSTANCE, --shards, --root or -i")
        if (self.address.certificate is None) != (self.address.key is None):
            raise UsageError("--tls-cert and --tls-key belong together")
        if self.is_local:
            return
        if self.keys is None:
            raise UsageError("--no-auth is for this machine only: give --keys to listen on another address")
        if not self.address.secure and not self.insecure_http:
            raise UsageError(
                f"pictures and answers would be readable on the way to {self.address.host}: give --tls-cert and "
                "--tls-key, or --insecure-http if something in front of this server encrypts"
            )

    @property
    def is_local(self) -> bool:
        """Only programs of this machine can reach it."""
        return is_loopback(self.address.host)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an application is made of."""

    api: Api
    instances: Instances
    files: ResultFiles
    keys: KeyRing | None


@contextmanager
def assembled(settings: Settings, announce: Callable[[str], None]) -> Iterator[Parts]:
    """Open everything that a server needs; it is closed at the end of the block, tasks and writing finished.

    Raises:
        UsageError: keys cannot be used.
        InstanceNotFound, InstanceDamaged, NewerFormat, StorageFull, StorageUnwritable
    """
    with ExitStack() as stack:
        keys = None if settings.keys is None else KeyRing(settings.keys)
        instances = stack.enter_context(
            Instances(
                settings.named,
                settings.root,
                lambda folder: Instance.open(folder, announce=announce),
                sharded={
                    name: partial(ShardedInstance.open_shards, folders, announce=announce)
                    for name, folders in settings.sharded.items()
                },
                lock_timeout=settings.lock_timeout,
            )
        )
        for name in instances.names():
            instances.get(name)  # one that cannot be opened is told now, not to a client
        files = ResultFiles(settings.state / "files")
        tasks = Tasks(TaskStore(settings.state), files, settings.oss)
        stack.callback(tasks.close)
        yield Parts(Api(instances, Authentication(keys), Throttle(settings.limits), tasks), instances, files, keys)


class Mounted(Protocol):
    """Something else that the server answers with."""

    def routes(self) -> list[BaseRoute]:
        """Where it is."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """What must be entered before the first request."""


Mount = Callable[[Parts, PictureFolders], Mounted]
"""Makes one of what the server is made of, and the folders that may be shown."""


def serve(settings: Settings, announce: Callable[[str], None], mounts: Iterable[Mount] = ()) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: of the server.
        mounts: make what else is served.
        announce: called with the address when requests are taken, and with what takes long.

    Raises:
        UsageError: the address is taken, or keys or certificate cannot be used.
        InstanceNotFound, InstanceDamaged, NewerFormat, StorageFull, StorageUnwritable
    """
    log_to_stderr(as_json=settings.log_json)
    folders = PictureFolders(settings.pictures)
    with bound_socket(settings.address) as bound, assembled(settings, announce) as parts:
        routes: list[BaseRoute] = []
        if settings.ui:
            from imgsearch.server.pages.routes import page_routes

            routes += page_routes(parts.instances, parts.keys, folders, secure=settings.address.secure)
        mounted = [mount(parts, folders) for mount in mounts]
        app = make_app(
            parts.api,
            parts.instances,
            parts.files,
            pages=[*routes, *(route for one in mounted for route in one.routes())],
            running=[one.running for one in mounted],
            watched_by_all=settings.public_metrics,
        )
        run(app, settings.address, bound, announce, lambda: _reload(parts.keys))


def _reload(keys: KeyRing | None) -> None:
    if keys is None:
        return
    try:
        log.warning("read %d keys again", keys.reload())
    except UsageError as error:
        log.error("the keys stay as they were: %s", error)
