"""Texts on which planted attention is worth something known, and what every ablation claim must say of too little."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tests.evaluation.checks.pattern_models import PatternModel, induction_keys, judged, nothing
from tests.evaluation.checks.planted import VOCABULARY, alternating_ids, random_ids
from torch import Tensor

from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict

Check = Callable[[Study], list[Finding]]


def repeated_ids(count: int = 24, length: int = 64, seed: int = 0) -> Tensor:
    """Different tokens, then the same again, with a period of each sequence's own: an induction head predicts them."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        period = int(torch.randint(8, VOCABULARY, (1,), generator=generator))
        cycle = torch.randperm(VOCABULARY, generator=generator)[:period]
        rows.append(cycle.repeat(length // period + 1)[:length])
    return torch.stack(rows)


def topical_ids(count: int = 24, length: int = 32, seed: int = 0) -> Tensor:
    """Three tokens a document: an average over what is visible predicts as well as anything."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        topic = torch.randperm(VOCABULARY, generator=generator)[:3]
        rows.append(topic[torch.randint(3, (length,), generator=generator)])
    return torch.stack(rows)


def says_nothing_of_too_little(check: Check) -> None:
    """One sequence, few documents, and a model without a loss."""
    model = PatternModel(induction_keys)
    assert judged(check, model, repeated_ids(1))[0].verdict is Verdict.SKIP
    assert judged(check, model, repeated_ids(6))[0].verdict is Verdict.INSUFFICIENT
    both_ways = judged(check, PatternModel(nothing, causal=False), random_ids(24, 32))
    assert [f.verdict for f in both_ways] == [Verdict.SKIP]
    assert "no mask token" in both_ways[0].reason


__all__ = ["alternating_ids", "repeated_ids", "says_nothing_of_too_little", "topical_ids"]
