"""The page on leaving attention out: on a terminal, in a browser, and as JSON."""

from __future__ import annotations

import json

from tests.compression.records import pruning

from heedful.compression.page_pruning import pruning_page
from heedful.reporting.pages.html import page_html, page_text
from heedful.reporting.pages.part import record_json


def test_the_verdict_is_spoken_at_a_quarter_and_the_page_fits() -> None:
    text = page_text(pruning_page(pruning()))
    assert max(map(len, text.splitlines())) <= 70
    message = " ".join(text.split())
    sentence = "Pruning layers by redundancy (lowest effective rank first) costs less than random order by +0.5000"
    assert f"{sentence} [+0.4000, +0.6000] nat/token at 25%: yes." in message
    rows = [line.split() for line in text.splitlines() if line.startswith("layers, ")]
    assert ["layers,", "price", "25%", "+0.2500", "[-0.0500,", "+0.5500]", "0.30"] in rows
    assert "Layers by price: not settled." in message
    assert not any("7.00" in line for line in text.splitlines())  # saved at another share


def test_curves_hold_rise_interval_and_shuffled_labels() -> None:
    text = page_text(pruning_page(pruning()))
    rows = [line.split() for line in text.splitlines() if line.startswith("effective rank")]
    assert rows[0] == ["effective", "rank", "25%", "2", "+0.1000", "[+0.0900,", "+0.1100]", "-0.1000"]
    message = " ".join(text.split())
    assert "Random order from order to order: 25% +0.600 to +0.800, 50% +1.200 to +1.400." in message
    assert "KL of the rows, each layer alone: contribution 5.0e-03, 1.0e-02;" in message


def test_labels_units_and_what_was_not_measured_are_told() -> None:
    message = " ".join(page_text(pruning_page(pruning())).split())
    assert "The right labels have the least loss" in message and "tokens fed 9.0000" in message
    assert "8 more stand in the JSON document" in message and "L0H0 +0.0000" in message and "L0H19 +0.1900" in message
    assert "Not measured: price of each of the heads alone: 270 of them." in message
    assert "effective rank with price 8 layers +0.30 [+0.10, +0.50] 0.47" in message


def test_without_a_loss_the_rows_of_dimensions_are_left() -> None:
    text = page_text(pruning_page(pruning(loss=False)))
    rows = [line.split() for line in text.splitlines() if line.startswith("contribution")]
    assert rows[0] == ["contribution", "25%", "2", "5.0e-03", "5.0%"]
    assert "costs less" not in text and "labels" not in text.lower().split("what this")[0]
    assert "nan" not in text
    assert "data:image" not in page_html(pruning_page(pruning(loss=False)))


def test_browser_page_and_json() -> None:
    html = page_html(pruning_page(pruning()))
    assert html.count("data:image/svg+xml;base64,") == 2 and "&lt;b&gt;model" in html and "<b>model" not in html
    document = json.loads(record_json(pruning()))
    assert document["schema"] == "heedful.pruning/1"
    assert document["curves"][0]["points"][0]["loss"]["estimate"] == 0.1
    assert document["savings"][0]["answer"] == "yes"
