"""Verdicts on loss differences, whole model, layers and heads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.evaluation.stub import documents, stub_study

from heedful.evaluation.ablation import ARMS
from heedful.evaluation.ablation_judging import ablation_findings, family, redundant, signature_of
from heedful.evaluation.evidence import Evidence
from heedful.inference.verdict import Verdict

V = Verdict


def study_with(whole: dict[str, float], count: int = 20, spread: float = 0.002, **more: Any) -> SimpleNamespace:
    """Loss differences with exactly these means over documents, one sequence each."""
    arms = {arm: documents([whole.get(arm, 0.0)], spread, count, seed=k)[:, 0] for k, arm in enumerate(ARMS)}
    return stub_study(
        settings={"preset": "quick"} | more.pop("settings", {}),
        objective=SimpleNamespace(name="next token", reason=""),
        sequences=SimpleNamespace(input_ids=np.zeros((count, 4))),
        whole_model=arms,
        loss=np.full(count, 2.5),
        units=lambda values: values,
        first_units=lambda values: values,
        each_layer=[arms, arms],
        **more,
    )


@pytest.mark.parametrize(
    ("estimate", "arm", "verdict", "words"),
    [
        (0.05, "uniform", V.PASS, "equal weights on every visible key: the loss rises by more than the margin"),
        (0.0, "uniform", V.ABSENT, "less than the margin in either direction"),
        (0.0, "zero", V.FAIL, "attention is unused"),
        (-0.05, "uniform", V.WARN, "the replacement is better than the learned attention"),
        (-0.05, "zero", V.WARN, "the replacement is better than the learned attention"),
        (0.01, "uniform", V.WARN, "is inconclusive"),
        (-0.01, "uniform", V.WARN, "not settled"),
    ],
)
def test_a_loss_that_rises_stays_falls_or_is_open(estimate: float, arm: str, verdict: Verdict, words: str) -> None:
    (found,) = ablation_findings(study_with({arm: estimate}), "claim", arm, "source")
    assert (found.verdict, words in found.reason) == (verdict, True), found.reason
    assert found.detail == {"arm": arm, "loss": 2.5, "unused": verdict is V.FAIL}
    assert found.estimate == pytest.approx(estimate, abs=1e-9)


def test_an_effect_among_many_must_stand_after_adjustment() -> None:
    study = study_with({"uniform": 0.05})
    study.once(family)["uniform", None] = 0.2
    (found,) = ablation_findings(study, "claim", "uniform", "source")
    assert found.verdict is V.WARN
    assert "not significant after adjustment for all replacements (adjusted p 0.2 > 0.05)" in found.reason


def test_few_documents_and_missing_losses() -> None:
    assert ablation_findings(study_with({}, count=15), "claim", "zero", "s")[0].verdict is V.INSUFFICIENT
    study = study_with({"zero": 1.0})
    study.whole_model["zero"][:] = np.nan
    assert ablation_findings(study, "claim", "zero", "s")[0].verdict is V.UNDEFINED
    study.objective = SimpleNamespace(name="none", reason="no head")
    (found,) = ablation_findings(study, "claim", "zero", "s")
    assert (found.verdict, found.reason) == (V.SKIP, "no head")


def test_layers_are_part_of_one_family_and_of_preset_standard() -> None:
    study = study_with({"uniform": 0.05, "zero": 0.05}, settings={"preset": "standard"})
    assert set(study.once(family)) == {(arm, place) for arm in ARMS for place in (None, 0, 1)}
    found = ablation_findings(study, "claim", "uniform", "s")
    assert [(f.layer, f.head, f.verdict) for f in found] == [(None, None, V.PASS), (0, None, V.PASS), (1, None, V.PASS)]
    assert all(f.p is not None and f.p < f.p_adjusted for f in found)
    zero = ablation_findings(study_with({}, settings={"preset": "standard"}), "claim", "zero", "s")
    assert [f.verdict for f in zero] == [V.FAIL, V.ABSENT, V.ABSENT], "a layer alone may be unused"


def test_each_head_is_part_of_preset_full() -> None:
    alone = [[np.zeros(20) + 0.05 + 1e-3 * np.arange(20), np.zeros(20)]] * 2
    study = study_with({"uniform": 0.05}, settings={"preset": "full"}, each_head=alone)
    heads = [f for f in ablation_findings(study, "claim", "uniform", "s") if f.head is not None]
    assert [(f.layer, f.head, f.verdict) for f in heads] == [
        (0, 0, V.PASS),
        (0, 1, V.ABSENT),
        (1, 0, V.PASS),
        (1, 1, V.ABSENT),
    ]


@pytest.mark.parametrize(
    ("whole", "signature"),
    [
        ({"zero": 1.0, "uniform": 1.0, "mean": 0.0, "shuffled": 0.0}, "positional"),
        ({"zero": 1.0, "uniform": 1.0, "mean": 0.05, "shuffled": 0.1}, "positional"),
        ({"zero": 1.0, "uniform": 1.0, "mean": 0.8, "shuffled": 1.5}, "content"),
        ({"zero": 1.0, "uniform": 0.0, "mean": 0.0, "shuffled": 0.0}, "value average"),
        ({}, "unused"),
        ({"zero": 0.01, "uniform": 0.0}, "mixed or not settled"),
        ({"zero": 1.0, "uniform": 0.01}, "mixed or not settled"),
        ({"zero": 1.0, "uniform": 1.0, "mean": 0.8, "shuffled": 0.0}, "mixed or not settled"),
    ],
)
def test_the_signature_follows_from_what_the_loss_forgives(whole: dict[str, float], signature: str) -> None:
    study = study_with(whole)
    name, shown = signature_of(study, study.whole_model)
    assert name == signature
    assert shown.startswith(f"zero {whole.get('zero', 0.0):+.3f}")


def test_few_documents_have_no_signature() -> None:
    study = study_with({"zero": 1.0, "uniform": 1.0}, count=15)
    assert signature_of(study, study.whole_model)[0] == ""


@pytest.mark.parametrize(
    ("whole", "parts", "count", "expected"),
    [
        (1.0, [0.0, 0.0], 20, True),
        (1.0, [0.0, 0.5], 20, False),
        (0.0, [0.0, 0.0], 20, False),
        (1.0, [0.0], 20, False),
        (1.0, [0.0, 0.0], 15, False),
    ],
)
def test_parts_are_redundant_where_none_alone_costs_what_all_do(
    whole: float, parts: list[float], count: int, expected: bool
) -> None:
    study = study_with({}, count=count)
    values = [documents([part], 0.002, count)[:, 0] for part in [whole, *parts]]
    assert redundant(study, values[0], values[1:]) is expected


def test_attention_that_cannot_be_replaced_settles_nothing() -> None:
    """Neither PASS nor FAIL nor ABSENT of a whole that was replaced in parts."""
    for estimate, arm in ((0.05, "uniform"), (0.0, "uniform"), (0.0, "zero")):
        study = study_with({arm: estimate}, settings={"preset": "standard"})
        study.observed.layers[1].fixed = "no product"
        study.observed = Evidence(study.observed.layers, {})
        study.each_layer = study.each_layer[:1]
        whole, *layers = ablation_findings(study, "claim", arm, "source")
        assert whole.verdict is V.WARN and "was left as it is: layer.1: no product; in the rest, " in whole.reason
        assert whole.detail["left"] == ["layer.1"] and not whole.detail["unused"]
        assert [found.layer for found in layers] == [0]
    for layer in study.observed.layers:
        layer.fixed = "no product"
    study.observed = Evidence(study.observed.layers, {})
    (found,) = ablation_findings(study, "claim", "zero", "source")
    assert found.verdict is V.SKIP and "layer.0 and 1 more: no product" in found.reason


def test_a_shared_module_is_one_unit() -> None:
    study = study_with({"uniform": 0.05}, settings={"preset": "standard"})
    study.observed.layers[1].path = "layer.0#2"
    study.observed = Evidence(study.observed.layers, {})
    study.each_layer = study.each_layer[:1]
    found = ablation_findings(study, "claim", "uniform", "source")
    assert [one.layer for one in found] == [None, 0] and len(study.once(family)) == 10
    assert found[1].reason.startswith("in all 2 calls of this shared module: ") and found[1].detail["calls"] == 2
