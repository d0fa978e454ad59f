"""A ladder's page fits, says what its numbers say, and its document keeps every number."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.study.test_remedies import FITTING, GROUND, MEASURED, TABLES

from heedful.core.effect import Effect
from heedful.core.remedy import Ladder
from heedful.report.pages import page_html, page_text, record_json
from heedful.report.remedy import remedy_page
from heedful.report.remedy_verdict import remedy_verdict
from heedful.study.remedies import Material, chosen, climb, rungs


@pytest.fixture(scope="module")
def record() -> Ladder:
    words = ["log_p", "random_logits", "random_pinv_16", "current_token_2"]
    material = Material(TABLES, MEASURED, FITTING, {pair: TABLES[pair] for pair in ((1, 0), (2, 0))})
    return climb(material, chosen(rungs(GROUND), words), GROUND, seeds=(0, 1), names=("a", "b", "c"))


def test_the_page_fits_eighty_columns_in_one_line_a_rung(record: Ladder) -> None:
    page = page_text(remedy_page(record))
    assert max(map(len, page.splitlines())) <= 80
    told = " ".join(page.split())
    assert "beside what b predicts" in told and "[and" not in told
    row = next(line for line in page.splitlines() if line.startswith("log_p "))
    one = {one.name: one for one in record.remedies}["log_p"]
    assert f"{one.agreement.divergence.estimate:.3f}" in row and f"{one.agreement.match.estimate:.2f}" in row
    assert page.rstrip("=\n ").splitlines()[-1].endswith(".") and "VERDICT" in page


def test_the_verdict_follows_the_numbers(record: Ladder) -> None:
    helps, hurts, _ = (text for _, text in remedy_verdict(record))
    helps = helps.split("together. ")[1]
    assert "embeddings_kept +" in helps and "log_p +" in helps and "random_logits -" in hurts
    gains = {one.name: one.step.gain.estimate for one in record.remedies if one.step is not None}
    named = [part.split()[0] for part in helps.split(". ")[0].split("], ")]
    assert [gains[name] for name in named] == sorted((gains[name] for name in named), reverse=True)

    worse = Effect(estimate=-0.5, low=-0.6, high=-0.4, n=18)
    turned = [
        replace(one, step=replace(one.step, gain=worse)) if one.step is not None and one.name == "log_p" else one
        for one in record.remedies
    ]
    found = dict(remedy_verdict(replace(record, remedies=turned)))
    assert "log_p -0.500 [-0.600, -0.400]" in found["Verdict: hurts"] and "log_p +" not in found["Verdict: helps"]
    unsettled = [replace(one, step=replace(one.step, p=0.2)) if one.step else one for one in record.remedies]
    found = dict(remedy_verdict(replace(record, remedies=unsettled)))
    assert found["Verdict: hurts"] == "none." and "log_p" in found["Verdict: neither"]


def test_forms_keep_every_number(record: Ladder) -> None:
    document = json.loads(record_json(record))
    assert document["schema"] == "heedful.remedies/1"
    assert [one["name"] for one in document["remedies"]] == [one.name for one in record.remedies]
    assert document["remedies"][-1]["agreement"]["skill"]["low"] == pytest.approx(
        record.remedies[-1].agreement.skill.low, rel=1e-6
    )
    assert "<img alt=" in page_html(remedy_page(record))
