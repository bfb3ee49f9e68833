"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgsearch.cli.configuration import SETTINGS
from imgsearch.cli.errors import warn
from imgsearch.cli.output import FORMAT_VARIABLE, Format
from imgsearch.errors import StorageError, UsageError
from imgsearch.locations import INSTANCE_VARIABLE
from imgsearch.service.categories import CATEGORIES, Kind, parse_category
from imgsearch.shards import Shard
from imgsearch.storage.backends import located
from imgsearch.values import PictureOptions, Region

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ATTRIBUTES",
    "DOWNLOADS",
    "INSTANCE",
    "OUTPUT",
    "PICTURES",
    "RESOURCES",
    "SELECTION",
    "STDIN",
    "TIMEOUT_SECONDS",
    "AllowPrivate",
    "Category",
    "Crop",
    "CustomContent",
    "DeviceOption",
    "Downloads",
    "FilterOption",
    "FormatOption",
    "GlobalInstance",
    "InstanceOption",
    "IntAttr",
    "KindOption",
    "LockTimeout",
    "LogFile",
    "Model",
    "Nul",
    "OfProduct",
    "Quiet",
    "RegionOption",
    "SeveralInstances",
    "StrAttr",
    "Timeout",
    "Weights",
    "Workers",
    "check_device",
    "check_no_instance",
    "check_no_links",
    "picture_options",
]

INSTANCE = "Instance"
PICTURES = "Pictures"
ATTRIBUTES = "Attributes"
SELECTION = "Selection"
RESOURCES = "Resources"
OUTPUT = "Output"
"""Groups of options in the help."""

STDIN = "-"
"""The path that stands for standard input."""


def _of_the_command_line(context: typer.Context, given: Path | None) -> Path | None:
    """The option of the command, or the one before it; they may not differ."""
    before = context.find_root().params.get("instance")
    if before is not None and given is not None and Path(given) != Path(before):
        raise typer.BadParameter(f"the instance is given twice: {before} before the command, {given} after it")
    chosen = given if given is not None else before
    return None if chosen is None else Path(chosen)


def _also_before_the_command(context: typer.Context, given: list[Path] | None) -> list[Path]:
    """The options of the command, and the one before it."""
    before = context.find_root().params.get("instance")
    return [*([] if before is None else [Path(before)]), *map(Path, given or [])]


def _names_of_instances(incomplete: str) -> list[str]:
    from imgsearch.cli.configuration import load

    try:
        return [name for name in load(None).instances if name.startswith(incomplete)]
    except UsageError:
        return []


def _names_of_categories(incomplete: str) -> list[str]:
    return [name for name in CATEGORIES.values() if name.casefold().startswith(incomplete.casefold())]


def _names_of_models(incomplete: str) -> list[str]:
    from imgsearch.vision.known_models import KNOWN_MODELS

    return [model.name for model in KNOWN_MODELS if model.name.startswith(incomplete)]


def _place(name: str) -> Path:
    if not name:  # most often, of a variable of a script that is not set
        raise typer.BadParameter("the name of the instance is empty")
    try:
        return located(name)
    except UsageError as error:
        raise typer.BadParameter(error.message) from None


def _shard(text: str) -> Shard:
    try:
        return Shard.parse(text)
    except UsageError as error:
        raise typer.BadParameter(error.message) from None


def _instance_option(help_text: str, **more: Any) -> Any:
    return typer.Option(
        "-i",
        "--instance",
        parser=_place,
        metavar="DIR|NAME|URL",
        show_default=False,
        help=help_text,
        autocompletion=_names_of_instances,
        **more,
    )


