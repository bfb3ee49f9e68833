"""Hostile input (docs/durability.md): whatever a file or a name holds, it costs itself and nothing else.

Contract of ``add`` on a folder of files that are out to break it: it ends with exit code 1, in bounded memory; each
file that is refused is named with its code and a way out; each whole picture beside them is added; nothing that a
terminal would interpret is printed; and the instance is sound.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from imgsearch.errors import InvalidFilter
from imgsearch.instance import Instance
from imgsearch.sources.files import FileRequest, operations
from imgsearch.types import Status
from imgsearch.values import Attributes, Key
from imgsearch.vision.decoder_pool import Allowance
from imgsearch.vision.limits import Limits
from tests.conftest import Run, command
from tests.hostile import DAMAGED, Hostile, corpus, sample, scan_bomb, wholes
from tests.killing_decoder import environment, killing
from tests.pictures import jpeg, write_catalogue
from tests.processes import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable

GOOD = 10
WAYS_OUT = re.compile(
    "get a whole copy|convert|scale|use a larger|is empty|save it anew|save it with|save its page|save one of|export it"
    "|download the picture|get the picture|leave it out|develop it"
)
MEGAPIXELS = 16
MEBIBYTE = 1024 * 1024
NETWORKS = 700 * MEBIBYTE
"""What the process that runs the networks takes, with much to spare."""

NAMES = [
    "line\nbreak.jpg",
    "tab\tand\rreturn.jpg",
    "\x1b[31mred\x1b[0m\x07.jpg",
    "\x1b]0;title\x07.jpg",
    "8-bit \x9b31m.jpg",
    "delete \x7f.jpg",
    "right to left \u202egpj.exe.jpg",
    "separator \u2028.jpg",
    "'; DROP TABLE items; --.jpg",
    '" OR ""="".jpg',
    "100%_.jpg",
    "%00.jpg",
    "up ..%2f..%2fetc%2fpasswd.jpg",
    "back\\slash.jpg",
    "-rf.jpg",
    "--help.jpg",
    " .jpg",
    "…" * 80 + ".jpg",
    "x" * 251 + ".jpg",
    "[bold]markup.jpg",
    "{}$(reboot)`reboot`.jpg",
]
UNDECODABLE = [b"broken \xff utf-8.jpg", b"half \xc3.jpg", b"surrogate \xed\xa0\x80.jpg"]


def write(folder: Path, files: Iterable[Hostile]) -> dict[str, Hostile]:
    """The files, by their names."""
    written = {}
    for file in files:
        (folder / file.name).write_bytes(file.data)
        written[file.name] = file
    return written


def write_names(folder: Path) -> None:
    """Whole pictures under names that are out to break something."""
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(jpeg(100 + number))
    for number, raw in enumerate(UNDECODABLE):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + raw)).write_bytes(jpeg(200 + number))


def write_no_files(folder: Path) -> set[str]:
    """What is called like a picture and is no file; names of what has to be refused."""
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket is short
        try:
            listener.bind("socket.jpg")
        finally:
            os.chdir(here)
    links = {
        "device.jpg": "/dev/zero",
        "terminal.jpg": "/dev/tty",
        "circle.jpg": "circle of two.jpg",
        "circle of two.jpg": "circle.jpg",
        "itself.jpg": "itself.jpg",
        "nowhere.jpg": "/no/such/file.jpg",
        "behind a picture.jpg": "good/0000.jpg/x.jpg",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "inside.jpg").write_bytes(jpeg(300))
    (folder / "around.jpg").symlink_to(".")  # a folder in itself
    return {"pipe.jpg", "socket.jpg", *links}


def check_harmless(text: str) -> None:
    """Nothing in it that a terminal interprets: lines of printable characters."""
    strange = {character for character in text if character != "\n" and unicodedata.category(character)[0] in "CZ"}
    assert strange <= {" "}, sorted(map(ascii, strange))


def add(folder: Path, target: Path, seconds: int, *more: object) -> tuple[int, list[dict[str, Any]], str, Watch]:
    """Add a folder; exit code, lines of jsonl, stderr, and what its processes took."""
    words = command("add", "-i", target, folder, "--format", "jsonl", *more)
    with (
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
        Watch(process.pid) as watch,
    ):
        try:
            stdout, stderr = process.communicate(timeout=seconds)
        finally:
            process.kill()
    text, told = stdout.decode(), stderr.decode()
    check_harmless(text)
    check_harmless(told)
    return process.returncode, [json.loads(line) for line in text.splitlines()], told, watch


def check_added(folder: Path, target: Path, files: list[Hostile], seconds: int) -> None:
    """The whole contract."""
    folder.mkdir()
    written = write(folder, files)
    write_catalogue(folder / "good", GOOD)
    write_names(folder)
    no_files = write_no_files(folder)
    Instance.create(target, limits=Limits(max_pixels=MEGAPIXELS * 1_000_000))
    code, lines, stderr, watch = add(folder, target, seconds)
    summary = lines.pop()
    by_name = {line["PicName"]: line for line in lines if line["PicName"] is not None}

    assert code == 1
    assert "Traceback" not in stderr
    for name, file in written.items():
        line = by_name[name]
        assert line.get("Code", "") in file.codes, line
    for name in no_files:
        assert by_name[name]["Code"] == "PictureError", name
    for name in (*NAMES, "folder.jpg/inside.jpg", *(f"good/{number:04}.jpg" for number in range(GOOD))):
        assert by_name[name]["Status"] == "added", by_name[name]
    assert not any(name.startswith("around.jpg") for name in by_name)
    nameless = [line for line in lines if line["PicName"] is None]
    assert len(nameless) == len(UNDECODABLE)
    assert all("not valid UTF-8" in line["Message"] for line in nameless)
    assert len(lines) == len(written) + len(no_files) + len(NAMES) + 1 + GOOD + len(UNDECODABLE)

    failed = [line for line in lines if line["Status"] == "failed"]
    assert summary["Failed"] == len(failed) == len(summary["Failures"])
    for line in failed:
        assert line["Source"].startswith(str(folder))
        assert len(line["Message"]) > 15
        if line["PicName"] in written:
            assert WAYS_OUT.search(line["Message"]), line

    allowed = Allowance().of(8 * MEBIBYTE, MEGAPIXELS * 1_000_000)[1]
    most = max(peak for peak in watch.peaks.values())
    assert most < NETWORKS + allowed

    assert not Instance.check(target, read_data=True)
    with Instance.open(target) as instance:
        assert instance.info().items == summary["Added"] == len(lines) - len(failed)
        for name in NAMES:
            assert instance.has_item(Key(name.removesuffix(".jpg"), name))


@pytest.mark.extended
def test_a_sample_of_hostile_files(folder: Path, tmp_path: Path) -> None:
    """120 of the corpus; the ``long`` tests take them all."""
    check_added(tmp_path / "files", folder, sample(120), 300)


@pytest.mark.long
def test_every_hostile_file(folder: Path, tmp_path: Path) -> None:
    """All of the corpus in one run, and a picture whose decoding takes minutes without being wrong anywhere."""
    files = corpus()
    assert len(files) >= 1000
    bomb = Hostile("scans.jpg", scan_bomb(4000, 7_000_000), DAMAGED)
    check_added(tmp_path / "files", folder, [*files, bomb], 1800)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 5))
def test_other_bits_of_hostile_files(folder: Path, tmp_path: Path, seed: int) -> None:
    """Other bits inverted, other pieces exchanged."""
    files = [file for file in corpus(seed) if file.name.startswith(("flip ", "splice "))]
    check_added(tmp_path / "files", folder, files, 1800)


@pytest.mark.extended
def test_a_picture_that_crashes_its_decoder_costs_itself(run: Run, tmp_path: Path) -> None:
    """A decoder that really crashes, is really killed, and really takes all memory, in the middle of a batch."""
    folder = tmp_path / "pictures"
    write_catalogue(folder, GOOD)
    wishes = {"crash": "PictureError", "abort": "PictureError", "killed": "PictureError", "exit": "PictureError"}
    if sys.platform == "linux":
        wishes["eat"] = "UnsupportedPicPixels"
    for number, wish in enumerate(wishes):
        (folder / f"000{number}-{wish}.jpg").write_bytes(killing(wish))
    result = run("add", folder, "--format", "json", env=environment(tmp_path))
    assert result.returncode == 1
    assert result.document["Added"] == GOOD
    failures = {Path(failure["Source"]).stem.partition("-")[2]: failure for failure in result.document["Failures"]}
    assert {wish: failure["Code"] for wish, failure in failures.items()} == wishes
    assert "SIGSEGV" in failures["crash"]["Message"]
    again = run("search", folder, "--format", "jsonl", env=environment(tmp_path))
    assert again.returncode == 1
    assert [line.get("Success") for line in again.lines].count(True) == GOOD


@pytest.mark.extended
def test_a_broken_tiff_prints_nothing_of_its_own(run: Run, tmp_path: Path) -> None:
    """Its library writes to stderr what it thinks of a file, so a single search decodes it elsewhere, too."""
    assert run("add", write_catalogue(tmp_path / "pictures", 1)[0]).returncode == 0
    data = wholes()["fax.tif"]
    broken = data[:2000] + b"\xaa" * 100 + data[2100:]
    here = "import sys; from PIL import Image; Image.open(sys.stdin.buffer).load()"
    alone = subprocess.run([sys.executable, "-c", here], input=broken, capture_output=True, check=False)
    assert b"Fax4Decode" in alone.stderr, "the test is of no use: the library is silent"
    (tmp_path / "fax.tif").write_bytes(broken)
    assert "Fax4Decode" not in run("search", tmp_path / "fax.tif").stderr


@pytest.mark.extended
def test_names_reach_no_terminal_as_they_are(run: Run, tmp_path: Path) -> None:
    """Of pictures that are taken, refused, found and missing; in documents for programs the name is still exact."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_names(folder)
    (folder / "\x1b[2Jbroken\x9b.jpg").write_bytes(b"no picture")
    for output_format in ("table", "jsonl"):
        added = run("add", folder, "--format", output_format)
        assert added.returncode == 1
        check_harmless(added.stdout + added.stderr)
        found = run("search", folder / NAMES[2], "--any-category", "-n", 30, "--format", output_format)
        check_harmless(found.stdout + found.stderr)
        missing = run("search", "--product-id", NAMES[2], "--pic-name", NAMES[4], "--format", output_format)
        assert missing.returncode == 4
        check_harmless(missing.stdout + missing.stderr)
    assert {hit["PicName"] for hit in found.lines[0]["Auctions"]} == set(NAMES)


