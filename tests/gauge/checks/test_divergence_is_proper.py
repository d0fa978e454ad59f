"""The kernel's products against the divergence of two normals."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.belief_models import belief_model
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing, study_of
from tests.evaluation.checks.planted import random_ids
from torch import Tensor

from heedful.gauge.beliefs import Diagonal
from heedful.gauge.checks.divergence_is_proper import divergence_is_proper
from heedful.inference.verdict import Verdict


@pytest.mark.parametrize("covariance", ["isotropic", "diagonal", "full"])
def test_every_form_of_covariance_passes(covariance: str) -> None:
    (found,) = judged(divergence_is_proper, belief_model(covariance=covariance), random_ids(4, 24))
    assert found.verdict is Verdict.PASS
    assert found.reason.startswith("2 layers: off by at most ")
    assert found.detail["error"] < 1e-4 and found.detail["self"] < 1e-4
    assert found.estimate is not None and 0 < found.estimate < 1


def test_the_variational_step_meets_beliefs_too() -> None:
    (found,) = judged(divergence_is_proper, belief_model(feed_forward="variational"), random_ids(4, 24))
    assert (found.verdict, found.reason[:8]) == (Verdict.PASS, "4 layers")


def _without_volume(self: Diagonal) -> Tensor:
    precision = (-self.log_variance).exp()
    own = (precision * self.mean.square()).sum(-1, keepdim=True)
    return torch.cat([-precision / 2, precision * self.mean, -own / 2], dim=-1)


def test_a_product_that_forgets_the_key_s_volume_fails_and_the_layers_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Diagonal, "keys", _without_volume)
    (found,) = judged(divergence_is_proper, belief_model(), random_ids(4, 24))
    assert found.verdict is Verdict.FAIL
    assert found.detail["layers"] == ["model.layers.0.self_attn", "model.layers.1.self_attn"]
    assert found.estimate is not None and found.estimate > 100
    assert found.detail["least"] < -0.1


def test_attention_without_beliefs_is_skipped_and_no_finite_pair_is_undefined() -> None:
    assert judged(divergence_is_proper, PatternModel(nothing), random_ids(4, 24))[0].verdict is Verdict.SKIP
    study = study_of(belief_model(), random_ids(4, 24))
    for layer in study.observed.layers:
        layer.values["divergence_error"][:] = float("nan")
        layer.values["self_divergence"][:] = float("nan")
        layer.values["least_divergence"][:] = float("nan")
    assert divergence_is_proper(study)[0].verdict is Verdict.UNDEFINED
