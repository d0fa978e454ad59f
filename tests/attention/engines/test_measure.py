"""The public door: tensors in, moments out, and what it refuses."""

import math

import pytest
import torch
from tests.cases import attention_call, real_tokens
from tests.tolerances import assert_close, tolerances

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense
from heedful.attention.engines.measure import ENGINES, measure
from heedful.attention.engines.moments import Extras
from heedful.attention.engines.tiled import tiled
from heedful.attention.visibility import bidirectional, causal, padding
from heedful.errors import CallError, UsageError


def test_shapes_are_those_promised() -> None:
    call = attention_call(heads=4, kv_heads=2, value_dim=5)
    found = measure(call.query, call.key, call.value)
    names = ("visible", "logsumexp", "entropy", "max_weight", "collision", "mean_position", "self_mass", "first_mass")
    for name in (*names, "local_mass", "lag_overlap"):
        assert getattr(found.rows, name).shape == (2, 4, call.n_queries), name
    assert found.keys.received.shape == found.keys.seen_by.shape == (2, 4, call.n_keys)
    assert found.output is not None and found.output.shape == (2, 4, call.n_queries, 5)
    assert found.rows.entropy.dtype == torch.float32 and found.rows.visible.dtype == torch.int64
    assert found.rows.n_keys == call.n_keys


def test_value_may_be_left_out() -> None:
    call = attention_call()
    assert measure(call.query, call.key).output is None


@pytest.mark.parametrize("engine", ENGINES)
def test_a_named_engine_is_the_one_that_runs(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call = attention_call(queries=5)
    assert measure(call.query, call.key, engine=engine).engine == engine

    def refuse(call: AttentionCall, extras: Extras | None) -> None:
        raise CallError("cannot")

    monkeypatch.setitem(ENGINES, engine, refuse)  # type: ignore[arg-type]
    with pytest.raises(CallError, match="cannot"):
        measure(call.query, call.key, engine=engine)


def test_auto_is_tiled() -> None:
    call = attention_call(queries=5)
    assert measure(call.query, call.key).engine == "tiled"


def test_unknown_engine() -> None:
    call = attention_call(queries=5)
    with pytest.raises(UsageError, match="expected one of auto, dense, tiled, fused; got 'fast'"):
        measure(call.query, call.key, engine="fast")


def test_options_reach_the_call() -> None:
    call = attention_call(bidirectional() & padding(real_tokens(left=(0, 3))), scale=0.3, bias=torch.randn(37, 37))
    found = measure(
        call.query,
        call.key,
        call.value,
        visibility=call.visibility,
        scale=0.3,
        bias=call.bias,
        extras=Extras(distances=True),
    )
    assert_close(found, dense(call, Extras(distances=True)), tolerances(call, torch.float32, Extras(distances=True)))


def test_causal_and_the_usual_scale_are_the_default() -> None:
    call = attention_call()
    found, expected = measure(call.query, call.key), tiled(AttentionCall(query=call.query, key=call.key, scale=8**-0.5))
    assert torch.equal(found.rows.entropy, expected.rows.entropy)
    assert (found.rows.visible[0, 0] == torch.arange(1, 38)).all()


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_a_scale_must_be_finite(scale: float) -> None:
    call = attention_call(queries=5)
    with pytest.raises(CallError, match="scale: expected a finite number"):
        measure(call.query, call.key, scale=scale)


def test_a_bias_must_be_finite() -> None:
    call = attention_call(queries=5)
    bias = torch.zeros(5, 5).masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -math.inf)
    with pytest.raises(CallError, match=r"bias: expected finite numbers.*visibility=heedful\.masked"):
        measure(call.query, call.key, bias=bias, visibility=causal())


def test_the_scaled_dot_product_attention_output() -> None:
    call = attention_call(heads=4, kv_heads=2)
    found = measure(call.query, call.key, call.value)
    assert call.value is not None
    kernel = torch.nn.functional.scaled_dot_product_attention(
        call.query, call.key, call.value, is_causal=True, enable_gqa=True
    )
    torch.testing.assert_close(found.output, kernel)
