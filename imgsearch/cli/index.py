"""``imgsearch index``."""

from __future__ import annotations

import time
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgsearch.cli.errors import warn
from imgsearch.cli.opening import open_instance, warn_of_shared_storage
from imgsearch.cli.options import FormatOption, InstanceOption, LockTimeout, LogFile
from imgsearch.cli.output import Format, console, print_document, resolve_format
from imgsearch.errors import InstanceLocked, RemoteUnavailable

if TYPE_CHECKING:
    from imgsearch.instance import Instance

__all__ = ["index"]


def index(
    instance: InstanceOption = None,
    every: Annotated[
        float | None,
        typer.Option(
            "--every",
            metavar="SECONDS",
            min=0.1,
            show_default=False,
            help="Do it again and again, with that pause, until the command is ended.",
        ),
    ] = None,
    lock_timeout: LockTimeout = 0.0,
    log_file: LogFile = None,  # noqa: ARG001  # for whoever reports
    output_format: FormatOption = None,
) -> None:
    """Bring the index up to date with what was added and deleted, if that is due; writers do the same."""
    chosen = resolve_format(output_format)
    with open_instance(instance) as target:
        warn_of_shared_storage(target.folder)
        if every is None:
            _print(_round(target, lock_timeout), chosen)
            return
        while True:
            try:
                found = _round(target, lock_timeout)
            except (InstanceLocked, RemoteUnavailable) as error:
                warn(error.message)
            else:
                if found["Indexed"]:
                    _print(found, chosen)
            time.sleep(every)


def _round(target: Instance, lock_timeout: float) -> dict[str, Any]:
    begun = perf_counter()
    indexed = target.index(lock_timeout=lock_timeout)
    facts = target.info()
    return {
        "Success": True,
        "Indexed": indexed,
        "Unindexed": facts.unindexed,
        "Generation": None if facts.generation is None else facts.generation.number,
        "Seconds": round(perf_counter() - begun, 3),
    }


def _print(found: dict[str, Any], chosen: Format) -> None:
    if chosen is Format.TABLE:
        console().print(
            f"Indexed: {found['Indexed']} added or deleted, {found['Unindexed']} items left, {found['Seconds']:.1f} s",
            markup=False,
        )
    elif chosen is not Format.PATHS:
        print_document(found)
