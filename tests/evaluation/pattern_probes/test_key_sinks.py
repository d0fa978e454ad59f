"""The heaviest key: an independent loop, and a head that rests on key 5."""

from __future__ import annotations

import math

import pytest
import torch
from tests.evaluation.material import batch_of, planted_call, probed_call_of
from tests.evaluation.pattern_probes.loops import cases, logit, mean, weights_by_loop

from heedful.attention.visibility import bidirectional
from heedful.evaluation.pattern_probes.key_sinks import OFFSETS, key_sinks, max_logit, offset_mass

CASES = cases()


@pytest.mark.parametrize("case", CASES)
def test_as_a_loop(case: str) -> None:
    call = CASES[case]
    found = key_sinks(probed_call_of(call, batch_of(torch.zeros(call.batch, call.n_keys, dtype=torch.long))))
    weights = weights_by_loop(call)
    for b in range(call.batch):
        first = min(j for row in weights[b][0] for j in row)
        for h in range(call.heads):
            means = {}
            for j in range(call.n_keys):
                seen = [row[j] for row in weights[b][h] if j in row]
                if len(seen) >= 8 and 4 * len(seen) >= call.n_queries:
                    means[j] = mean(seen)
            later = {j: value for j, value in means.items() if j != first}
            best = max(later, key=later.__getitem__)
            assert found["later_sink_mass"][b, h].item() == pytest.approx(later[best], rel=1e-5)
            assert found["later_sink_key"][b, h] == best
            assert found["top_key"][b, h] == max(means, key=means.__getitem__)


def test_a_sink_at_a_later_key_and_one_at_the_first() -> None:
    logits = torch.zeros(1, 2, 40, 40)
    logits[0, 0, :, 5] = 30.0
    logits[0, 1, :, 0] = 30.0
    found = key_sinks(probed_call_of(planted_call(logits), batch_of(torch.zeros(1, 40, dtype=torch.long))))
    assert found["later_sink_mass"][0, 0] > 0.99 and found["later_sink_key"][0, 0] == 5
    assert found["top_key"][0].tolist() == [5, 0]
    assert found["later_sink_mass"][0, 1] < 1e-6


def test_undefined_where_too_few_queries_see_any_key() -> None:
    call = planted_call(torch.zeros(1, 1, 7, 7))
    found = key_sinks(probed_call_of(call, batch_of(torch.zeros(1, 7, dtype=torch.long))))
    assert all(math.isnan(value) for value in (found["top_key"], found["later_sink_mass"], found["later_sink_key"]))


@pytest.mark.parametrize("case", CASES)
def test_as_a_loop_of_max_logit(case: str) -> None:
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


@pytest.mark.parametrize("case", CASES)
def test_as_a_loop_of_offset_mass(case: str) -> None:
    call = CASES[case]
    found = offset_mass(probed_call_of(call, batch_of(torch.zeros(call.batch, call.n_keys, dtype=torch.long))))[
        "offset_mass"
    ]
    weights = weights_by_loop(call)
    for b in range(call.batch):
        for h in range(call.heads):
            for column, d in enumerate(OFFSETS):
                rows = [row[i + d] for i, row in enumerate(weights[b][h]) if len(row) >= 8 and i + d in row]
                expected = torch.tensor(mean(rows), dtype=torch.double)
                torch.testing.assert_close(found[b, h, column], expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("offset", [-8, -3, 0, 2, 8])
def test_a_head_that_looks_at_one_offset(offset: int) -> None:
    logits = torch.zeros(1, 1, 40, 40)
    for i in range(40):
        if 0 <= i + offset < 40:
            logits[0, 0, i, i + offset] = 50.0
    call = planted_call(logits, bidirectional())
    found = offset_mass(probed_call_of(call, batch_of(torch.zeros(1, 40, dtype=torch.long))))["offset_mass"][0, 0]
    assert OFFSETS[int(found.argmax())] == offset and found.max() > 0.999
    others = torch.cat([found[: OFFSETS.index(offset)], found[OFFSETS.index(offset) + 1 :]])
    assert others.max() < 0.03  # rows at the end, whose offset leads outside, are uniform
