"""What other keys do to rows and outputs, against whole arrays in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.evaluation.material import call_of
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.changed_keys import attended, key_change
from heedful.attention.engines.dense import dense, dense_logits, dense_weights
from heedful.attention.visibility import Visibility
from heedful.errors import CallError


def whole(call: AttentionCall, key: Tensor) -> tuple[Tensor, Tensor]:
    """Mean divergence and relative error over rows that see 8 keys, with the (query, key) arrays laid out."""
    assert call.value is not None
    wide = replace(call, query=call.query.double(), key=call.key.double(), value=call.value.double())
    seen = dense_weights(wide).isfinite() & (dense_weights(wide) > 0)
    logs = []
    for one in (wide, replace(wide, key=key.double())):
        logits = torch.where(seen, dense_logits(one), -torch.inf)
        if call.sink is not None:
            extra = call.sink.double()[None, :, None, None].expand(*logits.shape[:3], 1)
            logits = torch.cat([logits, extra], -1)
        logs.append(logits - torch.logsumexp(logits, -1, keepdim=True))
    judged = seen.sum(-1) >= 8
    weights = [log.exp().nan_to_num() for log in logs]
    rows = torch.where(weights[0] > 0, weights[0] * (logs[0] - logs[1]), 0.0).sum(-1)
    value = wide.value.repeat_interleave(call.heads // call.kv_heads, 1) if wide.value is not None else None
    assert value is not None
    outputs = [(one[..., : call.n_keys] @ value) * judged[..., None] for one in weights]
    error = (outputs[1] - outputs[0]).square().sum((2, 3)).sqrt() / outputs[0].square().sum((2, 3)).sqrt()
    return (rows * judged).sum(-1) / judged.sum(-1), error


CALLS = {
    "plain": lambda: call_of(length=90),
    "grouped": lambda: call_of(heads=4, kv_heads=2, length=70),
    "padded": lambda: call_of(
        visibility=Visibility(is_causal=True, keys=torch.arange(24)[None].expand(2, -1) < torch.tensor([[24], [15]]))
    ),
    "softcap": lambda: call_of(gain=4.0, softcap=3.0),
    "sink": lambda: call_of(sink=torch.tensor([0.0, 2.0, -1.0])),
    "both ways": lambda: call_of(visibility=Visibility(is_causal=False)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("size", [1e-3, 0.3, 20.0])
def test_divergence_and_error_are_those_of_whole_arrays(name: str, size: float) -> None:
    call = CALLS[name]()
    key = call.key + size * torch.randn(call.key.shape, generator=torch.Generator().manual_seed(5))
    found = key_change(call, key)
    divergence, error = whole(call, key)
    assert torch.allclose(found.divergence, divergence, rtol=2e-3, atol=1e-10)
    assert torch.allclose(found.error, error, rtol=2e-3, atol=1e-7)


def test_small_changes_keep_their_digits() -> None:
    """Half the variance of the logits' change: 1e-9, where a logarithm of float32 numbers rounds at 1e-7."""
    call = call_of(length=32)
    key = call.key + 1e-5 * torch.randn(call.key.shape, generator=torch.Generator().manual_seed(5))
    found = key_change(call, key).divergence
    assert bool((found > 0).all()) and bool((found < 1e-8).all())
    assert torch.allclose(found, whole(call, key)[0], rtol=0.02, atol=0)


def test_the_same_keys_change_nothing_and_a_shared_shift_moves_no_weight() -> None:
    call = call_of()
    found = key_change(call, call.key.clone())
    assert torch.equal(found.divergence, torch.zeros(2, 3).double()) and bool((found.error == 0).all())
    shifted = key_change(call, call.key + torch.randn(8, generator=torch.Generator().manual_seed(0)))
    assert bool((shifted.divergence < 1e-9).all())


def test_rows_that_see_few_keys_are_not_judged() -> None:
    assert bool(key_change(call_of(length=7), torch.zeros(2, 3, 7, 8)).divergence.isnan().all())


def test_output_in_blocks_is_that_of_whole_arrays() -> None:
    for name, make in CALLS.items():
        call = make()
        expected = dense(call).output
        assert expected is not None
        assert torch.allclose(attended(call).double(), expected.double(), atol=1e-5), name


def test_without_values_there_is_no_error_and_other_shapes_are_refused() -> None:
    call = replace(call_of(), value=None)
    found = key_change(call, call.key * 2)
    assert bool(found.error.isnan().all()) and bool((found.divergence > 0).all())
    with pytest.raises(CallError, match="expected values"):
        attended(call)
    with pytest.raises(CallError, match=r"\(2, 3, 24, 8\), got \(2, 3, 24, 7\)"):
        key_change(call, call.key[..., :7])
