"""``add`` through a real process: what is indexed, what is said, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import Run, command, whole_lines
from tests.heic import HEICS
from tests.hostile import chunk
from tests.pictures import draw, encode, jpeg, write_catalogue

pytestmark = pytest.mark.networks

SUMMARY = {"Success", "Added", "Replaced", "Unchanged", "Deleted", "Failed", "Failures", "Seconds", "Skipped"}


def counts(document: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(document[name] for name in ("Added", "Replaced", "Unchanged", "Deleted", "Failed"))


@pytest.mark.extended
def test_second_run_adds_nothing_and_a_changed_file_is_replaced(run: Run, tmp_path: Path) -> None:
    """``add`` twice: the second run extracts nothing and says so; a changed file is replaced, a new one added."""
    folder = tmp_path / "pictures"
    paths = write_catalogue(folder, 6)
    first = run("add", folder)
    assert (first.returncode, set(first.document), counts(first.document)) == (0, SUMMARY, (6, 0, 0, 0, 0))
    assert "Created a product instance" in first.stderr
    second = run("add", folder, env={"IMGSEARCH_CACHE": str(tmp_path / "no-model-here")})
    assert (second.returncode, counts(second.document)) == (0, (0, 0, 6, 0, 0))
    assert not (tmp_path / "no-model-here").exists(), "a run without new pictures must not even load the model"
    paths[2].write_bytes(jpeg(77))
    write_catalogue(folder, 1, first=50)
    third = run("add", folder)
    assert (third.returncode, counts(third.document)) == (0, (1, 1, 5, 0, 0))


@pytest.mark.extended
def test_a_cut_off_picture_is_added_with_a_warning(run: Run, tmp_path: Path) -> None:
    """In the line of the picture and the summary's count, or as one line on stderr."""
    paths = write_catalogue(tmp_path / "pictures", 3)
    paths[1].write_bytes(paths[1].read_bytes()[:-2])
    lines = run("add", tmp_path / "pictures", "--format", "jsonl")
    assert (lines.returncode, counts(lines.lines[-1]), lines.lines[-1]["Warnings"]) == (0, (3, 0, 0, 0, 0), 1)
    assert [line.get("Warning", "")[:23] for line in lines.lines[:-1]] == ["", "the file is cut off, th", ""]
    assert "cut off" not in lines.stderr
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    whole = run("add", tmp_path / "pictures")
    assert whole.document["Warnings"] == 1
    assert whole.stderr.count("\n") == 1
    assert f"{paths[1]}: the file is cut off" in whole.stderr
    again = run("add", tmp_path / "pictures", "--format", "json")
    assert ("Warnings" in again.document, again.stderr) == (False, ""), "unchanged, so nothing is looked at"


