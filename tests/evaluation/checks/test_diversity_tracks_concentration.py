"""Spread of the representations against concentration, over layers."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.checks.pattern_models import PatternModel, SpreadModel, judged, nothing, own_token, study_of
from tests.evaluation.checks.planted import random_ids

from heedful.evaluation.checks.diversity_tracks_concentration import diversity_tracks_concentration
from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict

RISING = [0.1 * k for k in range(1, 10)]
MORE = [0.3 + 0.2 * k for k in range(9)]


@pytest.mark.parametrize(
    ("sharpness", "verdict", "sign"),
    [(MORE, Verdict.PASS, 1), (MORE[::-1], Verdict.ABSENT, -1)],
    ids=["with", "against"],
)
def test_layers_that_rise_together_pass_and_opposite_ones_do_not(
    sharpness: list[float], verdict: Verdict, sign: int
) -> None:
    overall, *layers = judged(diversity_tracks_concentration, SpreadModel(RISING, sharpness), random_ids(24, 32))
    assert overall.verdict is verdict
    assert overall.estimate == pytest.approx(sign)
    assert [f.layer for f in layers] == list(range(9))
    assert [f.estimate for f in layers] == sorted(f.estimate for f in layers)


def test_layers_that_chance_would_order_as_well_are_not_settled() -> None:
    """Documents tell this correlation apart from 0 with ease; nine layers do not."""
    sharpness = [1, 0.5, 2, 0.7, 1.5, 0.6, 1.7, 0.8, 1.1]
    overall = judged(diversity_tracks_concentration, SpreadModel(RISING, sharpness), random_ids(24, 32))[0]
    assert overall.interval is not None and overall.interval[0] > 0
    assert overall.verdict is Verdict.WARN
    assert overall.p is not None and overall.p > 0.05


@pytest.mark.parametrize(
    ("count", "layers", "verdict"),
    [(6, 7, Verdict.INSUFFICIENT), (6, 9, Verdict.INSUFFICIENT)],
    ids=["few layers", "documents"],
)
def test_too_little_to_judge(count: int, layers: int, verdict: Verdict) -> None:
    model = SpreadModel(RISING[:layers], MORE[:layers])
    assert judged(diversity_tracks_concentration, model, random_ids(count, 32))[0].verdict is verdict


@pytest.mark.parametrize(
    ("spread", "pattern", "words"),
    [
        (0.01, nothing, "collapsed representations, near-uniform attention: as expected"),
        (0.01, own_token, "collapsed representations, yet attention off uniform"),
        (1.0, nothing, "representations not collapsed, yet near-uniform attention"),
        (1.0, own_token, "representations not collapsed, attention off uniform"),
    ],
)
def test_a_layer_is_told_in_words(spread: float, pattern: object, words: str) -> None:
    model = SpreadModel([spread], [1.0])
    model.layers[0].pattern = pattern
    layer = judged(diversity_tracks_concentration, model, random_ids(20, 32))[1]
    assert layer.verdict is Verdict.INFO
    assert layer.reason.startswith(words)


def test_a_layer_whose_input_was_not_seen_is_undefined_and_none_at_all_is_skipped() -> None:
    study = study_of(PatternModel(nothing, nothing), random_ids(20, 32))
    study.observed.layers[0].values["entering_spread"][:] = float("nan")
    assert [f.verdict for f in diversity_tracks_concentration(study)[1:]] == [Verdict.UNDEFINED, Verdict.INFO]
    study.observed.layers[1].values["entering_spread"][:] = float("nan")
    assert [f.verdict for f in diversity_tracks_concentration(study)] == [Verdict.SKIP]


def with_documents(spread: np.ndarray, focus: np.ndarray) -> list[Finding]:
    """Findings of a model of one layer whose documents have the spread, and whose heads the concentration."""
    study = study_of(PatternModel(nothing), random_ids(len(spread), 32))
    values = study.observed.layers[0].values
    values["entering_spread"], values["concentration"] = spread, focus
    return diversity_tracks_concentration(study)


def test_one_layer_is_answered_over_documents() -> None:
    """Heads that follow the input's diversity are counted; one that does not is left out of the count."""
    random = np.random.default_rng(0)
    spread = random.uniform(0.2, 0.8, 32)
    following = spread[:, None] + 0.1 * random.standard_normal((32, 3))
    other = random.uniform(0.0, 1.0, (32, 1))
    overall = with_documents(spread, np.concatenate([following, other], axis=1))[0]
    assert overall.verdict is Verdict.PASS and overall.n == 32
    assert overall.null == "0: documents paired at random"
    assert "3 of 4 heads show a correlation by themselves" in overall.reason
    assert with_documents(spread, 1 - following)[0].verdict is Verdict.ABSENT
    assert with_documents(spread, other)[0].verdict is Verdict.WARN
    flat = with_documents(spread, np.full((32, 2), 0.5))[0]
    assert flat.verdict is Verdict.INSUFFICIENT and "do not differ" in flat.reason