@pytest.mark.extended
def test_ids_and_filters_are_values_to_sql(instance: Instance, tmp_path: Path) -> None:
    """Neither an id with a wildcard or a piece of SQL nor a filter with one selects more than it says."""
    trick = "a'; DROP TABLE items; --"
    write_names(tmp_path)
    pictures = sorted(path for path in tmp_path.iterdir() if path.is_file())
    request = FileRequest(attributes=Attributes(str_attr=trick))
    added = [outcome for outcome in instance.apply(operations(pictures, request)) if outcome.status is Status.ADDED]
    assert len(added) == len(NAMES)
    for product_id in ("%", "_", "*", "100_%", "' OR 1=1 --", "'; DELETE FROM items; --", "../..", "%0", "x\\"):
        assert not instance.delete(product_id).keys, product_id
    for expression in ('str_attr="%"', 'str_attr="_"', 'str_attr="a\' OR 1=1"', 'str_attr in ("%")', "int_attr>=0"):
        assert not instance.delete_matching(expression).keys, expression
    for expression in ("1=1", "str_attr='a'", 'str_attr="a" OR 1=1', "int_attr=1; DROP TABLE items", "sqlite_master"):
        with pytest.raises(InvalidFilter):
            instance.delete_matching(expression)
    assert [key.pic_name for key in instance.delete(NAMES[8].removesuffix(".jpg")).keys] == [NAMES[8]]
    assert len(instance.delete_matching(f'str_attr="{trick}"').keys) == len(NAMES) - 1


