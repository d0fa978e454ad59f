"""The largest logit: an independent loop, closed forms, and half precision."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.material import batch_of, planted_call, probed_call_of
from tests.evaluation.pattern_probes.loops import cases, logit

from heedful.evaluation.pattern_probes.max_logit import max_logit

CASES = cases()


@pytest.mark.parametrize("case", CASES)
def test_as_a_loop(case: str) -> None:
    call = CASES[case]
    found = max_logit(probed_call_of(call, batch_of(torch.zeros(call.batch, call.n_keys, dtype=torch.long))))[
        "max_logit"
    ]
    seen = call.visibility.block(0, call.n_queries, 0, call.n_keys, call.n_queries, call.n_keys, call.query.device)
    seen = seen.expand(call.batch, call.heads, -1, -1)
    group = call.heads // call.kv_heads
    for b in range(call.batch):
        for h in range(call.heads):
            every = [logit(call, b, h, i, j, group) for i in range(20) for j in range(20) if seen[b, h, i, j]]
            assert found[b, h].item() == pytest.approx(max(every), abs=1e-5)


@pytest.mark.parametrize("peak", [-300.0, 0.0, 7.5, 4000.0])
def test_a_planted_peak(peak: float) -> None:
    logits = torch.full((1, 1, 12, 12), min(peak, 0.0) - 5.0)
    logits[0, 0, 9, 3] = peak
    logits[0, 0, 3, 9] = peak + 100  # hidden by the causal rule
    found = max_logit(probed_call_of(planted_call(logits), batch_of(torch.zeros(1, 12, dtype=torch.long))))["max_logit"]
    assert found.item() == pytest.approx(peak, rel=1e-6, abs=1e-5)
