"""The page in a real browser: what people do with it, with a mouse, a finger and the keyboard alone."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import ROOT
from tests.server.pages.conftest import SAMPLES, SECRET, Serve

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser: pip install playwright")
expect = playwright.expect

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = [pytest.mark.extended, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]
CARDS = "#results .cards:not([aria-hidden]) .card"
AXE = ("axe-core", "axe.min.js")
SECONDS = 60_000
"""What one step may take on a busy machine, in milliseconds; the first search loads the networks."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, with a folder of its own."""
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS)
        yield opened
        opened.close()


Open = Callable[..., Any]


@pytest.fixture
def tab(browser: Any, serve: Serve) -> Iterator[Open]:
    """Open a new tab at the page; whatever it does, it asks no other host, and breaks no rule of its policy."""
    contexts: list[Any] = []
    asked: set[str] = set()
    wrong: list[str] = []

    def start(address: str, place: str = "", *, width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, reduced_motion="reduce", **options)
        context.set_default_timeout(SECONDS)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.add(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
        page.goto(address + place)
        page.wait_for_selector(".view:not([hidden])")
        return page

    yield start
    for context in contexts:
        context.close()
    assert not wrong
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("blob:", "data:"))}
    assert hosts == {"127.0.0.1"}, hosts


@pytest.fixture(scope="session")
def address(serve: Serve) -> str:
    return serve()


@pytest.fixture(scope="session")
def keyed_address(serve: Serve) -> str:
    return serve(with_keys=True)


def products(page: Any) -> list[str]:
    page.wait_for_selector(CARDS)
    names: list[str] = page.locator(f"{CARDS} .product").all_inner_texts()
    return names


@contextmanager
def searching(page: Any) -> Iterator[None]:
    """Wait for the answer to the search that the block begins."""
    with page.expect_response(lambda response: "/ui/api/search" in response.url or "/ui/api/similar" in response.url):
        yield
    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true", timeout=SECONDS)


def search(page: Any, path: Path) -> None:
    with searching(page):
        page.set_input_files("#file", path)


def drop(page: Any, kind: str, path: Path) -> None:
    """Drop or paste a file, as the browser would tell the page of it."""
    page.evaluate(
        """([kind, text, name]) => {
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], name, { type: 'image/jpeg' }));
          const event = kind === 'paste' ? new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true })
            : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
          document.body.dispatchEvent(event);
        }""",
        [kind, base64.b64encode(path.read_bytes()).decode(), path.name],
    )


SHOP = "#/search?in=shop"


@pytest.mark.networks
def test_a_photo_is_dropped_and_its_subjects_chosen(tab: Open, address: str, three: Path) -> None:
    """The main one is searched with first; a click on another one, or its button, searches with that."""
    page = tab(address, SHOP)
    drop(page, "dragenter", three)
    assert page.is_visible("#dropping")
    with searching(page):
        drop(page, "drop", three)
    assert page.is_hidden("#dropping")
    first = products(page)[0]
    assert page.locator(".overlay .subject").count() == 3
    assert page.locator("#subject-list input").count() == 5
    found = {first}
    for number in (1, 2):
        with searching(page):
            page.check(f"#subject-list input[value='{number}']")
        found.add(products(page)[0])
    assert found == {"mug-red", "toy-car-blue", "perfume"}
    with searching(page):  # the mug is the leftmost
        box = page.locator(".overlay").bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.17, box["y"] + box["height"] * 0.35)
    assert products(page)[0] == "mug-red"
    with searching(page) as _, page.expect_request(lambda request: "crop=false" in request.url):
        page.check("#subject-list input[value='whole']")


@pytest.mark.networks
def test_a_picture_is_pasted(tab: Open, address: str) -> None:
    """Wherever the focus is."""
    page = tab(address, SHOP)
    with searching(page):
        drop(page, "paste", SAMPLES / "queries" / "ball.jpg")
    assert products(page)[0] == "ball"


@pytest.mark.networks
def test_a_region_is_drawn(tab: Open, address: str, three: Path) -> None:
    """With the mouse on the picture, in whole pixels of the picture, both x first; or by its edges."""
    page = tab(address, SHOP)
    search(page, three)
    box = page.locator(".overlay").bounding_box()
    with page.expect_request(lambda request: "region=" in request.url) as asked, searching(page):
        page.mouse.move(box["x"] + box["width"] * 0.68, box["y"] + box["height"] * 0.15)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.3, steps=4)
        page.mouse.move(box["x"] + box["width"] * 0.97, box["y"] + box["height"] * 0.65, steps=4)
        page.mouse.up()
    region = dict(part.split("=") for part in urlsplit(asked.value.url).query.split("&"))["region"].split("%2C")
    for edge, share, side in zip(map(int, region), (0.68, 0.97, 0.15, 0.65), (1400, 1400, 800, 800), strict=True):
        assert abs(edge - share * side) <= 8
    assert products(page)[0] == "perfume"
    assert page.is_checked("#subject-list input[value='own']")
    assert [page.input_value(f"#{name}") for name in ("x1", "x2", "y1", "y2")] == region
    for name, value in {"x1": 30, "x2": 420, "y1": 130, "y2": 420}.items():
        page.fill(f"#{name}", str(value))
    with searching(page):
        page.click("#corners button")
    assert products(page)[0] == "mug-red"


