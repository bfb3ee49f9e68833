"""docs/recipes.md shows what a terminal of 80 columns shows: its sessions run as they stand there."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT

RECIPES = ROOT / "docs" / "recipes.md"
SESSIONS = re.findall(r"<!-- session -->\n```console\n(.*?)```", RECIPES.read_text(encoding="utf-8"), re.DOTALL)
PHOTOS = {
    "2025/IMG_0815.jpg": "mug-red/front.jpg",
    "2025/IMG_0900.jpg": "armchair-teal/front.jpg",
    "2026/IMG_0815 (1).jpg": "mug-red/front.jpg",
    "2026/IMG_1001.jpg": "teapot-white/side.jpg",
    "2026/IMG_1002.jpg": "handbag-tan/front.jpg",
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that the page describes, and the command on the path."""
    folder = tmp_path_factory.mktemp("desk")
    catalogue = ROOT / "sample_data" / "catalogue"
    for name, source in PHOTOS.items():
        target = folder / "photos" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(catalogue / source, target)
    image = Image.open(folder / "photos" / "2025" / "IMG_0900.jpg")
    image.resize((image.width // 2, image.height // 2)).save(folder / "photos" / "2026" / "for-the-web.jpg", quality=60)
    for product in ("mug-red", "armchair-teal", "teapot-white"):
        shutil.copytree(catalogue / product, folder / "pictures" / product)
    (folder / "unmounted").mkdir()
    (folder / "bin").mkdir()
    program = folder / "bin" / "imgsearch"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m imgsearch "$@"\n')
    program.chmod(0o755)
    return folder


def shown(line: str, folder: Path) -> str:
    """What a terminal of 80 columns shows of a command line, without colours and progress bars."""
    primary, secondary = pty.openpty()
    termios.tcsetwinsize(secondary, (40, 80))
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "80", "LANG": "C.UTF-8", "NO_COLOR": "1"}
    process = subprocess.Popen(
        ["bash", "-c", line], cwd=folder, env=environment, stdin=secondary, stdout=secondary, stderr=secondary
    )
    os.close(secondary)
    output = b""
    while select.select([primary], [], [], 300)[0]:
        try:
            data = os.read(primary, 65536)
        except OSError:
            break
        if not data:
            break
        output += data
    os.close(primary)
    process.wait(timeout=60)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode().replace("\r\n", "\n"))
    lines = []
    for line in text.split("\n")[:-1]:
        last = line.rpartition("\r")[2].rstrip()
        is_bar = "\r" in line and (not last or last.endswith(("pictures]", "pictures/s]")))
        if not is_bar and not last.startswith("Preparing the networks"):
            lines.append(f"{last}\n")
    return "".join(lines)


def without_figures(text: str) -> str:
    """Times, speeds and the last digits of scores hang on the machine."""
    text = re.sub(r"\t/\S*/photos/", "\t/home/ana/photos/", text)  # wherever the folder is
    text = re.sub(r"in \d+\.\d s(, \d+ pictures/s)?", "in N s", text)
    return re.sub(r"\b0\.\d+", lambda match: "0." + "N" * (len(match[0]) - 2), text).replace("0.000", "0.NNN")


def test_there_are_sessions() -> None:
    assert len(SESSIONS) >= 3


@pytest.mark.extended
@pytest.mark.networks
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
def test_the_page_shows_what_a_terminal_shows(desk: Path) -> None:
    """In the order of the page; each line that is shown is at most 80 columns wide."""
    for session in SESSIONS:
        for part in re.split(r"(?m)^(?=\$ )", session):
            if not part:
                continue
            line, _, expected = part.removeprefix("$ ").partition("\n")
            found = shown(line, desk)
            assert without_figures(found) == without_figures(expected), line
            as_shown = without_figures(found).splitlines()  # the folder may have a long name here
            assert all(len(one) <= 80 for one in as_shown if not one.startswith(("imgsearch: ", "{"))), line
