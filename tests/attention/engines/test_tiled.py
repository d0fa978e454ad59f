"""Query blocks against the dense oracle: every case, every cut, and never a (query, key) array."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import CASES, alibi, attention_call, real_tokens
from tests.labels import key_groups
from tests.tolerances import assert_close, flat_moments, tolerances
from torch.utils._python_dispatch import TorchDispatchMode

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense, dense_weights
from heedful.attention.engines.fused import fused
from heedful.attention.engines.moments import Extras, Moments
from heedful.attention.engines.tiled import tiled
from heedful.attention.visibility import bidirectional, causal, masked, padding

ELEMENTS = (1, 2500, None)
"""One head of one sequence by sixteen rows; blocks of a few more; all at once."""


def every_extra(call: AttentionCall) -> Extras:
    return Extras(groups=key_groups(call), distances=True, contrast=True)


def statistics_dtype(call: AttentionCall) -> torch.dtype:
    return torch.float64 if call.query.dtype == torch.float64 else torch.float32


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_the_dense_oracle_in_every_cut(name: str) -> None:
    call = CASES[name]()
    extras = every_extra(call)
    allowed = tolerances(call, statistics_dtype(call), extras)
    truth = dense(call, extras)
    for elements in ELEMENTS:
        assert_close(tiled(call, extras, elements=elements), truth, allowed)


@pytest.mark.parametrize("name", CASES)
def test_pools_are_sums_of_weights_over_their_sequences(name: str) -> None:
    """Whole, or in parts of sequences and heads; what is cut into rows gives none."""
    call = CASES[name]()
    pools = (torch.arange(3)[:, None] + torch.arange(call.batch)) % 2 == 0  # one pool is empty where the batch is 1
    weights = dense_weights(call).nan_to_num()
    truth = torch.stack([weights[pool].sum(0) for pool in pools])
    for elements in ELEMENTS:
        found = tiled(call, Extras(pools=pools), elements=elements).pooled
        assert found is not None or elements is not None or not call.visibility.hides_nothing()
        if found is not None:
            torch.testing.assert_close(found.double(), truth, rtol=1e-4, atol=1e-5)
    assert tiled(call).pooled is None


@pytest.mark.parametrize("engine", [tiled, fused])
@pytest.mark.parametrize("offset", [9, 14, 15, 30])
def test_queries_that_stand_beyond_the_keys_have_no_key_before(engine: Callable[..., Moments], offset: int) -> None:
    call = attention_call(causal(offset=offset), queries=21, keys=15)
    truth = dense(call)
    assert truth.rows.previous_mass.isnan()[0, 0].tolist() == [offset + i > 15 for i in range(21)]
    assert_close(engine(call), truth, tolerances(call, torch.float32, engine=engine.__name__))


@given(
    batch=st.integers(1, 3),
    kv_heads=st.integers(1, 3),
    repeated=st.integers(1, 3),
    queries=st.integers(1, 50),
    keys=st.integers(1, 50),
    dim=st.integers(1, 9),
    elements=st.integers(1, 5000),
    is_causal=st.booleans(),
    window=st.none() | st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_any_shape(
    batch: int,
    kv_heads: int,
    repeated: int,
    queries: int,
    keys: int,
    dim: int,
    elements: int,
    is_causal: bool,
    window: int | None,
    seed: int,
) -> None:
    call = attention_call(
        causal(window=window) if is_causal else bidirectional(window=window),
        batch=batch,
        heads=kv_heads * repeated,
        kv_heads=kv_heads,
        queries=queries,
        keys=keys,
        dim=dim,
        seed=seed,
        dtype=torch.float64,
    )
    extras = every_extra(call)
    truth = dense(call, extras)
    allowed = dict.fromkeys(flat_moments(truth), 1e-10)  # float64 against float64: summation order alone
    assert_close(tiled(call, extras, elements=elements), truth, allowed)


@settings(max_examples=10)
@given(elements=st.integers(1, 20_000))
def test_blocks_do_not_show(elements: int) -> None:
    call = CASES["everything"]()
    whole, cut = tiled(call, every_extra(call)), tiled(call, every_extra(call), elements=elements)
    assert_close(cut, whole, tolerances_of_everything())


def tolerances_of_everything(remembered: dict[str, float] = {}) -> dict[str, float]:  # noqa: B006
    """The derived tolerances of one case, worked out once."""
    if not remembered:
        call = CASES["everything"]()
        remembered |= tolerances(call, torch.float32, every_extra(call))
    return remembered


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements of any tensor that an operation returned in storage of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage().nbytes()
                self.bytes = max(self.bytes, storage)
                self.elements = max(self.elements, storage // tensor.element_size())
        return result


def long_call(length: int, **rules: Any) -> AttentionCall:
    return attention_call(rules.pop("visibility", None), batch=1, heads=2, queries=length, dim=16, **rules)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: long_call(4096), id="causal"),
        pytest.param(lambda: long_call(4096, visibility=bidirectional(), softcap=3.0), id="bidirectional"),
        pytest.param(
            lambda: long_call(4096, visibility=causal(window=64) & padding(real_tokens((64,), (9,), 4096))), id="window"
        ),
    ],
)
def test_no_query_by_key_array(call: Callable[[], AttentionCall]) -> None:
    attention = call()
    with LargestTensor() as largest:
        tiled(attention, Extras(distances=True))
    assert largest.elements <= 4096 * 4096 / 8
    with LargestTensor() as least:
        tiled(attention, elements=1)
    # Sixteen rows at a time: the arrays that stay are the inputs and the results, all linear in N.
    assert least.elements <= 4096 * 128


def test_the_mask_itself_may_be_the_only_square() -> None:
    length = 2048
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    attention = long_call(length, visibility=masked(mask))
    with LargestTensor() as largest:
        tiled(attention)
    assert largest.bytes <= length * length  # the mask's own storage, a byte a pair; no float beside it
    assert largest.elements <= length * length


def test_inputs_are_left_as_they_were() -> None:
    call = CASES["everything"]()
    tensors: list[Any] = [call.query, call.key, call.value, call.bias, call.sink, call.visibility.keys]
    before = [tensor.clone() for tensor in tensors]
    tiled(call, every_extra(call), elements=1000)
    for old, new in zip(before, tensors, strict=True):
        assert torch.equal(old, new)


def test_inputs_that_require_gradients() -> None:
    call = attention_call()
    for name in ("query", "key", "value"):
        getattr(call, name).requires_grad_()
    found = tiled(call)
    assert not any(value.requires_grad for value in flat_moments(found).values())
    assert call.query.grad is None


def test_expanded_and_transposed_inputs() -> None:
    call = attention_call(heads=4, kv_heads=4)
    strided = {
        name: getattr(call, name).transpose(1, 2).contiguous().transpose(1, 2) for name in ("query", "key", "value")
    }
    torch.testing.assert_close(tiled(replace(call, **strided)).rows.entropy, tiled(call).rows.entropy)
    shared = replace(call, key=call.key[:1].expand(2, -1, -1, -1), value=call.key[:1].expand(2, -1, -1, -1))
    assert_close(tiled(shared), dense(shared), tolerances(shared, torch.float32))


def test_autocast_does_not_reach_the_statistics() -> None:
    call = attention_call()
    with torch.autocast("cpu", torch.bfloat16):
        inside = tiled(call)
        inside_dense = dense(call)
    assert torch.equal(inside.rows.entropy, tiled(call).rows.entropy)
    assert torch.equal(inside_dense.rows.entropy, dense(call).rows.entropy)


def test_inference_mode() -> None:
    with torch.inference_mode():
        call = attention_call()
        found = tiled(call)
    assert found.rows.entropy.isfinite().all()


def test_a_row_in_which_all_but_one_weight_underflows() -> None:
    call = attention_call(size=4000.0)
    found = tiled(call)
    for name, value in flat_moments(found).items():
        if name not in ("lag_overlap", "distant_overlap", "previous_mass"):
            assert value.isfinite().all(), name
    assert (found.rows.total == 1).all()


@pytest.mark.fault
def test_nan_logits_stay_nan_in_their_own_head() -> None:
    """F08: the other heads are still measured."""
    call = attention_call()
    call.query[0, 1] = math.nan
    for elements in (1, None):
        found = tiled(call, every_extra(call), elements=elements)
        assert_close(found, dense(call, every_extra(call)), tolerances(call, torch.float32, every_extra(call)))
        assert found.rows.entropy[0, 1].isnan().all()
        assert found.output is not None and found.output[0, 1].isnan().all()
        assert found.rows.entropy[0, 0].isfinite().all()


@pytest.mark.fault
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_logits_that_overflow_are_not_uniform(dtype: torch.dtype) -> None:
    """F09: infinite logits give NaN, in every moment that would otherwise say something; no row counts as empty."""
    call = attention_call(scale=1e38)
    call = replace(call, query=(call.query * 1e5).to(dtype), key=call.key.to(dtype))
    found = tiled(call)
    for name in ("entropy", "max_weight", "collision", "logsumexp", "self_mass", "total"):
        assert getattr(found.rows, name)[..., -1].isnan().all(), name
    assert found.empty_rows == 0


def test_long_bias_in_blocks() -> None:
    call = attention_call(bidirectional(), queries=300, heads=2, bias=alibi(2, 300, 300))
    assert_close(tiled(call), dense(call), tolerances(call, torch.float32))
