"""Region and Crop through the command line of ``add`` and ``search``: every combination, border and EXIF orientation.

The rules are those of service.md, section 4. The commands run in this process, against two instances that the module
shares; each test adds under a product of its own.
"""

from __future__ import annotations

import json
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgsearch.values import Region
from tests.cli.in_process import invoke
from tests.conftest import Result, Run
from tests.pictures import AS_STORED, TURNED_FORMATS, draw, encode, turned, write_catalogue

pytestmark = pytest.mark.networks

WIDTH, HEIGHT = 300, 200
"""Of the upright mosaic, which no turned copy of it shares."""
WHOLE = f"0,{WIDTH},0,{HEIGHT}"
TILE = 100
TILES = {
    f"{x},{x + TILE},{y},{y + TILE}": f"tile-{x}-{y}.png" for y in range(0, HEIGHT, TILE) for x in range(0, WIDTH, TILE)
}
"""Region of the mosaic to the name of the picture that fills it."""
A_REGION, ANOTHER_REGION = "40,140,50,170", "41,140,50,170"
IGNORED = "is ignored"


@dataclass(frozen=True)
class Cli:
    """The command line on one instance."""

    instance: Path

    def __call__(self, command: str, *arguments: object) -> Result:
        """Run it in this process."""
        return invoke(command, "-i", self.instance, *arguments)

    def add_manifest(self, folder: Path, lines: list[dict[str, Any]]) -> Result:
        """``add --manifest`` of these lines, with pictures in that folder."""
        manifest = folder / "increment.meta"
        manifest.write_text("\n".join(json.dumps({"OperationType": "ADD"} | line) for line in lines), encoding="utf-8")
        return self("add", "--manifest", manifest, "--format", "jsonl")

    def stored_region(self, product_id: str, pic_name: str) -> str:
        """The region that the instance keeps of an item."""
        result = self("search", "--product-id", product_id, "--pic-name", pic_name, "-n", 1)
        assert result.returncode == 0, result.stderr
        return str(result.document["PicInfo"]["Region"])


def options(crop: str | None, region: str | None) -> list[str]:
    """The options of the command line."""
    return [*filter(None, [crop]), *(["--region", region] if region is not None else [])]


def complaint(result: Result) -> tuple[str, str]:
    """Code and message of the one thing that went wrong."""
    document = result.document
    (failure,) = document.get("Failures", [document])
    return failure["Code"], failure["Message"]


def ranking(document: dict[str, Any]) -> list[tuple[str, float]]:
    """PicName and Score, best first."""
    return [(hit["PicName"], hit["Score"]) for hit in document["Auctions"]]


def check_automatic(region: str, width: int = WIDTH, height: int = HEIGHT) -> None:
    """What holds for any region that is found: it is not empty and lies inside the upright picture."""
    Region.parse(region).check_within(width, height)


