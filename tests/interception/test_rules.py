"""Masks in every form that models use, as visibility and a finite bias."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.cases import causal_mask
from torch import Tensor, nn

from heedful.errors import CaptureError, HeedfulError
from heedful.interception.rules import sdpa_rules, split_mask, table_rules

Q, K = torch.zeros(2, 4, 6, 8), torch.zeros(2, 2, 6, 8)
LOWEST = torch.finfo(torch.float32).min


class Decoder(nn.Module):
    is_causal = True


class Encoder(nn.Module):
    is_causal = False


def seen(
    name: str, module: nn.Module, query: Tensor, key: Tensor, mask: Any, **keywords: Any
) -> tuple[Tensor, Any, Any]:
    visibility, bias = table_rules(name, module, query, key, mask, keywords)
    n_queries, n_keys = query.shape[2], key.shape[2]
    block = visibility.block(0, n_queries, 0, n_keys, n_queries, n_keys, query.device)
    return block.expand(2, 4, -1, -1)[:, 0], bias, visibility


@pytest.mark.parametrize("hidden", [-torch.inf, LOWEST, -1e9, -1e4, float(torch.finfo(torch.float16).min)])
def test_every_way_to_write_hidden(hidden: float) -> None:
    shown, bias = split_mask(torch.where(causal_mask(5), 0.0, hidden))
    assert torch.equal(shown, causal_mask(5)) and bias is None


def test_bias_and_mask_in_one() -> None:
    additive = -torch.rand(1, 1, 5, 5)
    shown, bias = split_mask(additive.masked_fill(~causal_mask(5), -torch.inf))
    assert torch.equal(shown, causal_mask(5))
    assert bias is not None and bias.isfinite().all()
    assert torch.equal(bias, additive * causal_mask(5))


def test_a_constant_far_from_a_bias_hides() -> None:
    """-100 filled into a bias; slopes and distances take many values and hide nothing, however low they are."""
    bias = torch.randn(1, 1, 9, 9)
    shown, left = split_mask(bias.masked_fill(~causal_mask(9), -100.0))
    assert torch.equal(shown, causal_mask(9)) and left is not None and torch.equal(left, bias * causal_mask(9))
    at = torch.arange(64.0)
    for term in (-0.5 * (at[:, None] - at).abs(), -((at[:, None] - at) ** 2), -5000 * torch.rand(8, 8)):
        shown, left = split_mask(term[None, None])
        assert shown.all() and left is not None and torch.equal(left[0, 0], term)


def test_a_mask_that_was_added_to_a_bias_elsewhere_is_not_guessed() -> None:
    term = torch.randn(1, 1, 9, 9) - 100.0 * ~causal_mask(9)
    with pytest.raises(HeedfulError, match="mixes a bias with values near"):
        split_mask(term)


def test_bool_masks_pass() -> None:
    mask = causal_mask(5)
    shown, bias = split_mask(mask)
    assert shown is mask and bias is None


LOWER, ALL = torch.ones(6, 6, dtype=torch.bool).tril(), torch.ones(6, 6, dtype=torch.bool)


@pytest.mark.parametrize(
    ("name", "module", "keywords", "expected"),
    [
        ("sdpa", Decoder(), {}, LOWER),
        ("sdpa", Encoder(), {}, ALL),
        ("sdpa", Decoder(), {"is_causal": False}, ALL),
        ("sdpa", Encoder(), {"is_causal": True}, LOWER),
        ("eager", Decoder(), {}, ALL),  # eager adds the mask it gets, and nothing where it gets none
        ("flash_attention_2", Decoder(), {}, LOWER),
        ("flash_attention_2", Decoder(), {"sliding_window": 2}, LOWER & ~LOWER.tril(-2)),
        ("flash_attention_2", Encoder(), {}, ALL),
    ],
)
def test_no_mask(name: str, module: nn.Module, keywords: dict[str, Any], expected: Tensor) -> None:
    block, bias, _ = seen(name, module, Q, K, None, **keywords)
    assert torch.equal(block[0], expected) and bias is None


def test_a_static_cache_without_mask_starts_at_the_first_key() -> None:
    block, _, visibility = seen("sdpa", Decoder(), Q[:, :, :4], K, None)
    assert visibility.offset == 0
    assert torch.equal(block[0], torch.ones(4, 6, dtype=torch.bool).tril())


@pytest.mark.parametrize("name", ["sdpa", "eager", "flash_attention_2"])
def test_one_decoded_query_is_the_last_position(name: str) -> None:
    block, _, visibility = seen(name, Decoder(), Q[:, :, :1], K, None)
    assert block.all() and visibility.offset == 5


def test_padding_of_flash() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    block, _, _ = seen("flash_attention_2", Decoder(), Q, K, mask)
    real = mask.bool()
    assert torch.equal(block, LOWER & real[:, None, :] & real[:, :, None])
    with pytest.raises(CaptureError, match="a mask of type Tensor came where a 2-D padding mask was expected"):
        seen("flash_attention_2", Decoder(), Q, K, torch.ones(2, 1, 6, 6))


def test_padding_of_flash_over_a_cache_that_keeps_a_window_is_that_of_the_last_keys() -> None:
    mask = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1, 1, 1]])
    block, _, _ = seen("flash_attention_2", Decoder(), Q, K, mask)
    real = mask[:, -6:].bool()
    assert torch.equal(block & real[:, :, None], LOWER & real[:, None, :] & real[:, :, None])


def test_a_padding_mask_of_keys() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    block, _, _ = seen("eager", Encoder(), Q, K, mask)
    assert torch.equal(block, mask.bool()[:, None, :].expand(2, 6, 6))


@pytest.mark.parametrize("longer", [0, 5])
def test_additive_masks_are_split_and_cut_to_the_keys(longer: int) -> None:
    mask = torch.full((1, 1, 6, 6 + longer), LOWEST).triu(1)
    block, bias, _ = seen("eager", Decoder(), Q, K, mask)
    assert torch.equal(block[0], LOWER) and bias is None


def test_position_bias_and_a_mask_with_a_bias_add_up() -> None:
    position, additive = torch.rand(1, 4, 6, 6), torch.rand(1, 1, 6, 6)
    _, bias, _ = seen("sdpa", Encoder(), Q, K, additive, position_bias=position)
    torch.testing.assert_close(bias, position + additive)
    _, bias, _ = seen("sdpa", Encoder(), Q, K, None, position_bias=position)
    assert bias is position


def test_the_place_of_cached_queries_is_read_from_the_mask() -> None:
    mask = torch.zeros(2, 1, 2, 6, dtype=torch.bool)
    mask[..., 0, :4] = mask[..., 1, :5] = True  # a static cache of which one slot is still empty
    _, _, visibility = seen("sdpa", Decoder(), Q[:, :, :2], K, mask)
    assert visibility.offset == 3


@pytest.mark.parametrize("mask", ["causal", torch.ones(6, dtype=torch.bool)])
def test_masks_of_other_forms_are_refused(mask: Any) -> None:
    with pytest.raises(CaptureError, match="is not understood"):
        seen("sdpa", Decoder(), Q, K, mask)


def test_rules_of_scaled_dot_product_attention() -> None:
    visibility, bias = sdpa_rules(None, True)
    assert visibility.offset == 0 and visibility.is_causal and bias is None
    visibility, bias = sdpa_rules(None, False)
    assert visibility.hides_nothing() and bias is None
    visibility, bias = sdpa_rules(torch.rand(6, 6), False)
    assert bias is not None and visibility.hides_nothing()