@pytest.mark.networks
def test_results_are_filtered_and_paged(tab: Open, address: str) -> None:
    """A filter that is not understood is told beside it; more results come at the end, and none is there twice."""
    page = tab(address, SHOP)
    search(page, SAMPLES / "queries" / "mug-red.jpg")
    with searching(page):
        page.select_option("#category", "any")
    assert len(products(page)) == 24
    with searching(page):
        page.click("#results .more")
    expect(page.locator(CARDS)).to_have_count(48)
    labels = page.locator(f"{CARDS} .open").evaluate_all("(all) => all.map((one) => one.getAttribute('aria-label'))")
    assert len(set(labels)) == 48
    page.fill("#filter", "colour = red")
    with searching(page):
        page.press("#filter", "Enter")
    expect(page.locator("#filter-problem")).to_contain_text("not understood")
    assert page.get_attribute("#filter", "aria-invalid") == "true"
    page.fill("#filter", 'str_attr = "white"')
    with searching(page):
        page.press("#filter", "Enter")
    assert page.is_hidden("#filter-problem")
    assert "teapot-white" in products(page)
    assert "mug-red" not in products(page)
    page.fill("#filter", "int_attr < 0")
    with searching(page):
        page.press("#filter", "Enter")
    expect(page.locator("#results .state")).to_contain_text("No item meets the filter")


@pytest.mark.networks
def test_one_result_leads_to_others(tab: Open, address: str) -> None:
    """More like this, and back to the picture that was searched with."""
    page = tab(address, SHOP)
    search(page, SAMPLES / "queries" / "mug-red.jpg")
    with searching(page):
        page.locator(f"{CARDS} .like").first.click()
    expect(page.locator("#query-title")).to_have_text("Like mug-red")
    expect(page.locator(f"{CARDS} .score").first).to_contain_text("Same picture")
    expect(page.locator("#stage svg.picture .region")).to_have_count(1)
    with searching(page):
        page.go_back()
    expect(page.locator("#query-title")).to_have_text("Your picture")
    assert products(page)[0] == "mug-red"


