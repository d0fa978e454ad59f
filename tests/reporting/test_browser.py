"""The pages of commands in headless Chromium: no word is broken and nothing is cut, light and dark, also at 390 px.

axe, an accessibility checker, finds no fault of contrast, labels or structure; paper gets every part.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.comparison import comparisons
from tests.compression.records import pruning, quantization
from tests.evaluation.page import factory
from tests.evaluation.page.cards import carded
from tests.monitoring.page import factory as watch_factory
from tests.ngrams.counting.test_command import manifest
from tests.ngrams.derivation.test_page import head
from tests.ngrams.remedies.test_suite import FITTING, GROUND, MEASURED, TABLES

import heedful
from heedful.comparison.page_document import comparison_html
from heedful.compression.page_pruning import pruning_page
from heedful.compression.page_quantization import quantization_page
from heedful.evaluation.head_listing import HeadTable
from heedful.evaluation.page.html.page import to_html
from heedful.ngrams.counting.count import CountSummary
from heedful.ngrams.derivation.page import derivation_page
from heedful.ngrams.remedies.page import remedy_page
from heedful.ngrams.remedies.running import run_ablations
from heedful.ngrams.remedies.suite import ablation_suite
from heedful.ngrams.remedies.variant import Material, chosen
from heedful.reporting.pages.html import page_html
from heedful.reporting.pages.part import Page, PagePart

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome")
PAGES: dict[str, Callable[[], str]] = {
    "validate": lambda: to_html(carded()),
    "compare": lambda: comparison_html(comparisons.comparison()),
    "watch": lambda: watch_factory.report().to_html(),
    "quantize": lambda: page_html(quantization_page(quantization())),
    "prune": lambda: page_html(pruning_page(pruning())),
    "heads": lambda: HeadTable(model="runs/gpt2", rows=factory.realistic().heads, notes=()).to_html(),
    "count": lambda: CountSummary(out=Path("counts"), manifest=manifest(), seconds=3.0).to_html(),
    "derive": lambda: page_html(derivation()),
    "explain": lambda: derived()[0],
    "align": lambda: derived()[1],
    "remedy": lambda: remedies(),
    "check": lambda: checked(),
}
FAULTS = """() => {
  const wide = document.documentElement.scrollWidth - innerWidth, broken = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode()); ) {
    if (text.parentElement.closest('script, style, code, .visible')) continue;
    for (const word of text.data.matchAll(/(?<![^\\s])[A-Za-z]{3,16}(?![^\\s.,:;)])/g)) {
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      const tops = new Set([...range.getClientRects()].filter(one => one.width > 0).map(one => Math.round(one.top)));
      if (tops.size > 1) broken.add(word[0]);
    }
  }
  return { wide, broken: [...broken], title: document.title, headings: document.querySelectorAll('h1').length,
           ground: getComputedStyle(document.body).backgroundColor, font: getComputedStyle(document.body).fontSize };
}"""


def derivation() -> Page:
    record = {"recipe": {}, "embedding": None, "counts": {"tokens": 9}, "pairings": [], "heads": [head(0, "", 0.25)]}
    return derivation_page(record)


@cache
def derived() -> tuple[str, str]:
    """Pages of explain and align, of a tiny model that is derived from a few sentences."""
    folder = Path(tempfile.mkdtemp())
    (folder / "a.txt").write_text("the cat sat on the mat. a dog ran to the log. " * 60)
    (folder / "b.txt").write_text("a cat ran to the mat. the dog sat on a log. " * 60)
    counts = heedful.count(folder / "a.txt", folder / "counts", n="1..2", skip="0..1")
    heedful.derive(counts, folder / "derived", change=["layers=1", "heads=2", "width=64", "head_dim=16"])
    explained = heedful.explain(folder / "derived", folder / "counts")
    text = str(folder / "b.txt")
    aligned = heedful.align(str(folder / "derived"), folder / "counts", text=text, seq_len=32, sequences=8)
    return explained.to_html(), aligned.to_html()


@cache
def remedies() -> str:
    words = ["log_p", "random_logits", "random_pinv_16", "current_token_2"]
    material = Material(TABLES, MEASURED, FITTING, {pair: TABLES[pair] for pair in ((1, 0), (2, 0))})
    variants = chosen(ablation_suite(GROUND), words)
    record = run_ablations(material, variants, GROUND, seeds=(0, 1), names=("a", "b", "c"))
    return page_html(remedy_page(record), record)


@cache
def checked() -> str:
    loaded = heedful.load_model()
    return heedful.check(loaded.model, loaded.tokenizer("In the beginning", return_tensors="pt").input_ids).to_html()


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


def seen(chromium: Any, html: str, place: Path, width: int, scheme: str) -> dict[str, Any]:
    path = place / "page.html"
    path.write_text(html, encoding="utf-8")
    context = chromium.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        page = context.new_page()
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => (one.open = true))")
        page.screenshot(path=str(place / f"{width}-{scheme}.png"))
        return dict(page.evaluate(FAULTS))
    finally:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_no_word_is_broken_and_nothing_overflows(name: str, chromium: Any, tmp_path: Path) -> None:
    html = PAGES[name]()
    for width in (390, 1200):
        found = seen(chromium, html, tmp_path, width, "light")
        assert found["wide"] <= 0, f"{name} is {found['wide']} px wider than {width} px"
        assert found["broken"] == [], f"{name} at {width} px breaks {found['broken']}"
        assert found["headings"] == 1 and found["title"]
        assert (found["ground"], found["font"]) == ("rgb(246, 248, 250)", "16px"), "one look for all commands"
    assert seen(chromium, html, tmp_path, 390, "dark")["ground"] == "rgb(15, 19, 24)"


def test_a_broken_word_is_found(chromium: Any, tmp_path: Path) -> None:
    part = PagePart(title="Table", header=("name", "verdicts"), rows=[("one", "PASS")], text="Words.")
    html = page_html(Page(title="Title", subject="subject", parts=[part]))
    narrow = html.replace("<p>Words.</p>", '<p style="width:2em;overflow-wrap:anywhere">verdicts</p>')
    assert seen(chromium, html, tmp_path, 390, "light")["broken"] == []
    narrow = narrow.replace("Content-Security-Policy", "X-None")
    assert seen(chromium, narrow, tmp_path, 390, "light")["broken"] == ["verdicts"]


AXE = """async () => {
  const found = await axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] });
  const where = one => one.nodes.map(node => node.html.slice(0, 120)).slice(0, 3).join(" | ");
  return found.violations.map(one => `${one.id}: ${where(one)}`);
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core, which a package carries."""
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("axe-playwright-python is not installed (the extra test names it)")
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def faults(chromium: Any, axe: str, html: str, place: Path, scheme: str) -> list[str]:
    """What axe finds wrong with a page whose folds are open."""
    path = place / "page.html"
    path.write_text(html, encoding="utf-8")
    context = chromium.new_context(offline=True, color_scheme=scheme, bypass_csp=True)
    try:
        page = context.new_page()
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => (one.open = true))")
        page.evaluate(axe)
        return list(page.evaluate(AXE))
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_fault(name: str, scheme: str, chromium: Any, axe: str, tmp_path: Path) -> None:
    assert faults(chromium, axe, PAGES[name](), tmp_path, scheme) == []


def test_axe_finds_a_planted_fault(chromium: Any, axe: str, tmp_path: Path) -> None:
    html = page_html(Page(title="Title", subject="subject", parts=[PagePart(title="Part", text="Words.")]))
    pale = html.replace("<p>Words.</p>", '<p style="color:#ccc">Words.</p><img src="data:,">')
    pale = pale.replace("Content-Security-Policy", "X-None")
    found = " ".join(faults(chromium, axe, pale, tmp_path, "light"))
    assert "color-contrast" in found and "image-alt" in found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_a_title_and_says_when_it_was_made(name: str, tmp_path: Path) -> None:
    html = PAGES[name]()
    assert re.search(r"<title>[^<]+\(heedful\)</title>", html)
    if name == "validate":
        assert "Settings and versions" in html
    else:
        assert re.search(r"Made by heedful [\d.]+ on \d{4}-\d\d-\d\d at \d\d:\d\d", html)


@pytest.mark.parametrize("name", PAGES)
def test_paper_cuts_nothing(name: str, chromium: Any, tmp_path: Path) -> None:
    """At the width of a sheet no part is wider than the sheet, and nothing that scrolls hides anything."""
    path = tmp_path / "page.html"
    path.write_text(PAGES[name](), encoding="utf-8")
    context = chromium.new_context(offline=True, viewport={"width": 718, "height": 1000})
    try:
        page = context.new_page()
        page.goto(path.as_uri())
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate("[...document.querySelectorAll('details:not([open])')].length") == 0
        wide = page.evaluate(
            "[...document.querySelectorAll('.scroll, main')].map(one => one.scrollWidth - one.clientWidth)"
        )
        assert max(wide) <= 1
    finally:
        context.close()
