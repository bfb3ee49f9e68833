"""The page's addresses: who may ask them, from where, and what they answer."""

from __future__ import annotations

import io
import json
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from imgsearch.server.api import Api
from imgsearch.server.app import make_app
from imgsearch.server.authentication import Authentication
from imgsearch.server.pages import operations
from imgsearch.server.pages.routes import page_routes
from imgsearch.server.result_files import ResultFiles
from imgsearch.server.served import Instances
from imgsearch.server.task_store import TaskStore
from imgsearch.server.tasks import OssAccess, Tasks
from imgsearch.server.throttling import Limits, Throttle
from imgsearch.sources.picture_folders import PictureFolders
from tests.pictures import jpeg
from tests.server.pages.conftest import HOME, OTHER_SECRET, OWN, SAMPLES, SECRET, Shop, app_of

ITEM = {"instance": "shop", "product_id": "mug-red", "pic_name": "catalogue/mug-red/front.jpg"}
READING = {
    "facts": {"instance": "shop"},
    "similar": ITEM,
    "items": {"instance": "shop"},
    "item": ITEM,
    "thumbnail": ITEM,
    "duplicates": {"instance": "shop"},
}
SHOP = {"instance": "shop"}
MUG = (SAMPLES / "queries" / "mug-red.jpg").read_bytes()


def sign_in(client: TestClient, key_id: str = "keeper", secret: str = SECRET) -> None:
    answer = client.post("/ui/api/login", json={"KeyId": key_id, "Secret": secret})
    assert answer.status_code == 200, answer.text


# What holds for all answers


@pytest.mark.parametrize(
    "path", ["/", "/ui/static/app.js", "/ui/static/nothing", "/ui/nothing", "/ui/api/session", "/ui/api/facts"]
)
def test_answers_shut_other_hosts_out(client: TestClient, path: str) -> None:
    """By the browser: nothing is loaded from elsewhere, put into frames, guessed or stored; errors included."""
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert headers["cache-control"] == "no-store" or path in ("/", "/ui/static/app.js")


def test_files_name_no_other_host() -> None:
    """Nor do they hold scripts or styles in the markup, which the policy would stop."""
    folder = Path(operations.__file__).parent / "static"
    files = sorted(folder.iterdir())
    assert len(files) >= 10
    for file in files:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("// ", "") or file.suffix == ".js", file
        assert "http:" not in text, file
        assert "https:" not in text, file
    markup = (folder / "index.html").read_text(encoding="utf-8")
    assert "style=" not in markup
    assert " on" not in "".join(part for part in markup.split("<") if "=" in part and " on" in part.split(">")[0])


def test_files_are_asked_for_again(client: TestClient) -> None:
    """And sent only if they have changed; what is no file of the page is not there, however it is written."""
    first = client.get("/ui/static/page.css")
    assert first.headers["content-type"].startswith("text/css")
    again = client.get("/ui/static/page.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("..%2froutes.py", "%2e%2e%2froutes.py", "..", "a%00b", "x" * 5000, "%2fetc%2fpasswd"):
        assert client.get(f"/ui/static/{name}").status_code == 404, name


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::2]"])
def test_without_keys_other_names_are_refused(client: TestClient, host: str) -> None:
    """A site that gives its own name this address reads nothing."""
    for path in ("/", "/ui/api/session", "/ui/static/app.js"):
        answer = client.get(path, headers={"Host": host})
        assert (answer.status_code, answer.json()["Code"]) == (403, "ForeignHost")


@pytest.mark.parametrize("host", ["localhost:8080", "LOCALHOST", "127.0.0.1", "127.0.0.1:1", "[::1]:8080", "[::1]"])
def test_loopback_names_are_taken(client: TestClient, host: str) -> None:
    """With any port."""
    assert client.get("/", headers={"Host": host}).status_code == 200


