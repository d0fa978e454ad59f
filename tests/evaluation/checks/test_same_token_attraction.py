"""Attraction between equal tokens, free of position and popularity."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.pattern_models import PatternModel, first_key, judged, own_token, punctuation_keys
from tests.evaluation.checks.planted import random_ids

from heedful.evaluation.checks.same_token_attraction import same_token_attraction
from heedful.inference.verdict import Verdict


def test_a_head_of_token_identity_passes_with_its_true_log_odds() -> None:
    overall, *heads = judged(same_token_attraction, PatternModel(own_token), random_ids(24, 64), null_models=19)
    assert {f.verdict for f in (overall, *heads)} == {Verdict.PASS}
    assert overall.estimate == pytest.approx(4.0, abs=1e-4)
    assert "a factor of 54.6" in overall.reason


@pytest.mark.parametrize("pattern", [punctuation_keys, first_key])
def test_liking_certain_tokens_or_positions_is_no_attraction(pattern: object) -> None:
    overall, *heads = judged(same_token_attraction, PatternModel(pattern), random_ids(24, 64))
    assert {f.verdict for f in (overall, *heads)} == {Verdict.ABSENT}
    assert overall.estimate == pytest.approx(0.0, abs=1e-4)


def test_logits_too_large_for_a_factor_are_shown_all_the_same() -> None:
    model = PatternModel(lambda ids: 500.0 * own_token(ids))
    assert judged(same_token_attraction, model, random_ids(24, 64))[0].estimate == pytest.approx(2000.0)


def test_no_token_comes_twice() -> None:
    ids = torch.arange(24).repeat(20, 1)
    assert judged(same_token_attraction, PatternModel(own_token), ids)[0].verdict is Verdict.UNDEFINED
