"""The gallery's scripts run, and the pages beside them were made from what they hold now."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
from tests.places import DOCS

GALLERY = DOCS / "gallery"
SCRIPTS = sorted(GALLERY.glob("*.py"))
SAYS = {
    "tour": "AssertionError: ",
    "own_model": "AssertionError: ",
    "leaking_batch": "second document's logits: 0.000",
    "four_bits": "4-bit token",
    "own_checkpoint": "report.html True",
    "training_run": "layer 1 with equal weights: +",
}
"""What a script has to say, among other things."""


def code(script: Path) -> list[str]:
    """The code cells of a script."""
    cells = re.split(r"^# %%", script.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [body.strip() for cell in cells if not (body := cell).startswith(" [markdown]")]


def test_there_is_a_tour_and_more() -> None:
    names = {script.stem for script in SCRIPTS}
    assert {"tour", "own_checkpoint", "leaking_batch", "training_run", "four_bits"} <= names
    index = (GALLERY / "index.md").read_text(encoding="utf-8")
    assert all(f"]({name}.md)" in index for name in names)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_is_its_script_executed(script: Path) -> None:
    notebook = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert ["".join(cell["source"]).strip() for cell in cells] == code(script)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "executed from top to bottom"
    assert not [one for cell in cells for one in cell["outputs"] if one["output_type"] == "error"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_page_shows_the_code_of_its_script(script: Path) -> None:
    page = script.with_suffix(".md").read_text(encoding="utf-8")
    shown = [found.strip() for found in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)]
    assert shown == [re.sub(r"[ \t]+$", "", cell, flags=re.MULTILINE) for cell in code(script)]
    for target in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (GALLERY / target).exists(), target


def test_pages_name_no_machine() -> None:
    for page in (*GALLERY.glob("*.md"), *GALLERY.glob("*.ipynb")):
        assert not re.search(r"/(home|root|tmp|work|Users)/|https?://(?!arxiv|doi)", page.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [script.stem for script in SCRIPTS])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_script_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(GALLERY / f"{name}.py"))
    said = capsys.readouterr().out
    if name in SAYS:
        assert SAYS[name] in said
    if name == "tour":
        assert (tmp_path / "tour-head.png").stat().st_size > 1000
