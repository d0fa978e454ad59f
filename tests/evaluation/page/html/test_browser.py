"""The page in headless Chromium: no console error, no dialog, a card for the head that is clicked, light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.page import factory
from tests.evaluation.page.cards import carded

from heedful.evaluation.page.html.page import to_html
from heedful.evaluation.result import Report

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Opened:
    """An open page and what it complained of."""

    page: Any
    console: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no chromium on this machine (make browser installs it where it may)")
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as play:
        try:
            browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"chromium does not start here: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    contexts = []

    def opening(report: Report, fragment: str = "", **options: Any) -> Opened:
        path = tmp_path / "report.html"
        path.write_text(to_html(report), encoding="utf-8")
        context = chromium.new_context(offline=True, **options)
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("console", lambda message: found.console.append(f"{message.type}: {message.text}"))
        found.page.on("pageerror", lambda error: found.console.append(f"error: {error}"))
        found.page.on("dialog", lambda dialog: (found.dialogs.append(dialog.message), dialog.dismiss()))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(f"{path.as_uri()}{fragment}")
        return found

    yield opening
    for context in contexts:
        context.close()


def assert_quiet(found: Opened) -> None:
    assert (found.console, found.dialogs) == ([], [])
    outside = [url for url in found.requests if not url.startswith(("file:", "data:"))]
    assert outside == []


def test_clicking_a_head_shows_its_card(opened: Callable[..., Opened]) -> None:
    found = opened(carded())
    found.page.click("[data-head=L1H2]")
    assert found.page.inner_text("#card-title") == "L1H2"
    card = found.page.inner_text("#card")
    assert "transformer.h.1.attn" in card and "induction" in card and "0.75" in card and "king" in card
    assert found.page.evaluate("document.querySelector('.picture img').naturalWidth") == 16
    assert found.page.locator("#card .reach rect").count() == 4
    assert found.page.get_attribute("[data-head=L1H2]", "aria-pressed") == "true"
    assert_quiet(found)


def test_the_map_is_walked_and_opened_by_keys(opened: Callable[..., Opened]) -> None:
    found = opened(carded())
    assert found.page.locator(".cell[tabindex='0']").count() == 1
    found.page.focus("[data-head=L1H2]")
    for key in ("ArrowRight", "ArrowDown"):
        found.page.keyboard.press(key)
    found.page.keyboard.press("Enter")
    assert found.page.inner_text("#card-title") == "L2H3"
    assert found.page.evaluate("document.activeElement.id") == "card-title"
    found.page.keyboard.press("Escape")
    assert found.page.evaluate("document.activeElement.dataset.head") == "L2H3"
    assert_quiet(found)


def test_any_statistic_or_claim_is_shown_sorted_and_filtered(opened: Callable[..., Opened]) -> None:
    found = opened(carded())
    found.page.select_option("#measure", label="max weight")
    found.page.select_option("#order", "down")
    ranked = found.page.locator(".ranking .cell").evaluate_all("all => all.map(one => one.textContent)")
    values = [float(text.rsplit("H", 1)[1][1:]) for text in ranked[:-1]]
    assert len(ranked) == 24 and values == sorted(values, reverse=True)
    found.page.select_option("#verdict", "SHARP")
    sharp = sum(row.verdict == "SHARP" for row in factory.realistic().heads)
    assert found.page.locator(".ranking .cell").count() == sharp
    assert f"{sharp} of 24 heads" in found.page.inner_text("#reading")
    found.page.select_option("#order", "place")
    assert found.page.locator(".cell.out").count() == 24 - sharp
    found.page.select_option("#measure", label="local bias")
    assert "estimate of the claim" in found.page.inner_text("#reading")
    assert_quiet(found)


def test_a_verdict_unfolds_to_its_evidence_and_leads_to_heads(opened: Callable[..., Opened]) -> None:
    found = opened(carded())
    evidence = found.page.locator("details", has_text="local bias").locator(".evidence").first
    assert not evidence.is_visible()
    found.page.click("summary:has-text('local bias')")
    assert evidence.is_visible() and "initialised" in evidence.inner_text()
    evidence.locator("a", has_text="L0H3").click()
    found.page.locator("#card-title", has_text="L0H3").wait_for()
    assert found.page.inner_text("#card-title") == "L0H3"
    assert_quiet(found)


OVERLAPS = """[...document.querySelectorAll('summary')].filter((row) => {
    const [badge, claim] = ['.badge', '.claim'].map((name) => row.querySelector(name)?.getBoundingClientRect());
    return badge && claim && badge.right > claim.left && badge.bottom > claim.top && claim.bottom > badge.top;
}).map((row) => row.textContent)"""


@pytest.mark.parametrize("width", [390, 1400])
def test_no_verdict_covers_its_claim(width: int, opened: Callable[..., Opened]) -> None:
    found = opened(carded(), viewport={"width": width, "height": 800})
    assert found.page.locator("summary .badge", has_text="INSUFFICIENT DATA").count() == 2
    assert found.page.evaluate(OVERLAPS) == []


def test_an_address_with_a_head_opens_its_card(opened: Callable[..., Opened]) -> None:
    assert opened(carded(), fragment="#L3H1").page.inner_text("#card-title") == "L3H1"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: str, opened: Callable[..., Opened]) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 for every text."""
    found = opened(carded(), color_scheme=scheme)
    found.page.click("#unfold")
    poor = found.page.evaluate((Path(__file__).parent / "contrast.js").read_text())
    assert poor == []


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_narrow_screen_scrolls_down_only(width: int, opened: Callable[..., Opened]) -> None:
    found = opened(carded(), viewport={"width": width, "height": 800})
    found.page.click("#unfold")
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    assert_quiet(found)


