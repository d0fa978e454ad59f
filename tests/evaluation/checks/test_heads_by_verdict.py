"""The count of the head table."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.pattern_models import PatternModel, judged, near_keys, nothing, own_token
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids
from torch import Tensor

from heedful.evaluation.checks.heads_by_verdict import heads_by_verdict
from heedful.inference.verdict import Verdict


def faint(ids: Tensor) -> Tensor:
    return own_token(ids) / 5


def strongly_near(ids: Tensor) -> Tensor:
    return 2 * near_keys(ids)


def now_and_then(ids: Tensor) -> Tensor:
    """Sharp in a few documents alone: the interval spans the margin."""
    chosen = (ids[:, 0] % 4 == 0)[:, None, None, None]
    return own_token(ids) * (0.35 + chosen)


@pytest.mark.parametrize(
    ("model", "verdict", "words"),
    [
        (PlantedModel(*previous_token_heads(2, 32)), Verdict.PASS, "2 heads: 2 SHARP"),
        (PatternModel(strongly_near), Verdict.PASS, "2 heads: 2 SELECTIVE"),
        (PatternModel(nothing), Verdict.ABSENT, "2 heads: 2 DIFFUSE"),
        (PatternModel(faint), Verdict.ABSENT, "2 heads: 2 DIFFUSE"),
        (PatternModel(now_and_then), Verdict.WARN, "2 might be selective"),
    ],
    ids=["sharp", "selective", "diffuse", "faint", "spanning"],
)
def test_some_heads_are_selective_or_none_or_it_is_open(model: torch.nn.Module, verdict: Verdict, words: str) -> None:
    (found,) = judged(heads_by_verdict, model, random_ids(24, 32))
    assert (found.verdict, words in found.reason) == (verdict, True), found.reason
    assert found.threshold == 0.5


def test_few_documents_are_insufficient_and_short_ones_undefined() -> None:
    model = PlantedModel(*previous_token_heads(2, 32))
    assert judged(heads_by_verdict, model, random_ids(6, 32))[0].verdict is Verdict.INSUFFICIENT
    assert judged(heads_by_verdict, model, random_ids(24, 6))[0].verdict is Verdict.UNDEFINED
