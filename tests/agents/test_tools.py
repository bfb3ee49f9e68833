"""Twenty tasks over standard input and output, done from what the tools tell about themselves.

One process answers those that look and change in order; its tests build on each other, from top to bottom.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgsearch.instance import Instance
from imgsearch.values import Key
from tests.agents.conftest import SAMPLES, Agent, served
from tests.conftest import Run

pytestmark = pytest.mark.networks


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that may be read, with links out of it."""
    folder = tmp_path_factory.mktemp("pictures")
    shutil.copy(SAMPLES / "queries" / "mug-red.jpg", folder / "new.jpg")
    (folder / "broken.jpg").write_bytes((SAMPLES / "queries" / "ball.jpg").read_bytes()[:500])
    (folder / "link.jpg").symlink_to("/etc/passwd")
    return folder


@pytest.fixture(scope="module")
def agent(shop: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Of a server that may write."""
    log = tmp_path_factory.mktemp("log") / "stderr"
    options = ("--pictures", SAMPLES, "--pictures", pictures, "--write", "--thumbnails")
    with served(log, "-i", shop, *options) as connected:
        yield connected


def test_01_tools_tell_what_they_do(agent: Agent) -> None:
    """Each argument has a description of its own or is of a numbered series; what can lose data says so."""
    assert set(agent.tools) == {
        *("search", "show", "list", "duplicates", "compare", "eval", "info"),
        *("add", "update", "delete"),
    }
    for tool in agent.tools.values():
        assert tool.description
        assert tool.output_schema
        assert "$ref" not in json.dumps(tool.input_schema)
        assert "instance" not in tool.input_schema["properties"]
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is (tool.name not in ("add", "update", "delete"))
        for name, argument in tool.input_schema["properties"].items():
            assert "description" in argument or name[-1].isdigit() or name == "str_attr2", (tool.name, name)
    assert str(SAMPLES) in agent.instructions


def test_02_facts_about_the_instance(agent: Agent) -> None:
    document = agent.ask("info")
    assert (document["Kind"], document["TotalCount"], document["Products"]) == ("product", 74, 34)
    assert document["Text"] is False
    assert document["MayWrite"] is True


def test_03_find_by_a_file(agent: Agent) -> None:
    """Named in full, or from one of the folders that may be read."""
    for path in (str(SAMPLES / "queries" / "teapot-white.jpg"), "queries/teapot-white.jpg"):
        assert agent.ask("search", path=path, num=3)["Auctions"][0]["ProductId"] == "teapot-white"


def test_04_find_by_the_picture_itself(agent: Agent) -> None:
    text = base64.b64encode((SAMPLES / "queries" / "camera-retro.jpg").read_bytes()).decode()
    for data in (text, f"data:image/jpeg;base64,{text}"):
        assert agent.ask("search", data=data, num=1)["Auctions"][0]["ProductId"] == "camera-retro"


def test_05_find_what_resembles_a_stored_picture(agent: Agent) -> None:
    key = {"product_id": "mug-red", "pic_name": "catalogue/mug-red/front.jpg"}
    found = agent.ask("search", **key, exclude_self=True, distinct_product=True, num=5)
    names = [hit["ProductId"] for hit in found["Auctions"]]
    assert found["Head"]["LeftOut"] == 1
    assert len(names) == len(set(names))
    assert "mug-red" in names


def test_06_filter_a_search(agent: Agent) -> None:
    found = agent.ask("search", path="queries/mug-red.jpg", filter='str_attr="blue"', any_category=True)
    assert {hit["StrAttr"] for hit in found["Auctions"]} == {"blue"}


def test_07_search_in_a_category_with_a_least_score(agent: Agent) -> None:
    found = agent.ask("search", path="queries/handbag-tan.jpg", category="Bag", min_score=0.2)
    assert found["PicInfo"]["SearchedCategories"] == [3]
    assert all(hit["CategoryId"] == 3 and hit["Score"] >= 0.2 for hit in found["Auctions"])


def test_08_search_with_a_part_of_a_picture(agent: Agent) -> None:
    found = agent.ask("search", path="queries/mug-red.jpg", region="100,300,100,300", num=1)
    assert found["PicInfo"]["Region"] == "100,300,100,300"
    assert agent.ask("search", path="queries/mug-red.jpg", crop=False, num=1)["PicInfo"]["Region"] == "0,640,0,480"


def test_09_page_through_results(agent: Agent) -> None:
    """Two pages are what one page of both is."""
    query = {"path": "queries/sneaker-red.jpg", "any_category": True}
    pages = [agent.ask("search", **query, num=4, start=start)["Auctions"] for start in (0, 4)]
    assert [*pages[0], *pages[1]] == agent.ask("search", **query, num=8)["Auctions"]


def test_10_see_the_results(agent: Agent) -> None:
    """Small pictures come with the names of what they show; as many as asked for, none if none."""
    result = agent.raw("search", path="queries/mug-red.jpg", num=4, thumbnails=2)
    assert [content.type for content in result.content] == ["text", "text", "image", "text", "image"]
    first = result.structured_content["Auctions"][0]
    assert result.content[1].text == f"1: {first['ProductId']} {first['PicName']}"  # type: ignore[union-attr]
    image = result.content[2]
    assert image.type == "image"
    assert image.mime_type == "image/jpeg"
    assert base64.b64decode(image.data).startswith(b"\xff\xd8")
    assert len(agent.raw("search", path="queries/mug-red.jpg", thumbnails=0).content) == 1


def test_11_list_and_count(agent: Agent) -> None:
    found = agent.ask("list", filter="int_attr<1000", num=3, start=1)
    assert len(found["Auctions"]) == 3
    assert found["TotalCount"] > 3
    assert all(item["IntAttr"] < 1000 for item in found["Auctions"])
    assert agent.ask("list", product_id="mug-red", num=1)["TotalCount"] == 2


def test_12_show_a_product(agent: Agent) -> None:
    found = agent.ask("show", product_id="mug-red")
    assert [item["PicName"] for item in found["Auctions"]] == [
        "catalogue/mug-red/front.jpg",
        "catalogue/mug-red/top.jpg",
    ]
    assert agent.ask("show", product_id="mug-red", pic_name="none")["Exists"] is False


def test_13_add_pictures(agent: Agent, pictures: Path) -> None:
    """What can be used is stored and found at once; what cannot is told, picture by picture."""
    new = {"path": "new.jpg", "product_id": "mug-new", "int_attr": 7, "str_attr": "red"}
    broken = {"path": str(pictures / "broken.jpg"), "product_id": "broken"}
    outside = {"path": str(pictures / "link.jpg"), "product_id": "outside"}
    found = agent.ask("add", pictures=[new, broken, outside])
    assert (found["Success"], found["Added"], found["Failed"]) == (False, 1, 2)
    assert [picture["Status"] for picture in found["Pictures"]] == ["added", "failed", "failed"]
    assert [failure["Code"] for failure in found["Failures"]] == ["PictureError", "AccessDenied"]
    hit = agent.ask("search", path="new.jpg", num=1, any_category=True)["Auctions"][0]
    assert (hit["ProductId"], hit["PicName"], hit["Score"], hit["IntAttr"]) == ("mug-new", "new.jpg", 1, 7)
    again = agent.ask("add", pictures=[new])
    assert (again["Success"], again["Unchanged"]) == (True, 1)


def test_14_update_a_product(agent: Agent) -> None:
    found = agent.ask("update", product_id="mug-new", int_attr=8, unset=["str_attr"], dry_run=True)
    assert (found["Updated"], found["PicNames"], found["DryRun"]) == (0, ["new.jpg"], True)
    assert agent.ask("update", product_id="mug-new", int_attr=8, unset=["str_attr"])["Updated"] == 1
    (item,) = agent.ask("show", product_id="mug-new")["Auctions"]
    assert (item["IntAttr"], item["StrAttr"]) == (8, None)


def test_15_duplicates(agent: Agent, pictures: Path) -> None:
    shutil.copy(pictures / "new.jpg", pictures / "copy.jpg")
    agent.ask("add", pictures=[{"path": "copy.jpg", "product_id": "mug-copy"}])
    found = agent.ask("duplicates", products="across")
    (group,) = [one for one in found["Groups"] if "mug-new" in {each["ProductId"] for each in one["Pictures"]}]
    assert {picture["ProductId"] for picture in group["Pictures"]} == {"mug-new", "mug-copy"}
    assert [picture["Score"] for picture in group["Pictures"]] == [1, 1]


def test_16_compare_two_pictures(agent: Agent) -> None:
    red, ball = {"path": "queries/mug-red.jpg"}, {"path": "queries/ball.jpg"}
    assert agent.ask("compare", first=red, second={"path": "new.jpg"})["Score"] == 1
    assert agent.ask("compare", first=red, second=ball)["Score"] < 0.5


@pytest.mark.extended
def test_17_measure(agent: Agent, tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> None:
    for name in ("mug-red", "sneaker-white"):
        shutil.copytree(SAMPLES / "catalogue" / name, pictures / "labelled" / name)
    found = agent.ask("eval", folder="labelled")
    assert found["Retrieval"]["all"]["Queries"] == sum(1 for _ in (pictures / "labelled").rglob("*.*"))
    (pictures / "labelled" / "mug-red" / "out.jpg").symlink_to("/etc/passwd")
    assert agent.refused("eval", folder="labelled")[0] == "AccessDenied"


def test_18_delete_what_a_filter_selects(agent: Agent) -> None:
    assert agent.ask("delete", filter="int_attr=8", dry_run=True)["PicNames"] == ["new.jpg"]
    assert agent.ask("delete", filter="int_attr=8")["Deleted"] == 1
    assert agent.ask("delete", product_id="mug-copy", pic_name="copy.jpg")["Deleted"] == 1
    assert agent.ask("delete", product_id="mug-copy")["Deleted"] == 0
    assert agent.ask("info")["TotalCount"] == 74


@pytest.mark.parametrize(
    ("name", "arguments", "code", "said"),
    [
        ("search", {"path": "/etc/passwd"}, "AccessDenied", "does not lie in a folder"),
        ("search", {"path": "../pyproject.toml"}, "AccessDenied", "does not lie in a folder"),
        ("search", {"path": "queries/none.jpg"}, "PictureError", "No such file"),
        ("search", {"path": "queries"}, "PictureError", "directory"),
        ("search", {"path": "products.py"}, "UnsupportedPicFormat", ""),
        ("search", {"data": "no base64!"}, "InvalidPicContent", "base64"),
        ("search", {"data": "aGVsbG8="}, "UnsupportedPicFormat", ""),
        ("search", {"text": "a red mug"}, "BadRequest", "no text side"),
        ("search", {}, "BadRequest", "exactly one"),
        ("search", {"path": "a", "data": "b"}, "BadRequest", "exactly one"),
        ("search", {"product_id": "mug-red"}, "BadRequest", "pic_name"),
        ("search", {"product_id": "mug-red", "pic_name": "none"}, "PicNotExist", "none"),
        ("search", {"path": "queries/ball.jpg", "filter": "int_attr<"}, "InvalidFilterClause", ""),
        ("search", {"path": "queries/ball.jpg", "num": 101}, "InvalidNumParameter", "100"),
        ("search", {"path": "queries/ball.jpg", "start": 499, "num": 9}, "OverflowMaxResultNum", "500"),
        ("search", {"path": "queries/ball.jpg", "category": "Cars"}, "InvalidCategory", "Toy"),
        ("search", {"path": "queries/ball.jpg", "region": "1,2,3"}, "InvalidRegion", "x1,x2,y1,y2"),
        ("search", {"path": "queries/ball.jpg", "limit": 3}, "BadRequest", "num"),
        ("search", {"path": "queries/ball.jpg", "num": "many"}, "BadRequest", "num"),
        ("search", {"path": "queries/ball.jpg", "thumbnails": 99}, "InvalidNumParameter", "thumbnails"),
        ("list", {"num": 0}, "InvalidNumParameter", "1000"),
        ("list", {"start": -1}, "InvalidStartParameter", "negative"),
        ("duplicates", {"min_score": 0.5}, "BadRequest", "similar"),
        ("compare", {"first": {"path": "queries/ball.jpg"}, "second": {}}, "BadRequest", "path"),
        ("eval", {"folder": "/etc"}, "AccessDenied", "does not lie in a folder"),
        ("add", {"pictures": []}, "BadRequest", "1 to 100"),
        ("update", {"product_id": "mug-red", "str_attr": "x" * 129}, "InvalidStrAttr", "128"),
        ("update", {"product_id": "none", "str_attr": "x"}, "PicNotExist", "none"),
        ("update", {"product_id": "mug-red", "str_attr": "x", "unset": ["str_attr"]}, "BadRequest", "unset"),
        ("delete", {}, "BadRequest", "product_id"),
        ("delete", {"product_id": "mug-red", "filter": "int_attr=1"}, "BadRequest", "product_id"),
        ("format", {}, "BadRequest", "search"),
    ],
)
def test_19_what_is_wrong_is_said(agent: Agent, name: str, arguments: dict[str, object], code: str, said: str) -> None:
    """With the code that the command line gives, on one line that names what to do."""
    found, message = agent.refused(name, **arguments)
    assert found == code, message
    assert said in message
    assert "\n" not in message


@pytest.mark.extended
def test_20_several_instances_that_only_answer(shop: Path, folder: Path, tmp_path: Path) -> None:
    """Each call names one of them; nothing can be read from the machine nor changed, and no picture is shown."""
    Instance.create(folder, "generic")
    with Instance.open(folder) as instance:
        instance.add(SAMPLES / "queries" / "ball.jpg", "ball", "b")
    with served(tmp_path / "log", "-i", shop, "-i", folder) as agent:
        assert set(agent.tools) == {"search", "show", "list", "duplicates", "compare", "eval", "info"}
        for name, tool in agent.tools.items():
            assert "thumbnails" not in tool.input_schema["properties"]
            assert tool.input_schema["properties"]["instance"]["enum"] == ["instance", "shop"]
            assert "instance" in tool.input_schema["required"], name
        assert agent.ask("info", instance="instance")["Kind"] == "generic"
        data = base64.b64encode((SAMPLES / "queries" / "ball.jpg").read_bytes()).decode()
        assert agent.ask("search", instance="instance", data=data)["Auctions"][0]["Score"] == 1
        assert agent.ask("list", instance="shop", num=1)["TotalCount"] == 74
        assert agent.refused("info")[0] == "InvalidInstance"
        code, message = agent.refused("info", instance="../shop")
        assert (code, "instance, shop" in message) == ("InvalidInstance", True)
        code, message = agent.refused("delete", instance="shop", product_id="mug-red")
        assert (code, "--write" in message) == ("BadRequest", True)
        code, message = agent.refused("list", instance="shop", thumbnails=1)
        assert (code, "--thumbnails" in message) == ("BadRequest", True)
        code, message = agent.refused("search", instance="shop", path=str(SAMPLES / "queries" / "ball.jpg"))
        assert (code, "--pictures" in message) == ("AccessDenied", True)
    with Instance.open(shop) as instance:
        assert instance.has_item(Key("mug-red", "catalogue/mug-red/front.jpg"))


@pytest.mark.extended
def test_answers_are_those_of_the_command_line(agent: Agent, shop: Path, run: Run) -> None:
    """Field by field, but for the id and the time of a request; figures to what one core and several have in common."""
    query = SAMPLES / "queries" / "watch-steel.jpg"
    told = agent.ask("search", path=str(query), filter="int_attr>100")
    printed = run("search", "-i", shop, query, "--filter", "int_attr>100").document
    for document in (told, printed):
        del document["RequestId"], document["Head"]["SearchTime"]
    figures = [[(hit.pop("SortExprValues"), hit.pop("Score"))[1] for hit in one["Auctions"]] for one in (told, printed)]
    assert figures[0] == pytest.approx(figures[1], abs=1e-4)
    assert told == printed
    for name, arguments, words in (
        ("list", {"num": 5, "category": "Bag"}, ["-n", "5", "--category", "Bag"]),
        ("show", {"product_id": "mug-red"}, ["mug-red"]),
        ("duplicates", {"level": "similar", "num": 1000}, ["--level", "similar"]),
    ):
        assert agent.ask(name, **arguments) == run(name, "-i", shop, *words).document
    first, second = SAMPLES / "queries" / "ball.jpg", SAMPLES / "queries" / "toy-blocks.jpg"
    told = agent.ask("compare", first={"path": str(first)}, second={"path": str(second)})
    assert told == pytest.approx(run("compare", first, second).document, abs=1e-4)


@pytest.mark.extended
def test_progress_rises(agent: Agent, pictures: Path) -> None:
    """Over all steps of a call, each report is higher than the one before and says what is done."""
    shutil.copytree(SAMPLES / "catalogue" / "mug-red", pictures / "measured" / "mug-red")
    told = agent.progress("eval", folder="measured")
    assert [number for number, _ in told] == sorted({number for number, _ in told})
    assert {message.partition(":")[0] for _, message in told} >= {"searching"}