@pytest.mark.parametrize("token", factory.HOSTILE.values(), ids=list(factory.HOSTILE))
def test_s16_no_token_acts_in_a_browser(token: str, opened: Callable[..., Opened]) -> None:
    report = carded(factory.everywhere(token), token=token, document=token)
    found = opened(report)
    found.page.click("#unfold")
    found.page.select_option("#order", "down")
    found.page.click(".cell")
    assert found.page.evaluate("window.pwned === undefined && document.querySelectorAll('script').length") == 2
    assert "49" not in found.page.inner_text("h1")
    assert_quiet(found)


def test_the_page_without_a_script_has_its_verdicts_and_its_heads(opened: Callable[..., Opened]) -> None:
    found = opened(carded(), java_script_enabled=False)
    assert found.page.locator("summary").count() > 20
    assert "needs JavaScript" in found.page.inner_text("#heads")
    assert found.page.locator(".plain tbody tr").count() == 24


def test_a_model_without_measured_heads_opens_quietly(opened: Callable[..., Opened]) -> None:
    assert_quiet(opened(replace(factory.small(), heads=[])))


def test_a_claim_is_explained_to_pointer_and_keyboard(opened: Callable[..., Opened]) -> None:
    page = opened(carded(), viewport={"width": 1200, "height": 900}).page
    summary = page.locator(".block summary:has(.tip)").first
    tip = summary.locator(".tip")
    meaning = tip.text_content()
    assert meaning and summary.get_attribute("aria-describedby") == tip.get_attribute("id")
    assert not tip.is_visible()
    summary.hover()
    assert tip.is_visible()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.mouse.move(0, 0)
    assert not tip.is_visible()
    page.locator("#unfold").focus()
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.locator(".block summary:focus-visible .tip").count():
            break
    assert page.locator(".block summary:focus-visible .tip").is_visible()


def test_a_small_map_fills_its_room(opened: Callable[..., Opened]) -> None:
    page = opened(carded(), viewport={"width": 1200, "height": 900}).page
    layers = page.locator("#map tbody tr").count()
    height = page.locator("#map .cell").first.bounding_box()["height"]
    assert layers <= 6 and height >= 60
    page.select_option("#order", "down")
    assert page.locator("#map .cell").first.bounding_box()["height"] < 40


def test_a_pattern_shows_its_tokens(opened: Callable[..., Opened]) -> None:
    found = opened(carded(), "#L1H2", viewport={"width": 1200, "height": 900})
    page = found.page
    frame = page.locator(".picture .frame")
    frame.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    said = page.inner_text("#pair")
    assert "query" in said and "key" in said and " at " in said
    assert page.locator(".cross").is_visible() and page.locator("#pair .token").count() >= 1
    box = frame.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] - 4)
    assert page.inner_text("#pair") != said
    assert_quiet(found)
