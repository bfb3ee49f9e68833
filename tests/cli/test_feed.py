"""``add --manifest`` with tables and product feeds whose pictures are behind links, and ``search --url``.

Contract: each picture that cannot be had is told, all others are added; a second run downloads nothing that is stored
and has not changed; addresses that are not public are asked for nothing unless that is permitted; passwords in links
are printed nowhere.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Result, Run, command
from tests.pictures import jpeg
from tests.web_server import Served, WebServer

DISTINCT = 4
"""Networks take longer than anything else here, so few pictures repeat under many links."""


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer().running() as running:
        yield running


def table(rows: list[list[str]], delimiter: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue()


def add(run: Run, manifest: object, *more: object, stdin: bytes = b"") -> Result:
    return run("add", "--manifest", manifest, "--allow-private", *more, stdin=stdin)


def counts(document: dict[str, Any]) -> tuple[int, ...]:
    return tuple(document[name] for name in ("Added", "Replaced", "Unchanged", "Deleted", "Failed"))


def check_csv(run: Run, web: WebServer, folder: Path, lines: int) -> None:
    """Lines of a CSV with options of every kind, twice."""
    rows = [["ProductId", "PicName", "Url", "IntAttr", "StrAttr", "CustomContent", "CategoryId"]]
    for number in range(lines):
        url = web.put(f"/{number}.jpg", jpeg(number % DISTINCT))
        link = ["", url] if number % 2 else [url, ""]
        rows.append([f"p{number // 3}", *link, str(number), "red, or not", 'a "note"\non two lines', "3"])
    path = folder / "shop.csv"
    path.write_text(table(rows, ","), encoding="utf-8-sig")

    result = add(run, path)
    assert result.returncode == 0, result.stderr
    assert counts(result.document) == (lines, 0, 0, 0, 0)
    assert (web.counts["GET"], web.counts["HEAD"]) == (lines, 0)

    web.counts.clear()
    sent, web.sent = web.sent, 0
    result = add(run, path)
    assert result.returncode == 0, result.stderr
    assert counts(result.document) == (0, 0, lines, 0, 0)
    assert web.counts["HEAD"] == lines
    # A question that gets no answer costs a read, as it may on a busy machine.
    assert web.counts["GET"] <= lines // 5_000
    assert web.sent <= 2 * web.counts["GET"] * sent / lines
    assert sent > 0


@pytest.mark.extended
def test_a_table_twice(run: Run, web: WebServer, tmp_path: Path) -> None:
    """The second run asks for headers only."""
    check_csv(run, web, tmp_path, 60)


@pytest.mark.long
def test_a_table_of_10000_lines_twice(folder: Path, web: WebServer, tmp_path: Path) -> None:
    """The same at size."""

    def run(*arguments: object, **_options: object) -> Result:
        environment = {**os.environ, "IMGSEARCH_INSTANCE": str(folder)}
        process = subprocess.run(command(*arguments), capture_output=True, check=False, env=environment)
        return Result(process.returncode, process.stdout.decode(), process.stderr.decode())

    check_csv(run, web, tmp_path, 10_000)


def faulty_feed(web: WebServer, folder: Path) -> tuple[Path, dict[str, str]]:
    """A product feed with a fault of every kind between rows that are fine; the failures expected, by id."""
    picture = jpeg(1)
    answers: dict[str, list[Served]] = {
        "missing": [Served(b"no", status=404)],
        "down-once": [Served(b"no", status=500), Served(picture)],
        "cut-once": [Served(picture, cut=200), Served(picture)],
        "slow": [Served(picture, pause=0.05)],
        "cut": [Served(picture, cut=200)],
        "page": [Served(b"<html><body>Not here any more", content_type="text/html")],
        "mistyped": [Served(picture, content_type="text/html")],
        "no-picture": [Served(b"{}", content_type="image/jpeg")],
        "circle": [Served(status=302, headers={"Location": "circle"})],
        "moved": [Served(status=301, headers={"Location": "/fine-0"})],
        "large": [Served(b"", headers={"Content-Length": str(10**8)})],
    }
    expected = {
        "missing": "PictureError",
        "slow": "TimeoutForTransferImage",
        "cut": "NetworkException",
        "page": "PictureError",
        "no-picture": "UnsupportedPicFormat",
        "circle": "PictureError",
        "large": "InvalidPicContent",
        "private": "InvalidPicName",
    }
    rows = [["id", "title", "link", "image_link", "additional_image_link", "product_type", "availability"]]
    for number in range(6):
        web.put(f"/fine-{number}", jpeg(number % DISTINCT))
    for number, (name, faults) in enumerate(answers.items()):
        url = web.put(f"/{name}", *faults)
        rows.append([name, f"The {name}", "https://shop.example", url, "", "Home > Bag", "in stock"])
        fine = [f"{web.url}/fine-{number % 3}", f"{web.url}/fine-{number % 3 + 3}"]
        rows.append([f"fine-{number}", "", "", fine[0], ",".join(fine), "", ""])
    rows.append(["private", "", "", "http://someone:hunter2@127.0.0.1/a.jpg", "", "", ""])
    path = folder / "feed.tsv"
    path.write_text(table(rows, "\t"))
    return path, expected


@pytest.mark.extended
def test_a_product_feed_with_faults(run: Run, web: WebServer, tmp_path: Path) -> None:
    """Each is told with its line, a code and words; the rest is done; a second run downloads only what failed."""
    path, expected = faulty_feed(web, tmp_path)
    result = add(run, path, "--timeout", "5", "--format", "jsonl")
    assert result.returncode == 1, result.stderr
    summary = result.lines[-1]
    assert {failure["ProductId"]: failure["Code"] for failure in summary["Failures"]} == expected
    for failure in summary["Failures"]:
        number = int(failure["Source"].removeprefix(f"{path}:"))
        assert path.read_text().splitlines()[number - 1].startswith(f"{failure['ProductId']}\t")
    assert counts(summary) == (4 + 22, 0, 0, 0, len(expected))
    assert "not used: 'availability', 'link'" in result.stderr
    assert result.stderr.count("availability") == 1
    assert "hunter2" not in result.stdout + result.stderr
    (moved,) = [line for line in result.lines if line.get("ProductId") == "moved"]
    assert (moved["CategoryId"], moved["PicName"]) == (3, f"{web.url}/moved")

    web.counts.clear()
    result = add(run, path, "--timeout", "2")
    assert counts(result.document) == (0, 0, 26, 0, len(expected))
    fetched = {name.removeprefix("GET /") for name in web.counts if name.startswith("GET /")}
    assert fetched == set(expected) - {"private"}


def test_what_has_changed_is_downloaded_again(run: Run, web: WebServer, tmp_path: Path) -> None:
    """And what is only told to have changed is not extracted again."""
    path = tmp_path / "increment.meta"
    names = ["same", "changed", "touched"]
    lines = [{"OperationType": "ADD", "ProductId": name, "PicName": web.put(f"/{name}", jpeg(1))} for name in names]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert counts(add(run, path).document) == (3, 0, 0, 0, 0)
    web.put("/changed", jpeg(2))
    web.put("/touched", Served(jpeg(1), headers={"ETag": '"other"'}))
    web.counts.clear()
    assert counts(add(run, path).document) == (0, 1, 2, 0, 0)
    assert (web.counts["GET /same"], web.counts["GET"]) == (0, 2)


def test_private_addresses_are_asked_for_nothing(run: Run, web: WebServer) -> None:
    """Unless that is permitted: a feed from elsewhere must not read what only this machine can reach."""
    feed = f"id,image_link\n1,{web.put('/a.jpg', jpeg(1))}\n2,http://localhost:{web.port}/a.jpg\n"
    result = run("add", "--manifest", "-", stdin=feed.encode())
    assert result.returncode == 1
    assert {failure["Code"] for failure in result.document["Failures"]} == {"AccessDenied"}
    assert "--allow-private" in result.document["Failures"][0]["Message"]
    assert not web.counts


def test_a_dry_run_downloads_nothing(run: Run, web: WebServer, tmp_path: Path) -> None:
    """It finds what is missing and too large, and makes no instance."""
    path, _ = faulty_feed(web, tmp_path)
    result = add(run, path, "--dry-run", "--timeout", "2")
    assert result.returncode == 1
    assert {failure["ProductId"] for failure in result.document["Failures"]} == {
        "missing", "circle", "large", "private",
    }  # fmt: skip
    assert result.document["DryRun"]
    assert web.counts["GET"] == web.sent == 0
    assert not (tmp_path / "instance").exists()


def test_a_list_on_standard_input_is_read_while_it_is_written(run: Run, web: WebServer) -> None:
    """One JSON array, as many programs print it."""
    lines = [{"id": str(number), "image_link": web.put(f"/{number}", jpeg(1))} for number in range(3)]
    result = add(run, "-", stdin=json.dumps(lines, indent=1).encode("utf-16"))
    assert counts(result.document) == (3, 0, 0, 0, 0)


def test_a_table_without_a_header_adds_nothing(run: Run, folder: Path, tmp_path: Path) -> None:
    """It is told before an instance is made."""
    path = tmp_path / "shop.csv"
    path.write_text("1,a.jpg\n2,b.jpg\n")
    result = run("add", "--manifest", path)
    assert (result.returncode, result.document["Code"]) == (3, "InvalidMetaItem")
    assert not folder.exists()


@pytest.mark.extended
def test_search_with_a_link(run: Run, web: WebServer, tmp_path: Path) -> None:
    """The picture is found under its link; several links are several queries."""
    feed = f"id,image_link\n1,{web.put('/a', jpeg(1))}\n2,{web.put('/b', jpeg(2))}\n"
    add(run, "-", stdin=feed.encode())
    result = run("search", "--url", f"{web.url}/b", "--allow-private", "--any-category", "--format", "paths", "-n", 1)
    assert (result.returncode, result.stdout) == (0, f"{web.url}/b\n")
    links = ("--url", f"{web.url}/a", "--url", f"{web.url}/none")
    result = run("search", *links, "--allow-private", "--any-category")
    assert result.returncode == 1
    found, missing = result.lines
    assert (found["Query"], found["Auctions"][0]["ProductId"]) == (f"{web.url}/a", "1")
    assert "no such picture (404)" in missing["Message"]
    result = run("search", "--url", f"{web.url}/a")
    assert (result.returncode, result.document["Code"]) == (3, "AccessDenied")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "https://u:hunter2@shop.example/a.jpg"], "add --manifest FILE"),
        (["search", "https://u:hunter2@shop.example/a.jpg"], "--url LINK"),
        (["search", "--url", "https://u:hunter2@shop.example/a.jpg"], "a user name or password"),
        (["search", "--url", "shop.example/a.jpg"], "neither http:// nor https://"),
        (["add", "a.jpg", "--allow-private"], "for --manifest FILE"),
    ],
)
def test_links_in_wrong_places(run: Run, arguments: list[str], message: str) -> None:
    """The message names the option to use, and repeats no password."""
    result = run(*arguments)
    assert result.returncode in (2, 3)
    assert message in result.stderr
    assert "hunter2" not in result.stdout + result.stderr