def draw_grainy(number: int, size: tuple[int, int]) -> Image.Image:
    """With the grain of a photo: on areas of one colour a network would see little but the marks that JPEG leaves."""
    grain = np.random.default_rng(number).normal(0, 16, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(draw(number, size)) + grain, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``mosaic.png``, of six tiles that are pictures of their own beside it, and ``subject.png``, half of it bare."""
    folder = tmp_path_factory.mktemp("pictures")
    mosaic = Image.new("RGB", (WIDTH, HEIGHT))
    for number, (region, name) in enumerate(TILES.items()):
        tile = draw_grainy(number, (TILE, TILE))
        (folder / name).write_bytes(encode(tile, "PNG"))
        parsed = Region.parse(region)
        mosaic.paste(tile, (parsed.x1, parsed.y1))
    (folder / "mosaic.png").write_bytes(encode(mosaic, "PNG"))
    subject = Image.new("RGB", (WIDTH, HEIGHT), "white")
    subject.paste(draw_grainy(99, (110, 130)), (160, 40))
    (folder / "subject.png").write_bytes(encode(subject, "PNG"))
    return folder


@pytest.fixture(scope="module")
def turned_copies(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The mosaic as a JPEG of each EXIF orientation, and turned in each other format that has one."""
    folder = tmp_path_factory.mktemp("turned")
    wanted = [("JPEG", number) for number in range(1, 9)]
    wanted += [(name, number) for name in TURNED_FORMATS if name != "JPEG" for number in (2, 6)]
    paths = []
    with Image.open(pictures / "mosaic.png") as upright:
        for image_format, orientation in wanted:
            path = folder / f"{orientation}.{image_format.lower()}"
            path.write_bytes(turned(upright, orientation, image_format))
            with Image.open(path) as written:  # Pillow itself turns a TIFF when it loads it
                assert written.getexif()[0x0112] == orientation
            paths.append(path)
    return paths


@pytest.fixture(scope="module")
def gallery(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """On an instance of whole pictures that is never changed: the tiles and others.

    Like that of ``cli`` it is generic, so that no category stands between query and result.
    """
    made = Cli(tmp_path_factory.mktemp("gallery") / "instance")
    folder = tmp_path_factory.mktemp("others")
    paths = [*write_catalogue(folder, 12, first=100), *(pictures / name for name in TILES.values())]
    result = made("add", "--kind", "generic", "--no-crop", *paths)
    assert result.document["Added"] == len(paths) == 18
    # The first search for a subject makes ready what finds it, and says so on stderr.
    assert made("search", pictures / "subject.png", "-n", 1).returncode == 0
    return made


@pytest.fixture(scope="module")
def mosaics(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """On an instance of every tile as a region of the mosaic: of the upright one and of each mirrored or turned one.

    A region is seen with a margin, so only within the very same picture is it seen with the same surroundings. No two
    items are of one product, as they would speak for each other.
    """
    made, folder = Cli(tmp_path_factory.mktemp("mosaics") / "instance"), tmp_path_factory.mktemp("laid")
    lines = []
    with Image.open(pictures / "mosaic.png") as upright:
        for turn in (None, *AS_STORED.values()):
            name = "upright.png" if turn is None else f"{turn.name.lower()}.png"
            (upright if turn is None else upright.transpose(turn)).save(folder / name)
            for region in TILES:
                parsed = Region.parse(region)
                mask = Image.new("L", upright.size)
                mask.paste(255, (parsed.x1, parsed.y1, parsed.x2, parsed.y2))
                left, top, right, bottom = (mask if turn is None else mask.transpose(turn)).getbbox() or ()
                laid = f"{left},{right},{top},{bottom}"
                lines.append({"ProductId": f"{region} {name}", "PicName": name, "Region": laid})
    assert made("init", "--kind", "generic").returncode == 0
    assert made.add_manifest(folder, lines).lines[-1]["Added"] == len(lines) == 48
    return made


@pytest.fixture(scope="module")
def cli(gallery: Cli, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """On an instance for adding to, made when the models are at hand: what stderr says is of the test's making."""
    made = Cli(tmp_path_factory.mktemp("shelf") / "instance")
    assert made("init", "--kind", "generic").returncode == 0
    return made


@pytest.fixture
def product(request: pytest.FixtureRequest) -> str:
    """A ProductId of this test alone."""
    return str(request.node.name)


# Crop and Region together

COMBINATIONS = [
    # crop, region, what is used (None: whatever is found)
    (None, None, None),
    ("--crop", None, None),
    ("--no-crop", None, WHOLE),
    (None, A_REGION, A_REGION),
    ("--crop", A_REGION, A_REGION),
    ("--no-crop", A_REGION, WHOLE),
    (None, WHOLE, WHOLE),
    ("--no-crop", WHOLE, WHOLE),
    # What is ignored need not fit.
    ("--no-crop", "0,9999,0,9999", WHOLE),
]
combinations = pytest.mark.parametrize(("crop", "region", "used"), COMBINATIONS, ids=str)


def check_used(found: str, used: str | None) -> None:
    if used is None:
        check_automatic(found)
    else:
        assert found == used


def check_warning(result: Result, crop: str | None, region: str | None, lines: int = 1) -> None:
    """An ignored region is told on one line of stderr; nothing else is."""
    ignored = crop == "--no-crop" and region is not None
    assert (IGNORED in result.stderr, len(result.stderr.splitlines())) == (ignored, lines * ignored)


@combinations
def test_add_one(cli: Cli, pictures: Path, product: str, crop: str | None, region: str | None, used: str) -> None:
    """The acknowledgement says which region was used, and that one is stored."""
    path = pictures / "mosaic.png"
    result = cli("add", path, "--product-id", product, "--format", "jsonl", *options(crop, region))
    assert result.returncode == 0
    check_warning(result, crop, region)
    line, summary = result.lines
    assert (line["Status"], summary["Success"]) == ("added", True)
    check_used(line["Region"], used)
    assert cli.stored_region(product, "mosaic.png") == line["Region"]


@combinations
def test_add_several(cli: Cli, pictures: Path, product: str, crop: str | None, region: str | None, used: str) -> None:
    """The options hold for every picture of the command, and an ignored region is told once."""
    paths = [pictures / "mosaic.png", pictures / "subject.png"]
    result = cli("add", *paths, "--product-id", product, "--format", "jsonl", *options(crop, region))
    assert result.returncode == 0
    check_warning(result, crop, region)
    *lines, _summary = result.lines
    assert [line["Status"] for line in lines] == ["added", "added"]
    for line in lines:
        check_used(line["Region"], used)
        assert cli.stored_region(product, line["PicName"]) == line["Region"]


def test_add_manifest(cli: Cli, pictures: Path, product: str) -> None:
    """Crop and Region of a line mean the same; the regions that are ignored are told of."""
    crops = {None: {}, "--crop": {"Crop": True}, "--no-crop": {"Crop": False}}
    lines = [
        {"ProductId": f"{product}-{number}", "PicName": "mosaic.png"}
        | crops[crop]
        | ({} if region is None else {"Region": region})
        for number, (crop, region, _used) in enumerate(COMBINATIONS)
    ]
    result = cli.add_manifest(pictures, lines)
    assert result.returncode == 0
    (warning,) = result.stderr.splitlines()
    ignored = [number for number, (crop, region, _) in enumerate(COMBINATIONS, 1) if crop == "--no-crop" and region]
    assert IGNORED in warning
    assert f"{len(ignored)} line" in warning
    assert f"increment.meta:{ignored[0]}" in warning
    *acknowledged, _summary = result.lines
    for line, (_crop, _region, used) in zip(acknowledged, COMBINATIONS, strict=True):
        assert line["Status"] == "added"
        check_used(line["Region"], used)
        assert cli.stored_region(line["ProductId"], "mosaic.png") == line["Region"]


def test_a_manifest_in_which_no_region_is_ignored(cli: Cli, pictures: Path, product: str) -> None:
    """Nothing to warn of: Region absent, null and empty are the same, beside Crop false too."""
    fields: list[dict[str, Any]] = [{"Crop": False}, {"Crop": False, "Region": None}, {"Crop": False, "Region": ""}]
    fields += [{"Crop": None, "Region": A_REGION}, {"Region": ""}, {"Region": None}]
    lines = [{"ProductId": f"{product}-{n}", "PicName": "mosaic.png"} | field for n, field in enumerate(fields)]
    result = cli.add_manifest(pictures, lines)
    assert (result.returncode, result.stderr) == (0, "")
    found = [line["Region"] for line in result.lines[:-1]]
    assert found[:4] == [WHOLE, WHOLE, WHOLE, A_REGION]
    assert found[4] == found[5]
    check_automatic(found[4])


@combinations
def test_search_one(gallery: Cli, pictures: Path, crop: str | None, region: str | None, used: str) -> None:
    """PicInfo.Region is the region that was used."""
    result = gallery("search", pictures / "mosaic.png", *options(crop, region))
    assert result.returncode == 0
    check_warning(result, crop, region)
    assert result.document["Success"] is True
    check_used(result.document["PicInfo"]["Region"], used)


@combinations
def test_search_several(gallery: Cli, pictures: Path, crop: str | None, region: str | None, used: str) -> None:
    """The options hold for every query of the command, and an ignored region is told once."""
    result = gallery("search", pictures / "mosaic.png", pictures / "subject.png", *options(crop, region))
    assert result.returncode == 0
    check_warning(result, crop, region)
    first, second = result.lines
    for document in (first, second):
        check_used(document["PicInfo"]["Region"], used)


@pytest.mark.extended
def test_no_crop_searches_with_the_whole_picture(gallery: Cli, pictures: Path) -> None:
    """``--no-crop`` with a region finds what ``--no-crop`` alone does, and what the whole as a region does."""
    query = pictures / "mosaic.png"
    with_region, alone, given = (
        ranking(gallery("search", query, *words).document)
        for words in (["--no-crop", "--region", A_REGION], ["--no-crop"], ["--region", WHOLE])
    )
    assert with_region == alone == given
    assert alone != ranking(gallery("search", query, "--region", A_REGION).document)


@pytest.mark.parametrize("words", [["--region", A_REGION], ["--no-crop"], ["--no-crop", "--region", A_REGION]], ids=str)
def test_an_indexed_query_has_its_region_already(gallery: Cli, words: list[str]) -> None:
    """SearchImageByName knows neither Crop nor Region: wrong usage."""
    name = next(iter(TILES.values()))
    result = gallery("search", "--product-id", name.removesuffix(".png"), "--pic-name", name, *words)
    assert (result.returncode, result.document["Code"]) == (2, "BadRequest")


# Regions that are accepted

ACCEPTED = {
    "the whole picture": (WHOLE, WHOLE),
    "one pixel in the top left corner": ("0,1,0,1", "0,1,0,1"),
    "one pixel in the top right corner": ("299,300,0,1", "299,300,0,1"),
    "one pixel in the bottom left corner": ("0,1,199,200", "0,1,199,200"),
    "one pixel in the bottom right corner": ("299,300,199,200", "299,300,199,200"),
    "one pixel at the left border": ("0,1,99,100", "0,1,99,100"),
    "one pixel at the right border": ("299,300,99,100", "299,300,99,100"),
    "one pixel at the top border": ("149,150,0,1", "149,150,0,1"),
    "one pixel at the bottom border": ("149,150,199,200", "149,150,199,200"),
    "one pixel inside": ("149,150,99,100", "149,150,99,100"),
    "touching the left border": ("0,120,40,160", "0,120,40,160"),
    "touching the right border": ("180,300,40,160", "180,300,40,160"),
    "touching the top border": ("90,210,0,120", "90,210,0,120"),
    "touching the bottom border": ("90,210,80,200", "90,210,80,200"),
    "one pixel inside of every border": ("1,299,1,199", "1,299,1,199"),
    "one row": ("0,300,7,8", "0,300,7,8"),
    "one column": ("7,8,0,200", "7,8,0,200"),
    "spaces around the numbers": (" 40 , 140,50, 170 ", A_REGION),
    # Nothing can tell that x1,y1,x2,y2 was meant where the numbers make a box in the service's order as well.
    "another order that is a box too": ("40,50,140,170", "40,50,140,170"),
}


@pytest.mark.extended
@pytest.mark.parametrize(("given", "used"), ACCEPTED.values(), ids=ACCEPTED)
def test_an_accepted_region(cli: Cli, gallery: Cli, pictures: Path, product: str, given: str, used: str) -> None:
    """``add`` and ``search`` use it and say so; what is stored is what was used."""
    path = pictures / "mosaic.png"
    added = cli("add", path, "--product-id", product, "--region", given, "--format", "jsonl")
    assert (added.returncode, added.lines[0]["Region"], added.stderr) == (0, used, "")
    assert cli.stored_region(product, path.name) == used
    found = gallery("search", path, "--region", given)
    assert (found.returncode, found.document["PicInfo"]["Region"], found.stderr) == (0, used, "")
    assert found.document["Head"]["DocsReturn"] == 10


def test_accepted_regions_of_a_manifest(cli: Cli, pictures: Path, product: str) -> None:
    """A line's Region is held to the same."""
    lines = [
        {"ProductId": f"{product}-{number}", "PicName": "mosaic.png", "Region": given}
        for number, (given, _used) in enumerate(ACCEPTED.values())
    ]
    result = cli.add_manifest(pictures, lines)
    assert (result.returncode, result.stderr) == (0, "")
    assert [line["Region"] for line in result.lines[:-1]] == [used for _given, used in ACCEPTED.values()]


# Regions that are refused

NOT_FOUR = "is not four whole pixel numbers"
NO_BOX = "is empty or inverted"
OUTSIDE = f"is outside the upright picture of {WIDTH} x {HEIGHT} pixels"
MALFORMED = {
    "blank": ("  ", NOT_FOUR),
    "commas only": (",,,", NOT_FOUR),
    "three numbers": ("0,10,0", NOT_FOUR),
    "five numbers": ("0,10,0,10,0", NOT_FOUR),
    "a comma at the end": ("0,10,0,10,", NOT_FOUR),
    "semicolons": ("0;10;0;10", NOT_FOUR),
    "spaces for commas": ("0 10 0 10", NOT_FOUR),
    "a space inside a number": ("0,1 0,0,10", NOT_FOUR),
    "brackets": ("[0,10,0,10]", NOT_FOUR),
    "words": ("left,right,top,bottom", NOT_FOUR),
    "negative x1": ("-1,10,0,10", NOT_FOUR),
    "negative y1": ("0,10,-1,10", NOT_FOUR),
    "all negative": ("-10,-1,-10,-1", NOT_FOUR),
    "negative zero": ("-0,10,0,10", NOT_FOUR),
    "a plus": ("+0,10,0,10", NOT_FOUR),
    "floats": ("0.0,10.0,0.0,10.0", NOT_FOUR),
    "shares of the sides": ("0.1,0.9,0.1,0.9", NOT_FOUR),
    "exponents": ("0,1e2,0,1e2", NOT_FOUR),
    "not a number": ("0,nan,0,inf", NOT_FOUR),
    "hexadecimal": ("0x0,0x10,0x0,0x10", NOT_FOUR),
    "underscores": ("0,1_0,0,1_0", NOT_FOUR),
    "Arabic-Indic digits": ("٠,١٠,٠,١٠", NOT_FOUR),
    "fullwidth digits": ("０,１０,０,１０", NOT_FOUR),
    "superscript digits": ("0,1²,0,1²", NOT_FOUR),
    "fullwidth commas": ("0，10，0，10", NOT_FOUR),
    "more than 64 bits": (f"0,{2**64},0,10", NOT_FOUR),
    "a number of 5000 digits": (f"0,{'9' * 5000},0,10", NOT_FOUR),
    "empty in x": ("10,10,0,10", NO_BOX),
    "empty in y": ("0,10,10,10", NO_BOX),
    "all zero": ("0,0,0,0", NO_BOX),
    "inverted in x": ("50,20,0,10", NO_BOX),
    "inverted in y": ("0,10,50,20", NO_BOX),
    "inverted in both": ("50,20,50,20", NO_BOX),
    "the whole picture as x1,y1,x2,y2": (f"0,0,{WIDTH},{HEIGHT}", NO_BOX),
    "x1,y1,x2,y2": ("150,20,290,190", NO_BOX),
    "x1,y1,width,height": ("150,20,100,90", NO_BOX),
}
BEYOND = {
    "one past the right border": "0,301,0,200",
    "one past the bottom border": "0,300,0,201",
    "one past both": "0,301,0,201",
    "one pixel beyond the right border": "300,301,0,1",
    "one pixel beyond the bottom border": "0,1,200,201",
    "one pixel beyond the corner": "300,301,200,201",
    "astride the right border": "299,301,0,10",
    "astride the bottom border": "0,10,199,201",
    "far away": "1000,2000,1000,2000",
    "nine digits": "0,999999999,0,999999999",
}
REFUSED = MALFORMED | {name: (region, OUTSIDE) for name, region in BEYOND.items()}
refused = pytest.mark.parametrize(("region", "reason"), REFUSED.values(), ids=REFUSED)


def check_refusal(message: str, region: str, reason: str) -> None:
    """The message names the region as it was given, as far as it is of a sensible length, and what is wrong."""
    assert region[:60].strip() in message
    assert reason in message
    assert len(message) < 300
    if reason is NO_BOX:  # most likely the order was mistaken
        assert "x1,x2,y1,y2" in message


@refused
def test_add_refuses(cli: Cli, pictures: Path, product: str, region: str, reason: str) -> None:
    """Exit code 3, InvalidRegion, and nothing is stored."""
    result = cli("add", pictures / "mosaic.png", "--product-id", product, "--region", region)
    code, message = complaint(result)
    assert (result.returncode, result.document["Success"], code) == (3, False, "InvalidRegion")
    check_refusal(message, region, reason)
    stored = cli("search", "--product-id", product, "--pic-name", "mosaic.png")
    assert (stored.returncode, stored.document["Code"]) == (4, "PicNotExist")


@refused
def test_search_refuses(gallery: Cli, pictures: Path, region: str, reason: str) -> None:
    """Exit code 3, InvalidRegion, and the same on one line of stderr."""
    result = gallery("search", pictures / "mosaic.png", f"--region={region}")
    code, message = complaint(result)
    assert (result.returncode, result.document["Success"], code) == (3, False, "InvalidRegion")
    check_refusal(message, region, reason)
    (line,) = result.stderr.splitlines()
    assert reason in line


def test_an_empty_region_is_no_region(cli: Cli, gallery: Cli, pictures: Path, product: str) -> None:
    """On the command line it is refused: a shell variable that was never set must not widen what is searched."""
    path = pictures / "mosaic.png"
    for result in (
        cli("add", path, "--product-id", product, "--region", ""),
        gallery("search", path, "--region", ""),
        gallery("search", path, "--no-crop", "--region", ""),
    ):
        code, message = complaint(result)
        assert (result.returncode, code) == (3, "InvalidRegion")
        assert NOT_FOUR in message


def test_a_manifest_line_with_a_bad_region_fails_alone(cli: Cli, pictures: Path, product: str) -> None:
    """Each line with its code, its number and its message; the good lines are added, and the exit code is 1."""
    not_text = [[0, 10, 0, 10], 7, 0.5, True, {"x1": 0}]
    lines = [
        {"ProductId": f"{product}-{n}", "PicName": "mosaic.png", "Region": region}
        for n, region in enumerate([WHOLE, *(region for region, _reason in REFUSED.values()), *not_text, "0,1,0,1"])
    ]
    result = cli.add_manifest(pictures, lines)
    *acknowledged, summary = result.lines
    assert (result.returncode, summary["Success"], summary["Added"]) == (1, False, 2)
    first, *bad, last = acknowledged
    assert (first["Region"], last["Region"]) == (WHOLE, "0,1,0,1")
    assert {line["Code"] for line in bad} == {"InvalidRegion"}
    assert [line["ProductId"] for line in bad] == [line["ProductId"] for line in lines[1:-1]]
    for number, (line, (region, reason)) in enumerate(zip(bad, REFUSED.values(), strict=False), 2):
        assert line["Source"].endswith(f"increment.meta:{number}")
        check_refusal(line["Message"], region, reason)
    for line in bad[len(REFUSED) :]:
        assert "is not text" in line["Message"]


def test_a_manifest_of_one_line_ends_with_its_error(cli: Cli, pictures: Path, product: str) -> None:
    """Exit code 3, as for one picture."""
    for region in ("0,301,0,200", "50,20,0,10"):
        result = cli.add_manifest(pictures, [{"ProductId": product, "PicName": "mosaic.png", "Region": region}])
        assert (result.returncode, result.lines[0]["Code"]) == (3, "InvalidRegion")


def test_several_pictures_that_do_not_all_hold_the_region(cli: Cli, pictures: Path, product: str) -> None:
    """Those that do are added, the others named with their size; the exit code is 1."""
    tile, mosaic = pictures / "tile-0-0.png", pictures / "mosaic.png"
    result = cli("add", mosaic, tile, pictures / "subject.png", "--product-id", product, "--region", A_REGION)
    document = result.document
    assert (result.returncode, document["Success"], document["Added"], document["Failed"]) == (1, False, 2, 1)
    code, message = complaint(result)
    assert (code, document["Failures"][0]["Source"]) == ("InvalidRegion", str(tile))
    assert f"region {A_REGION} is outside the upright picture of {TILE} x {TILE} pixels" in message
    for name in ("mosaic.png", "subject.png"):
        assert cli.stored_region(product, name) == A_REGION


def test_several_queries_that_do_not_all_hold_the_region(gallery: Cli, pictures: Path) -> None:
    """The others are answered; the exit code is 1."""
    tile, mosaic = pictures / "tile-0-0.png", pictures / "mosaic.png"
    result = gallery("search", mosaic, tile, mosaic, "--region", A_REGION)
    assert result.returncode == 1
    first, failed, second = result.lines
    assert (failed["Success"], failed["Code"], failed["Query"]) == (False, "InvalidRegion", str(tile))
    assert f"{TILE} x {TILE}" in failed["Message"]
    assert first["PicInfo"]["Region"] == second["PicInfo"]["Region"] == A_REGION
    assert ranking(first) == ranking(second)


def test_a_malformed_region_stops_several_before_the_first(
    cli: Cli, gallery: Cli, pictures: Path, product: str
) -> None:
    """It is the command that is wrong, not one of its pictures: exit code 3, nothing done."""
    paths = [pictures / "mosaic.png", pictures / "subject.png"]
    added = cli("add", *paths, "--product-id", product, "--region", "50,20,0,10")
    found = gallery("search", *paths, "--region", "50,20,0,10")
    for result in (added, found):
        assert (result.returncode, set(result.document)) == (3, {"Success", "Code", "Message"})
    assert cli("search", "--product-id", product, "--pic-name", "mosaic.png").returncode == 4


def test_a_refused_region_leaves_what_is_stored(cli: Cli, pictures: Path, product: str) -> None:
    """Adding again with a bad region fails, and the item keeps the region it had."""
    path = pictures / "mosaic.png"
    assert cli("add", path, "--product-id", product, "--region", A_REGION).returncode == 0
    assert cli("add", path, "--product-id", product, "--region", "0,301,0,200").returncode == 3
    assert cli.stored_region(product, path.name) == A_REGION


# Pictures turned by EXIF

ONLY_UPRIGHT, ONLY_SIDEWAYS = "200,300,0,200", "0,200,200,300"
"""Inside 300 x 200 but not inside 200 x 300, and the other way round."""


@pytest.mark.extended
@pytest.mark.parametrize("region", [WHOLE, ONLY_UPRIGHT], ids=str)
def test_a_region_of_a_turned_picture_is_upright(
    cli: Cli, gallery: Cli, turned_copies: list[Path], product: str, region: str
) -> None:
    """It is accepted, said and stored in upright pixels, however the pixels of the file lie."""
    added = cli("add", *turned_copies, "--product-id", product, "--region", region, "--format", "jsonl")
    assert added.returncode == 0
    assert {line["Region"] for line in added.lines[:-1]} == {region}
    assert {cli.stored_region(product, path.name) for path in turned_copies} == {region}
    found = gallery("search", *turned_copies, "--region", region)
    assert found.returncode == 0
    assert {document["PicInfo"]["Region"] for document in found.lines} == {region}


@pytest.mark.parametrize("region", [ONLY_SIDEWAYS, f"0,{HEIGHT},0,{WIDTH}", "0,1,200,201"], ids=str)
def test_a_region_of_the_stored_pixels_is_refused(
    cli: Cli, gallery: Cli, turned_copies: list[Path], product: str, region: str
) -> None:
    """The message tells the upright size, which is not the one that some other program may have shown."""
    added = cli("add", *turned_copies, "--product-id", product, "--region", region)
    found = gallery("search", *turned_copies, "--region", region)
    assert (added.returncode, found.returncode) == (1, 1)
    failures = added.document["Failures"] + found.lines
    assert len(failures) == 2 * len(turned_copies)
    for failure in failures:
        assert failure["Code"] == "InvalidRegion"
        assert f"region {region} {OUTSIDE}" in failure["Message"]


@pytest.mark.parametrize(
    "region", [pytest.param(name, marks=pytest.mark.extended if 0 < n < 5 else ()) for n, name in enumerate(TILES)]
)
def test_a_region_of_a_turned_picture_shows_what_lies_there(
    mosaics: Cli, turned_copies: list[Path], region: str
) -> None:
    """The tile that fills the region is found first, before its own mirror images and turns and before other tiles."""
    found = mosaics("search", *turned_copies, "--region", region, "-n", 2)
    assert len(found.lines) == len(turned_copies)
    for document in found.lines:
        assert document["Auctions"][0]["ProductId"] == f"{region} upright.png", document["Query"]


@pytest.mark.extended
def test_the_feature_of_a_turned_picture_is_that_of_the_upright_one(
    pictures: Path, turned_copies: list[Path], tmp_path: Path
) -> None:
    """Stored with a region, each turned copy is nearer to the upright one than any whose pixels lie otherwise."""
    cli, region = Cli(tmp_path / "instance"), "20,170,30,190"
    wrong = []
    with Image.open(pictures / "mosaic.png") as upright:
        for number, turn in AS_STORED.items():
            wrong.append(tmp_path / f"wrong-{number}.png")
            upright.transpose(turn).save(wrong[-1])
    assert cli("add", "--kind", "generic", *turned_copies, *wrong, "--region", region).returncode == 0
    hits = cli("search", pictures / "mosaic.png", "--region", region, "-n", 100).document["Auctions"]
    assert len(hits) == len(turned_copies) + len(wrong)
    nearest = hits[: len(turned_copies)]
    assert {hit["PicName"] for hit in nearest} == {path.name for path in turned_copies}
    distances = {hit["PicName"]: int(hit["SortExprValues"].partition(";")[2]) for hit in nearest}
    for name in ("2.png", "2.webp", "2.tiff", "6.tiff"):  # the very same pixels, once they are upright
        assert distances[name] == 0
    assert max(distances.values()) < 512 / 10


@pytest.mark.extended
def test_a_turned_picture_without_a_region(cli: Cli, turned_copies: list[Path], product: str) -> None:
    """The whole with ``--no-crop``, a part of the upright picture without: both in upright pixels."""
    whole = cli("add", *turned_copies, "--product-id", product, "--no-crop", "--format", "jsonl")
    assert {line["Region"] for line in whole.lines[:-1]} == {WHOLE}
    found = cli("add", *turned_copies, "--product-id", product, "--format", "jsonl")
    for line in found.lines[:-1]:
        assert line["Status"] == "replaced"
        check_automatic(line["Region"])


# The region that is found


@pytest.mark.extended
@pytest.mark.parametrize("name", ["mosaic.png", "subject.png", "turned", "tile-0-0.png"])
def test_the_found_region_can_be_given(
    cli: Cli, gallery: Cli, pictures: Path, turned_copies: list[Path], product: str, name: str
) -> None:
    """``add`` and ``search`` find the same one; it is among MultiRegion, and giving it changes nothing.

    Nothing but whether the indexed picture of the same bytes is identical: it is stored as a whole, so it is another
    region than the one that is given.
    """
    path = pictures / name if name != "turned" else next(path for path in turned_copies if path.name == "6.jpeg")
    size = (TILE, TILE) if name.startswith("tile") else (WIDTH, HEIGHT)
    line = cli("add", path, "--product-id", product, "--format", "jsonl").lines[0]
    region = line["Region"]
    check_automatic(region, *size)
    assert cli.stored_region(product, path.name) == region
    found = gallery("search", path, "--crop", "-n", 18).document
    subjects = [subject["Region"] for subject in found["PicInfo"]["MultiRegion"]]
    assert found["PicInfo"]["Region"] == region
    assert region in subjects
    for subject in subjects:
        check_automatic(subject, *size)
    given = gallery("search", path, "--region", region, "-n", 18).document
    assert given["PicInfo"]["Region"] == region
    expected, others = ([hit for hit in ranking(document) if hit[0] != path.name] for document in (found, given))
    assert len(expected) == 18 - name.startswith("tile")
    assert [name for name, _ in others] == [name for name, _ in expected]
    # Where the indexed picture is not identical, it is the best rival of all others: their Scores fall.
    same = path.name not in {name for name, score in ranking(given) if score < 1}
    scores, before = ([score for _, score in hits] for hits in (others, expected))
    assert scores == pytest.approx(before, abs=1e-4) if same else all(map(operator.le, scores, before))


def test_the_found_region_is_found_again(cli: Cli, pictures: Path, product: str) -> None:
    """A picture added without a region is identical to itself, searched without one and with the one that was found."""
    path = pictures / "subject.png"
    region = cli("add", path, "--product-id", product, "--format", "jsonl").lines[0]["Region"]
    for words in ([], ["--region", region]):
        hits = cli("search", path, "-n", 100, *words).document["Auctions"]
        (own,) = [hit for hit in hits if hit["ProductId"] == product]
        assert (own["Score"], own["SortExprValues"]) == (1.0, "7.33136443711219e+24;0")


# Adding again

STEPS = [
    # options, status, stored region (None: whatever is found)
    ([], "added", None),
    ([], "unchanged", None),
    (["--crop"], "unchanged", None),
    (["--region", A_REGION], "replaced", A_REGION),
    (["--region", A_REGION], "unchanged", A_REGION),
    (["--crop", "--region", A_REGION], "unchanged", A_REGION),
    (["--region", " 40, 140, 50, 170 "], "unchanged", A_REGION),
    (["--region", ANOTHER_REGION], "replaced", ANOTHER_REGION),
    (["--no-crop"], "replaced", WHOLE),
    (["--no-crop"], "unchanged", WHOLE),
    (["--no-crop", "--region", A_REGION], "unchanged", WHOLE),
    (["--region", WHOLE], "replaced", WHOLE),
    (["--region", WHOLE], "unchanged", WHOLE),
    ([], "replaced", None),
    ([], "unchanged", None),
]


@pytest.mark.extended
def test_adding_again(cli: Cli, pictures: Path, product: str) -> None:
    """The same picture with the same request is unchanged, with another one replaced; never is there a second item."""
    path = pictures / "mosaic.png"
    before = cli("info").document["TotalCount"]
    for number, (words, status, region) in enumerate(STEPS):
        line = cli("add", path, "--product-id", product, *words, "--format", "jsonl").lines[0]
        assert (number, line["Status"]) == (number, status)
        check_used(line["Region"], region)
        assert cli.stored_region(product, path.name) == line["Region"]
    assert cli("info").document["TotalCount"] == before + 1


@pytest.mark.extended
def test_adding_again_by_manifest(cli: Cli, pictures: Path, product: str) -> None:
    """A line asks for the same as the options do, so what they added is unchanged."""
    line = {"ProductId": product, "PicName": "mosaic.png"}
    steps = [
        (["--region", A_REGION], {"Region": A_REGION}),
        (["--no-crop"], {"Crop": False}),
        ([], {}),
    ]
    for words, fields in steps:
        cli("add", pictures / "mosaic.png", "--product-id", product, *words)
        assert cli.add_manifest(pictures, [line | fields]).lines[0]["Status"] == "unchanged"


@pytest.mark.extended
def test_two_regions_of_one_picture(cli: Cli, pictures: Path, product: str) -> None:
    """Two items; the one whose region is searched is identical, the other, made from the same bytes, is not."""
    path, regions = pictures / "mosaic.png", list(TILES)[:2]
    for region in regions:
        cli("add", path, "--product-id", product, "--pic-name", f"{region}.png", "--region", region)
    for region in regions:
        hits = cli("search", path, "--region", region, "-n", 100).document["Auctions"]
        scores = {hit["PicName"]: hit["Score"] for hit in hits if hit["ProductId"] == product}
        assert scores.pop(f"{region}.png") == 1.0
        assert all(score < 1 for score in scores.values())


# A real process


@pytest.mark.extended
def test_a_process_of_its_own(run: Run, pictures: Path, turned_copies: list[Path]) -> None:
    """The same from outside, with bytes that are no ASCII on the command line."""
    sideways = next(path for path in turned_copies if path.name == "6.jpeg")
    assert run("add", sideways, "--region", ONLY_UPRIGHT, "--kind", "generic").returncode == 0
    found = run("search", pictures / "mosaic.png", "--region", ONLY_UPRIGHT)
    assert (found.returncode, ranking(found.document)[0][0]) == (0, sideways.name)
    for region, reason in ((ONLY_SIDEWAYS, OUTSIDE), ("٠,١٠,٠,١٠", NOT_FOUR)):
        result = run("search", sideways, "--region", region)
        code, message = complaint(result)
        assert (result.returncode, code) == (3, "InvalidRegion")
        check_refusal(message, region, reason)
