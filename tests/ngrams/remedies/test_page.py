"""A suite's page fits, says what its numbers say, and its document keeps every number."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.ngrams.remedies.test_suite import FITTING, GROUND, MEASURED, TABLES

from heedful.inference.mean_interval import Effect
from heedful.ngrams.remedies.page import remedy_page
from heedful.ngrams.remedies.page_models import remedy_verdict
from heedful.ngrams.remedies.record import AblationSuite, GivenModel, LearntEmbeddings
from heedful.ngrams.remedies.running import run_ablations
from heedful.ngrams.remedies.suite import ablation_suite
from heedful.ngrams.remedies.variant import Material, chosen
from heedful.reporting.pages.html import page_html, page_text
from heedful.reporting.pages.part import record_json


def with_models(record: AblationSuite) -> AblationSuite:
    """The same with two models, the second of which left the first's attention by so much that its KL has no bound."""
    one = next(one for one in record.remedies if one.name == "log_p")
    assert one.step is not None
    worse = Effect(estimate=-2.4e7, low=-3e7, high=-2e7, n=18)
    own = replace(one.agreement, divergence=replace(worse, estimate=2.4e7), skill=replace(worse, estimate=-3.1e7))
    far = replace(
        one,
        name="left:L0H0",
        best=own.uniform.estimate + 1e-9,
        agreement=own,
        step=replace(one.step, against="frozen:L0H0", gain=worse, p=0.01),
    )
    near = replace(one, name="frozen:L0H0", step=replace(one.step, against="uniform", p=0.01))
    kept = replace(near, name="left:L1H0", step=replace(one.step, against="frozen:L1H0", p=0.9))
    heads = [replace(head, group="models") for head in (near, far, kept, replace(near, name="any:nearest"))]
    learnt = LearntEmbeddings(embeddings="trainable", step=300, change=[0.41, 0.44], cosine=[0.92, 0.93])
    models = [
        GivenModel(name="frozen", told="a run", folders=["f-0", "f-1"], against="", learnt=None),
        GivenModel(name="left", told="a run", folders=["l-0"], against="frozen", learnt=learnt),
        GivenModel(name="any", told="a model", folders=["x"], against="", learnt=None),
    ]
    return replace(record, remedies=[*record.remedies, *heads], models=models)


@pytest.fixture(scope="module")
def record() -> AblationSuite:
    words = ["log_p", "random_logits", "random_pinv_16", "current_token_2"]
    material = Material(TABLES, MEASURED, FITTING, {pair: TABLES[pair] for pair in ((1, 0), (2, 0))})
    return run_ablations(material, chosen(ablation_suite(GROUND), words), GROUND, seeds=(0, 1), names=("a", "b", "c"))


def test_the_page_fits_eighty_columns_in_one_line_a_rung(record: AblationSuite) -> None:
    page = page_text(remedy_page(record))
    assert max(map(len, page.splitlines())) <= 80
    message = " ".join(page.split())
    assert "compared with what b predicts" in message and "[and" not in message
    row = next(line for line in page.splitlines() if line.startswith("log_p "))
    one = {one.name: one for one in record.remedies}["log_p"]
    assert f"{one.agreement.divergence.estimate:.3f}" in row and f"{one.agreement.match.estimate:.2f}" in row
    assert page.rstrip("=\n ").splitlines()[-1].endswith(".") and "VERDICT" in page


def test_the_verdict_follows_the_numbers(record: AblationSuite) -> None:
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


def test_forms_keep_every_number(record: AblationSuite) -> None:
    document = json.loads(record_json(record))
    assert document["schema"] == "heedful.remedies/1"
    assert [one["name"] for one in document["remedies"]] == [one.name for one in record.remedies]
    assert document["remedies"][-1]["agreement"]["skill"]["low"] == pytest.approx(
        record.remedies[-1].agreement.skill.low, rel=1e-6
    )
    assert "<img alt=" in page_html(remedy_page(record))


def test_given_models_are_told_beside_what_they_change(record: AblationSuite) -> None:
    whole = with_models(record)
    page = page_text(remedy_page(whole))
    assert max(map(len, page.splitlines())) <= 80
    changes = page.split("EACH CHANGE")[1].split("gain:")[0].splitlines()
    rows = {line.split()[0]: line.split() for line in changes if line.strip()}
    assert rows["left:L0H0"][1:3] == ["frozen:L0H0", "-2e7"] and rows["left:L1H0"][1] == "~frozen:L1H0"
    assert "2e7" in page and "-3e7" in page and "0.41..0.44" in page and "0.92..0.93" in page
    message = " ".join(page.split())
    assert "frozen: a run (2 seeds: f-0, f-1)" in message and "left: a run, compared with frozen (l-0)" in message
    assert "left compared with frozen: layer 0 1 of 1 worse (-2e7); layer 1 1 of 1 neither." in message
    assert (
        "frozen compared with equal weights: layer 0 1 of 1 better" in message
        and "any compared with equal weights: nearest head" in message
    )
    sharp = page.split("SHARPNESS OF GIVEN MODELS")[1].split("entropy:")[0]
    own = next(line.split() for line in sharp.splitlines() if line.startswith("left:L0H0"))
    one = whole.remedies[-3]
    assert "-0.00" not in sharp
    assert own[1:3] == [f"{one.entropy.estimate:.2f}", f"{one.factor:.3f}"] and len(own) == 5
    assert "L0H0, L1H0 n=1 skip=0" in message
    skips = [replace(one, skip=3) if one.name == "left:L0H0" else one for one in whole.remedies]
    other = " ".join(page_text(remedy_page(replace(whole, remedies=skips))).split())
    assert "frozen:L0H0, left:L1H0 n=1 skip=0; left:L0H0 n=1 skip=3" in other
    assert "GIVEN MODELS" not in page_text(remedy_page(record)) and "LEARNT" not in page_text(remedy_page(record))
    helps, hurts, _ = (text for _, text in remedy_verdict(whole))
    assert "frozen:L0H0" not in helps and "left:" not in hurts
    assert "<img alt=" in page_html(remedy_page(whole))
    document = json.loads(record_json(whole))
    assert document["models"][1]["learnt"]["change"] == [0.41, 0.44] and document["remedies"][-1]["seeds"] == 2


def test_marks_and_words_of_heads_alone_go_by_one_rule(record: AblationSuite) -> None:
    bigram, head = record.losses[1], record.losses[2]
    apart = Effect(estimate=0.2, low=0.1, high=0.3, n=18)
    for gain, p, message in ((apart, 0.01, True), (apart, 0.2, False), (replace(apart, low=-0.1), 0.01, False)):
        one = replace(head, gain=gain, p=p)
        page = page_text(remedy_page(replace(record, losses=[bigram, one])))
        assert (f"\n{one.name} " in page) is message and (f"\n~{one.name} " in page) is not message
        assert (f"better than the bigram: {one.name}" in " ".join(page.split())) is message
        assert f"\n{bigram.name} " in page
    slight = replace(head, gain=Effect(estimate=0.001, low=0.0005, high=0.002, n=18), p=0.01)
    page = page_text(remedy_page(replace(record, losses=[bigram, slight])))
    assert f"\n{head.name} " in page and "better than the bigram: none" in " ".join(page.split())
