"""The page of ``eval --html``: what it shows, that it asks for nothing else, and that no name becomes markup."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run
from tests.pictures import jpeg, write_catalogue

HOSTILE = "<script>alert(1)</script>&\"' onerror=alert(2) "
FILE = HOSTILE.replace("/", "") + ".jpg"
VOID = {"meta", "img", "br"}
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "section",
        "article",
        "h1",
        "h2",
        "h3",
    ),
    *(
        "p",
        "a",
        "b",
        "i",
        "br",
        "span",
        "div",
        "figure",
        "figcaption",
        "img",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
    ),
    *("th", "td", "svg", "image", "path", "rect", "circle", "polyline", "text"),
}


class Page(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def write_labelled(folder: Path) -> Path:
    """All parts, under names that try to become markup: two products of two pictures, labels, boxes."""
    (folder / "pictures").mkdir(parents=True)
    names = [f"pictures/{n}{FILE}" for n in range(6)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(jpeg(number))
    tables: dict[str, list[list[object]]] = {
        "groundtruth.csv": [
            ["file", "split", "product_id", "source"],
            *([name, "gallery", f"{n % 2}{HOSTILE}", f"{n % 2}{HOSTILE}"] for n, name in enumerate(names[:4])),
            *([name, "query", f"{n % 2}{HOSTILE}", f"{n % 2}{HOSTILE}"] for n, name in enumerate(names[4:])),
        ],
        "labels.csv": [["file", "label", "source"], *([name, 6, HOSTILE] for name in names)],
        "boxes.csv": [
            ["file", "x1", "y1", "x2", "y2", "kind"],
            *([name, 1, 2, 30 + n, 40, HOSTILE] for n, name in enumerate(names)),
        ],
    }
    for table, rows in tables.items():
        with (folder / table).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


@pytest.mark.extended
def test_hostile_names(run: Run, tmp_path: Path) -> None:
    """Names of files, products, sources and kinds are text; every picture has an alternative; no host is asked."""
    folder, target = write_labelled(tmp_path / HOSTILE.replace("/", "")), tmp_path / "page.html"
    (folder / f"pictures/4{FILE}").write_text("no picture")
    result = run("eval", folder, "--any-category", "--html", target)
    assert result.returncode == 1, result.stderr
    content = target.read_text(encoding="utf-8")
    page = Page(content)
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in {"src", "href", "srcset", "action", "data", "poster"} & set(attributes):
            assert re.match("data:image/jpeg;base64,|#", attributes[name] or ""), attributes[name]
    assert not re.search(r"https?:|url\(|@import|//", page.text)
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert all(image["alt"] for image in page.all("img"))
    assert all(drawing.get("aria-label") and drawing["role"] == "img" for drawing in page.all("svg"))
    assert HOSTILE.strip() in page.text
    assert "UnsupportedPicFormat" in page.text


@pytest.mark.extended
def test_what_the_page_shows(run: Run, tmp_path: Path) -> None:
    """Figures as the tables have them, charts, misses, confusions, boxes; the owner's alone."""
    folder, target = write_labelled(tmp_path / "labelled"), tmp_path / "page.html"
    result = run("eval", folder, "--any-category", "--html", target)
    assert (result.returncode, result.stderr.count("imgsearch:")) == (0, 0)
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("page*")] == ["page.html"]
    page = Page(target.read_text(encoding="utf-8"))
    figures = result.document["Retrieval"]["all"]
    assert f"{figures['mAP']:.3f}" in page.words
    assert sum("chart" in (drawing.get("class") or "") for drawing in page.all("svg")) == 2
    assert "Snack → " in page.text
    boxes = page.all("rect")
    assert {"class": "truth", "x": "1", "y": "2", "width": "29", "height": "38"} in boxes
    assert [box["class"] for box in boxes].count("found") == 6
    assert {image["width"] for image in page.all("image")} == {"160"}
    queries = [image["alt"] for image in page.all("img") if (image["alt"] or "").startswith("Query")]
    shown = [image["alt"] for image in page.all("img") if (image["alt"] or "").startswith("rank")]
    assert len(queries) == (figures["mAP"] < 1) + (figures["mAP"] < 0.6)
    assert sum(", right:" in (one or "") for one in shown) >= len(queries)


def test_worst_bounds_each_list(run: Run, tmp_path: Path) -> None:
    """``--worst 1`` shows one miss of a kind, and says of how many."""
    folder, target = write_labelled(tmp_path / "labelled"), tmp_path / "page.html"
    assert run("eval", folder, "--part", "subjects", "--worst", 1, "--html", target).returncode == 0
    page = Page(target.read_text(encoding="utf-8"))
    assert len(page.all("image")) == 1
    assert "1 of 6." in page.text
    overlaps = [float(word.removeprefix("IoU ")) for word in page.words if re.match(r"IoU \d", word)]
    assert run("eval", folder, "--part", "subjects", "--html", target).returncode == 0
    page = Page(target.read_text(encoding="utf-8"))
    every = [float(word.removeprefix("IoU ")) for word in page.words if re.match(r"IoU \d", word)]
    assert every == sorted(every)
    assert overlaps == every[:1]


@pytest.mark.extended
def test_misses_of_the_sample_catalogue(run: Run, tmp_path: Path) -> None:
    """Each query whose first result is wrong stands there, with the best right picture and its rank."""
    target = tmp_path / "page.html"
    result = run("eval", ROOT / "sample_data", "--html", target)
    figures = result.document["Retrieval"]["all"]
    content = target.read_text(encoding="utf-8")
    section = content.partition('<section id="wrong">')[2].partition("</section>")[0]
    assert section.count("<article>") == round(figures["Queries"] * (1 - figures["Hit@1"]))
    for article in section.split("<article>")[1:]:
        alternatives = re.findall(r'alt="([^"]*)"', article)
        product = alternatives[0].removeprefix("Query, product ")
        assert alternatives[1].startswith("rank 1, wrong: product ")
        assert re.fullmatch(rf"(rank \d+|not among the results), right: product {product}", alternatives[-1])


def test_a_file_that_is_there(run: Run, tmp_path: Path) -> None:
    """A mode that is there is kept, and a whole page replaces the one before."""
    write_catalogue(tmp_path / "shop" / "mug", 2)
    target = tmp_path / "page.html"
    target.write_text("before")
    target.chmod(0o644)
    assert run("eval", tmp_path / "shop", "--html", target).returncode == 0
    assert target.stat().st_mode & 0o777 == 0o644
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("command", ["eval", "search"])
@pytest.mark.parametrize(
    ("file", "exit_code"),
    [
        ("nowhere/page.html", 2),
        ("folder", 2),
        ("file/page.html", 2),
        ("n" * 255, 2),
        ("n" * 256, 2),
        ("/sys/page.html", 8),
    ],
    ids=["no-folder", "a-folder", "below-a-file", "long-name", "longer-name", "unwritable"],
)
def test_a_file_that_cannot_be_written(run: Run, tmp_path: Path, command: str, file: str, exit_code: int) -> None:
    """Refused before any work: neither a model nor a picture is looked at, and nothing is left."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.iterdir())
    given = tmp_path / "no-such-ground-truth"  # which would be told as well, with exit code 3 or 4
    result = run(command, given, "--html", tmp_path / file)
    assert (result.returncode, result.document["Success"]) == (exit_code, False)
    assert len(result.stderr.strip().splitlines()) == 1
    assert "cannot be written" in result.stderr
    assert sorted(tmp_path.iterdir()) == before