def test_with_keys_any_name_is_taken(keyed: TestClient) -> None:
    """Sessions are of a name, so another one has none."""
    assert keyed.get("/", headers={"Host": "shop.example"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": HOME},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"{HOME}0"},
        {},
    ],
)
def test_other_sites_cannot_post(instances: Instances, shop: Shop, headers: dict[str, str]) -> None:
    """Neither to search nor to sign somebody in or out."""
    with TestClient(app_of(instances, shop, with_keys=True), base_url=HOME) as client:
        for path in ("login", "logout", "search"):
            answer = client.post(f"/ui/api/{path}", headers=headers)
            assert (answer.status_code, answer.json()["Code"]) == (403, "CrossSiteRequest"), path


def test_the_page_itself_can_post(instances: Instances, shop: Shop) -> None:
    """Also in browsers that tell the origin only, as they do without TLS."""
    with TestClient(app_of(instances, shop), base_url=HOME) as client:
        for headers in (OWN, {"Origin": HOME}):
            assert client.post("/ui/api/logout", headers=headers).status_code == 200


def test_other_sites_cannot_embed(client: TestClient) -> None:
    """No picture and no document; only a link to the page is followed."""
    crossed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/ui/api/thumbnail", params=ITEM, headers=crossed).status_code == 403
    assert client.get("/", headers={**crossed, "Sec-Fetch-Mode": "navigate"}).status_code == 200


# Signing in


def test_without_signing_in_nothing_is_told(keyed: TestClient) -> None:
    """Not even which instances there are."""
    for name, params in READING.items():
        answer = keyed.get(f"/ui/api/{name}", params=params)
        assert (answer.status_code, answer.json()["Code"]) == (401, "LoginRequired"), name
    assert keyed.post("/ui/api/search", params=SHOP, content=MUG).status_code == 401
    assert keyed.get("/ui/api/session").json() == {
        "Success": True,
        "LoginNeeded": True,
        "KeyId": None,
        "Instances": [],
    }


def test_somebody_signs_in_and_out(keyed: TestClient) -> None:
    """And sees what the key is for."""
    sign_in(keyed)
    told = keyed.get("/ui/api/session").json()
    assert (told["LoginNeeded"], told["KeyId"], told["Instances"]) == (False, "keeper", ["other", "shop"])
    assert keyed.get("/ui/api/facts", params=SHOP).json()["Name"] == "shop"
    assert keyed.post("/ui/api/search", params=SHOP, content=MUG).status_code == 200
    assert keyed.post("/ui/api/logout").json()["LoginNeeded"]
    assert keyed.get("/ui/api/facts", params=SHOP).status_code == 401


@pytest.mark.parametrize(
    ("key_id", "secret"), [("keeper", OTHER_SECRET), ("nobody", SECRET), ("", ""), ("keeper", "é")]
)
def test_wrong_keys_are_refused(keyed: TestClient, key_id: str, secret: str) -> None:
    """All alike: nobody learns which ids there are."""
    answer = keyed.post("/ui/api/login", json={"KeyId": key_id, "Secret": secret})
    assert (answer.status_code, answer.json()["Code"]) == (401, "LoginFailed")
    assert answer.json()["Message"] == "the key id or the secret is wrong"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"KeyId": 1, "Secret": 2}',
        b'{"KeyId": "a"}',
        b"\xff\xfe",
        b"[" * 5000,
        b'{"KeyId": "keeper", "Secret": "\\ud800"}',
    ],
)
def test_malformed_logins_are_refused(keyed: TestClient, body: bytes) -> None:
    """With what is expected."""
    answer = keyed.post("/ui/api/login", content=body)
    assert (answer.status_code, answer.json()["Code"]) == (400, "BadRequest")


def test_logins_are_short(keyed: TestClient) -> None:
    """Somebody who has no key sends no more than a key takes."""
    assert keyed.post("/ui/api/login", content=b"x" * 10_000).status_code == 400


