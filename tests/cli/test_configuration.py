"""The configuration file, the option ``-i`` before a command, and what ``config`` tells about both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run

VARIABLES = ["INSTANCE", "CACHE", "FORMAT", "WORKERS", "DEVICE", "PRECISION", "LOCK_TIMEOUT"]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A file in a folder of its own, still to be written."""
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / "config.toml"


def settings(document: dict[str, Any]) -> dict[str, tuple[str | None, str]]:
    return {setting["Name"]: (setting["Value"], setting["Origin"]) for setting in document["Settings"]}


def test_each_value_and_its_origin(run: Run, folder: Path, config_file: Path) -> None:
    """Environment before file before built-in; paths are relative to the file."""
    config_file.write_text('workers = 2\ncache = "nets"\nlock-timeout = 1.5\nformat = "jsonl"\ndevice = "cpu"\n')
    environment = {"IMGSEARCH_FORMAT": "json", "IMGSEARCH_CACHE": "", "IMGSEARCH_WORKERS": "3"}
    document = run("--config", config_file, "config", env=environment).document
    assert (document["File"], document["Exists"]) == (str(config_file), True)
    assert settings(document) == {
        "instance": (str(folder), "IMGSEARCH_INSTANCE"),
        "cache": (str(config_file.parent / "nets"), str(config_file)),
        "format": ("json", "IMGSEARCH_FORMAT"),
        "workers": ("3", "IMGSEARCH_WORKERS"),
        "device": ("cpu", str(config_file)),
        "precision": (None, "built-in"),
        "lock-timeout": ("1.5", str(config_file)),
    }


def test_without_a_file(run: Run, tmp_path: Path) -> None:
    """The default one need not exist; a given one must."""
    document = run("config", env={"XDG_CONFIG_HOME": str(tmp_path)}).document
    assert (document["File"], document["Exists"]) == (str(tmp_path / "imgsearch" / "config.toml"), False)
    missing = run("--config", tmp_path / "none.toml", "config")
    assert (missing.returncode, "none.toml" in missing.stderr) == (2, True)
    assert run("info", env={"IMGSEARCH_CONFIG": str(tmp_path / "none.toml")}).returncode == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("workers = 2\ncolour = 1\n", ["line 2", "'colour'", "workers"]),
        ("\n[shops]\na = 1\n", ["line 2", "'shops'"]),
        ('workers = "two"\n', ["line 1", "workers", "whole number"]),
        ("workers = true\n", ["line 1", "whole number"]),
        ("[instances]\n\nshop = 3\n", ["line 3", "shop"]),
        ("workers = \n", ["TOML", "line 1"]),
        ("format = json\n", ["TOML", "line 1"]),
        ("instances = 3\n", ["line 1", "instances"]),
        ("\xff", ["TOML"]),
        ('cache = "~nobody-here/c"\n', ["line 1", "home directory", "~nobody-here"]),
        ('[instances]\nshop = "~nobody-here"\n', ["line 2", "home directory"]),
        (f"workers = {'[' * 3_000}\n", ["TOML"]),
        (f"workers = 0x{'f' * 5_000}\n", ["line 1", "thousands of digits", "64 bits"]),
        (f"instance = 0x{'f' * 5_000}\n", ["line 1", "thousands of digits", "text"]),
        (f"workers = {'9' * 5_000}\n", ["TOML"]),
        ('[instances]\n"a\\nb" = 1\n', ["'a\\nb'"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bad_files(run: Run, config_file: Path, content: str, words: list[str]) -> None:
    """Exit code 2 with file and line, for every command."""
    config_file.write_bytes(content.encode("latin-1"))
    result = run("--config", config_file, "info")
    assert (result.returncode, result.document["Code"]) == (2, "BadRequest")
    assert all(word in result.stderr for word in (str(config_file), *words)), result.stderr


def test_a_bad_value_is_refused_where_it_is_used(run: Run, config_file: Path) -> None:
    config_file.write_text('format = "yaml"\n')
    result = run("--config", config_file, "info")
    assert (result.returncode, "yaml" in result.stderr) == (2, True)


def test_names_of_instances(run: Run, tmp_path: Path, config_file: Path) -> None:
    """They work wherever a folder does, from anywhere; a name comes before a folder."""
    config_file.write_text('instance = "shop"\n[instances]\nshop = "../shops/one"\n')
    environment = {"IMGSEARCH_CONFIG": str(config_file), "IMGSEARCH_INSTANCE": ""}
    assert run("init", env=environment).returncode == 0
    assert (tmp_path / "shops" / "one").is_dir()
    for words in (["info"], ["info", "-i", "shop"], ["-i", "shop", "info"]):
        assert run(*words, env=environment).document["Path"] == str(config_file.parent / ".." / "shops" / "one")
    assert run("info", "-i", "other", env=environment).returncode == 4


def test_the_instance_before_the_command(run: Run, tmp_path: Path) -> None:
    """It is the same option there, and comes before the environment."""
    for words in (["-i", tmp_path / "a", "init"], [f"--instance={tmp_path / 'b'}", "init"]):
        assert run(*words).returncode == 0
    assert run("-i", tmp_path / "a", "info").document["Path"] == str(tmp_path / "a")
    assert run("-i", tmp_path / "a", "info", "-i", tmp_path / "a").returncode == 0
    twice = run("-i", tmp_path / "a", "info", "-i", tmp_path / "b")
    assert (twice.returncode, "twice" in twice.stderr) == (2, True)


def test_options_come_before_the_file(run: Run, catalogue: Path, config_file: Path) -> None:
    config_file.write_text('format = "jsonl"\nworkers = 1\n')
    assert len(run("--config", config_file, "add", catalogue).lines) == 13
    assert run("--config", config_file, "info", "--format", "json").document["TotalCount"] == 12
