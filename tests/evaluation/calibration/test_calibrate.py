"""The whole: every claim has a rate or a reason, the table fits, equal runs are equal."""

from __future__ import annotations

import json

import pytest

from heedful.errors import UsageError
from heedful.evaluation.calibration.calibrate import (
    WITHOUT_TEST,
    Calibration,
    CalibrationPlan,
    bound_rates,
    calibrate,
    experiments_of,
)
from heedful.evaluation.calibration.faults import FAULTS, correlation_rates, document_rates, fault_rates, seed_answers
from heedful.evaluation.calibration.fresh import ARCHITECTURES, fresh_rates, tiny_model
from heedful.evaluation.calibration.losses import ablation_rates, loss_rates, sequential_rates
from heedful.evaluation.calibration.planted_study import IID, World, planted_call, zipf_ids
from heedful.evaluation.calibration.rate import Rate
from heedful.evaluation.calibration.table import lines, to_document
from heedful.evaluation.registry import CHECKS

CHEAP = ("concentration_keeps_with_length", "diversity_tracks_concentration", "mass_by_distance")
"""Claims that no whole model is run for."""


@pytest.mark.parametrize("claim", sorted(CHECKS))
def test_every_claim_is_calibrated_or_says_why_not(claim: str) -> None:
    assert bool(experiments_of(claim)) != (claim in WITHOUT_TEST)


def test_no_reason_is_given_for_a_claim_that_does_not_exist() -> None:
    assert set(WITHOUT_TEST) <= set(CHECKS)


def test_a_small_plan_gives_a_table_of_80_columns_and_strict_json() -> None:
    plan = CalibrationPlan(repetitions=2, lengths=(16, 32), claims=CHEAP)
    steps: list[tuple[int, int, str]] = []
    found = calibrate(plan, lambda *step: steps.append(step))
    shown = lines(found)
    assert max(map(len, shown)) <= 80
    assert set(CHEAP) <= set(shown)
    assert {rate.length for rate in found.rates} == {16, 32, None}
    assert len(steps) == steps[0][1] and steps[0][0] == 0
    document = json.loads(json.dumps(to_document(found), allow_nan=False))
    again = to_document(calibrate(plan))
    assert {**document, "seconds": 0} == json.loads(json.dumps({**again, "seconds": 0}))
    assert document["rates"][0]["interval"][0] <= document["rates"][0]["rate"]


def test_a_broken_promise_is_told() -> None:
    bad = Rate(
        claim="local_bias", event="PASS at the margin", world="w", length=16, count=50, trials=100, nominal=0.025
    )
    found = Calibration(plan=CalibrationPlan(lengths=(16,)), rates=[bad], answers=[])
    assert [(one.claim, one.count, one.trials) for one in found.broken] == [("local_bias", 50, 100)]
    assert any(line.endswith("!") for line in lines(found))
    assert "1 of 1 promises do not stand" in "\n".join(lines(found))


def test_a_promise_is_pooled_over_lengths_and_says_what_it_would_have_caught() -> None:
    shared = {"claim": "local_bias", "event": "PASS at the margin", "world": "w", "nominal": 0.05}
    rates = [Rate(length=n, count=2, trials=20, **shared) for n in (16, 32, 64)]
    found = Calibration(plan=CalibrationPlan(lengths=(16, 32, 64)), rates=rates, answers=[])
    (promise,) = found.promises
    assert (promise.count, promise.trials) == (6, 60) and not found.broken and found.blunt == [promise]
    assert to_document(found)["promises"][0]["caught"] == pytest.approx(promise.caught())
    many = [Rate(length=n, count=5, trials=100, **shared) for n in (16, 32, 64)]
    assert not Calibration(plan=CalibrationPlan(), rates=many, answers=[]).blunt


