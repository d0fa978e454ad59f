"""Records show themselves: by the names that notebooks look for, without importing what they do not need."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import polars
import pytest
import torch
from tests.evaluation.page import factory
from tests.interception.models import inputs_for, result_of, tiny

import heedful
from heedful.errors import UsageError
from heedful.evaluation.page.notebook import report_html, session_html, table_html
from heedful.evaluation.page.terminal import terminal_text


def test_a_report_shows_itself() -> None:
    shown = factory.realistic()._repr_html_()
    assert "<pre" in shown and "ATTENTION VALIDATION REPORT" in shown and "<script" not in shown


def test_a_session_shows_itself_and_its_heads_are_a_dataframe() -> None:
    model = tiny("llama")
    with heedful.capture(model) as session:
        assert "no attention call was captured yet" in session._repr_html_()
        result_of(model, inputs_for("llama"))
    shown = session._repr_html_()
    assert "2 attention modules captured, 8 heads" in shown and "model.layers.0.self_attn" in shown and "L1H3" in shown
    assert isinstance(session.heads(), polars.DataFrame)


def test_a_hostile_module_name_is_shown_and_does_not_act() -> None:
    class Named(torch.nn.Module):
        pass

    Named.__name__ = "<script>alert(1)</script>\x1b[2J"
    with heedful.capture(Named()) as session:
        pass
    shown = session_html(session)
    assert "<script" not in shown and "\x1b" not in shown and "&lt;script&gt;" in shown


def test_a_session_draws_one_head(tmp_path: Path) -> None:
    model = tiny("llama")
    with heedful.capture(model) as session:
        result_of(model, inputs_for("llama"))
    chart = session.pattern(0, 1)
    spec = chart.to_dict()
    (values,) = spec["datasets"].values() if "datasets" in spec else (spec["data"]["values"],)
    rows: dict[int, float] = {}
    for cell in values:
        assert cell["k"] <= cell["q"]
        rows[cell["q"]] = rows.get(cell["q"], 0.0) + cell["w"]
    assert list(rows.values()) == pytest.approx([1.0] * len(rows), abs=2e-3)
    chart.save(tmp_path / "head.svg")
    with pytest.raises(UsageError, match="no such layer: 7"):
        session.pattern(7, 0)


def test_showing_nothing_loads_nothing() -> None:
    heavy = "{'altair', 'polars', 'heedful.reporting'}"
    message = f"import sys, heedful.attention; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", message], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_whole_terminal_page_is_there_word_for_word() -> None:
    page = Page(report_html(factory.realistic()))
    assert (
        terminal_text(factory.realistic()).split()
        == page.text.split()[-len(terminal_text(factory.realistic()).split()) :]
    )
    assert "FAIL: runs/gpt2" in page.text and page.tags.count("details") == 1


@pytest.mark.parametrize("token", factory.HOSTILE.values())
def test_no_text_becomes_markup(token: str) -> None:
    report = factory.small(model={"name": token}, summary={"conclusion": token}, heads=[factory.head(label=token)])
    page = Page(report_html(report))
    assert set(page.tags) <= {"div", "details", "summary", "b", "pre", "span"}
    assert page.names <= {"class", "style"}
    table = Page(table_html(token, [{"head": token, "n": 1.0}], [token]))
    assert set(table.tags) <= {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert all(character.isprintable() or character == "\n" for character in page.text + table.text)


def test_a_table_shows_undefined_values_and_counts_what_it_leaves_out() -> None:
    page = Page(table_html("heads", [{"a_b": None, "c": float("nan"), "d": 0.12345}] * 60))
    assert "a b" in page.text and "0.123" in page.text and page.text.count("-") >= 96
    assert "and 12 more rows: session.heads()" in page.text
    assert "table" not in Page(table_html("none", [])).tags
