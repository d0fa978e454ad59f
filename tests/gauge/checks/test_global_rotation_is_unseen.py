"""One rotation of all beliefs and frames."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.evaluation.checks.belief_models import belief_model, untied
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing
from tests.evaluation.checks.planted import random_ids

from heedful.gauge.checks.global_rotation_is_unseen import global_rotation_is_unseen
from heedful.inference.verdict import Verdict


@pytest.mark.parametrize("options", [{}, {"covariance": "full", "position_frames": "learned", "layer_norm": True}])
def test_frames_that_are_rotations_pass(options: dict[str, Any]) -> None:
    (found,) = judged(global_rotation_is_unseen, belief_model(**options), random_ids(4, 24))
    assert found.verdict is Verdict.PASS
    assert found.estimate is not None and found.estimate < 1e-5
    assert found.detail["frames"] < 1e-6


def test_a_weight_that_reads_means_in_their_own_frames_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turning everything then changes what the weights are made of."""
    model = belief_model()
    module = "heedful.gauge.model.attention.gauge_kl"
    monkeypatch.setattr(f"{module}.out_of_frame", lambda vectors, frame: vectors)
    (found,) = judged(global_rotation_is_unseen, model, random_ids(4, 24))
    assert found.verdict is Verdict.FAIL
    assert found.detail["layers"] == ["model.layers.0.self_attn", "model.layers.1.self_attn"]
    assert found.detail["frames"] < 1e-6


def test_frames_that_stretch_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    model = belief_model()
    tables: Any = type(model.model.beliefs)
    given = tables._frames
    monkeypatch.setattr(tables, "_frames", lambda *args: untied(given(*args), 1.01))
    (found,) = judged(global_rotation_is_unseen, model, random_ids(4, 24))
    assert found.verdict is Verdict.FAIL
    assert found.detail["frames"] == pytest.approx(0.0201, abs=1e-4)


def test_scalars_and_other_attention_are_skipped_and_means_that_are_not_finite_undefined() -> None:
    for model in (belief_model(irreps="3x0e"), PatternModel(nothing)):
        assert judged(global_rotation_is_unseen, model, random_ids(4, 24))[0].verdict is Verdict.SKIP
    broken = belief_model(num_hidden_layers=1)
    with torch.no_grad():
        broken.model.beliefs.mean.weight.fill_(float("nan"))
    assert judged(global_rotation_is_unseen, broken, random_ids(4, 24))[0].verdict is Verdict.UNDEFINED
