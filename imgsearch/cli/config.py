"""``imgsearch config``."""

from __future__ import annotations

import os
from typing import Any

from imgsearch.cli.configuration import INSTANCES, SETTINGS, active
from imgsearch.cli.opening import instance_folder
from imgsearch.cli.options import FormatOption, InstanceOption
from imgsearch.cli.output import Format, console, print_document, print_line, resolve_format, text
from imgsearch.locations import cache_folder
from imgsearch.storage.backends import is_remote, located

__all__ = ["config"]

BUILT_IN = "built-in"


def config(instance: InstanceOption = None, output_format: FormatOption = None) -> None:
    """Show each setting, its value, and where it comes from: environment, configuration file or built-in."""
    chosen = resolve_format(output_format)
    configuration = active()
    settings = [_document(name) for name in SETTINGS]
    if instance is not None:
        settings[0] |= {"Value": str(instance), "Origin": "-i"}
    if chosen is Format.PATHS:
        print_line(str(configuration.path or ""))
    elif chosen is Format.JSONL:
        for setting in settings:
            print_document(setting, one_line=True)
    elif chosen is Format.JSON:
        print_document(
            {
                "Success": True,
                "File": None if configuration.path is None else str(configuration.path),
                "Exists": configuration.exists,
                "Settings": settings,
                "Instances": configuration.instances,
            }
        )
    else:
        _print_table(settings)


def _document(name: str) -> dict[str, Any]:
    setting, configuration = SETTINGS[name], active()
    value = os.environ.get(setting.variable) or None
    if value is None:
        origin = BUILT_IN
    elif setting.variable in configuration.applied:
        origin = str(configuration.path)
    else:
        origin = setting.variable
    shown = _without_password(value) if value is not None else _built_in(name)
    return {"Name": name, "Value": shown, "Origin": origin, "Variable": setting.variable, "Description": setting.help}


def _without_password(value: str) -> str:
    return str(located(value)) if is_remote(value) else value


def _built_in(name: str) -> str | None:
    match name:
        case "instance":
            return str(instance_folder(None))
        case "cache":
            return str(cache_folder())
        case "device":
            return "cpu"
        case "lock-timeout":
            return "0"
        case _:
            return None  # depends on the terminal or the machine


def _print_table(settings: list[dict[str, Any]]) -> None:
    from rich.table import Table

    configuration = active()
    table = Table(caption_justify="left")
    for column in ("Setting", "Value", "From"):
        table.add_column(column, overflow="fold")
    for setting in settings:
        shown = "automatic" if setting["Value"] is None else setting["Value"]
        table.add_row(*map(text, (setting["Name"], shown, setting["Origin"])))
    for name, folder in configuration.instances.items():
        table.add_row(*map(text, (f"{INSTANCES}.{name}", _without_password(folder), configuration.path)))
    missing = "" if configuration.exists else " (does not exist)"
    table.caption = text(f"configuration file: {configuration.path}{missing}")
    console().print(table)
