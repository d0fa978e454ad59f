"""The page on key vectors in all its forms: what has nothing to draw is told, and no words lie on one another."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.monitoring.page import factory

from heedful.monitoring.page.charts import _labels, key_chart
from heedful.monitoring.page.document import key_json
from heedful.monitoring.page.lines import key_text
from heedful.monitoring.page.page import key_html
from heedful.monitoring.page.saving import save_key_figures
from heedful.reporting.drawing import svg


def pictures(page: str) -> list[str]:
    return [base64.b64decode(part).decode() for part in re.findall(r'svg\+xml;base64,([^"]+)"', page)]


def test_a_figure_without_rows_is_its_paragraph(tmp_path: Path) -> None:
    page = key_html(factory.report())
    assert len(pictures(page)) == 1 and "<p>Nothing to draw.</p>" in page
    assert "&lt;b&gt;run" in page and "<b>run" not in page and "&lt;i&gt;here" in page
    save_key_figures(factory.report(), tmp_path, overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key_norm_evolution.png", "key_norm_evolution.svg"]


def test_pictures_of_the_page_follow_the_readers_theme() -> None:
    (picture,) = pictures(key_html(factory.report()))
    assert "prefers-color-scheme:dark" in picture and "currentColor" in picture and 'fill="#ffffff"' not in picture


def test_the_page_draws_each_picture_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import vl_convert

    drawn = {"svg": 0, "png": 0}
    for form, name in (("svg", "vegalite_to_svg"), ("png", "vegalite_to_png")):
        made = getattr(vl_convert, name)

        def counted(*given: Any, form: str = form, made: Any = made, **options: Any) -> Any:
            drawn[form] += 1
            return made(*given, **options)

        monkeypatch.setattr(vl_convert, name, counted)
    key_html(factory.report())
    save_key_figures(factory.report(), tmp_path, overwrite=False)
    assert drawn == {"svg": 2, "png": 1}  # one that follows the theme, one for print


def test_every_sentence_is_on_the_terminal_page_within_its_width() -> None:
    text = key_text(factory.report(), columns=60)
    assert max(map(len, text.splitlines())) <= 60
    for part in ("No gain <i>here</i>.", "They rose.", "Nothing to draw.", "One run."):
        assert part in text


def test_the_document_is_strict_json() -> None:
    rows = ({"layer": 0, "value": float("nan"), "low": 1.0, "high": 2.0},)
    document = json.loads(key_json(factory.report(figures=(factory.figure(rows=rows),))), parse_constant=pytest.fail)
    assert document["schema"] == "heedful.keys/1" and document["figures"][0]["rows"][0]["value"] is None
    assert document["subject"] == "<b>run</b>" and document["present"] == ["No gain <i>here</i>."]


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ((8.0,), ["√d_k = 8"]),
        ((8.0, 9.5), ["√d_k = 8", "√d_k = 9.5"]),
        ((8.0, 8.05, 9.5), ["√d_k = 8, 8.05", "√d_k = 9.5"]),
    ],
)
def test_references_close_to_one_another_share_a_name(reference: tuple[float, ...], told: list[str]) -> None:
    assert [words for _, words in _labels(factory.figure(reference=reference))] == told


def test_the_name_of_a_reference_stands_beside_the_panel() -> None:
    picture = svg(key_chart(factory.figure()))
    x = float(re.search(r'translate\(([\d.]+),[\d.]+\)"[^>]*>√d_k = 8', picture)[1])
    width = float(re.search(r'<svg[^>]* width="([\d.]+)"', picture)[1])
    assert x == 425 and width > x + 60


def test_a_profile_of_one_layer_and_of_one_step() -> None:
    row = {"layer": 0, "value": 4.0, "low": 3.5, "high": 4.5}
    one = svg(key_chart(factory.figure(name="key_magnitude_profile", rows=(row,))))
    two = svg(key_chart(factory.figure(name="key_magnitude_profile", rows=({**row, "first": 3.9},))))
    assert "mean key norm<" in one and "last step (tick: first)" not in one
    assert "last step (tick: first)" in two and two.count("#c4661f") > one.count("#c4661f")