def test_guessing_is_slowed_down(keyed: TestClient) -> None:
    """After ten wrong secrets the right one is refused, too, with the time to wait."""
    for _ in range(10):
        assert keyed.post("/ui/api/login", json={"KeyId": "keeper", "Secret": "wrong"}).status_code == 401
    answer = keyed.post("/ui/api/login", json={"KeyId": "keeper", "Secret": SECRET})
    assert (answer.status_code, answer.json()["Code"]) == (429, "Throttling.User")
    assert 1 <= int(answer.headers["retry-after"]) <= 300


def test_a_key_is_for_its_instances(keyed: TestClient) -> None:
    """Another one is not there, as one that does not exist is not."""
    sign_in(keyed, "guest", OTHER_SECRET)
    assert keyed.get("/ui/api/session").json()["Instances"] == ["other"]
    assert keyed.get("/ui/api/facts", params={"instance": "other"}).status_code == 200
    for name, params in READING.items():
        hidden = keyed.get(f"/ui/api/{name}", params=params).json()
        missing = keyed.get(f"/ui/api/{name}", params={**params, "instance": "none"}).json()
        assert hidden["Code"] == missing["Code"] == "InvalidInstance", name
        assert hidden["Message"].replace("shop", "none") == missing["Message"]
    assert keyed.post("/ui/api/search", params=SHOP, content=MUG).json()["Code"] == "InvalidInstance"


