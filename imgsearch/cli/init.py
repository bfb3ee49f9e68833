"""``imgsearch init``."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imgsearch.cli.errors import warn
from imgsearch.cli.opening import announcer, instance_folder, open_instance, warn_of_shared_storage
from imgsearch.cli.options import FormatOption, InstanceOption, KindOption, LockTimeout, Model, Weights
from imgsearch.cli.output import Format, console, print_document, print_line, resolve_format, safe
from imgsearch.errors import UsageError
from imgsearch.service.categories import Kind
from imgsearch.storage.backends import has_password
from imgsearch.values import DEFAULT_CODING, FeatureCoding

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["init"]


def init(
    instance: InstanceOption = None,
    kind: KindOption = None,
    model: Model = None,
    weights: Weights = None,
    region_id: Annotated[
        str | None,
        typer.Option(
            "--region-id", metavar="ID", show_default=False, help="OSS region for imports, such as cn-shanghai."
        ),
    ] = None,
    features: Annotated[
        FeatureCoding,
        typer.Option(help="Precision of stored features: 16 bits a number (floats), 8, 4 or 2 (codes)."),
    ] = DEFAULT_CODING,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="URL",
            show_default=False,
            help="Keep the items in PostgreSQL, at postgresql://USER@HOST/DATABASE; the folder then only names it.",
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            "--index",
            metavar="URL",
            show_default=False,
            help="With --engine: keep the index in Milvus, at milvus://HOST:PORT, instead of the database.",
        ),
    ] = None,
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
    prepare: Annotated[
        bool,
        typer.Option(
            "--prepare",
            help="Make no instance: only prepare the networks of --model, or of the instance in -i, on this machine.",
        ),
    ] = False,
    lock_timeout: LockTimeout = 0.0,
    output_format: FormatOption = None,
) -> None:
    """Create an empty instance; never changes an existing one."""
    from imgsearch.instance import Instance
    from imgsearch.vision.limits import LIMIT_PROFILES, MEGAPIXEL
    from imgsearch.vision.models import DEFAULT_MODEL

    if prepare:
        _prepare(instance, model, weights, resolve_format(output_format))
        return
    given = {
        "max_bytes": max_bytes,
        "min_side": min_side,
        "max_side": max_side,
        "max_pixels": None if max_megapixels is None else round(max_megapixels * MEGAPIXEL),
    }
    kind = kind or Kind.PRODUCT
    folder = instance_folder(instance)
    if engine is None:
        warn_of_shared_storage(folder)
    Instance.create(
        folder,
        kind,
        model=model or DEFAULT_MODEL,
        weights=weights,
        limits=replace(LIMIT_PROFILES[limits], **{name: value for name, value in given.items() if value is not None}),
        region_id=region_id,
        features=features,
        engine=engine,
        index=index,
        announce=announcer(),
        lock_timeout=lock_timeout,
    )
    chosen = resolve_format(output_format)
    if engine is not None and has_password(engine):
        warn("the password in --engine is not stored: give it in PGPASSWORD or ~/.pgpass from now on")
    if chosen is Format.TABLE:
        console().print(f"Created an empty {kind} instance in {safe(str(folder))}", markup=False)
    elif chosen is Format.PATHS:
        print_line(str(folder))
    else:
        print_document({"Success": True, "Path": str(folder), "Kind": kind, "Model": model or DEFAULT_MODEL})


def _prepare(instance: Path | None, model: str | None, weights: Path | None, chosen: Format) -> None:
    """Only the option names an instance here: a default one may not be there yet, and need not be."""
    from imgsearch.instance import Instance
    from imgsearch.locations import cache_folder
    from imgsearch.vision.models import DEFAULT_MODEL

    begun = perf_counter()
    if instance is None:
        name = model or DEFAULT_MODEL
        Instance.prepare(name, weights=weights, announce=announcer())
    elif model is not None or weights is not None:
        raise UsageError("an instance has its model already: give --instance, or --model and --weights, with --prepare")
    else:
        with open_instance(instance) as opened:
            opened.prepare_networks()
            name = opened.model.name
    seconds, cache = perf_counter() - begun, cache_folder()
    if chosen is Format.TABLE:
        console().print(f"The networks of {safe(name)} are prepared in {safe(str(cache))}", markup=False)
    elif chosen is Format.PATHS:
        print_line(str(cache))
    else:
        print_document({"Success": True, "Model": name, "Cache": str(cache), "Seconds": round(seconds, 3)})
