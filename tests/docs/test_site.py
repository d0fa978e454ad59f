"""The site: its navigation names every page, its reference holds every item, and it builds without a warning."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.places import DOCS, ROOT

import heedful
from heedful import testing
from heedful.attention.registry import STATISTICS
from heedful.commandline.commands import COMMANDS
from heedful.evaluation.page.html.heads import known_names
from heedful.evaluation.registry import CHECKS

SITE = DOCS / "site"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FOUND = {
    "validate own checkpoint": "how-to/validate.html",
    "leaking batch": "gallery/leaking_batch.html",
    "gate CI job": "how-to/ci-gate.html",
    "watch training": "how-to/training-callback.html",
    "flat attention counts": "how-to/flat-attention.html",
    "train gauge model": "how-to/gauge.html",
}
"""What a stranger types, and the page that has to be among the first three."""
LINKS = "[...document.querySelectorAll('.md-search-result__item > a')].slice(0, 3).map(one => one.href)"


def loaded(name: str) -> Any:
    """A module of docs/site."""
    if str(SITE) not in sys.path:
        sys.path.insert(0, str(SITE))
    spec = importlib.util.spec_from_file_location(name, SITE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return found


def named(entry: Any) -> Iterator[str]:
    """Every path of a navigation."""
    if isinstance(entry, str):
        yield entry
    for part in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
        yield from named(part)


def missing(pages: set[str], navigation: set[str]) -> tuple[set[str], set[str]]:
    """Pages that the navigation doesn't name, and paths that it names and that are no pages."""
    return pages - navigation, navigation - pages


@pytest.fixture(scope="module")
def reference() -> Any:
    pytest.importorskip("latex2mathml", reason="latex2mathml is not installed (make site installs it)")
    return loaded("reference")


def test_the_navigation_names_every_page() -> None:
    hooks = loaded("hooks")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    wanted = set(named(settings()["nav"])) - {"reference"}
    unnamed, strange = missing(pages | set(hooks.PROJECT.values()), wanted)
    assert unnamed == set(), "add these pages to nav in mkdocs.yml"
    assert strange == set(), "nav in mkdocs.yml names these, which are no pages"
    assert missing({"a.md", "b.md"}, {"a.md", "c.md"}) == ({"b.md"}, {"c.md"})


def test_the_reference_navigation_names_every_made_page(reference: Any, made: dict[str, str]) -> None:
    assert missing(set(made), set(named(reference.navigation()))) == (set(), set())


@pytest.fixture(scope="module")
def made(reference: Any) -> dict[str, str]:
    pages: dict[str, str] = reference.pages()
    return pages


def test_the_reference_holds_every_item(made: dict[str, str]) -> None:
    for name in heedful.__all__:
        assert made[f"reference/functions/{name}.md"].startswith(f"# heedful.{name}\n")
    for words, command in COMMANDS.items():
        if command.run is not None:
            page = made[f"reference/commands/{words.replace(' ', '-')}.md"]
            assert all(example in page for example in command.examples) and "--debug" in page
    for name in testing.__all__:
        assert f"## {name}\n" in made["reference/testing.md"]
    for name, facts in CHECKS.items():
        assert f"### {name}\n" in made["reference/checks.md"] and facts.meaning[:20] in made["reference/checks.md"]
    for name in STATISTICS:
        assert f"## {name}\n" in made["reference/statistics.md"]
    for name in {*known_names(), *STATISTICS}:
        assert f"`{name}`" in made["reference/columns.md"]
    for field in ("p_adjusted", "not_measured", "heedful.pruning/1", "heedful.quantization/1"):
        assert field in made["reference/json.md"]


def test_every_function_has_a_runnable_example_on_its_page(made: dict[str, str]) -> None:
    bare = [
        name
        for name in heedful.__all__
        if not isinstance(getattr(heedful, name), type) and "```pycon" not in made[f"reference/functions/{name}.md"]
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[a](../CONTRIBUTING.md#x)", "[a](project/contributing.md#x)"),
        ("[a](explanation/nulls.md)", "[a](explanation/nulls.md)"),
        ("[explanation](explanation)", "[explanation](explanation/README.md)"),
        ("[code](../Makefile)", "code (`Makefile`)"),
        ("[a](nothing.md)", "[a](nothing.md)"),
        ("```\n[a](../Makefile)\n```", "```\n[a](../Makefile)\n```"),
        ("[a](https://arxiv.org/abs/1)", "[a](https://arxiv.org/abs/1)"),
    ],
)
def test_links_that_leave_the_site_are_mended(text: str, wanted: str) -> None:
    known = {"explanation/nulls.md", "explanation/README.md", "project/contributing.md"}
    assert loaded("hooks").mended(text, "x.md", "docs/x.md", known) == wanted


def test_a_docstring_becomes_markdown() -> None:
    docstrings = pytest.importorskip("latex2mathml") and loaded("docstrings")
    text = "What ``x`` is.\n\n.. math:: a_i < 1\n\nReading: 0 is *none*.\nPitfall: long.\n"
    text += "\nArgs:\n    x: One\n        thing.\n"
    page = docstrings.markdown(text)
    assert "What `x` is." in page and "<math" in page and r"\*none\*" in page and "**Pitfall.** Long." in page
    assert "- `x`: One thing." in page


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    pytest.importorskip("material", reason="mkdocs-material is not installed (make site installs it)")
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--clean", "--site-dir", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0 and "WARNING -" not in done.stderr, done.stderr[-3000:]
    return place


@pytest.mark.slow
def test_the_site_holds_every_page_and_loads_nothing_from_elsewhere(built: Path) -> None:
    search = (built / "search" / "search_index.json").read_text(encoding="utf-8")
    for word in ("Pack documents", "induction", "heedful compare"):
        assert word in search
    for page in ("index.html", "how-to/gpu.html", "reference/checks.html"):
        text = (built / page).read_text(encoding="utf-8")
        assert not re.findall(r"(?:src|rel=.stylesheet. href)=\"https?://[^\"]+", text)


@pytest.mark.slow
def test_search_works_from_disk_without_a_network(built: Path) -> None:
    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no chromium on this machine (make browser installs it where it may)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}).new_page()
        outside: list[str] = []
        page.on("request", lambda one: one.url.startswith(("file:", "data:", "blob:")) or outside.append(one.url))
        for words, wanted in FOUND.items():
            page.goto((built / "index.html").as_uri())
            page.locator(".md-search__form").wait_for()
            page.keyboard.press("f")
            page.keyboard.type(words, delay=20)
            page.locator(".md-search-result__item").first.wait_for(timeout=60_000)
            first = page.evaluate(LINKS)
            assert any(wanted in one for one in first), f"{words}: {first}"
        browser.close()
    assert outside == []
