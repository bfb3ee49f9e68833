"""``imgsearch info``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from imgsearch.cli.opening import open_instance
from imgsearch.cli.options import FormatOption, InstanceOption
from imgsearch.cli.output import Format, console, print_document, print_line, resolve_format, text
from imgsearch.service.categories import CATEGORIES, Kind
from imgsearch.service.documents import info_document

if TYPE_CHECKING:
    from imgsearch.jobs.reading import InstanceInfo

__all__ = ["info"]


def info(instance: InstanceOption = None, output_format: FormatOption = None) -> None:
    """Show items, categories, model, limits and index of the instance."""
    chosen = resolve_format(output_format)
    with open_instance(instance) as target:
        facts = target.info()
    if chosen is Format.TABLE:
        _print_table(facts)
    elif chosen is Format.PATHS:
        print_line(str(facts.folder))
    else:
        print_document(info_document(facts))


def _older(facts: InstanceInfo) -> str:
    done = "" if facts.reindexed is None else f" ({facts.reindexed} of {facts.items} items are done)"
    return (
        f"of version {facts.stamp['feature_version']}, older than this release's: 'add --reindex' recomputes them{done}"
    )


def _waiting(facts: InstanceInfo) -> str | None:
    if "Pending" not in facts.storage:
        return None
    storage = facts.storage
    pending, seconds, removed = (storage[name] for name in ("Pending", "PendingSeconds", "Removed"))
    return f"{pending} items, for up to {seconds} s; {removed} to be deleted from it"


def _print_table(facts: InstanceInfo) -> None:
    from rich.table import Table

    generation = facts.generation
    categories = ", ".join(f"{CATEGORIES[number]} {count}" for number, count in sorted(facts.categories.items()))
    limits = facts.limits
    side = f", at most {limits.max_side} px a side" if limits.max_side else ""
    rows = {
        "Instance": facts.folder,
        **{name: facts.storage.get(name) for name in ("Engine", "Server")},
        "Server of the index": facts.storage.get("Index"),
        "Kind": facts.kind,
        "Created": datetime.fromtimestamp(facts.created).astimezone().isoformat(" ", "seconds"),
        "Items": f"{facts.items} pictures of {facts.products} products",
        "Categories": categories if facts.kind is Kind.PRODUCT else None,
        "OSS region": facts.region_id,
        "Model": f"{facts.stamp['model']} ({facts.stamp['dimension']} dimensions, {facts.stamp['features']}, "
        f"{facts.stamp['preprocessing']})",
        "Features": _older(facts) if facts.needs_reindex else None,
        "Tuning": facts.stamp.get("tuning"),
        "Devices": ", ".join(facts.devices),
        "Limits": f"below {limits.max_bytes / 2**20:g} MB, at least {limits.min_side} px a side{side}, "
        f"at most {limits.max_pixels / 1e6:g} megapixels",
        "Index": "none yet"
        if generation is None
        else f"generation {generation.number}: {generation.structure}, {generation.items} items, "
        + ("exact" if generation.recall is None else f"recall@10 {generation.recall:.4f}"),
        "Waiting for the index": _waiting(facts),
        "Not indexed yet": f"{facts.unindexed} items, searched exactly",
        "Disk": f"{facts.disk_bytes / 2**20:.1f} MB",
    }
    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            table.add_row(name, text(value))
    console().print(table)
