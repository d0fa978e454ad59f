"""The law of cached decoding: a step with one query is the row that it has in the whole sequence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.cases import attention_call, filled_to
from tests.tolerances import flat_moments
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.groups import Groups
from heedful.attention.engines.measure import ENGINES
from heedful.attention.engines.moments import Extras, Moments
from heedful.attention.visibility import causal

LENGTH, STEPS = 30, (1, 2, 7, 21, 30)
TOKENS = torch.randint(-1, 5, (2, LENGTH), generator=torch.Generator().manual_seed(2))
OF_PAIRS = ("lag_overlap", "distant_overlap", "received")
"""Moments that one query alone does not have."""

FROM_FIRST = ("mean_position", "first_mass")
"""Moments that count from the first key that is shown to any query: under a window one query has a first of its own."""


def decoded(engine: str, call: AttentionCall) -> Moments:
    tokens = torch.nn.functional.pad(TOKENS, (0, max(0, call.n_keys - LENGTH)), value=-1)[:, : call.n_keys]
    return ENGINES[engine](call, Extras(groups=Groups(tokens=tokens)))


def assert_row(found: Moments, whole: Moments, at: int, window: int | None) -> None:
    left_out = OF_PAIRS if window is None else (*OF_PAIRS, *FROM_FIRST)
    for name, value in flat_moments(found).items():
        if name not in left_out:
            expected: Tensor = flat_moments(whole)[name][:, :, at : at + 1]
            torch.testing.assert_close(value, expected, rtol=2e-5, atol=2e-6, equal_nan=True, msg=name)
    assert torch.equal(found.rows.visible, whole.rows.visible[:, :, at : at + 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_of_a_growing_cache_is_a_row(engine: str, window: int | None, dtype: torch.dtype) -> None:
    call = attention_call(causal(window=window), queries=LENGTH, heads=4, kv_heads=2, value_dim=12, dtype=dtype)
    whole = decoded(engine, call)
    for n in STEPS:
        cut = {name: getattr(call, name)[:, :, :n] for name in ("key", "value")}
        assert_row(decoded(engine, replace(call, query=call.query[:, :, n - 1 : n], **cut)), whole, n - 1, window)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_of_a_static_cache_is_a_row(engine: str, window: int | None, dtype: torch.dtype) -> None:
    """Slots that no token has filled hold zeros and lie beyond the query's position."""
    call = attention_call(causal(window=window), queries=LENGTH, heads=4, kv_heads=2, value_dim=12, dtype=dtype)
    whole = decoded(engine, call)
    room = {name: torch.nn.functional.pad(getattr(call, name), (0, 0, 0, 10)) for name in ("key", "value")}
    for n in STEPS:
        rules = causal(window=window, offset=n - 1)
        step = replace(call, query=call.query[:, :, n - 1 : n], visibility=rules, **room)
        assert_row(decoded(engine, filled_to(step, n)), whole, n - 1, window)