def test_items_are_looked_up(tab: Open, address: str) -> None:
    """By product, by picture and by filter; the address tells what is shown, so it can be kept."""
    page = tab(address, "#/items?in=shop")
    expect(page.locator("#items-summary")).to_have_text("76 items")
    expect(page.locator("#items-list .card")).to_have_count(48)
    page.click("#items-list .more")
    expect(page.locator("#items-list .card")).to_have_count(76)
    page.fill("#items-product", "teapot-white")
    page.press("#items-product", "Enter")
    expect(page.locator("#items-summary")).to_have_text("2 items")
    assert "product=teapot-white" in page.url
    page.fill("#items-picture", "catalogue/teapot-white/side.jpg")
    page.press("#items-picture", "Enter")
    expect(page.locator("#detail-title")).to_have_text("teapot-white")
    expect(page.locator("#detail-facts")).to_contain_text("title:White teapot")
    expect(page.locator("#detail svg.picture .region")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    page.fill("#items-picture", "nothing")
    page.press("#items-picture", "Enter")
    expect(page.locator("#items-list .state")).to_contain_text("No such item")
    page.fill("#items-product", "")
    page.press("#items-product", "Enter")
    expect(page.locator("#items-problem")).to_contain_text("needs the id of its product")
    page.click("#items-form button[type=reset]")
    expect(page.locator("#items-summary")).to_have_text("76 items")


def test_pictures_elsewhere_are_named_only(tab: Open, address: str) -> None:
    """What lies below no named folder has a quiet tile, and nothing is asked for."""
    page = tab(address, "#/items?in=shop&product=hidden")
    tile = page.locator("#items-list .no-picture")
    expect(tile).to_have_text("hidden.jpg")
    expect(page.locator("#items-list svg.picture")).to_have_count(0)


def test_names_are_no_markup(tab: Open, address: str, serve: Serve) -> None:
    """Whatever items, products and filters are called."""
    evil = "<img src=x onerror=alert(1)>"
    page = tab(address, f"#/items?in=shop&product={evil}")
    expect(page.locator("#items-list .state")).to_contain_text(evil)
    assert page.locator("#items-list img").count() == 0


def test_duplicates_and_facts_are_shown(tab: Open, address: str) -> None:
    """Each in a view of its own."""
    page = tab(address, "#/duplicates?in=shop")
    page.select_option("#level", "similar")
    page.fill("#least", "0.5")
    page.click("#duplicates-form button")
    expect(page.locator("#duplicates-summary")).to_contain_text("among 76 items")
    expect(page.locator("#duplicates-list .group").first.locator(".card").first).to_contain_text("Reference")
    page.click("[data-view=instance]")
    expect(page.locator(".figures")).to_contain_text("76")
    expect(page.locator(".counts")).to_contain_text("Furniture")


def test_another_instance_is_chosen(tab: Open, address: str) -> None:
    """A generic one has no categories to choose."""
    page = tab(address, "#/items?in=shop")
    expect(page.locator("#items-category-field")).to_be_visible()
    page.select_option("#instance-name", "other")
    expect(page.locator("#items-summary")).to_have_text("1 item")
    assert "in=other" in page.url
    expect(page.locator("#items-category-field")).to_be_hidden()


def test_somebody_signs_in_and_out(tab: Open, keyed_address: str) -> None:
    """With a key; scripts cannot read the session."""
    page = tab(keyed_address)
    page.fill("#key-id", "keeper")
    page.fill("#key-secret", "wrong")
    page.press("#key-secret", "Enter")
    expect(page.locator("#login-problem")).to_have_text("The key id or the secret is wrong.")
    page.fill("#key-secret", SECRET)
    page.press("#key-secret", "Enter")
    expect(page.locator("#start")).to_be_visible()
    assert page.evaluate("document.cookie") == ""
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.reload()
    expect(page.locator("#start")).to_be_visible()
    page.context.clear_cookies()
    page.click("[data-view=items]")
    expect(page.locator("#login-problem")).to_have_text("Your session has ended. Sign in again.")


@pytest.mark.networks
def test_the_keyboard_is_enough(tab: Open, keyed_address: str, three: Path) -> None:
    """From signing in to a region, an item and back; the focus is always seen, and never lost."""
    page = tab(keyed_address, SHOP)
    keys = page.keyboard

    def focus() -> str:
        element: str = page.evaluate("document.activeElement.id || document.activeElement.className")
        return element

    def until(wanted: str, key: str = "Tab") -> None:
        for _ in range(80):
            if page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
                outline = (
                    "getComputedStyle(document.activeElement.closest('.chip')?.lastChild ?? document.activeElement)"
                )
                assert page.evaluate(f"{outline}.outlineStyle") == "solid", focus()
                return
            keys.press(key)
        pytest.fail(f"{wanted} is not reached with {key}; the focus is on {focus()}")

    assert focus() == "key-id"
    keys.type("keeper")
    keys.press("Tab")
    keys.type(SECRET)
    keys.press("Enter")
    expect(page.locator("#start")).to_be_visible()
    until("#choose")
    with page.expect_file_chooser() as chooser:
        keys.press("Enter")
    with searching(page):
        chooser.value.set_files(three)
    first = products(page)[0]
    until("#subject-list input")
    with searching(page):
        keys.press("ArrowRight")
    assert products(page)[0] != first
    with searching(page):
        keys.press("ArrowRight")
    with searching(page):
        keys.press("ArrowRight")
    keys.press("ArrowRight")
    until("#x1")
    for value in ("30", "420", "130", "420"):
        keys.press("Control+A")
        keys.type(value)
        keys.press("Tab")
    with searching(page):
        keys.press("Enter")
    assert products(page)[0] == "mug-red"
    until("#filter")
    keys.type('str_attr = "red"')
    with searching(page):
        keys.press("Enter")
    until(".card .open")
    keys.press("Enter")
    expect(page.locator("#detail")).to_be_visible()
    until("#detail-like")
    keys.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    assert focus() == "open"
    until(".card .like")
    with searching(page):
        keys.press("Enter")
    assert focus() == "query-title"
    until("[data-view=items]", "Shift+Tab")
    keys.press("Enter")
    expect(page.locator("#items-summary")).to_have_text("76 items")
    until("#sign-out")
    keys.press("Enter")
    expect(page.locator("#login")).to_be_visible()
    assert focus() == "key-id"


@pytest.mark.networks
def test_too_large_a_photo_is_scaled_down(tab: Open, address: str, tmp_path: Path) -> None:
    """By the browser, to what the instance takes; one that is no picture is told as such."""
    from PIL import Image

    page = tab(address, SHOP)
    large = tmp_path / "large.png"
    noise = Image.frombytes("RGB", (2000, 1500), os.urandom(9_000_000))
    noise.save(large)
    assert large.stat().st_size > 8 * 1024 * 1024
    search(page, large)
    expect(page.locator("#query-note")).to_contain_text("Scaled down by your browser")
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture" * 50)
    search(page, bad)
    expect(page.locator("#results [role=alert]")).to_contain_text("not a JPEG")


def test_a_server_that_is_gone_is_told(tab: Open, address: str) -> None:
    """And can be tried again."""
    page = tab(address, SHOP)
    page.route("**/ui/api/items**", lambda route: route.abort())
    page.click("[data-view=items]")
    expect(page.locator("#items-list [role=alert]")).to_contain_text("cannot be reached")
    page.unroute("**/ui/api/items**")
    page.click("#items-list [role=alert] button")
    expect(page.locator("#items-summary")).to_have_text("76 items")


def views(page: Any, address: str, photo: Path) -> Iterator[str]:
    """Show one view after the other, each with something on it."""
    search(page, photo)
    page.wait_for_selector(f"{CARDS} svg.picture")
    page.evaluate("document.getElementById('options-fold').open = true")
    page.check("#subject-list input[value='own']")
    yield "results"
    page.locator(f"{CARDS} .open").first.click()
    page.wait_for_selector("#detail-facts div")
    yield "detail"
    page.keyboard.press("Escape")
    page.goto(f"{address}#/items?in=shop")
    page.wait_for_selector("#items-list svg.picture")
    yield "items"
    page.goto(f"{address}#/duplicates?in=shop")
    page.select_option("#level", "similar")
    page.fill("#least", "0.5")
    page.click("#duplicates-form button")
    page.wait_for_selector(".group svg.picture")
    yield "duplicates"
    page.goto(f"{address}#/instance?in=shop")
    page.wait_for_selector(".counts")
    yield "instance"


@pytest.mark.networks
def test_a_phone_is_wide_enough(tab: Open, address: str, keyed_address: str, three: Path) -> None:
    """360 pixels: no view scrolls sideways, and what is touched is large enough."""
    phone = {"width": 360, "has_touch": True, "is_mobile": True}
    page = tab(address, SHOP, **phone)
    assert page.is_visible("#photo")
    assert page.get_attribute("#camera", "capture") == "environment"
    for view in ("start", *views(page, address, three)):
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
        small = page.evaluate(
            """[...document.querySelectorAll('button, .button, nav a, select, .chip, .like, .check, summary')]
            .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 32)
            .map((one) => one.outerHTML)"""
        )
        assert not small, view
    assert tab(keyed_address, **phone).evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.networks
def test_a_finger_draws_only_when_asked_to(tab: Open, address: str, three: Path) -> None:
    """Else it scrolls the page; a tap chooses a subject."""
    page = tab(address, SHOP, width=360, has_touch=True, is_mobile=True)
    search(page, three)
    action = "getComputedStyle(document.querySelector('.overlay')).touchAction"
    assert "pan-y" in page.evaluate(action)
    box = page.locator(".overlay").bounding_box()
    with searching(page):
        page.touchscreen.tap(box["x"] + box["width"] * 0.17, box["y"] + box["height"] * 0.35)
    assert products(page)[0] == "mug-red"
    page.check("#subject-list input[value='own']")
    assert page.evaluate(action) == "none"


def axe_source() -> str | None:
    """The checker, where somebody has put it: it is no part of the project."""
    places = [Path(os.environ.get("AXE_NODE_MODULES", "")), ROOT / "node_modules", ROOT.parent / "node_modules"]
    return next((file.read_text() for place in places if (file := place.joinpath(*AXE)).is_file()), None)


@pytest.mark.networks
@pytest.mark.skipif(
    axe_source() is None, reason="axe-core is not there: npm install axe-core, and AXE_NODE_MODULES=…/node_modules"
)
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_nothing_stands_in_anybodys_way(
    tab: Open, address: str, keyed_address: str, three: Path, scheme: str, width: int
) -> None:
    """axe finds nothing in any view: labels, roles, contrast, order; in both schemes."""
    source = axe_source()

    def check(page: Any, view: str) -> None:
        page.evaluate(source)
        found = page.evaluate("axe.run(document)")
        assert len(found["passes"]) > 20
        assert not [(one["id"], one["nodes"][0]["target"]) for one in found["violations"]], view

    login = tab(keyed_address, width=width, color_scheme=scheme)
    check(login, "login")
    page = tab(address, SHOP, width=width, color_scheme=scheme)
    check(page, "start")
    for view in views(page, address, three):
        check(page, view)
