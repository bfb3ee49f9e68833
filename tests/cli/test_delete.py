"""``delete``: by key, from a list, by filter, by file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Run, run_on
from tests.pictures import write_catalogue


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures of ``shop``, and with the instance that it copies."""
    folder = tmp_path_factory.mktemp("made")
    for name, count in (("p", 3), ("q", 2)):
        write_catalogue(folder / name, count)
        run_on(folder / "instance")("add", folder / name, "--product-id", name)
    (folder / "p" / "0000.jpg").unlink()
    return folder


@pytest.fixture
def shop(made: Path, folder: Path) -> Path:
    """Products p (3 pictures) and q (2); the folder of their pictures, of which p's first is gone."""
    shutil.copytree(made / "instance", folder)
    return made


def left(run: Run) -> list[str]:
    return [f"{item['ProductId']}/{item['PicName']}" for item in run("list").document["Auctions"]]


@pytest.mark.parametrize("nul", [False, True])
def test_a_list_on_stdin(run: Run, shop: Path, nul: bool) -> None:
    """A line each: a product, or a product and one of its pictures."""
    lines, options = b"q\np\t0001.jpg\nnone\n\n", ["-0"] if nul else []
    result = run("delete", "-", *options, stdin=lines.replace(b"\n", b"\0") if nul else lines)
    assert result.document == {"Success": True, "Deleted": 3, "PicNames": ["0000.jpg", "0001.jpg", "0001.jpg"]}
    assert left(run) == ["p/0000.jpg", "p/0002.jpg"]


def test_a_bad_line_costs_itself_only(run: Run, shop: Path) -> None:
    """Exit code 1; the line is named."""
    result = run("delete", "-", stdin=b"q\t0000.jpg\n" + b"x" * 600 + b"\nq\t0001.jpg\r\n\xff\n")
    assert (result.returncode, result.document["Deleted"], left(run)) == (
        1,
        2,
        ["p/0000.jpg", "p/0001.jpg", "p/0002.jpg"],
    )
    assert [failure["Source"] for failure in result.document["Failures"]] == ["stdin, line 2", "stdin, line 4"]


def test_dry_run_of_a_list(run: Run, shop: Path) -> None:
    document = run("delete", "-", "--dry-run", stdin=b"q\n").document
    assert (document["Deleted"], document["PicNames"], len(left(run))) == (0, ["0000.jpg", "0001.jpg"], 5)


def test_by_file(run: Run, shop: Path) -> None:
    """What was added from a file, whichever folder was given and whether the file still exists."""
    assert not (shop / "p" / "0000.jpg").exists()
    result = run("delete", "--file", shop / "p" / "0000.jpg", "--file", f"{shop}/q/../q/0001.jpg")
    assert (result.document["Deleted"], left(run)) == (2, ["p/0001.jpg", "p/0002.jpg", "q/0000.jpg"])
    nothing = run("delete", "--file", shop / "p" / "0000.jpg")
    assert (nothing.returncode, nothing.document["Deleted"]) == (0, 0)
    run("add", shop)
    assert run("delete", "--file", shop / "p" / "0002.jpg").document["Deleted"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none"], ["no product 'none'"]),
        (["p", "none.jpg"], ["no picture 'none.jpg'", "0000.jpg"]),
        (["p", "q"], ["no picture 'q'", "imgsearch delete -"]),
        (["photos/0001.jpg"], ["delete --file photos/0001.jpg"]),
    ],
    ids=str,
)
def test_deleting_nothing_says_why(run: Run, shop: Path, arguments: list[str], words: list[str]) -> None:
    """It is no error, but most often a slip."""
    result = run("delete", *arguments)
    assert (result.returncode, result.document["Deleted"], len(left(run))) == (0, 0, 5)
    assert all(word in result.stderr for word in words), result.stderr
    assert run("delete", *arguments, "--quiet").stderr == ""


@pytest.mark.parametrize(
    "arguments", [[], ["p", "--filter", "int_attr=1"], ["p", "--file", "x"], ["--file", "x", "--filter", "int_attr=1"]]
)
def test_one_way_at_a_time(run: Run, shop: Path, arguments: list[str]) -> None:
    """Exit code 2 for none or several; the message names those given."""
    result = run("delete", *arguments)
    assert (result.returncode, len(left(run))) == (2, 5)
    assert all(word in result.stderr for word in arguments if word.startswith("--"))
