"""The page on a run in all its forms: what has nothing to draw is told, and no words lie on one another."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.monitoring.page import factory

from heedful.monitoring.page.charts import _labels, key_chart
from heedful.monitoring.page.saving import save_key_figures
from heedful.monitoring.page.watch_page import watch_page
from heedful.reporting.drawing import svg
from heedful.reporting.pages.html import page_text


def pictures(page: str) -> list[str]:
    return [base64.b64decode(part).decode() for part in re.findall(r'svg\+xml;base64,([^"]+)"', page)]


def test_a_figure_without_rows_is_its_paragraph(tmp_path: Path) -> None:
    page = factory.report(curves=()).to_html()
    assert len(pictures(page)) == 1 and "<p>Nothing to draw.</p>" in page
    assert "&lt;b&gt;run" in page and "<b>run" not in page and "&lt;i&gt;here" in page
    save_key_figures(factory.report(curves=()), tmp_path, overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key_norm_evolution.png", "key_norm_evolution.svg"]


def test_pictures_of_the_page_follow_the_readers_theme() -> None:
    (picture,) = pictures(factory.report(curves=()).to_html())
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
    factory.report(curves=()).to_html()
    save_key_figures(factory.report(curves=()), tmp_path, overwrite=False)
    assert drawn == {"svg": 2, "png": 1}  # one that follows the theme, one for print


def test_every_sentence_is_on_the_terminal_page_within_its_width() -> None:
    text = page_text(watch_page(factory.report()), columns=60)
    assert max(map(len, text.splitlines())) <= 60
    words = " ".join(text.split())
    for part in (
        "No gain <i>here</i>.",
        "They rose.",
        "Nothing to draw.",
        "One run.",
        "No sink.",
        "step 130, in progress",
    ):
        assert part in words
    for part in ("logits 120 L1H2", "Last: step 120, logits: L1H2 <b>.", "Use QK-norm", "max_logit 3 120", "loss 5 -"):
        assert part in words, part


def test_a_page_without_alarms_says_so_and_a_followed_one_is_loaded_again() -> None:
    calm = page_text(watch_page(factory.report(alarms=(), running=False)))
    assert "ALARMS" in calm and "None." in calm and "step 130, ended" in calm
    assert '<meta http-equiv="refresh" content="7">' in factory.report(refresh=7).to_html()
    assert 'http-equiv="refresh' not in factory.report().to_html()


def test_only_the_last_alarms_are_shown() -> None:
    many = tuple(factory.alarm(step=step) for step in range(100))
    text = " ".join(page_text(watch_page(factory.report(alarms=many))).split())
    assert "The last 40 of 100 alarms." in text and "logits 59 " not in text and "logits 60 L1H2" in text


def test_the_document_is_strict_json() -> None:
    rows = ({"layer": 0, "value": float("nan"), "low": 1.0, "high": 2.0},)
    found = factory.report(keys=factory.keys(figures=(factory.figure(rows=rows),)))
    document = json.loads(found.to_json(), parse_constant=pytest.fail)
    keys = document["keys"]
    assert document["schema"] == "heedful.watch/1" and keys["figures"][0]["rows"][0]["value"] is None
    assert document["subject"] == "<b>run</b>" and keys["present"] == ["No gain <i>here</i>."]
    assert document["alarms"][0]["head"] == 2 and document["steps"]["rows"] == [["loss", [5.0, None]]]


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
