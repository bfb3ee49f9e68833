"""Opening the instance that a command line names, or creating it."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from imgsearch import own_process
from imgsearch.cli import warm
from imgsearch.cli.advice import instance_is
from imgsearch.cli.configuration import active
from imgsearch.cli.errors import tell, warn
from imgsearch.cli.output import safe
from imgsearch.errors import ImgsearchError, InstanceExists, UsageError
from imgsearch.locations import INSTANCE_VARIABLE, default_instance
from imgsearch.service.categories import Kind
from imgsearch.storage.backends import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imgsearch.instance import Instance
    from imgsearch.search.searcher import Searcher

__all__ = [
    "announcer",
    "existing",
    "get_ready",
    "instance_folder",
    "named_instances",
    "new_instance_discarded",
    "open_instance",
    "open_or_make",
    "searching",
    "warn_of_shared_storage",
]


def instance_folder(given: Path | None) -> Path:
    """The given folder or the default one; either may be a name of the configuration file."""
    instance_is(given)
    return active().folder(given if given is not None else _default())


def _default() -> str | Path:
    """The default instance; an address is kept as it is written."""
    given = os.environ.get(INSTANCE_VARIABLE)
    return given if given and is_remote(given) else default_instance()


def named_instances(given: Sequence[Path] | None) -> dict[str, Path]:
    """Folders of several instances by name: that in the configuration file, else that of the folder.

    Args:
        given: names or folders; empty: the default instance.

    Raises:
        UsageError: two have the same name.
    """
    named: dict[str, Path] = {}
    default: list[str | Path] = [] if given else [_default()]
    for one in [*(given or []), *default]:
        folder = active().folder(one)
        name = str(one) if str(one) in active().instances else folder.resolve().name
        if named.setdefault(name, folder) is not folder:
            raise UsageError(
                f"two instances are called {name!r}: give one of them another name, in [instances] of the "
                "configuration file"
            )
    return named


def announcer(*, quiet: bool = False) -> Callable[[str], None]:
    """A callback for announcements of slow steps: prints to stderr, or nothing if quiet."""

    def announce(message: str) -> None:
        if not quiet:
            tell(message)

    return announce


def open_instance(given: Path | None, *, quiet: bool = False) -> Instance:
    """Open the given or default instance.

    Raises:
        InstanceNotFound, InstanceDamaged, NewerFormat
    """
    from imgsearch.instance import Instance

    return Instance.open(instance_folder(given), announce=announcer(quiet=quiet))


def get_ready(given: Path | None, *, has_picture: bool, is_plain: bool) -> None:
    """Begin a search, before anything is printed or read.

    In a process that answers for a client, this ends it unless the server can answer; in others, decoding starts ahead.

    Args:
        given: the instance.
        has_picture: it is a search with one picture.
        is_plain: it is one query whose results are printed and nothing else.
    """
    if warm.is_copy():
        if not is_plain:
            warm.give_up()
        warm.check_served(instance_folder(given))
    elif has_picture:
        from imgsearch.vision.decoder_start import start_ahead

        start_ahead()


@contextmanager
def searching(target: Instance, *, workers: int | None) -> Iterator[Searcher]:
    """What searches an instance: here, or the server for which this process answers."""
    remote = warm.remote_searcher(target)
    if remote is not None:
        yield cast("Searcher", remote)  # of which ``get_ready`` lets no more be asked than it has
        return
    with target.searching(workers=workers) as searcher:
        own_process.end_quick_start()
        yield searcher
    from imgsearch.vision import early_networks

    early_networks.remember()


def warn_of_shared_storage(folder: Path) -> None:
    """Warn, before writing, if an instance is on a file system where locks and database are unreliable."""
    from imgsearch.instance import Instance

    kind = Instance.shared_file_system(folder)
    if kind is not None:
        warn(
            f"{folder} is on a file system of type {kind}, which other machines may share: locks may not exclude a "
            "second writer there, and the instance may get damaged; keep it on a local disk"
        )


def existing(
    given: Path | None, kind: Kind | None, model: str | None, weights: Path | None, *, quiet: bool
) -> Instance | None:
    """Open the instance if it exists; arguments and errors are those of ``open_or_make``."""
    from imgsearch.instance import Instance

    return open_or_make(given, kind, model, weights, quiet=quiet) if Instance.exists(instance_folder(given)) else None


def open_or_make(
    given: Path | None,
    kind: Kind | None,
    model: str | None,
    weights: Path | None,
    *,
    region_id: str | None = None,
    lock_timeout: float = 0.0,
    quiet: bool = False,
) -> Instance:
    """Open the given or default instance; create it first, with a notice, if there is none.

    Raises:
        StampMismatch: it exists with another model than requested.
        UsageError: it exists with another kind than requested.
        InstanceExists: the folder holds other files.
        InstanceLocked, InvalidModel, InstanceDamaged, NewerFormat, StorageFull, StorageUnwritable
    """
    from imgsearch.instance import Instance
    from imgsearch.vision.models import DEFAULT_MODEL

    folder = instance_folder(given)
    announce = announcer(quiet=quiet)
    if not Instance.exists(folder):
        try:
            Instance.create(
                folder,
                kind or Kind.PRODUCT,
                model=model or DEFAULT_MODEL,
                weights=weights,
                region_id=region_id,
                announce=announce,
                lock_timeout=lock_timeout,
            )
            tell(f"Created a {kind or Kind.PRODUCT} instance in {safe(str(folder))}")  # also if quiet
        except InstanceExists:
            if not Instance.exists(folder):
                raise  # otherwise another process has just created it
    opened = Instance.open(folder, announce=announce)
    if kind is not None and kind is not opened.kind:
        opened.close()
        raise UsageError(
            f"{folder} is a {opened.kind} instance, which --kind {kind} does not change: leave the option out, or "
            "name a new instance"
        )
    if model is not None or weights is not None:
        opened.check_model(model or opened.model.name, weights)
    return opened


@contextmanager
def new_instance_discarded(given: Path | None, has_failed: Callable[[], bool]) -> Iterator[None]:
    """Remove an instance that was created in the block, if the block failed and nothing was added.

    Args:
        given: the instance, which the block closes.
        has_failed: whether a block that raised nothing has failed.
    """
    from imgsearch.instance import Instance

    folder = instance_folder(given)
    before, was_there = folder.exists(), Instance.exists(folder)
    failed = True
    try:
        yield
        failed = has_failed()
    finally:
        if failed and not was_there:
            with suppress(ImgsearchError, OSError):  # the failure itself is what counts
                if Instance.remove_if_empty(folder):
                    if not before and not is_remote(folder):
                        folder.rmdir()
                    tell(f"Removed the new instance in {safe(str(folder))}: nothing was added to it")
