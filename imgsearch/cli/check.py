"""``imgsearch check``."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgsearch.cli.advice import complete
from imgsearch.cli.errors import warn
from imgsearch.cli.opening import instance_folder, warn_of_shared_storage
from imgsearch.cli.options import FormatOption, InstanceOption, LockTimeout, LogFile, ShardOption
from imgsearch.cli.output import Format, console, print_document, print_line, resolve_format, safe, text
from imgsearch.errors import InstanceDamaged, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from imgsearch.shards import Shard
    from imgsearch.storage.integrity.problems import Loss, Problem
    from imgsearch.storage.permissions import Exposure

__all__ = ["check"]

MISPLACED = 10_000
"""Items of other shards that are listed: all of them, if an instance is taken for another one."""


def check(
    instance: InstanceOption = None,
    read_data: Annotated[
        bool,
        typer.Option("--read-data", help="Read all data and verify checksums; implied by --repair."),
    ] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Repair damage and report what was lost; needs the writer lock."),
    ] = False,
    shard: ShardOption = None,
    lock_timeout: LockTimeout = 0.0,
    log_file: LogFile = None,  # noqa: ARG001  # for whoever reports
    output_format: FormatOption = None,
) -> None:
    """Check for damage: structure, counts and references, or with --read-data all data. Changes nothing.

    Also reports files that other users of this machine may read or modify.
    """
    from imgsearch.instance import Instance

    chosen = resolve_format(output_format)
    if shard is not None and repair:
        raise UsageError("--repair moves nothing to another shard: use --shard without it")
    folder = instance_folder(instance)
    if not repair:
        found = Instance.check(folder, read_data=read_data)
        problems = [problem for problem in found if not problem.damage.is_harmless]
        leftovers = [problem for problem in found if problem.damage.is_harmless]
        if shard is not None and not problems:
            problems = _misplaced(folder, shard)
        exposed = Instance.exposures(folder)
        _print(chosen, problems, exposed, leftovers=leftovers)
    else:
        warn_of_shared_storage(folder)
        leftovers = []
        done = Instance.repair(folder, lock_timeout=lock_timeout)
        problems = done.problems
        exposed = Instance.exposures(folder)
        _print(chosen, problems, exposed, done.repaired, done.lost)
    for problem in leftovers:
        warn(problem.message)
    if exposed:
        more = f" (and {len(exposed) - 1} more)" if len(exposed) > 1 else ""
        warn(f"{exposed[0].message}{more}")
    if problems:
        warn(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in {folder}: {problems[0].message}")
        raise typer.Exit(InstanceDamaged.exit_code)


def _misplaced(folder: Path, shard: Shard) -> list[Problem]:
    """The first MISPLACED items that are not of the shard that the instance is said to hold."""
    from imgsearch.instance import Instance
    from imgsearch.shards import shard_of
    from imgsearch.storage.integrity.problems import Damage, Problem

    with Instance.open(folder) as instance:
        return [
            Problem(
                Damage.SHARD,
                folder,
                f"product {key.product_id!r} is of shard {shard_of(key.product_id, shard.count)}/{shard.count}: "
                "delete it here, and add its pictures to that shard",
                key.product_id,
                key.pic_name,
            )
            for key in islice(instance.misplaced(shard), MISPLACED)
        ]


def _print(
    chosen: Format,
    problems: list[Problem],
    exposed: list[Exposure],
    repaired: list[Problem] | None = None,
    lost: list[Loss] | None = None,
    leftovers: list[Problem] | None = None,
) -> None:
    if chosen is Format.PATHS:
        for path in dict.fromkeys(problem.file for problem in problems):
            print_line(str(path))
    elif chosen is Format.TABLE:
        _print_tables(problems, repaired, lost, leftovers)
    else:
        document: dict[str, Any] = {"Success": not problems, "Problems": [_fields(problem) for problem in problems]}
        if repaired is not None and lost is not None:
            document["Repaired"] = [_fields(problem) for problem in repaired]
            document["Lost"] = [
                {"ProductId": loss.product_id, "PicName": loss.pic_name, "Message": loss.message} for loss in lost
            ]
        if leftovers:
            document["Leftovers"] = [_fields(problem) for problem in leftovers]
        if exposed:
            document["Exposed"] = [
                {"File": str(one.path), "Mode": f"{one.mode:04o}", "Message": one.message} for one in exposed
            ]
        print_document(document)


def _fields(problem: Problem) -> dict[str, Any]:
    return {
        "Code": problem.damage,
        "File": str(problem.file),
        "ProductId": problem.product_id,
        "PicName": problem.pic_name,
        "Message": complete(problem.message),
    }


def _print_tables(
    problems: list[Problem], repaired: list[Problem] | None, lost: list[Loss] | None, leftovers: list[Problem] | None
) -> None:
    where = console()
    for title, found in (("Repaired", repaired or []), ("Problem", problems), ("Harmless", leftovers or [])):
        _print_rows(title, [(problem.damage.value, complete(problem.message)) for problem in found])
    _print_rows("Lost", [(_name(loss), loss.message) for loss in lost or []])
    if problems:
        where.print(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}")
    else:
        where.print("No problem found." if not repaired else "All problems were repaired.")


def _name(loss: Loss) -> str:
    return " ".join(part for part in (loss.product_id, loss.pic_name) if part is not None) or "?"


def _print_rows(title: str, rows: list[tuple[str, str]]) -> None:
    from rich.table import Table

    if not rows:
        return
    table = Table(box=None)
    table.add_column(title, overflow="fold")
    table.add_column("", overflow="fold")
    for name, message in rows:
        table.add_row(text(safe(name)), text(safe(message)))
    console().print(table)
