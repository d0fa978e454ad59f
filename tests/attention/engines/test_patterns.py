"""Replaced patterns against explicit weight matrices."""

import pytest
import torch
from tests.cases import CASES, attention_call, real_tokens
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense_logits, dense_weights
from heedful.attention.engines.patterns import PATTERNS, pattern_output
from heedful.attention.visibility import causal, padding
from heedful.errors import UsageError

NAMES = [
    "plain_causal",
    "padded_left",
    "padded_both",
    "grouped_heads",
    "window_causal",
    "bool_mask_by_head",
    "wide_values",
    "learned_sink",
    "few_queries_aligned_at_end",
    "one_query_cached",
    "float64",
    "everything",
    "rows_that_see_nothing",
]


def explicit_weights(call: AttentionCall, pattern: str) -> Tensor:
    seen = ~dense_logits(call).isneginf()
    own = torch.arange(call.n_queries)[:, None] + (call.offset or 0)
    learned = dense_weights(call).nan_to_num()
    wanted = {
        "uniform": seen.double(),
        "local": (seen & ((own - torch.arange(call.n_keys)).abs() <= 5)).double(),
        "shuffled": torch.stack([learned[b - 1] for b in range(call.batch)]) * seen,
        "mean": torch.stack([learned[[o for o in range(call.batch) if o != b]].sum(0) for b in range(call.batch)])
        * seen,
    }[pattern]
    return (wanted / wanted.sum(-1, keepdim=True)).nan_to_num()


def explicit_output(call: AttentionCall, pattern: str) -> Tensor:
    assert call.value is not None
    value = call.value.double().repeat_interleave(call.heads // call.kv_heads, dim=1)
    return explicit_weights(call, pattern) @ value


@pytest.mark.parametrize("pattern", ["uniform", "local", "mean", "shuffled"])
@pytest.mark.parametrize("name", NAMES)
def test_output_is_that_of_explicit_weights(name: str, pattern: str) -> None:
    call = CASES[name]()
    found = pattern_output(call, pattern)
    assert call.value is not None and found.dtype == call.value.dtype
    torch.testing.assert_close(found.double(), explicit_output(call, pattern), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pattern", ["mean", "shuffled"])
def test_three_sequences(pattern: str) -> None:
    call = attention_call(causal() & padding(real_tokens((0, 4, 9), (0, 0, 0))), batch=3)
    torch.testing.assert_close(
        pattern_output(call, pattern).double(), explicit_output(call, pattern), rtol=1e-4, atol=1e-5
    )


def test_zero_gives_nothing() -> None:
    call = CASES["wide_values"]()
    found = pattern_output(call, "zero")
    assert found.shape == (2, 4, 37, 19) and not found.any()


def test_sharp_weights_of_the_sequence_itself_do_not_enter_its_mean() -> None:
    """One-hot rows: what is left of a row's own weight after it is taken out of the sum must be nothing."""
    call = attention_call(size=500.0)
    torch.testing.assert_close(
        pattern_output(call, "mean").double(), explicit_output(call, "mean"), rtol=1e-3, atol=1e-3
    )


def test_uniform_of_one_key_is_its_value() -> None:
    call = CASES["one_key"]()
    assert call.value is not None
    torch.testing.assert_close(pattern_output(call, "uniform"), call.value)


def test_refusals() -> None:
    call = attention_call(queries=6)
    with pytest.raises(UsageError, match="expected one of uniform, local, mean, shuffled, zero; got 'random'"):
        pattern_output(call, "random")
    with pytest.raises(UsageError, match="no values"):
        pattern_output(CASES["no_values"](), "uniform")
    with pytest.raises(UsageError, match="share no positions"):
        pattern_output(CASES["cross_attention"](), "local")
    for pattern in ("mean", "shuffled"):
        with pytest.raises(UsageError, match="at least 2 sequences, got 1"):
            pattern_output(attention_call(queries=6, batch=1), pattern)


def test_autocast_does_not_reach_patterns() -> None:
    call = attention_call()
    expected = pattern_output(call, "mean")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pattern_output(call, "mean"), expected)


def test_every_pattern_is_described() -> None:
    assert set(PATTERNS) == {"uniform", "local", "mean", "shuffled", "zero"}
    assert all(PATTERNS.values())