@pytest.mark.extended
def test_pictures_as_they_come(run: Run, tmp_path: Path) -> None:
    """AVIF and HEIC in a folder, and a PNG whose metadata is broken; and each finds itself."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    png = encode(draw(3), "PNG")
    (folder / "a.avif").write_bytes(encode(draw(1), "AVIF"))
    (folder / "b.HEIC").write_bytes(HEICS["plain"])
    (folder / "c.png").write_bytes(png[:33] + chunk(b"tEXt", b"Software\0Editor", 1) + png[33:])
    added = run("add", folder)
    assert (added.returncode, counts(added.document)) == (1, (2, 0, 0, 0, 1)), "a HEIC below 100 pixels a side"
    assert added.document["Failures"][0]["Code"] == "UnsupportedPicPixels"
    for name in ("a.avif", "c.png"):
        found = run("search", folder / name, "--any-category", "-n", 1)
        assert found.document["Auctions"][0]["PicName"] == name
        assert found.document["Auctions"][0]["Score"] == 1


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.long)])
def test_three_broken_files_among_others(run: Run, tmp_path: Path, count: int) -> None:
    """Exit code 1, three failures named with their codes, all others indexed."""
    folder = tmp_path / "pictures"
    paths = write_catalogue(folder, count)
    cut, text, small = paths[count // 5], paths[count // 2], paths[-1]
    cut.write_bytes(jpeg(100)[:700])
    text.write_text("not a picture at all")
    small.write_bytes(jpeg(499, (50, 50)))
    result = run("add", folder)
    assert (result.returncode, counts(result.document)) == (1, (count - 3, 0, 0, 0, 3))
    assert result.document["Success"] is False
    failures = {Path(failure["Source"]).name: failure for failure in result.document["Failures"]}
    assert {name: failure["Code"] for name, failure in failures.items()} == {
        cut.name: "PictureError",
        text.name: "UnsupportedPicFormat",
        small.name: "UnsupportedPicPixels",
    }
    assert failures[small.name]["PicName"] == small.name
    assert "--min-side" in failures[small.name]["Message"]
    assert run("info").document["TotalCount"] == count - 3


def test_jsonl_acknowledges_each_picture(run: Run, tmp_path: Path) -> None:
    """A line per picture, in order, then the summary."""
    folder = tmp_path / "pictures"
    paths = write_catalogue(folder, 3)
    paths[1].write_bytes(b"")
    result = run("add", folder, "--category", 4, "--no-crop", "--format", "jsonl")
    *lines, summary = result.lines
    assert [(line["PicName"], line["Status"]) for line in lines] == [
        ("0000.jpg", "added"),
        ("0001.jpg", "failed"),
        ("0002.jpg", "added"),
    ]
    assert (lines[0]["CategoryId"], lines[0]["Region"]) == (4, "0,160,0,120")
    assert lines[1]["Code"] == "NoSpecifiedPicContent"
    assert set(summary) == SUMMARY


@pytest.mark.extended
def test_a_dry_run_tells_what_adding_would_do_and_stores_nothing(run: Run, folder: Path, tmp_path: Path) -> None:
    """Before there is an instance, and then of new, changed, unchanged and missing pictures; no network is loaded."""
    pictures = tmp_path / "pictures"
    paths = write_catalogue(pictures, 3)
    without_models = {"IMGSEARCH_CACHE": str(tmp_path / "no-model-here")}
    first = run("add", "--dry-run", pictures, env=without_models)
    assert (first.returncode, set(first.document)) == (0, SUMMARY | {"DryRun"})
    assert (counts(first.document), folder.exists()) == ((3, 0, 0, 0, 0), False)
    assert run("add", pictures).returncode == 0
    paths[0].write_bytes(jpeg(70))
    write_catalogue(pictures, 1, first=60)
    missing = tmp_path / "missing.jpg"
    second = run("add", "--dry-run", pictures, missing, env=without_models)
    added, replaced, unchanged, deleted, failed = counts(second.document)
    # A file that was just written has no token, so its bytes would have to be read to tell that it is unchanged.
    assert (second.returncode, added, replaced + unchanged, deleted, failed) == (1, 1, 3, 0, 1)
    assert replaced >= 1
    assert not (tmp_path / "no-model-here").exists()
    done = run("add", pictures, missing)
    assert (done.returncode, counts(done.document)) == (1, (1, 1, 2, 0, 1))
    assert done.document["Failures"] == second.document["Failures"]


def test_keys_of_a_folder(run: Run, tmp_path: Path) -> None:
    """PicName is the path below the folder; ProductId is made of it, of the folder around, or given."""
    for product in ("mug", "chair"):
        write_catalogue(tmp_path / "shop" / product, 1)
    lines = run("add", tmp_path / "shop", "--format", "jsonl").lines[:-1]
    assert {(line["ProductId"], line["PicName"]) for line in lines} == {
        ("chair/0000", "chair/0000.jpg"),
        ("mug/0000", "mug/0000.jpg"),
    }
    lines = run("add", tmp_path / "shop", "--product-from", "parent", "--format", "jsonl").lines[:-1]
    assert {line["ProductId"] for line in lines} == {"mug", "chair"}
    lines = run("add", tmp_path / "shop" / "mug" / "0000.jpg", "--product-id", "p", "--pic-name", "n.jpg", "--format",
                "jsonl").lines[:-1]  # fmt: skip
    assert (lines[0]["ProductId"], lines[0]["PicName"]) == ("p", "n.jpg")


def test_attributes_reach_the_search_result(run: Run, tmp_path: Path) -> None:
    """Every attribute option is stored and returned under the service's name."""
    (path,) = write_catalogue(tmp_path, 1)
    given = {"CustomContent": "k:v, ü", "IntAttr": 1, "IntAttr2": -2, "IntAttr3": 3, "IntAttr4": 2**31 - 1}
    given |= {"StrAttr": "red", "StrAttr2": 'say "hi"', "StrAttr3": "", "StrAttr4": "x" * 128}
    options = ["--custom-content", given["CustomContent"]]
    for name, value in given.items():
        if name != "CustomContent":
            options += [f"--{name[:3].lower()}-attr{name[7:]}", value]
    assert run("add", path, "--category", "Bag", *options).returncode == 0
    (hit,) = run("search", path, "--any-category").document["Auctions"]
    assert {name: hit[name] for name in given} == given
    assert hit["CategoryId"] == 3


def test_paths_on_stdin(run: Run, tmp_path: Path) -> None:
    """``-`` takes one path a line, with ``-0`` NUL-separated ones, which may hold newlines."""
    paths = write_catalogue(tmp_path / "a", 2)
    result = run("add", "-", stdin="\n".join(map(str, paths)).encode())
    assert counts(result.document) == (2, 0, 0, 0, 0)
    odd = tmp_path / "two\nlines.jpg"
    odd.write_bytes(jpeg(9))
    result = run("add", "-0", "-", stdin=b"\0".join([bytes(odd), bytes(paths[0])]))
    assert counts(result.document) == (1, 0, 1, 0, 0)


