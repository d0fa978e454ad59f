"""Levels, groups, ends and noise of the key quantizer, in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from heedful.compression.quantizer import Quantizer, noise_like, quantized, tails
from heedful.errors import UsageError


def keys(batch: int = 2, heads: int = 3, length: int = 10, dim: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(batch, heads, length, dim, generator=torch.Generator().manual_seed(seed))


def test_two_bits_of_four_numbers_are_the_nearest_of_four_levels() -> None:
    key = torch.tensor([0.0, 0.9, 2.2, 3.0]).view(1, 1, 1, 4)
    assert quantized(key, Quantizer(bits=2, group="token")).flatten().tolist() == [0.0, 1.0, 2.0, 3.0]
    assert quantized(key - 5, Quantizer(bits=1, group="token")).flatten().tolist() == [-5.0, -5.0, -2.0, -2.0]


def test_a_constant_group_stays_to_the_bit_however_large() -> None:
    key = torch.full((1, 2, 3, 4), 12345.678)
    for group in ("tensor", "token", "channel"):
        assert torch.equal(quantized(key, Quantizer(bits=3, group=group)), key)


@pytest.mark.parametrize(("group", "axes"), [("tensor", (1, 2, 3)), ("token", (3,)), ("channel", (2,))])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_each_group_has_its_own_ends_and_no_error_beyond_half_a_step(
    group: str, axes: tuple[int, ...], bits: int
) -> None:
    key = keys() * torch.tensor([1.0, 10.0, 100.0])[None, :, None, None] + 50
    rounded = quantized(key, Quantizer(bits=bits, group=group))
    low, high = key.amin(axes, keepdim=True), key.amax(axes, keepdim=True)
    step = (high - low) / (2**bits - 1)
    assert bool(((rounded - key).abs() <= step / 2 * 1.001 + 1e-5).all())
    levels = (rounded - low) / step
    assert torch.allclose(levels, levels.round(), atol=2e-3)
    assert torch.allclose(rounded.amin(axes, keepdim=True), low) and torch.allclose(
        rounded.amax(axes, keepdim=True), high
    )


def test_clipping_keeps_the_middle_and_moves_the_rest_to_its_ends() -> None:
    key = torch.arange(100.0).view(1, 1, 10, 10)
    clipped = quantized(key, Quantizer(bits=None, group="tensor", clip=90.0)).flatten()
    assert torch.equal(clipped, torch.arange(100.0).clamp(5, 94))
    both = quantized(key, Quantizer(bits=1, group="tensor", clip=90.0))
    assert both.unique().tolist() == [5.0, 94.0]


def test_padding_takes_no_part_in_a_scale_and_is_left_alone() -> None:
    key = keys(1)
    real = torch.arange(10)[None] >= 4
    spoilt = key.clone()
    spoilt[:, :, :4] = 1e6
    for group in ("tensor", "token", "channel"):
        quantizer = Quantizer(bits=4, group=group)
        found = quantized(spoilt, quantizer, real)
        assert torch.equal(found[:, :, 4:], quantized(key[:, :, 4:], quantizer))
        assert torch.equal(found[:, :, :4], spoilt[:, :, :4])


def test_a_sequence_is_rounded_alike_in_any_batch_and_format_and_shape_stay() -> None:
    key = keys().to(torch.bfloat16)
    for group in ("tensor", "token", "channel"):
        quantizer = Quantizer(bits=3, group=group)
        whole = quantized(key, quantizer)
        assert whole.dtype == torch.bfloat16 and whole.shape == key.shape
        assert torch.equal(whole[1:], quantized(key[1:], quantizer))


def test_noise_has_the_size_of_the_error_in_each_sequence_and_head() -> None:
    key = keys(length=200)
    changed = key + torch.randn(key.shape) * torch.tensor([0.0, 1.0, 5.0])[None, :, None, None]
    real = torch.arange(200)[None].expand(2, -1) < torch.tensor([[200], [120]])
    noise = noise_like(key, changed, torch.Generator().manual_seed(1), real) - key
    held = real[:, None, :, None]
    sizes = [((one * held).square().sum((2, 3))).sqrt() for one in (noise, changed - key)]
    assert torch.allclose(*sizes, rtol=1e-4)
    assert bool((noise[1, :, 120:] == 0).all()) and bool((noise[:, 0] == 0).all())
    assert abs(float((noise[0, 2] * (changed - key)[0, 2]).mean())) < 2.5  # no part of the error itself (25)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"bits": 0, "group": "token"}, "bits: expected 1 to 8, got 0"),
        ({"bits": 9, "group": "token"}, "got 9"),
        ({"bits": 4, "group": "row"}, "expected one of tensor, token, channel; got 'row'"),
        ({"bits": 4, "group": "token", "clip": 100.0}, "between 0 and 100, got 100"),
        ({"bits": None, "group": "token"}, "expected bits"),
    ],
)
def test_bad_options_are_told(options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Quantizer(**options)  # type: ignore[arg-type]


def test_two_equal_values_have_kurtosis_one_and_crest_one() -> None:
    key = torch.tensor([1.0, -1.0]).repeat(1, 2, 5, 3)
    found = tails(key)
    assert found.kurtosis.tolist() == [[1.0, 1.0]] and found.crest.tolist() == [[1.0, 1.0]]


def test_one_component_among_n() -> None:
    """One 1 among n zeros: moments are those of a coin of chance p = 1/n."""
    key = torch.zeros(1, 1, 5, 4)
    key[0, 0, 2, 1] = 1.0
    p = 1 / 20
    found = tails(key)
    assert math.isclose(float(found.kurtosis), (1 - 3 * p + 3 * p * p) / (p * (1 - p)), rel_tol=1e-12)
    assert math.isclose(float(found.crest), math.sqrt(20), rel_tol=1e-12)


def test_a_gaussian_has_three_and_scale_changes_nothing() -> None:
    key = torch.randn(1, 2, 4000, 8, generator=torch.Generator().manual_seed(0))
    key[:, 1] *= 1000
    found = tails(key)
    assert torch.allclose(found.kurtosis, torch.full((1, 2), 3.0).double(), atol=0.15)


def test_padding_and_zeros() -> None:
    key = torch.randn(1, 1, 6, 4, generator=torch.Generator().manual_seed(0))
    spoilt = torch.cat([key, torch.full((1, 1, 3, 4), 1e9)], dim=2)
    real = (torch.arange(9) < 6)[None]
    one, other = tails(key), tails(spoilt, real)
    assert torch.allclose(one.kurtosis, other.kurtosis) and torch.allclose(one.crest, other.crest)
    nothing = tails(torch.zeros(1, 1, 3, 2))
    assert bool(nothing.kurtosis.isnan()) and bool(nothing.crest.isnan())
