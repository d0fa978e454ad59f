"""Punctuation against their uniform share."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing, punctuation_keys
from tests.evaluation.checks.planted import random_ids, sequences_of
from torch import Tensor

from heedful.evaluation.checks.punctuation_mass import punctuation_mass
from heedful.inference.verdict import Verdict
from heedful.loading.sequences import TokenBatch


def text(count: int = 24, length: int = 32) -> TokenBatch:
    """Multiples of 7 are of the kind looked for."""
    return sequences_of(random_ids(count, length))


def shunned(ids: Tensor) -> Tensor:
    return -punctuation_keys(ids)


def test_a_head_that_likes_them_passes() -> None:
    overall, *heads = judged(punctuation_mass, PatternModel(punctuation_keys), text())
    assert {f.verdict for f in (overall, *heads)} == {Verdict.PASS}
    assert overall.estimate is not None and overall.estimate > 1.0
    assert overall.null == "an effect at the margin, a factor of 1.25; 0 is uniform attention over the same rows"
    assert overall.p_adjusted is not None and overall.p_adjusted <= 0.05


@pytest.mark.parametrize("pattern", [nothing, shunned])
def test_uniform_attention_and_a_head_that_shuns_them_do_not(pattern: object) -> None:
    overall, *heads = judged(punctuation_mass, PatternModel(pattern), text())
    assert {f.verdict for f in (overall, *heads)} == {Verdict.ABSENT}
    if pattern is nothing:
        assert overall.estimate == pytest.approx(0.0, abs=1e-5)


def test_a_text_without_them_is_skipped_and_a_short_one_insufficient() -> None:
    without = sequences_of(torch.full((24, 32), 3))
    assert judged(punctuation_mass, PatternModel(nothing), without)[0].verdict is Verdict.SKIP
    assert judged(punctuation_mass, PatternModel(punctuation_keys), text(6))[0].verdict is Verdict.INSUFFICIENT