def test_manifest(run: Run, tmp_path: Path) -> None:
    """``--manifest`` takes the lines of an increment.meta, with pictures beside it, deletions included."""
    write_catalogue(tmp_path / "shoes", 2)
    manifest = tmp_path / "increment.meta"
    lines = [
        {"OperationType": "ADD", "ProductId": "s", "PicName": "shoes/0000.jpg", "CategoryId": 4, "StrAttr": "red"},
        {"operator": "ADD", "item_id": "t", "pic_list": ["shoes/0001.jpg"], "cat_id": 4},
        {"OperationType": "ADD", "ProductId": "s", "PicName": "/shoes/0001.jpg"},
        {"OperationType": "DELETE", "ProductId": "t"},
    ]
    manifest.write_text("\n".join(json.dumps(line) for line in lines))
    result = run("add", "--manifest", manifest)
    assert (result.returncode, counts(result.document)) == (1, (2, 0, 0, 1, 1))
    (failure,) = result.document["Failures"]
    assert (failure["Source"], failure["Code"]) == (f"{manifest}:3", "InvalidPicName")
    assert run("info").document["TotalCount"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["--region", "1,2,3"], "InvalidRegion", 3),
        (["--region", "0,161,0,120"], "InvalidRegion", 3),
        (["--region", "50,20,0,10"], "InvalidRegion", 3),
        (["--category", "hats"], "InvalidCategory", 3),
        (["--str-attr", "x" * 129], "InvalidStrAttr", 3),
        (["--int-attr", 2**31], "InvalidIntAttr", 3),
        (["--custom-content", "x" * 4097], "InvalidCustomContent", 3),
        (["--product-id", "x" * 513], "InvalidProductId", 3),
        (["--model", "no-such-model", "--weights", "/nowhere.pth"], "BadRequest", 3),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_input(run: Run, tmp_path: Path, arguments: list[object], code: str, exit_code: int) -> None:
    """Each bad value has its code and the exit code of bad input, and is said on one line."""
    (path,) = write_catalogue(tmp_path, 1)
    result = run("add", path, *arguments)
    assert result.returncode == exit_code
    document = result.document
    found = document["Failures"][0]["Code"] if "Failures" in document else document["Code"]
    assert (document["Success"], found) == (False, code)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--manifest", "m", "a.jpg"],
        ["--manifest", "m", "--str-attr", "x"],
        ["--pic-name", "n.jpg", "a.jpg", "b.jpg"],
        ["--int-attr", "many", "a.jpg"],
        ["--bogus", "a.jpg"],
        ["--format", "xml", "a.jpg"],
    ],
    ids=str,
)
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    """Exit code 2, and nothing is made."""
    result = run("add", *arguments)
    assert result.returncode == 2
    assert result.stderr


def test_no_crop_ignores_a_region_with_a_warning(run: Run, tmp_path: Path) -> None:
    """The FAQ's rule: the whole picture."""
    (path,) = write_catalogue(tmp_path, 1)
    result = run("add", path, "--no-crop", "--region", "0,50,0,50", "--format", "jsonl")
    assert result.lines[0]["Region"] == "0,160,0,120"
    assert "--region is ignored" in result.stderr


