"""Binned maps against sums of the whole weight array."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.cases import CASES, LENGTH, attention_call, random_mask, real_tokens
from torch import Tensor

from heedful.attention.engines.binned import bin_edges, binned_map
from heedful.attention.engines.dense import dense, dense_logits, dense_weights
from heedful.attention.visibility import Visibility, bidirectional, causal, masked, padding
from heedful.errors import CallError


def by_slices(values: Tensor, query_edges: Tensor, key_edges: Tensor) -> Tensor:
    """Sum of each bin by its slice."""
    spans = [list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)) for edges in (query_edges, key_edges)]
    rows = [torch.stack([values[..., a:b, c:d].sum((-2, -1)) for c, d in spans[1]], dim=-1) for a, b in spans[0]]
    return torch.stack(rows, dim=-2)


@pytest.mark.parametrize("name", CASES)
def test_bins_are_sums_of_the_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(binned_map.__globals__, "BLOCK_ELEMENTS", 7 * 8 * LENGTH)
    call = CASES[name]()
    found = binned_map(call, 5)
    assert found.mass.shape[2:] == (min(5, call.n_queries), min(5, call.n_keys))
    edges = found.query_edges, found.key_edges
    expected = by_slices(dense_weights(call).nan_to_num(), *edges)
    rtol = 1e-4 if name in ("large_logits", "offset_logits") else 1e-5  # float32 logits of a thousand
    torch.testing.assert_close(found.mass.double(), expected, rtol=rtol, atol=1e-5 + rtol)
    assert torch.equal(found.visible, by_slices((~dense_logits(call).isneginf()).long(), *edges))


def test_as_many_bins_as_positions_are_the_weights() -> None:
    call = attention_call()
    found = binned_map(call)
    torch.testing.assert_close(found.mass.double(), dense_weights(call), rtol=1e-5, atol=1e-6)
    assert torch.equal(found.visible[0, 0], torch.ones(LENGTH, LENGTH, dtype=torch.int64).tril())


def test_sums_of_bins_are_moments() -> None:
    call = attention_call(masked(random_mask(2, 1, LENGTH, LENGTH)), heads=4, kv_heads=2)
    found, exact = binned_map(call, 6), dense(call)
    torch.testing.assert_close(found.mass.sum((-2, -1)).double(), exact.rows.total.nansum(-1), rtol=1e-6, atol=1e-5)
    by_key = by_slices(exact.keys.received[:, :, None], torch.tensor([0, 1]), found.key_edges)[:, :, 0]
    torch.testing.assert_close(found.mass.sum(-2).double(), by_key, rtol=1e-5, atol=1e-5)
    assert torch.equal(found.visible.sum((-2, -1)), exact.rows.visible.sum(-1))


def test_mean_of_uniform_rows() -> None:
    found = binned_map(attention_call(bidirectional(), size=0.0), 5)
    torch.testing.assert_close(found.mean, torch.full_like(found.mean, 1 / LENGTH))
    future = binned_map(attention_call(causal(), size=0.0), 4).mean[0, 0]
    assert future.triu(1).nan_to_num(-1.0).sum() == -6 and future.tril().isfinite().all()


@pytest.mark.parametrize(("length", "bins"), [(1, 256), (255, 256), (257, 256), (1000, 7)])
def test_edges_share_positions_evenly(length: int, bins: int) -> None:
    edges = bin_edges(length, bins)
    sizes = edges.diff()
    assert edges[0] == 0 and edges[-1] == length and len(sizes) == min(bins, length)
    assert sizes.min() >= 1 and sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(
    ("length", "rules"),
    [
        (100, causal()),
        (300, causal() & padding(real_tokens((0, 70), (9, 0), 300))),
        (777, causal(window=50) & padding(real_tokens((3, 0), (0, 200), 777))),
        (777, bidirectional(window=100)),
        (5000, causal(window=600)),
    ],
)
def test_any_length_is_exact(length: int, rules: Visibility) -> None:
    """Against float64 rows by plain numpy, summed between the edges ``k N // 256``."""
    batch = 1 if length > 1000 else 2
    call = attention_call(rules, batch=batch, heads=2, kv_heads=1, queries=length)
    found = binned_map(call)
    count = min(256, length)
    edges = np.arange(count) * length // count
    place = np.arange(length)
    for b, h in np.ndindex(batch, 2):
        query, key = call.query[b, h].double().numpy(), call.key[b, 0].double().numpy()
        away = place[:, None] - place
        seen = away >= 0 if rules.is_causal else np.ones_like(away, dtype=bool)
        if rules.window is not None:
            seen &= abs(away) < rules.window
        if rules.keys is not None:
            real = rules.keys[b].numpy()
            seen &= real[:, None] & real
        weight = np.exp(call.scale * query @ key.T) * seen
        weight /= weight.sum(-1, keepdims=True).clip(1e-300)
        for ours, truth in ((found.mass, weight), (found.visible, seen.astype(np.int64))):
            binned = np.add.reduceat(np.add.reduceat(truth, edges, axis=0), edges, axis=1)
            np.testing.assert_allclose(ours[b, h].numpy(), binned, rtol=1e-4, atol=1e-5)


def test_a_long_call() -> None:
    call = attention_call(causal(), batch=1, heads=1, queries=3000)
    found = binned_map(call)
    assert found.mass.shape == (1, 1, 256, 256)
    torch.testing.assert_close(found.mass.sum(-1)[0, 0], found.query_edges.diff().float())


def test_bins_must_be_some() -> None:
    with pytest.raises(CallError, match="bins: expected at least 1, got 0"):
        binned_map(attention_call(), 0)
