"""The pages of commands in headless Chromium: no word is broken and nothing is cut, light and dark, also at 390 px."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.comparison import comparisons
from tests.compression.records import pruning, quantization
from tests.evaluation.page import factory
from tests.evaluation.page.cards import carded
from tests.monitoring.page import factory as watch_factory
from tests.ngrams.counting.test_page import manifest
from tests.ngrams.derivation.test_page import head

from heedful.comparison.page_html import comparison_html
from heedful.compression.page_pruning import pruning_page
from heedful.compression.page_quantization import quantization_page
from heedful.evaluation.head_listing import HeadTable
from heedful.evaluation.page.html.page import to_html
from heedful.ngrams.counting.count import CountSummary
from heedful.ngrams.derivation.page import derivation_page
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
