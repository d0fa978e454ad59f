"""Moments of the fused engine against dense on every case it claims, and its refusals on every other."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.cases import CASES, UNSUPPORTED, attention_call
from tests.labels import key_groups
from tests.tolerances import assert_close, tolerances

from heedful.attention.engines import spans as spans_module
from heedful.attention.engines.dense import dense
from heedful.attention.engines.fused import fused
from heedful.attention.engines.measure import measure
from heedful.attention.engines.moments import Extras
from heedful.attention.engines.spans import spans
from heedful.attention.engines.tiled import tiled
from heedful.attention.visibility import causal
from heedful.errors import UnsupportedByEngine

REFUSED = UNSUPPORTED["fused"]


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_moments_are_dense(name: str) -> None:
    call = CASES[name]()
    extras = Extras(groups=key_groups(call))
    found = fused(call, extras)
    assert found.engine == "fused"
    assert_close(found, dense(call, extras), tolerances(call, torch.float32, extras, engine="fused"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_cannot_do_it_refuses_by_its_reason(name: str) -> None:
    with pytest.raises(UnsupportedByEngine, match=f"engine 'fused' cannot do .*{REFUSED[name]}"):
        fused(CASES[name]())


@pytest.mark.parametrize(
    ("rules", "extras", "reason"),
    [
        ({"bias": torch.zeros(37, 37)}, None, "a finite bias: the kernels know masks alone"),
        ({"softcap": 5.0}, None, "a softcap: the kernels' logits are plain products"),
        ({"sink": torch.zeros(4)}, None, "a learned sink: the kernels' rows sum to one"),
        ({"dtype": torch.float64}, None, "float64: the kernels' statistics are float32"),
        ({}, Extras(distances=True), "mass by distance: bins move with the query, and values do not"),
        ({}, Extras(contrast=True), "log weights of single keys: the kernels return sums of weights"),
    ],
)
def test_the_text_of_every_refusal(rules: dict[str, Any], extras: Extras | None, reason: str) -> None:
    with pytest.raises(UnsupportedByEngine) as raised:
        fused(attention_call(**rules), extras)
    assert str(raised.value) == f"engine 'fused' cannot do {reason}; ask for engine='tiled'"


def test_other_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(spans_module.KERNELS, "cpu")
    with pytest.raises(UnsupportedByEngine, match="device 'cpu': no kernel here"):
        fused(attention_call())


def test_a_build_without_the_operator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans_module.CpuFlash, "operator", "_no_such_operator")
    with pytest.raises(UnsupportedByEngine, match="no kernel here"):
        fused(attention_call())


def test_the_public_door_never_falls_back() -> None:
    call = attention_call()
    assert measure(call.query, call.key, engine="fused").engine == "fused"
    with pytest.raises(UnsupportedByEngine, match="finite bias"):
        measure(call.query, call.key, bias=torch.zeros(37, 37), engine="fused")


@pytest.mark.parametrize("size", [0.0, 1.5, 20.0])
def test_the_maximum_is_too_large_by_no_more_than_its_bound(size: float) -> None:
    call = attention_call(size=size)
    ratio = fused(call).rows.max_weight.double() / dense(call).rows.max_weight
    bound = torch.exp(dense(call).rows.visible.double().log() / 512)
    rounding = 1e-5
    assert (ratio >= 1 - rounding).all() and (ratio <= bound * (1 + rounding)).all()
    if size == 0.0:  # all keys equal: the bound is reached, so it is no looser than it must be
        torch.testing.assert_close(ratio, bound, rtol=rounding, atol=0.0)


def test_uniform_rows() -> None:
    rows = fused(attention_call(size=0.0)).rows
    seen = rows.visible.float()
    torch.testing.assert_close(rows.entropy, seen.log())
    torch.testing.assert_close(rows.collision, 1 / seen)
    torch.testing.assert_close(rows.mean_position, (seen - 1) / 2)


@pytest.mark.parametrize("rules", [causal(window=9), causal(offset=5), causal(window=2)])
def test_masks_by_blocks_are_masks_at_once(rules: object, monkeypatch: pytest.MonkeyPatch) -> None:
    call = attention_call(rules)  # type: ignore[arg-type]
    whole = fused(call)
    monkeypatch.setitem(spans.__globals__, "MASK_ELEMENTS", 7 * 37)
    in_blocks = fused(call)
    for name in ("entropy", "collision", "lag_overlap", "distant_overlap", "previous_mass"):
        torch.testing.assert_close(getattr(in_blocks.rows, name), getattr(whole.rows, name), equal_nan=True)
    torch.testing.assert_close(in_blocks.keys.received, whole.keys.received)


def test_a_common_offset_of_all_keys_costs_no_digits() -> None:
    """Differences of log-sum-exps near 1500 would be off by 1e-4; keys taken from their mean leave none of it."""
    call = attention_call()
    shifted = attention_call()
    shifted.key[...] += 500.0
    exact = dense(shifted).rows
    found, plain = fused(shifted).rows, fused(call).rows
    torch.testing.assert_close(found.logsumexp.double(), exact.logsumexp, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.entropy, plain.entropy, rtol=0.0, atol=2e-3)  # the keys' own rounding near 500
    torch.testing.assert_close(found.entropy.double(), exact.entropy, rtol=0.0, atol=1e-4)


def test_gradients_and_autocast_stay_outside() -> None:
    call = attention_call()
    expected = tiled(call).rows.entropy
    call.query.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = fused(call).rows.entropy
    assert not found.requires_grad and math.isclose(float((found - expected).abs().max()), 0.0, abs_tol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["plain_causal", "grouped_heads", "padded_left", "window_causal", "packed_documents"])
def test_moments_on_a_cuda_device(name: str) -> None:
    from dataclasses import replace

    call = CASES[name]()
    moved = replace(call, query=call.query.cuda(), key=call.key.cuda(), value=call.value.cuda())  # type: ignore[union-attr]
    found, exact = fused(moved), dense(call)
    for moment in ("entropy", "collision", "logsumexp", "lag_overlap", "self_mass"):
        ours, truth = getattr(found.rows, moment).cpu().double(), getattr(exact.rows, moment)
        torch.testing.assert_close(ours, truth, rtol=1e-4, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(found.keys.received.cpu().double(), exact.keys.received, rtol=1e-4, atol=1e-5)