GlobalInstance = Annotated[Path | None, _instance_option("The instance, as after the command.")]
InstanceOption = Annotated[
    Path | None,
    _instance_option(
        "The instance's folder, its name in the configuration file, or its address; by default "
        f"{INSTANCE_VARIABLE}, else 'default' in your data directory.",
        callback=_of_the_command_line,
        rich_help_panel=INSTANCE,
    ),
]
SeveralInstances = Annotated[
    list[Path] | None,
    _instance_option(
        "An instance's folder, name in the configuration file, or address; repeatable. By default as for other "
        "commands.",
        callback=_also_before_the_command,
        rich_help_panel=INSTANCE,
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        show_default=False,
        envvar=FORMAT_VARIABLE,
        show_envvar=False,
        help="Output format; by default table on a terminal, else json.",
        rich_help_panel=OUTPUT,
    ),
]
KindOption = Annotated[
    Kind | None,
    typer.Option(
        "--kind",
        show_default=False,
        help="Kind of a new instance: product, with categories (the default), or generic, without.",
        rich_help_panel=INSTANCE,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|FOLDER",
        show_default=False,
        help="A model listed by 'imgsearch models', any other from timm, or a folder with a model's ONNX files.",
        autocompletion=_names_of_models,
        rich_help_panel=INSTANCE,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        show_default=False,
        help="Local weights file for --model (.safetensors or .pth).",
        rich_help_panel=INSTANCE,
    ),
]
Category = Annotated[
    str | None,
    typer.Option(
        "--category",
        metavar="ID|NAME",
        show_default=False,
        help="Category, such as 3 or Bag.",
        autocompletion=_names_of_categories,
        rich_help_panel=PICTURES,
    ),
]
Crop = Annotated[
    bool,
    typer.Option(
        "--crop/--no-crop",
        help="Detect the subject (or use --region), or use the whole picture.",
        rich_help_panel=PICTURES,
    ),
]
RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="X1,X2,Y1,Y2",
        show_default=False,
        help="Region of the upright picture to use, in pixels.",
        rich_help_panel=PICTURES,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        envvar=SETTINGS["workers"].variable,
        show_envvar=False,
        show_default=False,
        help="Pictures processed at once; by default three per core, more with a GPU.",
        rich_help_panel=RESOURCES,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="cpu|cuda|cuda:N",
        envvar=SETTINGS["device"].variable,
        show_envvar=False,
        help="Device that runs the networks: the CPU or a GPU.",
        rich_help_panel=RESOURCES,
    ),
]
ShardOption = Annotated[
    Shard | None,
    typer.Option(
        "--shard",
        parser=_shard,
        metavar="I/N",
        show_default=False,
        help="Products of this shard, 0/N to N-1/N, by a hash of ProductId: to spread work over N processes.",
        rich_help_panel=RESOURCES,
    ),
]
FilterOption = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="EXPR",
        show_default=False,
        help='Only items whose attributes match, for example: int_attr>=10 AND str_attr="red"',
        rich_help_panel=SELECTION,
    ),
]
CustomContent = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT", show_default=False, help="Any text, returned by searches.", rich_help_panel=ATTRIBUTES
    ),
]
OfProduct = Annotated[
    str | None,
    typer.Option(metavar="ID", show_default=False, help="Only pictures of this product.", rich_help_panel=PICTURES),
]
IntAttr = Annotated[int | None, typer.Option(metavar="NUMBER", show_default=False, rich_help_panel=ATTRIBUTES)]
StrAttr = Annotated[str | None, typer.Option(metavar="TEXT", show_default=False, rich_help_panel=ATTRIBUTES)]
LockTimeout = Annotated[
    float,
    typer.Option(
        "--lock-timeout",
        metavar="SECONDS",
        min=0,
        envvar=SETTINGS["lock-timeout"].variable,
        show_envvar=False,
        help="How long to wait for another writer.",
        rich_help_panel=INSTANCE,
    ),
]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        show_default=False,
        help="Append timestamped lines to this file.",
        rich_help_panel=OUTPUT,
    ),
]
Nul = Annotated[
    bool,
    typer.Option(
        "-0",
        "--null",
        help="Separate names by NUL instead of newline (--format paths, and stdin).",
        rich_help_panel=OUTPUT,
    ),
]
DOWNLOADS = 16
"""At 100 ms per request, enough to keep two cores busy."""
TIMEOUT_SECONDS = 60.0
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.1,
        help="Time limit per downloaded picture, with retries.",
        rich_help_panel=RESOURCES,
    ),
]
Downloads = Annotated[
    int, typer.Option("--downloads", min=1, help="Number of parallel downloads.", rich_help_panel=RESOURCES)
]
AllowPrivate = Annotated[
    bool,
    typer.Option(
        "--allow-private",
        help="Let links lead to addresses that are not public: loopback, private networks.",
        rich_help_panel=PICTURES,
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing on success.", rich_help_panel=OUTPUT)]


def check_no_instance(paths: Iterable[str]) -> None:
    """Refuse an instance's folder in the place of pictures: most often, its option was forgotten.

    Raises:
        UsageError
    """
    from imgsearch.instance_folder import InstanceFolder

    for path in paths:
        try:
            is_instance = path != STDIN and InstanceFolder.exists(path)
        except (OSError, ValueError, StorageError):  # reading it will say why
            is_instance = False
        if is_instance:
            raise UsageError(f"{path} is an instance, not a picture or a folder of pictures: name it with -i {path}")


def check_device(name: str) -> None:
    """Raise if a device is missing or cannot be used, before any work begins.

    Raises:
        UsageError, DeviceUnusable
    """
    from imgsearch.vision.devices import Device

    Device.parse(name).check()


def check_no_links(paths: list[str], advice: str) -> None:
    """Raise if a path is a link; it is not repeated, as it may hold a password.

    Raises:
        UsageError
    """
    if any(path.lower().startswith(("http://", "https://")) for path in paths):
        raise UsageError(f"a link is no path: {advice}")


def picture_options(category: str | None, *, crop: bool, region: str | None) -> PictureOptions:
    """CategoryId, Crop and Region from options; warns if a region is ignored.

    Raises:
        InvalidCategory, InvalidRegion
    """
    parsed = None if region is None else Region.parse(region)
    if parsed is not None and not crop:
        warn("--no-crop uses the whole picture, so --region is ignored")
    return PictureOptions(None if category is None else parse_category(category), crop, parsed)
