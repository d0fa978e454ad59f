"""What reaches tables of beliefs through the weights of attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.evaluation.checks.belief_models import belief_model
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing
from tests.evaluation.checks.planted import random_ids

from heedful.gauge.checks.tables_learn_through_attention import tables_learn_through_attention
from heedful.inference.verdict import Verdict


def test_every_table_is_reached_and_covariances_through_weights_alone() -> None:
    model = belief_model(covariance="full", kappa_rule="learned", position_frames="learned")
    (found,) = judged(tables_learn_through_attention, model, random_ids(12, 24))
    assert (found.verdict, found.estimate) == (Verdict.PASS, 1.0)
    through = found.detail["through"]
    for name in ("beliefs.log_variance.weight", "beliefs.shear.weight", "layers.1.self_attn.log_kappa"):
        assert through[f"model.{name}"] == pytest.approx(1.0)
    assert 0 < through["model.beliefs.mean.weight"] < 1
    assert all(low <= through[name] <= high for name, (low, high) in found.detail["ranges"].items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_share_is_that_of_a_backward_with_constant_weights() -> None:
    """By hand: the difference of the loss's gradient to that with the kernel's query and key detached."""
    model, ids = belief_model(num_hidden_layers=1), random_ids(1, 24)
    (found,) = judged(tables_learn_through_attention, model, ids)
    table = model.model.beliefs.mean.weight
    (whole,) = torch.autograd.grad(model(ids, labels=ids).loss, table)
    module: Any = model.model.layers[0].self_attn
    attended = module.attended
    module.attended = lambda queries, around, values, **options: _with_constant_weights(
        attended, queries, around, values, options
    )
    (past,) = torch.autograd.grad(model(ids, labels=ids).loss, table)
    share = ((whole - past).norm() / whole.norm()).item()
    assert found.detail["through"]["model.beliefs.mean.weight"] == pytest.approx(share, rel=1e-4)
    assert found.detail["norms"]["model.beliefs.mean.weight"] == pytest.approx(whole.norm().item(), rel=1e-4)


def _with_constant_weights(met: Any, queries: Any, around: Any, values: Any, options: dict[str, Any]) -> Any:
    from dataclasses import fields, replace

    def still(groups: Any) -> tuple[Any, ...]:
        return tuple(replace(g, **{f.name: getattr(g, f.name).detach() for f in fields(g)}) for g in groups)

    return met(still(queries), replace(around, keys=still(around.keys)), values, **options)


@pytest.mark.parametrize(("options", "mere"), [({"position_means": False, "feed_forward": "none"}, True), ({}, False)])
def test_frames_of_tokens_are_coordinates_of_their_means_where_nothing_else_sees_them(
    options: dict[str, Any], mere: bool
) -> None:
    (found,) = judged(tables_learn_through_attention, belief_model(**options), random_ids(12, 24))
    own = found.detail["not_of_means"]["model.beliefs.frame.weight"]
    assert (own < 1e-5) == mere
    assert ("frames get nothing there that is not" in found.reason) == mere


def test_a_table_that_only_messages_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from heedful.gauge.beliefs import Diagonal

    model = belief_model()
    keys, queries = Diagonal.keys, Diagonal.queries
    for name, given in (("keys", keys), ("queries", queries)):
        monkeypatch.setattr(
            Diagonal, name, lambda self, given=given: given(Diagonal(self.mean, self.log_variance.detach()))
        )
    (found,) = judged(tables_learn_through_attention, model, random_ids(12, 24))
    assert found.verdict is Verdict.ABSENT
    assert found.reason.startswith("past attention alone, or not at all: log_variance; ")
    assert found.estimate == pytest.approx(3 / 4)


def test_without_tables_loss_or_training_there_is_nothing_to_say() -> None:
    frozen = belief_model().requires_grad_(False)
    for model in (PatternModel(nothing), PatternModel(nothing, causal=False), frozen):
        assert judged(tables_learn_through_attention, model, random_ids(4, 24))[0].verdict is Verdict.SKIP


def test_a_gradient_that_is_not_finite_fails_by_name() -> None:
    model = belief_model(kappa_rule="learned")
    model.model.layers[1].self_attn.log_kappa.register_hook(lambda gradient: gradient * float("inf"))
    (found,) = judged(tables_learn_through_attention, model, random_ids(12, 24))
    assert found.verdict is Verdict.FAIL
    assert found.reason.startswith("not finite: layers.1.self_attn.log_kappa; ")


def test_a_loss_without_gradient_is_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    model = belief_model()
    forward = model.forward

    def still(*args: Any, **keywords: Any) -> Any:
        with torch.no_grad():
            return forward(*args, **keywords)

    monkeypatch.setattr(model, "forward", still)
    assert judged(tables_learn_through_attention, model, random_ids(4, 24))[0].verdict is Verdict.UNDEFINED
