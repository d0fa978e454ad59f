"""The heaviest key: an independent loop, and a head that rests on key 5."""

from __future__ import annotations

import math

import pytest
import torch
from tests.evaluation.material import batch_of, planted_call, probed_call_of
from tests.evaluation.pattern_probes.loops import cases, mean, weights_by_loop

from heedful.evaluation.pattern_probes.key_sinks import key_sinks

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
