"""The gallery's scripts run, and the pages beside them were made from what they hold now."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from tests.places import DOCS

GALLERY = DOCS / "gallery"
SCRIPTS = sorted(GALLERY.glob("*.py"))


def code(script: Path) -> list[str]:
    """The code cells of a script."""
    cells = re.split(r"^# %%", script.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [body.strip() for cell in cells if not (body := cell).startswith(" [markdown]")]


def test_there_is_a_tour_and_more() -> None:
    assert [script.stem for script in SCRIPTS] == ["long_input", "own_model", "tour", "uniform_head"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_page_shows_the_code_of_its_script(script: Path) -> None:
    page = script.with_suffix(".md").read_text(encoding="utf-8")
    shown = [found.strip() for found in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)]
    assert shown == [re.sub(r"[ \t]+$", "", cell, flags=re.MULTILINE) for cell in code(script)]
    for target in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (GALLERY / target).exists(), target


def test_pages_name_no_machine() -> None:
    for page in GALLERY.glob("*.md"):
        assert not re.search(r"/(home|root|tmp|work|Users)/|https?://(?!arxiv|doi)", page.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tour", "own_model"])
def test_a_script_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(GALLERY / f"{name}.py"))
    assert "AssertionError: " in capsys.readouterr().out
    if name == "tour":
        assert (tmp_path / "tour-head.png").stat().st_size > 1000
