"""What verdicts must never say of attention whose truth is known, at every length."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.planted import (
    PlantedModel,
    alternating_ids,
    previous_token_heads,
    random_ids,
    sequences_of,
    uniform_heads,
)

from heedful.evaluation.nine_sections import validate
from heedful.evaluation.result import Report
from heedful.evaluation.settings import Settings
from heedful.inference.verdict import Verdict

QUICK = Settings(preset="quick", null_models=0, resamples=499)
LENGTHS = [16, 32, 64, 128, 256, pytest.param(512, marks=pytest.mark.slow), pytest.param(1024, marks=pytest.mark.slow)]


def overall(report: Report, claim: str) -> Verdict:
    (found,) = (
        f for s in report.sections for f in s.findings if f.claim == claim and f.layer is None and f.head is None
    )
    return found.verdict


def failures(report: Report) -> list[str]:
    return [f.claim for s in report.sections for f in s.findings if f.verdict is Verdict.FAIL]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_content_free_uniform_attention_is_never_local_query_dependent_or_sharp(length: int, seed: int) -> None:
    count = 16
    model = PlantedModel(*uniform_heads(2, length))
    settings = Settings(preset="quick", null_models=0, resamples=499, seed=seed)
    report = validate(model, sequences_of(random_ids(count, length, seed)), settings=settings)
    assert overall(report, "local_bias") is not Verdict.PASS
    assert overall(report, "queries_attend_by_content") is not Verdict.PASS
    assert overall(report, "adjacent_queries_differ") is not Verdict.PASS
    assert overall(report, "same_token_attraction") is not Verdict.PASS
    assert overall(report, "heads_are_concentrated") is not Verdict.PASS
    assert {row.verdict for row in report.heads} == {"DIFFUSE"}


@pytest.mark.parametrize("length", LENGTHS)
def test_a_one_hot_previous_token_head_is_sharp_at_every_length(length: int) -> None:
    model = PlantedModel(*previous_token_heads(2, length))
    report = validate(model, sequences_of(alternating_ids(16, length)), settings=QUICK)
    assert {row.verdict for row in report.heads} == {"SHARP"}
    assert {row.pattern for row in report.heads} == {"previous token"}
    assert overall(report, "queries_attend_by_content") is Verdict.ABSENT


def test_sound_planted_model_fails_nothing() -> None:
    model = PlantedModel(*previous_token_heads(2, 32))
    report = validate(model, sequences_of(alternating_ids(24, 32)), settings=QUICK)
    assert failures(report) == []


@pytest.mark.parametrize(
    ("fault", "claim"),
    [
        ("leak", "future_is_unseen"),
        ("dead", "gradients_reach_attention"),
        ("unused", "attention_output_matters"),
    ],
)
def test_each_planted_fault_turns_exactly_its_check_red(fault: str, claim: str) -> None:
    gain = 12.0
    model = PlantedModel(*previous_token_heads(2, 32), fault=fault, gain=gain)
    settings = Settings(preset="quick", null_models=0, resamples=499, causal=True)
    report = validate(model, sequences_of(alternating_ids(24, 32)), settings=settings)
    assert failures(report) == [claim]
    assert report.verdict is Verdict.FAIL


def test_a_nan_parameter_turns_exactly_its_check_red_and_the_rest_is_skipped() -> None:
    model = PlantedModel(*previous_token_heads(2, 32))
    with torch.no_grad():
        model.attention.query[0, 3, 3] = float("nan")
    report = validate(model, sequences_of(alternating_ids(24, 32)), settings=QUICK)
    assert failures(report) == ["attention_is_finite"]
    assert overall(report, "local_bias") is Verdict.SKIP
    assert "attention.query (1)" in next(f.reason for f in report.sections[0].findings if f.verdict is Verdict.FAIL)


def test_nan_logits_in_one_head_leave_the_other_heads_judged() -> None:
    model = PlantedModel(*previous_token_heads(2, 32), fault="nan logits")
    report = validate(model, sequences_of(alternating_ids(24, 32)), settings=QUICK)
    assert "attention_is_finite" in failures(report)
    assert [row.verdict for row in report.heads] == ["UNDEFINED", "SHARP"]


def test_a_misnormalised_row_turns_exactly_its_check_red(misnormalised_llama: torch.nn.Module) -> None:
    report = validate(misnormalised_llama, sequences_of(random_ids(24, 32)), settings=QUICK)
    assert [c for c in failures(report) if c != "attention_output_matters"] == ["rows_sum_to_one"]


@pytest.mark.parametrize("required", ["local_bias", "queries_attend_by_content"])
def test_a_required_claim_that_is_not_shown_fails_the_report(required: str) -> None:
    model = PlantedModel(*uniform_heads(2, 32))
    settings = Settings(preset="quick", null_models=0, resamples=499, require=(required,))
    report = validate(model, sequences_of(random_ids(24, 32)), settings=settings)
    assert required in failures(report)


def test_too_few_documents_are_insufficient_data() -> None:
    model = PlantedModel(*previous_token_heads(2, 32))
    report = validate(model, sequences_of(alternating_ids(6, 32)), settings=QUICK)
    assert overall(report, "local_bias") in (Verdict.INSUFFICIENT, Verdict.UNDEFINED)
    assert overall(report, "previous_token") is Verdict.INSUFFICIENT
