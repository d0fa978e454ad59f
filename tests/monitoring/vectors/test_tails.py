"""Kurtosis and crest factor in closed form."""

from __future__ import annotations

import math

import torch

from heedful.monitoring.vectors.tails import tails


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
