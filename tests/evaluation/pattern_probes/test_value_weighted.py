"""Weights times norms of projected values: independent loops, a dormant head, and projections by name."""

from __future__ import annotations

from dataclasses import replace
from statistics import median_low
from typing import Any

import pytest
import torch
from tests.evaluation.material import batch_of, call_of, probed_call_of
from tests.evaluation.pattern_probes.loops import cases, mean, norms_by_loop, weights_by_loop
from torch import nn
from transformers.pytorch_utils import Conv1D

from heedful.evaluation.evidence import ProbedCall
from heedful.evaluation.pattern_probes.value_weighted import output_weights, value_norms, value_weighted

CASES = cases()


def _sight(call: Any, module: nn.Module) -> ProbedCall:
    sight = probed_call_of(call, batch_of(torch.zeros(call.batch, call.n_keys, dtype=torch.long)))
    return replace(sight, event=replace(sight.event, module=module))


def _projected(call: Any) -> nn.Module:
    module = nn.Module()
    torch.manual_seed(0)
    module.o_proj = nn.Linear(call.heads * 8, 12, bias=False)
    return module


@pytest.mark.parametrize("case", CASES)
def test_as_a_loop(case: str) -> None:
    call, module = CASES[case], _projected(CASES[case])
    found = value_weighted(_sight(call, module))
    own = output_weights(module, call.heads, 8)
    assert own is not None
    for h in range(call.heads):
        torch.testing.assert_close(own[h], module.o_proj.weight[:, 8 * h : 8 * h + 8].T)
    weights, norms = weights_by_loop(call), norms_by_loop(call, own)
    for b in range(call.batch):
        rows_of_sequence = [row for row in weights[b][0] if row]
        first = min(j for row in rows_of_sequence for j in row)
        present = sorted({j for row in rows_of_sequence for j in row})
        for h in range(call.heads):
            size = norms[b][h]
            least = 0.25 * median_low(size[j] for j in present)
            near = [1 - sum(a for j, a in row.items() if size[j] >= least) for row in weights[b][h] if row]
            assert found["near_zero_mass"][b, h].item() == pytest.approx(mean(near), abs=1e-5)
            shares = [
                row.get(first, 0.0) * size[first] / sum(a * size[j] for j, a in row.items())
                for row in weights[b][h]
                if len(row) >= 8
            ]
            assert found["weighted_sink_mass"][b, h].item() == pytest.approx(mean(shares), rel=1e-4, abs=1e-6)


def test_a_head_that_rests_on_a_value_of_no_size_is_dormant_and_its_twin_is_not() -> None:
    call = call_of(heads=2, length=30)
    bias = torch.zeros(1, 1, 30, 30)
    bias[..., 0] = 12.0
    value = torch.nn.functional.normalize(call.value, dim=-1)
    value[:, 0, 0] *= 1e-3
    found = value_weighted(_sight(replace(call, value=value, bias=bias), nn.Identity()))
    assert (found["near_zero_mass"][:, 0] > 0.9).all() and (found["near_zero_mass"][:, 1] < 1e-6).all()
    assert (found["weighted_sink_mass"][:, 0] < 0.95).all() and (found["weighted_sink_mass"][:, 1] > 0.98).all()


def test_the_projection_decides_which_values_are_near_zero() -> None:
    """A value that the output projection removes carries nothing, whatever its own norm."""
    call = call_of(heads=1, length=20)
    value = torch.zeros_like(call.value)
    value[..., 0], value[:, :, 3] = 1.0, torch.eye(8)[1] * 50
    module = nn.Module()
    module.out_proj = nn.Linear(8, 4, bias=False)
    module.out_proj.weight.data.zero_()[:, 0] = 1.0
    norms = value_norms(replace(call, value=value), output_weights(module, 1, 8))
    assert norms[0, 0, 3] == 0 and (norms[0, 0, :3] == 2).all()


def test_projections_are_found_by_name_and_shape() -> None:
    conv = nn.Module()
    conv.c_proj = Conv1D(5, 12)
    torch.testing.assert_close(output_weights(conv, 3, 4), conv.c_proj.weight.detach().view(3, 4, 5))
    assert output_weights(nn.MultiheadAttention(12, 3), 3, 4).shape == (3, 4, 12)
    assert output_weights(nn.Linear(3, 3), 3, 4) is None
    other = nn.Module()
    other.o_proj = nn.Linear(7, 12)
    assert output_weights(other, 3, 4) is None


def test_undefined_without_values() -> None:
    sight = _sight(call_of(), nn.Identity())
    alone = replace(sight, event=replace(sight.event, call=replace(sight.event.call, value=None)))
    found = value_weighted(alone)
    assert all(value.isnan().all() for value in found.values())
