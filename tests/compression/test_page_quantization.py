"""The page on keys in few bits: on a terminal, in a browser, and as JSON."""

from __future__ import annotations

import json
import re

import pytest
from tests.compression.records import quantization

from heedful.compression.page_quantization import quantization_page
from heedful.reporting.pages.html import page_html, page_text
from heedful.reporting.pages.part import record_json


def test_the_page_has_every_quantizer_with_its_numbers_and_fits() -> None:
    text = page_text(quantization_page(quantization()))
    assert max(map(len, text.splitlines())) <= 70
    rows = [line.split() for line in text.splitlines() if line.startswith("4-bit tensor  ")]
    assert rows[0] == ["4-bit", "tensor", "3.5e-02", "15.5%", "+0.0233", "[+0.0223,", "+0.0243]"]
    assert rows[1] == ["4-bit", "tensor", "2.5e-02", "+0.0117", "+0.0117", "[+0.0106,", "+0.0127]"]
    assert "within the margin both ways: 8-bit token; costs more than the margin: 4-bit tensor" in " ".join(
        text.split()
    )
    assert "Beyond chance: 1, 1 of them positive" in " ".join(text.split())
    assert "L1H3 5.0e-02" in text and "read from a file" in text


def test_nothing_in_a_name_acts() -> None:
    page = quantization_page(quantization())
    assert "\x1b" not in page_text(page)
    html = page_html(page)
    assert "<b>model" not in html and "&lt;b&gt;model" in html and "\x1b" not in html


def test_without_a_loss_nothing_is_said_of_it() -> None:
    text = " ".join(page_text(quantization_page(quantization(loss=False))).split())
    assert "Without a loss only the divergences can be compared" in text and "Not measured: loss: no head" in text
    assert "no loss to judge by: 8-bit token" in text and "nan" not in text


def test_the_browser_page_has_tables_and_two_figures() -> None:
    html = page_html(quantization_page(quantization()))
    assert html.startswith("<!doctype html>\n<!-- heedful.compression/1 -->")
    assert html.count("data:image/svg+xml;base64,") == 2 and html.count("<table>") == 4
    assert "+0.0233" in html and "default-src 'none'" in html
    assert page_html(quantization_page(quantization(loss=False))).count("data:image/svg+xml;base64,") == 1


@pytest.mark.parametrize("loss", [True, False])
def test_json_holds_the_record_and_null_for_what_is_not_finite(loss: bool) -> None:
    document = json.loads(record_json(quantization(loss=loss)))
    assert document["schema"] == "heedful.quantization/1"
    assert (document["trials"][1]["quantized"]["loss"] is None) is not loss
    assert document["correlations"][1]["low"] is None
    assert document["trials"][1]["heads"][7]["divergence"] == {"estimate": 0.05, "high": 0.051, "low": 0.049, "n": 32}
    assert not re.search(r"NaN|Infinity", record_json(quantization(loss=loss)))