def test_quiet_says_nothing_when_all_is_well(run: Run, catalogue: Path) -> None:
    """Not a byte on stdout or stderr for cron; failures are still told, and that an instance was made."""
    first = run("add", catalogue, "--quiet")
    assert (first.returncode, first.stdout, first.stderr.count("\n")) == (0, "", 1)
    assert first.stderr.startswith("Created a product instance in ")
    result = run("add", catalogue, "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    result = run("add", catalogue, "/nowhere.jpg", "--quiet")
    assert (result.returncode, len(result.document["Failures"])) == (1, 1)


def test_another_model_is_refused(run: Run, catalogue: Path) -> None:
    """Exit code 6, with the command that makes an instance for it."""
    run("add", catalogue)
    result = run("add", catalogue, "--model", "efficientnet-lite0")
    assert (result.returncode, result.document["Code"]) == (6, "UnsupportedInstanceType")
    assert "imgsearch init" in result.stderr


def test_names_cannot_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    """Control characters in file names are written out, never printed."""
    path = tmp_path / "evil\x1b[2J\nname.jpg"
    path.write_text("no picture")
    result = run("add", path, "--format", "table")
    assert result.returncode == 3
    assert "\x1b" not in result.stdout + result.stderr
    assert "\\x1b[2J\\nname" in result.stderr


@pytest.mark.extended
def test_interrupted_run_goes_on_from_there(run: Run, folder: Path, tmp_path: Path) -> None:
    """Ctrl-C: exit code 130; every line seen is found, and running again adds the rest only."""
    write_catalogue(tmp_path / "many", 250)
    process = subprocess.Popen(
        command("add", tmp_path / "many", "--format", "jsonl"),
        env={**os.environ, "IMGSEARCH_INSTANCE": str(folder)},
        bufsize=0,  # communicate() passes over what readline() has read ahead
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    acknowledged = [json.loads(process.stdout.readline())["PicName"]]
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    acknowledged += [line["PicName"] for line in whole_lines(rest) if "PicName" in line]
    assert process.returncode == 130
    assert b"interrupted" in errors
    assert len(acknowledged) < 250
    for name in acknowledged[:3] + acknowledged[-1:]:
        (hit,) = run("search", tmp_path / "many" / name, "-n", 1).document["Auctions"]
        assert (hit["PicName"], hit["Score"]) == (name, 1.0)
    again = run("add", tmp_path / "many")
    assert again.returncode == 0
    assert again.document["Added"] + again.document["Unchanged"] == 250
    assert again.document["Unchanged"] >= len(acknowledged)


@pytest.mark.extended
def test_a_second_writer_is_told_who_writes(run: Run, folder: Path, tmp_path: Path, catalogue: Path) -> None:
    """Exit code 5, with the pid, command and start of the holder; a search goes on meanwhile."""
    run("add", catalogue)
    process = subprocess.Popen(
        command("add", "-", "--format", "jsonl"),
        env={**os.environ, "IMGSEARCH_INSTANCE": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        while not (folder / "writer.json").exists() or not (folder / "writer.json").read_text().endswith("}"):
            assert process.poll() is None
        result = run("add", catalogue)
        assert (result.returncode, result.document["Code"]) == (5, "InstanceStatusError")
        assert f"process {process.pid} (imgsearch add" in result.stderr
        assert run("search", catalogue / "0001.jpg", "-n", 1).document["Auctions"][0]["PicName"] == "0001.jpg"
    finally:
        process.kill()
        process.communicate()
    assert run("add", catalogue).returncode == 0, "a killed writer leaves no lock"


@pytest.mark.extended
@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit")
def test_a_full_disk_is_told_and_loses_nothing(run: Run, folder: Path, tmp_path: Path) -> None:
    """Writes that fail for want of space: exit code 8, and what was acknowledged is found."""
    write_catalogue(tmp_path / "first", 5)
    write_catalogue(tmp_path / "more", 150, first=100)
    run("add", tmp_path / "first")
    limit = (folder / "instance.db").stat().st_size + 30_000  # the second folder needs more than 100,000
    limited = subprocess.run(
        ["prlimit", f"--fsize={limit}", *command("add", tmp_path / "more")],
        env={**os.environ, "IMGSEARCH_INSTANCE": str(folder)},
        capture_output=True,
        check=False,
    )
    assert limited.returncode == 8, limited.stderr
    assert json.loads(limited.stdout)["Code"] in {"InstanceOverQuota", "NoPermission"}
    assert run("search", tmp_path / "first" / "0003.jpg").document["Auctions"][0]["Score"] == 1.0
    assert run("add", tmp_path / "more").returncode == 0
    assert run("info").document["TotalCount"] == 155


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_every_format_finds_itself(run: Run, tmp_path: Path, image_format: str) -> None:
    """Each supported format, from file to first hit."""
    path = tmp_path / f"picture.{image_format.lower()}"
    path.write_bytes(encode(draw(3), image_format))
    assert run("add", path).document["Added"] == 1
    (hit,) = run("search", path).document["Auctions"]
    assert (hit["Score"], hit["SortExprValues"]) == (1.0, "7.33136443711219e+24;0")


def test_orientation_is_applied(run: Run, tmp_path: Path) -> None:
    """A picture turned by its EXIF flag is indexed upright, and the region is that of the upright picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    path.write_bytes(encode(draw(3, (200, 120)), exif=exif))
    line = run("add", path, "--no-crop", "--format", "jsonl").lines[0]
    assert line["Region"] == "0,120,0,200"


@pytest.mark.extended
def test_a_bug_is_reported_with_its_trace_in_the_log(run: Run, catalogue: Path, tmp_path: Path) -> None:
    """Exit code 70: an error that nobody foresaw."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import imgsearch.instance\n"
        "def fail(*args, **options): raise ZeroDivisionError('planted')\n"
        "imgsearch.instance.Instance.info = fail\n"
    )
    run("add", catalogue)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = run("info", env={"PYTHONPATH": path, "XDG_STATE_HOME": str(tmp_path / "state")})
    assert result.returncode == 70
    assert "this is a bug" in result.stderr
    assert "planted" in result.stderr
    (log,) = (tmp_path / "state").rglob("imgsearch.log")
    assert "ZeroDivisionError: planted" in log.read_text()