@pytest.mark.parametrize("rule", ["pytorch", "mup", "deep"])
def test_fresh_models_under_other_initialisations(rule: str) -> None:
    one = next(one for one in ARCHITECTURES if one.rule == rule)
    model, again, other = (tiny_model(one, 16, seed) for seed in (1, 1, 2))
    name = "transformer.h.0.attn.c_attn" if one.family == "gpt2" else "model.layers.0.self_attn.q_proj"
    weight = model.get_submodule(name).weight
    assert weight.equal(again.get_submodule(name).weight) and not weight.equal(other.get_submodule(name).weight)
    expected = {"pytorch": (3 * 16) ** -0.5, "mup": 0.25, "deep": 0.02}[rule]
    assert float(weight.detach().std()) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    "wrong", [{"claims": ("no_such",)}, {"lengths": (8,)}, {"lengths": ()}, {"repetitions": 1}], ids=str
)
def test_plans_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError):
        CalibrationPlan(**wrong)


def test_faults_are_found_and_sound_models_raise_no_alarm() -> None:
    faults = list(fault_rates(16, list(CHECKS), 1, seed=1))
    assert {rate.claim for rate in faults} == set(FAULTS) and all(rate.share == 1 for rate in faults)
    (found,) = fresh_rates(ARCHITECTURES[1], 16, ["rows_sum_to_one"], 2, seed=1)
    assert (found.count, found.trials) == (0, 2)


def test_losses_and_looks_keep_their_promise() -> None:
    rates = [*loss_rates("normal", ["learned_weights_matter"], 20, 1), *sequential_rates("normal", 500, 1)]
    rates += ablation_rates("normal", 3, 1)
    assert len(rates) == 11 and all(rate.kept(len(rates)) for rate in rates), rates
    naive = next(rate for rate in rates if "plain t" in rate.event)
    assert naive.share > 0.1, "looking often with plain t is what the boundary is for"


def test_unused_is_not_said_too_often_of_skewed_documents() -> None:
    """With Student's t or the studentised bootstrap, 4 to 14 % of skewed samples lie wholly below their own mean."""
    rates = [*bound_rates("skew 6", 4000, 1), *bound_rates("normal", 4000, 1)]
    assert len(rates) == 24 and all(rate.kept(len(rates)) for rate in rates), rates


@pytest.mark.slow
def test_looks_do_not_call_attention_unused_too_often_where_documents_are_skewed() -> None:
    """With Student's t in 9 % of 240, promised 2.5."""
    passed, unused, power = ablation_rates("skew 6", 48, 1)
    assert unused.event == "unused, at the margin" and unused.trials == 240
    assert unused.kept() and passed.kept() and power.kept(), unused


def test_correlation_of_unrelated_layers_is_seldom_claimed() -> None:
    (rate,) = list(correlation_rates(8, "clear layers", 20, 1))
    assert rate.trials == 20 and rate.kept()


@pytest.mark.slow
def test_correlation_of_unrelated_documents_is_seldom_claimed_and_a_clear_one_mostly() -> None:
    none, clear = document_rates(1, 60, 1)
    assert none.trials == clear.trials == 60
    assert none.kept() and clear.kept() and clear.count > 48


def test_the_older_guide_sees_local_bias_in_structureless_attention() -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    ids = zipf_ids(1, 128, generator)
    flat = World(name="flat", content=0.0, between=0.0)
    uniform = seed_answers(planted_call(flat, ids, True, generator), ids)
    assert uniform["local bias"] == [True] and uniform["queries attend differently"] == [True]
    assert all(uniform["row_std: UNIFORM"]) and uniform["different from uniform"] == [False]
    sharp = seed_answers(planted_call(IID, zipf_ids(1, 16, generator), True, generator), ids[:, :16])
    assert not all(sharp["row_std: UNIFORM"])


def test_the_whole_plan_sees_an_error_of_twice_the_promise() -> None:
    """All 435 promises of a whole run are looked at together; one claim has no fresh model of 16 tokens to judge."""
    plan = CalibrationPlan()
    planted = sum(plan.trials(length) for length in plan.lengths)
    fresh = sum(plan.fresh(length) for length in plan.lengths if length >= 32)
    for trials in (round(0.95 * planted), fresh):
        assert Rate(claim="c", event="e", world="w", trials=trials, nominal=0.05).caught(435) <= 0.1
