"""``imgsearch man``: the manual page, made from the commands themselves."""

from __future__ import annotations

import re
from typing import Any, Final

import typer

import imgsearch
from imgsearch.cli.examples import EXAMPLES
from imgsearch.cli.output import print_line

__all__ = ["man"]

FILES: Final = (
    ("~/.config/imgsearch/config.toml", "defaults of options, and names of instances"),
    ("~/.local/share/imgsearch/default", "the default instance"),
    ("~/.cache/imgsearch", "prepared networks; can be deleted"),
)
EXIT_CODES: Final = (
    ("0", "done"),
    ("1", "some items failed, all others are done"),
    ("2", "wrong usage"),
    ("3", "bad input: picture, region, filter, category, manifest"),
    ("4", "no such instance, no such item, or nothing in it"),
    ("5", "another writer holds the instance"),
    ("6", "the instance is damaged, of a newer format, or of another model"),
    ("7", "remote storage refused or is misconfigured"),
    ("8", "disk full or unwritable; nothing acknowledged is lost"),
    ("70", "a bug; the trace is in the log"),
    ("130", "interrupted; what was acknowledged stays"),
)


def man() -> None:
    """Print the manual page in the format of the program man."""
    from imgsearch.cli.app import COMMANDS, app

    program: Any = typer.main.get_command(app)
    lines = [
        f'.TH IMGSEARCH 1 "" "imgsearch {imgsearch.__version__}"',
        ".SH NAME",
        "imgsearch \\- search a catalogue of pictures by picture",
        ".SH SYNOPSIS",
        ".B imgsearch",
        "[\\fB\\-i\\fR \\fIDIR\\fR] \\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...",
        ".SH DESCRIPTION",
        _text(program.help),
        ".SH OPTIONS",
        *_options(program.params),
        ".SH COMMANDS",
    ]
    for name in COMMANDS:
        command = program.commands[name]
        words = [f"imgsearch {name}", *(one.make_metavar(typer.Context(command)) for one in _arguments(command))]
        lines += [f".SS {_text(' '.join(words))}", _text(command.help), *_options(command.params)]
        lines += [".PP", "Examples:", ".PP", ".RS", ".nf", *map(_text, EXAMPLES[name]), ".fi", ".RE"]
    for title, rows in (("EXIT STATUS", EXIT_CODES), ("FILES", FILES)):
        lines.append(f".SH {title}")
        for name, meaning in rows:
            lines += [".TP", f".B {_text(name)}", _text(meaning)]
    print_line("\n".join(lines))


def _arguments(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if parameter.param_type_name == "argument"]


def _options(parameters: list[Any]) -> list[str]:
    lines = []
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            continue
        names = ", ".join(f"\\fB{_text(name)}\\fR" for name in (*parameter.opts, *parameter.secondary_opts))
        value = "" if parameter.is_flag else f" \\fI{_text(_metavar(parameter))}\\fR"
        lines += [".TP", f"{names}{value}", _text(parameter.help or f"{parameter.human_readable_name}.")]
    return lines


def _metavar(option: Any) -> str:
    choices = getattr(option.type, "choices", None)
    if option.metavar:
        return str(option.metavar)
    return "|".join(str(getattr(one, "value", one)) for one in choices) if choices else "NUMBER"


def _text(text: str | None) -> str:
    """Text for troff: on one line, with nothing in it that troff would interpret."""
    plain = re.sub(r"\s+", " ", text or "").strip().replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{plain}" if plain.startswith(".") else plain