def test_with_keys_no_path_is_told(keyed: TestClient, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of items nor of instances, in documents and in messages."""
    sign_in(keyed)
    answers = [keyed.get(f"/ui/api/{name}", params=params) for name, params in READING.items() if name != "thumbnail"]
    answers.append(keyed.get("/ui/api/duplicates", params={**SHOP, "level": "similar", "min_score": "0.3"}))
    answers.append(keyed.post("/ui/api/search", params=SHOP, content=MUG))
    assert all(answer.json()["Success"] for answer in answers)
    assert answers[-2].json()["Groups"]
    missing = {**ITEM, "product_id": "nothing"}
    answers += [keyed.get(f"/ui/api/{name}", params=missing) for name in ("item", "similar", "thumbnail")]
    answers.append(keyed.get("/ui/api/thumbnail", params={**SHOP, "product_id": "hidden", "pic_name": "hidden.jpg"}))
    for answer in answers:
        assert str(shop.root.parent) not in answer.text, answer.url
    assert "'shop'" in answers[-2].json()["Message"]


def test_without_keys_paths_are_told(client: TestClient, shop: Shop) -> None:
    """To the machine's own user, who can look the files up."""
    item = client.get("/ui/api/item", params=ITEM).json()
    assert item["Path"] == str(shop.pictures / "catalogue/mug-red/front.jpg")


def test_a_failure_tells_no_trace(
    keyed: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has it."""
    sign_in(keyed)

    def fails(self: object) -> None:
        raise RuntimeError("the inside of it")

    monkeypatch.setattr("imgsearch.instance.Instance.info", fails)
    answer = keyed.get("/ui/api/facts", params=SHOP)
    assert (answer.status_code, answer.json()["Code"]) == (500, "InternalError")
    assert "inside" not in answer.text
    assert "the inside of it" in caplog.text


def test_damage_is_told_to_the_log_only(
    keyed: TestClient, shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As its message names files."""
    from imgsearch.errors import InstanceDamaged

    sign_in(keyed)

    def fails(self: object) -> None:
        raise InstanceDamaged(f"{shop.root}/shop/items.sqlite is damaged")

    monkeypatch.setattr("imgsearch.instance.Instance.info", fails)
    answer = keyed.get("/ui/api/facts", params=SHOP)
    assert (answer.status_code, answer.json()["Code"]) == (500, "AccessEngineFailed")
    assert str(shop.root) not in answer.text
    assert "items.sqlite is damaged" in caplog.text


# Searching and looking


def test_a_picture_finds_its_product(client: TestClient) -> None:
    """The document is the service's, with what the page needs beside it."""
    answer = client.post("/ui/api/search", params={**SHOP, "num": "5"}, content=MUG).json()
    first = answer["Auctions"][0]
    assert (answer["Success"], len(answer["Auctions"]), first["ProductId"]) == (True, 5, "mug-red")
    assert (first["Picture"], first["Identical"]) == (True, False)
    assert len(first["Region"].split(",")) == 4
    assert answer["PicInfo"]["MultiRegion"][0]["Region"] == answer["PicInfo"]["Region"]


def test_options_reach_the_search(client: TestClient) -> None:
    """Region, crop, category, filter, paging and the rest, as the command line has them."""

    def found(**options: str) -> dict[str, object]:
        answer = client.post("/ui/api/search", params={**SHOP, **options}, content=MUG)
        assert answer.status_code == 200, answer.text
        document: dict[str, object] = answer.json()
        return document

    def products(document: dict[str, object]) -> list[str]:
        return [hit["ProductId"] for hit in document["Auctions"]]  # type: ignore[attr-defined]

    assert found(region="10,150,20,160")["PicInfo"]["Region"] == "10,150,20,160"  # type: ignore[index]
    whole = found(crop="false")["PicInfo"]["Region"]  # type: ignore[index]
    width, height = Image.open(io.BytesIO(MUG)).size
    assert whole == f"0,{width},0,{height}"
    assert found(category="Toy")["PicInfo"]["SearchedCategories"] == [20]  # type: ignore[index]
    everything = found(any_category="true", num="100")
    assert everything["Head"]["DocsFound"] == 76  # type: ignore[index]
    assert set(products(found(any_category="true", filter='str_attr="blue"'))) <= {
        "mug-blue-striped", "toy-car-blue", "tshirt-blue", "backpack-navy"
    }  # fmt: skip
    distinct = products(found(any_category="true", distinct_product="true", num="100"))
    assert len(distinct) == len(set(distinct)) == 36
    paged = products(found(any_category="true", num="10", start="10"))
    assert paged == products(everything)[10:20]
    assert len(products(found(any_category="true", min_score="0.5"))) < 10


def test_the_picture_itself_is_the_same(client: TestClient, shop: Shop) -> None:
    """By its bytes, which come as they are."""
    stored = (shop.pictures / "catalogue/mug-red/front.jpg").read_bytes()
    assert client.post("/ui/api/search", params=SHOP, content=stored).json()["Auctions"][0]["Identical"]
    left_out = client.post("/ui/api/search", params={**SHOP, "exclude_self": "true"}, content=stored).json()
    assert left_out["Head"]["LeftOut"] == 1


def test_an_item_finds_what_is_alike(client: TestClient) -> None:
    """The item itself comes first."""
    answer = client.get("/ui/api/similar", params=ITEM).json()
    assert [hit["ProductId"] for hit in answer["Auctions"][:2]] == ["mug-red", "mug-red"]
    assert answer["Auctions"][0]["Identical"]


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"", "NoSpecifiedPicContent", 400),
        (b"no picture at all", "UnsupportedPicFormat", 400),
        (jpeg(1)[:900], "PictureError", 400),
        (jpeg(1, (50, 50)), "UnsupportedPicPixels", 400),
        (b"x" * 8 * 1024 * 1024, "InvalidPicContent", 400),
    ],
)
def test_pictures_that_cannot_be_used_are_refused(client: TestClient, body: bytes, code: str, status: int) -> None:
    """With the service's code and a message."""
    answer = client.post("/ui/api/search", params=SHOP, content=body)
    assert (answer.status_code, answer.json()["Code"]) == (status, code), answer.text
    assert answer.json()["Message"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "InvalidParameter"),
        ({"instance": "nothing"}, "InvalidInstance"),
        ({"instance": "../shop"}, "InvalidInstance"),
        ({**SHOP, "filter": "colour = red"}, "InvalidFilterClause"),
        ({**SHOP, "category": "Spaceship"}, "InvalidCategory"),
        ({**SHOP, "region": "1,2,3"}, "InvalidRegion"),
        ({**SHOP, "region": "5,1,5,1"}, "InvalidRegion"),
        ({**SHOP, "region": "0,99999,0,99999"}, "InvalidRegion"),
        ({**SHOP, "num": "101"}, "InvalidNumParameter"),
        ({**SHOP, "num": "0"}, "InvalidNumParameter"),
        ({**SHOP, "start": "500"}, "InvalidStartParameter"),
        ({**SHOP, "num": "100", "start": "499"}, "OverflowMaxResultNum"),
        ({**SHOP, "min_score": "2"}, "BadRequest"),
        ({**SHOP, "colour": "red"}, "InvalidParameter"),
        ({**SHOP, "crop": "maybe"}, "InvalidParameter"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused(client: TestClient, params: dict[str, str], code: str) -> None:
    """Nothing is passed over in silence."""
    answer = client.post("/ui/api/search", params=params, content=MUG)
    assert (answer.status_code, answer.json()["Code"]) == (400, code), answer.text


def test_items_are_listed_in_pages(client: TestClient) -> None:
    """In the order of their keys, with how many there are."""
    first = client.get("/ui/api/items", params={**SHOP, "num": "10"}).json()
    second = client.get("/ui/api/items", params={**SHOP, "num": "10", "start": "10"}).json()
    keys = [(item["ProductId"], item["PicName"]) for item in first["Items"] + second["Items"]]
    assert (first["TotalCount"], len(keys), keys) == (76, 20, sorted(set(keys)))
    of_product = client.get("/ui/api/items", params={**SHOP, "product_id": "mug-red"}).json()
    assert {item["ProductId"] for item in of_product["Items"]} == {"mug-red"}
    filtered = client.get("/ui/api/items", params={**SHOP, "filter": "int_attr<500", "category": "Snack"}).json()
    assert filtered["Items"]
    assert all(item["IntAttr"] < 500 and item["CategoryId"] == 6 for item in filtered["Items"])
    assert client.get("/ui/api/items", params={**SHOP, "num": "101"}).json()["Code"] == "InvalidNumParameter"


def test_an_item_is_told_whole(client: TestClient) -> None:
    """And what is not there is told as such."""
    item = client.get("/ui/api/item", params=ITEM).json()
    assert (item["ProductId"], item["StrAttr"], item["Picture"], item["Crop"]) == ("mug-red", "red", True, True)
    missing = client.get("/ui/api/item", params={**ITEM, "pic_name": "nothing"})
    assert (missing.status_code, missing.json()["Code"]) == (400, "PicNotExist")


def test_thumbnails_come_from_named_folders(client: TestClient) -> None:
    """Small JPEGs that no cache of the browser keeps; of other files nothing is told."""
    answer = client.get("/ui/api/thumbnail", params=ITEM)
    shown = Image.open(io.BytesIO(answer.content))
    assert (answer.headers["content-type"], shown.format, max(shown.size)) == ("image/jpeg", "JPEG", 320)
    assert answer.headers["cache-control"] == "no-store"
    sides = int(answer.headers["x-picture-width"]), int(answer.headers["x-picture-height"])
    with Image.open(SAMPLES / "catalogue/mug-red/front.jpg") as stored:
        assert sides == stored.size
    assert answer.headers["x-picture-changed"] == "false"
    for product, name in (("hidden", "hidden.jpg"), ("unseen", "of no file.jpg")):
        params = {**SHOP, "product_id": product, "pic_name": name}
        refused = client.get("/ui/api/thumbnail", params=params)
        assert (refused.status_code, refused.json()["Code"]) == (400, "NotShown")
        assert client.get("/ui/api/item", params=params).json()["Picture"] is False
    assert client.get("/ui/api/thumbnail", params={**ITEM, "size": "9999"}).json()["Code"] == "InvalidParameter"


def test_duplicates_are_grouped(client: TestClient) -> None:
    """So many groups as wanted, with how many there are."""
    params = {**SHOP, "level": "similar", "min_score": "0.5"}
    answer = client.get("/ui/api/duplicates", params={**params, "num": "3"}).json()
    assert (answer["Compared"], len(answer["Groups"])) == (76, 3)
    assert answer["TotalGroups"] > 3
    group = answer["Groups"][0]
    assert (group["Level"], group["TotalCount"]) == ("similar", len(group["Pictures"]))
    assert {"ProductId", "PicName", "Score", "Picture", "Region"} <= set(group["Pictures"][0])
    assert "File" not in group["Pictures"][0]
    for wrong in ({"level": "alike"}, {"products": "some"}, {"min_score": "7"}, {"num": "0"}):
        assert client.get("/ui/api/duplicates", params={**SHOP, **wrong}).status_code == 400, wrong


def test_one_search_for_duplicates_at_a_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fills the cores; the next one is told to come again, and finds the way free."""
    answers = []

    def meanwhile(*_arguments: object, **_options: object) -> object:
        answers.append(client.get("/ui/api/duplicates", params=SHOP))
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr("imgsearch.instance.Instance.duplicates", meanwhile)
        client.get("/ui/api/duplicates", params=SHOP)
    assert (answers[0].status_code, answers[0].headers["retry-after"]) == (503, "2")
    assert client.get("/ui/api/duplicates", params=SHOP).status_code == 200


def test_facts_are_of_the_instance(client: TestClient, keyed: TestClient) -> None:
    """With the categories that its items can have; without its folder where strangers look."""
    facts = client.get("/ui/api/facts", params=SHOP).json()
    assert (facts["Name"], facts["Kind"], facts["TotalCount"], len(facts["AllCategories"])) == (
        "shop",
        "product",
        76,
        14,
    )
    assert "Path" in facts
    sign_in(keyed)
    assert not {"Path", "Stamp"} & set(keyed.get("/ui/api/facts", params=SHOP).json())


def test_nothing_is_written(client: TestClient, shop: Shop) -> None:
    """The page only reads: no address takes anything but pictures to search with, and the instance stays as it is."""
    before = client.get("/ui/api/facts", params=SHOP).json()
    client.post("/ui/api/search", params=SHOP, content=MUG)
    for method in ("PUT", "PATCH", "DELETE"):
        for name in (*READING, "search"):
            assert client.request(method, f"/ui/api/{name}", params=SHOP).status_code == 405
    after = client.get("/ui/api/facts", params=SHOP).json()
    assert json.dumps(before) == json.dumps(after)


def test_the_page_stands_beside_the_api(instances: Instances, shop: Shop, tmp_path: Path) -> None:
    """In the whole server: a browser gets the page with all its headers, an SDK at the same address its answer."""
    tasks = Tasks(TaskStore(tmp_path), ResultFiles(tmp_path / "files"), OssAccess())
    api = Api(instances, Authentication(None), Throttle(Limits()), tasks)
    pages = page_routes(instances, None, PictureFolders([shop.pictures]), secure=False)
    app = make_app(api, instances, ResultFiles(tmp_path / "files"), pages=pages)
    with closing(tasks), TestClient(app, base_url=HOME, headers=OWN) as client:
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert client.get("/", headers={"Host": "evil.example"}).json()["Code"] == "ForeignHost"
        assert client.get("/ui/api/facts", params=SHOP).json()["TotalCount"] == 76
        assert client.post("/ui/api/search", params=SHOP, content=MUG).json()["Auctions"][0]["ProductId"] == "mug-red"
        assert client.post("/", data={"Action": "Nothing"}).json()["RequestId"]
