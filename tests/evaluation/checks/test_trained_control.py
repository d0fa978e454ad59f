"""A model trained here, whose heads and ablation signature are known beforehand (statistics of the trained control)."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.planted import repeating_ids, sequences_of, train_on_repeats

from heedful.evaluation.nine_sections import validate
from heedful.evaluation.result import Finding, Report
from heedful.evaluation.settings import Settings
from heedful.inference.verdict import Verdict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report() -> Report:
    model = train_on_repeats(seed=0)
    ids = repeating_ids(64, 64, torch.Generator().manual_seed(99))
    return validate(model, sequences_of(ids), settings=Settings(null_models=19))


def findings(report: Report, claim: str) -> list[Finding]:
    return [f for s in report.sections for f in s.findings if f.claim == claim]


def test_the_first_layer_has_a_previous_token_head_and_the_second_an_induction_head(report: Report) -> None:
    named = {(row.layer, row.pattern) for row in report.heads}
    assert (0, "previous token") in named
    assert (1, "induction") in named
    assert {row.verdict for row in report.heads if row.pattern == "induction"} == {"SHARP"}


def test_both_named_heads_exceed_the_null(report: Report) -> None:
    for claim, layer in (("previous_token", 0), ("induction", 1)):
        passed = [f for f in findings(report, claim) if f.verdict is Verdict.PASS and f.head is not None]
        assert passed
        assert {f.layer for f in passed} == {layer}
        assert all(f.p_adjusted is not None and f.p_adjusted <= 0.05 for f in passed)


def test_the_ablation_signature_is_positional_then_content(report: Report) -> None:
    by_layer = {f.layer: f.detail["signature"] for f in findings(report, "ablation_signature")}
    assert by_layer == {None: "content", 0: "positional", 1: "content"}


def test_the_learned_weights_are_worth_whole_nats(report: Report) -> None:
    whole = findings(report, "learned_weights_matter")[0]
    assert whole.verdict is Verdict.PASS
    assert whole.interval is not None
    assert whole.interval[0] > 1.0
    assert report.verdict is Verdict.PASS
    assert report.summary["decision"] == {
        "correct": "yes",
        "content_dependent": "yes",
        "concentrated": "yes",
        "useful": "yes",
    }


def test_patterns_are_compared_with_random_projections_and_content_with_random_orientations(report: Report) -> None:
    for claim in ("previous_token", "induction"):
        assert "random query and key projections" in findings(report, claim)[0].null
    for claim in ("queries_attend_by_content", "adjacent_queries_differ"):
        found = findings(report, claim)
        assert "random orientations" in found[0].null and found[0].verdict is Verdict.PASS
        assert {f.layer for f in found if f.head is not None and f.verdict is Verdict.PASS} >= {1}


def test_both_named_heads_exceed_fresh_models() -> None:
    ids = repeating_ids(64, 64, torch.Generator().manual_seed(99))
    report = validate(train_on_repeats(seed=0), sequences_of(ids), settings=Settings(preset="quick", null="untrained"))
    for claim, layer in (("previous_token", 0), ("induction", 1)):
        passed = [f for f in findings(report, claim) if f.verdict is Verdict.PASS and f.head is not None]
        assert passed and {f.layer for f in passed} == {layer}
