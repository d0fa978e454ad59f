"""Mass at each offset: an independent loop, and a head that looks three tokens back."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.material import batch_of, planted_call, probed_call_of
from tests.evaluation.pattern_probes.loops import cases, mean, weights_by_loop

from heedful.attention.visibility import bidirectional
from heedful.evaluation.pattern_probes.offset_mass import OFFSETS, offset_mass

CASES = cases()


@pytest.mark.parametrize("case", CASES)
def test_as_a_loop(case: str) -> None:
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
