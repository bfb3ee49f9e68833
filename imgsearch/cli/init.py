"""``imgsearch init``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import typer

from imgsearch.cli.options import (
    FormatOption,
    InstanceOption,
    KindOption,
    LockTimeout,
    Model,
    Weights,
    announcer,
    instance_folder,
    warn_of_shared_storage,
)
from imgsearch.cli.output import Format, console, print_document, print_line, resolve_format, safe
from imgsearch.service.categories import Kind

__all__ = ["init"]


def init(
    instance: InstanceOption = None,
    kind: KindOption = Kind.PRODUCT,
    model: Model = None,
    weights: Weights = None,
    region_id: Annotated[
        str | None,
        typer.Option(
            "--region-id", metavar="ID", show_default=False, help="OSS region for imports, such as cn-shanghai."
        ),
    ] = None,
    features: Annotated[
        Literal["floats", "codes"],
        typer.Option(help="What is stored per picture: a feature, or codes of two bits for each of its numbers."),
    ] = "floats",
    limits: Annotated[
        Literal["local", "service"],
        typer.Option(
            help="Picture limits: below 8 MB, at least 100 px a side, 64 megapixels; or those of the hosted API."
        ),
    ] = "local",
    max_bytes: Annotated[
        int | None, typer.Option(min=1, show_default=False, help="Refuse pictures of this size or more.")
    ] = None,
    min_side: Annotated[int | None, typer.Option(min=1, show_default=False, help="Minimum pixels per side.")] = None,
    max_side: Annotated[int | None, typer.Option(min=1, show_default=False, help="Maximum pixels per side.")] = None,
    max_megapixels: Annotated[
        float | None, typer.Option(min=0.000001, show_default=False, help="Maximum size in megapixels.")
    ] = None,
    lock_timeout: LockTimeout = 0.0,
    output_format: FormatOption = None,
) -> None:
    """Create an empty instance; never changes an existing one."""
    from imgsearch.instance import Instance
    from imgsearch.vision.limits import LIMIT_PROFILES, MEGAPIXEL
    from imgsearch.vision.models import DEFAULT_MODEL

    given = {
        "max_bytes": max_bytes,
        "min_side": min_side,
        "max_side": max_side,
        "max_pixels": None if max_megapixels is None else round(max_megapixels * MEGAPIXEL),
    }
    folder = instance_folder(instance)
    warn_of_shared_storage(folder)
    Instance.create(
        folder,
        kind,
        model=model or DEFAULT_MODEL,
        weights=weights,
        limits=replace(LIMIT_PROFILES[limits], **{name: value for name, value in given.items() if value is not None}),
        region_id=region_id,
        codes=features == "codes",
        announce=announcer(),
        lock_timeout=lock_timeout,
    )
    chosen = resolve_format(output_format)
    if chosen is Format.TABLE:
        console().print(f"Created an empty {kind} instance in {safe(str(folder))}", markup=False)
    elif chosen is Format.PATHS:
        print_line(str(folder))
    else:
        print_document({"Success": True, "Path": str(folder), "Kind": kind, "Model": model or DEFAULT_MODEL})
