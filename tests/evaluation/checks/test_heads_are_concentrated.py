"""Nats from uniform, against a margin and against untrained models."""

from __future__ import annotations

import pytest
from tests.evaluation.checks.pattern_models import PatternModel, PlantedLayer, judged, near_keys, nothing, own_token
from tests.evaluation.checks.planted import random_ids
from torch import nn

from heedful.evaluation.checks.heads_are_concentrated import heads_are_concentrated
from heedful.inference.verdict import Verdict


@pytest.mark.parametrize("pattern", [own_token, near_keys])
def test_heads_far_from_uniform_pass(pattern: object) -> None:
    overall, *heads = judged(heads_are_concentrated, PatternModel(pattern), random_ids(24, 32), null_models=19)
    assert {f.verdict for f in (overall, *heads)} == {Verdict.PASS}
    assert overall.interval is not None and overall.interval[0] > 0.05
    assert overall.null == "19 untrained models of the same config"


def test_heads_that_untrained_models_have_as_well_are_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias that is there from the start, as the slopes of ALiBi are: the null shows an effect as large."""
    monkeypatch.setattr(PlantedLayer, "reset_parameters", lambda layer: nn.init.ones_(layer.strength))
    overall, *heads = judged(heads_are_concentrated, PatternModel(own_token), random_ids(24, 32), null_models=19)
    assert {f.verdict for f in (overall, *heads)} == {Verdict.WARN}
    assert all("the null shows an effect as large" in f.reason for f in heads)


def test_uniform_heads_are_absent_and_not_a_failure() -> None:
    overall, *heads = judged(heads_are_concentrated, PatternModel(nothing), random_ids(24, 32))
    assert {f.verdict for f in (overall, *heads)} == {Verdict.ABSENT}


@pytest.mark.parametrize(
    ("count", "length", "verdict"), [(6, 32, Verdict.INSUFFICIENT), (24, 7, Verdict.UNDEFINED)], ids=["few", "short"]
)
def test_too_little_to_judge(count: int, length: int, verdict: Verdict) -> None:
    assert judged(heads_are_concentrated, PatternModel(own_token), random_ids(count, length))[0].verdict is verdict