@pytest.mark.extended
def test_a_manifest_with_tricks(run: Run, tmp_path: Path) -> None:
    """NUL, paths that lead out, SQL, half surrogates, and lines that are no JSON: each is refused with its line."""
    write_catalogue(tmp_path / "shop", 2)
    (tmp_path / "outside.jpg").write_bytes(jpeg(50))
    tricks: dict[str, str] = {
        '{"OperationType":"ADD","ProductId":"a\\u0000b","PicName":"0000.jpg"}': "InvalidProductId",
        '{"OperationType":"ADD","ProductId":"a","PicName":"0000.jpg\\u0000.png"}': "InvalidPicName",
        '{"OperationType":"ADD","ProductId":"a","PicName":"../outside.jpg"}': "InvalidPicName",
        '{"OperationType":"ADD","ProductId":"a","PicName":"/etc/passwd.jpg"}': "InvalidPicName",
        '{"OperationType":"ADD","ProductId":"a","PicName":"..\\\\outside.jpg"}': "InvalidPicName",
        '{"OperationType":"ADD","ProductId":"\\ud800","PicName":"0000.jpg"}': "InvalidProductId",
        '{"OperationType":"ADD","ProductId":"a","PicName":"%2e%2e/outside.jpg"}': "PictureError",
        '{"OperationType":"\\u001b[31m","ProductId":"a"}': "InvalidMetaItem",
        "\0\0\0\0": "InvalidMetaItem",
        "\x1b[31m{}": "InvalidMetaItem",
        "[" * 100_000: "InvalidMetaItem",
        '{"OperationType":"DELETE","ProductId":"%"}': "",
        '{"OperationType":"ADD","ProductId":"\'; DROP TABLE items; --","PicName":"0001.jpg"}': "",
    }
    manifest = tmp_path / "shop" / "increment.meta"
    manifest.write_text('{"OperationType":"ADD","ProductId":"good","PicName":"0000.jpg"}\n' + "\n".join(tricks) + "\n")
    result = run("add", "--manifest", manifest, "--format", "json")
    assert result.returncode == 1
    check_harmless(result.stdout + result.stderr)
    expected = {f"{manifest}:{number}": code for number, code in enumerate(tricks.values(), 2) if code}
    assert {failure["Source"]: failure["Code"] for failure in result.document["Failures"]} == expected
    assert result.document["Added"] == 2
